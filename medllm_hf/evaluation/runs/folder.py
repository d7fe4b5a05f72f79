"""The run folder: manifest.json, outputs.jsonl, scores.jsonl, metrics.json. The last is derivable from the others."""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from reprlib import Repr
from typing import Any, TypedDict

from medllm_hf import __version__
from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.compare import check_metrics, other_settings
from medllm_hf.evaluation.runs.log import note_run
from medllm_hf.evaluation.runs.names import check_no_runs_below
from medllm_hf.folders import (
    LARGEST,
    check_file,
    check_free,
    empty,
    held,
    read_json,
    read_text,
    sha256,
    unique_keys,
    write_json,
    write_text,
    writing,
)
from medllm_hf.own_folders import foreign_file
from medllm_hf.weight_files import weight_files

SCORES = "scores.jsonl"
PACKAGES = ("torch", "transformers", "evaluate", "datasets", "peft", "trl")
# Another version of these may give other outputs; the rest of the versions and the hardware are recorded only.
DECISIVE = ("medllm_hf", "torch", "transformers")
# Levels of lists and objects within each other in a JSON value; our own have less than ten.
DEEPEST = 50
# What a manifest is written by; 0.1 wrote none. 2: `files_sha256` of the models.
SCHEMA = 2
_NOT_COMPARED = ("schema", "started", "ended", "resumed", "versions", "hardware", "spent_besides")
_ANOTHER = "add --overwrite or choose another folder"
_ONE = "name one of them, or choose another folder"
_ANEW = "add --overwrite, which asks everything anew"


class RunFolder:
    """An open run folder, which this process alone holds; get one from `open_run`.

    `rows` maps the key of every output that is there to the output. `finished` tells whether the run had ended before; one
    that was damaged since has not, so that the same command mends it. `metrics` are those that an ended run has stored.
    """

    def __init__(self, path: Path, manifest: dict, key: tuple[str, ...]):
        self.path, self.manifest = path, manifest
        self._key = key
        self.rows, whole = _read_outputs(path / "outputs.jsonl", key)
        self.finished = "ended" in manifest and whole == _size(path / "outputs.jsonl") > 0 and _follows(path)
        if "ended" in manifest and not self.finished:
            # First, or a process that is killed now would leave a run that says it has ended.
            del manifest["ended"]
            write_json(path / "manifest.json", manifest)
        self.metrics: dict | None = read_json(path / "metrics.json", names=True) if self.finished else None
        self._file = (path / "outputs.jsonl").open("ab")
        self._file.truncate(whole)

    def append(self, row: dict) -> None:
        """Adds one output, a whole line, to outputs.jsonl."""
        self.rows[_name(row, self._key)] = row
        self._file.write(json_line(row).encode(errors="backslashreplace"))
        self._file.flush()

    def finish(self, order: Iterable[tuple], scores: list[dict], metrics: dict) -> None:
        """Ends the run: outputs in the `order` of their keys, scores and metrics are written, and the manifest says so last.

        Of a run that has ended nothing is written: its files must say the same.

        Raises:
            UserError: one of them does not.
        """
        order = list(order)
        self.check_keys(order)
        self.settle("scores.jsonl", scores)
        if self.metrics is not None:
            check_metrics(str(self.path), json.loads(json.dumps(metrics)), self.metrics, "outputs", _ANEW)
            return
        write_jsonl(self.path / "outputs.jsonl", (self.rows[key] for key in order))
        write_json(self.path / "metrics.json", metrics)
        write_json(self.path / "manifest.json", {**self.manifest, "ended": now()})
        note_run(self.path, self.manifest)

    def check_keys(self, keys: Iterable[tuple]) -> None:
        """Check that a run that has ended has an output of each of the `keys`, and no other.

        Raises:
            UserError: it has not.
        """
        wanted = set(keys)
        if self.finished and (other := sorted(wanted ^ self.rows.keys(), key=str)):
            said = "without" if other[0] in wanted else "with"
            found = f"outputs.jsonl of {self.path} {said} {' '.join(map(str, other[0]))}"
            raise UserError(found, "the outputs that the run has ended with", _ANEW)

    def settle(self, name: str, rows: list[dict]) -> None:
        """Writes a file of rows that follow from the outputs; that of a run that has ended must have them.

        Raises:
            UserError: it has others.
        """
        if not self.finished:
            write_jsonl(self.path / name, rows)
        elif json.loads(json.dumps(rows)) != read_rows(self.path / name):
            found = f"other rows in {name} of {self.path} than follow from its outputs"
            raise UserError(found, "rows that follow from them", _ANEW)

    def close(self) -> None:
        """Lets go of the file of outputs."""
        self._file.close()


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _follows(path: Path) -> bool:
    """Whether the metrics and scores of a run are there and can be read."""
    try:
        read_json(path / "metrics.json", names=True)
        for line in read_text(path / "scores.jsonl").split("\n"):
            json.loads(line or "null")
    except (UserError, OSError, ValueError, RecursionError):
        return False
    return True


