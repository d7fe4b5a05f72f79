"""Agreement of scores, worked out by hand or by another program; with intervals, all draws at once are each draw alone."""

import random
from collections import Counter

import numpy
import pytest

from medllm_hf.evaluation.agreement.measures import (
    COMPARED,
    FIGURES,
    alpha,
    band,
    by_dialogue,
    compare,
    drawn_figures,
    figures,
    macro_f1,
    quadratic_kappa,
)
from medllm_hf.evaluation.statistics.bootstrap import FEWEST, drawn_sums, quotient
from medllm_hf.evaluation.statistics.tests import wilson


def rows(scores: dict[str, float | None], sample: int = 0) -> list[dict]:
    return [{"id": name, "sample": sample, "scores": {"accuracy": score}} for name, score in scores.items()]


def test_kappa_worked_out_by_hand():
    # Observed squares (0 + 1 + 0 + 4) / 4; expected: the mean over all pairs of one score of each side.
    x, y = [1, 2, 3, 5], [1, 3, 3, 3]
    expected = sum((a - b) ** 2 for a in x for b in y) / 16
    assert quadratic_kappa(x, y) == pytest.approx(1 - (5 / 4) / expected)
    assert quadratic_kappa(x, x) == 1
    assert quadratic_kappa([5, 5], [5, 5]) is None and quadratic_kappa([], []) is None


def test_kappa_and_f1_of_another_program():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with lm_eval, which is an extra")
    choice = random.Random(2)
    x = [choice.randint(1, 5) for _ in range(200)]
    y = [min(5, max(1, a + choice.choice([-1, 0, 0, 1]))) for a in x]
    assert quadratic_kappa(x, y) == pytest.approx(metrics.cohen_kappa_score(x, y, weights="quadratic"))
    assert macro_f1(x, y) == pytest.approx(metrics.f1_score(y, x, average="macro"))
    halves = [a / 2 for a in x], [b / 2 for b in y]
    assert quadratic_kappa(*halves) == pytest.approx(quadratic_kappa(x, y))


def test_f1_worked_out_by_hand():
    # 1: found once of once, named once; 2: one of two, named twice; 3: never found.
    assert macro_f1([1, 2, 2, 1], [1, 2, 3, 2]) == pytest.approx(((2 * 1 / 3) + (2 * 1 / 4) + 0) / 3)
    assert macro_f1([], []) is None


def test_alpha_of_krippendorffs_own_example():
    """Four observers, twelve units and gaps. Source: Krippendorff 2011, section C; 0.849 on an interval scale."""
    table = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]
    raters = [{str(i): float(cell) for i, cell in enumerate(row.split()) if cell != "."} for row in table]
    assert alpha(raters) == pytest.approx(0.849, abs=5e-4)


def test_alpha_where_it_is_not_defined():
    assert alpha([]) is None
    assert alpha([{"a": 1.0}]) is None and alpha([{"a": 1.0}, {"b": 2.0}]) is None
    assert alpha([{"a": 5.0, "b": 5.0}, {"a": 5.0, "b": 5.0}]) is None
    assert alpha([{"a": 1.0, "b": 5.0}, {"a": 1.0, "b": 5.0}]) == 1


def test_a_judge_with_human_labels():
    judge = rows({"a": 5, "b": 4, "c": 3, "d": None, "x": 1})
    human = rows({"a": 5, "b": 3, "c": 3, "d": 2, "y": 1})
    found = compare(judge, human)
    accuracy = found["criteria"]["accuracy"]
    assert (accuracy["n"], accuracy["exact"], accuracy["difference"]) == (3, 2 / 3, pytest.approx(1 / 3))
    assert accuracy["kappa"] == quadratic_kappa([5, 4, 3], [5, 3, 3]) and accuracy["macro_f1"] == macro_f1([5, 4, 3], [5, 3, 3])
    assert accuracy["alpha"] == alpha([{"a": 5, "b": 4, "c": 3}, {"a": 5, "b": 3, "c": 3}])
    assert (found["only_first"], found["only_second"]) == (["x"], ["y"])


def test_nothing_in_common():
    found = compare(rows({"a": 5}), rows({"b": 5}))["criteria"]["accuracy"]
    assert found == {"n": 0, "kappa": None, "alpha": None, "macro_f1": None, "exact": None, "difference": None}


def test_samples_of_one_judge():
    both = rows({"a": 5, "b": 1, "c": None}, 0) + rows({"a": 5, "b": 2, "c": 3}, 1)
    assert by_dialogue(both, "accuracy") == {"a": 5, "b": 1.5, "c": 3}


