"""The journey, run once: it ends well, the model has learned, and what it publishes anybody can load."""

import json
import re
import sys

import pytest
from support.commands import run
from support.paths import SAMPLE

from medllm_hf import demo

pytestmark = pytest.mark.slow

CLEAN = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
turns = [("user", "头痛"), ("assistant", "多久了？"), ("user", "三天")]
messages = [{"role": role, "content": content} for role, content in turns]
print(type(model).__name__, model.config.vocab_size == len(tokenizer), "medllm_hf" in sys.modules)
print(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
"""


def results(folder):
    return {row["run"]: row for row in json.loads((folder / "report" / "results.json").read_text())["results"]}


def test_every_stage_is_one_line_with_its_time(journey):
    folder, screen = journey
    lines = screen.splitlines()
    stages = [line for line in lines if re.match(r"\s*\d+/12 .{42}\s*[\d.]+ s  ", line)]
    assert len(stages) == 12
    assert lines[-1].strip() == f"medllm chat {folder / 'repository'}"
    assert len(list((folder / "logs").iterdir())) == 12


def test_accuracy_rises_by_25_points(journey):
    folder, screen = journey
    rows = results(folder)
    questions = len((SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines())
    for trained in ("full", "lora"):
        assert rows[trained]["accuracy"] - rows["before"]["accuracy"] >= 0.25
        assert rows[trained]["interval_low"] > rows["before"]["interval_high"]
    for row in rows.values():
        interval = f"{100 * row['interval_low']:.1f} to {100 * row['interval_high']:.1f}"
        assert row["n"] == questions == 128
        assert f"{100 * row['accuracy']:.1f}%  (n=128, 95% interval {interval})" in screen


def test_published_folder_loads_in_a_clean_process(journey, tmp_path):
    done = run(sys.executable, "-c", CLEAN, str(journey[0] / "repository"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    model, chat = done.stdout.strip().splitlines()
    assert model == "LlamaForCausalLM True False"
    user, assistant = "<reserved_106>", "<reserved_107>"
    assert chat == f"<s>{user}头痛{assistant}多久了？</s>{user}三天{assistant}"


def test_report_and_card_show_the_figures(journey):
    folder, _ = journey
    share = f"{100 * results(folder)['full']['accuracy']:.1f}%"
    report = (folder / "report" / "report.md").read_text(encoding="utf-8")
    assert share in report and "accuracy.png" in report
    assert (folder / "report" / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert share in (folder / "repository" / "README.md").read_text(encoding="utf-8")


def test_published_answer_is_chinese_and_ends(journey):
    answer = (journey[0] / "logs" / "12.log").read_text(encoding="utf-8").splitlines()[1]
    assert re.search(r"[\u4e00-\u9fff]{4}", answer)
    assert "<" not in answer


def test_nothing_was_looked_up_outside(journey):
    for log in (journey[0] / "logs").iterdir():
        assert "ConnectionError" not in log.read_text(encoding="utf-8")


def test_the_same_commands_give_the_same_answers(journey, tmp_path):
    """Up to the exam after LoRA training, whose outputs are what the report and the repository are made of."""
    (tmp_path / "logs").mkdir()
    for number, stage in enumerate(demo.stages(tmp_path)[:9], start=1):
        demo.run_stage(stage, tmp_path, number)
    for name in (*(f"runs/{one}/outputs.jsonl" for one in ("before", "full", "lora")), "full/model.safetensors"):
        assert (journey[0] / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_failing_stage_is_named(tmp_path, monkeypatch, capsys):
    broken = demo.Stage("a stage that fails", [sys.executable, "-c", "import sys; print('why'); sys.exit(3)"])
    monkeypatch.setattr(demo, "stages", lambda folder: [broken])
    assert demo.demo(str(tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert "ended with 3" in error and "01.log" in error and "why" in error


def test_a_python_without_trl_beside_it_is_told_before_any_stage(tmp_path, monkeypatch, refused):
    """As after an installation for one user, which puts programs elsewhere."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert f"no program {tmp_path / 'trl'};" in refused("demo", "--out", str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []
