"""How far two raters agree, with intervals: the figures of `agreement` and a rank correlation, on dialogues drawn again.

Every figure follows from how often each pair of scores occurs. So a draw of dialogues is a row of such counts, and all draws
are worked out at once; one after another they would take minutes.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy

from medllm_hf.evaluation.agreement.measures import alpha, macro_f1, quadratic_kappa
from medllm_hf.evaluation.statistics.bootstrap import drawn_sums, interval, quotient

FIGURES = ("macro_f1", "kappa", "alpha", "spearman", "exact", "difference")
# A mean of several scores is no category, so these say nothing of it.
CATEGORICAL = ("macro_f1", "exact")
# A difference has a sign, which depends on who of two annotators is called the first.
COMPARED = ("macro_f1", "kappa", "alpha", "spearman", "exact")

Rater = Mapping[str, float]


def figures(judge: Rater, other: Rater, categorical: bool = True) -> dict:
    """`n`, the figures of `FIGURES` and their 95% "intervals" over the dialogues that both scored, `other` taken for true.

    A figure that is not defined there is None, and so is its interval; of an interval, also where too few draws give it.
    """
    shared = [name for name in judge if name in other]
    x, y = [judge[name] for name in shared], [other[name] for name in shared]
    found: dict = {"n": len(shared), **dict.fromkeys(FIGURES), "intervals": dict.fromkeys(FIGURES)}
    if not shared:
        return found
    cells, table = _counted(judge, other, shared)
    found |= {"macro_f1": macro_f1(x, y), "kappa": quadratic_kappa(x, y), "alpha": alpha([judge, other])}
    found |= {"exact": sum(a == b for a, b in zip(x, y, strict=True)) / len(x)}
    found |= {"difference": math.fsum(a - b for a, b in zip(x, y, strict=True)) / len(x)}
    found["spearman"] = _known(drawn_figures(cells, table.sum(axis=0)[None])["spearman"][0])
    drawn = drawn_figures(cells, drawn_sums(table)) if len(shared) > 1 else {}
    found["intervals"] = {key: interval(drawn[key]) if key in drawn and found[key] is not None else None for key in FIGURES}
    if not categorical:
        found |= dict.fromkeys(CATEGORICAL)
        found["intervals"] |= dict.fromkeys(CATEGORICAL)
    return found


def band(judge: Rater, annotators: Sequence[Rater], categorical: bool = True) -> dict | None:
    """How far a judge agrees with annotators beside how far these agree with each other, on the same dialogues.

    Counted are the dialogues that the judge and two annotators or more have scored; None where there are none. For each
    figure there are the means over the annotators ("judge") and over the pairs of them ("humans"), both with an interval
    from the same draws, and whether the judge's is "within", "above" or "below" the interval of the humans'.
    """
    items = [name for name in judge if sum(name in one for one in annotators) > 1]
    if not items:
        return None
    pairs = {"judge": [(judge, one) for one in annotators], "humans": list(combinations(annotators, 2))}
    # Two annotators may have no dialogue in common.
    pairs = {
        side: [pair for pair in own if any(name in pair[0] and name in pair[1] for name in items)]
        for side, own in pairs.items()
    }
    counted = {side: [_counted(*pair, items) for pair in own] for side, own in pairs.items()}
    drawn = drawn_sums(numpy.hstack([table for own in counted.values() for _, table in own]))
    everyone = [{name: one[name] for name in items if name in one} for one in annotators]
    found: dict = {"n": len(items), "alpha_of_all": alpha(everyone)}
    place, points, draws = 0, {}, {}
    for side, own in counted.items():
        at_hand, again = [], []
        for cells, table in own:
            part = slice(place, place := place + table.shape[1])
            at_hand.append(drawn_figures(cells, table.sum(axis=0)[None]))
            again.append(drawn_figures(cells, drawn[:, part]))
        points[side] = {key: _known(_mean([one[key] for one in at_hand])[0]) for key in COMPARED}
        draws[side] = {key: _mean([one[key] for one in again]) for key in COMPARED}
    for key in COMPARED:
        if categorical or key not in CATEGORICAL:
            row: dict = {}
            for side in pairs:
                ends = interval(draws[side][key]) if points[side][key] is not None else None
                row |= {side: points[side][key], f"{side}_interval": ends}
            found[key] = row | {"judge_lies": _place(row["judge"], row["humans_interval"])}
    return found


def drawn_figures(cells: numpy.ndarray, counts: numpy.ndarray) -> dict[str, numpy.ndarray]:
    """The figures of each draw, NaN where they are not defined.

    Args:
        cells: the pairs of scores that occur: (pairs, 2).
        counts: how often each of them does in each draw: (draws, pairs).
    """
    x, y = (cells - cells.mean()).T
    n = counts.sum(axis=1)
    mean_x, mean_y = quotient(counts @ x, n), quotient(counts @ y, n)
    apart = quotient(counts @ (x - y) ** 2, n)
    square_x, square_y = quotient(counts @ x**2, n), quotient(counts @ y**2, n)
    expected = _above_0(square_x + square_y - 2 * mean_x * mean_y)
    # Krippendorff's expected disagreement: twice the variance of all scores of both sides.
    pooled = _above_0((square_x + square_y) / 2 - ((mean_x + mean_y) / 2) ** 2) * quotient(4 * n, 2 * n - 1)
    return {
        "macro_f1": _drawn_f1(cells, counts),
        "kappa": 1 - quotient(apart, expected),
        "alpha": 1 - quotient(apart, pooled),
        "spearman": _drawn_spearman(cells, counts),
        "exact": quotient(counts @ (x == y), n),
        "difference": mean_x - mean_y,
    }


def _drawn_f1(cells: numpy.ndarray, counts: numpy.ndarray) -> numpy.ndarray:
    found = []
    for score in numpy.unique(cells):
        is_score = cells == score
        found.append(quotient(2 * counts @ is_score.all(axis=1), counts @ is_score.sum(axis=1)))
    return _mean(found)


def _drawn_spearman(cells: numpy.ndarray, counts: numpy.ndarray) -> numpy.ndarray:
    n = counts.sum(axis=1)
    ranks = []
    for column in cells.T:
        scores, which = numpy.unique(column, return_inverse=True)
        often = counts @ (which[:, None] == numpy.arange(len(scores)))
        # Equal scores have their mean rank; the middle of all ranks is 0.
        ranks.append((numpy.cumsum(often, axis=1) - often / 2 - n[:, None] / 2)[:, which])
    first, second = ranks
    together = (counts * first * second).sum(axis=1)
    return quotient(together, numpy.sqrt((counts * first**2).sum(axis=1) * (counts * second**2).sum(axis=1)))


def _counted(first: Rater, second: Rater, items: Sequence[str]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The pairs of scores that occur, and for each of `items` a row with a 1 at its pair; only 0 where one side has none."""
    pairs = [(first[name], second[name]) if name in first and name in second else None for name in items]
    places = {pair: i for i, pair in enumerate(sorted({pair for pair in pairs if pair}))}
    table = numpy.zeros((len(items), len(places)))
    for row, pair in enumerate(pairs):
        if pair:
            table[row, places[pair]] = 1
    return numpy.array(list(places), dtype=float).reshape(-1, 2), table


def _mean(columns: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """The mean over the columns that are defined, in each row."""
    table = numpy.array(columns)
    return quotient(numpy.nansum(table, axis=0), (~numpy.isnan(table)).sum(axis=0))


def _above_0(values: numpy.ndarray) -> numpy.ndarray:
    """`values` with 0 for what is 0 but for the last digits."""
    return numpy.where(values < 1e-12, 0.0, values)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _place(value: float | None, ends: list[float] | None) -> str | None:
    if value is None or ends is None:
        return None
    return "below" if value < ends[0] else "above" if value > ends[1] else "within"
