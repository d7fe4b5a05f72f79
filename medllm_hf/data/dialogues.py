"""Rows of any known format → `{"id", "source", "messages"}`; every row is accepted, repaired or rejected."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from medllm_hf.data.exam_rows import Positions, is_exam_row
from medllm_hf.data.files import BadRow, parsed, stem
from medllm_hf.data.mcq import file_positions, item_from_row
from medllm_hf.errors import UserError

OnTrailingUser = Literal["cut", "drop", "fail"]
OnBadRow = Literal["drop", "fail"]
# In place of the name of a format: each row is looked at.
AUTO = "auto"


@dataclass(frozen=True)
class Policy:
    """What is done with a user turn that nobody answered, and with a row that cannot be used.

    trailing_user: "cut" keeps the turns before it (the row counts as repaired), "drop" rejects the row, "fail" stops.
    bad_row: "drop" rejects the row, "fail" stops.
    """

    trailing_user: OnTrailingUser = "cut"
    bad_row: OnBadRow = "drop"


@dataclass(frozen=True)
class Problem:
    """One row that was rejected or repaired. A fatal one is to be answered by `refusal`."""

    file: str
    line: int
    field: str
    reason: str
    fatal: bool = False

    def refusal(self) -> UserError:
        """The error that stops the work at this row."""
        return UserError(f"{self.file}:{self.line} {self.field}: {self.reason}", "a whole dialogue", "mend it or choose drop")


@dataclass(frozen=True)
class Format:
    """One layout of rows: `fits` tells whether a row has it, `turns` takes the turns out or raises BadRow."""

    fits: Callable[[dict], bool]
    turns: Callable[[dict], list[dict]]


def disc(row: dict) -> list[dict]:
    """The turns of DISC-Med-SFT: `conversation` of role and content."""
    return _turns(row, "conversation", "role", "content")


def messages(row: dict) -> list[dict]:
    """The turns of TRL's and the OpenAI API's format: `messages` of role and content."""
    return _turns(row, "messages", "role", "content")


def sharegpt(row: dict) -> list[dict]:
    """The turns of ShareGPT: `conversations` of from and value; human and gpt are its names of user and assistant."""
    names = {"human": "user", "gpt": "assistant"}
    return [{**turn, "role": names.get(turn["role"], turn["role"])} for turn in _turns(row, "conversations", "from", "value")]


def firefly(row: dict) -> list[dict]:
    """The turns of Firefly: `conversation` of rounds, each with human and assistant."""
    turns = []
    for i, part in enumerate(_listed(row, "conversation")):
        if not isinstance(part, dict):
            raise BadRow(f"conversation[{i}]", f"a {type(part).__name__}, not an object of human and assistant")
        turns += _round(_text(part, "human", f"conversation[{i}]."), _text(part, "assistant", f"conversation[{i}]."))
    return turns


def alpaca(row: dict) -> list[dict]:
    """The turns of Alpaca: `history` of pairs, then `instruction` and `input`, joined by a line break, and `output`."""
    turns = []
    for i, pair in enumerate(_listed(row, "history") if _filled(row, "history") else []):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise BadRow(f"history[{i}]", "not a pair of texts")
        turns += _round(*pair)
    asked = [_text(row, "instruction"), _text(row, "input") if _filled(row, "input") else ""]
    return turns + _round("\n".join(text for text in asked if text.strip()), _text(row, "output"))


def huatuo(row: dict) -> list[dict]:
    """The turns of HuatuoGPT: `data` of texts that begin with 问： or 答：; the colon may be the narrow one."""
    roles = {"问：": "user", "问:": "user", "答：": "assistant", "答:": "assistant"}
    turns = []
    for i, text in enumerate(_listed(row, "data")):
        if not isinstance(text, str) or text[:2] not in roles:
            raise BadRow(f"data[{i}]", "not a text that begins with 问： or 答：")
        turns.append({"role": roles[text[:2]], "content": text[2:]})
    return turns


def mcq(row: dict, positions: Positions = lambda: None) -> list[dict]:
    """An exam question as one round: the stem without its options, answered by the text of the right options."""
    try:
        item = item_from_row(row, positions)
    except ValueError as error:
        raise BadRow("question", str(error)) from error
    return _round(item.question, item.reply_prefix + item.option_text(item.answer))


def _has(column: str) -> Callable[[dict], bool]:
    return lambda row: _filled(row, column)


def _is_instruction(row: dict) -> bool:
    # The instruction itself may be empty, and all be in `input`.
    return "instruction" in row and (_filled(row, "instruction") or _filled(row, "output"))


def _has_rounds(row: dict) -> bool:
    try:
        rounds = _listed(row, "conversation")
    except BadRow:
        return False
    return bool(rounds) and isinstance(rounds[0], dict) and "human" in rounds[0]


# In the order of detection: the first that fits is taken.
FORMATS = {
    "messages": Format(_has("messages"), messages),
    "firefly": Format(_has_rounds, firefly),
    "disc": Format(_has("conversation"), disc),
    "sharegpt": Format(_has("conversations"), sharegpt),
    "huatuo": Format(_has("data"), huatuo),
    "alpaca": Format(_is_instruction, alpaca),
    "mcq": Format(is_exam_row, mcq),
}


def check_format(name: str) -> None:
    """Check that `name` is "auto" or one of FORMATS.

    Raises:
        UserError: it is not.
    """
    if name != AUTO and name not in FORMATS:
        raise UserError(f"format {name!r}", ", ".join([AUTO, *FORMATS]), "choose one of these")


def examine(file: Path, line: int, raw: object, format: str, policy: Policy) -> tuple[dict | None, Problem | None]:
    """The dialogue in a raw row of `file_rows` and its problem.

    (row, None) is accepted, (row, Problem) repaired, (None, Problem) rejected. It raises nothing, for worker processes: who
    collects the problems raises the `refusal` of a fatal one.
    """
    try:
        row, repair = dialogue(parsed(raw), format, stem(file), policy, partial(file_positions, str(file)))
    except BadRow as error:
        return None, Problem(_printable(file), line, error.where, error.reason, error.fatal or policy.bad_row == "fail")
    return row, Problem(_printable(file), line, "turns", repair) if repair else None


def dialogue(
    row: object, format: str, source: str, policy: Policy, positions: Positions = lambda: None
) -> tuple[dict, str | None]:
    """The row as `{"id", "source", "messages"}` and what was repaired in it, None if nothing.

    The id is the row's own, or made from the content; so is the source, or else `source`. A text in the column `system`
    becomes the system turn. Answers of exam questions that are positions of options count from `positions()`.

    Raises:
        BadRow: it cannot be used.
    """
    if isinstance(row, list) and row and all(isinstance(text, str) for text in row):
        row = {"data": row}  # HuatuoGPT's first files
    if not isinstance(row, dict):
        raise BadRow("row", f"a {type(row).__name__}, not an object")
    known = _detected(row) if format == AUTO else format
    turns = mcq(row, positions) if known == "mcq" else FORMATS[known].turns(row)
    if _filled(row, "system"):
        if turns and turns[0]["role"] == "system":
            raise BadRow("system", "a second system turn, beside the one in the dialogue")
        turns = [{"role": "system", "content": _text(row, "system")}, *turns]
    turns, repair = check_turns(turns, policy)
    own = row["source"] if isinstance(row.get("source"), str) and row["source"].strip() else source
    return {"id": _row_id(row, turns), "source": valid_text(own, "source"), "messages": turns}, repair


def check_turns(turns: list[dict], policy: Policy) -> tuple[list[dict], str | None]:
    """The turns as a whole dialogue, and what was repaired to make it one, None if nothing.

    Repaired are an empty system turn, which is left out, and by `policy` a user turn at the end, which is cut.

    Raises:
        BadRow: an unknown role, two turns of one role in a row, an empty content, no answer, or text that is not UTF-8.
    """
    repairs = []
    if turns and turns[0]["role"] == "system" and not turns[0]["content"].strip():
        turns = turns[1:]
        repairs.append("empty system turn was left out")
    start = 1 if turns and turns[0]["role"] == "system" else 0
    for i, turn in enumerate(turns):
        expected = "system" if i < start else ("user", "assistant")[(i - start) % 2]
        if turn["role"] != expected:
            raise BadRow(f"turn {i}", f"role {turn['role'][:20]!r} where {expected} was expected")
        if not turn["content"].strip():
            raise BadRow(f"turn {i}", "empty content")
        valid_text(turn["content"], f"turn {i}")
    cut = bool(turns) and turns[-1]["role"] == "user"
    if len(turns) - cut <= start:
        raise BadRow("dialogue", "no answer by the assistant")
    if cut and policy.trailing_user != "cut":
        raise BadRow("last turn", "user turn without an answer", fatal=policy.trailing_user == "fail")
    if cut:
        turns = turns[:-1]
        repairs.append("user turn without an answer was cut from the end")
    return turns, "; ".join(repairs) or None


def content_hash(turns: list[dict]) -> str:
    """SHA-256 of the roles and the contents with all white space removed: equal for exact duplicates."""
    normal = [[turn["role"], "".join(turn["content"].split())] for turn in turns]
    return hashlib.sha256(json.dumps(normal, ensure_ascii=False).encode("utf-8")).hexdigest()


def valid_text(text: str, where: str) -> str:
    """The text itself.

    Raises:
        BadRow: it holds half of a surrogate pair, which neither UTF-8 nor Parquet can.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRow(where, "text that is not valid Unicode") from error
    return text


