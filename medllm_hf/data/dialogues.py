"""Rows of any known format → `{"id", "source", "messages"}`; every row is accepted, repaired or rejected."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

from medllm_hf.data import transcripts
from medllm_hf.data.by_content import Shown
from medllm_hf.data.column_hints import no_column, quoted
from medllm_hf.data.columns import MACHINES, Names, is_blank, known, parse_names, value_at
from medllm_hf.data.encodings import check_encoding
from medllm_hf.data.exam_rows import Positions
from medllm_hf.data.files import BadRow, parsed, stem
from medllm_hf.data.first_rows import AUTO, first_fault, shown_columns, unfit
from medllm_hf.data.formats import FORMATS, columns_used, detect, question, turn_list
from medllm_hf.data.mcq import file_positions
from medllm_hf.data.raw_rows import raw_rows
from medllm_hf.data.recognition import recognise
from medllm_hf.data.unread import count, unread
from medllm_hf.errors import UserError, kind_of

# What tables write where they have nothing to say.
# What `trl kto` and HealthTap say of an answer.
_UNWANTED = ("false", "-1", "-1.0")
NO_VALUE = ("na", "n/a", "nan", "null", "<na>")
OnTrailingUser = Literal["cut", "drop", "fail"]
OnBadRow = Literal["drop", "fail"]
# Reasons that are counted apart; foreign text in them may make no two alike.
MOST_REASONS = 1_000
# Between the repairs of one row.
_AND = "; "


@dataclass(frozen=True)
class Policy:
    """What is done with a user turn that nobody answered, and with a row that cannot be used; and what is said of the files.

    trailing_user: "cut" keeps the turns before it (the row counts as repaired), "drop" rejects the row, "fail" stops.
    bad_row: "drop" rejects the row, "fail" stops.
    names: of the columns and roles. encoding: of the text, None where the file says it.
    """

    trailing_user: OnTrailingUser = "cut"
    bad_row: OnBadRow = "drop"
    names: Names = field(default_factory=Names)
    encoding: str | None = None


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


class Rejections:
    """Problems counted by their reason, each with the first as an example."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def add_repairs(self, place: str, field: str, reason: str) -> None:
        """Counts each of the repairs of a row."""
        for repair in reason.split(_AND):
            self.add(place, field, repair)

    def add(self, place: str, field: str, reason: str) -> None:
        """Counts a problem at a place."""
        # What only this row has: numbers, and what a message shows in brackets or of the columns.
        kind = re.sub(r"\d+|\(.{0,1000}\)|among .*", "", f"{field} {reason}")
        if kind not in self.counts and len(self.counts) >= MOST_REASONS:
            kind = ""
        self.counts[kind] += 1
        self.examples.setdefault(kind, f"{place} {field}: {reason}")

    def lines(self) -> list[str]:
        """`COUNT, such as PLACE FIELD: REASON`, the most frequent first."""
        return [f"{count}, such as {self.examples[kind]}" for kind, count in self.counts.most_common()]


def check_format(name: str) -> None:
    """Check that `name` is "auto" or one of FORMATS.

    Raises:
        UserError: it is not.
    """
    if name != AUTO and name not in FORMATS:
        raise UserError(f"format {name!r}", ", ".join([AUTO, *FORMATS]), "choose one of these")


def make_policy(
    format: str, columns: str | None, roles: str | None, encoding: str | None, trailing_user: OnTrailingUser, bad_row: OnBadRow
) -> Policy:
    """The policy of the command line; `format` is checked beside it.

    Raises:
        UserError: an unknown format or encoding, or names that cannot be read.
    """
    check_format(format)
    check_encoding(encoding)
    return Policy(trailing_user, bad_row, parse_names(columns, roles), encoding)


def dialogue_rows(file: Path, format: str, policy: Policy) -> Iterator[tuple[int, object]]:
    """Yields (number, raw row) of `file_rows`, for `examine`; of a file that is something else one `BadRow` that says so.

    It is something else if none of its first rows is of a known format.

    Raises:
        UserError: see `file_rows`.
    """
    first, rows = raw_rows(file, policy.encoding)
    found = transcripts.layout([raw for _, raw in first], policy.names) if format == AUTO else None
    if found and first:
        yield from _joined(file, first, found, policy, chain(first, rows))
        return
    if columns := shown_columns(first, format, policy.names):
        yield from ((number, Shown(raw, columns)) for number, raw in chain(first, rows))
        return
    if fault := first_fault(first, format, policy.names):
        yield first[0][0], BadRow("file", fault)
        return
    yield from chain(first, rows)


