"""Benchmarks whose answers are judged by points of their own, in the layouts of their publishers.

Only the answer is the doctor's: a conversation before it stands in the patient's turn, so that nothing of it is credited.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from medllm_hf.data.dialogues import valid_text
from medllm_hf.data.files import BadRow, file_rows, input_files, parsed
from medllm_hf.errors import UserError

_ANSWER_IDS = ("prompt_id", "case_id", "id")
_ANSWERS = ("completion", "response", "model_response", "answer")
# The criterion under which a checklist's score stands, and so a physician's label of one point.
CHECKLIST = "checklist"


class RubricPoint(TypedDict):
    """A point of an answer; one with a negative weight describes a fault."""

    point: str
    weight: float


@dataclass(frozen=True)
class RubricCase:
    """A case to answer: what the patient's side says, the points of its answers, and an answer where the row has one."""

    id: str
    case_id: str
    group: str
    question: str
    points: list[RubricPoint]
    answer: str | None = None


@dataclass(frozen=True)
class RubricBenchmark:
    """A published layout.

    Attributes:
        licence: what its publishers say of the data.
        fields: those by which a row is known.
        canary: how the canary of its rows begins, where they have one.
        clips_mean: whether the mean over answers is cut to 0 and 1, and not each answer's score.
        read: a row as a case.
    """

    name: str
    licence: str
    source: str
    fields: tuple[str, ...]
    clips_mean: bool
    read: Callable[[dict], RubricCase]
    canary: str = ""


def benchmark_of(path: str) -> RubricBenchmark | None:
    """The benchmark in whose layout the first row of a file or folder is; None if it is in none."""
    if not Path(path).exists() or (Path(path) / "manifest.json").is_file():
        return None
    try:
        row = next((parsed(raw) for _, raw in file_rows(input_files([path])[0])), None)
    except BadRow:
        return None
    if not isinstance(row, dict):
        return None
    found = next((one for one in RUBRIC_BENCHMARKS if all(name in row for name in one.fields)), None)
    if found is not None and found.canary and not str(row.get("canary", "")).startswith(found.canary):
        # Others publish rows in this layout too, under licences of their own.
        return replace(found, name=f"{found.name} layout", licence="not told by the file", source="no canary of its publishers")
    return found


def rubric_cases(benchmark: RubricBenchmark, path: str) -> list[RubricCase]:
    """The cases in the files of a benchmark.

    Raises:
        UserError: a row that is none, or two of one id.
    """
    cases: dict[str, RubricCase] = {}
    for where, row in _rows(path):
        try:
            case = benchmark.read(row)
            if case.id in cases:
                raise BadRow("id", f"{case.id} a second time")
        except BadRow as error:
            what = f"{where} {error.where}: {error.reason}"
            raise UserError(what, f"a row in the layout of {benchmark.name}", "mend or remove it") from error
        cases[case.id] = case
    return list(cases.values())


def read_answers(path: str) -> dict[str, dict[str, str]]:
    """Model → case → answer, of files with one answer a row: its case ("prompt_id", "case_id" or "id"), the text
    ("completion", "response", "model_response" or "answer"), and the "model" where there are several.

    Raises:
        UserError: a row that is no answer, or two of one model on one case.
    """
    found: dict[str, dict[str, str]] = {}
    for where, row in _rows(path):
        name = next((str(row[key]) for key in _ANSWER_IDS if isinstance(row.get(key), str | int)), None)
        text = next((row[key] for key in _ANSWERS if isinstance(row.get(key), str)), None)
        model = row.get("model", "")
        if name is None or text is None or not isinstance(model, str):
            expected = f"one of {', '.join(_ANSWER_IDS)} and one of {', '.join(_ANSWERS)}"
            raise UserError(f"{where}: no answer of a case", expected, "mend the file of --answers")
        if name in found.setdefault(model, {}):
            raise UserError(f"{where}: a second answer to {name}", "one answer of a model to a case", "remove one")
        found[model][name] = text
    return found


def physician_labels(row: Mapping) -> Iterator[tuple[str, str, bool]]:
    """Yields (dialogue, physician, met) of a row of HealthBench's meta evaluation.

    A physician is told by the place in the row, since a hundred people labelled a few rows each: "physician 1" is not one
    person. Published figures are pooled over these places too.

    Raises:
        BadRow: it has no labels.
    """
    labels = row.get("binary_labels")
    if not isinstance(labels, list) or not labels or not all(isinstance(label, bool) for label in labels):
        raise BadRow("binary_labels", "no list of true and false")
    for place, label in enumerate(labels, start=1):
        yield _meta_id(row), f"physician {place}", label


