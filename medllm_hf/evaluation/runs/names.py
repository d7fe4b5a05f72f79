"""What runs are called where several stand side by side."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medllm_hf.errors import UserError

# The files of a run folder; one that has lost its manifest is a damaged run, which its reader refuses, and not none.
_FILES = ("manifest.json", "outputs.jsonl", "scores.jsonl", "metrics.json")


def distinct_names(runs: list[str]) -> list[str]:
    """A name for each run: its folder's, with as many parents before it as tell it from the others.

    Raises:
        UserError: one folder twice.
    """
    parts = [Path(run).resolve().parts for run in runs]
    for run, count in Counter(parts).items():
        if count > 1:
            raise UserError(f"the run {Path(*run).name} twice", "each run once", "leave one out")
    names = []
    for own in parts:
        depth = 1
        while sum(other[-depth:] == own[-depth:] for other in parts) > 1:
            depth += 1
        names.append("/".join(own[-depth:]))
    return names


def nested_runs(folder: str, order: Sequence[str] = ()) -> list[str]:
    """The run folders that a path names: itself, or where it is none those of FOLDER/BENCHMARK/READING or FOLDER/READING.

    Args:
        order: of the readings; those that it does not name come last, by name.
    """
    path = Path(folder)
    if (path / "manifest.json").exists():
        return [folder]
    below, deeper = ({one.parent for name in _FILES for one in path.glob(f"{depth}/{name}")} for depth in ("*", "*/*"))
    # A folder within a run, such as a judge's, is a part of that run.
    inner = [*below, *(run for run in deeper if run.parent not in below)]
    rank = {name: place for place, name in enumerate(order)}
    inner.sort(key=lambda run: (run.parent.name, rank.get(run.name, len(rank)), run.name))
    return [str(run) for run in inner] or [folder]


def check_no_runs_below(folder: str | Path, do: str) -> None:
    """Check that a folder which is to be a run is none that holds runs, which would go with it or stand within it.

    Args:
        do: what to do instead.

    Raises:
        UserError: it holds runs.
    """
    if (inner := nested_runs(str(folder))) != [str(folder)]:
        several = "runs of several readings" if len(inner) > 1 else f"the run {inner[0]}"
        raise UserError(f"{several} in {folder}", "a folder for one run", do)
