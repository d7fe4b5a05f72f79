"""The same command twice, a finished run resumed, a run resumed as another one: the weights stay as they were, byte for byte.

Whatever trains after all ends with the weights of a run that was left alone; everything else is one line.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from support.commands import one_line_error, run
from support.paths import SAMPLE
from support.ranks import FORKS, finished, start, steps, words, write_dialogues

from medllm_hf.errors import UserError
from medllm_hf.folders import check_unheld, held
from medllm_hf.training.checkpoints import is_whole

# An epoch and a half of four steps an epoch: the end lies within an epoch.
LAST = 6
BASIC = {"max_steps": LAST, "save_strategy": "steps", "save_steps": 3}
LORA = {"use_peft": True, "lora_r": 4, "lora_target_modules": "all-linear"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("repeat")


@pytest.fixture(scope="module")
def data(folder) -> Path:
    return write_dialogues(folder / "data", 13)


@pytest.fixture(scope="module")
def whole(tiny, folder, data) -> Path:
    """A finished run with its checkpoints; not to be changed."""
    out = folder / "whole"
    finished(folder / "whole-logs", *words(tiny["base"], data, out, **BASIC))
    return out


@pytest.fixture(scope="module")
def lora(tiny, folder, data) -> Path:
    out = folder / "lora"
    finished(folder / "lora-logs", *words(tiny["base"], data, out, **BASIC, **LORA))
    return out


@pytest.fixture
def out(whole, tmp_path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def cut(out: Path) -> Path:
    """`out` as if the run had been killed after its first checkpoint."""
    shutil.rmtree(out / f"checkpoint-{LAST}")
    for path in out.iterdir():
        if path.is_file():
            path.unlink()
    return out


def files(folder: Path) -> dict[str, str]:
    """Path → hash of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def weights(folder: Path) -> bytes:
    return next(folder.glob("*model.safetensors")).read_bytes()


def refused(logs: Path, *arguments: str, ranks: int = 1) -> str:
    """The one line of a run that refused, on every rank, before it tokenised anything unless the data is the fault."""
    attempt = start(logs, *arguments, ranks=ranks)
    codes = attempt.wait(120)
    lines = [line for line in attempt.logs[0].read_text(encoding="utf-8").splitlines() if line.startswith("medllm: ")]
    assert codes == [2] * ranks and len(lines) == 1 and "Traceback" not in attempt.text(), attempt.text()
    return lines[0]


def test_the_same_command_again_is_refused(tiny, data, out, tmp_path):
    before = files(out)
    line = refused(tmp_path / "logs", *words(tiny["base"], data, out, **BASIC))
    assert f"files in {out}" in line and "--overwrite" in line
    assert files(out) == before


def test_a_run_that_got_nowhere_near_its_end_is_to_be_resumed(tiny, data, out, tmp_path):
    line = refused(tmp_path / "logs", *words(tiny["base"], data, cut(out), **BASIC))
    assert "got to checkpoint-3" in line and "--resume_from_checkpoint true" in line and "--overwrite" in line


@pytest.mark.parametrize("named", [False, True])
def test_a_finished_run_is_not_trained_further(tiny, data, out, tmp_path, named):
    before = files(out)
    wanted = out / f"checkpoint-{LAST}" if named else True
    for _ in range(2):
        again = finished(tmp_path / "logs", *words(tiny["base"], data, out, **BASIC, resume_from_checkpoint=wanted))
        assert f"nothing to train: the run in {out} was finished at step {LAST}" in again.text()
        assert files(out) == before


def test_a_finished_run_without_checkpoints_is_not_trained_further(tiny, data, out, tmp_path):
    for step in (3, LAST):
        shutil.rmtree(out / f"checkpoint-{step}")
    before = files(out)
    finished(tmp_path / "logs", *words(tiny["base"], data, out, **BASIC, resume_from_checkpoint=True))
    assert files(out) == before


