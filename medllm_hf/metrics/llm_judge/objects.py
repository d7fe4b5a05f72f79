"""Finds JSON verdicts in a judge's reply, also those that are only nearly JSON."""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence

from .labels import BREAK, Scale, key_of, score_at

_DECODER = json.JSONDecoder(object_pairs_hook=lambda pairs: _Pairs(pairs))
_SCORE_NAMES = ("score", "value", "rating", "points", "met", "criteria_met", "分数", "得分", "评分", "结果", "满足")
_CRITERION_NAMES = ("criterion", "name", "dimension", "item", "point", "标准", "维度", "指标", "项目", "要点")
_NEAREST = 20_000  # signs; an object that is not JSON is mended only up to this length


class _Pairs(list):
    """The pairs of a JSON object: a name that stands twice is not lost."""


def object_verdicts(text: str, names: Mapping[str, Sequence[str]], scale: Scale) -> tuple[list[tuple[int, dict]], str]:
    """(position, scores) of the verdicts in JSON objects, and `text` with all objects blotted out."""
    found, place = [], 0
    for start in re.finditer(r"\{|\[(?=\s*\{)", text):
        if start.start() < place:
            continue
        value, end = _decoded(text, start.start())
        if end is None:
            continue
        place = end
        if not re.search(r"[\"'“‘「『]$", text[: start.start()]):
            found += [(start.start(), scores) for scores in _collected(value, names, scale)]
        text = text[: start.start()] + BREAK * (end - start.start()) + text[end:]
    return found, text


def _decoded(text: str, start: int) -> tuple[object, int] | tuple[None, None]:
    """The value that begins at `start` and its end; two None if none does."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    end = text.find({"{": "}", "[": "]"}[text[start]], start, start + _NEAREST) + 1
    if not end:
        return None, None
    mended = re.sub(r"//[^\n\"]*$|/\*.*?\*/", "", text[start:end].translate(str.maketrans("“”", '""')), flags=re.MULTILINE)
    mended = re.sub(r",(\s*[}\]])", r"\1", mended)
    try:
        return _DECODER.raw_decode(mended)[0], end
    except (ValueError, RecursionError):
        pass
    try:
        value = ast.literal_eval(mended)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None, None
    return _Pairs(value.items()) if isinstance(value, dict) else value, end


def _collected(value: object, names: Mapping[str, Sequence[str]], scale: Scale) -> Iterator[dict]:
    """Yields the scores of each verdict in a JSON value: the outermost object that names a criterion, or a list of such."""
    if isinstance(value, dict):
        value = _Pairs(value.items())
    if isinstance(value, _Pairs):
        own = [(key_of(str(name), names), _score(inner, scale)) for name, inner in value]
        if own := [(key, score) for key, score in own if key and score is not None]:
            yield _together(own)
            return
        for _, inner in value:
            yield from _collected(inner, names, scale)
    elif isinstance(value, list):
        fields = [dict(entry) for entry in value if isinstance(entry, _Pairs | dict)]
        named = [(key_of(str(_field(entry, _CRITERION_NAMES)), names), _score(entry, scale)) for entry in fields]
        if named := [(key, score) for key, score in named if key and score is not None]:
            yield _together(named)
            return
        for inner in value:
            yield from _collected(inner, names, scale)


def _together(pairs: list[tuple[str, float | str]]) -> dict:
    scores: dict[str, float | str] = {}
    for key, score in pairs:
        scores[key] = score if scores.get(key, score) == score else "two scores"
    return scores


def _field(entry: dict, wanted: Sequence[str]) -> object:
    return next((inner for name, inner in entry.items() if str(name).lower() in wanted), None)


def _score(value: object, scale: Scale) -> float | str | None:
    """The score in a JSON value, the reason why it is unclear, or None if the value is none."""
    if isinstance(value, bool):
        return float(value) if scale.words else "no score"
    if isinstance(value, int | float):
        # 10**400 is a number in JSON and none here.
        return float(value) if abs(value) < 1e9 else "no score"
    if value is None:
        return "no score"
    if isinstance(value, str):
        found = score_at(value.strip(), 0, scale, r"\s*$|\s*[,;。.(:-]\s*\D")
        return found and found[0]
    if isinstance(value, _Pairs | dict):
        fields = dict(value)
        return next((_score(inner, scale) for name, inner in fields.items() if str(name).lower() in _SCORE_NAMES), None)
    return "more than one number"
