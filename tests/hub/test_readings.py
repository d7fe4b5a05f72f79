"""Three readings of one exam on the card and in the evidence: each named, each confirmed, none mixed with another."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from support.paths import SAMPLE
from support.published_model import publish
from support.tampering import edited, manifest, metrics, outputs, put, replaced, scores

from medllm_hf.cli import main
from medllm_hf.evaluation.commands.mcq import mcq

READINGS = ("likelihood", "reply", "reasoning")
REPLY = "eval/reply"


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory) -> Path:
    """A published model with the three readings of six questions, of which one has several right letters at least."""
    folder = tmp_path_factory.mktemp("readings")
    lines = (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()
    several = [line for line in lines if '"multi"' in line][:2]
    (folder / "six.jsonl").write_text("\n".join([*lines[:4], *several]) + "\n", encoding="utf-8")
    limits = {"max_new_tokens": 3, "reasoning_tokens": 4, "finish": "letters"}
    assert mcq(str(tiny["base"]), str(folder / "six.jsonl"), str(folder / "out"), mode=",".join(READINGS), **limits) == 0
    return publish(tiny["base"], folder / "repository", [folder / "out"], benchmarks=["reply=org/bench#task"])


def verified(folder: Path, capsys, whole: Path) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = main(["verify", str(folder), "--data", str(whole.parent / "six.jsonl")])
    return code, capsys.readouterr().out.splitlines()


def test_every_figure_of_each_reading_is_confirmed(whole, capsys):
    code, lines = verified(whole, capsys, whole)
    assert code == 0, [line for line in lines if not line.startswith("confirmed ")]
    for mode in READINGS:
        for figure in (f"eval/{mode}/metrics.json accuracy", f"eval/{mode}/manifest.json settings.prompt_sha256"):
            assert any(line.startswith(f"confirmed     {figure}") for line in lines), figure
        assert any(f"model-index accuracy of {mode}" in line for line in lines)
    assert any("eval/reply/metrics.json finished" in line for line in lines)


def test_the_card_says_which_reading_each_figure_is(whole):
    text = (whole / "README.md").read_text(encoding="utf-8")
    metadata = yaml.safe_load(text.split("---\n")[1])
    found = [one for result in metadata["model-index"][0]["results"] for one in result["metrics"]]
    assert [(one["args"]["reading"], one["args"]["run"]) for one in found] == [(mode, mode) for mode in sorted(READINGS)]
    assert all(one["name"].startswith(f"accuracy by {one['args']['reading']}, n=6") for one in found)
    rows = [line for line in text.splitlines() if line.startswith(tuple(f"| {mode} |" for mode in READINGS))]
    assert len(rows) == 3 and "asked once more" in text and "questions 题目 | reading 读取方式 | asked once more" in text
    entry = yaml.safe_load((whole / ".eval_results" / "reply.yaml").read_text(encoding="utf-8"))
    assert entry[0]["notes"].startswith("reply, 0-shot")


def finishing(**fields):
    """Changes the answer to being asked once more of the first reply that has one."""

    def change(rows: list) -> None:
        next(row for row in rows if "finishing" in row)["finishing"].update(fields)

    return change


FORGERIES = [
    (
        "the finished accuracy",
        edited(f"{REPLY}/metrics.json", lambda m: m["finished"].update(accuracy=0.99)),
        "metrics.json finished",
    ),
    ("a second answer", outputs(REPLY, finishing(logprobs={"A": -1.0})), f"{REPLY}/outputs.jsonl: line"),
    (
        "a second answer taken out",
        outputs(REPLY, lambda rows: [row.pop("finishing", None) for row in rows]),
        f"{REPLY}/outputs",
    ),
    (
        "one that was not asked",
        outputs("eval/likelihood", put(0, finishing={"logprobs": {"A": -1.0}})),
        "eval/likelihood/outputs",
    ),
    ("what follows from it", scores(REPLY, lambda rows: [row.update(finished="A") for row in rows]), f"{REPLY}/scores.jsonl"),
    (
        "the reading",
        manifest("eval/reasoning", "settings", mode="reply"),
        "eval/reasoning/manifest.json settings.prompt_sha256",
    ),
    ("a figure more", metrics(REPLY, finished_best=0.9), f"{REPLY}/metrics.json finished_best"),
    (
        "the reading on the card",
        replaced("README.md", "accuracy by reply", "accuracy by reasoning"),
        "model-index accuracy of reply",
    ),
]


@pytest.mark.parametrize(("change", "named"), [row[1:] for row in FORGERIES], ids=[row[0] for row in FORGERIES])
def test_a_forged_reading_is_found(whole, tmp_path, capsys, change, named):
    shutil.copytree(whole, tmp_path / "repository")
    change(tmp_path / "repository")
    code, lines = verified(tmp_path / "repository", capsys, whole)
    assert code == 1 and any(named in line and not line.startswith("confirmed") for line in lines), lines


def test_readings_of_two_benchmarks_have_names_of_their_own(tiny, tmp_path, capsys):
    lines = (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()
    for name, rows in (("one", lines[:3]), ("two", lines[3:6])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    data = ",".join(str(tmp_path / f"{name}.jsonl") for name in ("one", "two"))
    assert mcq(str(tiny["base"]), data, str(tmp_path / "out"), mode="likelihood,reply", max_new_tokens=2) == 0
    publish(tiny["base"], tmp_path / "repository", [tmp_path / "out"])
    found = sorted(path.name for path in (tmp_path / "repository" / "eval").iterdir())
    assert found == ["one-likelihood", "one-reply", "two-likelihood", "two-reply"]
    files = [str(tmp_path / f"{name}.jsonl") for name in ("one", "two")]
    assert main(["verify", str(tmp_path / "repository"), "--data", *files]) == 0
    index = yaml.safe_load((tmp_path / "repository" / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert json.dumps(index["model-index"]).count('"accuracy"') == 4