def _name(row: dict, key: tuple[str, ...]) -> tuple:
    return tuple(row[field] for field in key)


def _read_outputs(file: Path, key: tuple[str, ...]) -> tuple[dict[tuple, dict], int]:
    """The outputs by key, and the bytes of whole lines: a killed process may have left the last one unfinished."""
    rows: dict[tuple, dict] = {}
    if not os.path.lexists(file):
        return rows, 0
    check_file(file)
    *lines, torn = (content := file.read_bytes()).split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            repeated = rows.setdefault(_name(row, key), row) is not row
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(f"{file} line {number} that is no output of a run", "its own lines", _ANOTHER) from error
        if repeated:
            raise UserError(f"{file} line {number} with an output that is there before", "each output once", _ANOTHER)
    return rows, len(content) - len(torn)


def outputs_in(path: Path | str, manifest: dict, key: tuple[str, ...], overwrite: bool = False) -> dict[tuple, dict]:
    """The outputs that a run of the same settings has left in `path`, as `open_run` would find them; nothing is written.

    Raises:
        UserError: `open_run` would refuse the folder.
    """
    path = Path(os.path.abspath(path))
    if overwrite or not path.is_dir():
        check_no_runs_below(path, _ONE)
        check_free(path, overwrite)
        return {}
    if _begun(path, {**manifest, **environment()}) is None:
        return {}
    return _read_outputs(path / "outputs.jsonl", key)[0]


@contextmanager
def open_run(path: Path | str, manifest: dict, key: tuple[str, ...] = ("id",), overwrite: bool = False) -> Iterator[RunFolder]:
    """Yields the run folder `path`: a new one, or the one that an earlier run of the same settings has left.

    Args:
        manifest: what makes the outputs what they are ("kind", "model", "data", "settings"). Times, versions and hardware
            are added here; of these only the versions of `DECISIVE` packages must be the same to go on with a run.
        key: the fields that name an output.
        overwrite: removes what the folder holds first.

    Of a run in which nothing was asked, as when its model cannot be loaded, nothing is left.

    Raises:
        UserError: the folder holds another run, or files of another kind, or is damaged, or cannot be written; or another
            process writes it.
    """
    path = Path(os.path.abspath(path))
    with writing(path):
        if overwrite or not path.is_dir():
            check_no_runs_below(path, _ONE)
            check_free(path, overwrite)
        made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        with held(path):
            if overwrite:
                empty(path)
            run = RunFolder(path, _manifest(path, {**manifest, **environment()}), key)
            try:
                yield run
            finally:
                run.close()
                if _is_unasked(path):
                    empty(path)
                    if made:
                        path.rmdir()


def _is_unasked(path: Path) -> bool:
    """Whether a run folder holds no more than the beginning of a run, of which nothing was sent or computed."""
    begun = {"manifest.json", "outputs.jsonl", "spending.jsonl"}
    files = {file.name: file for file in path.iterdir()}
    unwritten = all(file.stat().st_size == 0 for name, file in files.items() if name != "manifest.json")
    return files.keys() <= begun and unwritten and "ended" not in read_json(path / "manifest.json", names=True)


def _manifest(path: Path, new: dict) -> dict:
    """The manifest of the run in `path`, which is written there when it is new or goes on.

    Raises:
        UserError: files without a manifest, or a run whose settings differ.
    """
    file, old = path / "manifest.json", _begun(path, new)
    if old is None:
        write_json(file, {**new, "started": now()})
        return read_json(file, names=True)
    if "ended" not in old:
        old["resumed"] = [*old.get("resumed", []), {"at": now(), "hardware": new["hardware"]}]
        write_json(file, old)
    return old


def _begun(path: Path, new: dict) -> dict | None:
    """The manifest that the run in `path` was begun with; None where none was.

    Raises:
        UserError: files without a manifest, or a run whose settings differ.
    """
    file = path / "manifest.json"
    if not file.exists():
        # A killed process may have left the manifest under its temporary name.
        if any(child.name != f".{file.name}.tmp" for child in path.iterdir()):
            do = "choose another folder" if foreign_file(path) else _ANOTHER
            raise UserError(f"files and no manifest.json in {path}", "a new, empty or run folder", do)
        return None
    old = read_json(file, names=True)
    if difference := first_difference(new, old):
        raise other_settings(difference, str(new.get("kind")), path)
    return old


def first_difference(new: dict, old: dict) -> tuple[str, str, str] | None:
    """The first field, in the order of `new`, that makes two manifests those of different runs, with its two values."""
    shown = Repr()
    shown.maxstring = 80
    ours, theirs = _identity(json.loads(json.dumps(new))), _identity(old)
    # The hash of the prompts differs with many a setting, which is the reason and is named first.
    for name in sorted([*ours, *theirs], key=lambda name: name.endswith("prompt_sha256")):
        if (name in ours, ours.get(name)) != (name in theirs, theirs.get(name)):
            asked, there = (shown.repr(side[name]) if name in side else "nothing" for side in (ours, theirs))
            return name, asked, there
    return None


