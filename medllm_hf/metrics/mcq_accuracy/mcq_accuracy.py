"""Accuracy on multiple-choice questions, with the number of unparsed replies and a 95% interval."""

import math

import datasets
import evaluate

from .extraction import extract_choice

_DESCRIPTION = """
Accuracy on multiple-choice questions with one or several right answers. A prediction is right when its set of letters equals
the reference's. A reply from which no letters can be taken counts as wrong and is also counted in `unparsed`.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of str): letters ("B", "ABD") or raw replies of a model.
    references (list of str): right letters, "B" or "ABD".
    options (list of list of dict, optional): each question's options as {"label": "A", "text": "..."}; needed to read replies
        that give an option's text, and to refuse letters that a question does not have. Default: five options A to E.
    groups (list of str, optional): a group (subject, exam) for each question.
Returns:
    accuracy (float, 0 to 1), n (int), unparsed (int), interval_low and interval_high (Wilson, 95%), macro_accuracy (mean over
    groups), partial_credit (mean share of the right letters where none is wrong), groups (list of group, n, accuracy, chance).
Examples:
    >>> metric = evaluate.load("mcq_accuracy")
    >>> result = metric.compute(predictions=["B", "答案：AC"], references=["B", "A"])
    >>> result["accuracy"], result["n"], result["unparsed"]
    (0.5, 2, 0)
"""

_CITATION = """
Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference. JASA 22(158), 209-212.
"""

_DEFAULT_OPTIONS = [{"label": letter, "text": ""} for letter in "ABCDE"]
_Z = 1.959963984540054  # the 97.5% point of the normal distribution


class McqAccuracy(evaluate.Metric):
    """See `_KWARGS_DESCRIPTION`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")}),
        )

    def _compute(self, predictions, references, options=None, groups=None):
        count = len(references)
        if count == 0:
            raise ValueError("mcq_accuracy: no predictions; give at least one")
        for name, column in (("options", options), ("groups", groups)):
            if column is not None and len(column) != count:
                raise ValueError(f"mcq_accuracy: {len(column)} {name} for {count} references; give one each")
        rows = [
            _scored(prediction, reference, options[i] if options else _DEFAULT_OPTIONS)
            for i, (prediction, reference) in enumerate(zip(predictions, references, strict=True))
        ]
        right = sum(row["right"] for row in rows)
        low, high = wilson(right, count)
        by_group = _groups(rows, groups or [""] * count)
        return {
            "accuracy": right / count,
            "n": count,
            "unparsed": sum(row["unparsed"] for row in rows),
            "interval_low": low,
            "interval_high": high,
            "macro_accuracy": sum(group["accuracy"] for group in by_group) / len(by_group),
            "partial_credit": sum(row["partial"] for row in rows) / count,
            "groups": by_group,
        }


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95% interval of a proportion. Source: Wilson 1927."""
    share, z2 = right / count, _Z * _Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def _scored(prediction, reference, options):
    labels = {option["label"]: option["text"] for option in options}
    gold = set(reference)
    if not gold or not gold <= set(labels) or len(gold) != len(reference):
        raise ValueError(
            f"mcq_accuracy: reference {reference!r} does not name options {''.join(labels)}; use letters such as B or ABD"
        )
    choice = extract_choice(prediction, labels)
    chosen = set(choice or "")
    # A guess among single letters, or among all sets of two and more where several are right.
    chance = 1 / len(labels) if len(gold) == 1 else 1 / (2 ** len(labels) - len(labels) - 1)
    partial = len(chosen & gold) / len(gold) if chosen <= gold else 0.0
    return {"right": chosen == gold, "unparsed": choice is None, "partial": partial, "chance": chance}


def _groups(rows, names):
    groups = {}
    for name, row in zip(names, rows, strict=True):
        groups.setdefault(name, []).append(row)
    return [
        {
            "group": name,
            "n": len(members),
            "accuracy": sum(row["right"] for row in members) / len(members),
            "chance": sum(row["chance"] for row in members) / len(members),
        }
        for name, members in groups.items()
    ]
