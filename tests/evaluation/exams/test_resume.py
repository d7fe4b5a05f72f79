"""kill -9 in the middle of an exam: the run goes on to the very bytes of an undisturbed one, or refuses with the reason."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import evaluate  # noqa: F401, since every child would import it anew
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.paths import SAMPLE

from medllm_hf.cli import main
from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.evaluation.exams import likelihood
from medllm_hf.evaluation.exams import run as module
from medllm_hf.evaluation.runs.folder import RunFolder, read_run

TEST, TRAIN = str(SAMPLE / "questions_test.jsonl"), str(SAMPLE / "questions_train.jsonl")
RESULTS = ("outputs.jsonl", "scores.jsonl", "metrics.json")
WAYS = {
    "letters": {"shots": 2, "examples": TRAIN, "batch_tokens": 3000},
    "circular": {"circular": True},
    "written": {"mode": "reply", "max_new_tokens": 6, "batch_tokens": 2000},
    "finished": {"mode": "reasoning", "reasoning_tokens": 6, "batch_tokens": 2000, "finish": "letters"},
}


@pytest.fixture(scope="module")
def exam(tiny, tmp_path_factory) -> tuple[Path, Path]:
    """The tiny model in bfloat16, where a value depends on its neighbours in the batch, and thirty questions."""
    folder = tmp_path_factory.mktemp("exam")
    shutil.copytree(tiny["base"], folder / "model")
    weights = load_file(folder / "model" / "model.safetensors")
    save_file(
        {name: (8 * tensor).to(torch.bfloat16) for name, tensor in weights.items()},
        folder / "model" / "model.safetensors",
        metadata={"format": "pt"},
    )
    config = json.loads((folder / "model" / "config.json").read_text())
    (folder / "model" / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    rows = Path(TEST).read_text(encoding="utf-8").splitlines()
    chosen = [row for row in rows if '"multi"' in row][:6] + [row for row in rows if '"single"' in row][:24]
    (folder / "thirty.jsonl").write_text("\n".join(chosen), encoding="utf-8")
    return folder / "model", folder / "thirty.jsonl"


def in_child(exam, out: Path, flags: dict, death: int | None = None, kill_after: float | None = None) -> bool:
    """Runs the exam in a process of its own, in portions of ten; whether it ended well.

    Args:
        death: the process kills itself with SIGKILL when it is about to write this output, counted from 1.
        kill_after: seconds after which it is killed from outside.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)  # the parent's pool of threads did not come along
            likelihood.PORTION = 10
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
            real, written = RunFolder.append, []

            def counted(self, row):
                written.append(row)
                if len(written) == death:
                    os.kill(os.getpid(), signal.SIGKILL)
                real(self, row)

            RunFolder.append = counted
            code = mcq(str(exam[0]), str(exam[1]), str(out), **flags)
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return status == 0


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in RESULTS}


