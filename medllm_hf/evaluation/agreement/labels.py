"""Scores that people gave to dialogues, read from files."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from medllm_hf.data.files import BadRow, file_rows, input_files, parsed
from medllm_hf.errors import UserError
from medllm_hf.folders import sha256

_NAMES = ("id", "annotator")


@dataclass
class Labels:
    """The labels of all files.

    Attributes:
        scores: annotator → dialogue id → criterion → score.
        files: name and SHA-256 of each file.
        bad_rows: What was left out, by file and line, and why.
        unread_columns: Columns that are neither names nor criteria.
    """

    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    files: list[dict] = field(default_factory=list)
    bad_rows: list[str] = field(default_factory=list)
    unread_columns: dict[str, None] = field(default_factory=dict)


def read_labels(paths: Sequence[str], criteria: Sequence[str], low: float, high: float) -> Labels:
    """The labels in files with one dialogue and annotator a row.

    A row has "id", "annotator" and a score from `low` to `high` for each criterion, beside these or, in JSON, in an object
    "scores". A score that is missing, null or empty is a gap.

    Raises:
        UserError: no such file, or none with a row that can be used.
    """
    labels = Labels()
    for file in input_files(list(paths)):
        labels.files.append({"name": file.name, "sha256": sha256(file)})
        for number, raw in file_rows(file):
            try:
                _add(labels, parsed(raw), criteria, low, high)
            except BadRow as error:
                labels.bad_rows.append(f"{file}:{number} {error.where}: {error.reason}")
    if not labels.scores:
        found = f"no labels in {', '.join(paths)}" + (f" (the first row: {labels.bad_rows[0]})" if labels.bad_rows else "")
        raise UserError(found, f"rows with id, annotator and {', '.join(criteria)}", "mend the files")
    return labels


def _add(labels: Labels, row: object, criteria: Sequence[str], low: float, high: float) -> None:
    if not isinstance(row, dict):
        raise BadRow("row", "not an object")
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadRow("row", "text that is not valid Unicode") from error
    for name in _NAMES:
        if isinstance(row.get(name), bool) or not isinstance(row.get(name), str | int) or not str(row[name]).strip():
            raise BadRow(name, "missing or no name")
    dialogue, annotator = (str(row[name]).strip() for name in _NAMES)
    given = row["scores"] if isinstance(row.get("scores"), dict) else row
    scores = {key: _score(key, given[key], low, high) for key in criteria if given.get(key) not in (None, "")}
    if not scores:
        raise BadRow("row", f"no score for any of {', '.join(criteria)}")
    own = labels.scores.setdefault(annotator, {})
    if dialogue in own:
        raise BadRow("id", f"{dialogue} by {annotator} a second time")
    own[dialogue] = scores
    labels.unread_columns |= dict.fromkeys(str(key) for key in (*row, *given) if key not in (*_NAMES, "scores", *criteria))


def _score(key: str, value: object, low: float, high: float) -> float:
    try:
        score = math.nan if isinstance(value, bool) or not isinstance(value, str | int | float) else float(value)
    except (ValueError, OverflowError):
        score = math.nan
    if not low <= score <= high:
        raise BadRow(key, f"{value!r} is no score from {low:g} to {high:g}")
    return score
