"""Inquiry and diagnosis over rows of scores: what they are worth, and that nothing is 0 for want of a measurement."""

from medllm_hf.evaluation.consultations.axes import axis_text, diagnosis_of, inquiry_of, talk_axes
from medllm_hf.evaluation.statistics.tests import wilson


def facts(opening=(), asked=(), told_asked=(), told_open=(), told_unasked=(), questions=0, repeated=0, total=5) -> dict:
    lists = {"opening": opening, "asked": asked, "told_asked": told_asked, "told_open": told_open, "told_unasked": told_unasked}
    return {"facts": total, **{key: list(value) for key, value in lists.items()}, "questions": questions, "repeated": repeated}


def test_an_axis_that_nobody_measures_is_not_there():
    assert talk_axes([]) == talk_axes([{"case_id": "1"}, {"facts": None, "diagnosis": None}]) == {}
    # All that there is to know stands in the patient's first words.
    said = facts(opening="abcde", questions=2)
    assert inquiry_of({"facts": said}) is None and talk_axes([{"facts": said}]) == {}
    assert talk_axes([{"facts": facts()}])["inquiry"]["value"] == 0.0
    assert diagnosis_of({}) is None and diagnosis_of({"diagnosis": {"given": [], "top1": False, "top3": False}}) == 0


def test_inquiry_is_what_was_told_because_the_doctor_asked():
    row = {"facts": facts("a", "abc", "b", "d", "e", questions=4, repeated=1)}
    assert inquiry_of(row) == 2 / 4
    axis = talk_axes([row, {"facts": facts(questions=0)}])["inquiry"]
    assert axis["value"] == 1 / 4 and axis["n"] == 2 and axis["interval"] is None and axis["source"] == "counted"


def test_the_interval_is_over_dialogues_and_wilson_s_for_the_diagnosis():
    rows = [
        {"facts": facts(told_asked="abcde"[: i % 5]), "diagnosis": {"given": ["甲"], "top1": i < 9, "top3": True}}
        for i in range(10)
    ]
    axes = talk_axes(rows)
    low, high = axes["inquiry"]["interval"]
    assert 0 < low < axes["inquiry"]["value"] == 0.4 < high < 1
    assert axes["diagnosis"]["interval"] == list(wilson(9, 10))
    assert axis_text(axes["diagnosis"]).en == "90.0% (59.6 to 98.2%), n 10"
    equal = talk_axes([{"facts": facts(told_asked="ab")}] * 8)["inquiry"]
    assert equal["interval"] is None and axis_text(equal).en == "40.0% (no spread), n 8"
    assert axis_text({**equal, "value": 4.25, "low": 1, "high": 5, "n": 3}).en == "4.25 (too few), n 3"
