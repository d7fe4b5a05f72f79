"""A judge run's dialogues with their scores, checked against its outputs and its metrics."""

from collections.abc import Iterable
from dataclasses import dataclass

from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.cases import Case
from medllm_hf.evaluation.consultations.derive import metrics as fidelity
from medllm_hf.evaluation.consultations.transcript import dialogue, is_refused, outputs_of
from medllm_hf.evaluation.costs.prices import with_cost
from medllm_hf.evaluation.judging.canaries import canaries
from medllm_hf.evaluation.judging.derive import metrics_of, score_rows
from medllm_hf.evaluation.judging.dialogues import record
from medllm_hf.evaluation.runs.compare import equal
from medllm_hf.evaluation.runs.folder import read_run

# What a row of scores.jsonl says besides its dialogue.
_VERDICT = ("sample", "scores", "unscored")


@dataclass(frozen=True)
class Judged:
    """A dialogue and its scores.

    Attributes:
        case: Source and id of the case, by which systems are paired.
        scores: Mean over the usable replies by criterion, None without any.
        overall: The mean of these.
        unscored: Why there are no scores, None where there are.
        replies: The judge's raw replies, one a sample.
        attempts: Its earlier replies that were not usable.
        item: The dialogue as the metric gives it.
        reference: What the judge was told of the case, or the points of its checklist; None where it was told nothing.
    """

    id: str
    case: tuple[str, str]
    group: str
    turns: list[dict]
    scores: dict[str, float | None]
    overall: float | None
    unscored: str | None
    replies: list[str]
    attempts: list[str]
    item: dict
    reference: str | list[dict] | None

    @property
    def doctor_characters(self) -> int:
        return self.item["doctor_characters"]


@dataclass(frozen=True)
class JudgeRun:
    """A finished judge run whose scores and metrics were found to follow from its outputs.

    `rows` are those of scores.jsonl, `systems` has the dialogues by model, and `consult` is the consult run around it, if any.
    """

    name: str
    manifest: dict
    metrics: dict
    rows: list[dict]
    systems: dict[str, list[Judged]]
    consult: dict | None

    @property
    def criteria(self) -> list[str]:
        return self.manifest["rubric"]["criteria"]

    @property
    def dialogues(self) -> list[Judged]:
        return [one for own in self.systems.values() for one in own]


@dataclass(frozen=True)
class System:
    """A model in a set of runs, under the name that the report calls it by."""

    name: str
    model: str
    run: JudgeRun

    @property
    def dialogues(self) -> list[Judged]:
        return self.run.systems[self.model]

    @property
    def withheld(self) -> bool:
        return self.run.metrics["headline"] is None


def systems_of(runs: Iterable[JudgeRun]) -> list[System]:
    """The systems of the runs; one that several runs have is named with its run."""
    pairs = [(model, run) for run in runs for model in run.systems]
    models = [model for model, _ in pairs]
    return [
        System(f"{model or '(none)'} ({run.name})" if models.count(model) > 1 else model or "(none)", model, run)
        for model, run in pairs
    ]


def judge_run_of(name: str, run: dict) -> dict:
    """The judge run in `run`, which `read_run` gave: itself, or the folder `judge` of a consult run, with that as "consult".

    Raises:
        UserError: a consult run that was not judged, whose judge was given other dialogues, or whose figures do not follow
            from its outputs.
    """
    if run["manifest"]["kind"] == "judge":
        return run
    do = f"run `medllm eval judge --dialogues {run['folder']} --out {run['folder'] / 'judge'}` with its --judge"
    if not (run["folder"] / "judge" / "manifest.json").is_file():
        raise UserError(f"no judge run in {name}", "dialogues with scores", do)
    try:
        derived = with_cost(fidelity(run["scores"], run["outputs"]), run["manifest"])
        held, inner = _held(run), read_run(run["folder"] / "judge")
        same = record(held, "")["sha256"] == record(_said(inner["scores"], without=("reference",)), "")["sha256"]
    except (KeyError, TypeError) as error:
        found = f"a damaged run in {name}: {type(error).__name__} {error}"
        raise UserError(found, "what the format says", "run `medllm eval consult` again") from error
    _refuse_other(name, derived, run["metrics"])
    if not same:
        raise UserError(
            f"a judge run in {name}/judge on other dialogues than {name} has held", "one on its own", f"{do} --overwrite"
        )
    return {**inner, "consult": derived | {"patient": run["manifest"]["patient"]["id"]}}


