"""The records of a judge run: what a judge reads, what it says, and what the manifest tells; each is read by one reader."""

from typing import NotRequired, TypedDict

from medllm_hf.evaluation.consultations.transcript import Dialogue as Dialogue
from medllm_hf.evaluation.runs.records import DataRecord, ModelRecord
from medllm_hf.metrics.llm_judge.figures import Item as Item
from medllm_hf.metrics.llm_judge.rubrics import Point as Point
from medllm_hf.metrics.llm_judge.rubrics import Turn as Turn
from medllm_hf.metrics.llm_judge.scoring import Reference as Reference


class Transcript(TypedDict):
    """What a judge reads."""

    id: str
    turns: list[Turn]
    reference: NotRequired[str | list[Point]]


class Output(TypedDict):
    """A line of outputs.jsonl: the judge's reply on a dialogue; `error` says why an endpoint never gives one.

    An imported reply has none of the fields that may be absent but `imported`.
    """

    id: str
    sample: int
    reply: str
    form: NotRequired[str]
    schema: NotRequired[bool]
    finish: NotRequired[str | None]
    attempts: NotRequired[list[str]]
    error: NotRequired[str]
    model: NotRequired[str | None]
    prompt_tokens: NotRequired[int | None]
    completion_tokens: NotRequired[int | None]
    seconds: NotRequired[float]
    retries: NotRequired[int]
    imported: NotRequired[bool]


class ScoreRow(Dialogue):
    """A line of scores.jsonl: a dialogue and what one reply says of it, or why that is not known."""

    sample: int
    scores: dict[str, float | None]
    unscored: str | None


class RubricRecord(TypedDict):
    """What a manifest says of a rubric."""

    name: str
    version: str | int  # ours is a text; verification names what is not it
    language: str
    sha256: str
    criteria: list[str]
    low: float
    high: float


class RunSettings(TypedDict):
    """What the figures need of the settings."""

    samples: int
    failure_limit: float


class PatientGate(TypedDict):
    """How many dialogues of the consultations, of how many, were left out since the patient did not keep to its role.

    `failed_canaries` are the tempting words to which the patient gave way.
    """

    invalid: int
    of: int
    limit: float
    failed_canaries: list[str]


class BenchmarkRecord(TypedDict):
    """What a manifest says of a rubric benchmark: whose it is, how its score is cut to 0 and 1, what has no answer, and how
    many answers are to other cases."""

    name: str
    licence: str
    source: str
    clips_mean: bool
    cases: int
    unanswered: list[str]
    other_answers: int


class JudgeManifest(TypedDict):
    """What is read of the manifest of a judge run; `check_costs` reads its prices."""

    judge: ModelRecord
    rubric: RubricRecord
    data: DataRecord
    settings: RunSettings
    systems: list[str]
    cases: NotRequired[DataRecord]  # where the judge was shown the case of each dialogue
    imported: NotRequired[bool]
    patient_gate: NotRequired[PatientGate]
    inventions: NotRequired[dict[str, str]]  # where the judge was asked what the patient makes up
    benchmark: NotRequired[BenchmarkRecord]
