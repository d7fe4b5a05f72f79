"""The calls of a consultation → what each side is sent next, whether it is over, and the dialogue for judging."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from medllm_hf.endpoints.reasoning import without_reasoning
from medllm_hf.evaluation.consultations.cases import Case
from medllm_hf.evaluation.consultations.gate import Fault, turn_faults
from medllm_hf.evaluation.consultations.patient import SILENCE, ends, patient_messages, said, told_of_role
from medllm_hf.metrics.llm_judge.rubrics import Point as Point
from medllm_hf.metrics.llm_judge.rubrics import Turn as Turn

# Who speaks at an even turn, and who at an odd one.
ROLES = ("patient", "doctor")
# The fields that name an output of a run.
KEY = ("case", "turn")
# `finish` of a first question that came with the case and cost no call.
GIVEN = "given"
# `finish` of a call that the server will never take, such as one that its content filter stops: the dialogue ends there.
REFUSED = "refused"


class Call(TypedDict):
    """An output of a run: one turn and what it has cost. `content` is the raw reply, reasoning and end mark included.

    `dropped` are the fields that the request went without since the server refuses them; `error` says why a call is REFUSED.
    `attempts` are a patient's earlier replies, which did not keep to its role, and `faults` what is wrong with the last one
    still; the tokens are those of all.
    """

    case: str
    turn: int
    role: str
    content: str
    finish: str
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    retries: int
    dropped: NotRequired[list[str]]
    error: NotRequired[str]
    attempts: NotRequired[list[str]]
    faults: NotRequired[list[str]]


class Dialogue(TypedDict):
    """A dialogue for judging: `model` is the doctor, `source` and `case_id` together name the case, `reference` says what is
    known of it, or the points of a checklist, and `case_sha256` is of what a judge was told of the case."""

    id: str
    case_id: str
    model: str
    source: str
    group: str
    turns: list[Turn]
    reference: NotRequired[str | list[Point]]
    case_sha256: NotRequired[str]


def first_turn(case: Case) -> Call:
    """The output that stands for the first question of a case."""
    return uncalled(case.id, 0, case.first_question, GIVEN, 0)


def uncalled(case: str, turn: int, content: str, finish: str, tokens: int | None = None) -> Call:
    """An output that cost no call."""
    return {
        "case": case, "turn": turn, "role": ROLES[turn % 2], "content": content, "finish": finish,
        "prompt_tokens": tokens, "completion_tokens": tokens, "seconds": 0.0, "retries": 0,
    }  # fmt: skip


def outputs_of(outputs: Mapping[tuple, Call], case: Case) -> list[Call]:
    """The outputs of a case so far, in the order of turns, among `outputs` by case and turn."""
    rows: list[Call] = []
    while (row := outputs.get((case.id, len(rows)))) is not None:
        rows.append(row)
    return rows


def heard(row: Call) -> str:
    """What the other side hears of an output: not the reasoning at its beginning, not the patient's end mark."""
    return said(_spoken(row["content"])) if row["role"] == "patient" else _spoken(row["content"])


def _spoken(content: str) -> str:
    return without_reasoning(content)


def patient_faults(case: Case, rows: Sequence[Call], content: str, auto: bool) -> list[Fault]:
    """What is wrong with a patient's reply `content` after the outputs `rows`: see `gate.turn_faults`."""
    turns: list[Turn] = [{"role": row["role"], "content": heard(row)} for row in rows]
    words = _spoken(content)
    return turn_faults(case, turns, said(words), ends(words), auto and len(rows) > 1, told_of_role(case))


def patient_ended(rows: Sequence[Call]) -> bool:
    """Whether the last of a dialogue's outputs is the patient's end; it cannot end what the doctor has not joined yet."""
    return len(rows) > 1 and rows[-1]["role"] == "patient" and ends(rows[-1]["content"])


def is_refused(rows: Sequence[Call]) -> bool:
    """Whether the last of a dialogue's outputs is a call that the server refused."""
    return bool(rows) and rows[-1]["finish"] == REFUSED


def is_invalid(rows: Sequence[Call]) -> bool:
    """Whether the last of a dialogue's outputs is a patient that did not keep to its role, however often it was asked."""
    return bool(rows) and bool(rows[-1].get("faults"))


def is_over(rows: Sequence[Call], rounds: int, auto: bool) -> bool:
    """Whether a dialogue with the outputs `rows`, in order, needs no further call."""
    return len(rows) == 2 * rounds or is_refused(rows) or is_invalid(rows) or (auto and patient_ended(rows))


def next_messages(case: Case, rows: Sequence[Call], auto: bool, system: str | None = None) -> list[dict[str, str]]:
    """What the side whose turn it is is sent: the other side's words are the user's, its own are the assistant's.

    The doctor is sent nothing but the talk, and before it the message `system` where there is one. The patient is sent its
    instructions before it.
    """
    role = ROLES[len(rows) % 2]
    talk = [
        {
            "role": "assistant" if row["role"] == role else "user",
            "content": heard(row) if heard(row).strip() else SILENCE,
        }
        for row in rows
    ]
    if role == "patient":
        return patient_messages(case, auto) + talk
    return [{"role": "system", "content": system}, *talk] if system else talk


def dialogue(case: Case, rows: Sequence[Call], model: str) -> Dialogue:
    """The dialogue of the outputs `rows`, in order, for judging.

    A patient that ends the consultation without a word leaves no turn behind.
    """
    turns: list[Turn] = [{"role": row["role"], "content": heard(row)} for row in rows]
    if patient_ended(rows) and not turns[-1]["content"].strip():
        turns.pop()
    return {
        "id": f"{case.source}/{model}/{case.id}",
        "case_id": case.id,
        "model": model,
        "source": case.source,
        "group": case.group,
        "turns": turns,
    }
