"""The letters of a run are read with the question's stem at hand."""

from medllm_hf.data.mcq import McqItem
from medllm_hf.evaluation.exams.derive import derive, output_row, read_answers
from medllm_hf.evaluation.exams.prompts import present_options

OPTIONS = {"A": "甲", "B": "乙", "C": "丙", "D": "丁"}


def test_a_negative_stem_turns_wrong_into_an_answer():
    stems = ("下列说法不正确的是", "下列说法正确的是", "All of these are used EXCEPT")
    items = [McqItem(str(i), stem, OPTIONS, frozenset("C"), "", "single") for i, stem in enumerate(stems)]
    shown = list(present_options(items, 0))
    derived = derive(shown, [output_row(one, {"reply": "只有C是不对的。"}) for one in shown])
    assert [answer.choice for answer in read_answers(derived.scores)] == ["C", None, "C"]
    assert (derived.metrics["accuracy"], derived.metrics["unparsed"]) == (2 / 3, 1)
