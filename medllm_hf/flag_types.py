"""The texts of the command line as values; what is none is refused by argparse, in its words."""

import argparse
import math


def true_or_false(text: str) -> bool:
    """What `true` or `false` says, in any case."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def whole(text: str) -> int:
    """A whole number that the libraries can hold."""
    number = int(text) if len(text) < 30 and text.isascii() else 2**63
    if abs(number) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number of at most 18 digits")
    return number


def real(text: str) -> float:
    """A finite number."""
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no finite number")
    return number


def seed(text: str) -> int:
    """A seed that the libraries can hold."""
    number = whole(text)
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {2**32 - 1}")
    return number


def batch_size(text: str) -> int | None:
    """A number of questions; None for `auto`."""
    return None if text == "auto" else whole(text)


def port(text: str) -> int:
    """A port of TCP, 0 for a free one."""
    number = whole(text)
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {2**16 - 1}")
    return number


# What argparse calls them, when a text is no number at all.
whole.__name__ = seed.__name__ = port.__name__ = batch_size.__name__ = "int"
real.__name__ = "float"
