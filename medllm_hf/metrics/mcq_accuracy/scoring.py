"""Replies to multiple-choice questions → accuracy with its 95% interval, unparsed replies, partial credit, groups, chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from .extraction import extract_choice

KINDS = ("single", "multi")
_Z = 1.959963984540054  # the 97.5% point of the normal distribution


class Option(TypedDict):
    """One option of a question."""

    label: str
    text: str


class Share(TypedDict):
    """A share of right answers; the interval is Wilson's."""

    accuracy: float
    n: int
    unparsed: int
    interval_low: float
    interval_high: float


class GroupAccuracy(Share):
    """The share of one group, and what guessing would give."""

    group: str
    chance: float


class Accuracy(Share):
    """The result of the metric."""

    macro_accuracy: float
    partial_credit: float
    groups: list[GroupAccuracy]


DEFAULT_OPTIONS = tuple(Option(label=letter, text="") for letter in "ABCDE")


@dataclass(frozen=True)
class _Answer:
    right: bool
    unparsed: bool
    partial: float
    chance: float


def check_columns(
    predictions: Sequence[str],
    references: Sequence[str],
    options: Sequence[Sequence[Option] | None] | None = None,
    groups: Sequence[str | None] | None = None,
    questions: Sequence[str | None] | None = None,
    kinds: Sequence[str | None] | None = None,
) -> None:
    """Check that the columns are of one length and those of text hold text.

    Raises:
        ValueError: naming the column and the row.
    """
    columns = {"references": references, "options": options, "groups": groups, "questions": questions, "kinds": kinds}
    for name, column in columns.items():
        if column is not None and len(column) != len(predictions):
            found = f"{len(column)} {name} for {len(predictions)} predictions"
            raise ValueError(f"mcq_accuracy: {found}; give one for each")
    for name, texts in (("predictions", predictions), ("references", references)):
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"mcq_accuracy: {name}[{row}] is a {type(text).__name__}; give text, '' for no reply")
    for row, question in enumerate(questions or ()):
        if question is not None and not isinstance(question, str):
            raise ValueError(f"mcq_accuracy: questions[{row}] is a {type(question).__name__}; give the stem as text, or None")
    for row, kind in enumerate(kinds or ()):
        if kind is not None and kind not in KINDS:
            raise ValueError(f"mcq_accuracy: kinds[{row}] is {kind!r}; give {' or '.join(map(repr, KINDS))}, or None")


def score_answers(
    predictions: Sequence[str],
    references: Sequence[str],
    options: Sequence[Sequence[Option] | None] | None = None,
    groups: Sequence[str | None] | None = None,
    questions: Sequence[str | None] | None = None,
    kinds: Sequence[str | None] | None = None,
) -> Accuracy:
    """The accuracy over replies or letters; README.md says what each figure is.

    Args:
        references: the right letters in capitals, in any order.
        options: each question's own; None, as a whole or of a row, stands for A to E without text.
        groups: a subject or exam for each question.
        questions: the stems without their options; where one asks for what is wrong, "C is wrong" answers it.
        kinds: "single" or "multi" where it is known how many letters a question wants; the references do not tell.

    Raises:
        ValueError: no rows, or see `check_columns`; options or references that make no question, naming the row.
    """
    check_columns(predictions, references, options, groups, questions, kinds)
    count = len(references)
    if count == 0:
        raise ValueError("mcq_accuracy: no predictions; give at least one")
    answers: list[_Answer] = []
    by_group: dict[str, list[_Answer]] = {}
    for row, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        own = options[row] if options is not None else None
        stem, kind = ((column[row] if column is not None else None) or "" for column in (questions, kinds))
        texts = _check_question(row, reference, DEFAULT_OPTIONS if own is None else own)
        answers.append(_score(extract_choice(prediction, texts, stem, kind), reference, len(texts)))
        by_group.setdefault((groups[row] if groups is not None else None) or "", []).append(answers[-1])
    shares = {name: _share(members) for name, members in by_group.items()}
    chances = {name: math.fsum(one.chance for one in members) / len(members) for name, members in by_group.items()}
    return {
        **_share(answers),
        "macro_accuracy": math.fsum(share["accuracy"] for share in shares.values()) / len(shares),
        "partial_credit": math.fsum(one.partial for one in answers) / count,
        "groups": [{"group": name, **share, "chance": chances[name]} for name, share in shares.items()],
    }


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95% interval of a proportion. Source: Wilson 1927."""
    share, z2 = right / count, _Z * _Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    # Rounding must not move the ends that are exact.
    return max(0.0, middle - half) if right > 0 else 0.0, min(1.0, middle + half) if right < count else 1.0


def _share(answers: Sequence[_Answer]) -> Share:
    right = sum(one.right for one in answers)
    low, high = wilson(right, len(answers))
    return {
        "accuracy": right / len(answers),
        "n": len(answers),
        "unparsed": sum(one.unparsed for one in answers),
        "interval_low": low,
        "interval_high": high,
    }


def _check_question(row: int, reference: str, options: Sequence[Option]) -> dict[str, str]:
    """Letter → text of the options, which the reference is among."""
    pairs = [(option.get("label"), option.get("text")) for option in options if isinstance(option, dict)]
    texts = {label: text for label, text in pairs if isinstance(label, str) and isinstance(text, str)}
    if len(pairs) < len(options) or not all(isinstance(value, str) for pair in pairs for value in pair):
        raise ValueError(f'mcq_accuracy: options[{row}] is {options}; give a list of {{"label": "A", "text": "..."}}')
    if len(texts) < max(2, len(options)) or not all(len(label) == 1 and "A" <= label <= "Z" for label in texts):
        raise ValueError(f"mcq_accuracy: options[{row}] has labels {list(texts)}; give at least two, a capital letter each")
    gold = set(reference)
    if not gold or not gold <= set(texts) or len(gold) < len(reference):
        raise ValueError(
            f"mcq_accuracy: references[{row}] = {reference!r} does not name options {''.join(texts)}; "
            "use capital letters such as B or ABD"
        )
    return texts


def _score(choice: str | None, reference: str, letters: int) -> _Answer:
    gold, chosen = set(reference), set(choice or "")
    return _Answer(
        right=chosen == gold,
        unparsed=choice is None,
        partial=len(chosen) / len(gold) if chosen <= gold else 0.0,
        # A guess among the letters, or among all sets of at least one letter where several are right.
        chance=1 / letters if len(gold) == 1 else 1 / (2**letters - 1),
    )