def _printable(file: Path) -> str:
    """The path as text; what is not UTF-8 in it is replaced."""
    return os.fsencode(file).decode("utf-8", "replace")


def _detected(row: dict) -> str:
    for name, known in FORMATS.items():
        if known.fits(row):
            return name
    raise BadRow(
        "row", "no column messages, conversation, conversations, data or instruction, and no question with options and answer"
    )


def _row_id(row: dict, turns: list[dict]) -> str:
    for key in ("id", "_id", "conversation_id"):
        if isinstance(row.get(key), str | int) and not isinstance(row[key], bool) and str(row[key]):
            return valid_text(str(row[key]), key)
    return content_hash(turns)[:16]


def _turns(row: dict, column: str, role: str, content: str) -> list[dict]:
    turns = _listed(row, column)
    for i, turn in enumerate(turns):
        if not isinstance(turn, dict) or not isinstance(turn.get(role), str) or not isinstance(turn.get(content), str):
            raise BadRow(f"{column}[{i}]", f"not an object with the texts {role} and {content}")
    return [{"role": turn[role], "content": turn[content]} for turn in turns]


def _round(question: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _listed(row: dict, column: str) -> list:
    """The list in a column; a text there is JSON, as lists are in CSV."""
    value = row.get(column)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadRow(column, "a text that is not JSON") from error
    if not isinstance(value, list):
        raise BadRow(column, f"a {type(value).__name__}, not a list of turns")
    return value


def _filled(row: dict, column: str) -> bool:
    """Whether an optional column is there; CSV writes a missing value as an empty text."""
    return row.get(column) not in (None, "")


def _text(row: dict, column: str, where: str = "") -> str:
    if not isinstance(row.get(column), str):
        raise BadRow(where + column, f"a {type(row.get(column)).__name__}, not a text")
    return row[column]
