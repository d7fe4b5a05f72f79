"""The lines of outputs.jsonl, and what each says: the letters of a likelihood, or the part of a reply that may be read."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import NotRequired, TypedDict, cast

from medllm_hf.data.mcq import McqItem
from medllm_hf.evaluation.exams.prompts import PresentedQuestion
from medllm_hf.evaluation.exams.thoughts import OPEN, has_mark
from medllm_hf.evaluation.runs.records import Fields, check_fields
from medllm_hf.metrics.mcq_accuracy.extraction import extract_choice

# The field of a reply that was asked for by a schema.
ANSWER = "answer"


@dataclass(frozen=True)
class Rules:
    """By which rules figures follow from outputs: the present ones, or earlier ones, by which some runs were stored.

    `break_ties`: the first of several best answers was taken.
    `by_kind`: the kind of a question has a say in how its reply is read.
    """

    break_ties: bool = False
    by_kind: bool = True


PRESENT = Rules()


def rules_of(metrics: Mapping | None) -> Rules:
    """The rules by which stored metrics must be derived again; the present ones where there are none."""
    return PRESENT if metrics is None else Rules(break_ties="ties" not in metrics, by_kind="kinds" in metrics)


def read_letters(reply: str, item: McqItem, rules: Rules) -> str | None:
    """The letters that a reply to `item` chooses, None where it says none clearly."""
    return extract_choice(reply, item.options, item.question, item.kind if rules.by_kind else "")


class Finishing(TypedDict):
    """What came of asking once more: log-probabilities by letters, or another reply; `error` where it was refused."""

    logprobs: NotRequired[dict[str, float]]
    reply: NotRequired[str]
    finish: NotRequired[str]
    error: NotRequired[str]
    prompt_tokens: NotRequired[int | None]
    completion_tokens: NotRequired[int | None]
    retries: NotRequired[int]


class Output(TypedDict):
    """A line of outputs.jsonl: log-probabilities by letters, or a reply; one of an endpoint has the counts of its tokens.

    `thought` is what an endpoint gave apart from the reply. A reply begins with the mark of a thought that its prompt opened.
    """

    id: str
    rotation: int
    order: str
    logprobs: NotRequired[dict[str, float]]
    lengths: NotRequired[dict[str, int]]
    reply: NotRequired[str]
    finish: NotRequired[str]
    thought: NotRequired[str]
    finishing: NotRequired[Finishing]
    prompt_tokens: NotRequired[int | None]
    completion_tokens: NotRequired[int | None]
    retries: NotRequired[int]


def output_row(one: PresentedQuestion, answer: Mapping) -> Output:
    """The line of outputs.jsonl of one question: what it was, and what was answered."""
    return cast(Output, {"id": one.item.id, "rotation": one.rotation, "order": one.order, **answer})


def predict(output: Output, mode: str | None = None, rules: Rules = PRESENT) -> str:
    """What the model answered, in letters as shown: its reply, or the answer with the highest (mean) log-probability.

    Where the best are equal, none was chosen: "", which counts as unparsed; by earlier rules, the first of them.
    In the reading "reasoning" a reply that was cut before a thought ended has not come to its answer: it gets the mark of a
    thought, in which nothing is read.
    """
    if "reply" not in output:
        return _best(output, rules.break_ties)
    reply = output["reply"]
    cut = mode == "reasoning" and output.get("finish") == "length" and not output.get("thought")
    return f"{OPEN}\n{reply}" if cut and not has_mark(reply) else reply


def _best(output: Mapping, break_ties: bool = False) -> str:
    best = best_answers(output)
    return best[0] if len(best) == 1 or break_ties else ""


def best_answers(output: Mapping) -> list[str]:
    """The answers, by their letters, whose (mean) log-probability is the highest; none for a reply."""
    lengths = output.get("lengths", {})
    values = {letters: value / lengths.get(letters, 1) for letters, value in output.get("logprobs", {}).items()}
    return [letters for letters, value in values.items() if value == max(values.values())]


def finished(finishing: Finishing) -> str:
    """What the model answered when it was asked once more, as `predict` gives it; letters where it kept to the schema."""
    if "reply" not in finishing:
        return _best(finishing)
    reply = finishing["reply"]
    try:  # some servers take a schema and do not keep to it, and the model writes its object into a block of code
        said = json.loads(reply[reply.find("{") : reply.rfind("}") + 1])
    except (ValueError, RecursionError):
        return reply
    letters = said.get(ANSWER) if isinstance(said, dict) else None
    if isinstance(letters, list) and all(isinstance(one, str) for one in letters):
        letters = "".join(sorted({*letters}))
    return letters if isinstance(letters, str) else reply


def is_unread(one: PresentedQuestion, output: Output, mode: str, rules: Rules = PRESENT) -> bool:
    """Whether no letters can be read from a written reply: it says none clearly, was cut before, or only thinks."""
    return "reply" in output and read_letters(predict(output, mode), one.item, rules) is None


def count_ties(outputs: Iterable[Mapping]) -> int:
    """In how many outputs several answers have the highest log-probability."""
    return sum(len(best_answers(row)) > 1 for row in outputs)


def calls(outputs: Iterable[Output]) -> Iterator[Mapping]:
    """Yields what has counts of an endpoint: each reply, and what it was asked once more."""
    for row in outputs:
        yield row
        if "finishing" in row:
            yield row["finishing"]


def list_warnings(outputs: Iterable[Output], limited: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """What a reader of an exam's metrics should know of its outputs, and of how many questions they are (see `limit_of`).

    Where questions were asked in several rotations, outputs are counted and not questions, which is said.
    """
    rows = list(outputs)
    cut, ties = sum(row.get("finish") == "length" for row in rows), count_ties(rows)
    of = f" in {len(rows)} prompts" if any(row["rotation"] for row in rows) else ""
    said = [f"limited to {limited['n']} of {limited['of']} questions"] if limited else []
    said += [f"{cut} replies{of} cut at their limit of tokens"] if cut else []
    return (*said, *([f"{ties} ties{of} of the best answers, of which none is taken"] if ties else []))


_COUNTS: Fields = {"prompt_tokens": (int, NoneType), "completion_tokens": (int, NoneType), "retries": int}


def read_outputs(rows: Iterable[Mapping], counted: bool = False) -> list[Output]:
    """The lines of outputs.jsonl.

    Args:
        counted: each has the counts of an endpoint.

    Raises:
        ValueError: one that is not as the run folder's format says; the message has its number.
    """
    outputs = []
    for number, row in enumerate(rows, start=1):
        where = f"outputs.jsonl row {number}"
        counts = _COUNTS if counted else {}
        fields: Fields = {"id": str, "rotation": int, "order": str, **_said(row), **counts}
        check_fields(where, row, fields, {"lengths": dict, "thought": str, "finish": str, "finishing": dict})
        _check_values(where, row)
        if "finishing" in row:
            check_fields(f"{where} finishing", row["finishing"], {**_said(row["finishing"]), **counts})
            _check_values(f"{where} finishing", row["finishing"])
        outputs.append(cast(Output, row))
    return outputs


def _said(row: object) -> Fields:
    return {"reply": str} if isinstance(row, Mapping) and "reply" in row else {"logprobs": dict}


def _check_values(where: str, row: Mapping) -> None:
    for name in ("logprobs", "lengths"):
        if name in row and not (row[name] and all(type(value) in (int, float) for value in row[name].values())):
            raise ValueError(f"{where}: {name} {row[name]!r}")
    if not all(value > 0 for value in row.get("lengths", {}).values()):
        raise ValueError(f"{where}: lengths {row['lengths']!r}")
