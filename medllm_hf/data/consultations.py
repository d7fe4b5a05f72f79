"""Published consultations → dialogues for judging."""

from medllm_hf.data.dialogues import valid_text
from medllm_hf.data.files import BadRow, file_rows, input_files, parsed
from medllm_hf.errors import UserError, kind_of

# Where a source keeps the group that its results are split by: departments of CMD, intents of CMID. CMB-Clin has none.
GROUPS = ("department", "label_4class")


def consultations(path: str) -> list[dict]:
    """The consultations of a file or folder, as `{"id", "case_id", "model", "source", "group", "turns"}`.

    A turn is `{"role": "patient" or "doctor", "content"}`; the patient begins, both alternate, the doctor has the last word.
    `case_id` is the row's own id, that of the case; `id` is unique: source, model and case. `group` is empty where the
    source has none.

    Raises:
        UserError: no such file, a row of another layout, or two of one id, named by file and position.

    Source: the layout that https://github.com/FudanDISC/DISC-MedLLM publishes in eval/dialogues.
    """
    found: dict[str, dict] = {}
    for file in input_files([path]):
        for number, raw in file_rows(file):
            try:
                dialogue = _consultation(parsed(raw))
                if dialogue["id"] in found:
                    raise BadRow("id", f"{dialogue['id']!r} a second time")
            except BadRow as error:
                found_text = f"{file}:{number} {error.where}: {error.reason}"
                raise UserError(found_text, "a consultation of patient and doctor", "mend or remove the row") from error
            found[dialogue["id"]] = dialogue
    if not found:
        raise UserError(f"no consultations in {path}", "consultations of patient and doctor", "check the file")
    return list(found.values())


def _consultation(row: object) -> dict:
    if not isinstance(row, dict):
        raise BadRow("row", f"{kind_of(row)}, not an object")
    for field in ("id", "model", "source"):
        if not isinstance(row.get(field), str) or not row[field]:
            raise BadRow(field, "not a text")
        valid_text(row[field], field)
    if not isinstance(row.get("conversation"), list):
        raise BadRow("conversation", "not a list of turns")
    info = row.get("dataset_info", {})
    if not isinstance(info, dict):
        raise BadRow("dataset_info", "not an object")
    groups = [info[name] for name in GROUPS if name in info]
    if not all(isinstance(group, str) for group in groups):
        raise BadRow("dataset_info", "a group that is not a text")
    return {
        "id": f"{row['source']}/{row['model']}/{row['id']}",
        "case_id": row["id"],
        "model": row["model"],
        "source": row["source"],
        "group": groups[0] if groups else "",
        "turns": _turns(row["conversation"]),
    }


def _turns(conversation: list) -> list[dict]:
    for i, turn in enumerate(conversation):
        role = ("patient", "doctor")[i % 2]
        if not isinstance(turn, dict) or turn.get("role") != role:
            raise BadRow(f"conversation[{i}]", f"not a turn of the {role}")
        if not isinstance(turn.get("content"), str) or not turn["content"].strip():
            raise BadRow(f"conversation[{i}]", "no text")
        valid_text(turn["content"], f"conversation[{i}]")
    if not conversation or len(conversation) % 2:
        raise BadRow("conversation", "the doctor does not have the last word")
    return [{"role": turn["role"], "content": turn["content"]} for turn in conversation]
