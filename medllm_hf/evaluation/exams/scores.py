"""An exam run's answers, row by row, checked against its outputs and its metrics."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType

from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.prices import with_cost
from medllm_hf.evaluation.exams.derive import compute, predicted
from medllm_hf.evaluation.exams.estimate import usage
from medllm_hf.metrics.mcq_accuracy import scoring


@dataclass(frozen=True)
class Answer:
    """One prompt and what was chosen. All letters are those shown; `order` has the item's own letters in the order shown.

    `options` maps letter to text, `reply` is the raw reply or the chosen letters, `choice` is None where it is unparsed.
    """

    id: str
    rotation: int
    order: str
    question: str
    options: dict[str, str]
    reference: str
    choice: str | None
    reply: str
    group: str
    kind: str

    @property
    def right(self) -> bool:
        return self.choice == self.reference

    def own(self, letters: str) -> str:
        """The item's own letters for the shown `letters`, sorted."""
        names = dict(zip(self.options, self.order, strict=True))
        return "".join(sorted(names[letter] for letter in letters))

    @property
    def own_choice(self) -> str | None:
        return None if self.choice is None else self.own(self.choice)

    @property
    def own_options(self) -> dict[str, str]:
        """The item's own letter → text, in their own order."""
        return dict(sorted((self.own(letter), text) for letter, text in self.options.items()))

    @property
    def item(self) -> tuple:
        """What makes two answers answers to one question, however its options were ordered."""
        return self.question, self.own_options, self.own(self.reference)


def load_metric() -> ModuleType:
    """The functions of the project's own metric."""
    return scoring


def read_answers(scores: Iterable[dict], extract_choice: Callable[[str, dict[str, str]], str | None]) -> list[Answer]:
    """The rows of scores.jsonl with the letters that `extract_choice` reads from each prediction.

    Raises:
        ValueError: a row that is not as the run folder's format says; the message has its number.
    """
    answers = []
    for number, row in enumerate(scores, start=1):
        try:
            options = {option["label"]: option["text"] for option in row["options"]}
            answer = Answer(
                id=row["id"],
                rotation=row["rotation"],
                order=row["order"],
                question=row["question"],
                options=options,
                reference="".join(sorted(row["reference"])),
                choice=extract_choice(row["prediction"], options),
                reply=row["prediction"],
                group=row["group"] or "",
                kind=row["kind"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"scores.jsonl row {number}: {type(error).__name__} {error}") from error
        if not len(set(answer.order)) == len(answer.order) == len(options) or not set(answer.reference) <= set(options):
            raise ValueError(f"scores.jsonl row {number}: order {answer.order!r}, reference {answer.reference!r}")
        answers.append(answer)
    return answers


def by_item(answers: Iterable[Answer], circular: bool) -> dict[str, list[Answer]]:
    """Id → the answers to that item by rotation: one, or with `circular` one for each of its options.

    Raises:
        ValueError: an item with other rotations than these.
    """
    items: dict[str, list[Answer]] = {}
    for answer in answers:
        items.setdefault(answer.id, []).append(answer)
    for name, rows in items.items():
        rows.sort(key=lambda answer: answer.rotation)
        wanted = list(range(len(rows[0].options) if circular else 1))
        if [answer.rotation for answer in rows] != wanted:
            raise ValueError(f"scores.jsonl has rotations {[answer.rotation for answer in rows]} of {name!r}, not {wanted}")
    return items


def equal(derived: object, stored: object) -> bool:
    """Whether `stored` says what was derived, up to the last digits of a float. It may say more."""
    if isinstance(derived, dict):
        return isinstance(stored, dict) and all(key in stored and equal(derived[key], stored[key]) for key in derived)
    if isinstance(derived, list):
        return isinstance(stored, list) and len(derived) == len(stored) and all(map(equal, derived, stored))
    if isinstance(derived, float):
        return isinstance(stored, int | float) and math.isclose(derived, stored, rel_tol=1e-9, abs_tol=1e-12)
    return derived == stored


@dataclass(frozen=True)
class Run:
    """A finished exam run whose scores and metrics were found to follow from its outputs."""

    name: str
    manifest: dict
    metrics: dict
    items: dict[str, list[Answer]]

    @property
    def circular(self) -> bool:
        return bool(self.manifest["settings"].get("circular"))

    @property
    def answers(self) -> list[Answer]:
        return [answer for rows in self.items.values() for answer in rows]


def checked_run(name: str, run: dict, metric) -> Run:
    """The run in `run`, which `read_run` gave, under the name that the report calls it by.

    Raises:
        UserError: it is damaged, or its metrics do not follow from its scores, or these from its outputs.
    """
    manifest = run["manifest"]
    do = "run `medllm eval mcq` again"
    try:
        count, circular = manifest["data"]["n"], bool(manifest["settings"].get("circular"))
        _ = manifest["model"]["id"], manifest["data"]["name"], manifest["data"]["sha256"]
        items = by_item(read_answers(run["scores"], metric.extract_choice), circular)
        said = {(row["id"], row["rotation"]): (row["order"], predicted(row)) for row in run["outputs"]}
        derived = compute(run["scores"])
        if "prices" in manifest:
            derived = with_cost({**derived, "usage": usage(run["outputs"])}, manifest)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"a damaged run in {name}: {type(error).__name__} {error}", "what the format says", do) from error
    if len(items) != count:
        raise UserError(f"{len(items)} of {count} questions in {name}", "all of them", do)
    if said != {(row["id"], row["rotation"]): (row["order"], row["prediction"]) for row in run["scores"]}:
        raise UserError(f"other predictions in scores.jsonl of {name} than in its outputs", "scores that follow from them", do)
    if other := [key for key, value in derived.items() if not equal(value, run["metrics"].get(key))]:
        found = f"another {', '.join(other)} in metrics.json of {name} than follows from its scores"
        raise UserError(found, "metrics that follow from them", do)
    return Run(name, manifest, derived, items)