def _identity(manifest: dict) -> dict[str, object]:
    """Dotted name → value of every field that two runs must share for one to go on with the other."""
    fields: dict[str, object] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(f"{prefix}.{name}" if prefix else name, inner)
        else:
            fields[prefix] = value

    walk("", {name: value for name, value in manifest.items() if name not in _NOT_COMPARED})
    walk("versions", {name: manifest.get("versions", {}).get(name) for name in DECISIVE})
    return fields


def weights_hash(folder: Path) -> str:
    """One SHA-256 over the names and hashes of the safetensors files that a checkpoint is read from, for the manifest.

    Raises:
        UserError: see `weight_files`; also weights in another form.
    """
    files = weight_files(folder)
    if any(file.suffix != ".safetensors" for file in files):
        found = f"weights in {files[0].name} and no .safetensors in {folder}"
        raise UserError(found, "a converted or trained checkpoint", "run `medllm convert` first")
    return combined_hash({file.name: sha256(file) for file in files})


def combined_hash(hashes: dict[str, str]) -> str:
    """One SHA-256 over files by their names and hex SHA-256."""
    return hashlib.sha256("\n".join(f"{hashes[name]}  {name}" for name in sorted(hashes)).encode()).hexdigest()


def environment() -> dict:
    """Versions and hardware for a manifest; no host name, no user name, no path."""
    versions = {"medllm_hf": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    # What a launcher sets; the outputs do not depend on it.
    ranks = int(size) if (size := os.environ.get("WORLD_SIZE", "")).isdecimal() else 1
    return {
        "schema": SCHEMA,
        "versions": versions,
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count(), "ranks": ranks},
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def json_line(row: dict) -> str:
    """`row` as one line of JSON with sorted keys, so equal rows give equal bytes."""
    return json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n"


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Writes one JSON object a line, under a temporary name first."""
    write_text(path, "".join(map(json_line, rows)))


class FinishedRun(TypedDict):
    """The files of a finished run as JSON values; the reader of its kind makes records of them."""

    folder: Path
    manifest: dict
    outputs: list
    scores: list
    metrics: dict


def read_run(folder: Path | str, scores: bool = True) -> FinishedRun:
    """A finished run.

    Args:
        scores: whether its rows of scores are read, which are the largest part; else there are none.

    Raises:
        UserError: not a run folder, or not a finished one.
    """
    folder = Path(folder)
    manifest = read_json(folder / "manifest.json", names=True)
    schema = manifest.get("schema", 1)
    if type(schema) is not int or schema not in range(1, SCHEMA + 1):
        raise UserError(f"a manifest of schema {schema} in {folder}", f"one of {SCHEMA} or less", "take a newer medllm_hf")
    if "ended" not in manifest:
        raise UserError(f"an unfinished run in {folder}", "a finished run folder", "run the same `medllm eval` again")
    metrics = read_json(folder / "metrics.json", names=True)
    if _is_deep([manifest, metrics]):
        raise UserError(f"a manifest or metrics nested too deep in {folder}", "a run's own files", "run `medllm eval` again")
    outputs, rows = read_rows(folder / "outputs.jsonl"), read_rows(folder / SCORES) if scores else []
    return {"folder": folder, "manifest": manifest, "outputs": outputs, "scores": rows, "metrics": metrics}


def read_rows(file: Path) -> list:
    """The JSON value of each line of a file in a run folder.

    Raises:
        UserError: see `each_row`.
    """
    return list(each_row(file))


def each_row(file: Path) -> Iterator[Any]:
    """Yields the JSON value of each line of a file in a run folder, which is in memory one line at a time.

    Raises:
        UserError: no such file, or one that is too large; a line that is no JSON in UTF-8, or nested deeper than `DEEPEST`.
    """
    if not os.path.lexists(file):
        raise UserError(f"no {file.name} in {file.parent}", "a finished run folder", "run `medllm eval` again")
    if (size := check_file(file)) > LARGEST:
        raise UserError(f"{file} of {size:,} bytes", f"at most {LARGEST:,}", "check that it is the right file")
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                text = line.decode("utf-8").removesuffix("\n")
                row = json.loads(text, object_pairs_hook=unique_keys) if text else None
                if _is_deep(row):
                    raise ValueError("nested too deep")
            except (ValueError, RecursionError) as error:
                found = f"damaged {file} line {number} ({error})"
                raise UserError(found, "JSON lines in UTF-8", "run `medllm eval` again") from error
            if text:
                yield row


def _is_deep(value: object) -> bool:
    """Whether a JSON value is nested deeper than any that is written here; what walks it would run out of stack."""
    level = [value]
    for _ in range(DEEPEST):
        inner = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        if not inner:
            return False
        level = [one for part in inner for one in part]
    return True
