"""How a verb ends whose run may have no headline figure: what was found, what is lacking and why, and the exit code."""

import sys
from collections.abc import Sequence


def told(found: str, reasons: Sequence[str]) -> int:
    """Prints what a finished run has found, and on stderr in one line why it has no headline; returns the exit code.

    Args:
        reasons: why there is none; empty where there is one. A script that goes on by the exit code takes no figure from a
            run whose judge or patient has failed its canaries.
    """
    print(found)
    if reasons:
        print(f"no headline figure: {'; '.join(reasons)}", file=sys.stderr)
    return int(bool(reasons))
