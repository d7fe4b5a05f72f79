"""The folder that a run writes into: nobody's input, and nobody's finished model unless the user says so."""

import shutil
from contextlib import suppress
from pathlib import Path

from medllm_hf.errors import UserError
from medllm_hf.folders import check_free
from medllm_hf.training.checkpoints import is_resumed, is_whole, list_checkpoints
from medllm_hf.training.resume import read_record

ANOTHER = "choose another --output_dir"


def check_output(folder: Path, inputs: dict[str, str | None], resume: str | None, overwrite: bool) -> None:
    """Returns nothing when a run may write into `folder`; every rank asks this before any has written.

    Args:
        inputs: option → path, or Hub id, that the run reads.
        resume: the value of resume_from_checkpoint.

    Raises:
        UserError: the folder holds an input, lies in the dataset, is no folder, cannot be written, or is not empty and is
            neither to be resumed nor to be overwritten.
    """
    place = folder.resolve()
    for option, value in inputs.items():
        path = Path(value or "").resolve()
        if not value or not Path(value).exists():
            continue
        if path.is_relative_to(place):
            raise UserError(f"output_dir {folder}, which holds the {option}", "a folder of its own", ANOTHER)
        if option == "dataset_name" and place.is_relative_to(path):
            raise UserError(f"output_dir {folder} in the dataset {value}", "a folder of its own", ANOTHER)
    named = is_resumed(resume) and resume.lower() != "true"
    if named and overwrite and Path(resume).resolve().is_relative_to(place):
        raise UserError(f"--overwrite and a checkpoint in {folder}", "one of them", "remove the other, or resume from true")
    if not is_resumed(resume) or (named and not Path(resume).resolve().is_relative_to(place)):
        _check_untaken(folder, overwrite)
    _try_to_make(place)


def resume_or_overwrite(resume: str | None, folder: Path, overwrite: bool) -> tuple[str | None, bool]:
    """What is to be resumed, and whether the folder is to be overwritten: of "true" and both, the first that is possible."""
    if not overwrite or not is_resumed(resume) or resume.lower() != "true":
        return resume, overwrite
    possible = bool(read_record(folder)) or any(map(is_whole, list_checkpoints(folder)))
    return (resume, False) if possible else (None, True)


def _try_to_make(folder: Path) -> None:
    """Makes the folder and takes it away again: what is refused later, before training begins, shall leave nothing behind."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir {folder}: {error.strerror}", "a place to write", ANOTHER) from error
    for path in missing:
        with suppress(OSError):  # another rank does the same, or has taken it away by now
            path.rmdir()


def _check_untaken(folder: Path, overwrite: bool) -> None:
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        whole = [path for path in list_checkpoints(folder) if is_whole(path)]
        if whole and not read_record(folder):
            do = "add --resume_from_checkpoint true to go on, or --overwrite to start anew"
            raise UserError(f"a run in {folder} that got to {whole[-1].name}", "a folder that is new or empty", do)
    check_free(folder, overwrite)


def clear(folder: Path) -> None:
    """Removes everything in `folder`."""
    for path in folder.iterdir():
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
