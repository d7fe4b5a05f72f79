"""Which columns of a row hold something and are not read: what is left out is said."""

from collections import Counter
from collections.abc import Iterable

from medllm_hf.data.columns import Names, is_prose, known, parts_at
from medllm_hf.data.exam_rows import exam_columns
from medllm_hf.data.formats import FORMATS, Format, turns_in
from medllm_hf.data.pairs import pair_columns

# What names or counts a row and says nothing of its dialogue, as `known` knows it.
_BOOKKEEPING = ("dialogue", "place")
_OWN = ("id", "_id", "source")
# Turns in which there is nothing else, most of all.
_PLAIN = ({"role", "content"}, {"from", "value"})
# Names that are counted apart; foreign text may make no two alike.
MOST_NAMES = 1_000


def unread(row: dict, kind: Format | None, names: Names) -> set[str]:
    """The columns, and the fields of turns as COLUMN.FIELD, that hold a text or more and make no part of the dialogue.

    A `kind` of None is that of `--columns`.
    """
    if kind is FORMATS["mcq"]:
        return unread_among(row, exam_columns(row))
    columns = known(tuple(row))
    if names.columns:
        paths = [part for path in names.columns.values() for part, _ in parts_at(row, path)]
        return unread_among(row, {path.partition(".")[0] for path in paths} | set(paths))
    if kind is FORMATS["pair"]:
        asks, answer = pair_columns(row)
        return unread_among(row, {*asks, answer, *columns["history"], *columns["system"]})
    column = turns_in(row, names)
    turns = row.get(column) if column else None
    fields = (
        {
            f"{column}.{field}"
            for turn in turns
            if isinstance(turn, dict) and turn.keys() not in _PLAIN
            for field in _unread_fields(turn)
        }
        if isinstance(turns, list)
        else set()
    )
    # What is preferred is read behind a question alone.
    last = turns[-1] if isinstance(turns, list) and turns else None
    asked = isinstance(last, dict) and any(
        names.roles.get(str(last[name]).casefold()) == "user" for name in known(tuple(last))["role"]
    )
    return unread_among(row, {column, *columns["system"], *(columns["preferred"] if asked else ())}) | fields


def unread_among(row: dict, read: Iterable[str | None]) -> set[str]:
    """The columns of a row that hold a text or more, without those that are `read` and what names the row."""
    columns = known(tuple(row))
    apart = {*read, *_OWN, *(name for kind in _BOOKKEEPING for name in columns[kind] if not isinstance(row[name], list | dict))}
    return {name for name, value in row.items() if name not in apart and _says(value)}


def count(counts: Counter[str], found: Iterable[str]) -> None:
    """Counts a row's unread columns."""
    counts.update(name for name in sorted(found) if name in counts or len(counts) < MOST_NAMES)


def unread_lines(counts: Counter[str], shown: int) -> list[str]:
    """One line with the columns and in how many rows each was left unread, none where all was read."""
    if not counts:
        return []
    most = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:shown]
    names = [f"{name if name.isprintable() else repr(name)} ({number})" for name, number in most]
    more = f" and {len(counts) - shown} more" if len(counts) > shown else ""
    return [f"columns with text that were not read (in so many rows): {', '.join(names)}{more}"]


def _unread_fields(turn: dict) -> set[str]:
    columns = known(tuple(turn))
    read = {name for kind in ("role", "content", "system", "user", "assistant", "place") for name in columns[kind]}
    return {name for name, value in turn.items() if name not in read and name != "id" and _says(value)}


def _says(value: object) -> bool:
    return bool(value) and (is_prose(value) if isinstance(value, str) else isinstance(value, list | dict))
