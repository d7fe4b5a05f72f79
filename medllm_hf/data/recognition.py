"""What a file is: container, encoding and form, by its first bytes; its name decides only what they leave open."""

import codecs
import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from medllm_hf.data.archives import entries, opened
from medllm_hf.data.columns import ROLES, known, plain
from medllm_hf.data.encodings import find_encoding
from medllm_hf.data.row_readers import BROKEN, ByteStream, entry_end, table_dialect
from medllm_hf.data.transcript_text import is_transcript
from medllm_hf.errors import UserError, first_line

SAMPLE = 2**18
# The first bytes of what is no data file, or one that needs something done to it first.
_OTHERS = (
    (b"%PDF", "a PDF", "take the text out of it"),
    (b"\xd0\xcf\x11\xe0", "a file of old Office", "save it as .xlsx or .csv"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"BZh", "a bzip2 file", "unpack it"),
    (b"\xfd7zXZ", "an xz file", "unpack it"),
    (b"ARROW1", "an Arrow file", "load it with `datasets` and write Parquet"),
    (b"\xff\xff\xff\xff", "a stream of Arrow", "load it with `datasets` and write Parquet"),
    (b"version https://git-lfs", "a Git LFS pointer in place of the file", "run `git lfs pull`, or fetch the file itself"),
    (b"<!doctype", "a web page", "fetch the file itself"),
    (b"<html", "a web page", "fetch the file itself"),
    (b"<?xml", "an XML file", "convert it to JSON lines"),
    (b"SQLite format 3", "an SQLite database", "write its table as CSV"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it"),
)
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_SHOWN = {
    **{"utf-8": "UTF-8", "gb18030": "GB18030", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"},
    **{"utf-32-le": "UTF-32", "utf-32-be": "UTF-32"},
}
_FORMS = {
    "lines": "JSON lines", "array": "a JSON array", "objects": "JSON objects", "members": "lists of rows in a JSON object",
    "named": "a JSON object of rows", "turns": "one dialogue as a JSON array", "parquet": "Parquet",
    "xlsx": "an Excel workbook", "transcript": "plain text with who speaks",
    "columns": "a table by its columns in a JSON object",
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """What a file is. `bom` is the number of bytes before the text; `quoted` tells whether quotes mean something in a table.

    form: lines, array, objects (one after the other), members (an object with lists of rows), named (an object whose members
    are the rows), columns (one whose members are the columns), turns (an array that is one dialogue), transcript (dialogues as
    plain text or Markdown), csv, parquet or xlsx.
    """

    form: str
    encoding: str = "utf-8"
    bom: int = 0
    delimiter: str = ","
    quoted: bool = True
    gzipped: bool = False

    def __str__(self) -> str:
        form = f"a table separated by {_DELIMITERS[self.delimiter]}" if self.form == "csv" else _FORMS[self.form]
        parts = ["gzip" if self.gzipped else "", form, "" if self.form in ("parquet", "xlsx") else self._encoding_shown()]
        return ", ".join(filter(None, parts))

    def _encoding_shown(self) -> str:
        return _SHOWN.get(self.encoding, self.encoding) + (" with a byte order mark" if self.bom else "")


def recognise(file: Path, encoding: str | None = None) -> Kind:
    """What `file` is; `encoding` is what the user says of its text.

    Raises:
        UserError: it holds no rows that can be read, and what it is instead; or it cannot be read at all.
    """
    with opened(file) as stream:
        sample = stream.read(SAMPLE)
    gzipped = sample.startswith(b"\x1f\x8b") or file.name.lower().endswith(".gz")
    if gzipped:
        with opened(file) as stream:
            sample = _unzipped_sample(stream)
    if sample.startswith(b"PAR1") or file.name.lower().endswith(".parquet"):
        return Kind("parquet")
    if sample.startswith(b"PK\x03\x04") and b"[Content_Types].xml" in sample or file.name.lower().endswith(".xlsx"):
        return Kind("xlsx")
    if sample[30:].startswith(b"mimetypeapplication/vnd.oasis"):
        raise UserError(f"{file}, an OpenDocument file", "JSON, CSV, Excel or Parquet", "save it as .xlsx or .csv")
    if sample.startswith(b"PK\x03\x04"):
        if file.is_file():
            entries(file)  # says what is wrong with it, if anything is
        raise UserError(f"{file}, a zip archive", "a file in it", f"name one, {file.name}/NAME, or unpack it")
    for magic, what, do in _OTHERS:
        if sample.startswith(magic) or sample[:100].removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(magic):
            raise UserError(f"{file}, {what}", "JSON, CSV, Excel or Parquet", do)
    if sample[257:262] == b"ustar":
        raise UserError(f"{file}, a tar archive", "JSON, CSV, Excel or Parquet", "unpack it")
    whole = len(sample) < SAMPLE
    coding, bom = (encoding, 0) if encoding else _found_encoding(sample, whole, file)
    if encoding and sample.startswith(codecs.BOM_UTF8):
        bom = 3
    text = sample[bom:].decode(coding, "replace")
    kind = _form(text, whole, file)
    return Kind(kind.form, coding, bom, kind.delimiter, kind.quoted, gzipped)


@contextmanager
def text_stream(file: Path, kind: Kind) -> Iterator[ByteStream]:
    """Yields the text of a file as UTF-8, whatever it is in; bytes that are none in its encoding stay as they are."""
    with opened(file) as raw:
        stream = gzip.GzipFile(fileobj=raw) if kind.gzipped else raw
        stream.read(kind.bom)
        if kind.encoding.lower().replace("_", "-") in ("utf-8", "utf8", "ascii"):
            yield stream  # type: ignore[misc]  # both have what a ByteStream is read by
        else:
            yield io.BufferedReader(_Recoded(stream, kind.encoding), 2**16)


class _Recoded(io.RawIOBase):
    """A stream in another encoding as UTF-8."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, encoding: str):
        wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
        self.errors = "surrogatepass" if wide else "surrogateescape"
        self.decoder = codecs.getincrementaldecoder(encoding)(self.errors)
        self.encoding, self.stream, self.ready, self.ended = encoding, stream, b"", False

    def readable(self) -> bool:
        return True

    # The type of any buffer has a name from Python 3.12 on.
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self.ready and not self.ended:
            block = self.stream.read(2**16)
            self.ended = not block
            try:
                self.ready = self.decoder.decode(block, self.ended).encode("utf-8", self.errors)
            except UnicodeError as error:
                raise OSError(f"text that is not {self.encoding}: {first_line(error)}") from error
        size = min(len(buffer), len(self.ready))
        buffer[:size], self.ready = self.ready[:size], self.ready[size:]
        return size


def _unzipped_sample(stream: IO[bytes]) -> bytes:
    """The beginning of a gzip file, as far as it is whole."""
    parts, left = [], SAMPLE
    unzipped = gzip.GzipFile(fileobj=stream)
    try:
        while left and (part := unzipped.read1(left)):
            parts.append(part)
            left -= len(part)
    except BROKEN:
        if not parts:
            raise
    return b"".join(parts)


def _found_encoding(sample: bytes, whole: bool, file: Path) -> tuple[str, int]:
    found = find_encoding(sample, whole)
    if found is None and 0 in sample:
        raise UserError(f"{file}, which is no text", "JSON, CSV, Excel or Parquet", "convert it")
    if found is None:
        expected = "UTF-8, GB18030 or UTF-16, or its name"
        raise UserError(f"{file}, a text in another encoding", expected, "name it with --encoding, such as big5 or cp1252")
    return found


def _form(text: str, whole: bool, file: Path) -> Kind:
    name = file.name.lower().removesuffix(".gz")
    begin = text.lstrip()[:1]
    lines = [line for line in text.splitlines() if line.strip()]
    complete = lines if whole or len(lines) < 2 else lines[:-1]
    table = name.endswith((".csv", ".tsv"))
    if begin and begin in "[{" and not (table and not re.match(r"\s*(\[\s*)?[{\]]", text)):
        form = _json_form(text, complete[:20], named_lines=name.endswith((".jsonl", ".ndjson")))
        # Lines that end as on an old Macintosh are none to those who read lines.
        return Kind("objects" if form == "lines" and begin == "{" and "\r" in text and "\n" not in text else form)
    if table:
        return _table(complete) or Kind("csv", delimiter="\t" if name.endswith(".tsv") else ",")
    if not begin or name.endswith((".jsonl", ".json", ".ndjson")):
        # Lines of another thing are told as such by who reads them.
        return Kind("lines")
    if is_transcript(complete):
        return Kind("transcript")
    found = _table(complete)
    if found and len(complete) > 1:
        return found
    raise UserError(
        f"{file}, a text that is neither JSON nor a table", "JSON, CSV, Excel or Parquet", "convert it to JSON lines"
    )


def _json_form(text: str, lines: list[str], named_lines: bool) -> str:
    values = [_value(line) for line in lines]
    rows = [isinstance(value, dict | list) for value in values]
    if len(lines) > 1 and rows[0] and (isinstance(values[0], dict) or isinstance(values[1], list)):
        return "lines"
    array = text.lstrip().startswith("[")
    if array and re.match(r'\s*\[\s*"', text):
        return "lines" if rows[0] else "turns"
    if array:
        first, second = _first_entries(text, text.index("[") + 1)
        return "turns" if isinstance(first, dict) and _is_turn(first) and not _tells_dialogue(first, second) else "array"
    if len(lines) > 1 and sum(rows) * 2 >= len(rows):
        return "lines"
    form = _object_form(text)
    # A row on one line is a line, however long; in a file of lines also one that holds a list.
    one_line = rows[:1] == [True]
    return "lines" if (form == "objects" and (one_line or len(lines) == 1)) or (one_line and named_lines) else form


def _object_form(text: str) -> str:
    """Whether an object is a row ("objects": others may follow), or holds rows in lists ("members") or by names ("named")."""
    sketch = dict(_sketch(text.encode("utf-8", "surrogatepass")))
    columns = known(tuple(sketch))
    # A table by its columns is one object, for `columnar`.
    if _BY_COLUMNS.match(text) or {"columns", "data"} <= sketch.keys():
        return "columns"
    if columns["user"] and columns["assistant"]:
        return "objects"
    for column in columns["turns"]:
        value = sketch[column]
        first = value[0] if isinstance(value, list) and value else None
        if isinstance(first, str) or (isinstance(first, dict) and (_is_turn(first, rounds=True) or _is_round(column, first))):
            return "objects"
    firsts = [value[0] for value in sketch.values() if isinstance(value, list) and value]
    if firsts and len(firsts) == len(sketch) and all(isinstance(first, dict) and _is_turn(first) for first in firsts):
        return "named"  # each a dialogue
    arrays = any(isinstance(value, list) and value and isinstance(value[0], dict | list) for value in sketch.values())
    held = sum(isinstance(value, dict) for value in sketch.values())
    return "members" if arrays else "named" if held and held == len(sketch) else "objects"


# What a list of rounds is called that is one dialogue; `dialogues` and `data` hold one in each row.
_ONE_DIALOGUE = ("conversation", "dialogue", "dialog", "turns", "dialogueturns", "dialoguecontent", "对话", "对话内容", "会话")
# As `DataFrame.to_json` writes them; rows by their numbers have the numbers outside.
_BY_COLUMNS = re.compile(r'\s*\{\s*"(?!\d+")[^"]*"\s*:\s*\{\s*"0"\s*:')


def _sketch(data: bytes) -> Iterator[tuple[str, object]]:
    """Yields the members of the object that begins in `data`: of a list its first entry alone, of what is cut off None."""
    at = data.index(b"{") + 1
    while match := re.compile(rb'\s*("(?:[^"\\]|\\.)*")\s*:\s*').match(data, at):
        name, at = _value(match[1].decode("utf-8", "replace")), match.end()
        end = entry_end(data, at, b",}")
        if data[at : at + 1] == b"[":
            first = entry_end(data, at + 1, b",]")
            yield str(name), [_value(data[at + 1 : first].decode("utf-8", "replace"))] if first else []
        else:
            cut: object = {} if data[at : at + 1] == b"{" else None
            yield str(name), cut if end is None else _value(data[at:end].decode("utf-8", "replace"))
        if end is None or data[end : end + 1] == b"}":
            return
        at = end + 1


def _first_entries(text: str, at: int) -> tuple[object, object]:
    """The first two entries of an array, None for what is not there or is cut off."""
    data = text[at:].encode("utf-8", "surrogatepass")
    end = entry_end(data, 0, b",]")
    if end is None:
        return None, None
    second = entry_end(data, end + 1, b",]") if data[end : end + 1] == b"," else None
    return _value(data[:end].decode("utf-8", "replace")), _value(data[end + 1 : second or end].decode("utf-8", "replace"))


def _tells_dialogue(first: dict, second: object) -> bool:
    """Whether a turn says of which dialogue it is: there may be several then. An id that is not the next one's is its own."""
    return any(
        column.casefold() != "id" or (isinstance(second, dict) and first[column] == second.get(column))
        for column in known(tuple(first))["dialogue"]
    )


def _is_turn(entry: dict, rounds: bool = False) -> bool:
    columns = known(tuple(entry))
    if columns["role"] and columns["content"]:
        role = entry[columns["role"][0]]
        return isinstance(role, str) and (rounds or role.casefold() in ROLES)
    # A question and its answer are a row of their own.
    return rounds and bool(entry) and all(name.casefold() in ROLES.keys() - {"问", "答", "问题", "回答"} for name in entry)


def _is_round(column: str, entry: dict) -> bool:
    """Whether a question and its answer are a round of the one dialogue in a file, by the list's name or their numbers."""
    columns = known(tuple(entry))
    numbered = any(isinstance(entry[name], int) for name in columns["place"]) and plain(column) != "data"
    return bool(columns["user"] and columns["assistant"]) and (numbered or plain(column) in _ONE_DIALOGUE)


def _value(text: str) -> object:
    """What the JSON says, None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _table(lines: list[str]) -> Kind | None:
    """The table in the lines: the delimiter that gives the most lines as many cells as the header has, None if none does."""
    best: tuple[float, int, Kind] | None = None
    # The bars of <|endoftext|> and its like are none between cells.
    marked = sum("<|" in line for line in lines[:200]) * 2 > len(lines[:200])
    for delimiter in (one for one in _DELIMITERS if not (one == "|" and marked)):
        for quoted in (True, False):
            dialect = table_dialect(delimiter, quoted)
            try:
                rows = list(csv.reader([line + "\n" for line in lines[:200]], dialect))
            except csv.Error:
                continue
            width = len(rows[0]) if rows else 0
            even = sum(len(row) == width for row in rows) / len(rows) if rows else 0.0
            # A last row may be cut off in the middle of a quoted cell. Without quotes only where with them it does not work.
            if width > 1 and (best is None or (even > best[0] + 0.1 if not quoted else (even, width) > best[:2])):
                best = even, width, Kind("csv", delimiter=delimiter, quoted=quoted)
    return best[2] if best and best[0] > 0.8 else None