def _joined(
    file: Path,
    first: list[tuple[int, object]],
    found: transcripts.Layout,
    policy: Policy,
    rows: Iterable[tuple[int, object]],
) -> Iterator[tuple[int, object]]:
    """Yields the dialogues of a file with a turn in each row, or one `BadRow` that says why they cannot be told apart."""
    reason = transcripts.unknown_speakers([raw for _, raw in first], found, policy.names)
    if reason is None and found.dialogue:
        reason = transcripts.scattered(chain(*raw_rows(file, policy.encoding)), found)
    if reason:
        yield first[0][0], BadRow("file", f"{found}: {reason}")
        return
    yield from transcripts.whole(rows, found, policy.names)


def unreadable(file: Path, format: str, policy: Policy) -> UserError | None:
    """Why nothing can be read from a file, by its first rows, None if something can."""
    try:
        read_as(file, format, policy)
    except UserError as error:
        return error
    return None


def read_as(file: Path, format: str, policy: Policy) -> str:
    """What a file is read as: its kind, and where its first dialogue stands in the row."""
    first, _ = raw_rows(file, policy.encoding)
    kind = str(recognise(file, policy.encoding))
    if (found := transcripts.layout([raw for _, raw in first], policy.names) if format == AUTO else None) and first:
        return f"{kind}, {found}"
    if columns := shown_columns(first, format, policy.names):
        shown = ", ".join(f"{side} in {column}" for side, column in columns.items())
        sure = quoted(",".join(f"{side}={column}" for side, column in columns.items()))
        return f"{kind}, {shown}, by what stands there: look, and say --columns {sure} to be sure"
    for _, raw in first:
        if unfit(raw, format, policy.names) is None:
            row = parsed(raw)
            return f"{kind}, {columns_used(row, format, policy.names)}" if isinstance(row, dict) else kind
    return kind


def examine(
    file: Path, line: int, raw: object, format: str, policy: Policy, left: Counter[str] | None = None
) -> tuple[dict | None, Problem | None]:
    """The dialogue in a raw row of `file_rows` and its problem.

    (row, None) is accepted, (row, Problem) repaired, (None, Problem) rejected. It raises nothing, for worker processes: who
    collects the problems raises the `refusal` of a fatal one. The columns that are not read are counted in `left`.
    """
    positions = partial(file_positions, str(file), policy.encoding)
    if isinstance(raw, Shown):
        policy, raw = replace(policy, names=Names(raw.columns, policy.names.roles)), raw.raw
    try:
        row, repair = dialogue(parsed(raw), format, stem(file), policy, positions, left)
    except BadRow as error:
        return None, Problem(_printable(file), line, error.where, error.reason, error.fatal or policy.bad_row == "fail")
    return row, Problem(_printable(file), line, "turns", repair) if repair else None


def dialogue(
    row: object,
    format: str,
    source: str,
    policy: Policy,
    positions: Positions = lambda: None,
    left: Counter[str] | None = None,
) -> tuple[dict, str | None]:
    """The row as `{"id", "source", "messages"}` and what was repaired in it, None if nothing.

    The id is the row's own, or made from the content; so is the source, or else `source`. A text in a column of that name
    becomes the system turn. Answers of exam questions that are positions of options count from `positions()`. The columns of a
    whole dialogue that hold a text and are not read are counted in `left`.

    Raises:
        BadRow: it cannot be used.
    """
    names = policy.names
    unread_here: set[str] = set()
    notes: list[str] = []
    if isinstance(row, transcripts.Transcript):
        turns, unread_here = row.turns, row.unread
        notes += [transcripts.TWICE] if row.repeated else []
        row = {"id": row.id, "source": row.source}
    elif isinstance(row, list) and row and isinstance(row[0], str | dict | list):
        turns, row = turn_list(row, "row", names), {}
    elif not isinstance(row, dict):
        raise BadRow("row", f"{kind_of(row)}, not an object")
    else:
        kind = detect(row, names) if format == AUTO else FORMATS[format]
        if kind is None:
            raise BadRow("row", no_column(row, names))
        label = row.get("label")
        if label is False or (str(label).lower() in _UNWANTED and kind is FORMATS["pair"]):
            raise BadRow(
                "label",
                f"{str(label).lower()}, that of an answer which people do not want (as `trl kto` has it) or that is none",
            )
        found = question(row, names, positions) if kind is FORMATS["mcq"] else kind.turns(row, names)
        turns = _with_system(row, found, names)
        unread_here = unread(row, kind, names) if left is not None else set()
    notes += [turn["note"] for turn in turns if turn.get("note")]
    turns, joined = join_turns(turns, names)
    turns, repair = check_turns(turns, policy)
    own = row.get("source")
    named = own if isinstance(own, str) and own.strip() else source
    if left is not None:
        count(left, unread_here)
    whole = {"id": _row_id(row, turns), "source": valid_text(named, "source"), "messages": turns}
    return whole, _AND.join(filter(None, [*notes, joined, repair])) or None


