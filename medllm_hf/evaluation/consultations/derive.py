"""Outputs of simulated consultations → dialogues for judging, checks of each, figures of the run. No model is needed."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NotRequired, TypedDict

from medllm_hf.evaluation.consultations.axes import talk_axes
from medllm_hf.evaluation.consultations.canaries import check_canary, is_canary
from medllm_hf.evaluation.consultations.cases import Case
from medllm_hf.evaluation.consultations.diagnosis import DiagnosisGiven, check_diagnosis, is_diagnosis
from medllm_hf.evaluation.consultations.facts import FactCounts, match_dialogue
from medllm_hf.evaluation.consultations.figures import diagnosis_figures, fact_figures
from medllm_hf.evaluation.consultations.gate import AS_DOCTOR, FAULTS, GateRecord
from medllm_hf.evaluation.consultations.transcript import (
    GIVEN,
    REFUSED,
    ROLES,
    Call,
    Dialogue,
    dialogue,
    heard,
    is_invalid,
    is_refused,
    patient_ended,
    patient_faults,
)
from medllm_hf.evaluation.costs.prices import check_costs, sum_usage, with_cost
from medllm_hf.evaluation.runs.folder import FinishedRun
from medllm_hf.evaluation.runs.records import DataRecord, ModelRecord, read_record, read_records

# The patient in the voice of a doctor or of the program behind it.
PATIENT_SLIPS = re.compile(
    rf"{AS_DOCTOR}"
    r"|我是(?:您的|你的)?(?:一[名位个])?(?:[\u4e00-\u9fff]{0,4}科)?(?:主治)?(?:医生|医师|大夫|AI|人工智能|语言模型|助手)"
    r"|^(?:医生|大夫|Doctor)\s*[:：]|我?建议(?:您|你)|祝(?:您|你)早日康复"
    r"|\bI (?:would )?(?:advise|recommend) you\b",
    re.I | re.M,
)
# The doctor in the voice of the patient: it greets a doctor, or speaks of itself as the patient.
DOCTOR_SLIPS = re.compile(
    r"\A\W*(?:尊敬的)?(?:医生|大夫)[，,。！!\s]*(?:您好|你好)|\A\W*(?:您好|你好)[，,。！!\s]*(?:医生|大夫)(?!\w)"
    r"|\A\W*(?:谢谢|感谢)(?:您|你)?[，,\s]*(?:医生|大夫)|\A\W*(?:患者|病人|Patient)\s*[:：]|我是(?:您的|你的|一[名位个])?(?:患者|病人)"
    r"|\A\W*(?:hi|hello|dear|good (?:morning|afternoon|evening))[,\s]+(?:doctor|dr)\b|\A\W*thank you,? (?:doctor|dr)\b",
    re.I,
)
GOODBYE = re.compile(r"再见|拜拜|再会|\b(?:good)?bye\b", re.I)
# How a turn ends that the patient has not said.
UNSAID = (GIVEN, REFUSED)
# The fields of a row of scores whose means the metrics hold.
MEANS = ("rounds", "doctor_characters", "patient_characters")
# The optional fields that follow from the cases too, and are taken as they are where the cases are not at hand.
OF_CASES: tuple[Literal["patient_faults", "facts", "diagnosis"], ...] = ("patient_faults", "facts", "diagnosis")
# The fields whose shares of dialogues with one or more they hold.
FINDINGS = (
    "early_end",
    "patient_slips",
    "doctor_slips",
    "patient_empty",
    "doctor_empty",
    "patient_repeated",
    "doctor_repeated",
    "cut",
)


class RunSettings(TypedDict):
    """The settings that figures depend on: the gate, which older runs have not, and whether the patient may end."""

    turns: int | str
    patient_gate: NotRequired[GateRecord]
    diagnosis_prompt: NotRequired[dict[str, str]]


class CasesRecord(DataRecord):
    """What a manifest says of the file of cases; `facts` where cases have any, see `facts_record`."""

    facts: NotRequired[dict[str, str | int]]


class Manifest(TypedDict):
    """What is read of the manifest of a consult run; `check_costs` reads its prices."""

    doctor: ModelRecord
    patient: ModelRecord
    data: CasesRecord
    settings: RunSettings


class Score(TypedDict):
    """A row of scores.jsonl: the mechanical checks of one dialogue."""

    id: str
    case_id: str
    model: str
    source: str
    group: str
    rounds: int
    patient_characters: int
    doctor_characters: int
    ended_by: str
    early_end: bool
    said_diagnosis: bool | None
    patient_slips: int
    doctor_slips: int
    patient_empty: int
    doctor_empty: int
    patient_repeated: int
    doctor_repeated: int
    cut: int
    patient_again: NotRequired[int]
    patient_faults: NotRequired[list[str]]
    facts: NotRequired[FactCounts | None]
    diagnosis: NotRequired[DiagnosisGiven | None]


@dataclass(frozen=True)
class StoredRun:
    """A finished consult run as it was read: every record has its fields."""

    manifest: Manifest
    outputs: list[Call]
    scores: list[Score]

    @property
    def cases(self) -> list[Case]:
        """The cases as far as the scores tell them."""
        return [Case(row["case_id"], row["source"], row["group"], "") for row in self.scores]


@dataclass(frozen=True)
class Derived:
    """What follows from the outputs and the manifest of a run.

    `dialogues` are those that no server refused to go on with and whose patient kept to its role.
    """

    dialogues: list[Dialogue]
    scores: list[Score]
    metrics: dict


def stored_run(where: str, run: FinishedRun) -> StoredRun:
    """The consult run in `run`, which `read_run` gave.

    Raises:
        UserError: a record without a field that it must have.
    """
    check_costs(run["manifest"], ROLES, f"{where}/manifest.json")
    return StoredRun(
        read_record(run["manifest"], Manifest, f"{where}/manifest.json"),
        read_records(run["outputs"], Call, f"{where}/outputs.jsonl"),
        read_records(run["scores"], Score, f"{where}/scores.jsonl"),
    )


def derive(
    manifest: Manifest, outputs: Sequence[Call], cases: Sequence[Case], stored: Sequence[Score] | None = None
) -> Derived:
    """The dialogues, scores and metrics of a run, from its outputs in the order of turns.

    Args:
        stored: the scores of the run, where the cases are not at hand but those of `StoredRun.cases`: what compares with
            the diagnoses and the cases is taken from them.
    """
    settings = manifest["settings"]
    talks: dict[str, list[Call]] = {case.id: [] for case in cases}
    replies = {row["case"]: row for row in outputs if is_diagnosis(row)}
    for row in outputs:
        if not is_diagnosis(row):
            talks.get(row["case"], []).append(row)
    records = [dialogue(case, talks[case.id], manifest["doctor"]["id"]) for case in cases]
    scores = [score_row(case, talks[case.id], record) for case, record in zip(cases, records, strict=True)]
    if "patient_gate" in settings:
        for case, score in zip(cases, scores, strict=True):
            score["patient_again"] = sum(bool(row.get("attempts")) for row in talks[case.id])
            score["patient_faults"] = _last_faults(case, talks[case.id], settings["turns"] == "auto")
    for case, score, record in zip(cases, scores, records, strict=True):
        if "facts" in manifest["data"]:
            score["facts"] = match_dialogue(record["turns"], case.facts) if case.facts and case.facts.known else None
        if "diagnosis_prompt" in settings:
            score["diagnosis"] = check_diagnosis(heard(reply), case) if (reply := replies.get(case.id)) else None
    for score, known in zip(scores, stored or (), strict=False):
        score["said_diagnosis"] = known["said_diagnosis"]
        for name in OF_CASES:
            if name in known:
                score[name] = known[name]
    whole = [record for score, record in zip(scores, records, strict=True) if _is_valid(score)]
    return Derived(whole, scores, with_cost(metrics(scores, outputs, settings.get("patient_gate")), dict(manifest)))


def _last_faults(case: Case, rows: Sequence[Call], auto: bool) -> list[str]:
    """What is wrong with the patient's last turn; one with faults is the last of its dialogue."""
    said = [turn for turn, row in enumerate(rows) if row["role"] == "patient" and row["finish"] not in UNSAID]
    return [*patient_faults(case, rows[: said[-1]], rows[said[-1]]["content"], auto)] if said else []


