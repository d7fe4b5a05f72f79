"""Outputs and manifest of a judge run → scores, metrics, warnings. Nothing here asks a model, so anybody can do it again.

Each reply is parsed once, by the metric `llm_judge`: to scores by criterion, or to `Unscored` with its reason.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NotRequired, TypedDict, cast

from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.manners import STYLES
from medllm_hf.evaluation.costs.prices import check_costs, with_cost
from medllm_hf.evaluation.judging.axes import judged_axes
from medllm_hf.evaluation.judging.benchmarks import published_score
from medllm_hf.evaluation.judging.canaries import HIGHEST, canaries
from medllm_hf.evaluation.judging.cases import ADDED, check_dialogues, read_texts
from medllm_hf.evaluation.judging.consult_runs import load_consult_run
from medllm_hf.evaluation.judging.dialogues import record
from medllm_hf.evaluation.judging.judged import Judged as Judged
from medllm_hf.evaluation.judging.judged import Scored as Scored
from medllm_hf.evaluation.judging.judged import Unscored as Unscored
from medllm_hf.evaluation.judging.reasons import NO_CANARIES, OWN_FAMILY, SHOWN_CASES, headline_reasons
from medllm_hf.evaluation.judging.records import (
    Dialogue,
    Item,
    JudgeManifest,
    Output,
    RubricRecord,
    ScoreRow,
    Transcript,
)
from medllm_hf.evaluation.runs.compare import VERSION, check_metrics, version_of
from medllm_hf.evaluation.runs.folder import FinishedRun, read_run
from medllm_hf.evaluation.runs.records import read_record, read_records
from medllm_hf.evaluation.statistics.bootstrap import FEWEST
from medllm_hf.metrics.llm_judge import scoring
from medllm_hf.reporting.phrases import SAME, Text

# Families of models by their names; the first that fits counts, so HuatuoGPT is no GPT.
FAMILIES = (
    "huatuo", "bianque", "disc-med", "baichuan", "qwen|qwq|tongyi", "deepseek", "glm", "internlm", "ernie", "hunyuan",
    "kimi|moonshot", "claude", "gemini|gemma", "mixtral|mistral", "llama", "gpt|^o[134]\\b|davinci",
)  # fmt: skip
_AGAIN = "run `medllm eval judge` again with --overwrite"


@dataclass(frozen=True)
class Derived:
    """What follows from the outputs and the manifest of a run: its dialogues, the rows of scores.jsonl, and metrics.json."""

    dialogues: list[Judged]
    scores: list[ScoreRow]
    metrics: dict


def derive(
    manifest: JudgeManifest, outputs: Iterable[Output], dialogues: Iterable[Dialogue], version: int = VERSION
) -> Derived:
    """The scores and metrics of a judge run on the `dialogues`, of which its scores.jsonl has the words.

    "headline" of the metrics has each system's overall score, or is None, and "no_headline" then says why.

    Args:
        version: of the rules; that of stored metrics tells `version_of`.

    Raises:
        ValueError: a system without a dialogue, or a reference that does not suit the rubric.
        KeyError: a reply that the outputs lack.
    """
    rows, rubric = {(row["id"], row["sample"]): row for row in outputs}, manifest["rubric"]
    judged = [_judged(one, rows, rubric, manifest["settings"]["samples"]) for one in dialogues]
    # Published replies were asked for elsewhere, without canaries.
    low = [] if manifest.get("imported") else canaries(rubric["name"] == "checklist")
    checked = [_checked_canary(one, rows, rubric) for one in low]
    scores = [row for one in judged for row in one.rows]
    systems = {system: _system(judged, system, manifest, version) for system in manifest["systems"]}
    metrics = {**_figures(systems, scores, checked, manifest), "usage": usage(rows.values())}
    metrics["warnings"] = [*(one.en for one in self_preference(manifest)), *_missing(judged), *metrics["warnings"]]
    if version > 1:
        metrics["version"] = version
    if version > 2:
        own = {system: [one for one in judged if one.dialogue["model"] == system] for system in manifest["systems"]}
        metrics["axes"] = {system: judged_axes(ones, rubric) for system, ones in own.items()}
    return Derived(judged, scores, with_cost(metrics, dict(manifest)))


def _read(
    one: Transcript, outputs: Mapping[tuple[str, int], Output], rubric: RubricRecord, samples: int
) -> tuple[Item, list[dict[str, float] | Unscored]]:
    """The dialogue as the metric gives it, and what each reply says: nobody else parses a reply of a run."""
    own = [outputs[one["id"], sample] for sample in range(samples)]
    reference = scoring.reference(one.get("reference"), rubric["name"])
    item = scoring.scored(one["turns"], reference, [row["reply"] for row in own], rubric["name"])
    verdicts: list[dict[str, float] | Unscored] = []
    for row, sample in zip(own, item["samples"], strict=True):
        if sample["scores"] is None:
            verdicts.append(Unscored(row.get("error") or sample["unscored"] or ""))
        else:
            verdicts.append({key: float(sample["scores"][key]) for key in item["scores"]})
    return item, verdicts


def _judged(one: Dialogue, outputs: Mapping[tuple[str, int], Output], rubric: RubricRecord, samples: int) -> Judged:
    item, verdicts = _read(one, outputs, rubric, samples)
    own = [outputs[one["id"], sample] for sample in range(samples)]
    attempts = [text for row in own for text in row.get("attempts", ())]
    if item["overall"] is not None:
        means = {key: score for key, score in item["scores"].items() if score is not None}
        return Judged(one, verdicts, attempts, Scored(means, item["overall"]), item)
    refused = next((row["error"] for row in own if row.get("error")), None)
    return Judged(one, verdicts, attempts, Unscored(refused or item["unscored"] or ""), item)


def _checked_canary(one: Transcript, outputs: Mapping[tuple[str, int], Output], rubric: RubricRecord) -> dict:
    """What a judge says of a canary, and whether that is low enough."""
    item, (verdict,) = _read(one, outputs, rubric, 1)
    limit = rubric["low"] + HIGHEST * (rubric["high"] - rubric["low"])
    if isinstance(verdict, Unscored):
        return {"id": one["id"], "scores": item["scores"], "unscored": verdict.reason, "passed": False}
    passed = sum(verdict.values()) / len(verdict) <= limit
    return {"id": one["id"], "scores": verdict, "unscored": None, "passed": passed}


def _figures(systems: dict[str, dict], scores: Sequence[ScoreRow], checked: list[dict], manifest: JudgeManifest) -> dict:
    unscored, limit = sum(row["unscored"] is not None for row in scores), manifest["settings"]["failure_limit"]
    failures = {"replies": len(scores), "unscored": unscored, "rate": unscored / len(scores), "limit": limit}
    reasons = [one.en for one in headline_reasons(checked, failures, manifest.get("patient_gate"))]
    names = ("overall", "n", "unscored")
    headline = {
        name: {**{key: found[key] for key in names}, "interval": found["intervals"]["overall"]}
        for name, found in systems.items()
    }
    return {
        "systems": systems,
        "headline": None if reasons else headline,
        "no_headline": reasons,
        "warnings": [] if checked else [NO_CANARIES.en],
        "canaries": checked,
        "failures": failures,
    }


def _system(judged: Iterable[Judged], system: str, manifest: JudgeManifest, version: int) -> dict:
    """The metric's figures over one system's dialogues, and of a benchmark its score as it is published."""
    own = [one for one in judged if one.dialogue["model"] == system]
    if not own:
        raise ValueError(f"no dialogue of {system}")
    items, rubric = [one.item for one in own], manifest["rubric"]
    fewest = 1 if version == 1 else FEWEST
    found = scoring.summary(items, rubric["name"], rubric["language"], fewest=fewest)
    groups = scoring.by_group(items, [one.group for one in own], rubric["name"], 0, fewest)
    figures = {**{name: value for name, value in found.items() if name != "rubric"}, "groups": groups}
    if benchmark := manifest.get("benchmark"):
        figures["published"] = published_score(items, [one.reference for one in own], benchmark)
    return figures


def usage(outputs: Iterable[Mapping]) -> dict:
    """What the replies have cost. `calls` counts a reply and each unusable one before it."""
    outputs = list(outputs)
    total = {name: sum(row.get(name) or 0 for row in outputs) for name in ("prompt_tokens", "completion_tokens")}
    return {
        "calls": sum(1 + len(row["attempts"]) for row in outputs if "attempts" in row),
        "repeated_requests": sum(row.get("retries", 0) for row in outputs),
        **total,
        "replies_without_counts": sum("attempts" in row and row.get("prompt_tokens") is None for row in outputs),
        "cut": sum(row.get("finish") == "length" for row in outputs),
    }


def family(name: str) -> str | None:
    """The family that a model's name tells, None if it tells none that is known."""
    short = name.lower().split("/")[-1]
    return next((pattern for pattern in FAMILIES if re.search(pattern, short)), None)


