"""An exam run's scores, row by row, and the metrics that follow from them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files

from medllm_hf.errors import UserError


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


def load_metric():
    """The project's own `evaluate` module."""
    import evaluate

    return evaluate.load(str(files("medllm_hf") / "metrics" / "mcq_accuracy"))


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


def metrics_of(metric, items: dict[str, list[Answer]], circular: bool) -> dict:
    """The metrics over `items`, as metrics.json has them.

    A circular item counts as right when all its rotations are; what the metric sees is its first rotation that is not
    right, in the item's own letters.
    """
    if not circular:
        shown = [rows[0] for rows in items.values()]
        return _computed(metric, [(a.reply, a.reference, a.group, a.options) for a in shown])
    deciding = [next((answer for answer in rows if not answer.right), rows[0]) for rows in items.values()]
    result = _computed(metric, [(a.own_choice or "", a.own(a.reference), a.group, a.own_options) for a in deciding])
    result["circular"] = {
        "rotations": sum(map(len, items.values())),
        "consistent": sum(rows[0].choice is not None and len({a.own_choice for a in rows}) == 1 for rows in items.values()),
        "first_accuracy": sum(rows[0].right for rows in items.values()) / len(items),
    }
    return result


def _computed(metric, rows: list[tuple[str, str, str, dict[str, str]]]) -> dict:
    predictions, references, groups, options = zip(*rows, strict=True)
    pairs = [[{"label": label, "text": text} for label, text in one.items()] for one in options]
    return metric.compute(predictions=predictions, references=references, groups=groups, options=pairs)


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
    """A finished exam run whose metrics were computed again from its scores."""

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
        UserError: it is unfinished or damaged, or its metrics do not follow from its scores, or these from its outputs.
    """
    manifest = run["manifest"]
    do = "run `medllm eval mcq` again"
    try:
        circular = bool(manifest["settings"].get("circular"))
        count, _ = manifest["data"]["n"], (manifest["model"]["id"], manifest["data"]["name"], manifest["data"]["sha256"])
        if "ended" not in manifest or not run["scores"]:
            raise UserError(f"an unfinished run in {name}", "a finished one", "finish it with the same `medllm eval mcq`")
        items = by_item(read_answers(run["scores"], metric.extract_choice), circular)
        derived = metrics_of(metric, items, circular)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"a damaged run in {name}: {type(error).__name__} {error}", "what the format says", do) from error
    if len(items) != count:
        raise UserError(f"{len(items)} of {count} questions in {name}", "all of them", do)
    for key, value in derived.items():
        if not equal(value, run["metrics"].get(key)):
            shown = f"{key} {value} in its scores" if not isinstance(value, list | dict) else f"other {key} in its scores"
            raise UserError(f"{shown} than in metrics.json of {name}", "metrics that follow from the scores", do)
    _check_outputs(name, run["outputs"], run["scores"], do)
    return Run(name, manifest, derived, items)


def _check_outputs(name: str, outputs: list[dict], scores: list[dict], do: str) -> None:
    raw = {(row.get("id"), row.get("rotation")): row for row in outputs}
    for row in scores:
        output = raw.get((row["id"], row["rotation"]), {})
        said = output.get("reply", row["prediction"])
        if output.get("order") != row["order"] or said != row["prediction"] or len(raw) != len(scores):
            found = f"scores of {name} that are not those of its outputs, first at {row['id']!r}"
            raise UserError(found, "scores that follow from the outputs", do)
