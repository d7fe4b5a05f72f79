"""kill -9 at random moments: never a folder that loads and is wrong, and the next run gives the undisturbed bytes."""

import hashlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from medllm_hf.checkpoint.convert import convert
from medllm_hf.checkpoint.merge import merge
from medllm_hf.checkpoint.tiny import tiny_base

KILLS = 20
pytestmark = pytest.mark.slow


def digest(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def in_child(work, kill_after: float | None) -> float:
    """Runs `work` in a process of its own, killed after `kill_after` seconds; returns the seconds it ran."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)  # the parent's pool of threads did not come along
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
            work()
            code = 0
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if kill_after is None:
        assert status == 0
    return time.monotonic() - started


def undisturbed(work, out: Path, expected: dict[str, str]) -> float:
    """The seconds of one whole run into the absent folder `out`, whose result is checked."""
    shutil.rmtree(out, ignore_errors=True)
    seconds = in_child(work, None)
    assert digest(out) == expected
    return seconds


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A source checkpoint of some 60 MB, its conversion, and a LoRA on that, all made without disturbance."""
    folder = tmp_path_factory.mktemp("kill")
    torch.set_num_threads(1)
    tiny_base(str(folder / "source"), layers=6, hidden=512)
    convert(str(folder / "source"), str(folder / "base"))
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "base"), LoraConfig(r=8, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder / "adapter")
    merge(str(folder / "adapter"), str(folder / "merged"), base=str(folder / "base"))
    return folder


@pytest.mark.parametrize("verb", ["convert", "merge"])
def test_killed_at_random_moments(parts, tmp_path, verb):
    out = tmp_path / "out"
    work = {
        "convert": lambda: convert(str(parts / "source"), str(out)),
        "merge": lambda: merge(str(parts / "adapter"), str(out), base=str(parts / "base")),
    }[verb]
    expected = digest(parts / {"convert": "base", "merge": "merged"}[verb])
    # The first run of a process is slower; kills timed by it would all come after the end.
    usual = min(undisturbed(work, out, expected) for _ in range(4))
    rng, midway = random.Random(verb), 0
    for _ in range(KILLS):
        shutil.rmtree(out, ignore_errors=True)
        in_child(work, rng.uniform(0, usual))
        if out.exists():
            assert digest(out) == expected  # it had finished
        else:
            midway += bool(list(tmp_path.glob(".out.partial/new/*")))
            in_child(work, None)
            assert digest(out) == expected
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert midway >= KILLS // 4, "the kills came too early or too late to prove anything"


def test_an_overwrite_that_is_killed_keeps_the_old_or_gives_the_new(parts, tmp_path):
    out = tmp_path / "out"
    convert(str(parts / "source"), str(out), template="baichuan2")
    old, new = digest(out), digest(parts / "base")
    for moment in (0.02, 0.1, 0.2):
        in_child(lambda: convert(str(parts / "source"), str(out), overwrite=True), moment)
        assert digest(out) in (old, new)


def test_two_at_once_do_not_mix(parts, tmp_path):
    """The second is refused while the first writes."""
    from medllm_hf.errors import UserError
    from medllm_hf.folders import new_folder

    with new_folder(tmp_path / "out"), pytest.raises(UserError, match="another process"):
        convert(str(parts / "source"), str(tmp_path / "out"))
