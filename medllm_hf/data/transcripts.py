"""Files in which each row is one turn, or one round, of a dialogue → whole dialogues."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from medllm_hf.data.columns import Names, known, value_at
from medllm_hf.data.files import parsed
from medllm_hf.data.formats import BY_TURNS, FORMATS, ROUND, is_dialogue, pair
from medllm_hf.data.pairs import has_value, is_pair
from medllm_hf.data.row_readers import LARGEST_ROW, BadRow
from medllm_hf.data.unread import unread, unread_among

# What each turn of a row brings besides its text, in memory.
_TURN_BYTES = 200
TWICE = "a turn that stands in several rows was taken once"


@dataclass(frozen=True)
class Layout:
    """Where a row has its turn. `dialogue` is the column that tells dialogues apart, None where a file is one; `place` the
    one with the place of a turn in it, if any. Without `role` user and assistant speak by turns; without `content` too a row
    is a round, a question and its answer.
    """

    dialogue: str | None
    place: str | None
    role: str | None = None
    content: str | None = None
    system: str | None = None

    def __str__(self) -> str:
        role = f"role in {self.role}" if self.role else "user and assistant by turns"
        what = f"one turn in each row, {role}, content in {self.content}" if self.content else "one round in each row"
        return f"{what}, dialogues by {self.dialogue}" if self.dialogue else f"{what}, the file one dialogue"

    @property
    def columns(self) -> set[str]:
        """The columns that are read."""
        return {name for name in (self.dialogue, self.place, self.role, self.content, self.system) if name}


@dataclass
class Transcript:
    """A dialogue that was put together: its id, its turns as a format gives them, and the columns that were left unread."""

    id: str | None
    source: object
    turns: list[dict]
    unread: set[str] = field(default_factory=set)
    repeated: bool = False


def layout(first: list[object], names: Names) -> Layout | None:
    """The layout of a file by its first raw rows, None if its rows are dialogues or something else."""
    if "role" in names.columns:
        return Layout(place=None, **{key: names.columns.get(key) for key in ("dialogue", "role", "content", "system")})
    rows = [row for row in map(_parsed, first) if isinstance(row, dict)]
    if names.columns or len(rows) < 2:
        return None
    columns = known(tuple(dict.fromkeys(name for row in rows for name in row)))
    place = _counting(rows, columns["place"])
    system = next(iter(columns["system"]), None)
    if columns["role"] and columns["content"] and not any(is_dialogue(row, names) for row in rows):
        role = max(columns["role"], key=lambda column: sum(_speaker(row, column) in names.roles for row in rows))
        content = next((column for column in columns["content"] if has_value(rows[0], column)), columns["content"][0])
        dialogue = _repeating(rows, [name for name in columns["dialogue"] if name not in (role, content)])
        return Layout(dialogue, place, role, content, system) if dialogue else None
    if place and columns["content"] and not columns["role"] and not any(is_dialogue(row, names) for row in rows):
        content = columns["content"][0]
        dialogue = _repeating(rows, [name for name in columns["dialogue"] if name != content and name.casefold() != "id"])
        return Layout(dialogue, place, None, content, system) if dialogue else None
    rounds = place and not columns["history"] and all(_is_round(row, names) for row in rows)
    dialogue = _repeating(rows, [name for name in columns["dialogue"] if name.casefold() != "id"]) if rounds else None
    return Layout(dialogue, place, system=system) if dialogue else None


def unknown_speakers(first: list[object], found: Layout, names: Names) -> str | None:
    """Why nobody can tell who speaks, None if somebody is known."""
    if not found.role:
        return None
    rows = [row for row in map(_parsed, first) if isinstance(row, dict)]
    said = Counter(str(value_at(row, found.role)) for row in rows if value_at(row, found.role) is not None)
    if not said:
        return f"none of the first rows has the column {found.role}"
    if any(name.strip().casefold() in names.roles for name in said):
        return None
    shown = ", ".join(name[:40] for name, _ in said.most_common(6))
    return f"nobody in the column {found.role} ({shown}) is known; say who they are with --roles user=…,assistant=…"


def scattered(rows: Iterable[tuple[int, object]], found: Layout) -> str | None:
    """Why the rows of some dialogue cannot be joined: others stand between them. None if they can."""
    ended: set[int] = set()
    last = None
    for number, raw in rows:
        row = _parsed(raw)
        if not isinstance(row, dict):
            continue
        key = _key(row, found)
        if key != last:
            if hash(key) in ended:
                where = f"row {number} goes on with {found.dialogue} {key[:40]!r} after rows of others"
                return f"{where}; sort the rows by it, keeping the order of its turns"
            ended.add(hash(last))
        last = key
    return None


def whole(rows: Iterable[tuple[int, object]], found: Layout, names: Names) -> Iterator[tuple[int, object]]:
    """Yields (line of the first turn, `Transcript`) of rows whose dialogues stand together; a `BadRow` for what cannot be read.

    Where a row cannot be read, the dialogue before it and the one after it may lack a turn, and are none.
    """
    current = _Current(0, None)
    broken = False
    for number, raw in rows:
        row = _parsed(raw)
        if isinstance(row, BadRow) or not isinstance(row, dict):
            current.fault = current.fault or f"row {number} beside it cannot be read"
            broken = True
            yield number, raw
            continue
        key = _key(row, found)
        if not key:
            current.fault, broken = current.fault or f"row {number} beside it has no {found.dialogue}", True
            yield number, BadRow(found.dialogue or "row", "nothing that tells of which dialogue the turn is")
            continue
        if current.key != key:
            if current.transcript:
                yield current.line, current.result()
            current = _Current(number, key, "the row before it cannot be read" if broken else None)
        broken = False
        current.add(row, found, names)
    if current.transcript:
        yield current.line, current.result()


class _Current:
    """The dialogue of which rows are being read."""

    def __init__(self, line: int, key: str | None, fault: str | None = None):
        self.line, self.key, self.fault = line, key, fault
        self.transcript: Transcript | None = None
        self.seen: set[tuple[object, str]] = set()
        self.place, self.size = -1, 0

    def result(self) -> object:
        return BadRow("dialogue", self.fault) if self.fault else self.transcript

    def add(self, row: dict, found: Layout, names: Names) -> None:
        """Adds the turns of a row; what it says a second time is left out."""
        if self.transcript is None:
            self.transcript = Transcript(self.key if found.dialogue else None, row.get("source"), [])
            system = value_at(row, found.system) if found.system else None
            if isinstance(system, str) and system.strip():
                self.transcript.turns.append({"role": "system", "content": system})
        try:
            turns = _turns(row, found, names, sum(turn["role"] != "system" for turn in self.transcript.turns))
        except BadRow as error:
            self.fault = self.fault or f"{error.where}: {error.reason}"
            return
        place = _whole_number(row.get(found.place)) if found.place else None
        said = (place, repr([turn["content"] for turn in turns]))
        if place is not None and said in self.seen:
            self.transcript.repeated = True
            return
        self.seen.add(said)
        if place is not None and place < self.place and not self.fault:
            self.fault = f"{found.place} {place} after {self.place}; sort the rows of a dialogue by it"
        self.place = self.place if place is None else place
        self.size += sum(len(str(turn["content"])) + _TURN_BYTES for turn in turns)
        if self.size > LARGEST_ROW:
            self.fault = f"longer than {LARGEST_ROW:,} bytes; {found.dialogue} does not tell dialogues apart"
            self.transcript.turns.clear()
            return
        self.transcript.turns += turns
        left = unread_among(row, found.columns) if found.content else unread(row, FORMATS["pair"], names)
        self.transcript.unread.update(left)


def _turns(row: dict, found: Layout, names: Names, said: int) -> list[dict]:
    """The turns of a row, behind `said` others."""
    if not found.content:
        return pair(row, names)
    content = value_at(row, found.content)
    role = value_at(row, found.role) if found.role else ROUND[said % 2]
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise BadRow(found.content, "not a text")
    note = {} if found.role or said else {"note": BY_TURNS}
    return [{"role": str(role).strip() if role is not None else "", "content": content, **note}]


def _is_round(row: dict, names: Names) -> bool:
    try:
        return is_pair(row, names) and len(pair(row, names)) == len(("user", "assistant"))
    except BadRow:
        return False


def _parsed(raw: object) -> object:
    """The row, or the `BadRow` that says why there is none."""
    try:
        return parsed(raw)
    except BadRow as error:
        return error


def _speaker(row: dict, column: str) -> str:
    return str(row.get(column)).strip().casefold()


def _key(row: dict, found: Layout) -> str:
    value = value_at(row, found.dialogue) if found.dialogue else "-"
    return "" if value is None else str(value).strip()


def _repeating(rows: list[dict], candidates: list[str]) -> str | None:
    """The first of the columns in which rows that stand together are alike and others are not, or else all are alike."""
    alike = []
    for column in candidates:
        keys = [str(row.get(column)) for row in rows]
        if any(first == second for first, second in pairwise(keys)):
            alike.append((len(set(keys)) == 1, column))
    return min(alike, key=lambda one: one[0])[1] if alike else None


def _counting(rows: list[dict], candidates: tuple[str, ...]) -> str | None:
    """The first of the columns that holds whole numbers alone."""
    return next((name for name in candidates if all(_whole_number(row.get(name)) is not None for row in rows)), None)


def _whole_number(value: object) -> int | None:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
