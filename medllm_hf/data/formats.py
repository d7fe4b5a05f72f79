"""A row of any known format → its turns, with the names of their roles as the row has them."""

import ast
import json
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeGuard

from medllm_hf.data.column_hints import no_column
from medllm_hf.data.columns import CALLS, TOOLS, Names, known, parts_at, value_at
from medllm_hf.data.exam_options import options_within
from medllm_hf.data.exam_rows import Positions, is_exam_row
from medllm_hf.data.marked_text import MAY_BEGIN, marked_turn, split, without_template
from medllm_hf.data.mcq import item_from_row
from medllm_hf.data.pairs import has_value, is_pair, pair_columns, passage_text
from medllm_hf.data.pictures import needs_picture
from medllm_hf.data.row_readers import BadRow
from medllm_hf.errors import kind_of

ROUND = ("user", "assistant")
BY_TURNS = "texts without roles were taken as user and assistant by turns"
# Python's own parser takes a hundred times the memory of its text.
_LONGEST_NESTED = 2**20
_TOOLS = "the call of a tool or its result, which a dialogue cannot hold; `medllm sft` takes `messages` with them as they are"


@dataclass(frozen=True)
class Format:
    """One format of rows: `fits` tells whether a row has it, `turns` takes the turns out or raises BadRow.

    A turn is `{"role", "content"}`, of which the content may be a list yet; `note` beside them tells what was repaired.
    """

    fits: Callable[[dict, Names], bool]
    turns: Callable[[dict, Names], list[dict]]


def named_columns(row: dict, names: Names) -> list[dict]:
    """The turns in the columns of `--columns`."""
    columns = names.columns
    if not _has_named_columns(row, names):
        raise BadRow("row", no_column(row, names))
    if "messages" in columns:
        return turn_list(value_at(row, columns["messages"]), columns["messages"], names)
    asked = _asked(_joined(row, columns["user"]), columns["user"], names)
    return asked + _answered(_joined(row, columns["assistant"]), columns["assistant"], names)


def _joined(row: dict, path: str) -> object:
    """What stands at a path, or the texts of several with line breaks between them."""
    parts = parts_at(row, path)
    return parts[0][1] if len(parts) == 1 else _as_one([_wording(value, part)[0] for part, value in parts])


def _as_one(texts: list[str]) -> str:
    """Texts with line breaks between them; the longest where it holds the others."""
    texts = [text for text in texts if text.strip()]
    # A prompt may be the instruction with what is put around it.
    longest = max(texts, key=len, default="")
    return longest if all(text in longest for text in texts) else "\n".join(texts)


def turns_column(row: dict, names: Names) -> list[dict]:
    """The turns in the column that holds all of them, as TRL, the OpenAI API, ShareGPT, Firefly, HuatuoGPT and others do."""
    column = turns_in(row, names) or next((name for name in known(tuple(row))["turns"] if has_value(row, name)), None)
    if column is None:
        raise BadRow("row", no_column(row, names))
    turns = _alternating(row[column], column, names) or turn_list(row[column], column, names)
    if turns and names.roles.get(turns[-1]["role"].casefold()) == "user":
        # Of two answers beside the dialogue, the one that people prefer.
        for preferred in known(tuple(row))["preferred"]:
            turns += _answered(row[preferred], preferred, names)
    return turns


def pair(row: dict, names: Names) -> list[dict]:
    """The turns of a question and its answer, which may follow a `history`, as in Alpaca, ChatGLM and tables of questions.

    An `instruction` and its `input` are joined by a line break. A question may hold the whole dialogue before the answer, or
    be given in several wordings, of which the first is taken; one that says nothing is replaced by the title. As many
    answers as questions are rounds.
    """
    if not is_pair(row, names):
        raise BadRow("row", no_column(row, names))
    asks, answer = pair_columns(row)
    turns = []
    for column in known(tuple(row))["history"]:
        turns += turn_list(row[column], column, names) if has_value(row, column) else []
    value = row[asks[0]]
    if len(asks) > 1:
        parts = [name for name in asks if has_value(row, name)]
        value = _as_one([passage_text(row[name], name) or _wording(row[name], name)[0] for name in parts])
    if (last := row[asks[-1]]) and isinstance(last, str) and options_within(last) and needs_picture(last):
        raise BadRow("question", "an exam question that points at a picture")
    if _are_texts(value) and _are_texts(row[answer]) and len(value) == len(row[answer]):
        rounds = [turn for texts in zip(value, row[answer], strict=True) for turn in _round(*texts)]
        return [*turns, {**rounds[0], "note": "as many answers as questions were taken as rounds"}, *rounds[1:]]
    return turns + _without_repeats(_asked(value, asks[0], names), _answered(row[answer], answer, names), names)


