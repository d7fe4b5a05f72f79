"""What is said of a run without a headline figure. Its verb ends with exit code 1: a script takes no figure from a judge or a
patient that has failed its canaries."""

from collections.abc import Sequence


def no_headline_text(reasons: Sequence[str]) -> str:
    """One line on why a finished run has no headline figure; "" where it has one, that is without reasons."""
    return f"no headline figure: {'; '.join(reasons)}" if reasons else ""
