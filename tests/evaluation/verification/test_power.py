"""The power of a draw: exact beside all ways to draw, and beside altered answers of a simulated run."""

import random
from itertools import combinations
from math import comb

import pytest

from medllm_hf.data.mcq import McqItem
from medllm_hf.evaluation.exams.prompts import present_options
from medllm_hf.evaluation.verification.power import AIM, caught, check_items, needed, power_text, systematic
from medllm_hf.evaluation.verification.rerun import approached, compare

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


def answers(count, noise, rng, wider=1.0):
    """Questions with what a model gives exactly, in the published run and here; the first rounds `wider`."""
    items = [McqItem(str(i), "问", dict.fromkeys("ABCD", "文"), frozenset("A"), "", "single", "zh") for i in range(count)]
    for one in present_options(items, 0, False, False):
        exact = {letter: -rng.expovariate(0.5) for letter in "ABCD"}
        published = {letter: value + rng.gauss(0, wider * noise) for letter, value in exact.items()}
        own = {letter: value + rng.gauss(0, noise) for letter, value in exact.items()}
        yield one, published, {"logprobs": exact, "lengths": dict.fromkeys("ABCD", 1)}, own


def share_refuted(honest, forged, altered, drawn, rng):
    """The share of draws in which something is refuted, where so many items in a thousand are forged."""
    found = 0
    for _ in range(RESAMPLES):
        sample = [(forged if rng.random() < altered else honest)[i] for i in rng.choices(range(len(honest)), k=drawn)]
        found += any(one.refuted for one in check_items(sample)) or systematic(sample) > 0
    return found / RESAMPLES


@pytest.mark.parametrize("noise", [1e-5, 0.02, 0.2])
def test_as_many_alterations_are_caught_as_is_told_and_no_honest_run_is(noise):
    rng = random.Random(7)
    stored = list(answers(400, noise, rng))
    honest = [compare(one, {"logprobs": values}, exact, own, "none") for one, values, exact, own in stored]
    changed = [(one, approached(values, dict.fromkeys(values, 1)), exact, own) for one, values, exact, own in stored]
    forged = [compare(one, {"logprobs": values}, exact, own, "none") for one, values, exact, own in changed]
    told = caught(30, 10**6, 50_000, sum(one.seen for one in check_items(honest)) / len(honest))
    # What is seen depends a little on the items by which the tolerance is measured, and more of them are fewer.
    found = share_refuted(honest, forged, 0.05, 30, rng)
    assert told - 0.02 <= found <= told + 0.12
    assert share_refuted(honest, honest, 0, 30, rng) <= 0.01 >= share_refuted(honest, honest, 0, 300, rng)


def test_other_hardware_that_rounds_a_half_more_is_honest_and_one_that_moves_all_is_not():
    rng = random.Random(3)

    def refuted(wider):
        stored = answers(400, 0.02, rng, wider)
        found = [compare(one, {"logprobs": values}, exact, own, "none") for one, values, exact, own in stored]
        return share_refuted(found, found, 0, 60, rng)

    assert refuted(1.5) <= 0.02
    assert refuted(4) >= 0.999
