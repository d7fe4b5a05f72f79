"""What a training left beside its weights is read, and a pickle there is never carried out."""

import io
import json
import pickle
import zipfile
from dataclasses import dataclass
from enum import Enum

import pytest

from medllm_hf.checkpoint.training_record import pickled_values, training_record


class Schedule(Enum):
    COSINE = "cosine"


@dataclass
class Arguments:
    """As transformers' own: plain values, an enum, an object, and names of this machine that no card may have."""

    learning_rate: float = 2e-4
    num_train_epochs: int = 3
    lr_scheduler_type: Schedule = Schedule.COSINE
    bf16: bool = True
    seed: float = float("nan")
    output_dir: str = "/home/somebody/out"
    hub_token: str = "hf_secret"
    betas: tuple = (0.9, [1, {"a": None}])
    state: object = None


class Runs:
    """What a pickle makes by a call."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def write_arguments(folder, value, protocol=2):
    with zipfile.ZipFile(folder / "training_args.bin", "w") as archive:
        archive.writestr("training_args/data.pkl", pickle.dumps(value, protocol))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_arguments_of_a_trainer_are_read(tmp_path, protocol):
    write_arguments(tmp_path, Arguments(state=Arguments()), protocol)
    assert training_record(tmp_path) == {
        "read_from": ["training_args.bin"],
        "settings": {"learning_rate": 2e-4, "lr_scheduler_type": "cosine", "num_train_epochs": 3, "bf16": True},
    }


@pytest.mark.slow
def test_the_very_file_of_a_trainer(tmp_path):
    import torch
    from trl import SFTConfig

    settings = SFTConfig(
        output_dir=str(tmp_path), learning_rate=3e-4, max_length=77, use_cpu=True, bf16=False, report_to="none"
    )
    torch.save(settings, tmp_path / "training_args.bin")
    found = training_record(tmp_path)["settings"]
    assert (found["learning_rate"], found["max_length"], found["lr_scheduler_type"]) == (3e-4, 77, settings.lr_scheduler_type)
    assert not any(str(tmp_path) in str(value) for value in found.values())


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_nothing_in_a_pickle_is_called(tmp_path, protocol):
    target = tmp_path / "called"
    write_arguments(tmp_path, Arguments(state=Runs(target)), protocol)
    assert training_record(tmp_path)["settings"]["learning_rate"] == 2e-4
    write_arguments(tmp_path, Runs(target), protocol)
    assert training_record(tmp_path) == {} and not target.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x02.",
        b"(",
        b"\x80\x02}.",
        b"\x80\x02Nb.",
        b"\x80\x02(u.",
        b"\x80\x02K\x01R.",
        b"\x80\x02h\x05.",
        b"junk",
    ],
)
def test_a_damaged_pickle_is_none(tmp_path, data):
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        pickled_values(data)
    with zipfile.ZipFile(tmp_path / "training_args.bin", "w") as archive:
        archive.writestr("x/data.pkl", data)
    assert training_record(tmp_path) == {}


def test_a_file_that_is_no_archive_or_unpacks_to_more_than_arguments_is_none(tmp_path):
    (tmp_path / "training_args.bin").write_bytes(b"PK\x03\x04")
    assert training_record(tmp_path) == {}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\0" * (1 << 21))
    (tmp_path / "training_args.bin").write_bytes(packed.getvalue())
    assert training_record(tmp_path) == {}


def test_the_last_checkpoint_tells_steps_and_losses(tmp_path):
    history = [{"loss": 2.5, "step": 1}, {"eval_loss": 1.5, "step": 2}, {"loss": 1.25, "step": 2}, {"train_runtime": 3}]
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
        state = {"global_step": step, "epoch": float("inf") if step == 9 else 2.0, "log_history": history}
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    (tmp_path / "checkpoint-x").mkdir()
    assert training_record(tmp_path) == {
        "read_from": ["checkpoint-10/trainer_state.json"],
        "run": {"steps": 10, "epochs": 2.0, "last_loss": 1.25, "last_eval_loss": 1.5},
    }


def test_the_report_of_medllm_sft_goes_first(tmp_path):
    write_arguments(tmp_path, Arguments())
    (tmp_path / "training.json").write_text('{"run": {"steps": 7}}')
    assert training_record(tmp_path) == {"run": {"steps": 7}}
