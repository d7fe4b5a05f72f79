"""How many runs were made of the same weights on the same questions: a log beside the run folders, which its owner may delete.

A figure that was chosen out of ten is another than the only one. Whoever publishes a run says how many his log has.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from medllm_hf.errors import UserError
from medllm_hf.folders import read_text

FILE = "medllm_runs.jsonl"
# Who is examined in a run of each kind that counts.
_EXAMINED = {"mcq": "model", "consult": "doctor"}


def log_file(run: Path) -> Path:
    """Where the log of a run folder is: beside it, or beside the outermost of the runs that it lies in, by its real name."""
    folder = Path(os.path.realpath(run))
    while (folder.parent / "manifest.json").exists():
        folder = folder.parent
    return folder.parent / FILE


def note_run(run: Path, manifest: Mapping) -> None:
    """Adds a run that has ended to its log, as one line at once; where that cannot be written, there is none.

    A run whose weights are not known, as that of an endpoint, is not noted.
    """
    if (what := _noted(manifest)) is None:
        return
    line = json.dumps({**what, "run": Path(run).name, "started": manifest.get("started")}, sort_keys=True) + "\n"
    try:
        handle = os.open(log_file(run), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    except OSError:
        return


def count_runs(run: Path, manifest: Mapping) -> int | None:
    """How many runs of the same weights on the same questions the log of a run has; None where it does not have this one.

    A run counts once, however often it was gone on with.
    """
    what = _noted(manifest)
    try:
        lines = read_text(log_file(run)).split("\n")
    except (UserError, OSError):
        return None
    found = [row for row in map(_row, lines) if what and all(row.get(key) == what[key] for key in _SAME)]
    own = (manifest.get("started"), what and what["settings_sha256"])
    if own not in [(row.get("started"), row.get("settings_sha256")) for row in found]:
        return None
    return len({json.dumps(row, sort_keys=True) for row in found})


_SAME = ("kind", "weights_sha256", "data_sha256")


def _noted(manifest: Mapping) -> dict[str, str] | None:
    """What tells in the log which weights were examined, on what and how; None of a run that does not count."""
    kind, data = str(manifest.get("kind")), manifest.get("data")
    examined = manifest.get(_EXAMINED.get(kind, ""))
    if not (isinstance(examined, Mapping) and isinstance(data, Mapping) and examined.get("weights_sha256")):
        return None
    settings = json.dumps(manifest.get("settings"), sort_keys=True)
    return {
        "kind": kind,
        "weights_sha256": examined["weights_sha256"],
        "data_sha256": str(data.get("sha256")),
        "settings_sha256": hashlib.sha256(settings.encode()).hexdigest(),
    }


def _row(line: str) -> dict:
    """A line of the log; an empty object for one that a full disk or another hand has left."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}
