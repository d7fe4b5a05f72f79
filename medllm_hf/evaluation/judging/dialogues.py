"""Dialogues for judging, from files, published files or a run of `medllm eval consult`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from medllm_hf.data.consultations import consultations
from medllm_hf.data.files import BadRow, file_rows, input_files, parsed
from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.cases import Cases, read_cases
from medllm_hf.evaluation.judging.consult_runs import FILE, load_consult_run
from medllm_hf.evaluation.judging.records import BenchmarkRecord, Dialogue, PatientGate, Turn
from medllm_hf.evaluation.runs.folder import json_line, read_run
from medllm_hf.evaluation.runs.records import DataRecord, read_record

_FIELDS = ("case_id", "model", "source", "group")


class _Held(TypedDict):
    """What is read of the manifest of a consult run."""

    data: DataRecord


@dataclass(frozen=True)
class Origin:
    """Where dialogues come from.

    Attributes:
        name: What the manifest calls them.
        benchmark: What it says of the benchmark that they are answers to.
        gate: What `read_gate` says of the consult run whose dialogues they are.
        cases: Their cases, where the judge is to be shown them.
    """

    name: str
    benchmark: BenchmarkRecord | None = None
    gate: PatientGate | None = None
    cases: Cases | None = None


def read_dialogues(path: str) -> list[Dialogue]:
    """The dialogues of a finished consult run, of DISC's published files, or of a file with one dialogue a line.

    All fields of a dialogue but "id" and "turns" may be left out of a file.

    Raises:
        UserError: nothing of the kind, a row that is no dialogue, or two of one id; or a run whose figures or dialogues do not
            follow from its outputs.
    """
    if (Path(path) / "manifest.json").is_file():
        run = read_run(path)
        if run["manifest"].get("kind") != "consult":
            raise UserError(f"a run of kind {run['manifest'].get('kind')} in {path}", "one of kind consult", "check the folder")
        load_consult_run(path, run)
        path = str(Path(path) / FILE)
    files = input_files([path])
    if _is_published(files[0]):
        return cast(list[Dialogue], consultations(path))
    found: dict[str, Dialogue] = {}
    for file in files:
        for number, raw in file_rows(file):
            try:
                row = _dialogue(parsed(raw))
                if row["id"] in found:
                    raise BadRow("id", f"{row['id']!r} a second time")
            except BadRow as error:
                raise UserError(f"{file}:{number} {error.where}: {error.reason}", "a dialogue", "mend or remove it") from error
            found[row["id"]] = row
    if not found:
        raise UserError(f"no dialogues in {path}", "one dialogue a line", "check the file")
    return list(found.values())


def cases_of(path: str, cases: str | None) -> Cases | None:
    """The cases in the file `cases`, those that a consult run was held on where `path` is one; None where none is named.

    Raises:
        UserError: see `read_cases`; or other cases than those of the run.
    """
    if cases is None:
        return None
    read = read_cases(cases)
    if (Path(path) / "manifest.json").is_file():
        held = read_record(read_run(path)["manifest"], _Held, path)["data"]
        if held["sha256"] != read.record["sha256"]:
            raise UserError(f"other cases in {cases} than {path} was held on", f"the file {held['name']}", "check --cases")
    return read


def read_gate(path: str) -> PatientGate | None:
    """What the gate of a consult run found; None where `path` is no such run, or one without a gate.

    Raises:
        UserError: a damaged or unfinished run.
    """
    if not (Path(path) / "manifest.json").is_file():
        return None
    return gate_in(read_run(path)["metrics"], path)


def gate_in(metrics: Mapping, where: str) -> PatientGate | None:
    """What the metrics of a consult run say of the gate; None if they have none.

    Raises:
        UserError: a damaged record.
    """
    if not isinstance(gate := metrics.get("gate"), dict):
        return None
    canaries = gate.get("canaries")
    failed = [row.get("id") for row in canaries if not row.get("passed")] if isinstance(canaries, list) else None
    known = {name: gate[name] for name in ("invalid", "of", "limit") if name in gate}
    return read_record({**known, "failed_canaries": failed}, PatientGate, where)


def record(dialogues: Sequence[Mapping], name: str) -> dict:
    """What the manifest says of dialogues under "data"."""
    lines = "".join(json_line(dict(one)) for one in dialogues)
    digest = hashlib.sha256(lines.encode(errors="backslashreplace")).hexdigest()
    return {"name": name, "sha256": digest, "n": len(dialogues)}


def _is_published(file: Path) -> bool:
    """Whether the first row of a file has the layout of DISC's."""
    try:
        row = next((parsed(raw) for _, raw in file_rows(file)), None)
    except BadRow:
        return False
    return isinstance(row, dict) and "conversation" in row


def _dialogue(row: object) -> Dialogue:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not row["id"]:
        raise BadRow("row", "no object with an id that is a text")
    turns = row.get("turns")
    if not isinstance(turns, list):
        raise BadRow("turns", "not a list")
    for i, turn in enumerate(turns):
        if not isinstance(turn, dict) or turn.get("role") not in ("patient", "doctor"):
            raise BadRow(f"turns[{i}]", "the role is neither patient nor doctor")
        if not isinstance(turn.get("content"), str):
            raise BadRow(f"turns[{i}]", "no text")
    fields = {name: row.get(name, row["id"] if name == "case_id" else "") for name in _FIELDS}
    for name, value in fields.items():
        if not isinstance(value, str):
            raise BadRow(name, "not a text")
    kept: list[Turn] = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    found: Dialogue = {"id": row["id"], **fields, "turns": kept}  # type: ignore[typeddict-item]  # all of `fields` are texts
    if row.get("reference"):
        found["reference"] = row["reference"]
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadRow("row", "text that is not valid Unicode") from error
    return found