def names(out: Path) -> list[tuple]:
    """The keys of all whole lines of outputs.jsonl."""
    lines = (out / "outputs.jsonl").read_bytes().split(b"\n")[:-1]
    return [(row["id"], row["rotation"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize("way", [pytest.param(way, marks=[pytest.mark.slow] * (way != "letters")) for way in WAYS])
def test_killed_and_resumed_gives_the_undisturbed_bytes(exam, tmp_path, way):
    torch.set_num_threads(1)
    assert in_child(exam, tmp_path / "undisturbed", WAYS[way])
    expected = contents(tmp_path / "undisturbed")
    count = expected["outputs.jsonl"].count(b"\n")
    for death in (1, 9, 18, 29):  # so that of some portions only one or two are left
        out = tmp_path / str(death)
        assert not in_child(exam, out, WAYS[way], death=death)
        assert len(set(names(out))) == len(names(out)) == death - 1
        with pytest.raises(UserError, match="an unfinished run"):
            read_run(out)
        assert not in_child(exam, out, WAYS[way], death=2)  # and again, one output further
        assert len(set(names(out))) == len(names(out)) == death
        assert in_child(exam, out, WAYS[way])
        assert contents(out) == expected
        assert len(set(names(out))) == count == len(names(out))


@pytest.mark.slow
def test_killed_at_random_moments(exam, tmp_path):
    torch.set_num_threads(1)
    started = time.monotonic()
    assert in_child(exam, tmp_path / "undisturbed", WAYS["letters"])
    usual, expected = time.monotonic() - started, contents(tmp_path / "undisturbed")
    rng, midway = random.Random(0), 0
    for number in range(20):
        out = tmp_path / str(number)
        for _ in range(2):
            in_child(exam, out, WAYS["letters"], kill_after=rng.uniform(0.1, usual))
            midway += (out / "outputs.jsonl").exists() and len(names(out)) > 0 and not (out / "metrics.json").exists()
        assert in_child(exam, out, WAYS["letters"])
        assert contents(out) == expected
    assert midway >= 5, "the kills came too early or too late to prove anything"


def test_a_kill_between_the_last_output_and_the_end(exam, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    assert in_child(exam, tmp_path / "run", WAYS["letters"])
    expected = contents(tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    del manifest["ended"]
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "run" / "metrics.json").unlink()
    monkeypatch.setattr(module, "local_answers", lambda exam, wanted: pytest.fail("nothing is missing, so no model is needed"))
    mcq(str(exam[0]), str(exam[1]), str(tmp_path / "run"), **WAYS["letters"])
    assert contents(tmp_path / "run") == expected


def test_a_finished_run_is_told_again_and_not_computed(exam, tmp_path, monkeypatch, capsys):
    flags = WAYS["letters"]
    assert mcq(str(exam[0]), str(exam[1]), str(tmp_path / "run"), **flags) == 0
    said, before = capsys.readouterr().out, contents(tmp_path / "run")
    monkeypatch.setattr(module, "local_answers", lambda exam, wanted: pytest.fail("the run is finished"))
    assert mcq(str(exam[0]), str(exam[1]), str(tmp_path / "run"), **flags) == 0
    assert capsys.readouterr().out == said and "accuracy" in said
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("metrics.json", '"accuracy": 0.', '"accuracy": 0.9'),
        ("scores.jsonl", '"reference": "', '"reference": "A'),
        ("outputs.jsonl", '"logprobs": {"A": -', '"logprobs": {"A": -9'),
        ("outputs.jsonl", '"rotation": 0', '"rotation": 7'),
        ("outputs.jsonl", '"logprobs": {"A": ', '"logprobs": {"Z": '),
    ],
)
def test_a_finished_run_that_was_edited_is_refused_with_a_way_out(exam, tmp_path, capsys, refused, name, old, new):
    out, flags = tmp_path / "run", WAYS["letters"]
    assert mcq(str(exam[0]), str(exam[1]), str(out), **flags) == 0
    before, text = contents(out), (out / name).read_text(encoding="utf-8")
    (out / name).write_text(text.replace(old, new), encoding="utf-8")
    assert old in text
    words = ["eval", "mcq", "--model", str(exam[0]), "--data", str(exam[1]), "--out", str(out), "--shots", "2"]
    words += ["--examples", TRAIN, "--batch-tokens", "3000"]
    said = refused(*words)
    assert ".json" in said and str(out) in said and "--overwrite" in said
    assert main([*words, "--overwrite"]) == 0 and contents(out) == before


def change_template(model: Path, data: Path) -> None:
    file = model / "chat_template.jinja"
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")


def change_weights(model: Path, data: Path) -> None:
    weights = load_file(model / "model.safetensors")
    save_file({**weights, "model.norm.weight": -weights["model.norm.weight"]}, model / "model.safetensors", {"format": "pt"})


def change_data(model: Path, data: Path) -> None:
    data.write_text(data.read_text(encoding="utf-8").replace("？", "?", 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "flags", "named"),
    [
        (change_template, {}, "model.files_sha256.chat_template.jinja"),
        (change_weights, {}, "model.weights_sha256"),
        (change_data, {}, "data.sha256"),
        (None, {"shots": 3}, "data.examples.ids"),
        (None, {"seed": 1}, "data.examples.ids"),
        (None, {"score": "text"}, "settings.score"),
        (None, {"normalization": "bytes"}, "settings.normalization"),
        (None, {"shuffle_options": True}, "settings.shuffle_options"),
        (None, {"chat_template": False}, "settings.chat_template"),
        (None, {"mode": "reply"}, "settings.mode"),
        (None, {"batch_tokens": 99}, "settings.batch_tokens"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_another_prompt_model_or_data_file_is_refused_with_the_reason(exam, tmp_path, change, flags, named):
    model, data = tmp_path / "model", tmp_path / "data.jsonl"
    shutil.copytree(exam[0], model)
    shutil.copyfile(exam[1], data)
    in_child((model, data), tmp_path / "run", WAYS["letters"], death=5)
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    if change:
        change(model, data)
    with pytest.raises(UserError) as refused:
        mcq(str(model), str(data), str(tmp_path / "run"), **{**WAYS["letters"], **flags})
    assert f"found {named}" in str(refused.value) and "where the run in" in str(refused.value)
    assert "choose another folder, or add --overwrite" in str(refused.value)
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_ctrl_c_keeps_what_was_answered_and_says_how_to_go_on(exam, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(likelihood, "PORTION", 10)
    real, written = RunFolder.append, []

    def interrupted(self, row):
        real(self, row)
        written.append(row)
        if len(written) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "append", interrupted)
    assert mcq(str(exam[0]), str(exam[1]), str(tmp_path / "run")) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        "medllm: interrupted; what was answered is kept; run the same command again to go on"
    )
    assert len(names(tmp_path / "run")) == 7
    assert mcq(str(exam[0]), str(exam[1]), str(tmp_path / "run")) == 0 and len(names(tmp_path / "run")) == 30