def judge_text(manifest: Mapping) -> Text:
    """The judge of a run by its name, with what sets its scores apart from those of one that was shown no cases."""
    return (SHOWN_CASES if "cases" in manifest else SAME)(text=manifest["judge"]["id"])


def judge_label(manifest: Mapping) -> str:
    """The same in English."""
    return judge_text(manifest).en


def self_preference(manifest: JudgeManifest) -> list[Text]:
    """Warnings of a judge that judges models of its own family."""
    judge = manifest["judge"]["id"]
    alike = [name for name in manifest["systems"] if family(judge) is not None and family(name) == family(judge)]
    return [OWN_FAMILY(judge=judge, name=name) for name in alike]


def _missing(judged: Iterable[Judged]) -> list[str]:
    """Says of which cases a system has no dialogue that another one has."""
    cases: dict[str, dict[tuple[str, str], None]] = {}
    for one in judged:
        cases.setdefault(one.dialogue["model"], {})[one.case] = None
    every = dict.fromkeys(case for own in cases.values() for case in own)
    found = []
    for model, own in cases.items():
        if absent := ["/".join(case) for case in every if case not in own]:
            found.append(f"{model} has no dialogue on {len(absent)} cases that others have: {', '.join(absent)}")
    return found


@dataclass(frozen=True)
class StoredRun:
    """A finished judge run as it was read: every record has its fields, and its rubric is known."""

    manifest: JudgeManifest
    outputs: list[Output]
    scores: list[ScoreRow]

    @property
    def dialogues(self) -> list[Dialogue]:
        """The dialogues that were judged, as the rows of scores have them."""
        return list({row["id"]: _dialogue(row) for row in self.scores}.values())


