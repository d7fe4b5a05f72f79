"""What comes of doing a published figure again: confirmed, different, or not derivable."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.compare import equal

CONFIRMED, DIFFERENT, UNKNOWN = "confirmed", "different", "not derivable"


@dataclass(frozen=True)
class Finding:
    """One figure or hash, by the file and the name that it has there; `why` says what was found and what was expected."""

    figure: str
    state: str
    why: str = ""

    @property
    def line(self) -> str:
        """As it is printed."""
        return f"{self.state:<14}{self.figure}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True)
class Known:
    """What a run is compared with, beside its own files.

    Attributes:
        weights: `weights_hash` of the published model.
        folder: Where its tokenizer lies.
        files: SHA-256 → path of the questions and cases that are at hand.
    """

    weights: str
    folder: Path
    files: dict[str, Path]


def compared(figure: str, derived: object, stored: object) -> Finding:
    """Whether `stored` is what was derived, up to the last digits of a float."""
    if equal(derived, stored) and equal(stored, derived):
        return Finding(figure, CONFIRMED, _short(stored))
    return Finding(figure, DIFFERENT, f"{_short(stored)}, where the evidence gives {_short(derived)}")


def metric_findings(file: str, derived: dict, stored: dict) -> list[Finding]:
    """A finding for each figure of a metrics.json."""
    found = [compared(f"{file} {key}", value, stored.get(key)) for key, value in derived.items()]
    more = [Finding(f"{file} {key}", UNKNOWN, "no metric gives it") for key in stored if key not in derived]
    return found + more


def row_finding(file: str, derived: Sequence[Mapping], stored: Sequence[dict]) -> Finding:
    """Whether the rows of a file are those that were derived; the first that is not is named."""
    for number, (ours, theirs) in enumerate(zip(derived, stored, strict=False), start=1):
        if not isinstance(theirs, dict) or not (equal(ours, theirs) and equal(theirs, ours)):
            theirs = theirs if isinstance(theirs, dict) else {}
            fields = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
            return Finding(file, DIFFERENT, f"row {number} ({ours.get('id')}) has another {', '.join(fields)} than follows")
    if len(derived) != len(stored):
        return Finding(file, DIFFERENT, f"{len(stored)} rows, where {len(derived)} follow")
    return Finding(file, CONFIRMED, f"{len(stored)} rows")


def key_finding(file: str, rows: Iterable[Mapping], wanted: Sequence[tuple], key: tuple[str, ...]) -> Finding:
    """Whether a file of outputs has each of the `wanted` once, in their order, and nothing else."""
    names = [tuple(row[field] for field in key) for row in rows]
    if twice := next((name for name in names if names.count(name) > 1), None):
        return Finding(file, DIFFERENT, f"{_name_row(twice)} a second time")
    if lacking := [name for name in wanted if name not in set(names)]:
        return Finding(file, DIFFERENT, f"no {_name_row(lacking[0])}")
    if other := [name for name in names if name not in set(wanted)]:
        return Finding(file, DIFFERENT, f"{_name_row(other[0])}, which scores.jsonl does not have")
    if names != list(wanted):
        return Finding(file, DIFFERENT, "another order of its lines")
    return Finding(file, CONFIRMED, f"{len(names)} lines")


def guarded(file: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yields `findings`, and in the place of those that damaged evidence prevents one that says how it is damaged."""
    try:
        yield from findings
    except UserError as error:
        yield Finding(file, DIFFERENT, str(error))
    except FileNotFoundError as error:
        yield Finding(file, DIFFERENT, f"no {Path(error.filename).name}")


def _name_row(name: tuple) -> str:
    return " ".join(map(str, name))


def _short(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"
