"""Intervals and tests of the report against published examples, other implementations and plain enumeration."""

import itertools
import math
import random

import pytest

from medllm_hf.evaluation.statistics.tests import chi_square_p, exact_fit_p, holm, mcnemar, paired_interval, wilson
from medllm_hf.metrics.mcq_accuracy.scoring import wilson as of_the_metric


@pytest.mark.parametrize(
    ("table", "limits"),
    [
        # Newcombe 1998, table II, method 10; Fagerland, Lydersen and Laake 2014, airway example.
        ((36, 12, 2, 0), (0.0569, 0.3404)),
        ((1, 1, 7, 12), (-0.5069, -0.0256)),
    ],
)
def test_paired_interval_of_published_tables(table, limits):
    assert paired_interval(*table) == pytest.approx(limits, abs=5e-5)


def test_paired_interval_mirrors_and_stays_in_range():
    for table in itertools.product((0, 1, 4, 30), repeat=4):
        if sum(table):
            both, first, second, neither = table
            low, high = paired_interval(*table)
            assert -1 <= low <= (first - second) / sum(table) <= high <= 1
            assert paired_interval(both, second, first, neither) == pytest.approx((-high, -low))


def test_paired_interval_covers_the_truth():
    """Two models that are right on 60% and 50% of the questions, and together more often than by chance."""
    covered = 0
    for seed in range(400):
        rng = random.Random(seed)
        cases = rng.choices(range(4), weights=(0.4, 0.2, 0.1, 0.3), k=200)
        low, high = paired_interval(*(cases.count(case) for case in range(4)))
        covered += low <= 0.1 <= high
    assert 0.93 <= covered / 400 <= 0.98


def test_mcnemar_is_the_binomial_test():
    for first, second in itertools.product(range(8), repeat=2):
        count = first + second
        outcomes = [sum(tosses) for tosses in itertools.product((0, 1), repeat=count)]
        far = sum(abs(heads - count / 2) >= abs(first - count / 2) for heads in outcomes)
        assert mcnemar(first, second) == pytest.approx(far / 2**count)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 2000) == 0.0  # less than the smallest float
    assert 0.06 < mcnemar(6000, 5800) < 0.07


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_chi_square_against_tables_and_scipy():
    # The 5% points of every table of chi-square.
    for freedom, point in enumerate((3.841, 5.991, 7.815, 9.488, 11.070, 12.592), start=1):
        assert chi_square_p(point, freedom) == pytest.approx(0.05, abs=2e-5)
    stats = pytest.importorskip("scipy.stats", reason="scipy is not part of the project")
    for freedom, statistic in itertools.product(range(1, 26), (0.0, 0.3, 2.0, 11.0, 60.0)):
        assert chi_square_p(statistic, freedom) == pytest.approx(stats.chi2.sf(statistic, freedom), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("truth", [0.225, 0.6])
def test_wilson_covers_the_truth(truth):
    """The exact share of exams of 300 questions whose interval holds the truth, for the models that test_bias.py simulates."""
    limits = [wilson(right, 300) for right in range(301)]
    chances = [math.comb(300, right) * truth**right * (1 - truth) ** (300 - right) for right in range(301)]
    covered = sum(chance for chance, (low, high) in zip(chances, limits, strict=True) if low <= truth <= high)
    assert 0.94 <= covered <= 0.96


def test_wilson_is_that_of_the_metric():
    for count in (1, 7, 300):
        for right in range(0, count + 1, max(1, count // 7)):
            assert wilson(right, count) == of_the_metric(right, count)
    for count in range(1, 200):
        assert wilson(0, count)[0] == of_the_metric(0, count)[0] == 0.0
        assert wilson(count, count)[1] == of_the_metric(count, count)[1] == 1.0
    assert math.isclose(wilson(2, 4)[0], 0.150036, abs_tol=1e-5)


def test_exact_fit_of_four_draws():
    """Counts over two equal cells are binomial; of 4 draws 0 or 4 in the first has the chance 2/16."""
    assert math.isclose(exact_fit_p([[0, 1]] * 4, [4, 0], [2, 2]), 2 / 16)
    assert math.isclose(exact_fit_p([[0, 1]] * 4, [3, 1], [2, 2]), 10 / 16)
    assert exact_fit_p([[0, 1]] * 4, [2, 2], [2, 2]) == 1.0
    assert math.isclose(exact_fit_p([[0, 1, 1]] * 2, [2, 0], [2 / 3, 4 / 3]), 1 / 9)
