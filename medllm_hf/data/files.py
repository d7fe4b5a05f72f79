"""What a user names as input → files → raw rows, one at a time."""

import functools
import glob
import json
import os
from collections.abc import Iterator
from pathlib import Path

from medllm_hf.data.archives import archive_of, entries, on_disk
from medllm_hf.data.hub_datasets import fetch_dataset
from medllm_hf.data.recognition import Kind, recognise, text_stream
from medllm_hf.data.row_readers import (
    BROKEN,
    BadRow,
    array_rows,
    csv_rows,
    line_rows,
    member_rows,
    object_rows,
    parquet_rows,
    whole_row,
)
from medllm_hf.data.transcript_text import transcript_rows
from medllm_hf.data.workbooks import xlsx_rows
from medllm_hf.errors import UserError, first_line
from medllm_hf.folders import check_file

_TEXTS = (".jsonl", ".json", ".csv", ".tsv", ".ndjson")
# What folders, archives, globs and datasets are searched for; a file that is named itself may have any name.
SUFFIXES = (*_TEXTS, *(text + ".gz" for text in _TEXTS), ".parquet", ".xlsx")
_ARCHIVE = ".zip"
# What the `datasets` library writes beside the rows; read only when it is named itself.
_BOOKKEEPING = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
# Of data that is not read as it is.
_UNREAD = (
    *(".xls", ".xlsb", ".ods", ".arrow", ".feather", ".zst", ".bz2", ".xz", ".7z", ".rar", ".tar", ".tgz", ".tar.gz"),
    *(".sqlite", ".db", ".doc", ".docx", ".pdf"),
)
_KNOWN = "files ending in " + ", ".join((*SUFFIXES, _ARCHIVE))


def input_files(inputs: list[str], revision: str | None = None) -> list[Path]:
    """The files that `inputs` name, in the order of the inputs, sorted within each, none twice.

    An input is a file, a folder (searched to the bottom, hidden names left out), a glob, or the id of a dataset on the
    Hub, ORG/NAME, of which the data files at `revision` are fetched, or taken from the cache without a network. A zip archive
    stands for the files in it, ARCHIVE/NAME, each of which may be named itself.

    Raises:
        UserError: an input that is none of these or holds no file of a known kind.
    """
    found: dict[str, Path] = {}
    for name in inputs:
        for file in _files(name, revision):
            found.setdefault(os.path.abspath(file), file)
    return list(found.values())


def unread_files(inputs: list[str]) -> list[str]:
    """One line on the files in the folders among `inputs` that look like data and are of no kind that is read; else none."""
    found = [
        file
        for folder in (Path(name) for name in inputs if os.path.isdir(name))
        for file in sorted(folder.rglob("*"))
        if file.name.lower().endswith(_UNREAD) and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    if not found:
        return []
    first = os.fsencode(found[0]).decode("utf-8", "replace")
    shown = first if first.isprintable() else repr(first)
    return [f"{len(found)} file{'s' if len(found) > 1 else ''} of other kinds not read, such as {shown}; name it to see why"]


@functools.cache
def stem(file: Path) -> str:
    """The name of a file without the suffix of its kind: `a.b` of `a.b.jsonl.gz`."""
    suffix = max((suffix for suffix in SUFFIXES if file.name.lower().endswith(suffix)), key=len, default=file.suffix)
    # A name that is not UTF-8 must not reach the rows.
    return os.fsencode(file.name[: len(file.name) - len(suffix)]).decode("utf-8", "replace")


def file_rows(file: Path, encoding: str | None = None) -> Iterator[tuple[int, object]]:
    """Yields (number, raw row): the line where it begins (JSON lines, tables) or its position from 1 (JSON arrays, Parquet).

    Rows of JSON are the undecoded bytes, for `parsed`; others are dicts. A `BadRow` stands for what cannot be read.

    Raises:
        UserError: a file that cannot be read at all, or that is something else.
    """
    if archive_of(file) is None:
        check_file(file)
    number = 0
    try:
        for number, raw in _rows(file, recognise(file, encoding)):
            yield number, raw
    except BROKEN as error:
        if number == 0:
            raise UserError(f"{file} that cannot be read ({first_line(error)})", "a whole file", "fetch it again") from error
        yield number + 1, BadRow("file", f"the rest cannot be read ({first_line(error)})")


def parsed(raw: object) -> object:
    """The row in `raw` as `file_rows` gave it: bytes are parsed as JSON, of keys that stand twice the last one counts.

    Raises:
        BadRow: it is not JSON in UTF-8, or stands for a row that could not be read.
    """
    if isinstance(raw, BadRow):
        raise raw
    if not isinstance(raw, bytes):
        return raw
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRow("row", f"not UTF-8 ({error.reason} at byte {error.start}); --encoding names another") from error
    except (ValueError, RecursionError) as error:
        raise BadRow("row", f"not JSON ({first_line(error)})") from error


def _files(name: str, revision: str | None) -> list[Path]:
    path = Path(name)
    if os.path.isdir(name):
        return _known_files(path, name)
    if os.path.exists(name):
        return _unpacked([path], name)
    if archive_of(path) is not None:
        return [file for file in entries(archive_of(path) or path) if file == path or path in file.parents] or [path]
    if glob.has_magic(name):
        matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]
        files = [file for file in matches if file.is_file() and file.name.lower().endswith((*SUFFIXES, _ARCHIVE))]
        if not files:
            raise UserError(f"nothing that {name} matches", _KNOWN, "check the pattern")
        return _unpacked(files, name)
    if path.is_absolute() or name.startswith(".") or name.count("/") != 1 or name.lower().endswith((*SUFFIXES, _ARCHIVE)):
        raise UserError(f"no file {name}", "dialogue files, folders, globs or a dataset ORG/NAME", "check the path")
    return _known_files(_hub_folder(name, revision), name)


