"""What a judge is told of the case of each dialogue, which a run keeps apart: it may be private, and no figure needs it.

The judge reads the text. The run's manifest and scores.jsonl have the hashes of the file and of each text, which anybody who
has the file can make again. The texts are in a file of their own, for the report, that is not published.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict

from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.cases import PUBLISHED, Case, Cases
from medllm_hf.evaluation.judging.records import Dialogue, JudgeManifest
from medllm_hf.evaluation.runs.folder import read_rows, write_jsonl
from medllm_hf.evaluation.runs.records import read_records
from medllm_hf.metrics.llm_judge import scoring

# The file of the texts in a run folder.
FILE = "cases.jsonl"
# The fields of a judged dialogue that are no part of what was said.
ADDED = ("reference", "case_sha256")
Shown = Literal["case", "reference", "points", "nothing"]
# The rubric by which the publishers of a set have judged it, where that is not the default.
_RUBRICS = {PUBLISHED["CMB-cases"]: "disc-medllm-plain"}
_DIAGNOSIS = {"zh": "诊断：", "en": "Diagnosis: "}


class Told(TypedDict):
    """A line of the file of texts: a dialogue's id, and what the judge was told of its case."""

    id: str
    text: str


def rubric_of(cases: Iterable[Case]) -> str:
    """The rubric of the set that all these cases are from, or the default one."""
    names = {_RUBRICS.get(case.source, scoring.JudgeOptions.rubric) for case in cases}
    return names.pop() if len(names) == 1 else scoring.JudgeOptions.rubric


def case_text(case: Case, language: str) -> str:
    """What a judge is told of a case: its description, and its diagnosis if it has one."""
    return case.description + (f"\n{_DIAGNOSIS[language]}{case.diagnosis}" if case.diagnosis else "")


def case_texts(dialogues: Sequence[Dialogue], cases: Cases, language: str) -> dict[str, str]:
    """What a judge is told of the case of each dialogue, by the dialogue's id.

    Raises:
        UserError: see `_case_of`.
    """
    return {name: case_text(case, language) for name, case in _case_of(dialogues, cases).items()}


def with_checklists(dialogues: Sequence[Dialogue], cases: Cases) -> list[Dialogue]:
    """The dialogues with the checklist of their case as the points that a judge goes by.

    Raises:
        UserError: see `_case_of`; or a case without a checklist.
    """
    own = _case_of(dialogues, cases)
    if lacking := [case.id for case in own.values() if not (case.facts and case.facts.checklist)]:
        found = f"no checklist of {len(set(lacking))} cases in {cases.record['name']}, such as {lacking[0]}"
        raise UserError(found, "one of each case", "make them with `medllm eval cases`, or write them, or change --rubric")
    return [{**one, "reference": facts.points} if (facts := own[one["id"]].facts) else one for one in dialogues]


def _case_of(dialogues: Sequence[Dialogue], cases: Cases) -> dict[str, Case]:
    """The case of each dialogue, by the dialogue's id.

    A dialogue that names no source is of the case with its `case_id`, whatever that one's source.

    Raises:
        UserError: a dialogue on none of the cases, or one that brings a reference of its own.
    """
    known = {(source, case.id): case for case in cases.items for source in (case.source, "")}
    rows = {one["id"]: (one["source"], one["case_id"]) for one in dialogues}
    if lacking := [name for name, place in rows.items() if place not in known]:
        found = f"no case in {cases.record['name']} for {len(lacking)} of {len(rows)} dialogues, such as {lacking[0]}"
        raise UserError(found, "the cases of all dialogues", "check --cases, or leave out these dialogues")
    if own := next((one["id"] for one in dialogues if one.get("reference")), None):
        raise UserError(f"a reference in {own} beside --cases", "one of the two", "leave out --cases")
    return {name: known[place] for name, place in rows.items()}


def with_hash(one: Dialogue, text: str) -> Dialogue:
    """The dialogue with the hash of what its judge is told of the case."""
    return {**one, "case_sha256": hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()}


def shown(dialogues: Iterable[Mapping]) -> Shown:
    """What the judge of these dialogues was shown beside them: figures of two kinds are not comparable."""
    rows = list(dialogues)
    if any("case_sha256" in one for one in rows):
        return "case"
    given = {type(one.get("reference")) for one in rows}
    return "points" if list in given else "reference" if str in given else "nothing"


def check_dialogues(where: str, dialogues: Sequence[Dialogue], manifest: JudgeManifest) -> None:
    """Check that the rubric of a run can score its dialogues, and that its manifest says what the judge was told.

    Raises:
        UserError: a turn of neither side, a reference that does not suit the rubric, or a case of which the manifest says
            nothing.
    """
    for one in dialogues:
        strange = any(turn["role"] not in ("patient", "doctor") for turn in one["turns"])
        wrong = f"a turn of neither patient nor doctor in {one['id']}" if strange else None
        try:
            scoring.reference(one.get("reference"), manifest["rubric"]["name"])
        except ValueError as error:
            wrong = f"{one['id']}: {error}"
        if ("case_sha256" in one) != ("cases" in manifest):
            wrong = f"{one['id']} {'with' if 'case_sha256' in one else 'without'} the hash of a case"
        if wrong:
            raise UserError(f"a damaged run in {where}: {wrong}", "what the format says", "run `medllm eval judge` again")


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes what the judge is told into a run folder."""
    write_jsonl(folder / FILE, ({"id": name, "text": text} for name, text in texts.items()))


def read_texts(folder: Path, dialogues: Iterable[Dialogue]) -> dict[str, str]:
    """What the judge of a run was told of its dialogues, by their ids; nothing where the texts were not kept.

    Raises:
        UserError: a damaged file, or a text that is not the one of which the dialogue has the hash.
    """
    if not (folder / FILE).is_file():
        return {}
    texts = {row["id"]: row["text"] for row in read_records(read_rows(folder / FILE), Told, f"{folder.name}/{FILE}")}
    for one in dialogues:
        if one["id"] in texts and with_hash(one, texts[one["id"]]) != one:
            found = f"another text on {one['id']} in {folder / FILE} than the judge was told"
            raise UserError(found, "the text that scores.jsonl has the hash of", "remove the file, or judge again")
    return texts
