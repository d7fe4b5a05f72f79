"""The records of a comparison of two systems, and the one reader of a finished run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict, cast

from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.transcript import Dialogue
from medllm_hf.evaluation.costs.prices import check_costs
from medllm_hf.evaluation.judging.derive import Unscored
from medllm_hf.evaluation.runs.folder import FinishedRun
from medllm_hf.evaluation.runs.records import DataRecord, ModelRecord, read_record, read_records
from medllm_hf.metrics.llm_judge import scoring

Side = Literal["first", "second"]
# The order in which the judge is shown the systems: "21" shows the second one first.
ORDERS = ("12", "21")
SIDES: tuple[Side, Side] = ("first", "second")
# What a row of scores.jsonl says besides its case.
_VERDICT = ("sample", "verdicts", "outcomes", "unscored")


class Pair(TypedDict):
    """A case and the two dialogues on it; `id` is source/case_id, `reference` what the judge was told of the case."""

    id: str
    group: str
    first: Dialogue
    second: Dialogue
    reference: NotRequired[str]


class PairRow(Pair):
    """A row of scores.jsonl, which is a `PairScore` on disk: `outcomes` or `unscored` is null."""

    sample: int
    verdicts: dict[str, dict[str, str] | None]
    outcomes: dict[str, str] | None
    unscored: str | None


@dataclass(frozen=True)
class PairScore:
    """What the judge preferred on a case by order, and the outcomes for the first system by criterion, or why there are none.

    "first" and "second" in the verdicts are the systems, wherever they were shown.
    """

    pair: Pair
    sample: int
    verdicts: dict[str, dict[str, str] | None]
    result: dict[str, str] | Unscored

    def row(self) -> PairRow:
        """The score as a row of scores.jsonl."""
        outcomes, why = (None, self.result.reason) if isinstance(self.result, Unscored) else (self.result, None)
        row = {**self.pair, "sample": self.sample, "verdicts": self.verdicts, "outcomes": outcomes, "unscored": why}
        return cast(PairRow, row)


class PairOutput(TypedDict):
    """What is read of an output: the judge's reply on a case in one order; `error` says why the endpoint gave none."""

    id: str
    sample: int
    reply: str
    error: NotRequired[str]
    attempts: NotRequired[list[str]]
    prompt_tokens: NotRequired[int | None]
    completion_tokens: NotRequired[int | None]
    retries: NotRequired[int]
    finish: NotRequired[str]


class Sides(TypedDict):
    """The names of the two systems."""

    first: str
    second: str


class SidesData(TypedDict):
    """The dialogues of the two systems."""

    first: DataRecord
    second: DataRecord


class Rubric(TypedDict):
    """What a manifest says of the rubric."""

    name: str
    version: str
    language: str
    sha256: str
    criteria: list[str]


class PairSettings(TypedDict):
    """The settings that figures depend on."""

    samples: int
    failure_limit: float


class Manifest(TypedDict):
    """What is read of the manifest of a comparison; `check_costs` reads its prices."""

    judge: ModelRecord
    rubric: Rubric
    systems: Sides
    data: SidesData
    patients: dict[str, str]
    only_first: list[str]
    only_second: list[str]
    settings: PairSettings


Outputs = Mapping[tuple[str, int], PairOutput]


@dataclass(frozen=True)
class StoredRun:
    """A finished comparison as it was read: every record has its fields. `outputs` are by (id, sample)."""

    manifest: Manifest
    outputs: dict[tuple[str, int], PairOutput]
    scores: list[PairRow]

    @property
    def pairs(self) -> list[Pair]:
        """The cases with their two dialogues."""
        known = {row["id"]: {key: value for key, value in row.items() if key not in _VERDICT} for row in self.scores}
        return [cast(Pair, pair) for pair in known.values()]


def stored_run(where: str, run: FinishedRun) -> StoredRun:
    """The comparison in `run`, which `read_run` gave.

    Raises:
        UserError: a record without a field that it must have, no case, or criteria that are none.
    """
    manifest = read_record(run["manifest"], Manifest, f"{where}/manifest.json")
    check_costs(run["manifest"], ["judge"], f"{where}/manifest.json")
    outputs = read_records(run["outputs"], PairOutput, f"{where}/outputs.jsonl")
    scores = read_records(run["scores"], PairRow, f"{where}/scores.jsonl")
    criteria, known = manifest["rubric"]["criteria"], scoring.pair_record()["criteria"]
    counted = scores and manifest["settings"]["samples"] > 0 and manifest["rubric"]["language"] in scoring.LANGUAGES
    if not counted or "overall" not in criteria or not set(criteria) <= set(known):
        what = "no cases, samples, language or criteria"
        raise UserError(f"a damaged run in {where}: {what}", "what the format says", "run `medllm eval pair` again")
    return StoredRun(manifest, {(row["id"], row["sample"]): row for row in outputs}, scores)


def output_id(case: str, order: str) -> str:
    """The id of the output on a case in one order."""
    return f"{case}:{order}"


def output_ids(pairs: Iterable[Pair], samples: int) -> list[tuple[str, int]]:
    """The (id, sample) of every output on `pairs`, in the order in which a run keeps them."""
    return [(output_id(pair["id"], order), sample) for pair in pairs for order in ORDERS for sample in range(samples)]


def pairs_in(scores: Iterable[PairScore]) -> list[Pair]:
    """The cases with their two dialogues that the scores are on."""
    return list({score.pair["id"]: score.pair for score in scores}.values())
