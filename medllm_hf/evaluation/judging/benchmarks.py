"""A rubric benchmark in its published layout → dialogues for the rubric `checklist`, and the score as it is published."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from medllm_hf.data.rubric_benchmarks import RubricCase, benchmark_of, read_answers, rubric_cases
from medllm_hf.errors import UserError
from medllm_hf.evaluation.judging.records import BenchmarkRecord, Dialogue, Item, Reference
from medllm_hf.evaluation.statistics.bootstrap import drawn_sums, interval


@dataclass(frozen=True)
class BenchmarkDialogues:
    """The answered cases of a benchmark as dialogues, and what the manifest says of it."""

    dialogues: list[Dialogue]
    record: BenchmarkRecord


def read_benchmark(path: str, answers: str | None) -> BenchmarkDialogues | None:
    """The dialogues of a benchmark with the answers of a file; None where `path` is in no benchmark's layout.

    Raises:
        UserError: answers for what is no benchmark, a benchmark without any, or rows that are none.
    """
    benchmark = benchmark_of(path)
    if benchmark is None:
        if answers:
            found = f"--answers, and no benchmark in {path}"
            raise UserError(found, "a rubric benchmark in its published layout", "leave --answers out")
        return None
    cases = rubric_cases(benchmark, path)
    given = read_answers(answers) if answers else {"": {one.id: one.answer for one in cases if one.answer is not None}}
    dialogues = [
        _dialogue(benchmark.name, model, case, own[case.id]) for model, own in given.items() for case in cases if case.id in own
    ]
    if not dialogues:
        found = f"{benchmark.name} in {path} and " + (f"no answer to its cases in {answers}" if answers else "no answers")
        raise UserError(
            found, "a row with the id of a case and its answer", "write the answers to a file and name it by --answers"
        )
    lacking = [f"{model}/{case.id}".lstrip("/") for model, own in given.items() for case in cases if case.id not in own]
    known = {case.id for case in cases}
    record: BenchmarkRecord = {
        "name": benchmark.name,
        "licence": benchmark.licence,
        "source": benchmark.source,
        "clips_mean": benchmark.clips_mean,
        "cases": len(cases),
        "unanswered": lacking,
        "other_answers": sum(name not in known for own in given.values() for name in own),
    }
    return BenchmarkDialogues(dialogues, record)


def published_score(items: Sequence[Item], references: Sequence[Reference], benchmark: BenchmarkRecord) -> dict:
    """The mean over answers of the points reached, by those that can be: with its 95% interval, n and the unscored ones.

    HealthBench cuts the mean to 0 and 1, so that faults of one answer take from another; the others each answer's share.
    """
    shares = [
        _share(item, reference)
        for item, reference in zip(items, references, strict=True)
        if item["unscored"] is None and isinstance(reference, list)
    ]
    found = {"n": len(items), "unscored": len(items) - len(shares)}
    if not shares:
        return {**found, "value": None, "interval": None}
    table = numpy.array(shares)[:, None]
    if not benchmark["clips_mean"]:
        table = table.clip(0, 1)
    drawn = (drawn_sums(table)[:, 0] / len(shares)).clip(0, 1)
    return {**found, "value": min(1.0, max(0.0, float(table.mean()))), "interval": interval(drawn, len(shares))}


def _share(item: Item, points: list) -> float:
    """The points reached by those that can be, of the mean reply; below 0 where faults weigh more."""
    possible = sum(max(0, one["weight"]) for one in points)
    replies = [met for sample in item["samples"] if (met := sample.get("points"))]
    reached = [sum(score * one["weight"] for score, one in zip(met.values(), points, strict=True)) for met in replies]
    return sum(reached) / len(reached) / possible


def _dialogue(source: str, model: str, case: RubricCase, answer: str) -> Dialogue:
    return {
        "id": "/".join(filter(None, (model, case.id))),
        "case_id": case.case_id,
        "model": model,
        "source": source,
        "group": case.group,
        "turns": [{"role": "patient", "content": case.question}, {"role": "doctor", "content": answer}],
        "reference": [{"point": one["point"], "weight": one["weight"]} for one in case.points],
    }
