"""Whether stored figures are those that were derived, and by which rules they were."""

import math
from collections.abc import Mapping
from pathlib import Path

from medllm_hf.errors import UserError

# Of the rules by which the metrics of judge runs and comparisons follow from their outputs. Version 1, whose metrics do not
# name it, gave intervals and correlations of however few cases; version 2 had no axes.
VERSION = 3


def version_of(metrics: Mapping | None) -> int:
    """The version of the rules by which stored metrics must be derived again; the present one where there are none."""
    if metrics is None or "version" not in metrics:
        return VERSION if metrics is None else 1
    stored = metrics["version"]
    return stored if stored in range(2, VERSION) and not isinstance(stored, float) else VERSION


def equal(derived: object, stored: object) -> bool:
    """Whether `stored` says what was derived, up to the last digits of a float. It may say more; true and 1 are different."""
    if isinstance(derived, bool) != isinstance(stored, bool):
        return False
    if isinstance(derived, dict):
        return isinstance(stored, dict) and all(key in stored and equal(derived[key], stored[key]) for key in derived)
    if isinstance(derived, list):
        return isinstance(stored, list) and len(derived) == len(stored) and all(map(equal, derived, stored))
    if isinstance(derived, float):
        return isinstance(stored, int | float) and math.isclose(derived, stored, rel_tol=1e-9, abs_tol=1e-12)
    return derived == stored


def check_metrics(name: str, derived: Mapping, stored: Mapping, source: str, do: str) -> None:
    """Check that the metrics of the run `name` say what was derived from its `source`; they may say more.

    Raises:
        UserError: they do not, and `do` says what to do.
    """
    if other := [key for key, value in derived.items() if not equal(value, stored.get(key))]:
        found = f"another {', '.join(other)} in metrics.json of {name} than follows from its {source}"
        raise UserError(found, "metrics that follow from them", do)


def other_settings(difference: tuple[str, str, str], kind: str, path: Path) -> UserError:
    """The refusal to go on with the run in `path` by other settings.

    Args:
        difference: the first field that differs, by its dotted name, as it is asked for and as it is there.
        kind: of the run that is asked for.
    """
    name, asked, there = difference
    found = f"{name} {asked}, where the run in {path} has {there}"
    if name.startswith("settings.diagnosis_prompt"):
        said = ("no --ask-diagnosis", "it") if asked == "nothing" else ("--ask-diagnosis", "none, or asked in other words")
        found = f"{said[0]}, where the run in {path} has {said[1]}"
    do = "choose another folder, or add --overwrite, which asks everything anew"
    if kind == "judge" and path.name == "judge":
        do = f"to judge the same dialogues otherwise: medllm eval judge --dialogues {path.parent} --rubric … --out …"
    elif name.startswith("settings.diagnosis_prompt"):
        do = f"{'add' if asked == 'nothing' else 'leave out'} --ask-diagnosis to go on with it, or choose another folder"
    return UserError(found, "the settings that the run was begun with, to go on with it", do)
