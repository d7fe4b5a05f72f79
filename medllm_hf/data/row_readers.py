"""A stream or file of one kind → raw rows: never held in memory whole, and what cannot be read is a row that says so."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from medllm_hf.errors import UserError, first_line

if TYPE_CHECKING:  # JSON and CSV need no pyarrow
    from pyarrow import RecordBatch

# Longer rows are refused: a quote or a bracket that is never closed would otherwise take the file into memory.
LARGEST_ROW = 64 * 2**20
CHUNK = 2**20
ByteStream = io.BufferedReader | gzip.GzipFile
BROKEN = (OSError, EOFError, zlib.error)


class BadRow(ValueError):
    """A row that cannot be used: the field and the reason, printable and on one line. Survives pickling.

    `fatal` is true when the policy of the reader makes this row a reason to stop.
    """

    def __init__(self, where: str, reason: str, fatal: bool = False):
        reason = reason[:300]
        if not reason.isprintable():
            reason = "".join(char if char.isprintable() else repr(char)[1:-1] for char in reason)
        super().__init__(where, reason, fatal)
        self.where, self.reason, self.fatal = where, reason, fatal


def line_rows(stream: ByteStream) -> Iterator[tuple[int, object]]:
    """Yields (line, bytes) of JSON lines; blank ones are no rows."""
    number = 0
    while line := stream.readline(LARGEST_ROW + 1):
        number += 1
        if len(line) > LARGEST_ROW:
            while line and not line.endswith(b"\n"):
                line = stream.readline(LARGEST_ROW)
            yield number, BadRow("row", f"longer than {LARGEST_ROW:,} bytes")
        elif not line.isspace():
            yield number, line


def array_rows(stream: ByteStream) -> Iterator[tuple[int, object]]:
    """Yields (position, bytes) of the entries of a JSON array."""
    buffer = _read(stream, CHUNK)
    start, number, last = buffer.index(b"[") + 1, 1, b""
    while last != b"]":
        end = _entry_end(buffer, start)
        if end is None:
            more = _read(stream, max(CHUNK, len(buffer) - start))
            if not more or len(buffer) - start > LARGEST_ROW:
                reason = f"a row of more than {LARGEST_ROW:,} bytes" if more else "the file ends"
                yield number, BadRow("file", f"{reason}, or a quote or bracket is never closed: the rest is not read")
                return
            buffer, start = buffer[start:] + more, 0
            continue
        entry, last = buffer[start:end], buffer[end : end + 1]
        if entry.strip():
            yield number, entry
        elif (number, last) != (1, b"]"):
            yield number, BadRow("row", "nothing before a comma or the end of the array")
        start, number = end + 1, number + 1
    if (buffer[start:] + _read(stream, CHUNK)).strip():
        yield number, BadRow("file", "text after the end of the array: the rest is not read")


def _read(stream: ByteStream, size: int) -> bytes:
    """Up to `size` bytes. Where the stream breaks, first what came before; the next call raises."""
    parts: list[bytes] = []
    left = size
    while left:
        try:
            part = stream.read1(left)
        except BROKEN:
            if parts:
                break
            raise
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_TO_COMMA_OR_BRACKET = re.compile(rb'(?:[^"\[\]{},]++|' + _TEXT + rb")*+[\[\]{},]", re.DOTALL)
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + _TEXT + rb")*+[\[\]{}]", re.DOTALL)


def _entry_end(buffer: bytes, at: int) -> int | None:
    """Where the comma or bracket stands that ends the entry of an array which begins at `at`; None if it is not in sight.

    Only texts and brackets are told apart, so that a broken entry is passed over and the next one is found.
    """
    depth = 0
    while match := (_TO_BRACKET if depth else _TO_COMMA_OR_BRACKET).match(buffer, at):
        at = match.end()
        mark = buffer[at - 1 : at]
        if mark in b"[{":
            depth += 1
        elif depth:
            depth -= 1
        elif mark in b",]":
            return at - 1
    return None


def csv_rows(stream: ByteStream, file: Path) -> Iterator[tuple[int, object]]:
    """Yields (line where it begins, dict) of CSV whose first line names the columns.

    Raises:
        UserError: it does not.
    """
    # The module's own limit of 128 KiB is shorter than some dialogues.
    csv.field_size_limit(LARGEST_ROW)
    # Bytes that are not UTF-8 become lone surrogates, by which the row is rejected and not the file.
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if not header:
                raise _no_header(file) from error
            yield line, BadRow("row", f"not CSV ({error})")
            continue
        if not header:
            if len(set(cells)) < len(cells) or not all(name.isprintable() for name in cells):
                raise _no_header(file)
            header = cells
        elif len(cells) == len(header):
            yield line, dict(zip(header, cells, strict=True))
        elif cells:
            yield line, BadRow("row", f"{len(cells)} cells under {len(header)} columns")


def _no_header(file: Path) -> UserError:
    return UserError(f"{file} without column names in its first line", "CSV with a header", "add or mend it")


def parquet_rows(file: Path) -> Iterator[tuple[int, object]]:
    """Yields (position, dict) of a Parquet file, without the columns that hold no text, number or list.

    Raises:
        OSError: the file is damaged from here on, or not Parquet.
    """
    import pyarrow
    from pyarrow import parquet, types

    # The others (times, images) hold no turn, id or source, and not every time is one of Python's.
    useful = (types.is_nested, types.is_string, types.is_large_string, types.is_integer, types.is_dictionary, types.is_null)
    number = total = 0
    try:
        # So set, pages are read one by one; by default whole row groups, which may be the whole file.
        with parquet.ParquetFile(file, buffer_size=CHUNK, pre_buffer=False) as source:
            total = source.metadata.num_rows
            columns = [column.name for column in source.schema_arrow if any(test(column.type) for test in useful)]
            for group in range(source.num_row_groups):
                for batch in source.iter_batches(batch_size=1000, row_groups=[group], columns=columns):
                    for raw in _python_rows(batch):
                        number += 1
                        yield number, raw
    except (pyarrow.ArrowException, OSError, UnicodeError) as error:  # the latter of names that are not UTF-8
        raise OSError(f"{first_line(error)}; {total - number} of {total} rows") from error


def _python_rows(batch: "RecordBatch") -> list[object]:
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError):
        # Text that is not UTF-8, say; only its row is lost.
        return [row for i in range(len(batch)) for row in _python_row(batch.slice(i, 1))]


def _python_row(one: "RecordBatch") -> list[object]:
    try:
        return one.to_pylist()
    except (ValueError, OverflowError) as error:
        return [BadRow("row", f"not readable ({first_line(error)})")]