def _held(run: dict) -> list[dict]:
    """The dialogues for judging that follow from the outputs of a consult run."""
    outputs = {(row["case"], row["turn"]): row for row in run["outputs"]}
    cases = [Case(row["case_id"], row["source"], row["group"], "") for row in run["scores"]]
    talks = [(case, outputs_of(outputs, case)) for case in cases]
    return [dialogue(case, rows, run["manifest"]["doctor"]["id"]) for case, rows in talks if not is_refused(rows)]


def _said(scores: Iterable[dict], without: tuple[str, ...] = ()) -> list[dict]:
    """The dialogues in rows of scores."""
    rows = {row["id"]: {key: row[key] for key in row if key not in (*_VERDICT, *without)} for row in scores}
    return list(rows.values())


def checked_judge_run(name: str, run: dict, metric) -> JudgeRun:
    """The run in `run`, which `judge_run_of` gave, under the name that the report calls it by.

    Raises:
        UserError: it is damaged, or its metrics do not follow from its scores, or these from its outputs.
    """
    manifest = run["manifest"]
    do = "run `medllm eval judge` again"
    try:
        rubric, samples = manifest["rubric"]["name"], manifest["settings"]["samples"]
        said = _said(run["scores"])
        outputs = {(row["id"], row["sample"]): row for row in run["outputs"]}
        rows = score_rows(metric, said, outputs, rubric, samples)
        low = [] if manifest.get("imported") else canaries(rubric == "checklist")
        lowest = score_rows(metric, low, outputs, rubric, 1)
        derived = with_cost(metrics_of(metric, rows, outputs, lowest, manifest), manifest)
        digest = record(said, "")["sha256"]
        same = (digest, len(said)) == (manifest["data"]["sha256"], manifest["data"]["n"])
        systems = _systems(metric, said, outputs, manifest)
        _ = manifest["judge"]["id"], manifest["rubric"]["sha256"], manifest["data"]["name"]
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise UserError(f"a damaged run in {name}: {type(error).__name__} {error}", "what the format says", do) from error
    if not same:
        raise UserError(f"other dialogues in scores.jsonl of {name} than the manifest names", "the dialogues judged", do)
    if rows != run["scores"]:
        raise UserError(f"other scores in scores.jsonl of {name} than in its outputs", "scores that follow from them", do)
    _refuse_other(name, derived, run["metrics"])
    return JudgeRun(name, manifest, {**run["metrics"], **derived}, rows, systems, run.get("consult"))


def _systems(metric, dialogues: list[dict], outputs: dict[tuple, dict], manifest: dict) -> dict[str, list[Judged]]:
    systems: dict[str, list[Judged]] = {model: [] for model in manifest["systems"]}
    for one in dialogues:
        own = [outputs[one["id"], sample] for sample in range(manifest["settings"]["samples"])]
        replies = [row["reply"] for row in own]
        item = metric.scored(one["turns"], one.get("reference"), replies, manifest["rubric"]["name"])
        refused = next((row["error"] for row in own if row.get("error")), None)
        systems[one["model"]].append(
            Judged(
                id=one["id"],
                case=(one["source"], one["case_id"]),
                group=one["group"],
                turns=one["turns"],
                scores=item["scores"],
                overall=item["overall"],
                unscored=item["unscored"] and (refused or item["unscored"]),
                replies=replies,
                attempts=[text for row in own for text in row.get("attempts", ())],
                item=item,
                reference=one.get("reference"),
            )
        )
    return systems


def _refuse_other(name: str, derived: dict, stored: dict) -> None:
    if other := [key for key, value in derived.items() if not equal(value, stored.get(key))]:
        found = f"another {', '.join(other)} in metrics.json of {name} than follows from its outputs"
        raise UserError(found, "metrics that follow from them", "run `medllm eval` again")
