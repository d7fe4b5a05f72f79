"""What follows from an exam's outputs: letters read with the stem at hand, and of a tie no answer is made."""

import pytest
from support.paths import SAMPLE

from medllm_hf.data.mcq import McqItem, load_items
from medllm_hf.evaluation.exams.derive import derive, read_answers
from medllm_hf.evaluation.exams.outputs import Rules, is_unread, output_row, predict, rules_of
from medllm_hf.evaluation.exams.phrases import finished_text, of_prompts
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, present_options

ITEMS = load_items(str(SAMPLE / "questions_test.jsonl"))[:4]


def answered(*values: dict) -> list:
    shown = [PresentedQuestion(item, 0, "".join(item.options)) for item in ITEMS]
    return [shown, [output_row(one, value) for one, value in zip(shown, values, strict=True)]]


def logprobs(**values: float) -> dict:
    return {"logprobs": values}


@pytest.mark.parametrize(
    ("output", "chosen"),
    [
        (logprobs(A=-3.0, B=-1.0, C=-2.0), "B"),
        (logprobs(A=-1.0, B=-1.0, C=-2.0), ""),
        (logprobs(C=-1.0, B=-2.0, A=-1.0), ""),
        (logprobs(A=-2.0, B=-2.0, C=-1.0), "C"),
        ({**logprobs(A=-2.0, B=-4.0, C=-9.0), "lengths": {"A": 1, "B": 2, "C": 3}}, ""),
        ({**logprobs(A=-2.0, B=-4.0, C=-9.0), "lengths": {"A": 1, "B": 4, "C": 3}}, "B"),
        ({"reply": "选A"}, "选A"),
    ],
)
def test_the_best_answer_or_none(output, chosen):
    assert predict(output) == chosen


def test_ties_are_counted_said_and_never_right():
    right = ["".join(item.answer) for item in ITEMS]
    best = [dict.fromkeys(item.options, -5.0) | {letters: -1.0} for item, letters in zip(ITEMS, right, strict=True)]
    clear = derive(*answered(*({"logprobs": one} for one in best)))
    assert (clear.metrics["accuracy"], clear.metrics["ties"], clear.metrics["unparsed"], clear.warnings) == (1.0, 0, 0, ())
    other = next(letter for letter in ITEMS[0].options if letter not in right[0])
    best[0][other] = -1.0
    tied = derive(*answered(*({"logprobs": one} for one in best)))
    assert (tied.metrics["accuracy"], tied.metrics["ties"], tied.metrics["unparsed"]) == (0.75, 1, 1)
    assert tied.warnings == ("1 ties of the best answers, of which none is taken",)
    assert "ties" not in derive(*answered(*[{"reply": "A"}] * 4)).metrics


def test_runs_that_count_no_ties_follow_from_their_own_rules():
    best = [dict.fromkeys(item.options, -1.0) for item in ITEMS]
    asked = answered(*({"logprobs": one} for one in best))
    earlier = derive(*asked, rules=Rules(break_ties=True))
    assert {row["prediction"] for row in earlier.scores} == {"A"} and rules_of(earlier.metrics).break_ties
    assert not rules_of(derive(*asked).metrics).break_ties


def test_what_counts_prompts_says_so_where_questions_are_asked_in_all_rotations():
    """Two of three questions are right, and 12 prompts were asked: "unparsed" counts the ones, what was cut the others."""
    items = [McqItem(str(i), "下列正确的是", OPTIONS, frozenset("C"), "", "single") for i in range(3)]
    shown = list(present_options(items, 0, circular=True))
    mute = {"reply": "说不好", "finish": "length", "finishing": {"logprobs": dict.fromkeys("ABCD", -1.0)}}
    outputs = [output_row(one, mute if one.item.id == "0" else {"reply": "".join(one.item.answer)}) for one in shown]
    manifest = {"model": {}, "data": {}, "settings": {"mode": "reply", "finish": "letters"}}
    derived = derive(shown, outputs, manifest)
    assert derived.warnings == ("4 replies in 12 prompts cut at their limit of tokens",)
    assert (derived.metrics["n"], derived.metrics["unparsed"]) == (3, 1)
    assert finished_text(derived.metrics).en.endswith(", 4 asked of 12 prompts")
    assert of_prompts({}).en == "" and derive(shown[:1], outputs[:1], manifest).warnings[0].startswith("1 replies cut")


OPTIONS = {"A": "甲", "B": "乙", "C": "丙", "D": "丁"}


def test_a_negative_stem_turns_wrong_into_an_answer():
    stems = ("下列说法不正确的是", "下列说法正确的是", "All of these are used EXCEPT")
    items = [McqItem(str(i), stem, OPTIONS, frozenset("C"), "", "single") for i, stem in enumerate(stems)]
    shown = list(present_options(items, 0))
    derived = derive(shown, [output_row(one, {"reply": "只有C是不对的。"}) for one in shown])
    assert [answer.choice for answer in read_answers(derived.scores)] == ["C", None, "C"]
    assert (derived.metrics["accuracy"], derived.metrics["unparsed"]) == (2 / 3, 1)


def test_the_kind_of_a_question_has_a_say_but_in_runs_that_do_not_count_kinds():
    wanted = (("AB", "multi"), ("A", "single"))
    items = [McqItem(kind, "下列说法正确的是", OPTIONS, frozenset(answer), "", kind) for answer, kind in wanted]
    replies = ("A. 甲\nB. 乙", "故选A、B。")
    shown = list(present_options(items, 0))
    outputs = [output_row(one, {"reply": reply}) for one, reply in zip(shown, replies, strict=True)]
    derived, earlier = derive(shown, outputs), derive(shown, outputs, rules=Rules(by_kind=False))
    assert [answer.choice for answer in read_answers(derived.scores)] == ["AB", None]
    assert [answer.choice for answer in read_answers(earlier.scores, rules=rules_of(earlier.metrics))] == [None, "AB"]
    assert (derived.metrics["accuracy"], derived.metrics["kinds"]) == (0.5, {"multi": 1, "single": 1})
    assert earlier.metrics["accuracy"] == 0.0 and "kinds" not in earlier.metrics
    assert rules_of(derived.metrics).by_kind and not rules_of(earlier.metrics).by_kind
    assert [is_unread(one, row, "reply", rules_of(derived.metrics)) for one, row in zip(shown, outputs, strict=True)] == [
        False,
        True,
    ]
