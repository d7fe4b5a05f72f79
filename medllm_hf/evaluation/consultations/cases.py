"""Cases for consultations: DISC's three published sets, or JSON lines of one's own."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medllm_hf.data.dialogues import valid_text
from medllm_hf.data.files import BadRow, file_rows, input_files, parsed, stem
from medllm_hf.errors import UserError, kind_of
from medllm_hf.evaluation.consultations.facts import CaseFacts, facts_record, read_case_facts
from medllm_hf.evaluation.consultations.keys import check_keys
from medllm_hf.evaluation.consultations.manners import STYLES, Manner
from medllm_hf.folders import sha256

# The names that the published dialogues and scores give to the sets whose rows do not name their source themselves.
PUBLISHED = {"CMB-cases": "CMB-clin", "cmd_samples": "CMD", "cmid_samples": "CMID"}
# A question that a patient once asked: it opens the consultation, and nothing else is known of the case.
QUESTION = "question"
DESCRIPTIONS = ("description", "case", QUESTION)
FIRST_QUESTIONS = ("first_question", QUESTION)
GROUPS = ("group", "department", "cate")
_KEYS = ("id", "source", *GROUPS, *DESCRIPTIONS, "first_question", "diagnosis", "facts", "checklist")
SHOWN_ROWS = 3
# By this the outputs on canaries are told from those on cases.
CANARY = "patient-canary/"
# The file with the facts of cases in a folder that `medllm eval cases` has written.
FACTS_FILE = "cases.json"


@dataclass(frozen=True)
class Case:
    """What a simulated patient knows, and what stays hidden from it.

    Attributes:
        id: Unique within the file.
        source: The name of the set; with the doctor's and the case's id it makes the id of a dialogue.
        group: What results are split by: a department, an intent; "" where there is none.
        description: All that the patient knows.
        first_question: The patient's first words; "" where the patient finds them itself.
        diagnosis: For checking the patient only: neither the patient nor the doctor is told. "" where it is not given.
        manner: How its patient is played, which a run decides and no file.
        facts: What is true of the case, fact by fact; None where the file does not say.
    """

    id: str
    source: str
    group: str
    description: str
    first_question: str = ""
    diagnosis: str = ""
    manner: Manner = STYLES[0]
    facts: CaseFacts | None = None


@dataclass(frozen=True)
class Cases:
    """Cases and what the manifest says of them under "data"."""

    items: tuple[Case, ...]
    record: dict


def read_cases(path: str) -> Cases:
    """The cases of a file, in its order.

    A row has an id, and a `description` or `case`; `first_question`, `diagnosis` and `group` may be there. In place of
    these, DISC's CMD and CMID have one `question` and a `department` or `cate`. Other fields, such as the doctor's answer
    that CMD has kept, are not read. The source is the row's own `source`, or else the name of the file, which for the
    published files is replaced by the name that the published results use. `facts` and `checklist` are those that
    `medllm eval cases` writes; the folder that it has written stands for the file in it.

    Raises:
        UserError: no such file, no cases in it, or bad rows, which are named by line (or by position in an array).

    Source: eval/samples of https://github.com/FudanDISC/DISC-MedLLM.
    """
    if (Path(path) / "manifest.json").is_file():
        if not (Path(path) / FACTS_FILE).exists():
            do = "run the same `medllm eval cases` again, or name a file"
            raise UserError(f"no {FACTS_FILE} in the run folder {path}", "a finished run of `medllm eval cases`", do)
        path = str(Path(path) / FACTS_FILE)
    files = input_files([path])
    if len(files) > 1:
        raise UserError(f"{len(files)} files in {path}", "one file of cases", "name one of them")
    found: dict[str, Case] = {}
    bad: list[str] = []
    for number, raw in file_rows(files[0]):
        try:
            case = _case(parsed(raw), PUBLISHED.get(stem(files[0]), stem(files[0])))
            if case.id in found:
                raise BadRow("id", f"{case.id!r} a second time")
            found[case.id] = case
        except BadRow as error:
            bad.append(f"{files[0]}:{number} {error.where}: {error.reason}")
    if bad:
        more = f" and {len(bad) - SHOWN_ROWS} more" if len(bad) > SHOWN_ROWS else ""
        raise UserError("; ".join(bad[:SHOWN_ROWS]) + more, f"cases {_wanted(bad)}", "mend or remove the rows")
    if not found:
        raise UserError(f"no cases in {path}", "rows with id and description", "check the file")
    record: dict = {"name": Path(path).name, "sha256": sha256(files[0]), "n": len(found)}
    if facts := facts_record(case.facts for case in found.values()):
        record["facts"] = facts
    return Cases(tuple(found.values()), record)


def summary(cases: Iterable[Case]) -> str:
    """One line on cases: how many, of which source, in which groups, and how many open with a question of their own."""
    cases = list(cases)
    sources, groups = (Counter(values) for values in zip(*((case.source, case.group) for case in cases), strict=True))
    parts = [f"{sum(bool(case.first_question) for case in cases)} with a first question"]
    if set(groups) != {""}:
        parts.append("groups " + ", ".join(f"{name or '(none)'} {count}" for name, count in groups.items()))
    if known := [case.facts for case in cases if case.facts]:
        lists = sum(bool(one.checklist) for one in known)
        parts.append(f"{sum(bool(one.facts) for one in known)} with facts, {lists} with a checklist")
    if diagnoses := sum(bool(case.diagnosis) for case in cases):
        parts.append(f"{diagnoses} with a diagnosis")
    return f"{len(cases)} cases of {', '.join(sources)}: {'; '.join(parts)}"


def _case(row: object, source: str) -> Case:
    if not isinstance(row, dict):
        raise BadRow("row", f"{kind_of(row)}, not an object")
    if isinstance(row.get("id"), int) and not isinstance(row["id"], bool):
        row = {**row, "id": str(row["id"])}
    check_keys(row, [name for name in _KEYS if not (name in DESCRIPTIONS and any(one in row for one in DESCRIPTIONS))])
    case = Case(
        id=_text(row, ("id",)),
        source=_text(row, ("source",)) or source,
        group=_text(row, GROUPS),
        description=_text(row, DESCRIPTIONS),
        first_question=_text(row, FIRST_QUESTIONS),
        diagnosis=_text(row, ("diagnosis",)),
    )
    for name, value in (("id", case.id), ("description", case.description)):
        if not value:
            raise BadRow(name, "missing or empty")
    if case.id.startswith(CANARY):
        raise BadRow("id", f"{case.id!r}, which names a canary")
    facts = read_case_facts(row, case.description)
    hidden = "、".join(fact.text for fact in facts.diagnoses) if facts else ""
    return replace(case, diagnosis=hidden or case.diagnosis, facts=facts)


def _wanted(bad: Sequence[str]) -> str:
    """What cases must have, as far as the first of the bad rows is at fault for it."""
    facts = re.search(r":\d+ (?:facts|checklist)", bad[0])
    return "whose facts and checklist are as `medllm eval cases` writes them" if facts else "with id and description"


def _text(row: dict, names: Iterable[str]) -> str:
    """The first of the fields `names` that the row has, without blanks around it; "" if it has none or it is null."""
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        return ""
    if not isinstance(row[name], str):
        raise BadRow(name, "not a text")
    return valid_text(row[name].strip(), name)
