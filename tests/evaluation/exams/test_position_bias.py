"""The report names a liking for a place among the options, none where there is none, and its intervals cover the truth."""

import json
import random

import pytest
from support.exam_runs import answered, as_shown, questions, right_with, run_folder, shown

from medllm_hf.evaluation.commands.report import report
from medllm_hf.evaluation.exams.derive import read_answers
from medllm_hf.evaluation.exams.outputs import Rules
from medllm_hf.evaluation.exams.position_bias import confusion, position_bias
from medllm_hf.metrics.mcq_accuracy.scoring import score_answers

QUESTIONS = 200
SEEDS = range(300)


def always_b(row):
    return "B"


def always_last(row):
    return row["options"][-1]["label"]


def simulated(answer):
    """For each seed: the metrics and the bias of an exam with new questions, shuffled in every other one."""
    for seed in SEEDS:
        rows = answered(as_shown(questions(QUESTIONS, seed), shuffle=seed if seed % 2 else None), answer(seed))
        answers = read_answers(rows, lambda prediction, item, rules: prediction)
        metrics = score_answers(
            predictions=[row["prediction"] for row in rows],
            references=[row["reference"] for row in rows],
            options=[row["options"] for row in rows],
        )
        yield metrics, position_bias(answers)


@pytest.mark.parametrize(
    ("answer", "truth", "bias"),
    [
        # Half of the questions have four options, half have five.
        (lambda seed: always_b, (1 / 4 + 1 / 5) / 2, "B"),
        (lambda seed: always_last, (1 / 4 + 1 / 5) / 2, "the last option"),
        (lambda seed: right_with(0.6, seed + 1000), 0.6, None),
    ],
    ids=["always B", "always last", "right with 0.6"],
)
@pytest.mark.slow
def test_interval_and_bias_over_simulated_runs(answer, truth, bias):
    covered, named = 0, []
    for metrics, position in simulated(answer):
        covered += metrics["interval_low"] <= truth <= metrics["interval_high"]
        named.append(position["bias"])
    # test_significance.py adds up the exact coverage, which lies a little above and below 95%.
    assert covered >= 0.93 * len(SEEDS), covered
    if bias is None:
        assert named.count(None) >= 0.95 * len(SEEDS), named
    else:
        assert named == [bias] * len(SEEDS)


def choices(rows):
    return read_answers(rows)


def test_a_weak_bias_of_a_good_model_is_named_when_it_matters():
    """Right on 70%, and C instead of any other wrong option."""
    rng = random.Random(1)

    def answer(row):
        wrong = [option["label"] for option in row["options"] if option["label"] != row["reference"]]
        return row["reference"] if rng.random() < 0.7 else "C" if "C" in wrong else rng.choice(wrong)

    found = position_bias(choices(answered(as_shown(questions(600)), answer)))
    assert found["bias"] == "C" and "biased towards C" in found["sentence"]


def test_a_place_that_is_never_chosen_is_named():
    rng = random.Random(2)
    rows = as_shown(questions(600, options=5))
    found = position_bias(choices(answered(rows, lambda row: rng.choice("ABCD"))))
    assert found["bias"] == "E" and "biased against E" in found["sentence"]


def test_uneven_keys_are_no_bias():
    """A guesser, in an exam half of whose keys are B, chooses B less often than it is right."""
    rng = random.Random(3)
    items = questions(900, options=5)
    for item in items[::2]:
        item["answer"] = "B"
    found = position_bias(choices(answered(as_shown(items), lambda row: rng.choice("ABCDE"))))
    assert found["bias"] is None and "no position bias found" in found["sentence"]


def test_small_biases_and_few_answers_are_not_named():
    rows = answered(as_shown(questions(3000, options=5)), right_with(0.9, 4))
    for row in random.Random(5).sample([row for row in rows if row["prediction"] != row["reference"]], 60):
        row["prediction"] = "A" if row["reference"] != "A" else "B"
    found = position_bias(choices(rows))
    assert found["letter"]["p"] < 0.01 and found["bias"] is None and "moves few answers" in found["sentence"]
    few = position_bias(choices(answered(as_shown(questions(3)), lambda row: row["reference"])))
    assert few["sentence"] == "too few wrong answers to tell"
    assert position_bias(choices(answered(as_shown(questions(9, kind="multi")), lambda row: "AB"))) is None


