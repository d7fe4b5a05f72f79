"""The text of a model card, line by line beside the one that the evidence gives."""

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from medllm_hf.evaluation.verification.findings import CONFIRMED, DECLARED, DIFFERENT, Finding
from medllm_hf.hub.cards import SECTION_BEGINS, SECTION_ENDS
from medllm_hf.hub.claims import claim
from medllm_hf.hub.runs import BASE

CARD = "README.md"
# Characters of a line that is shown, and of one that is looked at for what it may have been; lines that are named.
_LONGEST, _ALIKE, _NAMED = 90, 400, 100


def line_findings(made: Sequence[str], stored: Sequence[str]) -> list[Finding]:
    """A finding for each line with figures, and for each that is lacking, is of foreign hand or stands elsewhere.

    Outside the publisher's own words the card is exactly the one that the evidence gives, but for blank lines. The own words
    must end what they begin; each of their lines is declared, with what it claims.
    """
    found = _mark_findings(stored)
    ours, theirs = (_outside([line.rstrip() for line in lines]) for lines in (made, stored))
    strange = _strange(ours, theirs)
    found += _missing(ours, [line for _, line in theirs], strange)
    found += [_foreign(number, line) for number, line in strange[:_NAMED]]
    if len(strange) > _NAMED:
        found.append(Finding(f"{CARD} text", DIFFERENT, f"{len(strange) - _NAMED} more lines that are not of this card"))
    found += [*_order_findings(ours, theirs), *_torn_tables(ours, theirs)]
    own = _own_lines(stored)
    if wrong := _unended(own):
        found.append(Finding(f"{CARD} own words", DIFFERENT, f"{wrong} that does not end in the section"))
    said = [line for line in own if line.strip()]
    found += [_own(line) for line in said[:_NAMED]]
    if len(said) > _NAMED:
        found.append(Finding(f"{CARD} own words", DECLARED, f"{len(said) - _NAMED} more lines"))
    return found


def _outside(lines: Sequence[str]) -> list[tuple[int, str]]:
    """(number from 1, text) of the lines with words that are not between the marks; the marks are among them."""
    found, inside = [], False
    for number, line in enumerate(lines, start=1):
        inside = inside and line != SECTION_ENDS
        if line and not inside:
            found.append((number, line))
        inside = inside or line == SECTION_BEGINS
    return found


def _own_lines(lines: Sequence[str]) -> list[str]:
    lines = [line.rstrip() for line in lines]
    if SECTION_BEGINS not in lines or SECTION_ENDS not in lines:
        return []
    return lines[lines.index(SECTION_BEGINS) + 1 : lines.index(SECTION_ENDS)]


def _mark_findings(lines: Sequence[str]) -> list[Finding]:
    marks = [line.strip() for line in lines if line.strip() in (SECTION_BEGINS, SECTION_ENDS)]
    if marks in ([], [SECTION_BEGINS, SECTION_ENDS]):
        return []
    return [Finding(f"{CARD} own words", DIFFERENT, "marks that are not one beginning and one end")]


def _strange(ours: list[tuple[int, str]], theirs: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The lines of a card that are not, or not so often, in the one made again."""
    left, strange = Counter(line for _, line in ours), []
    for number, line in theirs:
        if left[line] > 0:
            left[line] -= 1
        else:
            strange.append((number, line))
    return strange


def _missing(ours: list[tuple[int, str]], theirs: list[str], strange: list[tuple[int, str]]) -> list[Finding]:
    """A finding for each line with figures of the card as it should be, and for each other one that is not there."""
    found = []
    figures, counts = set(_with_figures([line for _, line in ours])), Counter(theirs)
    near_ones = [text for _, text in strange[:1000] if len(text) < _ALIKE]
    for line, times in Counter(line for _, line in ours).items():
        figure = f'{CARD} "{_short(line)}"'
        if counts[line] >= times:
            whose = "the figures; whose weights they are of is declared" if line.startswith(f"| {BASE}/") else ""
            found += [Finding(figure, CONFIRMED, whose)] if line in figures else []
            continue
        near = difflib.get_close_matches(line[:_ALIKE], near_ones, 1, 0.6) if line in figures else []
        found.append(Finding(figure, DIFFERENT, f'the card has "{_short(near[0])}"' if near else "not in the card"))
    return found


def _foreign(number: int, line: str) -> Finding:
    said = claim(line)
    why = f"{said} that no evidence gives" if said else "not of this card; own words stand between its marks"
    return Finding(f'{CARD} text line {number} "{_short(line)}"', DIFFERENT, why)


def _order_findings(ours: list[tuple[int, str]], theirs: list[tuple[int, str]]) -> list[Finding]:
    """A finding where lines stand in another order: a table under the heading of another says something else."""
    times = Counter(line for _, line in ours)
    places = {line: place for place, (_, line) in enumerate(ours) if times[line] == 1}
    known = [(places[line], number) for number, line in theirs if line in places]
    later = next((two[1] for one, two in zip(known, known[1:], strict=False) if two[0] < one[0]), None)
    return [Finding(f"{CARD} text line {later}", DIFFERENT, "lines of the card in another order")] if later else []


def _torn_tables(ours: list[tuple[int, str]], theirs: list[tuple[int, str]]) -> list[Finding]:
    """A finding for each place where a blank line ends a table, whose other rows are then shown as text."""
    rows = {(one, two) for (at, one), (then, two) in pairwise(ours) if one.startswith("|") and then == at + 1}
    torn = [at for (at, one), (then, two) in pairwise(theirs) if (one, two) in rows and two.startswith("|") and then > at + 1]
    return [Finding(f"{CARD} text line {at + 1}", DIFFERENT, "a blank line within a table") for at in torn[:_NAMED]]


def _own(line: str) -> Finding:
    said = claim(line)
    why = f"{said}, in the publisher's own words" if said else "the publisher's own words"
    return Finding(f'{CARD} own words "{_short(line)}"', DECLARED, why)


_TAGS = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
# Elements that need no end.
_VOID = frozenset(("br", "hr", "img", "wbr", "input", "source"))


def _unended(lines: Sequence[str]) -> str | None:
    """What markup the lines begin and do not end, so that it would swallow what follows; None if they end all of it."""
    text = "\n".join(lines)
    if sum(line.startswith(("```", "~~~")) for line in lines) % 2:
        return "a block of code"
    if text.count("<!--") != text.count("-->"):
        return "a comment"
    if re.search(r"<(?:style|script|template|plaintext|textarea|xmp|noscript|iframe|object|svg|math)\b", text, re.I):
        return "an element"
    tags = Counter((name.lower(), bool(ends)) for ends, name in _TAGS.findall(text) if name.lower() not in _VOID)
    return "an element" if any(tags[name, True] != tags[name, False] for name, _ in list(tags)) else None


def _with_figures(lines: Sequence[str]) -> Iterator[str]:
    """Yields the lines of tables, lists and settings with digits in them."""
    fence = None
    for line in map(str.strip, lines):
        if line.startswith("```"):
            fence = line[3:] if fence is None else None
        elif re.search(r"\d", line) and (fence == "yaml" or (fence is None and line.startswith(("|", "- ")))):
            yield line


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
