"""A judge's mean corrected by a few human labels: prediction-powered inference, clustered by case.

Source: Angelopoulos, Bates, Fannjiang, Jordan and Zrnic 2023, Prediction-powered inference (Science 382, 669-674), with the
power-tuned weight lambda of Angelopoulos, Duchi and Zrnic 2023, PPI++ (arXiv 2311.01453). For a mean, that weight is the slope
of the labels on the judge's scores, and the estimate the regression estimator of survey sampling (Särndal, Swensson and
Wretman 1992, chapter 6). Three things differ from the papers, since labels are few, dialogues of one case alike, and scores
near the end of their scale: variances are those of sums over cases, quantiles are Student's, and the interval is as skewed as
the scores. The weight is not cut off at 1, so a judge that uses little of the scale is of full use.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy

from medllm_hf.evaluation.statistics.tests import Z

# With fewer labelled cases, or fewer labels unlike the commonest one, the intervals are known to be too narrow.
LEAST_CASES, LEAST_UNLIKE = 20, 5
# How many standard errors labelled dialogues may differ from the others before they count as chosen: 1 draw in 16,000.
_OBVIOUS = 4.0


@dataclass(frozen=True)
class Rated:
    """Dialogues that a judge scored and of which people labelled some; each column has one entry a dialogue.

    Attributes:
        judge: the judge's score.
        label: the mean of the annotators' labels; NaN where there is none.
        case: what the dialogue is on; dialogues of one case are not independent.
        groups: what the dialogues may be grouped by, such as "department" → the department of each.
        scale: the lowest and the highest score.
    """

    judge: numpy.ndarray
    label: numpy.ndarray
    case: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    scale: tuple[float, float]


@dataclass(frozen=True)
class Mean:
    """A mean and its 95% interval, None where nothing varies."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Calibration:
    """A judge's mean before and after its correction.

    Attributes:
        n: dialogues with a label, and `cases` the cases that these are on.
        dialogues: all dialogues that the judge scored.
        weight: what a point of the judge counts (lambda); 0 leaves the labels alone.
        judge: over all dialogues, by the judge: uncalibrated.
        calibrated: over all dialogues, as the annotators would label them.
        labels: over the labelled dialogues, by the labels alone.
        bias: by how much the judge is above the labels.
    """

    n: int
    cases: int
    dialogues: int
    weight: float
    judge: Mean
    calibrated: Mean
    labels: Mean
    bias: Mean


@dataclass(frozen=True)
class Withheld:
    """In the place of a calibration: why `n` labels give none."""

    n: int
    reason: str


@dataclass(frozen=True)
class _Part:
    """A part of an estimate's error: what each case adds to it, the cases that can, and the figures fitted to them."""

    sums: numpy.ndarray
    cases: int
    fitted: int

    @property
    def scaled(self) -> numpy.ndarray:
        """The sums, larger by what fitting has taken from them."""
        return self.sums * math.sqrt(self.cases / self.freedom)

    @property
    def freedom(self) -> int:
        return self.cases - self.fitted


def calibrate(rated: Rated) -> Calibration | Withheld:
    """The judge's mean over all dialogues, corrected by the labels of some of them, which were drawn at random.

    The result is withheld where labels are too few, hardly differ, or were plainly chosen by the judge's score or by a group.
    """
    known = ~numpy.isnan(rated.label)
    n, case = int(known.sum()), numpy.unique(list(rated.case), return_inverse=True)[1]
    if reason := _unfit(rated, known, case):
        return Withheld(n, reason)
    judge, label, labelled = rated.judge, rated.label[known], case[known]
    centred = judge[known] - judge[known].mean()
    spread = float(centred @ centred)
    # A judge that prefers what people do not is of no use: its weight is 0 and not below.
    weight = max(0.0, float(centred @ label) / spread) if spread > 0 else 0.0
    lack = float(judge.mean() - judge[known].mean())
    value = float(label.mean()) + weight * lack
    # A label counts by its share, and more where the labelled dialogues hold too few that the judge scores like it.
    shares = 1 / n + (centred * lack / spread if weight > 0 else 0.0)
    rest = label - label.mean() - weight * centred
    parts = [_part(shares * rest, labelled, case, 1 + (weight > 0))]
    if weight > 0:
        parts.append(_part(weight * (judge - judge.mean()) / len(judge), case, case, 1))
    return Calibration(
        n=n,
        cases=len(set(labelled)),
        dialogues=len(judge),
        weight=weight,
        judge=_mean(judge, case, rated.scale),
        calibrated=Mean(value, _interval(value, parts, rated.scale)),
        labels=_mean(label, labelled, rated.scale),
        bias=_mean(judge[known] - label, labelled, (-math.inf, math.inf)),
    )


def student_quantile(freedom: float) -> float:
    """The 97.5% point of Student's t, to three decimals from 5 degrees of freedom on.

    Source: Abramowitz and Stegun 1964, 26.7.5.
    """
    z2 = Z * Z
    terms = (
        (z2 + 1) / 4,
        ((5 * z2 + 16) * z2 + 3) / 96,
        (((3 * z2 + 19) * z2 + 17) * z2 - 15) / 384,
        ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) / 92160,
    )
    return Z + sum(Z * term / freedom ** (i + 1) for i, term in enumerate(terms))