def _with_system(row: dict, turns: list[dict], names: Names) -> list[dict]:
    columns = [names.columns["system"]] if "system" in names.columns else list(known(tuple(row))["system"])
    for column in columns:
        text = value_at(row, column)
        if text in (None, ""):
            continue
        if not isinstance(text, str):
            raise BadRow(column, f"{kind_of(text)}, not a text")
        if turns and names.roles.get(turns[0]["role"].casefold()) == "system":
            raise BadRow(column, "a second system turn, beside the one in the dialogue")
        return [{"role": "system", "content": text}, *turns]
    return turns


def join_turns(turns: list[dict], names: Names) -> tuple[list[dict], str | None]:
    """The turns with the roles user, assistant and system, and what was repaired, None if nothing.

    Where people speak (see `columns`), what one says in several turns is one turn, with line breaks. What the assistant says
    before the user says anything is left out: it answers nothing. Who is called system and takes turns with the user is the
    assistant.
    """
    sides = [names.roles.get(turn["role"].casefold(), turn["role"]) for turn in turns]
    answers = "system" if "system" in sides[1:] and "assistant" not in sides else "assistant"
    people = any(turn["role"].casefold() in names.roles and turn["role"].casefold() not in MACHINES for turn in turns)
    found: list[dict] = []
    repairs = {}
    # Rounds begin with an empty question where the assistant speaks first.
    if sides[:1] == ["user"] and "user" in sides[1:] and is_blank(turns[0]["content"]):
        turns, sides = turns[1:], sides[1:]
    for turn, side in zip(turns, sides, strict=True):
        role = "assistant" if side == answers else side
        if people and found and found[-1]["role"] == role:
            parts = [text for text in (found[-1]["content"], turn["content"]) if not is_blank(text)]
            found[-1] = {"role": role, "content": "\n".join(parts)}
            repairs["what one side said in several turns was joined"] = True
        elif role == "assistant" and all(before["role"] == "system" for before in found):
            repairs["what was said before the first question was left out"] = True
        else:
            found.append({"role": role, "content": turn["content"]})
    return found, _AND.join(repairs) or None


def check_turns(turns: list[dict], policy: Policy) -> tuple[list[dict], str | None]:
    """The turns as a whole dialogue, and what was repaired to make it one, None if nothing.

    Repaired are an empty system turn, which is left out, and by `policy` a user turn at the end, which is cut.

    Raises:
        BadRow: an unknown role, two turns of one role in a row, an empty content, no answer, or text that is not UTF-8.
    """
    repairs = []
    if turns and turns[0]["role"] == "system" and is_blank(turns[0]["content"]):
        turns = turns[1:]
        repairs.append("empty system turn was left out")
    start = 1 if turns and turns[0]["role"] == "system" else 0
    for i, turn in enumerate(turns):
        expected = "system" if i < start else ("user", "assistant")[(i - start) % 2]
        if turn["role"] != expected:
            raise BadRow(f"turn {i}", _wrong_role(turn["role"][:20], expected))
        if is_blank(turn["content"]):
            raise BadRow(f"turn {i}", "empty content")
        if turn["content"].strip().lower() in NO_VALUE:
            raise BadRow(f"turn {i}", f"{turn['content'].strip()} in place of a text")
        valid_text(turn["content"], f"turn {i}")
    cut = bool(turns) and turns[-1]["role"] == "user"
    if len(turns) - cut <= start:
        raise BadRow("dialogue", "no answer by the assistant")
    if cut and policy.trailing_user != "cut":
        raise BadRow("last turn", "user turn without an answer", fatal=policy.trailing_user == "fail")
    if cut:
        turns = turns[:-1]
        repairs.append("user turn without an answer was cut from the end")
    return turns, _AND.join(repairs) or None


def _wrong_role(role: str, expected: str) -> str:
    hint = "" if role in ("user", "assistant", "system") else "; --roles says whose it is"
    return f"role {role!r} where {expected} was expected{hint}"


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
        # So bytes are kept that are not in the encoding of a table.
        hint = "; --encoding may name another" if re.search("[\udc80-\udcff]", text) else ""
        raise BadRow(where, f"text that is not valid Unicode{hint}") from error
    return text


def _printable(file: Path) -> str:
    """The path as text; what is not UTF-8 in it is replaced."""
    return os.fsencode(file).decode("utf-8", "replace")


def _row_id(row: dict, turns: list[dict]) -> str:
    for key in ("id", "_id", "conversation_id"):
        if isinstance(row.get(key), str | int) and not isinstance(row[key], bool) and str(row[key]):
            return valid_text(str(row[key]), key)
    return content_hash(turns)[:16]
