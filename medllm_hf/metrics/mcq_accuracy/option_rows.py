"""Options that a reply lists with their texts, "A. …" and "B. …", one a line or in one line (rules 6 and 10 of extraction.py).

Models copy an option with a word changed or break off in its middle, so the text need not be the option's to the letter.
"""

import re
from collections import Counter
from dataclasses import dataclass

from .named_letters import Reply

_MARK = r"\(?([A-Z])\)?[ ]?[.:、)][ ]?"
_FIRST = re.compile(r"[-\s]{0,4}" + _MARK)
_LINE = re.compile(r"\n[-\s]{0,4}" + _MARK)
_INLINE = re.compile(r"[\n;。, ][-\s]{0,4}" + _MARK)
_DOTS = re.compile(r"\.\.\W*$")
# A row that goes on to judge its option names nobody: "B. … (错误)".
_JUDGED = re.compile(
    r"(?:正确(?:答案)?|错误?|对|[√×✓✗✘❌✔✅]|\b(?:correct|incorrect|right|wrong|true|false))"
    r"(?:答案|选项| answer)?的?[)。.;,\s]*$",
    re.I,
)
_SIGNS = re.compile(r"[\W_]+")
# The least share of what is said that must be the option's, and of the option that must be said; below so many characters
# nothing may differ. Longer than the option by more than this it says more than the option does.
_SAID, _OF_TEXT, _SHORT, _LONGER = 0.7, 0.6, 6, 20


@dataclass(frozen=True)
class Rows:
    """Options listed up to `end`; `own` where each gives its option's own text, `cut` where the reply breaks off in the last.

    What breaks off in the last option of all is not cut: no other can follow.
    """

    labels: str
    end: int
    own: bool
    cut: bool


def read_rows(r: Reply, at: int, end: int, inline: bool = False, least: int = 2) -> Rows | None:
    """The rows that begin at `at`, each with a later label than the one before; None where there are fewer than `least`.

    Args:
        end: where the reply goes on with something else.
        inline: rows need not begin a line.
    """
    first = _FIRST.match(r.text, at, end)
    if not first or first[1] not in r.labels:
        return None
    marks = [first]
    for mark in (_INLINE if inline else _LINE).finditer(r.text, first.end(), end):
        if mark[1] > marks[-1][1] and mark[1] in r.labels:
            marks.append(mark)
        elif not inline:
            end = mark.start()
            break
    if len(marks) < least:
        return None
    said = [(mark[1], mark.end(), after.start()) for mark, after in zip(marks, marks[1:], strict=False)]
    own = all(_is_own(r, label, r.text[start:stop]) for label, start, stop in said)
    last, start = marks[-1][1], marks[-1].end()
    stop = _last_row_ends(r, last, start, end)
    cut = own and stop == len(r.text) and last != max(r.labels) and _is_cut(r, last, r.text[start:stop])
    own = own and not cut and _is_own(r, last, r.text[start:stop])
    if not own and not inline and "\n" in r.text[first.end() : marks[1].start()]:
        return None  # an answer and, further on, what is said of others
    return Rows("".join(mark[1] for mark in marks), stop, own, cut)


def _is_cut(r: Reply, label: str, said: str) -> bool:
    """Whether what is said is how the option's text begins, a word aside, and not how it ends."""
    if _is_whole(r, label, said) or (said.rstrip()[-1:] in ("。", ".", "!") and not _DOTS.search(said)):
        return False
    said, own = _letters(said), _own_text(r, label)
    mine, its = (Counter(zip(one, one[1:], strict=False)) for one in (said, own[: len(said) + 2]))
    begins = own.startswith(said) or (len(said) >= _SHORT and (mine & its).total() >= _SAID * mine.total())
    return (bool(said) and begins and len(said) <= len(own)) or _is_own(r, label, said)


def _own_text(r: Reply, label: str) -> str:
    return next((_letters(text) for text, one in r.texts if one == label), "")


def _last_row_ends(r: Reply, label: str, start: int, end: int) -> int:
    """Where the text of the last row ends: with its line, unless the option's own text has more lines than one."""
    lines = [at for at in range(start, min(end, start + 2_000)) if r.text[at] == "\n"][:4]
    stops = [*lines, min(end, start + 2_000)]
    return next(
        (stop for stop in stops if _is_own(r, label, r.text[start:stop]) and _is_whole(r, label, r.text[start:stop])), stops[0]
    )


def _letters(text: str) -> str:
    return _SIGNS.sub("", text).lower()


def _is_own(r: Reply, label: str, said: str) -> bool:
    """Whether what is said is the option's own text, and no other's as much."""
    if len(said) > 2 * max((len(text) for text, _ in r.texts), default=0) + _LONGER:
        return False
    judged, said = _JUDGED.search(said), _letters(said)
    if judged and not _own_text(r, label).endswith(_letters(judged[0])):
        return False
    own = max((_likeness(said, _letters(text)) for text, one in r.texts if one == label), default=0.0)
    return own > max((_likeness(said, _letters(text)) for text, one in r.texts if one != label), default=0.0)


def _likeness(said: str, text: str) -> float:
    """How far what is said is the text, from 0 to 1; 0 below the least shares."""
    if said == text:
        return 1.0
    if min(len(said), len(text)) < _SHORT:
        return 0.0
    mine, its = (Counter(zip(one, one[1:], strict=False)) for one in (said, text))
    common = (mine & its).total()
    of_said, of_text = common / mine.total(), common / its.total()
    return of_said * of_text if of_said >= _SAID and (of_text >= _OF_TEXT) else 0.0


def _is_whole(r: Reply, label: str, said: str) -> bool:
    """Whether what is said ends as the option's text does."""
    return _letters(said).endswith(_own_text(r, label)[-4:])
