"""How far scores agree: a judge with human labels, two judges, repeated samples of one judge.

The intervals are those over dialogues drawn again. Every figure follows from how often each pair of scores occurs, so a draw
of dialogues is a row of such counts, and all draws are worked out at once; one after another they would take minutes.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy

from medllm_hf.evaluation.statistics.bootstrap import FEWEST, drawn_sums, interval, quotient, share_interval

FIGURES = ("macro_f1", "kappa", "alpha", "spearman", "exact", "difference")
# A mean of several scores is no category, so these say nothing of it.
CATEGORICAL = ("macro_f1", "exact")
# A difference has a sign, which depends on who of two annotators is called the first.
COMPARED = ("macro_f1", "kappa", "alpha", "spearman", "exact")

Rater = Mapping[str, float]


def by_dialogue(rows: Sequence[Mapping], criterion: str) -> dict[str, float]:
    """Dialogue id → its mean score over the scored rows (samples); dialogues without any are left out."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["scores"].get(criterion) is not None:
            found.setdefault(row["id"], []).append(row["scores"][criterion])
    return {name: math.fsum(scores) / len(scores) for name, scores in found.items()}


def compare(first: Sequence[Mapping], second: Sequence[Mapping]) -> dict:
    """How far two sets of rows `{"id", "scores": {criterion: number or None}}` agree, such as a judge's and a human's.

    Each criterion has `n` (dialogues that both scored), `kappa` (quadratic weights), `alpha` (Krippendorff, interval),
    `macro_f1` (the mean over the scores that occur, the second side taken for true), `exact` (share of equal scores) and
    `difference` (mean of first minus second). `only_first` and `only_second` name the dialogues that one side lacks.
    """
    ids = [dict.fromkeys(row["id"] for row in rows) for rows in (first, second)]
    result: dict = {
        "criteria": {},
        "only_first": [name for name in ids[0] if name not in ids[1]],
        "only_second": [name for name in ids[1] if name not in ids[0]],
    }
    names = dict.fromkeys(name for row in first for name in row["scores"])
    for criterion in names:
        ours, theirs = by_dialogue(first, criterion), by_dialogue(second, criterion)
        shared = [name for name in ours if name in theirs]
        x, y = [ours[name] for name in shared], [theirs[name] for name in shared]
        result["criteria"][criterion] = {"n": len(shared), **_figures(x, y)}
    return result


def alpha(raters: Sequence[Mapping[str, float]]) -> float | None:
    """Krippendorff's alpha for scores on an interval scale; None where nothing was scored twice or no score differs.

    Args:
        raters: of each rater (judge, human or sample) the scores by dialogue; gaps are allowed.

    Source: Krippendorff 2011, Computing Krippendorff's alpha-reliability.
    """
    import krippendorff

    names = dict.fromkeys(name for rater in raters for name in rater)
    table = numpy.array([[rater.get(name, numpy.nan) for name in names] for rater in raters], dtype=float)
    paired = table[:, (~numpy.isnan(table)).sum(axis=0) > 1] if table.size else table
    if paired.size == 0 or len(set(paired[~numpy.isnan(paired)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=paired, level_of_measurement="interval"))


def quadratic_kappa(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Cohen's kappa with quadratic weights; None where chance alone would agree wholly.

    Source: Cohen 1968; with these weights it needs the scores alone, half points too, and no list of categories.
    """
    x, y = numpy.array(first, dtype=float), numpy.array(second, dtype=float)
    expected = float(((x[:, None] - y[None, :]) ** 2).mean()) if len(x) else 0.0
    return 1 - float(((x - y) ** 2).mean()) / expected if expected else None


def macro_f1(judged: Sequence[float], true: Sequence[float]) -> float | None:
    """The mean F1 over all scores that occur on either side; None without any."""
    pairs = list(zip(judged, true, strict=True))
    found = []
    for score in sorted({score for pair in pairs for score in pair}):
        both = sum(pair == (score, score) for pair in pairs)
        found.append(2 * both / (sum(a == score for a, _ in pairs) + sum(b == score for _, b in pairs)))
    return math.fsum(found) / len(found) if found else None


def _figures(x: Sequence[float], y: Sequence[float]) -> dict[str, float | None]:
    names = [str(i) for i in range(len(x))]
    return {
        "kappa": quadratic_kappa(x, y),
        "alpha": alpha([dict(zip(names, side, strict=True)) for side in (x, y)]),
        "macro_f1": macro_f1(x, y),
        "exact": sum(a == b for a, b in zip(x, y, strict=True)) / len(x) if x else None,
        "difference": math.fsum(a - b for a, b in zip(x, y, strict=True)) / len(x) if x else None,
    }


def figures(judge: Rater, other: Rater, categorical: bool = True) -> dict:
    """`n`, the figures of `FIGURES` and their 95% "intervals" over the dialogues that both scored, `other` taken for true.

    A figure that is not defined there is None, and so is its interval; of an interval, also where `interval` has none. Two
    dialogues are always correlated, so fewer than `FEWEST` have no "spearman".
    """
    shared = [name for name in judge if name in other]
    x, y = [judge[name] for name in shared], [other[name] for name in shared]
    found: dict = {"n": len(shared), **dict.fromkeys(FIGURES), "intervals": dict.fromkeys(FIGURES)}
    if not shared:
        return found
    cells, table = _counted(judge, other, shared)
    found |= _figures(x, y)
    if len(shared) >= FEWEST:
        found["spearman"] = _known(drawn_figures(cells, table.sum(axis=0)[None])["spearman"][0])
        drawn = drawn_figures(cells, drawn_sums(table))
        found["intervals"] = {key: _ends(key, drawn[key], found[key], len(shared)) for key in FIGURES}
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
        if len(items) < FEWEST:
            points[side]["spearman"] = None
        draws[side] = {key: _mean([one[key] for one in again]) for key in COMPARED}
    for key in COMPARED:
        if categorical or key not in CATEGORICAL:
            row: dict = {}
            for side in pairs:
                ends = _ends(key, draws[side][key], points[side][key], len(items))
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


def _ends(key: str, drawn: numpy.ndarray, value: float | None, count: int) -> list[float] | None:
    """The interval of a figure over `count` dialogues; "exact" is a share."""
    if value is None:
        return None
    return share_interval(drawn, value, count) if key == "exact" else interval(drawn, count)


def _place(value: float | None, ends: list[float] | None) -> str | None:
    if value is None or ends is None:
        return None
    return "below" if value < ends[0] else "above" if value > ends[1] else "within"
