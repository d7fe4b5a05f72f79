"""Outputs of an exam and its manifest → scores, metrics, warnings. Nothing here needs the model, so anybody can do it again."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import NoneType
from typing import Any, NotRequired, TypedDict

from medllm_hf.data.exam_prompts import KINDS
from medllm_hf.data.mcq import LANGUAGE, McqItem
from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.prices import check_costs, sum_usage, with_cost
from medllm_hf.evaluation.exams.outputs import (
    PRESENT,
    Output,
    Rules,
    calls,
    count_ties,
    finished,
    list_warnings,
    predict,
    read_letters,
    read_outputs,
    rules_of,
)
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, limit_of
from medllm_hf.evaluation.exams.settings import ALIASES, READINGS, Mode
from medllm_hf.evaluation.runs.compare import check_metrics
from medllm_hf.evaluation.runs.folder import FinishedRun
from medllm_hf.evaluation.runs.records import Fields, check_fields
from medllm_hf.metrics.mcq_accuracy.scoring import score_answers

_AGAIN = "run `medllm eval mcq` again with --overwrite"
METRICS = ("accuracy", "n", "unparsed", "interval_low", "interval_high", "macro_accuracy", "partial_credit")


class Option(TypedDict):
    """An option as it was shown."""

    label: str
    text: str


class ScoreRow(TypedDict):
    """A line of scores.jsonl: one question as it was put, and what was answered. All letters are those shown.

    `finished` is the answer to being asked once more, which only a reply without letters that can be read has.
    """

    id: str
    rotation: int
    order: str
    prediction: str
    reference: str
    group: str
    kind: str
    question: str
    options: list[Option]
    finished: NotRequired[str]


@dataclass(frozen=True)
class Derived:
    """What follows from the outputs of an exam; `warnings` are what a reader of the metrics should know."""

    scores: list[ScoreRow]
    metrics: dict[str, Any]  # JSON, whose fields the metric's card documents
    warnings: tuple[str, ...]


def derive(
    questions: Iterable[PresentedQuestion], outputs: Iterable[Output], manifest: Mapping | None = None, rules: Rules = PRESENT
) -> Derived:
    """What follows from the outputs to these questions; a question without an output has no score.

    Args:
        manifest: that of the run; None where there is no run folder, as during training.
        rules: those by which the run was stored, see `rules_of`.
    """
    by_key = {(row["id"], row["rotation"]): row for row in outputs}
    settings = manifest["settings"] if manifest else {}
    mode = settings.get("mode")
    scores = [_scored(one, by_key[one.key], mode, rules) for one in questions if one.key in by_key]
    metrics = _metrics(scores, rules)
    if any("logprobs" in row for row in by_key.values()) and not rules.break_ties:
        metrics["ties"] = count_ties(by_key.values())
    if any("reply" in row for row in by_key.values()) and rules.by_kind:
        metrics["kinds"] = dict(sorted(Counter(row["kind"] for row in scores).items()))
    if settings.get("finish"):
        metrics["finished"] = _finished_metrics(scores, by_key.values(), rules)
    if manifest and "endpoint" in manifest["model"]:
        metrics = with_cost({**metrics, "usage": sum_usage(calls(by_key.values()))}, dict(manifest))
    if limited := limit_of(manifest):
        metrics["limited_to"] = limited
    return Derived(scores, metrics, list_warnings(by_key.values(), limited))


def _scored(one: PresentedQuestion, output: Output, mode: str | None, rules: Rules) -> ScoreRow:
    row = score_row(one, predict(output, mode, rules))
    return {**row, "finished": finished(output["finishing"])} if "finishing" in output else row


def _finished_metrics(scores: Sequence[ScoreRow], outputs: Iterable[Output], rules: Rules) -> dict[str, Any]:
    """The accuracy with the answers to being asked once more in the place of the replies without letters.

    `asked` counts these answers, `ties` those of them with several best letters, of which none is taken.
    """
    found = _metrics([{**row, "prediction": row.get("finished", row["prediction"])} for row in scores], rules)
    again = [row["finishing"] for row in outputs if "finishing" in row]
    return {"asked": len(again), "ties": count_ties(again), **{name: found[name] for name in METRICS[:5]}}


def score_row(one: PresentedQuestion, prediction: str) -> ScoreRow:
    """The row of scores.jsonl of one question as it was put."""
    item = one.item
    return {
        "id": item.id,
        "rotation": one.rotation,
        "order": one.order,
        "prediction": prediction,
        "reference": "".join(sorted(item.answer)),
        "group": item.subject,
        "kind": item.kind,
        "question": item.question,
        "options": [{"label": label, "text": text} for label, text in item.options.items()],
    }


def _metrics(scores: Sequence[ScoreRow], rules: Rules) -> dict[str, Any]:
    """The metrics of an exam from its rows of scores.

    Where items were asked in several rotations, which follow one another, an item is right only if all of them are; then
    `circular` has the number of rows ("rotations"), of items that got one and the same option throughout ("consistent"),
    and the accuracy of the first rotations alone ("first_accuracy").
    """
    if not any(row["rotation"] for row in scores):
        return _compute(scores, rules)
    answers = read_answers(scores, rules=rules)
    items = [_combine_rotations(list(rotations)) for _, rotations in groupby(answers, key=lambda answer: answer.id)]
    first = _compute([row for row in scores if row["rotation"] == 0], rules)
    consistent = sum(same for _, same in items)
    circular = {"rotations": len(scores), "consistent": consistent, "first_accuracy": first["accuracy"]}
    return {**_compute([row for row, _ in items], rules), "circular": circular}


def _compute(rows: Sequence[ScoreRow], rules: Rules) -> dict[str, Any]:
    return {
        **score_answers(
            predictions=[row["prediction"] for row in rows],
            references=[row["reference"] for row in rows],
            groups=[row["group"] for row in rows],
            options=[row["options"] for row in rows],
            questions=[row["question"] for row in rows],
            kinds=[row["kind"] if rules.by_kind else None for row in rows],
        )
    }


def _combine_rotations(rotations: list["Answer"]) -> tuple[ScoreRow, bool]:
    """The rotations of one item as one row in its own letters, its first wrong reply deciding, and whether all chose alike."""
    chosen = [answer.own_choice or "" for answer in rotations]
    deciding = next((i for i, answer in enumerate(rotations) if chosen[i] != answer.own(answer.reference)), 0)
    row = score_row(PresentedQuestion(rotations[deciding].shown.original(), 0, ""), chosen[deciding])
    return row, len(set(chosen)) == 1 and chosen[0] != ""


@dataclass(frozen=True)
class Answer:
    """One prompt, the raw reply or the chosen letters, and the letters read from it; `choice` is None where it is unparsed."""

    shown: PresentedQuestion
    reply: str
    choice: str | None

    @property
    def id(self) -> str:
        return self.shown.item.id

    @property
    def rotation(self) -> int:
        return self.shown.rotation

    @property
    def options(self) -> dict[str, str]:
        return self.shown.item.options

    @property
    def reference(self) -> str:
        return "".join(sorted(self.shown.item.answer))

    @property
    def kind(self) -> str:
        return self.shown.item.kind

    @property
    def right(self) -> bool:
        return self.choice == self.reference

    def own(self, letters: str) -> str:
        """The item's own letters for the shown `letters`, sorted."""
        return self.shown.own(letters)

    @property
    def own_choice(self) -> str | None:
        return None if self.choice is None else self.own(self.choice)

    @property
    def own_options(self) -> dict[str, str]:
        """The item's own letter → text, in their own order."""
        return dict(sorted(self.shown.original().options.items()))

    @property
    def item(self) -> tuple[str, dict[str, str], str]:
        """What makes two answers answers to one question, however its options were ordered."""
        return self.shown.item.question, self.own_options, self.own(self.reference)


