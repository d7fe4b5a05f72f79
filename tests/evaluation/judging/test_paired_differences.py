"""Differences between two systems on the same cases: figures that are known beforehand."""

import random

import numpy
import pytest

from medllm_hf.evaluation.judging.paired_differences import at_equal_length, compared, sign_test


def sides(differences, lengths=None):
    lengths = lengths or [0] * len(differences)
    first = {("s", str(i)): (4 + d, 100 + n) for i, (d, n) in enumerate(zip(differences, lengths, strict=True))}
    return first, dict.fromkeys(first, (4, 100))


def test_only_cases_of_both_are_paired():
    first, second = sides([1, 0, 1, 0])
    row = compared(first | {("s", "x"): (1, 1)}, {case: second[case] for case in list(second)[1:]})
    assert (row["n"], row["unpaired_first"], row["unpaired_second"]) == (3, 2, 0)
    assert row["difference"] == pytest.approx(1 / 3)


def test_the_interval_is_that_of_the_mean():
    choice = random.Random(1)
    differences = [choice.gauss(0.2, 1) for _ in range(400)]
    row = compared(*sides(differences))
    error = numpy.std(differences) / 20
    middle = numpy.mean(differences)
    assert [row["interval_low"], row["interval_high"]] == pytest.approx(
        [middle - 1.96 * error, middle + 1.96 * error], abs=0.02
    )
    assert row["detectable_difference"] == pytest.approx(2.8016 * error, rel=0.01)


def test_the_sign_test_counts_signs():
    generator = numpy.random.default_rng(0)
    # All five of one sign: 2 of 32 ways are as far out.
    assert sign_test(numpy.ones(5), generator) == pytest.approx(2 / 32, abs=0.01)
    assert sign_test(numpy.array([1.0, -1, 0.5, -0.5]), generator) == 1


def test_a_difference_that_comes_from_length_alone_goes_away():
    lengths = [10, 20, 30, 40, 80, 120]
    row = compared(*sides([n / 100 for n in lengths], lengths))
    assert row["difference"] == 0.5 and row["equal_length_difference"] == pytest.approx(0, abs=1e-9)
    row = compared(*sides([0.25 - n / 100 for n in lengths], lengths))
    assert row["equal_length_difference"] == pytest.approx(0.25)
    assert compared(*sides([1, 2, 3]))["equal_length_difference"] is None
    assert at_equal_length(numpy.array([1.0, 2]), numpy.array([7.0, 7])) == 1.5


def test_too_few_cases_give_no_interval():
    for few in ([1, 0], [1, 0, 2, 1, 0]):
        row = compared(*sides(few, [10, 20, 30, 40, 50][: len(few)]))
        assert row["interval_low"] is row["detectable_difference"] is row["equal_length_low"] is None and row["p"] > 0.05
        assert row["equal_length_difference"] is None, "a line through two points says nothing of length"
    equal = compared(*sides([1] * 8))
    assert equal["interval_low"] is equal["detectable_difference"] is None and equal["p"] < 0.02
    first, second = sides([1])
    assert compared(first, second)["difference"] == 1 and compared(first, second)["p"] is None
    assert compared(first, {})["difference"] is None and compared(first, {})["n"] == 0
