"""A chunk of raw rows → checked and masked dialogues on the disk, and the figures by which they are screened."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import ipc

from medllm_hf.control_tokens import CONTROL_TOKENS
from medllm_hf.data.dialogues import Policy, Problem, content_hash, examine
from medllm_hf.data.screening import decontamination
from medllm_hf.data.screening.near_duplicates import GRAM, ROLE_MARKS, Letters, exact_keys, letters, marked, normal, signatures
from medllm_hf.data.screening.pii import masking as pii

MESSAGE = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
SCHEMA = pyarrow.schema([("id", pyarrow.string()), ("source", pyarrow.string()), ("messages", pyarrow.list_(MESSAGE))])
# Of each kind of personal data in one chunk.
EXAMPLES = 3
_AROUND = 24


@dataclass(frozen=True)
class Settings:
    """What every chunk of one build is treated by. `personal` is mask, drop or refuse; spilled rows go to `folder`."""

    files: list[Path]
    format: str
    policy: Policy
    personal: str
    near_duplicates: bool
    index: decontamination.Index | None
    folder: Path


@dataclass(frozen=True)
class Listed:
    """A row that was changed or left out, for the list of all of them. `file` is its number."""

    verdict: str
    file: int
    line: int
    field: str
    reason: str


@dataclass(frozen=True)
class Overlap:
    """A question found in row `row`, and the stretch of turn `turn` that holds it."""

    row: int
    question: int
    edits: int
    turn: int
    excerpt: str

    def at(self, start: int) -> "Overlap":
        """The same with its row counted from another start."""
        return replace(self, row=start + self.row)


@dataclass
class Screened:
    """What is known of a chunk. `columns` hold one entry a row that is left; `fatal` and `refused` end the build.

    counts: read, accepted, repaired, rejected, control (dialogues that spell control tokens), personal (dialogues with
        personal data); personal_kinds: pieces found of each kind. left: columns that were not read → rows that fill them.
    examples: (kind, file, line, turn, masked text).
    """

    counts: Counter[str] = field(default_factory=Counter)
    personal_kinds: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    listed: list[Listed] = field(default_factory=list)
    examples: list[tuple[str, int, int, int, str]] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    fatal: Problem | None = None
    refused: tuple[str, str, str] | None = None


def spill_path(folder: Path, number: int) -> Path:
    """The file that keeps the rows of chunk `number`."""
    return folder / f"{number:06d}.arrow"


def screen_chunk(number: int, raws: list[tuple[int, int, object]], settings: Settings) -> Screened:
    """Writes the usable rows among `raws`, (number of the file, line, raw row), and returns all that is known of them."""
    result, rows, places = Screened(), [], []
    for file, line, raw in raws:
        row, problem = examine(settings.files[file], line, raw, settings.format, settings.policy, result.left)
        result.counts["read"] += 1
        result.counts["accepted" if problem is None else "repaired" if row else "rejected"] += 1
        if problem:
            if problem.fatal:
                result.fatal = problem
                return result
            verdict, reason = "repaired" if row else "rejected", _without_personal_data(problem.reason)
            result.listed.append(Listed(verdict, file, line, problem.field, reason))
        if row and _passes(row, file, line, settings, result):
            rows.append(row)
            places.append((file, line))
        if result.refused:
            return result
    _spill(rows, spill_path(settings.folder, number))
    _measure(rows, places, settings, result)
    return result


def _passes(row: dict, file: int, line: int, settings: Settings, result: Screened) -> bool:
    """Masks personal data in `row`; false where the row is to be left out for it."""
    if any(token in turn["content"] for turn in row["messages"] for token in CONTROL_TOKENS):
        result.counts["control"] += 1
    for name in ("id", "source"):
        if pii.find(row[name]):
            row[name] = content_hash(row["messages"])[:16] if name == "id" else _without_personal_data(row[name])
            result.listed.append(Listed("masked", file, line, name, "may be personal data"))
    found = [pii.find(turn["content"]) for turn in row["messages"]]
    kinds = Counter(piece.kind for pieces in found for piece in pieces)
    if not kinds:
        return True
    names = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    if settings.personal == "refuse":
        place = f"{settings.files[file]}:{line}"
        result.refused = (f"personal data ({names}) in {place}", "none", "choose --on-personal-data mask or drop")
        return False
    result.counts["personal"] += 1
    result.personal_kinds += kinds
    result.listed.append(Listed("masked" if settings.personal == "mask" else "personal data", file, line, "turns", names))
    if settings.personal == "mask":
        _mask(row, found, file, line, result)
    return settings.personal == "mask"


def _mask(row: dict, found: list[list[pii.Found]], file: int, line: int, result: Screened) -> None:
    # An id made from the text would let a reader who guesses the number check the guess.
    made = row["id"] == content_hash(row["messages"])[:16]
    for i, (turn, pieces) in enumerate(zip(row["messages"], found, strict=True)):
        if not pieces:
            continue
        turn["content"] = pii.mask(turn["content"], pieces)
        start = max(0, pieces[0].start - _AROUND)
        if sum(example[0] == pieces[0].kind for example in result.examples) < EXAMPLES:
            excerpt = turn["content"][start : start + 3 * _AROUND]
            result.examples.append((pieces[0].kind, file, line, i, excerpt))
    if made:
        row["id"] = content_hash(row["messages"])[:16]


def _without_personal_data(text: str) -> str:
    return pii.mask(text, pii.find(text))


def _spill(rows: list[dict], path: Path) -> None:
    turns = [turn for row in rows for turn in row["messages"]]
    offsets = np.cumsum([0, *(len(row["messages"]) for row in rows)], dtype=np.int32)
    texts = [pyarrow.array([turn[name] for turn in turns], pyarrow.string()) for name in ("role", "content")]
    messages = pyarrow.ListArray.from_arrays(offsets, pyarrow.StructArray.from_arrays(texts, fields=list(MESSAGE)))
    names = [pyarrow.array([row[name] for row in rows], pyarrow.string()) for name in ("id", "source")]
    with ipc.new_file(str(path), SCHEMA) as writer:
        writer.write_batch(pyarrow.RecordBatch.from_arrays([*names, messages], schema=SCHEMA))


def _measure(rows: list[dict], places: list[tuple[int, int]], settings: Settings, result: Screened) -> None:
    """Fills in the columns and the overlaps of the rows."""
    texts = normal([marked(row["messages"]) for row in rows])
    origins = np.array(places, dtype=np.int64).reshape(-1, 2)
    result.columns.update(
        key=exact_keys(texts),
        id=np.array([id_hash(row["id"]) for row in rows], dtype=np.uint64),
        file=origins[:, 0].astype(np.int32),
        line=origins[:, 1],
        length=np.array([sum(len(turn["content"]) for turn in row["messages"]) for row in rows], dtype=np.int32),
    )
    if not (settings.near_duplicates or settings.index):
        return
    # One system turn for all dialogues would make all of them alike.
    first = [int(row["messages"][0]["role"] == "system") for row in rows]
    talks = [row["messages"][start:] for row, start in zip(rows, first, strict=True)]
    texts = letters(normal([marked(talk) for talk in talks]) if any(first) else texts)
    if settings.near_duplicates:
        slots, bands = signatures(texts)
        result.columns.update(slots=slots, bands=bands, comparable=np.diff(texts.offsets) >= GRAM)
    if settings.index:
        for hit in decontamination.search(settings.index, texts):
            turn, excerpt = _stretch(talks[hit.text], texts, hit)
            result.overlaps.append(Overlap(hit.text, hit.question, hit.edits, turn + first[hit.text], excerpt))


def id_hash(name: str) -> int:
    """64 bits that tell ids apart."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _stretch(messages: list[dict], texts: Letters, hit: decontamination.Hit) -> tuple[int, str]:
    """The turn in which a hit ends, and the text of the hit there with a little around it."""
    codes = texts.text(hit.text)
    marks = np.flatnonzero(np.isin(codes[: hit.end], [ord(mark) for mark in ROLE_MARKS.values()]))
    turn = len(marks) - 1
    content, before = messages[turn]["content"], int(marks[-1]) + 1
    begin, end = (_after_letters(content, place - before) for place in (hit.begin, hit.end))
    begin, end = max(0, begin - _AROUND), end + _AROUND
    return turn, ("…" if begin else "") + content[begin:end] + ("…" if end < len(content) else "")


def _after_letters(content: str, count: int) -> int:
    """The place in `content` behind its first `count` letters."""
    for place, char in enumerate(content):
        if count <= 0:
            return place
        count -= _letter_count(char)
    return len(content)


@lru_cache(maxsize=65_536)
def _letter_count(char: str) -> int:
    return len(decontamination.letters_of(char))
