"""A run that is killed and resumed ends with the very weights of one that was left alone."""

import inspect
import time
from pathlib import Path

import pytest
import trl.scripts.sft
from support.ranks import finished, start, steps, words, write_dialogues, zero
from transformers.trainer_utils import get_last_checkpoint

from medllm_hf.errors import UserError
from medllm_hf.training.checkpoints import begin_checkpoint, find_fault, finish_checkpoint, is_whole, last_checkpoint

# Three epochs of four steps, the last of each with a single dialogue; the second epoch is resumed in its middle.
DIALOGUES, EVERY, LAST = 13, 3, 12
PLAN = {"num_train_epochs": 3, "warmup_steps": 2, "save_strategy": "steps", "save_steps": EVERY, "save_total_limit": 1}
SAMPLING = {
    "random": {},
    "grouped": {"train_sampling_strategy": "group_by_length"},
    "packed": {"packing": True, "max_length": 256, "per_device_train_batch_size": 1},
}
# While the second checkpoint is being saved, first to last.
DEATHS = {
    "weights": ("transformers.trainer:Trainer.save_model", 2),
    "optimizer": ("transformers.trainer:Trainer._save_optimizer_and_scheduler", 2),
    "random numbers": ("transformers.trainer:Trainer._save_rng_state", 2),
    "state": ("transformers.trainer:TrainerState.save_to_json", 2),
    "old one removed": ("medllm_hf.training.trainer:rotate_checkpoints", 2),
}
TRAINING = ("transformers.trainer:Trainer.training_step", 9)
FINAL = ("medllm_hf.training.run:check_saved", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def data(folder) -> Path:
    return write_dialogues(folder / "data", DIALOGUES)


@pytest.fixture(scope="module")
def job(tiny, folder, data):
    """A function (kind, sampling) → what makes the arguments of that run for an output folder, and its number of ranks."""

    def make(kind: str, sampling: str):
        ranks = 1 if kind == "one" else 2
        deepspeed = {"deepspeed": zero(3, folder)} if kind == "zero3" else {}
        batch = {"per_device_train_batch_size": 4 // ranks}

        def arguments(out: Path, **more: object) -> list[str]:
            return words(tiny["base"], data, out, **{**PLAN, **batch, **deepspeed, **SAMPLING[sampling], **more})

        return arguments, ranks

    return make


@pytest.fixture(scope="module")
def undisturbed(folder, job):
    """A function (kind, sampling) → the folder of that run, left alone."""

    def make(kind: str, sampling: str) -> Path:
        out = folder / f"{kind}-{sampling}"
        arguments, ranks = job(kind, sampling)
        if not out.exists():
            finished(folder / "logs", *arguments(out), ranks=ranks)
        return out

    return make


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("checkpoint-*"))


def check_resumed(arguments, ranks: int, out: Path, expected: Path) -> None:
    """Resumes the killed run in `out`, from scratch if it has no checkpoint yet, and compares it with an undisturbed one."""
    whole = [path for path in out.glob("checkpoint-*") if path.is_dir() and is_whole(path)]
    more = {"resume_from_checkpoint": True} if whole else {"overwrite": True}
    resumed = finished(out.with_name("logs"), *arguments(out, **more), ranks=ranks)
    assert weights(out) == weights(expected), resumed.text()[-2000:]
    assert checkpoints(out) == checkpoints(expected)
    last = checkpoints(expected)[-1]
    assert steps(out / last, "learning_rate", "epoch", "loss") == steps(expected / last, "learning_rate", "epoch", "loss")


@pytest.mark.parametrize("program", ["trl", "medllm"])
def test_two_steps_and_two_more_are_four(tiny, tmp_path, data, program):
    """D20; the checkpoint is named, since that is how `trl sft` takes it."""
    if program == "trl" and "resume_from_checkpoint" not in inspect.getsource(trl.scripts.sft.main):
        pytest.skip("the installed `trl sft` begins anew whatever --resume_from_checkpoint says")
    arguments = words(tiny["base"], data, tmp_path / "whole", max_steps=4, save_strategy="steps", save_steps=2)
    finished(tmp_path / "logs", *arguments, program=program)
    half = str(tmp_path / "whole" / "checkpoint-2")
    again = [*arguments, "--output_dir", str(tmp_path / "resumed"), "--resume_from_checkpoint", half]
    finished(tmp_path / "logs", *again, program=program)
    assert checkpoints(tmp_path / "resumed") == ["checkpoint-4"]
    assert weights(tmp_path / "resumed") == weights(tmp_path / "whole") != weights(tmp_path / "whole" / "checkpoint-2")
    whole, resumed = (
        steps(tmp_path / name / "checkpoint-4", "learning_rate", "epoch", "loss") for name in ("whole", "resumed")
    )
    assert resumed == whole
    assert [entry[0] for entry in whole] == [1, 2, 3, 4]


QUICK = [("one", "random", "random numbers")]
ALL = [
    ("one", "grouped", "training"),
    *[("one", "random", moment) for moment in (*DEATHS, "training", "end")],
    *[("one", "packed", moment) for moment in ("state", "training")],
    *[(kind, "random", moment) for kind in ("ddp", "zero3") for moment in ("optimizer", "random numbers", "training")],
    *[("zero3", sampling, "random numbers") for sampling in ("grouped", "packed")],
]


@pytest.mark.parametrize(
    ("kind", "sampling", "moment"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in ALL if case not in QUICK)],
)
def test_killed_at_a_chosen_moment(tmp_path, job, undisturbed, kind, sampling, moment):
    out, expected = tmp_path / "out", undisturbed(kind, sampling)
    arguments, ranks = job(kind, sampling)
    death = {**DEATHS, "training": TRAINING, "end": FINAL}[moment]
    killed = start(tmp_path / "logs", *arguments(out), ranks=ranks, death=death)
    assert killed.wait(120)[-1] == -9, killed.text()[-2000:]
    if moment in DEATHS and moment != "old one removed":
        # The first one is still there, and the second, which transformers itself would resume from, is known to be cut.
        assert [path.name for path in out.glob("checkpoint-*") if is_whole(path)] == [f"checkpoint-{EVERY}"]
        assert (out / f"checkpoint-{2 * EVERY}.unfinished").exists()
        assert last_checkpoint("true", out) == out / f"checkpoint-{EVERY}"
        if moment != "weights":
            assert get_last_checkpoint(str(out)) == str(out / f"checkpoint-{2 * EVERY}")
    check_resumed(arguments, ranks, out, expected)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "kills"), [("one", 6), ("zero3", 4)])
