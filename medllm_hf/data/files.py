"""What a user names as input → files → raw rows, one at a time. The kinds of file themselves are in `kinds`."""

import codecs
import functools
import glob
import gzip
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from medllm_hf.data.row_readers import BROKEN, CHUNK, BadRow, array_rows, csv_rows, line_rows, parquet_rows
from medllm_hf.errors import UserError, first_line
from medllm_hf.folders import check_file

SUFFIXES = (".jsonl", ".json", ".csv", ".jsonl.gz", ".json.gz", ".csv.gz", ".parquet")
# What the `datasets` library writes beside the rows; read only when it is named itself.
_BOOKKEEPING = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_KNOWN = "files ending in " + ", ".join(SUFFIXES)


def input_files(inputs: list[str], revision: str | None = None) -> list[Path]:
    """The files that `inputs` name, in the order of the inputs, sorted within each, none twice.

    An input is a file, a folder (searched to the bottom, hidden names left out), a glob, or the id of a dataset on the
    Hub, ORG/NAME, of which the data files at `revision` are fetched, or taken from the cache without a network.

    Raises:
        UserError: an input that is none of these or holds no file of a known kind.
    """
    found: dict[str, Path] = {}
    for name in inputs:
        for file in _files(name, revision):
            found.setdefault(os.path.abspath(file), file)
    return list(found.values())


@functools.cache
def stem(file: Path) -> str:
    """The name of a file without the suffix of its kind: `a.b` of `a.b.jsonl.gz`."""
    suffix = max((suffix for suffix in SUFFIXES if file.name.lower().endswith(suffix)), key=len)
    # A name that is not UTF-8 must not reach the rows.
    return os.fsencode(file.name[: -len(suffix)]).decode("utf-8", "replace")


def file_rows(file: Path) -> Iterator[tuple[int, object]]:
    """Yields (number, raw row): the line where it begins (JSON lines, CSV) or its position from 1 (JSON array, Parquet).

    Rows of JSON are the undecoded bytes, for `parsed`; others are dicts. A `BadRow` stands for what cannot be read.

    Raises:
        UserError: a file that cannot be read at all.
    """
    if file.exists():
        check_file(file)
    rows = parquet_rows(file) if file.name.lower().endswith(".parquet") else _text_rows(file)
    number = 0
    try:
        for number, raw in rows:
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
        raise BadRow("row", f"not UTF-8 ({error.reason} at byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise BadRow("row", f"not JSON ({first_line(error)})") from error


def _files(name: str, revision: str | None) -> list[Path]:
    path = Path(name)
    if os.path.isdir(name):
        return _known_files(path, name)
    if os.path.exists(name):
        if not path.name.lower().endswith(SUFFIXES):
            raise UserError(name, _KNOWN, "convert it to JSON lines")
        return [path]
    if glob.has_magic(name):
        matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]
        files = [file for file in matches if file.is_file() and file.name.lower().endswith(SUFFIXES)]
        if not files:
            raise UserError(f"nothing that {name} matches", _KNOWN, "check the pattern")
        return files
    if path.is_absolute() or name.startswith(".") or name.count("/") != 1 or name.lower().endswith(SUFFIXES):
        raise UserError(f"no file {name}", "dialogue files, folders, globs or a dataset ORG/NAME", "check the path")
    return _known_files(_hub_folder(name, revision), name)


def _known_files(folder: Path, name: str) -> list[Path]:
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.name.lower().endswith(SUFFIXES) and file.name not in _BOOKKEEPING and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]  # fmt: skip
    if not files:
        raise UserError(f"no data files in {name}", _KNOWN, "check the path")
    return files


def _hub_folder(name: str, revision: str | None) -> Path:
    # Local files need none of this, and importing it takes a third of a second.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # The card too: it holds the licence, and with it the client finds something and does not warn that it found nothing.
    patterns = ["README.md", *("*" + suffix for suffix in SUFFIXES)]
    try:
        return Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"no file and no Hub dataset {name}{f' at {revision}' if revision else ''} ({first_line(error)})",
            "dialogue files or a Hub id",
            "check the name, the revision, the network and HF_TOKEN",
        ) from error


def _text_rows(file: Path) -> Iterator[tuple[int, object]]:
    kind = file.name.lower().removesuffix(".gz")
    with gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb") as stream:
        if kind.endswith(".csv"):
            yield from csv_rows(stream, file)
            return
        if stream.peek(3).startswith(codecs.BOM_UTF8):
            stream.read(3)
        # A row in lines may be a list itself, as Huatuo's are; an array of rows never begins with a text.
        array = kind.endswith(".json") and re.match(rb'\s*\[(?!\s*")', stream.peek(CHUNK))
        yield from array_rows(stream) if array else line_rows(stream)
