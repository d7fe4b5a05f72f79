"""Readings side by side: spread, agreement, intervals that do not meet, and the figure that the rule names."""

import json
import random
from pathlib import Path

import pytest
from support.exam_runs import answered, as_shown, questions, reported, right_with, run_folder

from medllm_hf.evaluation.exams.compared_readings import headline
from medllm_hf.folders import write_json


def row(reading: str, accuracy: float, unparsed: int = 0, n: int = 100) -> dict:
    return {"run": reading, "reading": reading, "accuracy": accuracy, "unparsed": unparsed, "n": n}


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([row("likelihood", 0.9), row("reply", 0.5), row("reasoning", 0.7)], "reply"),
        ([row("likelihood", 0.9), row("reply", 0.5, 5), row("reasoning", 0.7)], "reply"),
        ([row("likelihood", 0.2), row("reply", 0.9, 6), row("reasoning", 0.1)], "reasoning"),
        ([row("likelihood", 0.2, 30), row("reply", 0.9, 6), row("reasoning", 0.9, 50)], "likelihood"),
        ([row("reply", 0.9, 50), row("reasoning", 0.1, 20)], "reasoning"),
    ],
)
def test_the_rule_asks_what_could_be_read_and_never_what_is_higher(rows, chosen):
    assert headline(rows)["reading"] == chosen
    others = [{**one, "accuracy": 1 - one["accuracy"]} for one in rows]
    assert headline(others)["reading"] == chosen


def test_of_readings_that_are_mostly_unread_none_is_published():
    assert headline([row("likelihood", 0.0, 51), row("reply", 0.4, 60)]) is None
    assert headline([row("likelihood", 0.0, 100), row("reply", 0.4, 30)])["reading"] == "reply"
    assert headline([row("likelihood", 0.3, 50), row("reply", 0.4, 60)])["reading"] == "likelihood"


def three(tmp_path: Path, far: bool = False) -> list[Path]:
    """The likelihood and both written readings of 90 questions; the reply says A throughout, or nothing to every third."""
    rows, rng = as_shown(questions(90)), random.Random(5)
    likely = run_folder(tmp_path / "likelihood", answered(rows, right_with(0.9 if far else 0.3, 1)))
    silent = answered(rows, lambda one: "说不好" if rng.random() < 0.3 else "A")
    reply = run_folder(tmp_path / "reply", silent, mode="reply", max_new_tokens=64)
    reasoning = run_folder(tmp_path / "reasoning", answered(rows, right_with(0.3, 2)), mode="reasoning")
    return [likely, reply, reasoning]


def test_spread_and_agreement(tmp_path):
    found, text = reported(tmp_path, *three(tmp_path))
    (group,) = found["datasets"][0]["readings"]
    shares = [one["accuracy"] for one in group["rows"]]
    assert [one["reading"] for one in group["rows"]] == ["likelihood", "reply", "reasoning"]
    assert group["spread"] == pytest.approx(max(shares) - min(shares))
    pairs = {(one["first"], one["second"]): one for one in group["agreement"]}
    silent = group["rows"][1]["unparsed"]
    assert {one["n"] for key, one in pairs.items() if "reply" in key} == {90 - silent} and silent > 5
    assert pairs["likelihood", "reasoning"]["n"] == 90
    for one in pairs.values():
        assert one["share"] == one["equal"] / one["n"] and one["interval_low"] < one["share"] < one["interval_high"]
    assert group["apart"] == [] and "do not meet" not in text
    assert "Which number to publish: reasoning, " in text and "can stand beside it as a check" in text
    zh = group["headline"]["zh"]
    assert "该发布哪个数字：reasoning，" in zh and "区间两两相交" in zh
    # The first thing that is said of the questions, in one sentence each; the rule stands with the readings.
    first = text.partition("## exam.jsonl")[2].strip().split("\n\n")[0]
    assert first.startswith("Which number to publish: ") and first.count(". ") == 0 and ", chance 22.7%, " in first
    assert zh.startswith("该发布哪个数字：") and zh.count("。") == 1
    assert text.index("### Readings of") < text.index("The rule for the number to publish")


