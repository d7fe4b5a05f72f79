"""A report as a list of blocks, and the blocks as Markdown. html.py writes the same blocks as a page."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from medllm_hf.reporting.phrases import DEFAULT, LIST, Language, Phrase, Text, Words, joined, say

# The most names that a list spells out.
MOST_NAMED = 20


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 to 4."""

    kind: ClassVar[str] = "heading"
    level: int
    text: Words


@dataclass(frozen=True)
class Paragraph:
    """Running text, and the address that it ends with, if any."""

    kind: ClassVar[str] = "paragraph"
    text: Words
    address: str = ""


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    kind: ClassVar[str] = "table"
    head: tuple[Words, ...]
    rows: tuple[tuple[Words, ...], ...]


@dataclass(frozen=True)
class Figure:
    """The picture `name`.png, which is there as `name`.svg too."""

    kind: ClassVar[str] = "figure"
    name: str
    text: Words


Block = Heading | Paragraph | Table | Figure


def in_language(blocks: Iterable[Block], language: Language) -> list[Block]:
    """The blocks with their texts in one language, as `markdown` and pages take them."""
    found: list[Block] = []
    for block in blocks:
        match block:
            case Table(head, rows):
                lines = [tuple(say(text, language) for text in line) for line in (head, *rows)]
                found.append(Table(lines[0], tuple(lines[1:])))
            case _:
                found.append(replace(block, text=say(block.text, language)))
    return found


def markdown(blocks: Iterable[Block], language: Language = DEFAULT) -> str:
    """The blocks as a Markdown page in a language."""
    parts = []
    for block in in_language(blocks, language):
        match block:
            case Heading(level, text):
                parts.append(f"{'#' * level} {cell(text)}")
            case Paragraph(text, address):
                parts.append(cell(text) + (f" <{address}>" if address else ""))
            case Table():
                parts.append("\n".join(table_lines(block)))
            case Figure(name, text):
                parts.append(f"![{cell(text)}]({name}.png)")
    return "\n\n".join(parts) + "\n"


def table_lines(table: Table) -> list[str]:
    """The lines of a Markdown table."""
    lines = [table.head, ("---",) * len(table.head), *table.rows]
    return ["| " + " | ".join(text if text == "---" else cell(text) for text in line) + " |" for line in lines]


def cell(text: object) -> str:
    """`text` as it may stand anywhere in a Markdown page: one line, no markup, no column break."""
    plain = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", plain)


def figure_name(name: str, number: int) -> str:
    """The file name, without its ending, of a figure of the dataset `number`, counted from 1."""
    return name if number == 1 else f"{name}-{number}"


def percent(share: float | None) -> str:
    """0.5 → "50.0%", None → "–"."""
    return "–" if share is None else f"{100 * share:.1f}%"


_FROM_TO, _FROM_TO_PERCENT = Phrase("{low} to {high}", "{low} 至 {high}"), Phrase("{low} to {high}%", "{low}% 至 {high}%")


def span(low: str, high: str) -> Text:
    """("3.90", "4.50") → "3.90 to 4.50"."""
    return _FROM_TO(low=low, high=high)


def interval(low: float, high: float) -> Text:
    """(0.4, 0.6) → "40.0 to 60.0%"."""
    return _FROM_TO_PERCENT(low=f"{100 * low:.1f}", high=f"{100 * high:.1f}")


def chance_text(p: float | None) -> str:
    """A p value with three decimals, "< 0.001" for less, "–" for None."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def score(value: float | None) -> str:
    """4.846 → "4.85", None → "–"."""
    return "–" if value is None else f"{value:.2f}"


def signed(value: float | None) -> str:
    """0.046 → "+0.05", None → "–"."""
    # The zero added makes a -0.0 a 0.0.
    return "–" if value is None else f"{round(value, 2) + 0.0:+.2f}"


def words(name: str) -> str:
    """The name of a criterion, check or setting as it is read in English."""
    return name.replace("_", " ")


_MORE = Phrase("{names} and {n} more, which {file} names", "{names} 等，另有 {n} 项见 {file}")


def listed(names: Sequence[str], file: str = "results.json", between: Words = LIST) -> Text:
    """The names, the first of them where there are many and `file` has the rest."""
    more, first = len(names) - MOST_NAMED, joined(names[:MOST_NAMED], between)
    return _MORE(names=first, n=more, file=file) if more > 0 else first