def _is_valid(score: Mapping) -> bool:
    return score["ended_by"] != "refusal" and not score.get("patient_faults")


def score_row(case: Case, rows: Sequence[Call], record: Dialogue) -> Score:
    """The checks of one dialogue, from its outputs in order and its record for judging.

    Fields: `rounds` (replies of the doctor), characters of each side, `ended_by` ("patient", "turns", "refusal" or "gate"),
    `early_end` (the patient ended after the doctor's first reply, or said goodbye before its last turn), `said_diagnosis`
    (the patient was the first to name it; null where the case has none), and the number of turns that slip out of the
    role, are empty, repeat an earlier one of that side, or were cut at the limit of tokens. A first question that came
    with the case is not the simulator's doing: it is not checked, and what it names is known. Where there is a gate,
    `patient_again` counts the turns that were asked for again, and `patient_faults` are those of the last turn. Where cases
    have facts, `facts` says which of them came out, and where the doctor was asked for it, `diagnosis` which ones it gave.
    """
    spoken = [row for row in rows if row["finish"] != REFUSED]
    turns = [(row["role"], heard(row), row) for row in spoken]
    made = {role: [text for who, text, row in turns if who == role and row["finish"] != GIVEN] for role in ROLES}
    all_of = {role: [text for who, text, _ in turns if who == role] for role in ROLES}
    ended = patient_ended(spoken)
    return {
        "id": record["id"],
        "case_id": record["case_id"],
        "model": record["model"],
        "source": record["source"],
        "group": record["group"],
        "rounds": len(made["doctor"]),
        "patient_characters": sum(map(len, all_of["patient"])),
        "doctor_characters": sum(map(len, all_of["doctor"])),
        "ended_by": "refusal" if is_refused(rows) else "gate" if is_invalid(rows) else "patient" if ended else "turns",
        "early_end": _early(turns, ended),
        "said_diagnosis": _said_diagnosis(case.diagnosis, turns),
        "patient_slips": sum(bool(PATIENT_SLIPS.search(text)) for text in made["patient"]),
        "doctor_slips": sum(bool(DOCTOR_SLIPS.search(text)) for text in made["doctor"]),
        "patient_empty": _empty("patient", made["patient"], ended),
        "doctor_empty": _empty("doctor", made["doctor"], ended),
        "patient_repeated": _repeated(all_of["patient"]),
        "doctor_repeated": _repeated(all_of["doctor"]),
        "cut": sum(row["finish"] == "length" for row in spoken),
    }


