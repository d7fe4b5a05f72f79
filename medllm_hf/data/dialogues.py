"""Dialogue sources → rows `{"id", "source", "messages"}`; every row read is accepted, repaired or rejected."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medllm_hf.data.mcq import REPLY_PREFIX, item_from_row
from medllm_hf.errors import UserError

SUFFIXES = (".jsonl", ".json")


class BadRow(ValueError):
    """A row that cannot be used: names the field and the reason."""

    def __init__(self, where: str, reason: str):
        super().__init__(f"{where}: {reason}")
        self.where, self.reason = where, reason


@dataclass(frozen=True)
class Problem:
    """One row that was rejected, or repaired by cutting a trailing user turn."""

    file: str
    line: int
    field: str
    reason: str


@dataclass
class Reading:
    """What came out of the inputs: `read` = rows + rejected; repaired rows are among the rows."""

    rows: list[dict] = field(default_factory=list)
    rejected: list[Problem] = field(default_factory=list)
    repaired: list[Problem] = field(default_factory=list)

    @property
    def read(self) -> int:
        return len(self.rows) + len(self.rejected)


def disc(row: dict) -> list[dict]:
    """DISC-Med-SFT: `conversation` of role and content."""
    return _turns(row, "conversation")


def messages(row: dict) -> list[dict]:
    """The format of TRL and the OpenAI API: `messages` of role and content."""
    return _turns(row, "messages")


def mcq(row: dict) -> list[dict]:
    """An exam question as one round: the stem without its options, answered by the text of the right options."""
    try:
        item = item_from_row(row)
    except ValueError as error:
        raise BadRow("question", str(error)) from error
    return [
        {"role": "user", "content": item.question},
        {"role": "assistant", "content": REPLY_PREFIX + item.option_text(item.answer)},
    ]


FORMATS: dict[str, Callable[[dict], list[dict]]] = {"disc": disc, "messages": messages, "mcq": mcq}
# The column that tells one format from another.
COLUMNS = {"conversation": "disc", "messages": "messages", "question": "mcq"}


def _turns(row: dict, column: str) -> list[dict]:
    turns = row.get(column)
    if not isinstance(turns, list):
        raise BadRow(column, f"a {type(turns).__name__}, not a list of turns")
    for i, turn in enumerate(turns):
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str) or not isinstance(turn.get("content"), str):
            raise BadRow(f"{column}[{i}]", "not an object with the texts role and content")
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def checked(turns: list[dict]) -> tuple[list[dict], bool]:
    """The turns as a whole dialogue, and whether a trailing user turn was cut from it.

    Raises:
        BadRow: an unknown role, two turns of one role in a row, an empty content, no answer, or text that is not UTF-8.
    """
    start = 1 if turns and turns[0]["role"] == "system" else 0
    for i, turn in enumerate(turns):
        expected = "system" if i < start else ("user", "assistant")[(i - start) % 2]
        if turn["role"] != expected:
            raise BadRow(f"turn {i}", f"role {turn['role'][:20]!r} where {expected} was expected")
        if not turn["content"].strip():
            raise BadRow(f"turn {i}", "empty content")
        try:
            turn["content"].encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadRow(f"turn {i}", "text that is not valid Unicode") from error
    cut = bool(turns) and turns[-1]["role"] == "user"
    whole = turns[:-1] if cut else turns
    if len(whole) <= start:
        raise BadRow("dialogue", "no answer by the assistant")
    return whole, cut


def read(inputs: list[str], format: str = "auto") -> Reading:
    """Reads dialogue files; see `Reading`. Ids are kept, or made from the content where a row has none.

    Raises:
        UserError: a missing file, one of another kind, or an unknown format name.
    """
    if format != "auto" and format not in FORMATS:
        raise UserError(f"format {format!r}", "auto, " + ", ".join(FORMATS), "choose one of these")
    reading = Reading()
    for file in input_files(inputs):
        for line, row in file_rows(file):
            _take(reading, file, line, row, format)
    return reading


def _take(reading: Reading, file: Path, line: int, row: object, format: str) -> None:
    try:
        if isinstance(row, BadRow):
            raise row
        if not isinstance(row, dict):
            raise BadRow("row", f"a {type(row).__name__}, not an object")
        name = format if format != "auto" else _detected(row)
        turns, cut = checked(FORMATS[name](row))
    except BadRow as error:
        reading.rejected.append(Problem(str(file), line, error.where, error.reason))
        return
    if cut:
        reading.repaired.append(Problem(str(file), line, "last turn", "user turn without an answer was cut"))
    source = row["source"] if isinstance(row.get("source"), str) else file.stem
    reading.rows.append({"id": _row_id(row, turns), "source": source, "messages": turns})


def _detected(row: dict) -> str:
    for column, name in COLUMNS.items():
        if column in row:
            return name
    raise BadRow("row", "no column " + ", ".join(COLUMNS))


def _row_id(row: dict, turns: list[dict]) -> str:
    for key in ("id", "_id"):
        if isinstance(row.get(key), str | int) and str(row[key]):
            return str(row[key])
    return content_hash(turns)[:16]


def content_hash(turns: list[dict]) -> str:
    """SHA-256 of the roles and the contents with all white space removed: equal for exact duplicates."""
    normal = [[turn["role"], "".join(turn["content"].split())] for turn in turns]
    return hashlib.sha256(json.dumps(normal, ensure_ascii=False).encode("utf-8")).hexdigest()


def input_files(inputs: list[str]) -> list[Path]:
    """The files named, and those of known kinds in the folders named, in a fixed order.

    Raises:
        UserError: a path that does not exist or is of another kind.
    """
    found: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
        elif not path.exists():
            raise UserError(f"no file {name}", "dialogue files", "check the path")
        elif path.suffix not in SUFFIXES:
            raise UserError(f"{name}", "a file ending in " + " or ".join(SUFFIXES), "convert it to JSON lines")
        else:
            found.append(path)
    if not found:
        raise UserError(
            f"no dialogue files in {', '.join(inputs)}", "files ending in " + " or ".join(SUFFIXES), "check the path"
        )
    return found


def file_rows(file: Path) -> Iterator[tuple[int, object]]:
    """Yields (line, row) of a JSON-lines file, or (position, row) of a JSON array; a `BadRow` stands for a broken line."""
    data = file.read_bytes()
    if data.lstrip()[:1] == b"[":
        try:
            yield from enumerate(json.loads(data), start=1)
            return
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise UserError(f"{file} that is not JSON ({error})", "a JSON array or JSON lines", "mend the file") from error
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, BadRow("line", f"not JSON ({type(error).__name__})")
