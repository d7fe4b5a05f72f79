"""Fields that a user adds to each request, such as `reasoning_effort`, and what a manifest says of them."""

import json
import re

from medllm_hf.errors import UserError

EXAMPLE = '{"reasoning_effort": "low"}'
# What a run sets and records by itself: field → what to use in its place.
_OURS = {
    "model": "URL#MODEL",
    "messages": "the cases, dialogues or questions",
    "max_tokens": "--max-new-tokens",
    "max_completion_tokens": "--max-new-tokens",
    "temperature": "--temperature",
    "seed": "--seed",
    "response_format": "--form",
    "stop": "nothing: no run sets one",
    "n": "--samples",
    "stream": "nothing: the client finds out",
    "stream_options": "nothing: the client finds out",
}
_SECRET = re.compile(r"(?:^|[_-])(?:api[_-]?)?(?:key|token|secret|password|authorization|credentials?)$", re.I)
MASK = "***"


def read_extra_body(text: str | None) -> str:
    """The fields of a JSON object, as one line of JSON with sorted keys; "" for none.

    Raises:
        UserError: it is no object, or has a field that a run sets by itself.
    """
    if not text:
        return ""
    try:
        fields = json.loads(text)
        line = json.dumps(fields, sort_keys=True, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise UserError("an --extra-body that is not JSON", f"an object such as {EXAMPLE}", "quote it for the shell") from error
    if not isinstance(fields, dict):
        raise UserError("an --extra-body that is no object", f"one such as {EXAMPLE}", "put it into braces")
    for name in fields:
        if name in _OURS:
            raise UserError(f"{name} in --extra-body", "fields that a run does not set by itself", f"use {_OURS[name]}")
    return line if fields else ""


def extra_fields(line: str) -> dict:
    """The fields that `read_extra_body` has read."""
    return json.loads(line) if line else {}


def record_extra_body(text: str | None) -> dict:
    """The fields for a manifest, with a mask in the place of every text whose name says that it is a secret."""
    return _masked(extra_fields(read_extra_body(text)))


def secrets_in(line: str) -> list[str]:
    """The texts that `record_extra_body` masks."""
    found: list[str] = []

    def walk(value: object, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, key)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, name)
        elif isinstance(value, str) and value and _SECRET.search(name):
            found.append(value)

    walk(extra_fields(line), "")
    return found


def _masked(value: dict) -> dict:
    hidden = set(secrets_in(json.dumps(value)))

    def walk(inner: object) -> object:
        if isinstance(inner, dict):
            return {name: walk(one) for name, one in inner.items()}
        if isinstance(inner, list):
            return [walk(one) for one in inner]
        return MASK if isinstance(inner, str) and inner in hidden else inner

    return {name: walk(one) for name, one in value.items()}