def rater(scores) -> dict[str, float]:
    return {str(i): float(score) for i, score in enumerate(scores) if score is not None}


def noisy(count: int, seed: int, noise: float = 0.5) -> tuple[list[int], list[int]]:
    """Scores from 1 to 5, and the same with some of them a point off."""
    choice = random.Random(seed)
    x = [choice.randint(1, 5) for _ in range(count)]
    return x, [min(5, max(1, a + (choice.choice([-1, 1]) if choice.random() < noise else 0))) for a in x]


def test_figures_worked_out_by_hand():
    # Each pair twice. Squares apart 0 1 0 4; both means over all pairs: ((1-1)² + 3(1-3)² + (2-1)² + 3(2-3)² + ...) / 16.
    x, y = [1, 2, 3, 5], [1, 3, 3, 3]
    found = figures(rater(x * 2), rater(y * 2))
    assert (found["n"], found["exact"], found["difference"]) == (8, 0.5, 0.25)
    assert found["kappa"] == pytest.approx(1 - (5 / 4) / (sum((a - b) ** 2 for a in x for b in y) / 16))
    # 1: right both times; 2 and 5: only the first; 3: both once, the first once, the second three times.
    assert found["macro_f1"] == pytest.approx((1 + 0 + 2 / 4 + 0) / 4)
    # Ranks 1 2 3 4 and 1 3 3 3: covariance 3 of squares 5 and 3.
    assert found["spearman"] == pytest.approx(3 / (5 * 3) ** 0.5)
    values = [1, 2, 3, 5, 1, 3, 3, 3] * 2
    pooled = sum((a - b) ** 2 for a in values for b in values) / (16 * 15)
    assert found["alpha"] == pytest.approx(1 - (5 / 4) / pooled)