class _Unscored(TypedDict):
    """What the metrics of an import say besides what follows from its outputs."""

    without_scores: NotRequired[list[str]]


@dataclass(frozen=True)
class JudgeRun:
    """A finished judge run whose scores and metrics were found to follow from its outputs.

    `judged` has the dialogues in the order of scores.jsonl, `consult` is the consult run around it, if any, `told` what the
    judge was told of the cases, by the ids of the dialogues, as far as it was kept, and `held` the manifest and the scores of
    the consult run.
    """

    name: str
    manifest: dict
    metrics: dict
    judged: list[Judged]
    consult: dict | None
    told: dict[str, str]
    held: dict | None = None

    @property
    def style(self) -> str:
        """How the patients behaved, or "disc" by DISC's protocol; "" where that is not known."""
        settings = self.held["manifest"]["settings"] if self.held else {"patient_style": ""}
        return settings.get("protocol") or settings.get("patient_style", STYLES[0])

    @cached_property
    def systems(self) -> dict[str, list[Judged]]:
        """Model → its dialogues."""
        return {model: [one for one in self.judged if one.dialogue["model"] == model] for model in self.manifest["systems"]}

    @property
    def is_judged(self) -> bool:
        """Whether it has a judge; of consultations without one there are counted figures alone."""
        return "judge" in self.manifest

    @property
    def criteria(self) -> list[str]:
        return self.manifest["rubric"]["criteria"]

    @property
    def dialogues(self) -> list[Judged]:
        return [one for own in self.systems.values() for one in own]


def load_judge_run(name: str, run: FinishedRun) -> JudgeRun:
    """The judge run in `run`, which `read_run` gave, or in the folder `judge` of that consult run.

    Args:
        name: what the report calls it.

    Raises:
        UserError: it is damaged, or its metrics do not follow from its scores, or these from its outputs; a consult run that
            was not judged, whose judge was given other dialogues, or whose figures do not follow from its outputs.
    """
    outer = run
    run, consult = _find_judge(name, outer)
    held = {key: outer[key] for key in ("manifest", "scores")} if consult else None
    stored = stored_run(name, run)
    manifest, dialogues = stored.manifest, stored.dialogues
    read_record(run["metrics"], _Unscored, f"{name}/metrics.json")
    if wrong := _contradiction(stored):
        raise UserError(f"a damaged run in {name}: {wrong}", "what the format says", _AGAIN)
    check_dialogues(name, dialogues, manifest)
    derived = derive(manifest, stored.outputs, dialogues, version_of(run["metrics"]))
    data = record(dialogues, "")
    if (data["sha256"], data["n"]) != (manifest["data"]["sha256"], manifest["data"]["n"]):
        raise UserError(f"other dialogues in scores.jsonl of {name} than the manifest names", "the dialogues judged", _AGAIN)
    if derived.scores != run["scores"]:
        raise UserError(f"other scores in scores.jsonl of {name} than in its outputs", "scores that follow from them", _AGAIN)
    check_metrics(name, derived.metrics, run["metrics"], "outputs", _AGAIN)
    if version_of(run["metrics"]) != VERSION:  # the report says what the present rules give
        derived = derive(manifest, stored.outputs, dialogues)
    told = read_texts(run["folder"], dialogues)
    return JudgeRun(name, run["manifest"], {**run["metrics"], **derived.metrics}, derived.dialogues, consult, told, held)


