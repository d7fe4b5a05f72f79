"""The systems of judge runs; of two on the same cases the difference of their scores, with its interval."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy

from medllm_hf.evaluation.judging.derive import Judged, JudgeRun, Scored
from medllm_hf.evaluation.statistics.bootstrap import CASE_BLOCK, CASE_BLOCKS, FEWEST, drawn_cases, interval
from medllm_hf.evaluation.statistics.tests import Z, holm

# The 80% point of the normal distribution: a difference is called detectable when a test finds it 8 times in 10.
Z_POWER = 0.8416212335729143


@dataclass(frozen=True)
class System:
    """A model in a set of runs, under the name that the report calls it by."""

    name: str
    model: str
    run: JudgeRun

    @property
    def dialogues(self) -> list[Judged]:
        return self.run.systems[self.model]

    @property
    def withheld(self) -> bool:
        return self.run.metrics["headline"] is None


def systems_of(runs: Iterable[JudgeRun]) -> list[System]:
    """The systems of the runs; one that several runs have is named with its run."""
    pairs = [(model, run) for run in runs for model in run.systems]
    models = [model for model, _ in pairs]
    return [
        System(f"{model or '(none)'} ({run.name})" if models.count(model) > 1 else model or "(none)", model, run)
        for model, run in pairs
    ]


def comparisons(systems: list[System]) -> list[dict]:
    """Each later system against each earlier one on the cases that both have scores of, p values corrected by Holm."""
    sides = {system.name: by_case(system.dialogues) for system in systems}
    rows = [
        {
            "first": later.name,
            "second": earlier.name,
            "withheld": later.withheld or earlier.withheld,
            **compared(sides[later.name], sides[earlier.name]),
        }
        for earlier, later in combinations(systems, 2)
    ]
    tested = [row for row in rows if row["p"] is not None]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = p
    return rows


def by_case(dialogues: list[Judged]) -> dict[tuple, tuple[float, float]]:
    """Case → mean overall score and mean number of the doctor's characters over the scored dialogues on it."""
    found: dict[tuple, list[tuple[float, int]]] = {}
    for one in dialogues:
        if isinstance(one.verdict, Scored):
            found.setdefault(one.case, []).append((one.verdict.overall, one.item["doctor_characters"]))
    return {case: tuple(sum(column) / len(rows) for column in zip(*rows, strict=True)) for case, rows in found.items()}


def compared(first: Mapping[tuple, tuple[float, float]], second: Mapping[tuple, tuple[float, float]]) -> dict:
    """The difference, first minus second, over the cases of both.

    It has a 95% percentile interval of a bootstrap over cases, the p of a test that turns the signs of the differences at
    random, the smallest difference that such a test at 5% finds in 80%, and the difference at equal length of the
    doctor's words, by a straight line through the differences. Figures that so few cases do not give are None.
    """
    shared = [case for case in first if case in second]
    score, length = (numpy.array([first[case][i] - second[case][i] for case in shared]) for i in (0, 1))
    count = len(shared)
    names = ("interval_low", "interval_high", "p", "p_holm", "detectable_difference", "equal_length_difference",
             "equal_length_low", "equal_length_high")  # fmt: skip
    row: dict = {
        "n": count,
        "unpaired_first": len(first) - count,
        "unpaired_second": len(second) - count,
        "difference": float(score.mean()) if count else None,
        "length_difference": float(length.mean()) if count else None,
        **dict.fromkeys(names),
    }
    random = numpy.random.default_rng(0)
    if count < FEWEST or score.std() == 0:
        # The test asks for neither an interval nor a spread.
        return row | {"p": sign_test(score, random) if count > 1 else None}
    drawn = [(score[index].mean(axis=-1), at_equal_length(score[index], length[index])) for index in drawn_cases(random, count)]
    ends, adjusted = (interval(numpy.concatenate(side), count) for side in zip(*drawn, strict=True))
    row |= {**dict(zip(names[:2], ends or (None, None), strict=True)), "p": sign_test(score, random)}
    row["detectable_difference"] = (Z + Z_POWER) * float(score.std(ddof=1)) / count**0.5
    if length.std() > 0:
        row["equal_length_difference"] = float(at_equal_length(score, length))
        row |= zip(names[-2:], adjusted or (None, None), strict=True)
    return row


def at_equal_length(score: numpy.ndarray, length: numpy.ndarray) -> numpy.ndarray:
    """Where the least-squares line of `score` over `length` (last axis) meets length 0; the mean where lengths are equal."""
    middle, mean = length.mean(axis=-1), score.mean(axis=-1)
    shared = (length * score).mean(axis=-1) - middle * mean
    spread = (length * length).mean(axis=-1) - middle**2
    slope = numpy.divide(shared, spread, out=numpy.zeros_like(shared), where=spread > 1e-9)
    return mean - slope * middle


def sign_test(differences: numpy.ndarray, random: numpy.random.Generator) -> float:
    """The two-sided p of a mean of 0 where each difference could as well have had the other sign.

    Source: Fisher 1935; by random signs, the observed ones among them, as in Phipson and Smyth 2010.
    """
    observed, reached = abs(differences.sum()), 0
    for _ in range(CASE_BLOCKS):
        signs = 2 * random.integers(0, 2, (CASE_BLOCK, len(differences))) - 1
        reached += int((abs(signs @ differences) >= observed - 1e-9).sum())
    return (1 + reached) / (1 + CASE_BLOCKS * CASE_BLOCK)