def read_question(row: Mapping, where: str, language: str = LANGUAGE) -> PresentedQuestion:
    """The question in a row of scores.jsonl as it was put; its `language` is not written there.

    Raises:
        ValueError: the row is not as the run folder's format says.
    """
    fields = ("id", "order", "prediction", "reference", "kind", "question")
    check_fields(where, row, {**dict.fromkeys(fields, str), "rotation": int, "group": (str, type(None)), "options": list})
    for option in row["options"]:
        check_fields(f"{where}, an option", option, {"label": str, "text": str})
    options = {option["label"]: option["text"] for option in row["options"]}
    order, answer, kind = row["order"], frozenset(row["reference"]), row["kind"]
    lettered = len(options) > 1 and all(len(label) == 1 and "A" <= label <= "Z" for label in options)
    if not lettered or sorted(order) != sorted(options) or not answer or not answer <= set(options):
        raise ValueError(f"{where}: order {order!r}, reference {''.join(sorted(row['reference']))!r}")
    if kind not in KINDS or (kind == "single" and len(answer) > 1):
        raise ValueError(f"{where}: kind {kind!r}, reference {''.join(sorted(answer))!r}")
    item = McqItem(row["id"], row["question"], options, answer, row["group"] or "", kind, language)
    return PresentedQuestion(item, row["rotation"], order)


def read_questions_asked(scores: Iterable[Mapping]) -> list[PresentedQuestion]:
    """The questions in the rows of scores.jsonl.

    Raises:
        ValueError: see `read_question`; the message has the row's number.
    """
    return [read_question(row, f"scores.jsonl row {number}") for number, row in enumerate(scores, start=1)]


def read_answers(
    scores: Sequence[ScoreRow], extract: Callable[[str, McqItem, Rules], str | None] = read_letters, rules: Rules = PRESENT
) -> list[Answer]:
    """The answers in the rows of scores.jsonl with the letters that the metric, or `extract`, reads from each by these rules.

    Raises:
        ValueError: see `read_questions_asked`.
    """
    asked = zip(read_questions_asked(scores), (row["prediction"] for row in scores), strict=True)
    return [Answer(one, reply, extract(reply, one.item, rules)) for one, reply in asked]


