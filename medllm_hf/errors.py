"""How mistakes of the user are told: on one line, with exit code 2. Every room may raise `UserError`."""

import argparse
import sys


class UserError(Exception):
    """Says what was found, what was expected and what to do, as one line."""

    def __init__(self, found: str, expected: str, do: str):
        super().__init__(" ".join(f"found {found}; expected {expected}; {do}".split()))


class OneLineParser(argparse.ArgumentParser):
    """argparse, with its complaints on one line."""

    def error(self, message: str):
        print(f"{self.prog}: {message}; see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)


def first_line(error: Exception) -> str:
    """The first line of an error's text, for a message that stays on one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