def _known_files(folder: Path, name: str) -> list[Path]:
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.name.lower().endswith((*SUFFIXES, _ARCHIVE)) and file.name not in _BOOKKEEPING and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]  # fmt: skip
    if not files:
        raise UserError(f"no data files in {name}", _KNOWN, "check the path")
    return _unpacked(files, name)


def _unpacked(files: list[Path], name: str) -> list[Path]:
    """The files, and in place of each archive the data files in it; a bad one of several is left for who reads them to tell.

    Raises:
        UserError: an archive alone that cannot be read, or without a data file.
    """
    found = []
    for file in files:
        if not file.name.lower().endswith(_ARCHIVE) or not file.is_file():
            found.append(file)
            continue
        try:
            inside = [one for one in entries(file) if one.name.lower().endswith(SUFFIXES) and one.name not in _BOOKKEEPING]
            if not inside:
                raise UserError(f"no data files in {file}", _KNOWN.replace(f", {_ARCHIVE}", ""), "check the archive")
        except UserError:
            if len(files) == 1:
                raise
            inside = [file]
        found += inside
    return found


def _hub_folder(name: str, revision: str | None) -> Path:
    # The card too: it holds the licence, and with it the client finds something and does not warn that it found nothing.
    patterns = ["README.md", *("*" + suffix for suffix in (*SUFFIXES, _ARCHIVE))]
    found = f"no file and no Hub dataset {name}{f' at {revision}' if revision else ''}"
    do = "check the name, the revision, the network and HF_TOKEN"
    return fetch_dataset(name, revision, patterns, found, "dialogue files or a Hub id", do)


def _rows(file: Path, kind: Kind) -> Iterator[tuple[int, object]]:
    if kind.form in ("parquet", "xlsx"):
        with on_disk(file) as path:
            yield from parquet_rows(path) if kind.form == "parquet" else xlsx_rows(path)
        return
    with text_stream(file, kind) as stream:
        if kind.form == "csv":
            yield from csv_rows(stream, file, kind.delimiter, kind.quoted)
        elif kind.form == "lines":
            yield from line_rows(stream)
        elif kind.form == "array":
            yield from array_rows(stream)
        elif kind.form in ("members", "named"):
            yield from member_rows(stream, lists=kind.form == "members")
        elif kind.form == "transcript":
            yield from transcript_rows(stream)
        elif kind.form in ("objects", "columns"):
            yield from object_rows(stream)
        else:
            yield from whole_row(stream)
