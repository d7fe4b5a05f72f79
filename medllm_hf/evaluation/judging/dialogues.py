"""Dialogues for judging, from files, published files or a run of `medllm eval consult`."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from medllm_hf.data.consultations import consultations
from medllm_hf.data.files import BadRow, file_rows, input_files, parsed
from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.folder import json_line, read_run

_FIELDS = ("case_id", "model", "source", "group")


def read_dialogues(path: str) -> list[dict]:
    """The dialogues of a finished consult run, of DISC's published files, or of a file with one dialogue a line.

    A dialogue is `{"id", "case_id", "model", "source", "group", "turns"}`, where all but "id" and "turns" may be left out of a
    file, and "reference" (what is known of the case, or the points of a checklist) may be added.

    Raises:
        UserError: nothing of the kind, a row that is no dialogue, or two of one id.
    """
    if (Path(path) / "manifest.json").is_file():
        run = read_run(path)
        if run["manifest"].get("kind") != "consult":
            raise UserError(f"a run of kind {run['manifest'].get('kind')} in {path}", "one of kind consult", "check the folder")
        path = str(Path(path) / "dialogues.jsonl")
    files = input_files([path])
    if _is_published(files[0]):
        return consultations(path)
    found: dict[str, dict] = {}
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


def record(dialogues: Sequence[dict], name: str) -> dict:
    """What the manifest says of dialogues under "data"."""
    digest = hashlib.sha256("".join(map(json_line, dialogues)).encode(errors="backslashreplace")).hexdigest()
    return {"name": name, "sha256": digest, "n": len(dialogues)}


def _is_published(file: Path) -> bool:
    """Whether the first row of a file has the layout of DISC's."""
    try:
        row = next((parsed(raw) for _, raw in file_rows(file)), None)
    except BadRow:
        return False
    return isinstance(row, dict) and "conversation" in row


def _dialogue(row: object) -> dict:
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
    kept = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    found = {"id": row["id"], **fields, "turns": kept, **({"reference": row["reference"]} if row.get("reference") else {})}
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadRow("row", "text that is not valid Unicode") from error
    return found
