"""The power of a draw: exact beside all ways to draw, beside simulated draws, and beside altered answers of a stored run."""

import random
from itertools import combinations
from math import comb, sqrt

import pytest

from medllm_hf.data.mcq import McqItem
from medllm_hf.evaluation.exams.prompts import present_options
from medllm_hf.evaluation.verification.power import AIM, caught, needed, power_text
from medllm_hf.evaluation.verification.rerun import compare, finding

RESAMPLES = 5_000


@pytest.mark.parametrize("seen", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize(("drawn", "total", "altered"), [(3, 7, 2), (7, 7, 2), (1, 6, 6), (4, 6, 3), (2, 5, 0)])
def test_the_power_is_the_share_of_all_draws(drawn, total, altered, seen):
    draws = list(combinations(range(total), drawn))
    missed = sum((1 - seen) ** sum(item < altered for item in draw) for draw in draws) / len(draws)
    assert caught(drawn, total, altered, seen) == pytest.approx(1 - missed, abs=1e-12)


def test_the_power_of_a_large_exam_is_exact_too():
    ways = comb(20_000, 60)
    missed = sum(comb(1_000, hit) * comb(19_000, 60 - hit) / ways * 0.2**hit for hit in range(61))
    assert caught(60, 20_000, 1_000, 0.8) == pytest.approx(1 - missed, abs=1e-9)
    # Two hundred thousand items, in far less than a second.
    assert caught(100_000, 200_000, 10_000, 0.01) == pytest.approx(1 - 0.995**10_000, abs=1e-9)


def test_as_many_items_as_are_needed_and_one_fewer():
    for total, altered, seen in ((1_000, 50, 1.0), (1_000, 50, 0.5), (200_000, 10_000, 0.9), (60, 3, 1.0)):
        fewest = needed(total, altered, seen)
        assert fewest and caught(fewest, total, altered, seen) >= AIM > caught(fewest - 1, total, altered, seen)
    assert needed(40, 2, 0.5) is None and needed(40, 2, 0.0) is None


def test_sixty_items_suffice_where_almost_every_altered_one_is_seen():
    assert (needed(10**6, 50_000, 0.975), needed(10**6, 50_000, 0.95)) == (60, 62)
    text = power_text(60, 1_000, 1.0)
    assert text.startswith("an altered answer is seen in 100.0% of items; if 5% of the answers had been altered (50 of 1000), ")
    assert "this draw would find it with 95.8%; 57 items give 95%" in text
    assert power_text(10, 10, 0.5).endswith("all 10 do not give 95%")


def answers(count, noise, rng):
    """Questions with their published log-probabilities, and those of other hardware, up to `noise` nats apart."""
    items = [McqItem(str(i), "问", dict.fromkeys("ABCD", "文"), frozenset("A"), "", "single", "zh") for i in range(count)]
    for one in present_options(items, 0, False, False):
        values = {letter: -rng.expovariate(0.5) for letter in "ABCD"}
        again = {letter: value + rng.uniform(-noise, noise) for letter, value in values.items()}
        yield one, values, {"logprobs": again, "lengths": dict.fromkeys("ABCD", 1)}


def least_alteration(values):
    """The best two moved towards each other until they change places."""
    best, second = sorted(values, key=values.__getitem__)[:-3:-1]
    middle = (values[best] + values[second]) / 2
    return {**values, best: middle - 1e-9, second: middle + 1e-9}


@pytest.mark.parametrize("tolerance", [0.02, 0.5])
def test_as_many_alterations_are_caught_as_is_told_and_no_honest_run_is(tolerance):
    rng = random.Random(7)
    stored = list(answers(400, tolerance / 5, rng))
    honest = [compare(one, {"logprobs": values}, again, "none", tolerance) for one, values, again in stored]
    forged = [compare(one, {"logprobs": least_alteration(values)}, again, "none", tolerance) for one, values, again in stored]
    total, drawn, altered = len(stored), 30, 20
    found = alarms = 0
    for _ in range(RESAMPLES):
        wrong = set(rng.sample(range(total), altered))
        sample = rng.sample(range(total), drawn)
        alarms += any(honest[i].refuted for i in sample)
        found += any((forged if i in wrong else honest)[i].refuted for i in sample)
    told = caught(drawn, total, altered, sum(one.seen for one in honest) / total)
    # The power, and the rate by which it is reckoned, which differs by what noise does at the edge of the tolerance.
    assert found / RESAMPLES == pytest.approx(told, abs=4 * sqrt(told * (1 - told) / RESAMPLES) + 0.02)
    assert alarms == 0
    assert f"would find it with {told:.1%}"[:20] in finding("x", honest[:drawn], total, "").why
