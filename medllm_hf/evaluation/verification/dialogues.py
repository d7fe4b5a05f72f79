"""Published consultations and their scores by a judge, done again from what was said: no model is asked."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from medllm_hf.evaluation.consultations.canaries import TURN, is_canary
from medllm_hf.evaluation.consultations.cases import read_cases
from medllm_hf.evaluation.consultations.derive import OF_CASES, derive, stored_run
from medllm_hf.evaluation.consultations.diagnosis import TURN as DIAGNOSIS_TURN
from medllm_hf.evaluation.consultations.diagnosis import UNASKED, is_diagnosis
from medllm_hf.evaluation.judging import derive as judged
from medllm_hf.evaluation.judging.canaries import canaries
from medllm_hf.evaluation.judging.cases import ADDED, case_texts, check_dialogues, with_hash
from medllm_hf.evaluation.judging.dialogues import gate_in, record
from medllm_hf.evaluation.judging.inventions import invention_ids
from medllm_hf.evaluation.judging.records import Dialogue, JudgeManifest
from medllm_hf.evaluation.preferences import records as pairs
from medllm_hf.evaluation.preferences.canaries import pair_canaries
from medllm_hf.evaluation.preferences.derive import derive as derive_pairs
from medllm_hf.evaluation.runs.compare import version_of
from medllm_hf.evaluation.runs.folder import FinishedRun, json_line
from medllm_hf.evaluation.runs.records import read_record, read_records
from medllm_hf.evaluation.verification.findings import (
    CONFIRMED,
    UNKNOWN,
    Finding,
    Known,
    behaviour_findings,
    compared,
    key_finding,
    metric_findings,
    row_finding,
)
from medllm_hf.metrics.llm_judge import scoring

Files = Mapping[str, Path]


class Doctor(TypedDict):
    """The weights that were the doctor."""

    weights_sha256: str
    files_sha256: NotRequired[dict[str, str]]


class Manifest(TypedDict):
    """What is read of the manifest of published consultations besides what their figures need."""

    doctor: Doctor


def consultations(where: str, run: FinishedRun, known: Known, dialogues: Sequence[dict]) -> list[Finding]:
    """The findings on a consult run, which `read_run` gave, and its dialogues.jsonl.

    Who the patient was is in the cases; without them, all is done again but what compares with their diagnoses.

    Raises:
        UserError: the run is damaged.
    """
    stored, doctor = stored_run(where, run), read_record(run["manifest"], Manifest, f"{where}/manifest.json")["doctor"]
    data, name = stored.manifest["data"], f"{where}/manifest.json"
    path = known.files.get(data["sha256"])
    if path:
        cases = list(read_cases(str(path)).items)
        derived = derive(stored.manifest, stored.outputs, cases)
        hashed = Finding(f"{name} data.sha256", CONFIRMED, data["name"])
    else:
        cases = stored.cases
        derived = derive(stored.manifest, stored.outputs, cases, stored.scores)
        hashed = Finding(f"{name} data.sha256", UNKNOWN, f"{data['name']} is not at hand; name it with --data")
    turns = Counter(row["case"] for row in stored.outputs if not is_diagnosis(row))
    wanted = [(case, TURN) for case in turns if is_canary(case)] if "patient_gate" in stored.manifest["settings"] else []
    wanted += [(case.id, turn) for case in cases for turn in range(turns[case.id])]
    if "diagnosis_prompt" in stored.manifest["settings"]:
        wanted += [(score["case_id"], DIAGNOSIS_TURN) for score in derived.scores if score["ended_by"] not in UNASKED]
    names = ["said_diagnosis", *(name for name in OF_CASES if any(name in score for score in stored.scores))]
    away = f"{data['name']} is not at hand"
    lacking = [] if path else [Finding(f"{where}/scores.jsonl {key}", UNKNOWN, away) for key in names]
    return [
        compared(f"{name} doctor.weights_sha256", known.weights, doctor["weights_sha256"]),
        *behaviour_findings(f"{name} doctor.files_sha256", doctor, run["manifest"].get("schema", 1), known),
        hashed,
        compared(f"{name} data.n", len(cases), data["n"]),
        key_finding(f"{where}/outputs.jsonl", run["outputs"], wanted, ("case", "turn")),
        row_finding(f"{where}/dialogues.jsonl", derived.dialogues, dialogues),
        row_finding(f"{where}/scores.jsonl", derived.scores, run["scores"]),
        *metric_findings(f"{where}/metrics.json", derived.metrics, run["metrics"]),
        *lacking,
    ]


def judgements(
    where: str, run: FinishedRun, dialogues: Sequence[dict], held: FinishedRun | None = None, files: Files | None = None
) -> tuple[list[Finding], dict]:
    """The findings on a judge run of the `dialogues`, and the metrics that follow from the judge's replies.

    Args:
        held: the consultations, if the run is on such: what their gate found decides on a headline.
        files: SHA-256 → path of the cases that are at hand.

    Raises:
        UserError: the run or a dialogue is damaged.
    """
    stored = judged.stored_run(where, run)
    manifest, rubric, name = stored.manifest, stored.manifest["rubric"], f"{where}/manifest.json"
    # What the judge was told of a case is not part of the dialogue.
    added = {one["id"]: {key: value for key, value in one.items() if key in ADDED} for one in stored.dialogues}
    said = read_records(dialogues, Dialogue, f"{where}, dialogues.jsonl")
    asked = [cast(Dialogue, {**one, **added.get(one["id"], {})}) for one in said]
    data, gate = record(asked, manifest["data"]["name"]), gate_in(held["metrics"] if held else {}, where)
    systems = list(dict.fromkeys(one["model"] for one in asked))
    first = canaries(rubric["name"] == "checklist")
    wanted = [(one["id"], 0) for one in first]
    wanted += [(one["id"], sample) for one in asked for sample in range(manifest["settings"]["samples"])]
    wanted += [(one, 0) for one in invention_ids(asked)] if "inventions" in manifest else []
    lines = key_finding(f"{where}/outputs.jsonl", run["outputs"], wanted, ("id", "sample"))
    found = [
        compared(f"{name} data.sha256", data["sha256"], manifest["data"]["sha256"]),
        compared(f"{name} data.n", data["n"], manifest["data"]["n"]),
        *(
            compared(f"{name} rubric.{key}", value, run["manifest"]["rubric"].get(key))
            for key, value in scoring.rubric_record(rubric["name"], rubric["language"]).items()
        ),
        compared(f"{name} systems", systems, manifest["systems"]),
        *([compared(f"{name} patient_gate", gate, manifest.get("patient_gate"))] if gate is not None else []),
        *_case_findings(where, manifest, asked, held, files or {}),
        lines,
    ]
    if lines.state != CONFIRMED:
        return [*found, Finding(f"{where}/metrics.json", UNKNOWN, "its outputs are not whole")], {}
    if len(systems) != 1 or manifest["systems"] != systems:
        return [*found, Finding(f"{where}/metrics.json", UNKNOWN, "its systems are not the one doctor")], {}
    check_dialogues(where, asked, manifest)
    derived = judged.derive(manifest, stored.outputs, asked, version_of(run["metrics"]))
    found.append(row_finding(f"{where}/scores.jsonl", derived.scores, run["scores"]))
    return [*found, *metric_findings(f"{where}/metrics.json", derived.metrics, run["metrics"])], derived.metrics


def _case_findings(
    where: str, manifest: JudgeManifest, asked: Sequence[Dialogue], held: FinishedRun | None, files: Files
) -> Iterator[Finding]:
    """Whether the cases that the judge was shown are those of the consultations, and the texts those of the cases."""
    if "cases" not in manifest:
        return
    cases, name = manifest["cases"], f"{where}/manifest.json cases.sha256"
    if held:
        yield compared(name, held["manifest"]["data"]["sha256"], cases["sha256"])
    if not (path := files.get(cases["sha256"])):
        yield Finding(f"{where}/scores.jsonl case_sha256", UNKNOWN, f"{cases['name']} is not at hand; name it with --data")
        return
    said = [cast(Dialogue, {key: value for key, value in one.items() if key not in ADDED}) for one in asked]
    texts = case_texts(said, read_cases(str(path)), manifest["rubric"]["language"])
    told = [with_hash(one, texts[one["id"]]) for one in said]
    yield row_finding(f"{where}/scores.jsonl case_sha256", told, [dict(one) for one in asked])


def preferences(where: str, run: FinishedRun) -> tuple[list[Finding], dict]:
    """The findings on a comparison of two systems, which `read_run` gave, and the metrics that follow from the replies.

    Its dialogues are in its scores.jsonl.

    Raises:
        UserError: it is damaged.
    """
    stored = pairs.stored_run(where, run)
    manifest, cases, name = stored.manifest, stored.pairs, f"{where}/manifest.json"
    found = []
    for side in pairs.SIDES:
        data, own = manifest["data"][side], [pair[side] for pair in cases]
        of_pairs = record([dict(one) for one in own], data["name"])
        found += [
            compared(f"{name} data.{side}.{key}", of_pairs[key], run["manifest"]["data"][side][key]) for key in ("sha256", "n")
        ]
        found.append(compared(f"{name} systems.{side}", own[0]["model"], manifest["systems"][side]))
    asked = scoring.pair_record(manifest["rubric"]["language"])
    found += [compared(f"{name} rubric.{key}", value, run["manifest"]["rubric"].get(key)) for key, value in asked.items()]
    wanted = [*pairs.output_ids(pair_canaries(), 1), *pairs.output_ids(cases, manifest["settings"]["samples"])]
    lines = key_finding(f"{where}/outputs.jsonl", run["outputs"], wanted, ("id", "sample"))
    found.append(lines)
    if lines.state != CONFIRMED:
        return [*found, Finding(f"{where}/metrics.json", UNKNOWN, "its outputs are not whole")], {}
    derived = derive_pairs(manifest, stored.outputs, cases, version_of(run["metrics"]))
    found.append(row_finding(f"{where}/scores.jsonl", [score.row() for score in derived.scores], run["scores"]))
    return [*found, *metric_findings(f"{where}/metrics.json", derived.metrics, run["metrics"])], derived.metrics


def held_by(run: FinishedRun, dialogues: Mapping[str, Sequence[dict]]) -> dict[str, str]:
    """The sides of a comparison, which `read_run` gave, whose dialogues a consult run has held → the name of that run.

    Args:
        dialogues: the dialogues of consult runs by name.

    Raises:
        UserError: the comparison is damaged.
    """
    cases = pairs.stored_run(run["folder"].name, run).pairs
    held: dict[str, str] = {}
    for name, own in dialogues.items():
        lines = set(map(json_line, own))
        for side in pairs.SIDES:
            # A reference may have been added for the judge.
            said = [{key: value for key, value in pair[side].items() if key != "reference"} for pair in cases]
            if all(json_line(one) in lines for one in said):
                held[side] = name
    return held