def test_what_a_kill_left_unsaved_is_saved_without_a_step(tiny, data, whole, out, tmp_path):
    """The last checkpoint is whole and the final weights are not there, or are cut."""
    (out / "resume.json").unlink()
    (out / "model.safetensors").write_bytes(weights(whole)[:-100])
    again = finished(tmp_path / "logs", *words(tiny["base"], data, out, **BASIC, resume_from_checkpoint=True))
    assert weights(out) == weights(whole), again.text()
    assert json.loads((out / "training.json").read_text(encoding="utf-8"))["run"]["steps"] == LAST
    assert "Traceback" not in again.text()
    before = files(out)
    finished(tmp_path / "logs", *words(tiny["base"], data, out, **BASIC, resume_from_checkpoint=True))
    assert files(out) == before


def test_cut_weights_of_a_finished_run_are_saved_again(tiny, data, whole, out, tmp_path):
    (out / "model.safetensors").write_bytes(weights(whole)[:-100])
    finished(tmp_path / "logs", *words(tiny["base"], data, out, **BASIC, resume_from_checkpoint=True))
    assert weights(out) == weights(whole)


def test_an_earlier_checkpoint_leads_to_the_same_weights(tiny, data, whole, out, tmp_path):
    wanted = out / "checkpoint-3"
    finished(tmp_path / "logs", *words(tiny["base"], data, out, **BASIC, resume_from_checkpoint=wanted))
    assert weights(out) == weights(whole)
    assert steps(out / f"checkpoint-{LAST}", "loss") == steps(whole / f"checkpoint-{LAST}", "loss")