def metrics(scores: Sequence[Mapping], outputs: Iterable[Mapping], gate: GateRecord | None = None) -> dict:
    """The figures of a run: whole dialogues (`n`), their means and shares with each finding, and what each side has spent.

    `failed` dialogues, which a server refused to go on with, and those that the gate found invalid are in the spendings
    and in "gate" only.
    """
    failed = [row["case_id"] for row in scores if row["ended_by"] == "refusal"]
    rows = list(outputs)
    gated = {"gate": _gated(scores, rows, gate)} if gate else {}
    scores = [row for row in scores if _is_valid(row)]
    known = [row["said_diagnosis"] for row in scores if row["said_diagnosis"] is not None]
    matched: dict = {"facts": fact_figures([row["facts"] for row in scores])} if _have(scores, "facts") else {}
    if _have(scores, "diagnosis"):
        matched["diagnosis"] = diagnosis_figures([row["diagnosis"] for row in scores])
    if axes := talk_axes(scores):
        matched["axes"] = axes
    return {
        "n": len(scores),
        "failed": len(failed),
        "failed_cases": failed,
        **gated,
        **{f"mean_{name}": _mean(row[name] for row in scores) for name in MEANS},
        "ended_by": dict(Counter(row["ended_by"] for row in scores)),
        "said_diagnosis": {"n": len(known), "share": _mean(known)},
        "findings": {name: _mean(row[name] > 0 for row in scores) for name in FINDINGS},
        **matched,
        "usage": {role: _usage([row for row in rows if row["role"] == role and row["finish"] != GIVEN]) for role in ROLES},
    }


def _have(scores: Sequence[Mapping], name: str) -> bool:
    return bool(scores) and all(name in row for row in scores)


def _gated(scores: Sequence[Mapping], rows: Sequence[Mapping], gate: GateRecord) -> dict:
    """What the gate found: the patients' `turns`, how many were `asked_again`, and the dialogues with one that stayed bad."""
    held = [row for row in scores if row["ended_by"] != "refusal"]
    invalid = [row for row in held if row["patient_faults"]]
    return {
        "turns": sum(row["role"] == "patient" and row["finish"] not in UNSAID for row in rows if not is_canary(row["case"])),
        "asked_again": sum(row["patient_again"] for row in scores),
        "invalid": len(invalid),
        "of": len(held),
        "limit": gate["limit"],
        "cases": [row["case_id"] for row in invalid],
        "canaries": [check_canary(row["case"], row["content"]) for row in rows if is_canary(row["case"])],
        "faults": {fault: count for fault in FAULTS if (count := sum(fault in row["patient_faults"] for row in invalid))},
    }


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return fmean(values) if values else None


def _usage(rows: Sequence[Mapping]) -> dict:
    """What one side has spent, in `seconds` too, and the fields that its requests went without."""
    return {
        **sum_usage(rows),
        "seconds": round(sum(row["seconds"] for row in rows), 3),
        "dropped": sorted({name for row in rows for name in row.get("dropped", ())}),
    }


def _empty(role: str, texts: Sequence[str], ended: bool) -> int:
    """The turns without a word; a patient may end the consultation so."""
    silent = role == "patient" and ended and not texts[-1].strip()
    return sum(not text.strip() for text in texts) - silent


def _repeated(texts: Sequence[str]) -> int:
    spoken = [_plain(text) for text in texts if text.strip()]
    return len(spoken) - len(set(spoken))


def _early(turns: Sequence[tuple[str, str, Call]], ended: bool) -> bool:
    earlier = [text for who, text, _ in turns if who == "patient"][:-1]
    return (ended and len(turns) <= 3) or any(GOODBYE.search(text) for text in earlier)


def _said_diagnosis(diagnosis: str, turns: Sequence[tuple[str, str, Call]]) -> bool | None:
    names = [name for name in re.split(r"[、，,；;/\n]", diagnosis) if _plain(name)]
    if not names:
        return None
    for name in names:
        first = next((row for _, text, row in turns if _names(text, name)), None)
        if first is not None and first["role"] == "patient" and first["finish"] != GIVEN:
            return True
    return False


def _names(text: str, name: str) -> bool:
    """Whether a text has the name; one of Latin letters must stand as words of its own."""
    if name.isascii():
        return bool(re.search(r"\b" + r"\W+".join(map(re.escape, re.findall(r"\w+", name))) + r"\b", text, re.I))
    return _plain(name) in _plain(text)


def _plain(text: str) -> str:
    """`text` in one form of its letters, without blanks and punctuation."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())
