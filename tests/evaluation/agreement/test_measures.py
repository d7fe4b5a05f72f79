"""Agreement of scores: figures that were worked out by hand, or by another program."""

import math
import random

import pytest

from medllm_hf.evaluation.agreement.measures import alpha, by_dialogue, compare, macro_f1, quadratic_kappa, samples_alpha


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
    assert samples_alpha(both, "accuracy") == pytest.approx(alpha([{"a": 5, "b": 1}, {"a": 5, "b": 2}]))
    assert samples_alpha(rows({"a": 5, "b": 1}), "accuracy") is None
    assert math.isclose(samples_alpha(rows({"a": 5, "b": 1}) + rows({"a": 5, "b": 1}, 1), "accuracy"), 1)