def _mean(values: numpy.ndarray, case: numpy.ndarray, scale: tuple[float, float]) -> Mean:
    """The mean of values that each belong to a case."""
    value = float(values.mean())
    return Mean(value, _interval(value, [_part((values - value) / len(values), case, case, 1)], scale))


def _part(values: numpy.ndarray, own: numpy.ndarray, case: numpy.ndarray, fitted: int) -> _Part:
    """The part whose `values` belong to the cases `own`, of all those in `case`."""
    return _Part(numpy.bincount(own, values, int(case.max()) + 1), len(set(own)), fitted)


def _interval(value: float, parts: Sequence[_Part], scale: tuple[float, float]) -> tuple[float, float] | None:
    """The 95% interval of an estimate within the scale; degrees of freedom by Satterthwaite 1946."""
    if any(part.freedom < 1 for part in parts):
        return None
    # Of a case that is in several parts the sums belong together.
    whole = numpy.sum([part.scaled for part in parts], axis=0)
    own = [float(part.scaled @ part.scaled) for part in parts]
    variance = float(whole @ whole)
    if not min(variance, sum(own)) > 1e-18:
        return None
    freedom = sum(own) ** 2 / sum(square**2 / part.freedom for square, part in zip(own, parts, strict=True))
    quantile, skew = student_quantile(freedom), float((whole**3).sum()) / variance**1.5
    below, above = (math.sqrt(variance) * _skewed(point, skew) for point in (quantile, -quantile))
    return max(scale[0], value - below), min(scale[1], value - above)


def _skewed(point: float, skew: float) -> float:
    """The point of a mean's distribution that is as skewed as its terms: most scores near the end of a scale are.

    Args:
        skew: the sum of the terms' third powers, in standard errors.

    Source: Hall 1992, On the removal of skewness by transformation (Journal of the Royal Statistical Society B 54, 221-228).
    """
    if abs(skew) < 1e-6:
        return point
    cube = 1 + skew * (point - skew / 6)
    return 3 / skew * (math.copysign(abs(cube) ** (1 / 3), cube) - 1)


def _unfit(rated: Rated, known: numpy.ndarray, case: numpy.ndarray) -> str | None:
    """Why the labels give no calibration, None where they may."""
    cases = len(set(case[known]))
    if cases < LEAST_CASES:
        return f"labels of {cases} cases, and at least {LEAST_CASES} are needed"
    label = rated.label[known]
    commonest, often = Counter(label.tolist()).most_common(1)[0]
    if len(label) - often < LEAST_UNLIKE:
        return (
            f"{often} of {len(label)} labels are {commonest:g}, and at least {LEAST_UNLIKE} others are needed to tell how far "
            "a mean may be off"
        )
    if known.all():
        return None
    return next((why for why in _chosen(rated, known, case)), None)


def _chosen(rated: Rated, known: numpy.ndarray, case: numpy.ndarray) -> Iterator[str]:
    """Yields by what the labelled dialogues were plainly chosen, where they are no random draw."""
    scores, which, often = numpy.unique(rated.judge, return_inverse=True, return_counts=True)
    if _enough(known, rated.judge != scores[often.argmax()]):
        ranks = (numpy.cumsum(often) - often / 2)[which] / len(known)
        for values, how in ((ranks, "score"), (numpy.abs(ranks - 0.5), "extreme or middling score")):
            if abs(_apart(values, known, case)) > _OBVIOUS:
                means = [float(rated.judge[part].mean()) for part in (known, ~known)]
                yield (
                    f"the labelled dialogues were chosen by the judge's {how}, {means[0]:.2f} on average beside {means[1]:.2f} "
                    "of the others; label dialogues drawn at random"
                )
    for name, column in rated.groups.items():
        members = numpy.array(list(column))
        for group in dict.fromkeys(column):
            within = members == group
            if _enough(known, within) and abs(_apart(within.astype(float), known, case)) > _OBVIOUS:
                yield (
                    f"the labelled dialogues were chosen by {name}: {within[known].sum()} of {known.sum()} are of "
                    f"{group or '(none)'}, and {within.sum()} of all {len(known)}; label dialogues drawn at random"
                )


def _enough(known: numpy.ndarray, within: numpy.ndarray) -> bool:
    """Whether a random draw has so many dialogues on either side that a normal distribution can be assumed."""
    share = float(within.mean())
    return known.sum() * min(share, 1 - share) >= LEAST_UNLIKE


def _apart(values: numpy.ndarray, known: numpy.ndarray, case: numpy.ndarray) -> float:
    """By how many standard errors, clustered by case, the labelled dialogues are above the others."""
    signed = numpy.where(known, 1 / known.sum(), -1 / (~known).sum())
    sums = numpy.bincount(case, (values - values.mean()) * signed)
    variance = float(sums @ sums)
    # Where whole cases are labelled and each has the same, only the last digits differ.
    return float(sums.sum() / math.sqrt(variance)) if variance > 1e-18 else 0.0
