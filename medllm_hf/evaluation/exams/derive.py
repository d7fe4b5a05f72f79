"""Outputs of an exam and its manifest → scores, metrics, warnings. Nothing here needs the model, so anybody can do it again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import NoneType
from typing import Any, NotRequired, TypedDict, cast

from medllm_hf.data.mcq import INSTRUCTION, McqItem
from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.prices import check_costs, sum_usage, with_cost
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, limit_of
from medllm_hf.evaluation.runs.compare import check_metrics
from medllm_hf.evaluation.runs.folder import FinishedRun
from medllm_hf.evaluation.runs.records import Fields, check_fields
from medllm_hf.metrics.mcq_accuracy.extraction import extract_choice as read_letters
from medllm_hf.metrics.mcq_accuracy.scoring import score_answers
from medllm_hf.reporting.blocks import Table, interval, percent, table_lines

_AGAIN = "run `medllm eval mcq` again"
METRICS = ("accuracy", "n", "unparsed", "interval_low", "interval_high", "macro_accuracy", "partial_credit")


class Output(TypedDict):
    """A line of outputs.jsonl: log-probabilities by letters, or a reply; one of an endpoint has the counts of its tokens."""

    id: str
    rotation: int
    order: str
    logprobs: NotRequired[dict[str, float]]
    lengths: NotRequired[dict[str, int]]
    reply: NotRequired[str]
    finish: NotRequired[str]
    prompt_tokens: NotRequired[int | None]
    completion_tokens: NotRequired[int | None]
    retries: NotRequired[int]


class Option(TypedDict):
    """An option as it was shown."""

    label: str
    text: str


class ScoreRow(TypedDict):
    """A line of scores.jsonl: one question as it was put, and what was answered. All letters are those shown."""

    id: str
    rotation: int
    order: str
    prediction: str
    reference: str
    group: str
    kind: str
    question: str
    options: list[Option]


@dataclass(frozen=True)
class Derived:
    """What follows from the outputs of an exam; `warnings` are what a reader of the metrics should know."""

    scores: list[ScoreRow]
    metrics: dict[str, Any]  # JSON, whose fields the metric's card documents
    warnings: tuple[str, ...]


def derive(questions: Iterable[PresentedQuestion], outputs: Iterable[Output], manifest: Mapping | None = None) -> Derived:
    """What follows from the outputs to these questions; a question without an output has no score.

    Args:
        manifest: that of the run; None where there is no run folder, as during training.
    """
    by_key = {(row["id"], row["rotation"]): row for row in outputs}
    scores = [score_row(one, predict(by_key[one.key])) for one in questions if one.key in by_key]
    metrics = _metrics(scores)
    if any("logprobs" in row for row in by_key.values()):
        metrics["ties"] = count_ties(by_key.values())
    if manifest and "endpoint" in manifest["model"]:
        metrics = with_cost({**metrics, "usage": sum_usage(by_key.values())}, dict(manifest))
    if limited := limit_of(manifest):
        metrics["limited_to"] = limited
    return Derived(scores, metrics, list_warnings(by_key.values(), limited))


def output_row(one: PresentedQuestion, answer: Mapping) -> Output:
    """The line of outputs.jsonl of one question: what it was, and what was answered."""
    return cast(Output, {"id": one.item.id, "rotation": one.rotation, "order": one.order, **answer})


def predict(output: Output) -> str:
    """What the model answered, in letters as shown: its reply, or the answer with the highest (mean) log-probability.

    Where the best are equal, none was chosen: "", which counts as unparsed.
    """
    if "reply" in output:
        return output["reply"]
    best = best_answers(output)
    return best[0] if len(best) == 1 else ""


def best_answers(output: Output) -> list[str]:
    """The answers, by their letters, whose (mean) log-probability is the highest; none for a reply."""
    lengths = output.get("lengths", {})
    values = {letters: value / lengths.get(letters, 1) for letters, value in output.get("logprobs", {}).items()}
    return [letters for letters, value in values.items() if value == max(values.values())]


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


def list_warnings(outputs: Iterable[Output], limited: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """What a reader of an exam's metrics should know of its outputs, and of how many questions they are (see `limit_of`)."""
    rows = list(outputs)
    cut, ties = sum(row.get("finish") == "length" for row in rows), count_ties(rows)
    said = [f"limited to {limited['n']} of {limited['of']} questions"] if limited else []
    said += [f"{cut} replies cut at --max-new-tokens"] if cut else []
    return (*said, *([f"{ties} ties of the best answers, of which none is taken"] if ties else []))


def count_ties(outputs: Iterable[Output]) -> int:
    """In how many outputs several answers have the highest log-probability."""
    return sum(len(best_answers(row)) > 1 for row in outputs)


def _metrics(scores: Sequence[ScoreRow]) -> dict[str, Any]:
    """The metrics of an exam from its rows of scores.

    Where items were asked in several rotations, which follow one another, an item is right only if all of them are; then
    `circular` has the number of rows ("rotations"), of items that got one and the same option throughout ("consistent"),
    and the accuracy of the first rotations alone ("first_accuracy").
    """
    if not any(row["rotation"] for row in scores):
        return _compute(scores)
    answers = read_answers(scores)
    items = [_combine_rotations(list(rotations)) for _, rotations in groupby(answers, key=lambda answer: answer.id)]
    first = _compute([row for row in scores if row["rotation"] == 0])
    consistent = sum(same for _, same in items)
    circular = {"rotations": len(scores), "consistent": consistent, "first_accuracy": first["accuracy"]}
    return {**_compute([row for row, _ in items]), "circular": circular}