def test_chance_is_not_named_in_short_exams():
    """Of 30 answers, some place always gets far more or fewer than expected."""
    named = []
    for seed in range(60):
        rows = answered(as_shown(questions(30, seed)), right_with(0.4, seed))
        named.append(position_bias(choices(rows))["bias"])
    assert named.count(None) >= 57, named


def test_the_chance_of_few_answers_is_exact():
    """Each of four wrong answers could have gone to four options, of which one, A, is among those of every question."""
    items = [item | {"answer": "BCDE"[i]} for i, item in enumerate(questions(4, options=5))]
    found = position_bias(choices(answered(as_shown(items), lambda row: "A")))
    assert found["letter"]["p"] == pytest.approx((1 / 4) ** 4) and "biased towards A (p = 0.004)" in found["sentence"]


def test_counts_are_those_of_the_answers():
    """Labels with a gap (an option without a text was left out), one reply with two letters, one unparsed."""
    item = {"id": "g", "question": "？", "subject": "", "kind": "single", "answer": "D",
            "options": {"A": "甲", "B": "乙", "D": "丁"}}  # fmt: skip
    rows = [shown(item | {"id": str(n)}, "ABD") for n in range(5)]
    replies = ["D", "A", "A", "故选AB", "不知道"]
    scored = [row | {"prediction": reply} for row, reply in zip(rows, replies, strict=True)]
    answers = read_answers(scored, rules=Rules(by_kind=False))  # by earlier rules two letters are an answer to it
    places = {place["name"]: place for place in position_bias(answers)["letter"]["places"]}
    assert list(places) == ["A", "B", "D"]
    assert [places[name]["predicted"] for name in "ABD"] == [2, 0, 1]
    assert [places[name]["right"] for name in "ABD"] == [0, 0, 3]
    assert [places[name]["expected"] for name in "ABD"] == [1.0, 1.0, 1.0]
    table = confusion(answers)
    assert table["rows"]["D"] == {"A": 2, "B": 0, "D": 1, "several": 1, "unparsed": 1}
    assert confusion(choices(scored))["rows"]["D"] == {"A": 2, "B": 0, "D": 1, "several": 0, "unparsed": 2}


def test_the_report_names_the_biases_of_run_folders(tmp_path):
    items = questions(200, 7)
    runs = {
        "says-b": answered(as_shown(items), always_b),
        "last": answered(as_shown(items, shuffle=1), always_last),
        "able": answered(as_shown(items), right_with(0.6, 8)),
        "turned": answered(as_shown(items, circular=True), always_last),
    }
    settings = {"last": {"shuffle_options": True}, "turned": {"circular": True}}
    folders = [run_folder(tmp_path / name, rows, **settings.get(name, {})) for name, rows in runs.items()]
    report([*map(str, folders)], str(tmp_path / "out"))
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "says-b: predicts B in 100.0% of 200 answers; right in " in text and "biased towards B (p &lt; 0.001)." in text
    assert "last: predicts the last option in 100.0% of 200 answers" in text
    assert "turned: predicts the last option in 100.0% of " in text
    assert "able: no position bias found" in text
    found = {row["run"]: row for row in json.loads((tmp_path / "out" / "results.json").read_text())["results"]}
    assert [found[name]["position"]["bias"] for name in runs] == ["B", "the last option", None, "the last option"]
    assert found["turned"]["circular"]["consistent"] == 0 and found["turned"]["accuracy"] == 0.0


def test_scored_texts_show_no_options(tmp_path):
    rows = answered(as_shown(questions(60)), always_b)
    run_folder(tmp_path / "run", rows, score="text")
    report([str(tmp_path / "run")], str(tmp_path / "out"))
    assert "run: the options were not shown." in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