def _rows(path: str) -> Iterator[tuple[str, dict]]:
    """Yields (place, row) of every row of the files."""
    for file in input_files([path]):
        for number, raw in file_rows(file):
            try:
                row = parsed(raw)
                if not isinstance(row, dict):
                    raise BadRow("row", "not an object")
                valid_text(json.dumps(row, ensure_ascii=False), "row")
            except BadRow as error:
                raise UserError(f"{file}:{number} {error.where}: {error.reason}", "an object a row", "mend the file") from error
            yield f"{file}:{number}", row


def _text(row: Mapping, name: str) -> str:
    if not isinstance(row.get(name), str | int) or isinstance(row[name], bool) or not str(row[name]).strip():
        raise BadRow(name, "no text")
    return str(row[name])


def _points(rows: object, where: str) -> list[RubricPoint]:
    """Points with a weight each, from texts, or from objects with "criterion" and "points"."""
    if not isinstance(rows, list) or not rows:
        raise BadRow(where, "no list of points")
    found: list[RubricPoint] = []
    for place, one in enumerate(rows):
        point, weight = (one.get("criterion"), one.get("points", 1)) if isinstance(one, dict) else (one, 1)
        if not isinstance(point, str) or isinstance(weight, bool) or not isinstance(weight, int | float):
            raise BadRow(f"{where}[{place}]", "no criterion with points")
        found.append({"point": point, "weight": weight})
    if not any(one["weight"] > 0 for one in found):
        raise BadRow(where, "no point above 0")
    return found


def _conversation(row: Mapping) -> str:
    """The messages of a prompt: the only one's text, or all of them, each with who says it."""
    prompt = row.get("prompt")
    if not isinstance(prompt, list) or not prompt or not all(_is_message(one) for one in prompt):
        raise BadRow("prompt", "no messages of user and assistant")
    if prompt[-1]["role"] != "user":
        raise BadRow("prompt", "the last message is not the user's")
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n\n".join(f"{one['role']}: {one['content']}" for one in prompt)


def _is_message(one: object) -> bool:
    return isinstance(one, dict) and one.get("role") in ("user", "assistant") and isinstance(one.get("content"), str)


def _theme(row: Mapping) -> str:
    tags: Sequence = row["example_tags"] if isinstance(row.get("example_tags"), list) else ()
    return next((tag.removeprefix("theme:") for tag in tags if isinstance(tag, str) and tag.startswith("theme:")), "")


def _healthbench(row: dict) -> RubricCase:
    name = _text(row, "prompt_id")
    return RubricCase(name, name, _theme(row), _conversation(row), _points(row.get("rubrics"), "rubrics"))


def _meta_id(row: Mapping) -> str:
    names = [_text(row, name) for name in ("prompt_id", "completion_id", "rubric")]
    return f"{names[0]}/{names[1]}/{hashlib.sha256(names[2].encode(errors='replace')).hexdigest()[:8]}"


def _meta_evaluation(row: dict) -> RubricCase:
    answer, group = row.get("completion"), row.get("category", "")
    if not isinstance(answer, str) or not isinstance(group, str):
        raise BadRow("completion", "no text")
    points: list[RubricPoint] = [{"point": _text(row, "rubric"), "weight": 1}]
    return RubricCase(_meta_id(row), _text(row, "prompt_id"), group, _conversation(row), points, answer)


def _livemedbench(row: dict) -> RubricCase:
    name = _text(row, "case_id")
    question = "\n\n".join(_text(row, part) for part in ("narrative", "core_request"))
    return RubricCase(name, name, "", question, _points(row.get("rubric_items"), "rubric_items"))


def _clinconsensus(row: dict) -> RubricCase:
    name = _text(row, "case_id")
    labels = [label for label in row["subject_labels"] if isinstance(label, str)] if row.get("subject_labels") else []
    context = row.get("clinical_context")
    question = "\n\n".join([*([context] if isinstance(context, str) and context.strip() else []), _text(row, "user_request")])
    return RubricCase(name, name, labels[0] if labels else "", question, _points(row.get("rubrics"), "rubrics"))


_OPENAI = "https://github.com/openai/simple-evals"
RUBRIC_BENCHMARKS = (
    RubricBenchmark(
        "HealthBench meta evaluation",
        "MIT",
        _OPENAI,
        ("prompt_id", "completion_id", "prompt", "completion", "rubric", "binary_labels"),
        True,
        _meta_evaluation,
        "healthbench",
    ),
    RubricBenchmark("HealthBench", "MIT", _OPENAI, ("prompt_id", "prompt", "rubrics"), True, _healthbench, "healthbench"),
    RubricBenchmark(
        "LiveMedBench",
        "MIT",
        "https://github.com/ZhilingYan/LiveMedBench",
        ("case_id", "narrative", "core_request", "rubric_items"),
        False,
        _livemedbench,
    ),
    RubricBenchmark(
        "ClinConsensus",
        "CC-BY-4.0",
        "https://github.com/crzzx1/ClinConsensus",
        ("case_id", "user_request", "rubrics"),
        False,
        _clinconsensus,
    ),
)