def _compute(rows: Sequence[ScoreRow]) -> dict[str, Any]:
    return {
        **score_answers(
            predictions=[row["prediction"] for row in rows],
            references=[row["reference"] for row in rows],
            groups=[row["group"] for row in rows],
            options=[row["options"] for row in rows],
            questions=[row["question"] for row in rows],
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


def read_question(row: Mapping, where: str, language: str = McqItem.language) -> PresentedQuestion:
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
    if kind not in INSTRUCTION or (kind == "single" and len(answer) > 1):
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
    scores: Sequence[ScoreRow], extract_choice: Callable[[str, dict[str, str], str], str | None] | None = None
) -> list[Answer]:
    """The answers in the rows of scores.jsonl with the letters that the metric, or `extract_choice`, reads from each.

    Raises:
        ValueError: see `read_questions_asked`.
    """
    extract = extract_choice or read_letters
    asked = zip(read_questions_asked(scores), (row["prediction"] for row in scores), strict=True)
    return [Answer(one, reply, extract(reply, one.item.options, one.item.question)) for one, reply in asked]


def read_outputs(rows: Iterable[Mapping], counted: bool = False) -> list[Output]:
    """The lines of outputs.jsonl.

    Args:
        counted: each has the counts of an endpoint.

    Raises:
        ValueError: one that is not as the run folder's format says; the message has its number.
    """
    outputs = []
    count: Fields = {"prompt_tokens": (int, NoneType), "completion_tokens": (int, NoneType), "retries": int}
    for number, row in enumerate(rows, start=1):
        where = f"outputs.jsonl row {number}"
        answer = {"reply": str} if isinstance(row, Mapping) and "reply" in row else {"logprobs": dict}
        fields = {"id": str, "rotation": int, "order": str, **answer, **(count if counted else {})}
        check_fields(where, row, fields, {"lengths": dict})
        for name in ("logprobs", "lengths"):
            if name in row and not (row[name] and all(isinstance(value, int | float) for value in row[name].values())):
                raise ValueError(f"{where}: {name} {row[name]!r}")
        if not all(value > 0 for value in row.get("lengths", {}).values()):
            raise ValueError(f"{where}: lengths {row['lengths']!r}")
        outputs.append(cast(Output, row))
    return outputs


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


def stored_run(where: str, run: FinishedRun) -> StoredRun:
    """The exam run in `run`, which `read_run` gave.

    Raises:
        UserError: a record without a field that it must have, or with one that cannot be.
    """
    manifest = run["manifest"]
    try:
        check_manifest(manifest)
        outputs = read_outputs(run["outputs"], counted="endpoint" in manifest["model"])
        stored = StoredRun(manifest, read_questions_asked(run["scores"]), outputs)
    except ValueError as error:
        raise UserError(f"a damaged run in {where}: {error}", "what the format says", _AGAIN) from error
    check_costs(manifest, ["model"], f"{where}/manifest.json")
    return stored


@dataclass(frozen=True)
class Run:
    """A finished exam run whose scores and metrics were found to follow from its outputs."""

    name: str
    manifest: dict
    metrics: dict[str, Any]
    items: dict[str, list[Answer]]

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
    manifest, outputs, answers = stored.manifest, stored.outputs, read_answers(run["scores"])
    try:
        items = by_item(answers, bool(manifest["settings"].get("circular")))
        if len(items) != (count := manifest["data"]["n"]):
            raise UserError(f"{len(items)} of {count} questions in {name}", "all of them", _AGAIN)
        said = {(row["id"], row["rotation"]): (row["order"], predict(row)) for row in outputs}
        if said != {one.shown.key: (one.shown.order, one.reply) for one in answers}:
            found = f"other predictions in scores.jsonl of {name} than in its outputs"
            raise UserError(found, "scores that follow from them", _AGAIN)
        derived = derive(stored.questions, outputs, manifest).metrics
    except ValueError as error:
        raise UserError(f"a damaged run in {name}: {error}", "what the format says", _AGAIN) from error
    check_metrics(name, derived, run["metrics"], "scores", _AGAIN)
    return Run(name, manifest, derived, items)


def result_row(run: dict) -> dict[str, Any]:
    """What the tables say of one run, which `read_run` gave."""
    metrics, manifest = run["metrics"], run["manifest"]
    return {
        "run": Path(run["folder"]).name,
        "model": manifest["model"]["id"],
        "data": manifest["data"]["name"],
        "settings": manifest["settings"],
        **{key: metrics[key] for key in METRICS},
        "chance": sum(group["chance"] * group["n"] for group in metrics["groups"]) / metrics["n"],
    }


def results_table(rows: list[dict]) -> list[str]:
    """The lines of a Markdown table with n, unparsed replies and the interval of each run."""
    head = ("run", "model", "questions", "accuracy", "95% interval", "n", "unparsed")
    cells = [
        (row["run"], row["model"], row["data"], percent(row["accuracy"]), interval(row["interval_low"], row["interval_high"]),
         str(row["n"]), str(row["unparsed"]))
        for row in rows
    ]  # fmt: skip
    return table_lines(Table(head, tuple(cells)))