def _alternating(value: object, where: str, names: Names) -> list[dict] | None:
    """Texts that nobody is named in, as user and assistant by turns, None if it is none of these.

    So UltraChat has them. A text alone, or a name before them, leaves open who speaks; JSON is for who reads it.
    """
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        found = [known(tuple(entry)) for entry in value]
        if any(columns["role"] or not columns["content"] for columns in found):
            return None
        value = [entry[columns["content"][0]] for entry, columns in zip(value, found, strict=True)]
    if known((where,))["user"] or not _are_texts(value) or any(text.lstrip()[:1] in ("{", "[") for text in value):
        return None
    if any(marked_turn(text, names.roles) for text in value) or all(map(MAY_BEGIN.match, value)):
        return None
    turns = [{"role": ROUND[i % 2], "content": text} for i, text in enumerate(value)]
    return [{**turns[0], "note": BY_TURNS}, *turns[1:]]


def _without_repeats(asked: list[dict], answered: list[dict], names: Names) -> list[dict]:
    """The question and its answer; preference data give `chosen` as the whole dialogue, which repeats the prompt."""

    def said(turns: list[dict]) -> list[tuple[str | None, object]]:
        return [(names.roles.get(turn["role"].casefold()), turn["content"]) for turn in turns]

    return answered if said(answered[: len(asked)]) == said(asked) else asked + answered


def question(row: dict, names: Names, positions: Positions = lambda: None) -> list[dict]:
    """An exam question as one round: the stem without its options, answered by the text of the right options."""
    try:
        item = item_from_row(row, positions)
    except ValueError as error:
        raise BadRow("question", str(error)) from error
    return _round(item.question, item.answer_prefix + item.option_text(item.answer))


def _has_named_columns(row: dict, names: Names) -> bool:
    return all(
        parts_at(row, path) if key in ROUND else value_at(row, path) is not None
        for key, path in names.columns.items()
        if key != "system"
    )


def _is_question(row: dict, names: Names) -> bool:
    return is_exam_row(row)


def _has_turns(row: dict, names: Names) -> bool:
    return turns_in(row, names) is not None


def _may_have_turns(row: dict, names: Names) -> bool:
    return any(has_value(row, column) for column in known(tuple(row))["turns"][:3] if column != "text")


def turns_in(row: dict, names: Names) -> str | None:
    """The column that has turns in it, by its name and its value."""
    columns = known(tuple(row))
    # Preferences alone are whole dialogues.
    for column in (*columns["turns"], *(columns["preferred"] if not columns["user"] else ())):
        value = row[column]
        if isinstance(value, dict | list) and value:
            return column
        if isinstance(value, str) and (re.match(r"\s*\[\s*[\"'\[{]", value) or split(value, names.roles, question=False)):
            return column
    return None


# In the order of detection: the first that fits is taken.
_KINDS = {
    "turns": Format(_has_turns, turns_column),
    "mcq": Format(_is_question, question),
    "pair": Format(is_pair, pair),
    # What is named as turns and holds none is told so.
    "no turns": Format(_may_have_turns, turns_column),
}
# What `--format` takes, beside auto: the names under which they are known.
FORMATS = {
    **dict.fromkeys(("messages", "disc", "sharegpt", "firefly", "huatuo"), _KINDS["turns"]),
    **dict.fromkeys(("alpaca", "pair"), _KINDS["pair"]),
    "mcq": _KINDS["mcq"],
}


def is_dialogue(row: dict, names: Names) -> bool:
    """Whether a row holds a dialogue, or a question and its answer, that is looked for by itself."""
    return detect(row, names) not in (None, _KINDS["no turns"])


def detect(row: dict, names: Names) -> Format | None:
    """The format of a row, None if it has none that is known."""
    if names.columns:
        return Format(_has_named_columns, named_columns)
    return next((kind for kind in _KINDS.values() if kind.fits(row, names)), None)


def columns_used(row: dict, format: str, names: Names) -> str:
    """Where the dialogue stands in a row of a known format, for a report."""
    kind = detect(row, names) if format == "auto" else FORMATS[format]
    if names.columns:
        return ", ".join(f"{key} in {path}" for key, path in names.columns.items())
    if kind is _KINDS["mcq"]:
        return "exam questions"
    columns = known(tuple(row))
    if kind is _KINDS["pair"]:
        asks, answer = pair_columns(row)
        return f"user in {' and '.join(asks)}, assistant in {answer}"
    return f"turns in {turns_in(row, names) or next(iter(columns['turns']), 'none')}"


def turn_list(value: object, where: str, names: Names) -> list[dict]:
    """The turns in a list of turns, of rounds, or of texts such as `医生：…`; also as JSON, or as one text with such marks.

    Raises:
        BadRow: none of these, or a call of a tool.
    """
    if isinstance(value, str):
        marked = split(value, names.roles, question=False)
        if marked:
            return marked
        value = _nested(value, where)
    if isinstance(value, dict) and (inside := [name for name in known(tuple(value))["turns"] if isinstance(value[name], list)]):
        return turn_list(value[inside[0]], f"{where}.{inside[0]}", names)
    if isinstance(value, dict):
        # So the `datasets` library keeps a list of objects.
        sides = list(value.values())
        if not sides or not all(isinstance(side, list) and len(side) == len(sides[0]) for side in sides):
            raise BadRow(where, "a dict, not a list of turns")
        value = [dict(zip(value, entry, strict=True)) for entry in zip(*sides, strict=True)]
    if not isinstance(value, list):
        raise BadRow(where, f"{kind_of(value)}, not a list of turns")
    return [turn for i, entry in enumerate(value) for turn in _entry(entry, f"{where}[{i}]", names)]