@pytest.mark.parametrize("seed", range(3))
def test_figures_of_other_programs(seed):
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with lm_eval, which is an extra")
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with lm_eval, which is an extra")
    x, y = noisy(150, seed)
    found = figures(rater(x), rater(y))
    assert found["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(x, y, weights="quadratic"))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(y, x, average="macro"))
    assert found["exact"] == pytest.approx(metrics.accuracy_score(y, x))


@pytest.mark.parametrize("step", [1, 0.5, 0.125])
def test_the_figures_of_a_draw_are_those_of_its_dialogues(step):
    """All draws at once, against the functions for one set of scores at a time."""
    x, y = ([a * step for a in side] for side in noisy(40, 7))
    cells = sorted(set(zip(x, y, strict=True)))
    table = numpy.array([[pair == cell for cell in cells] for pair in zip(x, y, strict=True)], dtype=float)
    counts = drawn_sums(table)[:25]
    found = drawn_figures(numpy.array(cells), counts)
    assert set(found) == set(FIGURES)
    for draw, own in enumerate(counts):
        pairs = [cell for cell, count in zip(cells, own, strict=True) for _ in range(int(count))]
        a, b = zip(*pairs, strict=True)
        assert found["kappa"][draw] == pytest.approx(quadratic_kappa(a, b))
        assert found["alpha"][draw] == pytest.approx(alpha([rater(a), rater(b)]))
        assert found["macro_f1"][draw] == pytest.approx(macro_f1(a, b))
        assert found["exact"][draw] == pytest.approx(sum(p == q for p, q in pairs) / len(pairs))
        assert found["difference"][draw] == pytest.approx(sum(a) / 40 - sum(b) / 40)


def test_intervals_hold_the_true_figure_nineteen_times_in_twenty():
    pairs = Counter(zip(*noisy(100_000, 1), strict=True))
    true = drawn_figures(numpy.array(list(pairs)), numpy.array([list(pairs.values())]))
    held = dict.fromkeys(FIGURES, 0)
    for seed in range(60):
        found = figures(*(rater(side) for side in noisy(120, seed + 10)))
        for name in FIGURES:
            low, high = found["intervals"][name]
            assert low <= found[name] <= high
            held[name] += low <= true[name][0] <= high
    # 57 are expected, with a standard deviation of 1.7; the best interval that is never wrong holds 60.
    assert all(51 <= count <= 60 for count in held.values()) and min(held.values()) < 60, held


def test_where_figures_are_not_defined():
    nothing = figures(rater([1]), {"other": 2.0})
    assert nothing == {"n": 0, **dict.fromkeys(FIGURES), "intervals": dict.fromkeys(FIGURES)}
    one = figures(rater([4]), rater([5]))
    assert (one["n"], one["exact"], one["difference"], one["spearman"]) == (1, 0, -1, None)
    assert one["intervals"] == dict.fromkeys(FIGURES)
    equal = figures(rater([5] * 8), rater([5] * 8))
    assert (equal["kappa"], equal["alpha"], equal["spearman"], equal["exact"]) == (None, None, None, 1)
    assert (equal["intervals"]["kappa"], equal["intervals"]["exact"]) == (None, list(wilson(8, 8)))
    assert equal["difference"] == 0 and equal["intervals"]["difference"] is None
    # One dialogue in thirty differs, and a third of the draws are without it.
    rare = figures(rater([5] * 29 + [4]), rater([5] * 29 + [4]))
    assert (rare["kappa"], rare["intervals"]["kappa"]) == (1, None)
    mean = figures(rater([4.25, 4.5]), rater([4.25, 4.75]), categorical=False)
    assert mean["spearman"] is None, "two points always lie on a line"
    assert mean["macro_f1"] is mean["exact"] is mean["intervals"]["exact"] is None and mean["difference"] == -0.125


def test_so_few_dialogues_have_neither_interval_nor_correlation():
    x, y = [1, 2, 3, 4, 5, 3], [2, 2, 3, 5, 4, 3]
    for count in range(2, FEWEST):
        few = figures(rater(x[:count]), rater(y[:count]))
        assert few["spearman"] is None and few["intervals"] == dict.fromkeys(FIGURES) and few["kappa"] is not None
        beside = band(rater(x[:count]), [rater(y[:count]), rater(x[:count])])
        assert beside["spearman"]["judge"] is beside["kappa"]["judge_interval"] is beside["kappa"]["judge_lies"] is None
    enough = figures(rater(x), rater(y))
    assert 0 < enough["spearman"] < 1 and enough["intervals"]["kappa"][0] < enough["intervals"]["kappa"][1]


def test_the_judge_beside_annotators():
    choice = random.Random(4)
    truth = [choice.randint(1, 5) for _ in range(200)]
    near = lambda: rater(min(5, max(1, a + choice.choice([-1, 0, 0, 0, 1]))) for a in truth)  # noqa: E731
    people = [near(), near(), near()]
    places = {}
    for name, judge in (
        ("one of them", near()),
        ("perfect", rater(truth)),
        ("by chance", rater(choice.choices(range(1, 6), k=200))),
    ):
        found = band(judge, people)
        places[name] = [found[key]["judge_lies"] for key in COMPARED]
        for key in COMPARED:
            each = [figures(judge, one)[key] for one in people]
            assert found[key]["judge"] == pytest.approx(sum(each) / 3)
            pairs = [figures(people[i], people[j])[key] for i, j in ((0, 1), (0, 2), (1, 2))]
            assert found[key]["humans"] == pytest.approx(sum(pairs) / 3)
            assert found[key]["humans_interval"][0] < found[key]["humans"] < found[key]["humans_interval"][1]
        assert found["n"] == 200 and found["alpha_of_all"] == pytest.approx(alpha(people))
    assert places == {"one of them": ["within"] * 5, "perfect": ["above"] * 5, "by chance": ["below"] * 5}


def test_only_dialogues_with_two_annotators_and_the_judge_count():
    judge = rater([5, 1, 3, None, 2])
    people = [rater([5, 2, None, 1, 2]), rater([4, 2, 3, 1, 2]), {"elsewhere": 5.0}]
    found = band(judge, people)
    assert found["n"] == 3  # 0, 1 and 4: 2 has one annotator, 3 no judge
    assert found["exact"]["humans"] == pytest.approx(2 / 3) and found["exact"]["judge"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert band(judge, people[1:]) is None
    assert "exact" not in band(judge, people, categorical=False)


def test_draws():
    table = numpy.eye(3)
    drawn = drawn_sums(table)
    assert drawn.shape == (2000, 3) and (drawn.sum(axis=1) == 3).all() and len(numpy.unique(drawn, axis=0)) == 10
    assert (drawn == drawn_sums(table)).all() and (drawn != drawn_sums(table, 1)).any()
    assert abs(drawn.mean() - 1) < 1e-12 and abs(drawn.std(axis=0) - (2 / 3) ** 0.5).max() < 0.05
    assert numpy.isnan(quotient(1, [0, 2])).tolist() == [True, False]
