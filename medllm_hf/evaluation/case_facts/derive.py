"""Outputs of a writer of facts → the cases with their facts, what was refused of each, figures. No model is asked."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from medllm_hf.evaluation.case_facts.prompts import Task
from medllm_hf.evaluation.case_facts.replies import (
    REFUSALS,
    Refused,
    is_cut,
    read_checklist,
    read_facts,
    unusable_checklist,
    unusable_facts,
)
from medllm_hf.evaluation.consultations.cases import Case
from medllm_hf.evaluation.consultations.facts import KINDS, WEIGHTS, CheckPoint, Fact, text_hash
from medllm_hf.evaluation.costs.prices import sum_usage


class Output(TypedDict):
    """A line of outputs.jsonl: the best of the writer's replies on a case, and the others, which could not be used or were cut.

    `error` says why an endpoint never gives one; the tokens are those of all.
    """

    case: str
    task: str
    reply: str
    finish: str
    attempts: list[str]
    schema: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    retries: int
    error: NotRequired[str]


class Score(TypedDict):
    """A row of scores.jsonl: what the replies on a case gave; `unusable` says why they gave no facts, or no checklist, and
    `cut` which of these may lack some, since the reply was cut."""

    id: str
    facts: dict[str, int]
    points: dict[str, int]
    refused: dict[str, int]
    unusable: dict[str, str]
    cut: list[Task]


@dataclass(frozen=True)
class CaseEntry:
    """A case with what is known of it."""

    case: Case
    facts: tuple[Fact, ...]
    checklist: tuple[CheckPoint, ...]
    refused: tuple[Refused, ...]
    unusable: dict[str, str]
    cut: tuple[Task, ...]


@dataclass(frozen=True)
class Derived:
    """What follows from the outputs of a run and its cases."""

    entries: list[CaseEntry]
    scores: list[Score]
    metrics: dict


def entry_of(case: Case, outputs: Mapping[Task, Output]) -> CaseEntry:
    """A case with its own facts and checklist where it brought them, else those of the writer's replies."""
    facts, points = (case.facts.facts, case.facts.checklist) if case.facts else ((), ())
    refused: list[Refused] = []
    unusable: dict[str, str] = {}
    if not facts and (row := outputs.get("facts")):
        read = read_facts(row["reply"], case)
        refused += read.refused
        reason = row.get("error") or unusable_facts(read)
        facts, unusable = ((), {"facts": reason}) if reason else (read.facts, unusable)
    if not points and (row := outputs.get("checklist")):
        given = read_checklist(row["reply"])
        refused += given.refused
        reason = row.get("error") or unusable_checklist(given)
        points, unusable = ((), {**unusable, "checklist": reason}) if reason else (given.points, unusable)
    cut = tuple(task for task, row in outputs.items() if is_cut(row["reply"], row["finish"]))
    return CaseEntry(case, facts, points, tuple(refused), unusable, cut)


def derive(outputs: Iterable[Output], cases: Sequence[Case]) -> Derived:
    """The cases with their facts, the scores and the metrics of a run."""
    rows = list(outputs)
    given: dict[str, dict] = {case.id: {} for case in cases}
    for row in rows:
        given[row["case"]][row["task"]] = row
    entries = [entry_of(case, given[case.id]) for case in cases]
    scores = [_score(entry) for entry in entries]
    metrics = {
        "n": len(entries),
        "with_facts": sum(bool(entry.facts) for entry in entries),
        "with_checklist": sum(bool(entry.checklist) for entry in entries),
        "facts": _total((row["facts"] for row in scores), KINDS),
        "points": _total((row["points"] for row in scores), WEIGHTS),
        "refused": _total((row["refused"] for row in scores), REFUSALS),
        "unusable": {row["id"]: row["unusable"] for row in scores if row["unusable"]},
        "cut": sum(len(row["cut"]) for row in scores),
        "incomplete": [row["id"] for row in scores if row["cut"]],
        "usage": {"writer": sum_usage(rows)},
    }
    return Derived(entries, scores, metrics)


def _score(entry: CaseEntry) -> Score:
    return {
        "id": entry.case.id,
        "facts": _total([Counter(fact.kind for fact in entry.facts)], KINDS),
        "points": _total([Counter(one.kind for one in entry.checklist)], WEIGHTS),
        "refused": _total([Counter(one.reason for one in entry.refused)], REFUSALS),
        "unusable": entry.unusable,
        "cut": list(entry.cut),
    }


def _total(counts: Iterable[Mapping], names: Iterable[str]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return {name: total[name] for name in names if total[name]}


def cases_json(entries: Iterable[CaseEntry], writer: str, prompt: str) -> str:
    """The file of cases with their facts: an array, the fields of each case sorted, each fact on a line of its own.

    Args:
        writer: the name of the model that wrote them, and `prompt` the hash of what it was asked.
    """
    return "[\n" + ",\n".join(_entry_json(entry, writer, prompt) for entry in entries) + "\n]\n"


def _entry_json(entry: CaseEntry, writer: str, prompt: str) -> str:
    case = entry.case
    row: dict = {name: getattr(case, name) for name in ("id", "source", "group", "description", "first_question", "diagnosis")}
    if entry.facts or entry.checklist:
        named = [{"id": one.id, "kind": one.kind, "text": one.text, "aliases": list(one.aliases)} for one in entry.facts]
        points = [{"kind": one.kind, "point": one.point, "weight": one.weight} for one in entry.checklist]
        made: dict = {"case_sha256": text_hash(case.description), "model": writer, "prompt_sha256": prompt}
        made |= {"cut": list(entry.cut)} if entry.cut else {}
        row |= {"facts": named, "checklist": points, "made": made}
    fields = [f"  {json.dumps(name)}: {_value(row[name])}" for name in sorted(row)]
    return "{\n" + ",\n".join(fields) + "\n}"


def _value(value: object) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join("    " + json.dumps(one, ensure_ascii=False) for one in value) + "\n  ]"
    return json.dumps(value, ensure_ascii=False)
