"""How likely a sample of published items finds that some were altered."""

from dataclasses import dataclass
from math import ceil, exp, lgamma

from medllm_hf.evaluation.exams.prompts import PresentedQuestion

# The share of altered items that the power is told for, and the power that is aimed at.
ALTERED, AIM = 0.05, 0.95


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