def _nested(text: str, where: str) -> object:
    """The value that a text holds as JSON, or as Python's tables write their lists.

    Raises:
        BadRow: it is neither.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        with suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes, which Python says on the screen
            return ast.literal_eval(text[:_LONGEST_NESTED].strip())
        raise BadRow(where, "a text that is not JSON, nor turns such as 医生：…") from error


def _entry(entry: object, where: str, names: Names) -> list[dict]:
    """The one or two turns in an entry of a list."""
    if isinstance(entry, dict):
        columns = known(tuple(entry))
        if columns["role"] and columns["content"]:
            role, content = entry[columns["role"][0]], entry[columns["content"][0]]
            if any(entry.get(call) for call in CALLS) or (isinstance(role, str) and role.casefold() in TOOLS):
                raise BadRow("turns", _TOOLS)
            if isinstance(role, str):
                return [{"role": role, "content": _text(content, where)}]
        elif columns["user"] and columns["assistant"]:
            sides = ("system", "user", "assistant") if columns["system"] and has_value(entry, columns["system"][0]) else ROUND
            return [{"role": side, "content": _text(entry[columns[side][0]], f"{where}.{columns[side][0]}")} for side in sides]
        elif len(entry) == 1 and next(iter(entry)).casefold() in names.roles:
            return [{"role": role, "content": _text(content, where)} for role, content in entry.items()]
        elif sum(name.casefold() in names.roles for name in entry) == 2:
            pair = [name for name in entry if name.casefold() in names.roles]
            pair.sort(key=lambda name: names.roles[name.casefold()] != "user")
            return [{"role": name, "content": _text(entry[name], f"{where}.{name}")} for name in pair]
        raise BadRow(
            where, f"not an object with the texts role and content, but with {', '.join(list(entry)[:8]) or 'nothing'}"
        )
    if isinstance(entry, list) and len(entry) == 2 and all(isinstance(text, str) for text in entry):
        role, content = entry
        return [{"role": role, "content": content}] if role.strip().casefold() in names.roles else _round(*entry)
    if isinstance(entry, str) and (turn := marked_turn(entry, names.roles)):
        return [turn]
    if isinstance(entry, str):
        hint = 'texts without roles go as {"question": …, "answer": …}'
        raise BadRow(where, f"not a text that begins with 问：, 答： or another role; {hint}")
    raise BadRow(where, "neither a turn nor a pair of texts")


def _asked(value: object, where: str, names: Names) -> list[dict]:
    """The turns up to the question."""
    if isinstance(value, dict) and known(tuple(value))["turns"]:
        # So OpenAI has preferences: {"input": {"messages": […]}}
        value = value[known(tuple(value))["turns"][0]]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return turn_list(value, where, names)
    text, note = _wording(value, where)
    turns = split(text, names.roles, question=True)
    if not turns:
        return [{"role": "user", "content": text, "note": note}]
    if names.roles[turns[-1]["role"].casefold()] != "user":
        raise BadRow(where, "a dialogue in one text that does not end with a question")
    return turns


def _answered(value: object, where: str, names: Names) -> list[dict]:
    if isinstance(value, dict) and known(tuple(value))["role"]:
        return _entry(value, where, names)
    if isinstance(value, list) and value and isinstance(value[0], dict) and known(tuple(value[0]))["role"]:
        return turn_list(value, where, names)
    text, note = _wording(value, where)
    return [{"role": "assistant", "content": without_template(text), "note": note}]


def _wording(value: object, where: str) -> tuple[str, str | None]:
    """The first of the wordings in nested lists of texts, or of objects with a text, and a note if there are several."""
    note = None
    while isinstance(value, list) and value and isinstance(value[0], str | list | dict):
        if isinstance(value[0], dict) and "type" in value[0]:
            break  # the parts of one text
        note = note or ("the first of several wordings was taken" if len(value) > 1 else None)
        value = value[0]
    if isinstance(value, dict):
        columns = known(tuple(value))
        column = next(iter(columns["assistant"] + columns["content"]), None)
        value = value[column] if column else value
    return _text(value, where), note


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(text, str) for text in value)


def _text(value: object, where: str) -> str:
    """The text in a content, which may be a list of texts, or of the text parts of the OpenAI API."""
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        texts = [part.get("text", part.get("value")) for part in value]
        kinds = {part.get("type") for part in value if isinstance(part.get("type"), str)} - {"text"}
        if kinds or not all(isinstance(text, str) for text in texts):
            raise BadRow(where, f"content with a part that is not a text ({', '.join(sorted(kinds)) or 'no text'})")
        return "\n".join(texts)
    if not isinstance(value, str):
        raise BadRow(where, f"{kind_of(value)}, not a text")
    return value


def _round(asked: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
