"""Figures over scored dialogues: means, bootstrap intervals, ceiling, spread, length."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy

RESAMPLES = 2000
# Fewer dialogues give neither interval nor correlation: the smallest and the largest of five values enclose the middle of a
# symmetric distribution in less than 95%, and a percentile interval ends within them. Source: David and Nagaraja 2003, Order
# Statistics, section 7.1.
FEWEST = 6
_WIDTH = 1e-9  # means of equal scores differ in the last digits
_PART = 100  # resamples at once, which bounds the memory
# The sum of the normal distribution's 97.5% and 80% points: a two-sided test at 5% that finds a difference 8 times in 10.
_POWER = 1.959963984540054 + 0.8416212335729143


class Sample(TypedDict):
    """What was read from one reply: scores by criterion, or why there are none; of a checklist its points too."""

    scores: dict[str, float] | None
    unscored: str | None
    points: NotRequired[dict[str, float] | None]


class Item(TypedDict):
    """One dialogue: its mean scores over the usable replies, or why there are none, and what became of each reply."""

    scores: dict[str, float | None]
    overall: float | None
    unscored: str | None
    samples: list[Sample]
    replies: list[str]
    doctor_characters: int


def means(items: Sequence[Item], keys: Sequence[str], seed: int, fewest: int = FEWEST) -> dict:
    """The mean of each criterion and of all, with a 95% interval each; None where no dialogue has scores.

    Fewer dialogues than `fewest`, or equal scores, have no interval; `fewest` 1 gives one of any, as earlier versions did.
    """
    rows = [[*(item["scores"][key] for key in keys), item["overall"]] for item in items if item["unscored"] is None]
    names = [*keys, "overall"]
    count = {"n": len(items), "unscored": len(items) - len(rows)}
    if not rows:
        return {**dict.fromkeys(names), **count, "intervals": dict.fromkeys(names)}
    table = numpy.array(rows)
    low, high = intervals(table, seed)
    given = [len(rows) >= fewest and (fewest == 1 or high[i] - low[i] > _WIDTH) for i in range(len(names))]
    ends = {name: [float(low[i]), float(high[i])] if given[i] else None for i, name in enumerate(names)}
    return {**{name: math.fsum(table[:, i]) / len(rows) for i, name in enumerate(names)}, **count, "intervals": ends}


def intervals(table: numpy.ndarray, seed: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The ends of the 95% percentile interval of each column's mean, rows (dialogues) drawn with replacement."""
    count = len(table)
    random = numpy.random.default_rng(seed)
    parts = [table[random.integers(0, count, (_PART, count))].mean(axis=1) for _ in range(RESAMPLES // _PART)]
    drawn = numpy.concatenate(parts)
    low, high = numpy.percentile(drawn, [2.5, 97.5], axis=0)
    return low, high


def bounds(items: Sequence[Item], keys: Sequence[str], low: float, high: float) -> dict:
    """The mean of each criterion if all unscored dialogues had the lowest score, and if they had the highest."""
    ends = {}
    for name in (*keys, "overall"):
        known = [_of(item, name) for item in items if item["unscored"] is None]
        missing = len(items) - len(known)
        ends[name] = [(math.fsum(known) + missing * end) / len(items) for end in (low, high)]
    return ends


def distribution(items: Sequence[Item], keys: Sequence[str]) -> dict:
    """How often each score was given, by criterion, over all usable verdicts."""
    verdicts = _verdicts(items)
    counts = {key: Counter(scores[key] for scores in verdicts) for key in keys}
    return {key: {f"{score:g}": count for score, count in sorted(counts[key].items())} for key in keys}


def ceiling(items: Sequence[Item], keys: Sequence[str], high: float) -> dict:
    """The share of usable verdicts with the highest score, by criterion and in all criteria at once."""
    verdicts = _verdicts(items)
    if not verdicts:
        return dict.fromkeys((*keys, "all"))
    share = {key: sum(scores[key] == high for scores in verdicts) / len(verdicts) for key in keys}
    return {**share, "all": sum(set(scores.values()) == {high} for scores in verdicts) / len(verdicts)}


def within_item(items: Sequence[Item], keys: Sequence[str]) -> dict:
    """The mean standard deviation between the verdicts on one dialogue; None where none has two."""
    repeated = [[s["scores"] for s in item["samples"] if s["scores"] is not None] for item in items]
    repeated = [verdicts for verdicts in repeated if len(verdicts) > 1]
    if not repeated:
        return dict.fromkeys(keys)
    spread = {key: [float(numpy.std([scores[key] for scores in verdicts], ddof=1)) for verdicts in repeated] for key in keys}
    return {key: math.fsum(values) / len(values) for key, values in spread.items()}


def detectable(items: Sequence[Item], keys: Sequence[str], fewest: int = FEWEST) -> dict:
    """The smallest difference between two systems, each judged on as many other dialogues, that a test at 5% finds in 80%.

    None where the dialogues are fewer than `fewest` or their scores equal; see `means`.
    """
    found: dict[str, float | None] = {}
    for name in (*keys, "overall"):
        values = [_of(item, name) for item in items if item["unscored"] is None]
        enough = len(values) >= max(2, fewest) and (fewest == 1 or max(values) > min(values))
        found[name] = _POWER * float(numpy.std(values, ddof=1)) * math.sqrt(2 / len(values)) if enough else None
    return found


def length(items: Sequence[Item], keys: Sequence[str], fewest: int = FEWEST) -> dict:
    """The mean number of the doctor's characters, and its rank correlation with each score; None of fewer than `fewest`."""
    scored = [item for item in items if item["unscored"] is None]
    lengths = [item["doctor_characters"] for item in scored]
    enough = len(scored) >= fewest
    with_score = {
        name: spearman(lengths, [_of(item, name) for item in scored]) if enough else None for name in (*keys, "overall")
    }
    return {"doctor_characters": math.fsum(lengths) / len(lengths) if lengths else None, "spearman": with_score}


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None where one side does not vary."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(numpy.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Sequence[float]) -> numpy.ndarray:
    _, places, counts = numpy.unique(values, return_inverse=True, return_counts=True)
    return (numpy.cumsum(counts) - (counts - 1) / 2)[places]


def _of(item: Item, name: str) -> float:
    value = item["overall"] if name == "overall" else item["scores"][name]
    assert value is not None, "only scored dialogues have figures"
    return value


def _verdicts(items: Sequence[Item]) -> list[dict]:
    return [sample["scores"] for item in items for sample in item["samples"] if sample["scores"] is not None]