OTHERS = {
    "learning rate": ({"learning_rate": 0.002}, "learning_rate 0.002; expected 0.001, as in"),
    "schedule": ({"lr_scheduler_type": "cosine"}, "lr_scheduler_type cosine; expected linear"),
    "warmup": ({"warmup_steps": 2}, "warmup_steps 2"),
    "batch": ({"per_device_train_batch_size": 2}, "per_device_train_batch_size 2; expected 4"),
    "accumulation": ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps 2; expected 1"),
    "seed": ({"seed": 7}, "seed 7; expected 42"),
    "order": ({"train_sampling_strategy": "group_by_length"}, "train_sampling_strategy group_by_length; expected random"),
    "max_length": ({"max_length": 100}, "max_length 100; expected 512"),
    "decay": ({"weight_decay": 0.1}, "weight_decay 0.1; expected 0"),
    "optimizer": ({"optim": "sgd"}, "optim sgd; expected adamw_torch"),
    "noise": ({"neftune_noise_alpha": 5}, "neftune_noise_alpha 5; expected none"),
    "steps": ({"max_steps": 9}, "length 9 steps; expected 6 steps"),
    "epochs": ({"max_steps": -1, "num_train_epochs": 2}, "length 2 epochs; expected 6 steps"),
    "adapter": (LORA, "lora_r 4; expected 16"),
    "best": ({"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 3}, "load_best_model_at_end true"),
}


# The default suite has those that users change, the slow one all.
QUICK = ("learning rate", "schedule", "batch", "seed", "max_length", "steps", "best")


@pytest.mark.parametrize(
    ("name", "state"),
    [
        *((name, "cut") for name in QUICK),
        *((name, "finished") for name in ("seed", "steps", "adapter")),
        *(pytest.param(name, "cut", marks=pytest.mark.slow) for name in OTHERS if name not in QUICK),
    ],
)
def test_another_run_is_not_resumed(tiny, data, out, tmp_path, name, state):
    options, found = OTHERS[name]
    if state == "cut":
        cut(out)
    before = files(out)
    if "eval_strategy" in options:
        data = shutil.copytree(data, tmp_path / "data")
        shutil.copy(SAMPLE / "dialogues.jsonl", data / "test.jsonl")
        write_test_split(data)
    arguments = words(tiny["base"], data, out, **{**BASIC, **options}, resume_from_checkpoint=True)
    assert f"found {found}" in refused(tmp_path / "logs", *arguments)
    assert files(out) == before


def write_test_split(data: Path) -> None:
    """Two dialogues that the training split does not have, as `test.jsonl`."""
    lines = (SAMPLE / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()[-2:]
    rows = [json.dumps({"messages": json.loads(line)["conversation"]}, ensure_ascii=False) for line in lines]
    (data / "test.jsonl").write_text("\n".join(rows), encoding="utf-8")


def changed_base(base: Path, folder: Path, name: str) -> Path:
    """A copy of the base with another template, another token, or other weights."""
    copy = Path(shutil.copytree(base, folder / "base"))
    if name == "chat template":
        file = copy / "chat_template.jinja"
        file.write_text(file.read_text(encoding="utf-8") + "{# another #}", encoding="utf-8")
    elif name == "tokenizer":
        file = copy / "tokenizer.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        content["added_tokens"].append({**content["added_tokens"][-1], "id": 4000, "content": "<|another|>"})
        file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    else:
        file = copy / "model.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    return copy


@pytest.mark.parametrize("name", ["base weights", "tokenizer", "chat template"])
def test_another_base_is_not_resumed(tiny, data, out, tmp_path, name):
    before = files(out)
    base = changed_base(tiny["base"], tmp_path, name)
    line = refused(tmp_path / "logs", *words(base, data, out, **BASIC, resume_from_checkpoint=True))
    assert f"found other {name} than in {out}" in line
    assert files(out) == before


def test_other_dialogues_are_not_resumed_and_the_same_elsewhere_are(tiny, data, whole, out, tmp_path):
    cut(out)
    other = shutil.copytree(data, tmp_path / "other")
    lines = (data / "train.jsonl").read_text(encoding="utf-8").splitlines()
    (other / "train.jsonl").write_text("\n".join([*lines[1:], lines[0]]), encoding="utf-8")
    line = refused(tmp_path / "logs", *words(tiny["base"], other, out, **BASIC, resume_from_checkpoint=True))
    assert "found other dialogues to train on than in" in line
    moved, base = shutil.copytree(data, tmp_path / "moved"), shutil.copytree(tiny["base"], tmp_path / "base")
    free = {"logging_steps": 2, "save_steps": 2, "dataset_num_proc": 2, "gradient_checkpointing": True}
    finished(tmp_path / "logs", *words(base, moved, out, **{**BASIC, **free}, resume_from_checkpoint=True))
    assert weights(out) == weights(whole)


def test_other_adapters_are_not_resumed(tiny, data, lora, tmp_path):
    out = Path(shutil.copytree(lora, tmp_path / "out"))
    before = files(out)
    for options, found in (
        ({**LORA, "lora_r": 8}, "lora_r 8; expected 4"),
        ({**LORA, "lora_target_modules": "q_proj"}, "lora_target_modules"),
        ({}, "lora_r 16; expected 4"),
    ):
        line = refused(tmp_path / "logs", *words(tiny["base"], data, out, **BASIC, **options, resume_from_checkpoint=True))
        assert f"found {found}" in line
    again = finished(tmp_path / "logs", *words(tiny["base"], data, out, **BASIC, **LORA, resume_from_checkpoint=True))
    assert "nothing to train" in again.text() and files(out) == before


def test_a_schedule_without_an_end_can_be_made_longer(tiny, data, tmp_path):
    constant = {**BASIC, "lr_scheduler_type": "constant_with_warmup", "warmup_steps": 2}
    for name, last in (("long", 9), ("out", LAST)):
        finished(tmp_path / "logs", *words(tiny["base"], data, tmp_path / name, **{**constant, "max_steps": last}))
    out, longer = tmp_path / "out", {**constant, "max_steps": 9, "resume_from_checkpoint": True}
    finished(tmp_path / "logs", *words(tiny["base"], data, out, **longer))
    assert weights(out) == weights(tmp_path / "long")
    line = refused(tmp_path / "logs", *words(tiny["base"], data, out, **{**longer, "max_steps": 4}))
    assert "found max_steps 4 and a checkpoint at 9" in line


def test_weights_alone_are_no_checkpoint(tiny, data, tmp_path):
    out, options = tmp_path / "out", {**BASIC, "save_only_model": True}
    finished(tmp_path / "logs", *words(tiny["base"], data, out, **options))
    before = files(out)
    named = {**options, "resume_from_checkpoint": out / "checkpoint-3", "learning_rate": 0.5}
    assert "checkpoint-3: saved with save_only_model" in refused(tmp_path / "logs", *words(tiny["base"], data, out, **named))
    assert files(out) == before
    line = refused(tmp_path / "logs", *words(tiny["base"], data, cut(out), **{**options, "resume_from_checkpoint": True}))
    assert "saved with save_only_model, without the states of optimizer and random numbers" in line


def test_a_checkpoint_of_stock_trl_is_not_resumed(tiny, data, tmp_path):
    out = tmp_path / "out"
    finished(tmp_path / "logs", *words(tiny["base"], data, out, **BASIC), program="trl")
    before = files(out)
    line = refused(tmp_path / "logs", *words(tiny["base"], data, out, **BASIC, resume_from_checkpoint=True))
    assert "no resume.json: another program's" in line and "--model_name_or_path" in line
    assert files(out) == before


def test_overwriting_starts_anew(tiny, data, whole, out, tmp_path):
    (out / "checkpoint-99").mkdir()
    (out / "stray.txt").write_text("old")
    finished(tmp_path / "logs", *words(tiny["base"], data, out, **BASIC, overwrite=True))
    assert weights(out) == weights(whole) and files(out).keys() == files(whole).keys()
    before = files(out)
    # What is refused later than the folder was looked at has removed nothing.
    wrong = {**BASIC, "lora_target_modules": "W_pack", "use_peft": True, "overwrite": True}
    assert "W_pack" in refused(tmp_path / "logs", *words(tiny["base"], data, out, **wrong))
    assert files(out) == before


def test_what_cannot_be_resumed_may_be_overwritten(tiny, data, whole, out, tmp_path):
    """As a job that may be put back into the queue at any time does: both at once."""
    both = words(tiny["base"], data, out, **BASIC, resume_from_checkpoint=True, overwrite=True)
    before = files(out)
    assert "nothing to train" in finished(tmp_path / "logs", *both).text() and files(out) == before
    cut(out)
    state = (out / "checkpoint-3" / "trainer_state.json").stat().st_mtime_ns
    finished(tmp_path / "logs", *both)
    assert weights(out) == weights(whole) and (out / "checkpoint-3" / "trainer_state.json").stat().st_mtime_ns == state
    (cut(out) / "checkpoint-3" / "optimizer.pt").unlink()
    finished(tmp_path / "logs", *both)
    assert weights(out) == weights(whole) and is_whole(out / "checkpoint-3")


def test_no_input_is_overwritten(tiny, data, out, whole, tmp_path):
    base, before = shutil.copytree(tiny["base"], tmp_path / "all" / "base"), files(tiny["base"])
    lessons = shutil.copytree(data, tmp_path / "all" / "data")
    for target, more, found in (
        (base, {}, "which holds the model_name_or_path"),
        (tmp_path / "all", {}, "which holds the model_name_or_path"),
        (lessons, {}, "which holds the dataset_name"),
        (lessons / "new", {}, "in the dataset"),
        (out, {"resume_from_checkpoint": out / "checkpoint-3"}, "--overwrite and a checkpoint in"),
    ):
        line = refused(tmp_path / "logs", *words(base, lessons, target, **BASIC, **more, overwrite=True))
        assert found in line
    elsewhere = {"resume_from_checkpoint": out / "checkpoint-3"}
    line = refused(tmp_path / "logs", *words(base, lessons, tmp_path / "all" / "data" / "..", **BASIC, **elsewhere))
    assert "which holds" in line
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "a").touch()
    assert "files in" in refused(tmp_path / "logs", *words(base, data, tmp_path / "taken", **BASIC, **elsewhere))
    assert files(base) == before and files(out) == files(whole) and files(lessons) == files(data)


@pytest.mark.slow
def test_two_ranks_refuse_alike_and_other_ranks_are_another_run(tiny, data, tmp_path):
    out, half = tmp_path / "out", {**BASIC, "per_device_train_batch_size": 2}
    finished(tmp_path / "logs", *words(tiny["base"], data, out, **half), ranks=2)
    before = files(out)
    assert "files in" in refused(tmp_path / "logs", *words(tiny["base"], data, out, **half), ranks=2)
    again = finished(tmp_path / "logs", *words(tiny["base"], data, out, **half, resume_from_checkpoint=True), ranks=2)
    assert "nothing to train" in again.text()
    line = refused(tmp_path / "logs", *words(tiny["base"], data, out, **half, resume_from_checkpoint=True))
    assert "found ranks 1; expected 2, as in" in line
    assert files(out) == before and is_whole(out / "checkpoint-3")
    (out / "checkpoint-3" / "rng_state_1.pth").unlink()
    named = {"resume_from_checkpoint": out / "checkpoint-3"}
    assert "rng_state_1.pth is missing" in refused(tmp_path / "logs", *words(tiny["base"], data, out, **half, **named), ranks=2)
    finished(tmp_path / "logs", *words(tiny["base"], data, out, **half, overwrite=True), ranks=2)
    assert weights(out)


def test_the_program_itself_refuses_in_one_line(tiny, data, whole):
    before = files(whole)
    done = run("medllm", "sft", *words(tiny["base"], data, whole, **BASIC))
    assert "files in" in one_line_error(done)
    assert files(whole) == before


@pytest.mark.slow
def test_noise_and_adapters_go_on_as_they_would_have(tiny, data, tmp_path):
    options = {**BASIC, **LORA, "lora_dropout": 0.1, "neftune_noise_alpha": 5}
    out = tmp_path / "out"
    finished(tmp_path / "logs", *words(tiny["base"], data, out, **options))
    undisturbed = weights(out)
    shutil.rmtree(out / f"checkpoint-{LAST}")
    for path in out.iterdir():
        if path.is_file():
            path.unlink()
    finished(tmp_path / "logs", *words(tiny["base"], data, out, **options, resume_from_checkpoint=True))
    assert weights(out) == undisturbed


@pytest.mark.slow
def test_a_finished_run_whose_best_is_not_its_last_is_left_as_it_is(tiny, data, tmp_path):
    lessons = Path(shutil.copytree(data, tmp_path / "data"))
    write_test_split(lessons)
    best = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 3, "save_total_limit": 1}
    options = {**BASIC, **best, "metric_for_best_model": "eval_mean_token_accuracy", "greater_is_better": False}
    out = tmp_path / "out"
    finished(tmp_path / "logs", *words(tiny["base"], lessons, out, **options))
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-3"]
    before = files(out)
    again = finished(tmp_path / "logs", *words(tiny["base"], lessons, out, **options, resume_from_checkpoint=True))
    assert "nothing to train" in again.text() and files(out) == before


# What is in a mixture, with DATA for the folder of its file, and the places that a run must not write into.
MIXTURES = {
    "folder": ({"path": "DATA"}, ("", "new")),
    "file": ({"path": "json", "data_files": "DATA/train.jsonl"}, ("",)),
    "files": ({"path": "json", "data_files": ["DATA/other.jsonl", "DATA/train.jsonl"]}, ("", "..")),
    "files of splits": ({"path": "json", "data_files": {"train": ["DATA/train.jsonl"]}}, ("",)),
    "files by a pattern": ({"path": "json", "data_files": "DATA/*.jsonl"}, ("",)),
    "files in a folder": ({"path": "DATA/..", "data_files": "data/train.jsonl"}, ("",)),
    "folder of files": ({"path": "json", "data_dir": "DATA"}, ("", "new")),
    "folder in a folder": ({"path": "DATA/..", "data_dir": "data"}, ("",)),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_of_datasets_is_an_input_too(tiny, data, tmp_path, name):
    part, places = MIXTURES[name]
    lessons = Path(shutil.copytree(data, tmp_path / "all" / "data"))
    recipe = tmp_path / "mixed.yaml"
    recipe.write_text(json.dumps({"datasets": [part]}).replace("DATA", str(lessons)), encoding="utf-8")
    for place in places:
        arguments = words(tiny["base"], data, lessons / place, **BASIC, overwrite=True, config=recipe)
        at = arguments.index("--dataset_name")
        line = refused(tmp_path / "logs", *arguments[:at], *arguments[at + 2 :])
        assert ("in the dataset" if place == "new" else "which holds the dataset 1") in line
        assert files(lessons) == files(data)


def test_two_runs_do_not_write_one_folder(tiny, data, out, tmp_path):
    new = tmp_path / "new"
    endless = words(tiny["base"], data, new, **{**BASIC, "max_steps": 100_000, "save_strategy": "no"})
    first = start(tmp_path / "first", *endless)
    end = time.monotonic() + 60
    while not (first.logs[0].exists() and "'loss'" in first.text()) and time.monotonic() < end:
        time.sleep(0.1)
    for more in ({}, {"overwrite": True}, {"resume_from_checkpoint": True}):
        line = refused(tmp_path / "logs", *words(tiny["base"], data, new, **BASIC, **more))
        assert f"another process writing {new}" in line
    assert first.processes[0].is_alive(), first.text()
    first.kill()  # which lets go of it
    before = files(out)
    with held(out):
        again = words(tiny["base"], data, out, **BASIC, resume_from_checkpoint=True)
        assert "another process writing" in refused(tmp_path / "logs", *again, ranks=2)
    assert files(out) == before
    finished(tmp_path / "logs", *words(tiny["base"], data, new, **BASIC, overwrite=True))
    assert weights(new) == weights(out)


def lives_on(pipe) -> None:
    pipe.send(os.getpid())
    time.sleep(60)


def holds_and_forks(folder: Path, pipe) -> None:
    with held(folder):
        multiprocessing.get_context("fork").Process(target=lives_on, args=(pipe,)).start()
        time.sleep(60)


def test_a_process_that_outlives_a_killed_run_holds_nothing(tmp_path):
    ours, theirs = FORKS.Pipe()
    holder = FORKS.Process(target=holds_and_forks, args=(tmp_path, theirs))
    holder.start()
    assert ours.poll(60)
    orphan = ours.recv()
    try:
        with pytest.raises(UserError, match="another process writing"):
            check_unheld(tmp_path)
        holder.kill()
        holder.join()
        os.kill(orphan, 0)
        with held(tmp_path):
            pass
        check_unheld(tmp_path)
    finally:
        holder.kill()
        os.kill(orphan, signal.SIGKILL)


def test_ready_ids_need_no_chat_template(tiny, data, tmp_path):
    base, lessons, out = Path(shutil.copytree(tiny["base"], tmp_path / "base")), tmp_path / "lessons", tmp_path / "out"
    (base / "chat_template.jinja").unlink()
    lessons.mkdir()
    rows = [{"input_ids": [5, 6, 7, id], "labels": [-100, 6, 7, id]} for id in range(300, 312)]
    (lessons / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    finished(tmp_path / "logs", *words(base, lessons, out, **BASIC))
    before = files(out)
    again = finished(tmp_path / "logs", *words(base, lessons, out, **BASIC, resume_from_checkpoint=True))
    assert "nothing to train" in again.text() and files(out) == before
