"""The folder that a run writes into: nobody's input, and nobody's finished model unless the user says so."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from accelerate.utils import broadcast_object_list

from medllm_hf.errors import UserError
from medllm_hf.folders import check_free, check_unheld, exists, held
from medllm_hf.training.checkpoints import is_resumed, is_whole, list_checkpoints
from medllm_hf.training.resume import read_record

if TYPE_CHECKING:
    from trl import SFTConfig

ANOTHER = "choose another --output_dir"


def check_output(folder: Path, inputs: dict[str, str | None], resume: str | None, overwrite: bool) -> None:
    """Check that a run may write into `folder`; every rank asks this before any has written.

    Args:
        inputs: option → path, or Hub id, that the run reads.
        resume: the value of resume_from_checkpoint.

    Raises:
        UserError: the folder holds an input, lies in a dataset, is no folder, is a link to nothing, or is not empty and is
            neither to be resumed nor to be overwritten; or another process writes it.
    """
    for path in (folder, *folder.absolute().parents):
        if path.is_symlink() and not path.exists():
            raise UserError(f"output_dir {folder} by the link {path}, which leads nowhere", "a folder", ANOTHER)
    place = folder.resolve()
    for option, value in inputs.items():
        if not value or not exists(Path(value)):
            continue
        path = Path(value).resolve()
        if path.is_relative_to(place):
            raise UserError(f"output_dir {folder}, which holds the {option}", "a folder of its own", ANOTHER)
        if option.startswith("dataset") and path.is_dir() and place.is_relative_to(path):
            raise UserError(f"output_dir {folder} in the dataset {value}", "a folder of its own", ANOTHER)
    named = Path(resume).resolve() if is_resumed(resume) and resume.lower() != "true" else None
    if named and overwrite and named.is_relative_to(place):
        raise UserError(f"--overwrite and a checkpoint in {folder}", "one of them", "remove the other, or resume from true")
    if not is_resumed(resume) or (named and not named.is_relative_to(place)):
        _check_untaken(folder, overwrite)


def resume_or_overwrite(resume: str | None, folder: Path, overwrite: bool) -> tuple[str | None, bool]:
    """What is to be resumed, and whether the folder is to be overwritten: of "true" and both, the first that is possible."""
    if not overwrite or not is_resumed(resume) or resume.lower() != "true":
        return resume, overwrite
    possible = bool(read_record(folder)) or any(map(is_whole, list_checkpoints(folder)))
    return (resume, False) if possible else (None, True)


@contextmanager
def held_by_run(folder: Path, settings: "SFTConfig") -> Iterator[None]:
    """Holds the output folder by the process of the first rank; every rank comes here, once it has looked at the folder.

    A folder that did not exist and is empty at the end, as that of a run that was refused, is removed.

    Raises:
        UserError: it cannot be made, or another process writes it; every rank says so.
    """
    settings.distributed_state.wait_for_everyone()
    with ExitStack() as stack:
        refusal: list[UserError | None] = [None]
        if settings.process_index == 0:
            try:
                stack.enter_context(_made(folder.resolve()))
            except UserError as error:
                refusal = [error]
        broadcast_object_list(refusal)
        if refusal[0]:
            raise refusal[0]
        yield


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    made: list[Path] = []

    def remove() -> None:
        for path in made:
            with suppress(OSError):  # it is not empty
                path.rmdir()

    try:
        for path in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            with suppress(FileExistsError):  # another run has made it by now
                path.mkdir()
                made.insert(0, path)
    except OSError as error:
        remove()
        raise UserError(f"output_dir {folder}: {error.strerror}", "a place to write", ANOTHER) from error
    with held(folder):
        try:
            yield
        finally:
            remove()


def _check_untaken(folder: Path, overwrite: bool) -> None:
    if folder.is_dir():
        check_unheld(folder)
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        whole = [path for path in list_checkpoints(folder) if is_whole(path)]
        if whole and not read_record(folder):
            do = "add --resume_from_checkpoint true to go on, or --overwrite to start anew"
            raise UserError(f"a run in {folder} that got to {whole[-1].name}", "a folder that is new or empty", do)
    check_free(folder, overwrite)


def clear(folder: Path) -> None:
    """Removes everything in `folder`."""
    for path in folder.iterdir() if folder.is_dir() else ():
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