def test_intervals_that_do_not_meet_are_warned_of(tmp_path):
    found, text = reported(tmp_path, *three(tmp_path, far=True))
    (group,) = found["datasets"][0]["readings"]
    assert group["apart"] == [["likelihood", "reply"], ["likelihood", "reasoning"]]
    assert "The intervals of likelihood and reply do not meet" in text and "publish all of them" in text


def test_other_models_and_other_prompts_are_no_readings_of_one_answer(tmp_path):
    rows = as_shown(questions(30))
    one = run_folder(tmp_path / "one", answered(rows, right_with(0.5, 1)))
    other = run_folder(tmp_path / "other", answered(rows, right_with(0.5, 1)), model="another", mode="reply")
    shots = run_folder(tmp_path / "shots", answered(rows, right_with(0.5, 1)), mode="reply", shots=5)
    again = run_folder(tmp_path / "again", answered(rows, right_with(0.5, 2)))
    found, text = reported(tmp_path, one, other, shots, again)
    assert found["datasets"][0]["readings"] == [] and "Readings of" not in text


def test_of_a_trial_nothing_is_published(tmp_path):
    rows, limited = as_shown(questions(30)), {"of": 400}
    more = {"name": "other.jsonl", "sha256": "01" * 32}
    folders = [
        run_folder(tmp_path / "a", answered(rows, right_with(0.5, 1)), data=limited),
        run_folder(tmp_path / "b", answered(rows, right_with(0.9, 2)), data=limited, mode="reply"),
        run_folder(tmp_path / "c", answered(rows, right_with(0.5, 1)), data=more),
    ]
    for folder in folders[:2]:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        write_json(folder / "metrics.json", metrics | {"limited_to": {"n": 30, "of": 400}})
    found, text = reported(tmp_path, *folders)
    (group,) = found["datasets"][0]["readings"]
    assert group["publish"] is None and group["limited_to"] == {"n": 30, "of": 400}
    assert "Which number to publish: none, since these runs are limited to 30 of 400 questions" in text
    assert "该发布哪个数字：无" in group["headline"]["zh"] and "400 题中的前 30 题" in group["headline"]["zh"]
    sentence, zh = found["datasets"][0]["headlines"][0]["en"], found["datasets"][0]["headlines"][0]["zh"]
    assert sentence.endswith("; limited to 30 of 400 questions, a trial.") and zh.endswith("前 30 题，是试跑。")
    lines = [line for line in text.splitlines() if line.startswith(("| a |", "| b |", "| c |"))][:3]
    assert ["limited to 30 of 400" in line for line in lines] == [True, True, False]


def test_where_most_questions_are_unread_the_report_says_none(tmp_path):
    rows = as_shown(questions(12))
    mute = [run_folder(tmp_path / mode, answered(rows, lambda row: "嗯"), mode=mode) for mode in ("reply", "reasoning")]
    found, text = reported(tmp_path, *mute)
    assert found["datasets"][0]["readings"][0]["publish"] is None
    assert "Which number to publish: none, since in every reading more than 50%" in text
    assert "（最少的是 reply：12 题中 12 题）" in found["datasets"][0]["readings"][0]["headline"]["zh"]


def test_readings_that_share_no_letters_have_no_agreement(tmp_path):
    rows = as_shown(questions(12))
    one = run_folder(tmp_path / "one", answered(rows, right_with(0.5, 1)))
    mute = run_folder(tmp_path / "mute", answered(rows, lambda row: "嗯"), mode="generate")
    found, text = reported(tmp_path, one, mute)
    (group,) = found["datasets"][0]["readings"]
    assert group["agreement"][0]["share"] is None and group["publish"] == "one" and "| one and mute | – |" in text