def test_killed_again_and_again_at_any_moment(tmp_path, job, undisturbed, kind, kills):
    """Each run goes on where the one before was killed, all ranks at once; many kills come while something is being saved."""
    out, expected = tmp_path / "out", undisturbed(kind, "random")
    arguments, ranks = job(kind, "random")
    cut = 0
    for number in range(kills):
        before = checkpoints(out)
        more = {"resume_from_checkpoint": True} if any(is_whole(out / name) for name in before) else {"overwrite": True}
        run = start(tmp_path / "logs", *arguments(out, **more), ranks=ranks)
        while checkpoints(out) == before and any(process.is_alive() for process in run.processes):
            time.sleep(0.001)
        time.sleep(number * 0.01)
        run.kill()
        cut += bool(list(out.glob("*.unfinished")))
    assert cut, "no kill came while a checkpoint was being saved"
    check_resumed(arguments, ranks, out, expected)


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    begin_checkpoint(path)
    path.mkdir()
    (path / "trainer_state.json").write_text('{"global_step": 1}')
    (path / "optimizer.pt").write_bytes(b"12345")
    return path


def test_only_a_whole_checkpoint_is_resumed_from(tmp_path):
    with pytest.raises(UserError, match="no whole checkpoint"):
        last_checkpoint("true", tmp_path)
    finish_checkpoint(checkpoint(tmp_path, 90), {})
    finish_checkpoint(checkpoint(tmp_path, 100), {})
    cut = checkpoint(tmp_path, 110)
    assert last_checkpoint("True", tmp_path) == tmp_path / "checkpoint-100"
    assert last_checkpoint(str(tmp_path / "checkpoint-90"), tmp_path) == tmp_path / "checkpoint-90"
    assert last_checkpoint("false", tmp_path) is last_checkpoint(None, tmp_path) is None
    with pytest.raises(UserError, match="no whole checkpoint in .*checkpoint-110: cut off"):
        last_checkpoint(str(cut), tmp_path)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda path: (path / "optimizer.pt").unlink(), "optimizer.pt is missing"),
        (lambda path: (path / "optimizer.pt").write_bytes(b"123"), "optimizer.pt is of another size"),
        (lambda path: (path / "resume.json").unlink(), "no resume.json: another program's"),
        (lambda path: (path / "resume.json").write_text("{"), "no readable"),
        (lambda path: (path / "trainer_state.json").write_text('{"epoch": 1'), "no readable"),
        (lambda path: Path(f"{path}.unfinished").touch(), "cut off"),
    ],
)
def test_a_spoilt_checkpoint_is_passed_over(tmp_path, spoil, fault):
    for step in (1, 2):
        finish_checkpoint(checkpoint(tmp_path, step), {})
    spoil(tmp_path / "checkpoint-2")
    assert fault in find_fault(tmp_path / "checkpoint-2")
    assert last_checkpoint("true", tmp_path) == tmp_path / "checkpoint-1"
    with pytest.raises(UserError, match="checkpoint-2: "):
        last_checkpoint(str(tmp_path / "checkpoint-2"), tmp_path)


def test_a_finished_checkpoint_clears_the_cut_ones_away(tmp_path):
    finish_checkpoint(checkpoint(tmp_path, 3))
    checkpoint(tmp_path, 9)
    finish_checkpoint(checkpoint(tmp_path, 6))
    assert checkpoints(tmp_path) == ["checkpoint-3", "checkpoint-6"]
    begin_checkpoint(tmp_path / "checkpoint-6")
    assert checkpoints(tmp_path) == ["checkpoint-3", "checkpoint-6.unfinished"]
