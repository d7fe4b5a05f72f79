"""The metadata of a model card, key by key beside what the evidence and the publisher's words give."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from medllm_hf.evaluation.verification.findings import CONFIRMED, DECLARED, DIFFERENT, Finding
from medllm_hf.hub.claims import claim

CARD = "README.md"
# What only the publisher can say.
_WORDS = ("license", "base_model", "datasets")
_ID = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)?")
# Nodes and levels of a YAML text; the cards that are written here have some hundreds, and less than ten.
_NODES, _DEEPEST = 200_000, 50


def read_yaml(text: str) -> Any:
    """The value of a YAML text of foreign hand.

    Raises:
        ValueError: it repeats a key, has an alias or a tag, or is too deep or too long to be a card's.
        yaml.YAMLError: it is no YAML, or has what is no plain value.
    """
    level = 0
    for nodes, event in enumerate(yaml.parse(text, yaml.SafeLoader)):
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("an alias in YAML")
        if getattr(event, "tag", None):  # no card has one, and readers differ in what they make of it
            raise ValueError("a tag in YAML")
        if level > _DEEPEST or nodes > _NODES:
            raise ValueError("YAML nested too deep or too long")
    node = yaml.compose(text, yaml.SafeLoader)
    if node is not None and (name := next(_repeated(node), None)) is not None:
        raise ValueError(f"the key {name!r} twice")
    return yaml.safe_load(text)


def read_metadata(text: str) -> dict:
    """The metadata of a card.

    Raises:
        ValueError, yaml.YAMLError: see `read_yaml`; also another value than an object.
    """
    value = read_yaml(text)
    if not isinstance(value, dict):
        raise ValueError("no metadata")
    return value


def _repeated(node: yaml.Node) -> Iterator[str]:
    left = [node]
    while left:
        one = left.pop()
        if isinstance(one, yaml.MappingNode):
            names = [str(key.value) for key, _ in one.value]
            yield from (name for place, name in enumerate(names) if name in names[:place])
            left += [value for _, value in one.value]
        elif isinstance(one, yaml.SequenceNode):
            left += one.value


def metadata_findings(made: Mapping, stored: Mapping) -> list[Finding]:
    """A finding for each key; of `model-index` only whether it says anything that the one made again does not."""
    found = []
    for key in sorted({*made, *stored}, key=str):
        figure, ours, theirs = f"{CARD} metadata {key}", made.get(key), stored.get(key)
        if key == "model-index":
            if _text(ours) != _text(theirs):
                found.append(Finding(figure, DIFFERENT, "another text than the evidence gives"))
        elif key not in stored:
            found.append(Finding(figure, DIFFERENT, "not there"))
        elif key in _WORDS:
            ids = theirs if isinstance(theirs, list) else [theirs]
            if other := [one for one in ids if not (isinstance(one, str) and _ID.fullmatch(one))]:
                found.append(Finding(figure, DIFFERENT, f"{_text(other[0])}, which is no id of the Hub"))
            else:
                found.append(Finding(figure, DECLARED, _text(theirs)))
        elif key in ("license_name", "license_link") and stored.get("license") != "other":
            found.append(Finding(figure, DIFFERENT, f"{_text(theirs)}, beside the licence {_text(stored.get('license'))}"))
        elif key in made and _text(ours) == _text(theirs):
            found.append(Finding(figure, CONFIRMED, _text(theirs)))
        else:
            found.append(_other(figure, ours, theirs))
    return found


def _other(figure: str, ours: object, theirs: object) -> Finding:
    """The finding on a value that only the publisher can have given: more tags, or a key that no card here has."""
    more = theirs
    if isinstance(ours, list) and isinstance(theirs, list):
        if lacking := [one for one in ours if one not in theirs]:
            return Finding(figure, DIFFERENT, f"no {_text(lacking[0])}")
        more = [one for one in theirs if one not in ours]
    elif ours is not None:
        return Finding(figure, DIFFERENT, f"{_text(theirs)}, where {_text(ours)} follows")
    if said := claim(f"{figure}: {_text(more)}".replace("_", " ").replace("-", " ")):
        return Finding(figure, DIFFERENT, f"{said} that no evidence gives: {_text(more)}")
    return Finding(figure, DECLARED, _text(more))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
