"""Scores that people gave to dialogues, read from files."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from medllm_hf.data.files import BadRow, file_rows, input_files, parsed
from medllm_hf.data.rubric_benchmarks import CHECKLIST, physician_labels
from medllm_hf.errors import UserError
from medllm_hf.folders import sha256
from medllm_hf.reporting.terms import term

_NAMES = ("id", "annotator")
# From here the name of a column is hardly another than that of a criterion.
_ALIKE = 0.8
# What a cell says of a criterion, as a number.
Reading = Callable[[str, object], float]


@dataclass
class Labels:
    """The labels of all files.

    Attributes:
        scores: annotator → dialogue id → criterion → score.
        turns: annotator → dialogue id → the words that were labelled, where a row has them.
        files: name and SHA-256 of each file.
        bad_rows: What was left out, by file and line, and why.
        unread_columns: Columns that are neither names nor criteria.
    """

    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    turns: dict[str, dict[str, list]] = field(default_factory=dict)
    files: list[dict] = field(default_factory=list)
    bad_rows: list[str] = field(default_factory=list)
    unread_columns: dict[str, None] = field(default_factory=dict)


def read_labels(paths: Sequence[str], criteria: Sequence[str], read: Reading) -> Labels:
    """The labels in files with one dialogue and annotator a row.

    A row has "id", "annotator" and what `read` takes for each criterion, beside these or, in JSON, in an object "scores"; what
    is missing, null or empty is a gap. It may have the "turns" that were labelled.

    Raises:
        UserError: no such file, or none with a row that can be used.
    """
    labels = Labels()
    for file in input_files(list(paths)):
        labels.files.append({"name": file.name, "sha256": sha256(file)})
        for number, raw in file_rows(file):
            try:
                for row in _given(parsed(raw), criteria):
                    _add(labels, row, criteria, read)
            except BadRow as error:
                labels.bad_rows.append(f"{file}:{number} {error.where}: {error.reason}")
    if not labels.scores:
        found = f"no labels in {', '.join(paths)}" + (f" (the first row: {labels.bad_rows[0]})" if labels.bad_rows else "")
        raise UserError(found, f"rows with id, annotator and {', '.join(criteria)}", "mend the files")
    return labels


def _given(row: object, criteria: Sequence[str]) -> Iterator[object]:
    """Yields the labels in a row: itself, or those of the physicians in a row of HealthBench's meta evaluation."""
    if list(criteria) != [CHECKLIST] or not isinstance(row, dict) or "binary_labels" not in row:
        yield row
        return
    for dialogue, annotator, met in physician_labels(row):
        yield {"id": dialogue, "annotator": annotator, CHECKLIST: int(met)}


def read_score(low: float, high: float, step: float | None = None) -> Reading:
    """Reads a score from `low` to `high`, in steps of `step` where there are some."""

    def read(key: str, value: object) -> float:
        try:
            score = math.nan if isinstance(value, bool) or not isinstance(value, str | int | float) else float(value)
        except (ValueError, OverflowError):
            score = math.nan
        if not low <= score <= high:
            raise BadRow(key, f"{value!r} is no score from {low:g} to {high:g}")
        if step and (score - low) % step:
            raise BadRow(key, f"{value!r} is no step of {step:g} from {low:g}, as the rubric has them")
        return score

    return read


def read_outcome(worth: Mapping[str, float]) -> Reading:
    """Reads which of two systems is better, as what that is worth to the first."""

    def read(key: str, value: object) -> float:
        found = worth.get(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise BadRow(key, f"{value!r} is none of {', '.join(worth)}")
        return found

    return read


def _named(given: Mapping[str, object], criteria: Sequence[str]) -> dict[str, Any]:
    """The cells of a row by their columns, those with the Chinese name of a criterion by its key.

    Raises:
        UserError: a column that is nearly a criterion which the row lacks: it would be left out of all rows.
    """
    chinese = {term(key).zh: key for key in criteria if key not in given}
    row = {chinese.get(str(name).strip(), str(name)): value for name, value in given.items()}
    lacking = [name for key in criteria if key not in row for name in (key, term(key).zh)]
    for name in row:
        if name not in (*_NAMES, *criteria) and (near := get_close_matches("_".join(name.lower().split()), lacking, 1, _ALIKE)):
            raise UserError(f"the column {name!r} of labels", f"the name of a criterion, such as {near[0]}", "mend its name")
    return row


def _add(labels: Labels, row: object, criteria: Sequence[str], read: Reading) -> None:
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
    row = _named(row, criteria)
    given = _named(row["scores"], criteria) if isinstance(row.get("scores"), dict) else row
    scores = {key: read(key, given[key]) for key in criteria if given.get(key) not in (None, "")}
    if not scores:
        raise BadRow("row", f"no score for any of {', '.join(criteria)}")
    own = labels.scores.setdefault(annotator, {})
    if dialogue in own:
        raise BadRow("id", f"{dialogue} by {annotator} a second time")
    own[dialogue] = scores
    if isinstance(row.get("turns"), list):
        labels.turns.setdefault(annotator, {})[dialogue] = row["turns"]
    read_columns = (*_NAMES, "scores", "turns", *criteria)
    labels.unread_columns |= dict.fromkeys(str(key) for key in (*row, *given) if key not in read_columns)
