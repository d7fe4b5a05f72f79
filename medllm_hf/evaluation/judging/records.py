"""The records of a judge run: what a judge reads, what it says, and what the manifest tells; each is read by one reader."""

from typing import NotRequired, TypedDict


class Turn(TypedDict):
    """What one side says: the role is "patient" or "doctor"."""

    role: str
    content: str


class Point(TypedDict):
    """What a good answer would hold, or, with a negative weight, a fault."""

    point: str
    weight: float


# What a judge is told of a case: nothing, a text, or the points of a checklist.
Reference = str | list[Point] | None


class Transcript(TypedDict):
    """What a judge reads."""

    id: str
    turns: list[Turn]
    reference: NotRequired[str | list[Point]]


class Dialogue(Transcript):
    """A dialogue for judging: `model` is the doctor, and `source` and `case_id` together name the case."""

    case_id: str
    model: str
    source: str
    group: str


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


class JudgeRecord(TypedDict):
    """What a manifest says of a judge."""

    id: str


class RubricRecord(TypedDict):
    """What a manifest says of a rubric."""

    name: str
    version: str
    language: str
    sha256: str
    criteria: list[str]
    low: float
    high: float


class DataRecord(TypedDict):
    """What a manifest says of dialogues."""

    name: str
    sha256: str
    n: int


class RunSettings(TypedDict):
    """What the figures need of the settings."""

    samples: int
    failure_limit: float


class Spent(TypedDict):
    """What a role has spent beside the tokens in the outputs."""

    prompt_tokens: int
    completion_tokens: int
    uncounted: int
    most_prompt_tokens: int
    most_completion_tokens: int


class JudgeManifest(TypedDict):
    """What is read of the manifest of a judge run."""

    judge: JudgeRecord
    rubric: RubricRecord
    data: DataRecord
    settings: RunSettings
    systems: list[str]
    imported: NotRequired[bool]
    prices: NotRequired[dict[str, dict[str, float] | str]]
    spent_besides: NotRequired[dict[str, Spent]]


class Sample(TypedDict):
    """What the metric read from one reply; of a checklist the single points too."""

    scores: dict[str, float] | None
    unscored: str | None
    points: NotRequired[dict[str, float] | None]


class Item(TypedDict):
    """What the metric says of a dialogue: its mean scores over the usable replies, and what became of each reply."""

    scores: dict[str, float | None]
    overall: float | None
    unscored: str | None
    samples: list[Sample]
    replies: list[str]
    doctor_characters: int
