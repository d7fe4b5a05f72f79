"""The bootstrap over cases, all figures on the same draws, and which figures so few cases do not give."""

from collections.abc import Iterator, Sequence

import numpy

from medllm_hf.evaluation.statistics.tests import wilson
from medllm_hf.reporting.blocks import interval as share_ends
from medllm_hf.reporting.blocks import score, span
from medllm_hf.reporting.phrases import Phrase, Text, Words

# Fewer cases give neither a bootstrap interval nor a correlation. A percentile interval ends within the smallest and the
# largest value, and these enclose the middle of a symmetric distribution with a probability of 1 - 2 ** (1 - n): 0.95 is
# reached at n = 6. Source: David and Nagaraja 2003, Order Statistics, section 7.1. The metric llm_judge has the same.
FEWEST = 6
NO_INTERVAL = Text(
    f"No interval: too few (below {FEWEST}), or no spread (all are equal).",
    f"没有区间的原因：太少（少于 {FEWEST}），或全部相等。",
)
_TOO_FEW, _NO_SPREAD = Text("too few", "太少"), Text("no spread", "全部相等")
_WITH_ENDS = Phrase("{value} ({ends})", "{value}（{ends}）")
# Draws of equal values differ in the last digits.
_WIDTH = 1e-9
# Draws by sums, and by cases one after another, made in blocks that fit into memory.
BLOCKS, BLOCK = 10, 200
CASE_BLOCKS, CASE_BLOCK = 20, 500


def drawn_cases(random: numpy.random.Generator, count: int) -> Iterator[numpy.ndarray]:
    """Blocks of draws of `count` of `count` cases with replacement, as places: (CASE_BLOCK, count) each.

    For figures that do not follow from sums over cases alone; `drawn_sums` has those that do.
    """
    for _ in range(CASE_BLOCKS):
        yield random.integers(0, count, (CASE_BLOCK, count))


def drawn_sums(table: numpy.ndarray, seed: int = 0) -> numpy.ndarray:
    """The sums of the columns of `table` (cases, columns) in each draw of as many cases with replacement: (draws, columns)."""
    count = len(table)
    random = numpy.random.default_rng(seed)
    return numpy.concatenate(
        [random.multinomial(count, numpy.full(count, 1 / count), size=BLOCK) @ table for _ in range(BLOCKS)]
    )


def interval(drawn: numpy.ndarray, count: int) -> list[float] | None:
    """The ends of the 95% interval of a figure over `count` cases by its drawn values.

    None where the cases are fewer than `FEWEST`, no draw differs, or `percentiles` has none: an interval without width
    would say that the figure is known exactly.
    """
    ends = percentiles(drawn) if count >= FEWEST else None
    return ends if ends and ends[1] - ends[0] > _WIDTH else None


def share_interval(drawn: numpy.ndarray, share: float, count: int) -> list[float] | None:
    """As `interval`; of a share that no draw changes, such as 20 wins of 20, Wilson's interval over the cases."""
    if count >= FEWEST and (ends := percentiles(drawn)) and ends[1] - ends[0] <= _WIDTH:
        return list(wilson(share * count, count))
    return interval(drawn, count)


def ends_text(ends: Sequence[float] | None, count: int, digits: int = 2) -> Text:
    """([3.9, 4.5], 60) → "3.90 to 4.50"; where `count` cases give no interval, why."""
    if ends is None:
        return _lacking(count)
    return span(f"{ends[0]:.{digits}f}", f"{ends[1]:.{digits}f}")


def score_text(mean: float | None, ends: Sequence[float] | None, count: int) -> Words:
    """(4.2, [3.9, 4.5], 60) → "4.20 (3.90 to 4.50)"; "4.20 (too few)" where `count` cases give no interval."""
    return score(mean) if mean is None else _WITH_ENDS(value=score(mean), ends=ends_text(ends, count))


def share_text(ends: Sequence[float] | None, count: int) -> Text:
    """([0.4, 0.6], 60) → "40.0 to 60.0%"; "too few" where `count` cases give no interval."""
    return share_ends(*ends) if ends else _lacking(count)


def _lacking(count: int) -> Text:
    return _TOO_FEW if count < FEWEST else _NO_SPREAD


def percentiles(drawn: numpy.ndarray) -> list[float] | None:
    """The ends of the 95% percentile interval of a figure's drawn values; None where more than one draw in twenty gives none.

    A figure that a draw does not give, such as a share of nothing, is NaN there.
    """
    known = drawn[~numpy.isnan(drawn)]
    if len(known) < 0.95 * len(drawn):
        return None
    low, high = numpy.percentile(known, [2.5, 97.5])
    return [float(low), float(high)]


def quotient(above: numpy.ndarray, below: numpy.ndarray) -> numpy.ndarray:
    """`above` by `below`, NaN where that is 0."""
    above, below = numpy.broadcast_arrays(numpy.asarray(above, dtype=float), numpy.asarray(below, dtype=float))
    return numpy.divide(above, below, out=numpy.full(above.shape, numpy.nan), where=below != 0)
