"""How mistakes of the user are told: on one line, with exit code 2. Every room may raise `UserError`."""

import argparse
import os
import sys
from typing import NoReturn

# What is shown of what was found: it may be a value out of a foreign file.
_LONGEST = 1000


class UserError(Exception):
    """Says what was found, what was expected and what to do, as one line in which nothing steers a terminal."""

    def __init__(self, found: str, expected: str, do: str):
        self._parts = found, expected, do
        shown = found if len(found) <= _LONGEST else f"{found[:_LONGEST]} …"
        line = " ".join(f"found {shown}; expected {expected}; {do}".split())
        super().__init__(visible(line))

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        return UserError, self._parts  # so that another process can be sent it


def visible(text: str) -> str:
    """A foreign text as a terminal may show it: what would steer it, or is seen by nobody, stands there by its escape."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def unreadable(error: OSError | ValueError, path: object = None) -> UserError:
    """The refusal of a file or folder that the system does not give; a name with a NUL in it is a ValueError."""
    name = path or getattr(error, "filename", None) or "a file"
    name = os.fsdecode(name) if isinstance(name, bytes) else str(name)
    if isinstance(error, FileNotFoundError):
        return UserError(f"no {name}", "that file there", "check the path")
    if isinstance(error, IsADirectoryError):
        return UserError(f"a folder at {name}", "a file", "check the path")
    if isinstance(error, PermissionError):
        return UserError(f"no right to read or write {name}", "one that this user has the right to", "change its permissions")
    return UserError(f"{name} ({getattr(error, 'strerror', None) or first_line(error)})", "a file to read", "check the path")


def show_any_name() -> None:
    """Lets names and texts that standard output and standard error cannot encode be shown by their escapes."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class OneLineParser(argparse.ArgumentParser):
    """argparse, with its complaints on one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {' '.join(message.split())}; see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)


def kind_of(value: object) -> str:
    """What a value of JSON or YAML is, in the words of somebody who writes no Python."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    kinds = ((int | float, "a number"), (str, "a text"), (list | tuple, "a list"), (dict, "an object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), f"a {type(value).__name__}")


def first_line(error: Exception) -> str:
    """The first line of an error's text that says something, for a message that stays on one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def hub_failures() -> tuple[type[Exception], ...]:
    """What the Hub's client raises where something cannot be had; it takes a third of a second to import."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The first is what all errors of the client are, which is httpx or, from huggingface_hub 2 on, httpx2.
    return HfHubHTTPError.__bases__[0], HFValidationError, OSError
