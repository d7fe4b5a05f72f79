"""How far scores agree: a judge with human labels, two judges, repeated samples of one judge."""

import math
from collections.abc import Mapping, Sequence

import numpy


def by_dialogue(rows: Sequence[dict], criterion: str) -> dict[str, float]:
    """Dialogue id → its mean score over the scored rows (samples); dialogues without any are left out."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["scores"].get(criterion) is not None:
            found.setdefault(row["id"], []).append(row["scores"][criterion])
    return {name: math.fsum(scores) / len(scores) for name, scores in found.items()}


def compare(first: Sequence[dict], second: Sequence[dict]) -> dict:
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


def samples_alpha(rows: Sequence[dict], criterion: str) -> float | None:
    """Krippendorff's alpha between the samples of a judge run; None where it is not defined."""
    raters: dict[int, dict[str, float]] = {}
    for row in rows:
        if row["scores"].get(criterion) is not None:
            raters.setdefault(row["sample"], {})[row["id"]] = row["scores"][criterion]
    return alpha(list(raters.values()))


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


def _figures(x: Sequence[float], y: Sequence[float]) -> dict:
    names = [str(i) for i in range(len(x))]
    return {
        "kappa": quadratic_kappa(x, y),
        "alpha": alpha([dict(zip(names, side, strict=True)) for side in (x, y)]),
        "macro_f1": macro_f1(x, y),
        "exact": sum(a == b for a, b in zip(x, y, strict=True)) / len(x) if x else None,
        "difference": math.fsum(a - b for a, b in zip(x, y, strict=True)) / len(x) if x else None,
    }