def _dialogue(row: ScoreRow) -> Dialogue:
    """The dialogue in a row of scores."""
    return cast(Dialogue, {key: value for key, value in row.items() if key not in ("sample", "scores", "unscored")})


def stored_run(where: str, run: FinishedRun) -> StoredRun:
    """The judge run in `run`, which `read_run` gave.

    Raises:
        UserError: a record without a field that it must have, no replies, or an unknown rubric.
    """
    manifest = read_record(run["manifest"], JudgeManifest, f"{where}/manifest.json")
    check_costs(run["manifest"], ["judge"], f"{where}/manifest.json")
    outputs = read_records(run["outputs"], Output, f"{where}/outputs.jsonl")
    scores = read_records(run["scores"], ScoreRow, f"{where}/scores.jsonl")
    wrong = None if scores and manifest["settings"]["samples"] > 0 else "no replies"
    try:
        scoring.rubric_record(manifest["rubric"]["name"], manifest["rubric"]["language"])
    except KeyError as error:
        wrong = f"no rubric or language {error}"
    if wrong:
        raise UserError(f"a damaged run in {where}: {wrong}", "what the format says", _AGAIN)
    return StoredRun(manifest, outputs, scores)


def _contradiction(stored: StoredRun) -> str | None:
    """What in a run of the right fields lets nothing follow from it, None where all does."""
    manifest, dialogues = stored.manifest, stored.dialogues
    rubric, samples = manifest["rubric"], manifest["settings"]["samples"]
    known = scoring.rubric_record(rubric["name"], rubric["language"])
    if other := [key for key in ("criteria", "low", "high") if dict(rubric)[key] != known[key]]:
        return f"another {other[0]} of the rubric {rubric['name']}"
    if {one["model"] for one in dialogues} != set(manifest["systems"]):
        return "other systems than its dialogues have"
    there = {(row["id"], row["sample"]) for row in stored.outputs}
    low = [] if manifest.get("imported") else canaries(rubric["name"] == "checklist")
    wanted = [(one["id"], 0) for one in low] + [(one["id"], sample) for one in dialogues for sample in range(samples)]
    if lacking := next((f"no output {name} {sample}" for name, sample in wanted if (name, sample) not in there), None):
        return lacking
    return None


def is_judged(run: FinishedRun) -> bool:
    """Whether a judge run, or a consult run with a judge run in it."""
    return run["manifest"]["kind"] == "judge" or (run["folder"] / "judge" / "manifest.json").is_file()


def _find_judge(name: str, run: FinishedRun) -> tuple[FinishedRun, dict | None]:
    """The judge run in `run`: itself, or the folder `judge` of a consult run, with the figures of that."""
    if run["manifest"]["kind"] == "judge":
        return run, None
    do = f"run `medllm eval judge --dialogues {run['folder']} --out {run['folder'] / 'judge'}` with its --judge"
    if not is_judged(run):
        raise UserError(f"no judge run in {name}", "dialogues with scores", do)
    held = load_consult_run(name, run)
    inner = read_run(run["folder"] / "judge")
    given = {row["id"]: _dialogue(row) for row in read_records(inner["scores"], ScoreRow, f"{name}/judge/scores.jsonl")}
    data = held.stored.manifest["data"]
    asked = read_record(inner["manifest"], JudgeManifest, f"{name}/judge/manifest.json").get("cases", data)
    # What the judge was told of a case is no part of the dialogue.
    words = [{key: value for key, value in one.items() if key not in ADDED} for one in given.values()]
    same = {
        "dialogues": record(held.dialogues, "")["sha256"] == record(words, "")["sha256"],
        "cases": asked["sha256"] == data["sha256"],
    }
    if other := [what for what, equal in same.items() if not equal]:
        found = f"a judge run in {name}/judge on other {other[0]} than {name} has held"
        raise UserError(found, "one on its own", f"{do} --overwrite")
    return inner, held.figures | {"patient": held.stored.manifest["patient"]["id"]}
