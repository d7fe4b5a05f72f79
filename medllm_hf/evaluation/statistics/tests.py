"""Intervals and tests of the report, in closed form: they need no package."""

import math
from collections.abc import Iterable, Sequence

Z = 1.959963984540054  # the 97.5% point of the normal distribution


def wilson(right: float, count: int) -> tuple[float, float]:
    """The 95% interval of a proportion, never without width. Source: Wilson 1927.

    Args:
        right: how many of the `count`; ties that count half make it no whole number.
    """
    share, z2 = right / count, Z * Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    # Rounding must not move the ends that are exact.
    return max(0.0, middle - half) if right > 0 else 0.0, min(1.0, middle + half) if right < count else 1.0


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided exact p of McNemar's test: the binomial test of the pairs of which only one side is right against 1/2.

    Source: McNemar 1947; exact form as in Fagerland, Lydersen and Laake 2013 (BMC Medical Research Methodology 13:91).
    """
    count = only_first + only_second
    term = ways = 1
    for i in range(min(only_first, only_second)):
        term = term * (count - i) // (i + 1)
        ways += term
    return min(1.0, 2 * ways / 2**count)


def paired_interval(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    """The 95% interval of the difference (first minus second) of two proportions over the same items.

    Wilson intervals of both sides, put together by the correlation of the sides with its continuity correction.
    Source: Newcombe 1998, Statistics in Medicine 17, 2635-2650, method 10.
    """
    count = both + only_first + only_second + neither
    first, second = both + only_first, both + only_second
    low_first, high_first = (abs(limit - first / count) for limit in wilson(first, count))
    low_second, high_second = (abs(limit - second / count) for limit in wilson(second, count))
    excess = both * neither - only_first * only_second
    spread = math.sqrt(first * (count - first) * second * (count - second))
    phi = (max(excess - count / 2, 0) if excess > 0 else excess) / spread if spread else 0.0
    down = math.sqrt(low_first**2 - 2 * phi * low_first * high_second + high_second**2)
    up = math.sqrt(high_first**2 - 2 * phi * high_first * low_second + low_second**2)
    difference = (first - second) / count
    return max(-1.0, difference - down), min(1.0, difference + up)


def holm(values: list[float]) -> list[float]:
    """The p values corrected for their number, in the same order. Source: Holm 1979."""
    corrected, highest = [0.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = highest
    return corrected


def chi_square_p(statistic: float, freedom: int) -> float:
    """The probability that chi-square with `freedom` degrees exceeds `statistic`: the finite series for whole degrees.

    Source: Abramowitz and Stegun 1964, 26.4.4 and 26.4.5.
    """
    half = statistic / 2
    if freedom % 2:
        total, term, start = math.erfc(math.sqrt(half)), math.sqrt(half / math.pi) * 2, 3
    else:
        total, term, start = math.exp(-half), half, 4
    for degree in range(start, freedom + 1, 2):
        total += term * math.exp(-half)
        term *= statistic / degree
    return min(1.0, total)


def exact_fit_p(choices: Iterable[Sequence[int]], seen: Sequence[int], expected: Sequence[float]) -> float:
    """The probability of a chi-square statistic as large as that of `seen`, over all that chance could have done.

    The work grows fast with the number of choices: beyond some twenty, `chi_square_p` is near enough.

    Args:
        choices: for each draw the cells that it falls into, one as likely as another; a cell may stand there several times.
        seen, expected: the counts in each cell.
    """

    def statistic(counts: Sequence[int]) -> float:
        return sum((count - wanted) ** 2 / wanted for count, wanted in zip(counts, expected, strict=True))

    chances = {(0,) * len(expected): 1.0}
    for cells in choices:
        after: dict[tuple[int, ...], float] = {}
        for counts, chance in chances.items():
            for cell in cells:
                drawn = (*counts[:cell], counts[cell] + 1, *counts[cell + 1 :])
                after[drawn] = after.get(drawn, 0.0) + chance / len(cells)
        chances = after
    # Rounding must not decide whether what was seen is as large as itself.
    least = statistic(seen) - 1e-9
    return min(1.0, math.fsum(chance for counts, chance in chances.items() if statistic(counts) >= least))
