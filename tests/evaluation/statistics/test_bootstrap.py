"""Intervals by drawing cases again: none without width, none of so few cases."""

import random
from math import comb

import numpy
import pytest

from medllm_hf.evaluation.statistics import bootstrap
from medllm_hf.evaluation.statistics.bootstrap import (
    FEWEST,
    drawn_sums,
    ends_text,
    interval,
    score_text,
    share_interval,
    share_text,
)
from medllm_hf.evaluation.statistics.tests import mcnemar, paired_interval, wilson
from medllm_hf.metrics.llm_judge import figures
from medllm_hf.reporting.phrases import Text


def means(values):
    table = numpy.array(values, dtype=float)[:, None]
    return drawn_sums(table)[:, 0] / len(values)


def test_fewest_is_where_smallest_and_largest_enclose_the_middle_in_95_percent():
    within = {n: 1 - 2 * sum(comb(n, k) for k in (0,)) / 2**n for n in range(1, 12)}
    assert min(n for n, share in within.items() if share >= 0.95) == FEWEST == figures.FEWEST


@pytest.mark.parametrize("values", [[4], [1, 5], [1, 2, 3, 4, 5], [4.2] * 6, [4.2] * 300])
def test_too_few_or_equal_cases_have_no_interval(values):
    assert interval(means(values), len(values)) is None


def test_an_interval_has_a_width_and_covers():
    """Of six to twelve normal values: not the 95% of large samples, but never a point."""
    choice, held, widths = random.Random(3), 0, []
    for _ in range(200):
        values = [choice.gauss(0, 1) for _ in range(choice.randint(FEWEST, 12))]
        low, high = interval(means(values), len(values))
        held += low <= 0 <= high
        widths.append(high - low)
    assert min(widths) > 0.1 and held > 165


def test_a_figure_that_draws_lack_has_none():
    some = numpy.linspace(0, 1, 94)
    assert interval(numpy.append(some, [numpy.nan] * 6), 94) is None
    assert interval(numpy.append(some, [numpy.nan] * 4), 94) is not None


def test_a_share_that_no_draw_changes_has_the_interval_of_a_proportion():
    assert share_interval(means([1] * 20), 1, 20) == list(wilson(20, 20))
    low, high = share_interval(means([0.5] * 8), 0.5, 8)
    assert 0.2 < low < 0.5 < high < 0.8
    assert share_interval(means([1] * 5), 1, 5) is None
    assert share_interval(means([0, 1] * 10), 0.5, 20) == interval(means([0, 1] * 10), 20)
    assert share_interval(numpy.full(2000, numpy.nan), 0.0, 20) is None


def test_proportions_are_never_without_width():
    for count in (1, 2, 5, 100):
        for right in range(count + 1):
            low, high = wilson(right, count)
            assert 0 <= low < high <= 1 and high - low > 0.03
    for cells in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 1), (7, 0, 0, 0), (3, 0, 0, 3)):
        low, high = paired_interval(*cells)
        assert high - low > 0.1, cells
    assert mcnemar(0, 0) == 1


def test_what_stands_in_the_place_of_an_interval():
    assert score_text(4.2, [3.9, 4.5], 60) == Text("4.20 (3.90 to 4.50)", "4.20（3.90 至 4.50）")
    assert score_text(4.2, None, 3) == Text("4.20 (too few)", "4.20（太少）")
    assert score_text(5, None, 60) == Text("5.00 (no spread)", "5.00（全部相等）")
    assert score_text(None, None, 0) == "–"
    assert share_text([0.4, 0.6], 60).en == "40.0 to 60.0%" and share_text(None, 2).en == "too few"
    assert ends_text([0.25, 0.5], 9, 3).en == "0.250 to 0.500" and "below 6" in bootstrap.NO_INTERVAL.en
