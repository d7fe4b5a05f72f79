"""Readings side by side: spread, agreement, intervals that do not meet, and the figure that the rule names."""

import random
from pathlib import Path

import pytest
from support.exam_runs import answered, as_shown, questions, reported, right_with, run_folder

from medllm_hf.evaluation.exams.compared_readings import headline


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
    assert "该发布哪个数字：reasoning，" in text and "区间两两相交" in text


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


def test_readings_that_share_no_letters_have_no_agreement(tmp_path):
    rows = as_shown(questions(12))
    one = run_folder(tmp_path / "one", answered(rows, right_with(0.5, 1)))
    mute = run_folder(tmp_path / "mute", answered(rows, lambda row: "嗯"), mode="generate")
    found, text = reported(tmp_path, one, mute)
    (group,) = found["datasets"][0]["readings"]
    assert group["agreement"][0]["share"] is None and group["publish"] == "one" and "| one and mute | – |" in text
