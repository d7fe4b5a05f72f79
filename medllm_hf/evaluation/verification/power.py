"""What differences of published items from computed ones say, and how likely a sample finds that some were altered."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, lgamma, log

from medllm_hf.evaluation.exams.prompts import PresentedQuestion

# The share of altered items that the power is told for, and the power that is aimed at.
ALTERED, AIM = 0.05, 0.95
# The least tolerance, in nats or logits: some eighty times what was measured in float32, see benchmarks/README.md.
LEAST = 5e-4
# How many times as far as it is here an honest answer may lie from the exact one: other hardware rounds otherwise.
WIDER = 2
# Of few items the furthest may be near by chance, and of n this part of n more is allowed.
FEW = 4
# How likely what is honest is taken for altered by a sign test, at most.
ALARMS = 0.005


@dataclass(frozen=True)
class Apart:
    """How far answers to one item lie from what the weights give in float32: nats, or in written replies logits.

    Attributes:
        published: the published answer; infinite where these weights cannot have given it.
        own: what is computed here in the precision of the run.
        altered: the published answer after the least alteration that changes what it says.
    """

    name: str
    published: float
    own: float
    altered: float


@dataclass(frozen=True)
class ItemCheck:
    """What came of one item: by how much of the tolerance it parts, and whether an altered answer would have been seen."""

    name: str
    parts: float
    seen: bool

    @property
    def refuted(self) -> bool:
        """Whether the weights do not give it."""
        return not self.parts <= 1  # nan parts too


def bound_of(found: Sequence[Apart]) -> float:
    """How far an honest answer to any of the items may lie from the exact one."""
    furthest = max((one.own for one in found), default=0.0)
    return max(LEAST, WIDER * furthest * (1 + FEW / max(1, len(found))))


def check_items(found: Sequence[Apart]) -> list[ItemCheck]:
    """What comes of each item alone."""
    bound = bound_of(found)
    return [ItemCheck(one.name, one.published / bound, one.altered > bound) for one in found]


def systematic(found: Sequence[Apart]) -> int:
    """How many items lie further off than rounding does twice over, where they are too many for chance, else 0.

    Of an honest run that rounds no more than so, at most every second item does (sign test).
    """
    further, n = sum(one.published > max(LEAST, WIDER * one.own) for one in found), len(found)
    return further if 2 * further > n and chance(further, n) < ALARMS else 0


def chance(heads: int, n: int) -> float:
    """The probability of so many heads, or more, in n tosses of a coin."""
    return sum(exp(_log_ways(n, count) - n * log(2)) for count in range(heads, n + 1))


def item_name(one: PresentedQuestion) -> str:
    """How a finding calls a question as it was put."""
    return f"{one.item.id} rotation {one.rotation}" if one.rotation else one.item.id


def caught(drawn: int, total: int, altered: int, seen: float) -> float:
    """The probability that at least one altered item is found.

    Args:
        drawn: items drawn without replacement of `total`, of which so many are `altered`.
        seen: the probability that an altered item which is drawn is found.
    """
    hits = range(max(0, drawn - (total - altered)), min(drawn, altered) + 1)
    ways = _log_ways(total, drawn)
    chances = (exp(_log_ways(altered, hit) + _log_ways(total - altered, drawn - hit) - ways) for hit in hits)
    return max(0.0, 1 - sum(chance * (1 - seen) ** hit for hit, chance in zip(hits, chances, strict=True)))


def _log_ways(total: int, drawn: int) -> float:
    """The logarithm of the number of ways to draw; the number itself has thousands of digits."""
    return lgamma(total + 1) - lgamma(drawn + 1) - lgamma(total - drawn + 1)


def needed(total: int, altered: int, seen: float, aim: float = AIM) -> int | None:
    """The fewest items to draw for the power `aim`; None where all of them give less."""
    low, high = 1, total
    if caught(total, total, altered, seen) < aim:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if caught(middle, total, altered, seen) >= aim else (middle + 1, high)
    return low


def power_text(drawn: int, total: int, seen: float) -> str:
    """The power of a draw, in words, and what it would need."""
    altered = max(1, ceil(ALTERED * total))
    share = f"if {ALTERED:.0%} of the answers had been altered ({altered} of {total})"
    found = caught(drawn, total, altered, seen)
    fewest = needed(total, altered, seen)
    do = f"{fewest} items give {AIM:.0%}" if fewest else f"all {total} do not give {AIM:.0%}"
    return f"an altered answer is seen in {seen:.1%} of items; {share}, this draw would find it with {found:.1%}; {do}"