def check_manifest(manifest: Mapping) -> None:
    """Check that the manifest of an exam names its model and its data.

    Raises:
        ValueError: it does not.
    """
    check_fields("manifest.json", manifest, {"model": dict, "data": dict, "settings": dict})
    check_fields("manifest.json model", manifest["model"], {"id": str}, {"weights_sha256": str})
    benchmark: Fields = {"split": (str, NoneType), "left_out": dict}
    check_fields("manifest.json data", manifest["data"], {"name": str, "sha256": str, "n": int}, benchmark)


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


@dataclass(frozen=True)
class StoredRun:
    """A finished exam run as it was read: every record has its fields, and the questions can be asked."""

    manifest: dict
    questions: list[PresentedQuestion]
    outputs: list[Output]


def stored_run(where: str, run: FinishedRun, scores: Iterable[Mapping] | None = None) -> StoredRun:
    """The exam run in `run`, which `read_run` gave; `scores` are its rows of scores one by one, where it has none of them.

    Raises:
        UserError: a record without a field that it must have, or with one that cannot be.
    """
    manifest = run["manifest"]
    try:
        check_manifest(manifest)
        outputs = read_outputs(run["outputs"], counted="endpoint" in manifest["model"])
        stored = StoredRun(manifest, read_questions_asked(run["scores"] if scores is None else scores), outputs)
    except ValueError as error:
        raise UserError(f"a damaged run in {where}: {error}", "what the format says", _AGAIN) from error
    check_costs(manifest, ["model"], f"{where}/manifest.json")
    return stored


@dataclass(frozen=True)
class Run:
    """A finished exam run whose scores and metrics were found to follow from its outputs.

    `finished` has the second answers, to being asked once more, by the question's id and rotation.
    """

    name: str
    manifest: dict
    metrics: dict[str, Any]
    items: dict[str, list[Answer]]
    finished: dict[tuple[str, int], Answer]

    @property
    def circular(self) -> bool:
        return bool(self.manifest["settings"].get("circular"))

    @property
    def answers(self) -> list[Answer]:
        return [answer for rows in self.items.values() for answer in rows]


def check_run(name: str, run: FinishedRun) -> Run:
    """The run in `run`, which `read_run` gave, under the name that the report calls it by.

    Raises:
        UserError: it is damaged, or its metrics do not follow from its scores, or these from its outputs.
    """
    stored = stored_run(name, run)
    rules = rules_of(run["metrics"])
    manifest, outputs, answers = stored.manifest, stored.outputs, read_answers(run["scores"], rules=rules)
    try:
        items = by_item(answers, bool(manifest["settings"].get("circular")))
        if len(items) != (count := manifest["data"]["n"]):
            raise UserError(f"{len(items)} of {count} questions in {name}", "all of them", _AGAIN)
        mode = manifest["settings"].get("mode")
        said = {(row["id"], row["rotation"]): (row["order"], predict(row, mode, rules)) for row in outputs}
        if said != {one.shown.key: (one.shown.order, one.reply) for one in answers}:
            found = f"other predictions in scores.jsonl of {name} than in its outputs"
            raise UserError(found, "scores that follow from them", _AGAIN)
        derived = derive(stored.questions, outputs, manifest, rules)
        again: list[ScoreRow] = [{**row, "prediction": row["finished"]} for row in derived.scores if "finished" in row]
        second = read_answers(again, rules=rules)
    except ValueError as error:
        raise UserError(f"a damaged run in {name}: {error}", "what the format says", _AGAIN) from error
    check_metrics(name, derived.metrics, run["metrics"], "scores", _AGAIN)
    return Run(name, manifest, derived.metrics, items, {answer.shown.key: answer for answer in second})


def result_row(run: dict) -> dict[str, Any]:
    """What the tables say of one run, which `read_run` gave."""
    metrics, manifest = run["metrics"], run["manifest"]
    return {
        "run": Path(run["folder"]).name,
        "model": manifest["model"]["id"],
        "data": manifest["data"]["name"],
        "reading": reading_of(manifest),
        "settings": manifest["settings"],
        **{key: metrics[key] for key in METRICS},
        **{key: metrics[key] for key in ("finished", "circular") if key in metrics},
        "chance": chance_of(metrics),
    }


def chance_of(metrics: Mapping) -> float:
    """The accuracy that guessing has on the questions of a run."""
    return sum(group["chance"] * group["n"] for group in metrics["groups"]) / metrics["n"]


def reading_of(manifest: Mapping) -> Mode:
    """How the answers of a run were taken; what the manifest calls otherwise is taken for a likelihood."""
    mode = str(manifest["settings"].get("mode"))
    return next((one for one in READINGS if one == ALIASES.get(mode, mode)), READINGS[0])
