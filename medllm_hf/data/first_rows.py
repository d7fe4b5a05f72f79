"""What the first rows of a file say of all of them: whether they are dialogues, and in which columns."""

from collections.abc import Iterator
from contextlib import suppress

from medllm_hf.data.by_content import pair_by_content, question_by_content, turns_by_content
from medllm_hf.data.column_hints import no_column
from medllm_hf.data.columns import Names, value_at
from medllm_hf.data.files import BadRow, parsed
from medllm_hf.data.formats import FORMATS, detect, is_dialogue, turn_list
from medllm_hf.data.pairs import hidden_question, several_answers
from medllm_hf.errors import kind_of

# In place of the name of a format: each row is looked at.
AUTO = "auto"
First = list[tuple[int, object]]


def shown_columns(first: First, format: str, names: Names) -> dict[str, str] | None:
    """The columns of the dialogues by what stands in them, as `--columns` names them; None where their names say it."""
    if format != AUTO or names.columns:
        return None
    rows: list[dict] = []
    pairs = 0
    for row in _objects(first):
        kind = detect(row, names)
        pairs += kind is FORMATS["pair"]
        # Most files are told by their first row.
        if kind is not FORMATS["pair"] and is_dialogue(row, names):
            return None
        rows.append(row)
    if pairs:
        return question_by_content(rows) if pairs == len(rows) else None
    return turns_by_content(rows, names) or pair_by_content(rows)


def first_fault(first: First, format: str, names: Names) -> str | None:
    """Why a file is no file of dialogues, None if it may be one."""
    if missing := _missing_column(first, names):
        return f"none of its first {len(first)} rows has {missing}"
    reasons = [unfit(raw, format, names) for _, raw in first]
    if len(reasons) > 1 and all(reasons):
        # What a row has for columns says more than that another is no JSON.
        reason = max(filter(None, reasons), key=lambda reason: "columns" in reason)
        return f"none of its first {len(first)} rows is a dialogue: {reason}"
    if format != AUTO or names.columns:
        return None
    pairs = [row for row in _objects(first) if detect(row, names) is FORMATS["pair"]]
    return hidden_question(pairs) or several_answers(pairs)


def unfit(raw: object, format: str, names: Names) -> str | None:
    """Why a raw row has no known format, None if it has one."""
    try:
        row = parsed(raw)
    except BadRow as error:
        return error.reason
    if isinstance(row, list) and row and isinstance(row[0], str | dict | list):
        try:
            return None if turn_list(row, "row", names) else "no turns"
        except BadRow as error:
            return error.reason
    if not isinstance(row, dict):
        return f"{kind_of(row)}, not an object"
    kind = detect(row, names) if format == AUTO else FORMATS[format]
    if kind is None or not kind.fits(row, names):
        return no_column(row, names)
    if is_dialogue(row, names):
        return None
    try:  # what is called a dialogue, and may be none
        return None if kind.turns(row, names) else "no turns"
    except BadRow as error:
        return f"{error.where}: {error.reason}"


def _objects(first: First) -> Iterator[dict]:
    for _, raw in first:
        row = None
        with suppress(BadRow):
            row = parsed(raw)
        if isinstance(row, dict):
            yield row


def _missing_column(first: First, names: Names) -> str | None:
    """A column that `--columns` names for the system turn, or joins to another, if no row has it."""
    joined = [path for key, path in names.columns.items() if key in ("user", "assistant") and "+" in path]
    rows = list(_objects(first)) if joined or "system" in names.columns else []
    if not rows:
        return None
    joined = [path for path in joined if not any(value_at(row, path) is not None for row in rows)]
    system = [names.columns["system"]] if "system" in names.columns else []
    wanted = [*system, *(part for path in joined for part in path.split("+"))]
    missing = (path for path in wanted if not any(value_at(row, path) is not None for row in rows))
    return next((f"the column {path}" for path in missing), None)
