"""Reads JSON values out of text, also those that a model has written only nearly as JSON."""

import ast
import json
import re

_DECODER = json.JSONDecoder(object_pairs_hook=lambda pairs: Pairs(pairs), strict=False)
_NEAREST = 20_000  # signs; a value that is not JSON is mended only up to this length
_CLOSING = {"{": "}", "[": "]"}
# What follows the end of a text: of a key, of a value in an object, and of an entry in a list.
_AFTER_KEY = re.compile(r"\s*:")
_AFTER_VALUE = re.compile(r'\s*(?:\}|,\s*(?:\}|"[^"\n]{1,60}"\s*:))')
_AFTER_ENTRY = re.compile(r'\s*(?:\]|,\s*[\]"{\[])')
_SIGN = re.compile(r'[{}\[\]":,\\]')


class Pairs(list):
    """The pairs of a JSON object: a name that stands twice is not lost."""


def decode(text: str, start: int, escaping: bool = True) -> tuple[object, int] | tuple[None, None]:
    """The value that begins with a bracket at `start`, and its end; two None if none does.

    Line breaks in a text are taken as they are. Mended are curly quotation marks, comments, a comma too many, Python's own
    way of writing, and, where `escaping`, quotation marks inside a text that nothing marks as such.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    end = text.find(_CLOSING[text[start]], start, start + _NEAREST) + 1
    if end:
        value = _read(_with_plain_quotes(text[start:end]))
        if value is not None:
            return value, end
    if not escaping:
        return None, None
    escaped, length = _escaped(_with_plain_quotes(text[start : start + _NEAREST]))
    try:
        return (_DECODER.raw_decode(escaped)[0], start + length) if length else (None, None)
    except (ValueError, RecursionError):
        return None, None


def _with_plain_quotes(text: str) -> str:
    return text.translate(str.maketrans("“”", '""'))


def _read(text: str) -> object:
    """The value of a text that is nearly JSON, or a value as Python writes it; None if it is neither."""
    text = re.sub(r"//[^\n\"]*$|/\*.*?\*/", "", text, flags=re.MULTILINE)
    text = re.sub(r",(\s*[}\]])", r"\1", text)
    try:
        return _DECODER.raw_decode(text)[0]
    except (ValueError, RecursionError):
        pass
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return Pairs(value.items()) if isinstance(value, dict) else value


def _escaped(text: str) -> tuple[str, int]:
    """The JSON value that `text` begins with, quotation marks inside its texts escaped, and its length; 0 without an end.

    A mark ends a text only where what follows can follow it: a colon after a key, the next key or the end after a value.
    """
    said: list[str] = []
    open_: list[str] = []
    place, inside, key = 0, False, False
    while found := _SIGN.search(text, place):
        sign, at = found[0], found.start()
        said.append(text[place:at])
        place = at + 1
        if inside:
            after = _AFTER_KEY if key else _AFTER_VALUE if open_[-1] == "{" else _AFTER_ENTRY
            if sign == "\\":
                sign, place = text[at : at + 2], at + 2
            elif sign == '"' and after.match(text, place):
                inside = False
            elif sign == '"':
                sign = '\\"'
        elif sign == '"':
            inside = True
        elif sign in _CLOSING:
            open_.append(sign)
            key = sign == "{"
        elif sign in "}]":
            if not open_ or _CLOSING[open_.pop()] != sign:
                return "", 0
            if not open_:
                return "".join([*said, sign]), place
            key = False
        elif sign in ":,":
            key = sign == "," and open_[-1:] == ["{"]
        said.append(sign)
    return "", 0
