"""The card that stands on the Hub or in a repository folder already: what its publisher wrote is kept or shown, never lost.

The last push from here is the one whose title `upload` gives. What was changed since then between the marks of own words, and
metadata that no card here has, are kept; any other change is shown and refused.
"""

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medllm_hf.errors import UserError, visible
from medllm_hf.folders import read_text
from medllm_hf.hub.card_figures import card_findings
from medllm_hf.hub.card_metadata import read_metadata
from medllm_hf.hub.cards import SECTION_BEGINS, SECTION_ENDS, own_words
from medllm_hf.hub.inventory import is_published
from medllm_hf.hub.runs import published

CARD = "README.md"
# The keys and tags that the cards of this program have.
KEYS = frozenset(
    ("language", "license", "license_name", "license_link", "library_name", "pipeline_tag", "tags", "base_model", "datasets")
) | {"model-index"}
TAGS = ("medical", "conversational", "medllm_hf", "lora")
_SHOWN, _LONGEST = 20, 160
_HERE = "edits between its marks of own words, which are kept"


@dataclass(frozen=True)
class Standing:
    """The texts of a card on the Hub.

    Attributes:
        now: As it stands there; None where there is none.
        pushed: As the last push from here left it; None where there was none.
    """

    now: str | None = None
    pushed: str | None = None


def merged_words(standing: Standing, ours: str | None, replace: bool) -> str | None:
    """The own words for the new card, of those that stand on the Hub and `ours`.

    Args:
        ours: those that the publisher has here; None where there are none.
        replace: whether ours count where both were changed.

    Raises:
        UserError: words changed on the Hub, and others here.
    """
    there, before = (own_words(text) if text else None for text in (standing.now, standing.pushed))
    if there in (before, ours):  # unchanged on the Hub since the last push, or the same
        return there if ours is None else ours
    if ours in (None, before):
        return there
    if replace:
        return ours
    told = _told("own words on the Hub, and others here", there or "", ours or "")
    do = "write both into the file of --card-section and into the card on the Hub, or add --replace-card"
    raise ShownError(told, UserError("own words that were edited on the Hub", "the same words here", do))


def more_metadata(standing: Standing) -> dict[str, Any]:
    """The metadata on the Hub that no card of this program has: other keys, and under "tags" other tags."""
    if standing.now is None:
        return {}
    found, _ = _parts(standing.now)
    more = {key: value for key, value in found.items() if key not in KEYS}
    tags = found.get("tags")
    tags = [one for one in tags if isinstance(one, str) and one not in TAGS] if isinstance(tags, list) else []
    return {**more, "tags": tags} if tags else more


def check_standing(standing: Standing, replace: bool) -> None:
    """Check that nothing was changed on the Hub but own words and further metadata.

    Args:
        replace: whether the publisher has said that the card is to be replaced.

    Raises:
        ShownError: something was, or the card there is not of this program.
    """
    if standing.now is None or replace:
        return
    now, before = (_core(text) if text else "" for text in (standing.now, standing.pushed))
    if now == before:
        return
    what = "edited outside of its marks since the last push" if standing.pushed else "that no push of this program left there"
    told = _told(f"{CARD} on the Hub, {what}", before, now)
    do = "move what should stay into the file of --card-section, or add --replace-card to lose it"
    raise ShownError(told, UserError(f"{CARD} on the Hub {what}", _HERE, do))


class ShownError(Exception):
    """A mistake of the user's with lines that are shown before it."""

    def __init__(self, lines: list[str], error: UserError):
        super().__init__(str(error))
        self.lines, self.error = lines, error


def _told(title: str, before: str, now: str) -> list[str]:
    changed = list(_changes(before, now))
    more = [f"  and {len(changed) - _SHOWN} more lines"] if len(changed) > _SHOWN else []
    return [f"{title}:", *changed[:_SHOWN], *more]


def _changes(before: str, now: str) -> Iterator[str]:
    for line in difflib.unified_diff(before.splitlines(), now.splitlines(), lineterm="", n=0):
        if not line.startswith(("---", "+++", "@@")) and line[1:].strip():
            yield visible(f"  {line[0]} {line[1 : _LONGEST + 1]}")


def _core(text: str) -> str:
    """A card without own words and further metadata, in one form however its metadata are written."""
    metadata, body = _parts(text)
    kept = {key: value for key, value in metadata.items() if key in KEYS}
    if isinstance(kept.get("tags"), list):
        kept["tags"] = [one for one in kept["tags"] if one in TAGS]
    head = [json.dumps({key: kept[key]}, ensure_ascii=False, sort_keys=True, default=str) for key in sorted(kept)]
    marked = rf"^{re.escape(SECTION_BEGINS)}\n.*?\n{re.escape(SECTION_ENDS)}$\n*"
    body = re.sub(marked, "", body, count=1, flags=re.S | re.M)
    return "\n".join([*head, *(line.rstrip() for line in body.splitlines() if line.strip())])


def _parts(text: str) -> tuple[dict, str]:
    """Metadata and body of a card of any hand; metadata that cannot be read count as body."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    head = re.match(r"---\n(.*?)\n---\n", text, re.S)
    try:
        return (read_metadata(head[1]), text[head.end() :]) if head else ({}, text)
    except (ValueError, yaml.YAMLError, RecursionError):
        return {}, text


def is_replaceable(out: Path) -> bool:
    """Whether a folder is the repository of an earlier push, all of which this program writes again.

    Raises:
        ShownError: its card was edited outside of the marks.
    """
    files = [path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()] if out.is_dir() else []
    if CARD not in files or not all(map(is_published, files)):
        return False
    metadata, _ = _parts(read_text(out / CARD))
    if "medllm_hf" not in (metadata.get("tags") or ()):
        return False
    if metadata.get("library_name") != "peft":
        try:
            wrong = [one for one in card_findings(out, published(out)) if not one.passes]
        except (UserError, OSError):  # damaged evidence: nobody can say what was edited
            return False
        if wrong:
            do = "move what should stay into the file of --card-section, and add --overwrite"
            lines = [f"{out / CARD}:", *(f"  {one.line}" for one in wrong[:_SHOWN])]
            raise ShownError(lines, UserError(f"{out / CARD}, which was edited or is of another version", _HERE, do))
    return True
