"""The raw rows of a file, first ones apart; tables by columns and rows in rows are rows, lists of texts named dialogues."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

from medllm_hf.data.columnar import has_instances, rows_of
from medllm_hf.data.files import file_rows, parsed
from medllm_hf.data.nested_rows import inner_rows
from medllm_hf.data.recognition import recognise
from medllm_hf.data.row_readers import BadRow

# By so much of a file it is told whether it holds dialogues.
_FIRST_ROWS, _FIRST_BYTES = 200, 2**20
# Of these one must hold rows if any does.
_FEW = 5


def raw_rows(file: Path, encoding: str | None) -> tuple[list[tuple[int, object]], Iterator[tuple[int, object]]]:
    """The first rows of a file, by which it is known, and an iterator of the others; what holds rows is taken apart.

    Raises:
        UserError: see `file_rows`.
    """
    rows = file_rows(file, encoding)
    first: list[tuple[int, object]] = []
    size = 0
    for number, raw in islice(rows, _FIRST_ROWS):
        first.append((number, raw))
        size += len(raw) if isinstance(raw, bytes) else 1000
        if size > _FIRST_BYTES:
            break
    following = list(islice(rows, 1))
    # Lines are rows by their name; what is the only thing in a file, or one of several tables by names, may be a table.
    only = len(first) == 1 and not following and not file.name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson"))
    tables = only or recognise(file, encoding).form == "named" or any(has_instances(_value(raw)) for _, raw in first[:1])
    take_apart = _table if tables and any(_table(raw) for _, raw in first) else None
    if take_apart is None and any(inner_rows(_value(raw)) for _, raw in first[:_FEW]):
        take_apart = _inner
    if take_apart is None:
        rows = chain(following, rows)
        if not _are_talks(first):
            return first, rows
        named = (
            (number, {"dialogue": found} if isinstance(found := _list(raw), list) else raw)
            for number, raw in chain(first, rows)
        )
        return list(islice(named, len(first))), named
    split = enumerate((row for _, raw in chain(first, following, rows) for row in (take_apart(raw) or [raw])), start=1)
    return list(islice(split, _FIRST_ROWS)), split


def _are_talks(first: list[tuple[int, object]]) -> bool:
    """Whether the rows are lists of texts of several lengths: dialogues without roles, and no table without names."""
    lists = [_list(raw) for _, raw in first]
    lengths = {len(found) for found in lists if found}
    return len(lengths) > 1 and all(found and all(isinstance(text, str) for text in found) for found in lists)


def _list(raw: object) -> list | None:
    found = _value(raw)
    return found if isinstance(found, list) else None


def _table(raw: object) -> list[object] | None:
    return rows_of(_value(raw))


def _inner(raw: object) -> list[object] | None:
    return inner_rows(_value(raw))


def _value(raw: object) -> object:
    with suppress(BadRow):
        return parsed(raw)
    return None
