"""How mistakes of the user are told: on one line, with exit code 2. Every room may raise `UserError`."""

import argparse
import sys
from typing import NoReturn


class UserError(Exception):
    """Says what was found, what was expected and what to do, as one line in which nothing steers a terminal."""

    def __init__(self, found: str, expected: str, do: str):
        self._parts = found, expected, do
        line = " ".join(f"found {found}; expected {expected}; {do}".split())
        super().__init__("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line))

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        return UserError, self._parts  # so that another process can be sent it


class OneLineParser(argparse.ArgumentParser):
    """argparse, with its complaints on one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)


def first_line(error: Exception) -> str:
    """The first line of an error's text that says something, for a message that stays on one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
