"""What a dataset is loaded from, and what its files say when they cannot be."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape, glob
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING

from datasets import Dataset
from datasets.table import CastError
from pyarrow import ArrowInvalid

from medllm_hf.errors import UserError, first_line
from medllm_hf.folders import exists

if TYPE_CHECKING:
    from trl.scripts.utils import DatasetConfig

# What `datasets` says of every fault of a file, before the fault itself.
GENERIC = "An error occurred while generating the dataset"
_FILE = re.compile(r"was generating data using\s+(\S.*)")
_LONGEST = 240
_TEXTS = (".json", ".jsonl", ".csv", ".tsv", ".txt")


@contextmanager
def reading(name: str, expected: str) -> Iterator[None]:
    """Makes what `datasets` cannot load in the block a mistake that the user is told, with the file as far as it is known.

    Args:
        name: the folder or Hub id.

    Raises:
        UserError: it cannot be loaded.
    """

    def kept(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR  # what it says in several lines is in the error as well

    handlers = list(logging.getLogger("datasets").handlers)
    for handler in handlers:
        handler.addFilter(kept)
    try:
        yield
    except Exception as error:  # whatever the readers of files raise
        file = _file(name, error)
        do = "mend the file; `medllm data check` lists what is wrong with each row" if file else "check the name and its files"
        raise UserError(f"{file or name}: {_fault(error)}", expected, do) from error
    finally:
        for handler in handlers:
            handler.removeFilter(kept)


def check_text(split: Dataset) -> None:
    """Check that all text of a split is UTF-8, which the readers of files leave open.

    Raises:
        UnicodeError: it is not.
    """
    try:
        split.data.validate(full=True)
    except ArrowInvalid as error:
        raise UnicodeError(f"text that is not UTF-8 ({first_line(error)})") from error


def _fault(error: BaseException) -> str:
    """What is wrong, cut to what fits on a line."""
    if _finds_nothing(error):
        return "no row in it"
    if isinstance(error, CastError):
        return f"other columns than before: {error.details()}"
    said = " ".join(str(error).replace(GENERIC, "").split())
    if not said:
        return _fault(error.__cause__) if error.__cause__ else type(error).__name__
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]} …"


def _file(name: str, error: BaseException) -> str | None:
    """The file in which an error arose."""
    if named := _FILE.search(str(error)):
        return named[1]
    one: BaseException | None = error
    while one:
        for frame, _ in walk_tb(one.__traceback__):
            # The loop over files is alike in the readers of all formats.
            if frame.f_code.co_name.startswith("_generate_") and isinstance(frame.f_locals.get("file"), str):
                return frame.f_locals["file"]
        one = one.__cause__
    blank = _finds_nothing(error)
    if not Path(name).is_dir() or not (blank or isinstance(error, UnicodeError)):
        return None
    files = sorted(path for path in Path(name).rglob("[!.]*.*") if path.is_file())
    return next((str(path) for path in files if (_is_blank(path) if blank else _is_foreign(path))), None)


def _finds_nothing(error: BaseException) -> bool:
    """Whether `datasets` found no row: to learn the columns from, or in one of several splits."""
    return isinstance(error, StopIteration) or "corresponds to no data" in str(error)


def _is_blank(path: Path) -> bool:
    return path.stat().st_size < 1000 and not path.read_bytes().strip()


def _is_foreign(path: Path) -> bool:
    if path.suffix not in _TEXTS:
        return False
    try:
        with path.open(encoding="utf-8") as file:
            return any(False for _ in file)
    except UnicodeDecodeError:
        return True


def data_places(part: "DatasetConfig") -> dict[str, str]:
    """The folder or files that a dataset of a mixture, TRL's DatasetConfig, is read from, by what to call them after it.

    What is no path on this machine may be among them.

    Raises:
        UserError: `part` is something else.
    """
    if not hasattr(part, "path"):
        raise UserError(f"{part!r} among the datasets of a mixture", "one with a path", "mend the recipe")
    name = str(part.path)
    folder = name if exists(Path(name)) and Path(name).is_dir() else ""
    of_hub = "/" in name and not folder  # where names that are relative are those of its files
    base = os.path.join(folder, os.path.expanduser(str(part.data_dir or "")))
    if not part.data_files:
        return {"": name if of_hub else base or name}
    places = {}
    for path in map(_path, _names(part.data_files)):
        if of_hub and not os.path.isabs(path):
            continue
        plain = os.path.join(base, path)
        # A name with brackets in it is a pattern as well.
        for found in glob(os.path.join(escape(base), path), recursive=True) or [plain]:
            places[f" ({found})"] = found
    return places


def _path(name: str) -> str:
    """The file that a name of `datasets` is about: that of an archive, where it stands in one."""
    return os.path.expanduser(name.rpartition("::")[2].removeprefix("file://"))


def _names(value: object) -> Iterator[str]:
    """The names in a `data_files`: one, a list, or either for each split."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _names(one)
