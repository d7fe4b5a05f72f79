"""A stream or file of one kind → raw rows: never held in memory whole, and what cannot be read is a row that says so."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from medllm_hf.errors import UserError, first_line

if TYPE_CHECKING:  # JSON and CSV need no pyarrow
    from pyarrow import RecordBatch

# Longer rows are refused: a quote or a bracket that is never closed would otherwise take the file into memory.
LARGEST_ROW = 64 * 2**20
CHUNK = 2**20
# Foreign text may be in it; what to do stands at its end.
LONGEST_REASON = 1_000
ByteStream = io.BufferedReader | gzip.GzipFile
BROKEN = (OSError, EOFError, zlib.error)


class BadRow(ValueError):
    """A row that cannot be used: the field and the reason, printable and on one line. Survives pickling.

    `fatal` is true when the policy of the reader makes this row a reason to stop.
    """

    def __init__(self, where: str, reason: str, fatal: bool = False):
        reason = reason[:LONGEST_REASON]
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
    text = _Text(stream)
    text.next_char()
    text.at += 1
    number, whole = yield from _entries(text, 1)
    if whole and text.next_char():
        yield number, BadRow("file", "text after the end of the array: the rest is not read")


def member_rows(stream: ByteStream, lists: bool) -> Iterator[tuple[int, object]]:
    """Yields (position, bytes) of the rows in a JSON object: the entries of its lists, or else its members."""
    text = _Text(stream)
    text.next_char()
    text.at += 1
    number = 1
    while True:
        name = text.entry(b":}")
        if name is None or text.mark == b"}":
            break
        begin = text.next_char()
        if lists and begin == b"[":
            text.at += 1
            # A list of texts beside those of rows, such as tags, is read past.
            if text.next_char() in (b"{", b"[", b"]"):
                number, whole = yield from _entries(text, number)
            else:
                whole = text.entry(b"]", commas=False) is not None
                if not whole:
                    yield number, _never_closed(text)
            if not whole:
                return
        member = text.entry(b",}")
        if member is None:
            yield number, _never_closed(text)
            return
        if not lists and begin and begin in b"{[":
            yield number, member
            number += 1
        if text.mark == b"}":
            return


def object_rows(stream: ByteStream) -> Iterator[tuple[int, object]]:
    """Yields (position, bytes) of JSON objects that stand one after the other, each on as many lines as it likes."""
    text, number = _Text(stream), 1
    while begin := text.next_char():
        if begin == b",":
            text.at += 1
            continue
        if begin != b"{":
            yield number, BadRow("file", "text between objects: the rest is not read")
            return
        text.at += 1
        inside = text.entry(b"}", commas=False)
        if inside is None:
            yield number, _never_closed(text)
            return
        yield number, b"{" + inside + b"}"
        number += 1


def whole_row(stream: ByteStream) -> Iterator[tuple[int, object]]:
    """Yields (1, bytes) of a file that is one row."""
    data = _read(stream, LARGEST_ROW + 1)
    yield 1, data if len(data) <= LARGEST_ROW else BadRow("row", f"longer than {LARGEST_ROW:,} bytes")


class _Text:
    """A place in a stream of JSON. `mark` is the sign that ended the last entry."""

    def __init__(self, stream: ByteStream):
        self.stream, self.buffer, self.at, self.mark, self.ended = stream, b"", 0, b"", False

    def more(self) -> bool:
        """Reads on, and forgets what lies before the place."""
        more = _read(self.stream, max(CHUNK, len(self.buffer) - self.at))
        self.buffer, self.at = self.buffer[self.at :] + more, 0
        self.ended = not more
        return bool(more)

    def next_char(self) -> bytes:
        """The next sign that is not white space, which stays; nothing at the end."""
        while True:
            match = _SPACE.match(self.buffer, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.buffer):
                return self.buffer[self.at : self.at + 1]
            if not self.more():
                return b""

    def entry(self, ends: bytes, commas: bool = True) -> bytes | None:
        """What stands before the next of the signs `ends` outside of brackets and texts, None if it is not found."""
        while (end := entry_end(self.buffer, self.at, ends, commas)) is None:
            if len(self.buffer) - self.at > LARGEST_ROW or not self.more():
                return None
        found, self.mark = self.buffer[self.at : end], self.buffer[end : end + 1]
        self.at = end + 1
        return found

    def failure(self) -> str:
        return "the file ends" if self.ended else f"a row of more than {LARGEST_ROW:,} bytes"


def _never_closed(text: _Text) -> BadRow:
    return BadRow("file", f"{text.failure()}, or a quote or bracket is never closed: the rest is not read")


def _entries(text: _Text, number: int) -> Generator[tuple[int, object], None, tuple[int, bool]]:
    """Yields the entries of the array in which `text` is, from `number` on; returns the next number and whether it ended."""
    first = True
    while True:
        entry = text.entry(b",]")
        if entry is None:
            yield number, _never_closed(text)
            return number, False
        if entry.strip():
            yield number, entry
        elif not (first and text.mark == b"]"):
            yield number, BadRow("row", "nothing before a comma or the end of the array")
        else:
            return number, True
        number, first = number + 1, False
        if text.mark == b"]":
            return number, True


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


_SPACE = re.compile(rb"\s*+")
_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + _TEXT + rb")*+[\[\]{}]", re.DOTALL)
_TO_SIGN = re.compile(rb'(?:[^"\[\]{},:]++|' + _TEXT + rb")*+[\[\]{},:]", re.DOTALL)


def entry_end(buffer: bytes, at: int, ends: bytes, commas: bool = True) -> int | None:
    """Where the first of the signs `ends` stands that is outside of brackets and texts; None if it is not in sight.

    Only texts and brackets are told apart, so that a broken entry is passed over and the next one is found. Without `commas`
    no sign but a bracket is looked for, which is faster.
    """
    depth = 0
    while match := (_TO_SIGN if commas and not depth else _TO_BRACKET).match(buffer, at):
        at = match.end()
        mark = buffer[at - 1 : at]
        if not depth and mark in ends:
            return at - 1
        if mark in b"[{":
            depth += 1
        elif depth and mark in b"]}":
            depth -= 1
    return None


def csv_rows(stream: ByteStream, file: Path, delimiter: str, quoted: bool) -> Iterator[tuple[int, object]]:
    """Yields (line where it begins, dict) of CSV whose first line, or the one below its title, names the columns.

    Raises:
        UserError: it does not, or names two alike.
    """
    # The module's own limit of 128 KiB is shorter than some dialogues.
    csv.field_size_limit(LARGEST_ROW)
    # Bytes that are not UTF-8 become lone surrogates, by which the row is rejected and not the file.
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    lines = _Lines(text)
    reader = csv.reader(lines, table_dialect(delimiter, quoted), strict=True)
    header: list[str] = []
    title: list[str] = []
    while True:
        line = reader.line_num + 1
        lines.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if not header:
                raise _no_header(file, _broken(error, lines.taken, line, delimiter)) from error
            yield line, BadRow("row", _broken(error, lines.taken, line, delimiter))
            continue
        if not header:
            filled = sum(bool(cell.strip()) for cell in cells)
            if not filled or (not title and _may_be_title(cells)):
                title = title or (cells if filled else [])
                continue
            header = cells if filled > 1 or not title else title
            if not all(name.isprintable() for name in header):
                raise _no_header(file)
            check_names(header, file)
            if header is cells:
                continue
        if len(cells) == len(header):
            yield line, dict(zip(header, cells, strict=True))
        elif cells:
            yield line, BadRow("row", f"{len(cells)} cells under {len(header)} columns")


def _may_be_title(cells: list[str]) -> bool:
    """Whether a first row may stand above the header: the first cell of several, such as a title or `sep=;`, or a comment."""
    return bool(cells[0].strip()) and not any(cells[1:]) and (len(cells) > 1 or cells[0].startswith("#"))


class _Lines:
    """The lines of a text; `taken` are those since it was last cleared."""

    def __init__(self, text: io.TextIOWrapper):
        self.text = text
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        for line in self.text:
            self.taken.append(line)
            yield line


def _broken(error: csv.Error, lines: list[str], first: int, delimiter: str) -> str:
    """What is wrong with the lines of a row of CSV, from the line `first` on: where a quote opens that takes several."""
    never = "unexpected end" in str(error)
    if len(lines) < 2 and not never:
        return f"not CSV ({error})"
    text, at = "".join(lines), 0
    space = rf"[^\S\r\n{delimiter}]*+"
    cell = re.compile(rf'{space}(?:"(?:[^"]++|"")*+"|[^"{delimiter}\r\n][^{delimiter}\r\n]*+)?(?:[{delimiter}]|\r\n?|\n)')
    while match := cell.match(text, at):
        at = match.end()
    opened, last = first + text.count("\n", 0, at), first + len(lines) - 1
    until = "is never closed" if never else f"is not closed before line {last}"
    lost = f"the {len(lines)} lines {first} to {last} are not read" if len(lines) > 1 else "the line is not read"
    return f"a quote that opens on line {opened} {until}: {lost}; close it, or write it twice"


def table_dialect(separator: str, quoted: bool) -> type[csv.Dialect]:
    """The dialect of a table; without quotes they are signs as others are."""

    class Table(csv.excel):
        delimiter = separator
        quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        # By hand `ask, "answer"` is written; the space is no part of the cell, and the quotes are quotes.
        skipinitialspace = quoted

    return Table


def _no_header(file: Path, why: str = "") -> UserError:
    found = f"{file} without column names in its first line" + (f" ({why})" if why else "")
    return UserError(found, "CSV with a header", "add or mend it")


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


def check_names(header: list[str], file: Path) -> None:
    """Check that no name of a column stands twice, of which one would hide the other.

    Raises:
        UserError: one does.
    """
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        do = "rename one, or write a first row of names if this one is data"
        raise UserError(f"{file} with two columns {twice}", "a name of its own for each column", do)
