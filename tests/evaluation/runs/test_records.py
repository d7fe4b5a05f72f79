"""JSON values are checked field by field where they are read; the first field that is wrong is named."""

from typing import NotRequired, TypedDict

import pytest

from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.records import read_record, read_records


class Inner(TypedDict):
    text: str
    tokens: int | None


class Outer(TypedDict):
    name: str
    share: float
    inner: Inner
    turns: list[Inner]
    counts: dict[str, int]
    verdicts: dict[str, dict[str, str] | None]
    error: NotRequired[str]


INNER = {"text": "好", "tokens": None}
GOOD = {
    "name": "a",
    "share": 1,
    "inner": INNER,
    "turns": [INNER],
    "counts": {"x": 1},
    "verdicts": {"12": None, "21": {"k": "v"}},
}


def test_a_good_value_is_given_back_with_what_else_it_has():
    value = {**GOOD, "more": 1, "error": "no"}
    assert read_record(value, Outer, "run") is value
    assert read_records([GOOD, value], Outer, "run") == [GOOD, value]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": 3}, "name is a int"),
        ({"share": "1"}, "share is a str"),
        ({"share": True}, "share is a bool"),
        ({"inner": []}, "inner is a list"),
        ({"inner": {"text": "好"}}, "no inner.tokens"),
        ({"inner": {"text": "好", "tokens": 1.5}}, "inner.tokens is a float"),
        ({"turns": {}}, "turns is a dict"),
        ({"turns": [INNER, "x"]}, "turns[1] is a str"),
        ({"counts": {"x": 1, "y": "2"}}, "counts.y is a str"),
        ({"verdicts": {"12": ["v"]}}, "verdicts.12 is a list"),
        ({"error": None}, "error is a NoneType"),
    ],
)
def test_the_first_wrong_field_is_named(change, named):
    with pytest.raises(UserError) as error:
        read_record({**GOOD, **change}, Outer, "run/x.json")
    assert (
        str(error.value)
        == f"found a damaged run in run/x.json: {named}; expected what the format says; run `medllm eval` again"
    )


@pytest.mark.parametrize(("value", "named"), [(None, "a row is a NoneType"), ([], "a row is a list"), ({}, "no counts")])
def test_what_is_no_record_is_named_by_its_line(value, named):
    with pytest.raises(UserError, match=f"in outputs.jsonl line 2: {named};"):
        read_records([GOOD, value], Outer, "outputs.jsonl")
