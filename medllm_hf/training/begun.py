"""Where a run begins that may have begun before: at nothing, at a checkpoint, or at its end."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medllm_hf.errors import UserError
from medllm_hf.folders import read_json
from medllm_hf.training.check_saved import check_saved
from medllm_hf.training.checkpoints import STATE, is_resumed, is_whole, last_checkpoint, read_step
from medllm_hf.training.resume import LENGTH, check_same_run, has_template, read_record

if TYPE_CHECKING:
    from trl import SFTConfig


@dataclass(frozen=True)
class Begun:
    """What was found before anything is tokenised: the record of a finished run, or a checkpoint, or neither.

    `wanted` is the value of resume_from_checkpoint, `folder` the output folder.
    """

    wanted: str | None
    folder: Path
    finished: dict
    checkpoint: Path | None

    @property
    def record(self) -> dict:
        """What decided the run that is gone on with; nothing where there is none."""
        found = self.finished or (read_record(self.checkpoint) if self.checkpoint else {})
        return found.get("run", {})


def find_begun(wanted: str | None, folder: Path) -> Begun:
    """What there is to be resumed.

    Raises:
        UserError: see `last_checkpoint`.
    """
    finished = finished_before(wanted, folder)
    return Begun(wanted, folder, finished, None if finished else last_checkpoint(wanted, folder))


def finished_before(wanted: str | None, folder: Path) -> dict:
    """What is recorded of the finished run in the output folder that is asked for once more, if it is one; else nothing.

    A checkpoint before its end may be named to train the rest of it again.
    """
    finished = read_record(folder)
    if not is_resumed(wanted) or not finished:
        return {}
    if wanted.lower() != "true":
        inside = Path(wanted).resolve().parent == folder.resolve()
        if not inside or not is_whole(Path(wanted)) or read_step(Path(wanted)) < finished["finished"]:
            return {}
    try:
        check_saved(folder, has_template(finished["run"]))
    except UserError:
        return {}  # its checkpoint can save it again
    return finished


def is_done(begun: Begun, record: dict) -> bool:
    """Whether the run that is asked for is finished already.

    Raises:
        UserError: the finished one is another, see `check_same_run`.
    """
    if not begun.finished:
        return False
    before = begun.finished["run"]
    check_same_run(record, before, str(begun.folder))
    return before[LENGTH] == record[LENGTH]


def find_start(begun: Begun, record: dict, settings: "SFTConfig") -> Path | None:
    """The checkpoint of this very run to go on from, if one is asked for.

    Raises:
        UserError: it is another run's, or lies behind the end of this one; see also `last_checkpoint`.
    """
    checkpoint = begun.checkpoint
    if begun.finished:  # and is to be longer
        checkpoint = last_checkpoint(begun.wanted, begun.folder)
    if checkpoint:
        check_same_run(record, read_record(checkpoint)["run"], str(checkpoint))
        check_length(settings, checkpoint)
    return checkpoint


def check_length(settings: "SFTConfig", checkpoint: Path) -> None:
    """Check that the run does not end before its checkpoint.

    Raises:
        UserError: it does.
    """
    state = read_json(checkpoint / STATE)
    for name, wanted, done in (
        ("max_steps", settings.max_steps, state["global_step"]),
        ("num_train_epochs", settings.num_train_epochs if settings.max_steps < 0 else 0, state["epoch"]),
    ):
        if 0 < wanted < done:
            do = "resume from an earlier checkpoint, or raise it"
            raise UserError(f"{name} {wanted:g} and a checkpoint at {done:g}", "a longer run", do)
