"""Which columns of a file are the question and its answer, or the turns, by what stands in them and not by their names.

Used where the names leave it open, only when one reading alone fits, and told in the report.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from medllm_hf.data.columns import Names, is_prose, known, plain
from medllm_hf.data.exam_options import given_options, letter_columns, plain_names
from medllm_hf.data.marked_text import TEMPLATES, split
from medllm_hf.data.pairs import QUESTIONS, pair_columns
from medllm_hf.data.sides import is_beside, side

# Of fewer rows nothing is said.
_FEWEST_ROWS = 8
# Of the texts of a question at least so many end with its mark, of those of an answer at most so many; both shares of the rows.
_ASKS, _SAYS = 0.6, 0.2
# A column of turns, or of texts, fills at least so many of the rows.
_FILLED = 0.9
# Texts that come again in more than half of the rows are kinds, or tasks; shorter ones are words.
_DISTINCT = 0.5
_SHORTEST = 12
# What a search finds for a question is longer than it, too.
_FOUND = re.compile(
    r"doc|chunk|text|content|article|page|snippet|corpus|positive|negative|report|record|story|summary|caption|descri|sql|code"
    r"|case|文档|文章|原文|段落|正文|描述|简介|摘要|病"
)
_MARKS = ("?", "？", "؟", "吗", "呢")


@dataclass(frozen=True)
class Shown:
    """A raw row with the columns of the dialogue in it, as `--columns` names them."""

    raw: object
    columns: dict[str, str]


def turns_by_content(rows: Sequence[dict], names: Names) -> dict[str, str] | None:
    """The one column in which nearly all rows hold turns of known roles, as `--columns`."""
    if not rows:
        return None
    found: dict[str, int] = {}
    for row in rows:
        for name, value in row.items():
            if _are_turns(value, names):
                found[name] = found.get(name, 0) + 1
    columns = [name for name, count in found.items() if count >= _FILLED * len(rows)]
    if len(found) != 1 or len(columns) != 1 or "," in columns[0]:
        return None
    # What waits for an answer that stands beside it is no whole dialogue.
    waits = sum(_last_side(row.get(columns[0]), names) == "user" for row in rows) * 2 > len(rows)
    answers = any(side(name) == "assistant" and isinstance(value, str) for row in rows for name, value in row.items())
    return None if waits and answers else {"messages": columns[0]}


def pair_by_content(rows: Sequence[dict]) -> dict[str, str] | None:
    """The only two columns of texts of which one asks and the other, longer one does not, as `--columns`; else None."""
    if len(rows) < _FEWEST_ROWS:
        return None
    if any(given_options(row, plain_names(row)) is not None or len(letter_columns(row)) > 1 for row in rows):
        return None
    texts = _texts(rows)
    others = {name for row in rows for name, value in row.items() if isinstance(value, list | dict) and value} - texts.keys()
    if len(texts) != 2 or others:
        return None
    (first, firsts), (second, seconds) = texts.items()
    for asks, asked, says, said in ((first, firsts, second, seconds), (second, seconds, first, firsts)):
        if side(asks) == "assistant" or side(says) in ("user", "passage") or _FOUND.search(plain(says)):
            continue
        longer = median(map(len, said)) > median(map(len, asked))
        if longer and _share(asked) >= _ASKS and _share(said) <= _SAYS and not {"," in asks, "," in says} & {True}:
            return {"user": asks, "assistant": says}
    return None


def question_by_content(rows: Sequence[dict]) -> dict[str, str] | None:
    """The question where an `instruction` beside it is another in each row, and so another wording and no task."""
    if len(rows) < _FEWEST_ROWS:
        return None
    told: set[str] = set()
    asked: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    for row in rows:
        asks, answer = pair_columns(row)
        instruction = known(tuple(row))["instruction"][:1]
        if len(asks) != 2 or tuple(asks[:1]) != instruction or plain(asks[1]) not in QUESTIONS:
            return None
        told.add(str(row[asks[0]]))
        asked.add(str(row[asks[1]]))
        pairs.add((asks[1], answer))
    if len(pairs) != 1 or len(told) <= _DISTINCT * len(rows) or len(asked) <= _DISTINCT * len(rows):
        return None
    question, answer = next(iter(pairs))
    return {"user": question, "assistant": answer}


def _texts(rows: Sequence[dict]) -> dict[str, list[str]]:
    """The columns of texts that differ from row to row, with the texts; those that tell of a row are none."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str) and is_prose(value):
                found.setdefault(name, []).append(value.strip())
    return {
        name: texts
        for name, texts in found.items()
        if name and (not is_beside(name) or (plain(name) == "source" and any(plain(one) == "target" for one in found)))
        and len(texts) >= _FILLED * len(rows) and len(set(texts)) > _DISTINCT * len(texts)
        and median(map(_size, texts)) >= _SHORTEST
    }  # fmt: skip


def _size(text: str) -> int:
    """The length of a text, whose signs say more where they are of East Asia."""
    return len(text) if text.isascii() else 2 * len(text)


def _share(texts: list[str]) -> float:
    return sum(text.rstrip(" \t\n\"'”’)）。.!！").endswith(_MARKS) for text in texts) / len(texts)


def _are_turns(value: object, names: Names) -> bool:
    """Whether a value is a list of turns, each with a known role, of more than one side; or a text in a chat template."""
    if isinstance(value, str) and value.lstrip().startswith(TEMPLATES):
        value = [[turn["role"], turn["content"]] for turn in split(value, names.roles, question=False) or ()]
    if not isinstance(value, list) or len(value) < 2:
        return False
    sides = [_side_of(entry, names) for entry in value]
    return all(sides) and {"user", "assistant"} <= set(sides)


def _last_side(value: object, names: Names) -> str | None:
    return _side_of(value[-1], names) if isinstance(value, list) and value else None


def _side_of(entry: object, names: Names) -> str | None:
    if isinstance(entry, list):
        return names.roles.get(str(entry[0]).strip().casefold()) if len(entry) == 2 and isinstance(entry[1], str) else None
    if not isinstance(entry, dict):
        return None
    columns = known(tuple(entry))
    if not columns["role"] or not columns["content"] or not isinstance(entry[columns["content"][0]], str):
        return None
    return names.roles.get(str(entry[columns["role"][0]]).strip().casefold())
