"""What runs are called where several stand side by side."""

from collections import Counter
from pathlib import Path

from medllm_hf.errors import UserError


def distinct_names(runs: list[str]) -> list[str]:
    """A name for each run: its folder's, with as many parents before it as tell it from the others.

    Raises:
        UserError: one folder twice.
    """
    parts = [Path(run).resolve().parts for run in runs]
    for run, count in Counter(parts).items():
        if count > 1:
            raise UserError(f"the run {Path(*run).name} twice", "each run once", "leave one out")
    names = []
    for own in parts:
        depth = 1
        while sum(other[-depth:] == own[-depth:] for other in parts) > 1:
            depth += 1
        names.append("/".join(own[-depth:]))
    return names
