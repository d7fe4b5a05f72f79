"""What a doctor's consultations are worth on four axes, each with its number of dialogues, its interval and its source.

Inquiry is counted (facts that the doctor's questions brought out), diagnosis is matched (names in the doctor's last answer),
safety and communication are judged. An axis of which nothing is known is left out: it is never 0 for want of a measurement.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Literal, TypedDict, get_args

import numpy

from medllm_hf.evaluation.statistics.bootstrap import FEWEST, drawn_sums, ends_text, interval, share_text
from medllm_hf.evaluation.statistics.tests import wilson
from medllm_hf.reporting.blocks import percent
from medllm_hf.reporting.phrases import Phrase, Text

AxisName = Literal["inquiry", "diagnosis", "safety", "communication"]
AXES: tuple[AxisName, ...] = get_args(AxisName)
Source = Literal["counted", "matched", "judged"]
SOURCES: dict[AxisName, Source] = {
    "inquiry": "counted", "diagnosis": "matched", "safety": "judged", "communication": "judged",
}  # fmt: skip

_SHOWN = Phrase("{value} ({ends}), n {n}", "{value}（{ends}），n {n}")


class Axis(TypedDict):
    """One axis: the mean of its value over `n` dialogues, on the scale from `low` to `high`.

    `interval` is None where so few dialogues, or equal values, give none.
    """

    value: float
    n: int
    interval: list[float] | None
    source: Source
    low: float
    high: float


def measured(name: AxisName, values: Iterable[float | None], scale: tuple[float, float] = (0, 1)) -> dict[AxisName, Axis]:
    """The axis `name` by itself; nothing where no dialogue has a value.

    The interval is a bootstrap over dialogues, and Wilson's where each value is right or wrong.
    """
    known = [value for value in values if value is not None]
    if not known:
        return {}
    right_or_wrong = name == "diagnosis" and len(known) >= FEWEST
    ends = list(wilson(sum(known), len(known))) if right_or_wrong else mean_interval(known)
    low, high = scale
    axis: Axis = {
        "value": fmean(known), "n": len(known), "interval": ends, "source": SOURCES[name], "low": low, "high": high,
    }  # fmt: skip
    return {name: axis}


def mean_interval(values: Sequence[float]) -> list[float] | None:
    """The 95% interval of the mean of one value a dialogue."""
    return interval(drawn_sums(numpy.array(values)[:, None])[:, 0] / len(values), len(values))


def talk_axes(scores: Sequence[Mapping]) -> dict[AxisName, Axis]:
    """Inquiry and diagnosis over the rows of scores of dialogues."""
    return {**measured("inquiry", map(inquiry_of, scores)), **measured("diagnosis", map(diagnosis_of, scores))}


def inquiry_of(row: Mapping) -> float | None:
    """The share of what the patient's opening left unsaid that it told when it was asked; None where nothing is known."""
    if not (facts := row.get("facts")) or (unsaid := facts["facts"] - len(facts["opening"])) <= 0:
        return None
    return (len(facts["told_asked"]) + len(facts["told_open"])) / unsaid


def diagnosis_of(row: Mapping) -> float | None:
    """1 where the diagnosis that the doctor finds likeliest is the case's, 0 where not; None where it was not asked."""
    given = row.get("diagnosis")
    return float(given["top1"]) if given else None


def axis_text(axis: Axis) -> Text:
    """An axis as it stands in a table: "62.5% (50.0 to 75.0%), n 12", or "4.20 (3.90 to 4.50), n 12" on a longer scale."""
    value, ends = axis["value"], axis["interval"]
    if (axis["low"], axis["high"]) == (0, 1):
        return _SHOWN(value=percent(value), ends=share_text(ends, axis["n"]), n=axis["n"])
    return _SHOWN(value=f"{value:.2f}", ends=ends_text(ends, axis["n"]), n=axis["n"])
