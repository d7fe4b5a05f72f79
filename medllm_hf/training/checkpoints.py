"""Checkpoints of a run: one that was cut off, or lacks what resuming takes, is never taken for whole."""

import json
import shutil
from pathlib import Path
from typing import TypeGuard

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from medllm_hf.errors import UserError
from medllm_hf.training.resume import RECORD, read_record, write_record

# The name of a checkpoint folder with this added is that of a file which lies beside it until all ranks have saved.
UNFINISHED = ".unfinished"
STATE = "trainer_state.json"


def begin_checkpoint(folder: Path) -> None:
    """Make a checkpoint begin: from now on `folder` is known to be incomplete, and holds nothing from before."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{folder}{UNFINISHED}").touch()
    shutil.rmtree(folder, ignore_errors=True)


def finish_checkpoint(folder: Path, record: dict | None = None, weights_only: bool = False) -> None:
    """Make a checkpoint end: `folder` is whole from now on, and every other one that is not is removed.

    Args:
        record: of the run, see `describe_run`; it is kept in the folder with the sizes of all files there.
        weights_only: whether the states of optimizer and random numbers were left out.
    """
    if record is not None:
        sizes = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
        write_record(folder, record, files=sizes, weights_only=weights_only)
    Path(f"{folder}{UNFINISHED}").unlink()
    for mark in folder.parent.glob(f"{PREFIX_CHECKPOINT_DIR}-*{UNFINISHED}"):
        shutil.rmtree(mark.with_suffix(""), ignore_errors=True)
        mark.unlink()


def find_fault(folder: Path) -> str | None:
    """Why no run can go on from a checkpoint, or None when one can."""
    if not folder.is_dir():
        return "no such folder"
    if Path(f"{folder}{UNFINISHED}").exists():
        return "cut off while it was written"
    try:
        json.loads((folder / STATE).read_text(encoding="utf-8"))["global_step"]
        kept = read_record(folder)
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return f"no readable {STATE} and {RECORD}"
    if not kept:
        return f"no {RECORD}: another program's, or an older medllm's"
    if kept["weights_only"]:
        return "saved with save_only_model, without the states of optimizer and random numbers"
    for name, size in kept["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return f"{name} is {'of another size' if path.is_file() else 'missing'}"
    return None


def is_whole(folder: Path) -> bool:
    """Whether a run can go on from a checkpoint."""
    return find_fault(folder) is None


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in an output folder, whole or not, in order of their steps."""
    steps = [path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-") for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")]
    return [folder / f"{PREFIX_CHECKPOINT_DIR}-{step}" for step in sorted(map(int, filter(str.isdecimal, steps)))]


def last_checkpoint(wanted: str | None, folder: Path) -> Path | None:
    """The checkpoint folder to resume from: "true" is the last whole one in the output folder.

    Raises:
        UserError: there is none, or it is not whole.
    """
    if not is_resumed(wanted):
        return None
    named = wanted.lower() != "true"
    candidates = [Path(wanted)] if named else list_checkpoints(folder)
    whole = [path for path in candidates if is_whole(path)]
    if whole:
        return whole[-1]
    found = f"no whole checkpoint in {wanted if named else folder}"
    if candidates:
        found += f" ({candidates[-1].name}: {find_fault(candidates[-1])})"
    do = "start without --resume_from_checkpoint; its weights may be a --model_name_or_path"
    raise UserError(found, "one to resume from", do)


def is_resumed(wanted: str | None) -> TypeGuard[str]:
    """Whether a value of resume_from_checkpoint asks for one."""
    return wanted is not None and wanted.lower() != "false"


def read_step(checkpoint: Path) -> int:
    """The number of steps that a whole checkpoint has behind it."""
    return json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["global_step"]
