"""What comes of looking at a published model again: what is derived, what is declared, and what nobody looked at.

A figure that follows from raw outputs is derived: confirmed, different or not derivable. What only the publisher can know is
declared. Every other file is unexamined.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from medllm_hf.errors import UserError, visible
from medllm_hf.evaluation.runs.behaviour import behaviour_hashes
from medllm_hf.evaluation.runs.compare import equal

CONFIRMED, DIFFERENT, UNKNOWN = "confirmed", "different", "not derivable"
DECLARED, UNEXAMINED = "declared", "unexamined"
DERIVED = (CONFIRMED, DIFFERENT, UNKNOWN)
STATES = (*DERIVED, DECLARED, UNEXAMINED)
_LONGEST = 400


@dataclass(frozen=True)
class Finding:
    """One figure, hash, claim or file, by the file and the name that it has there.

    Attributes:
        why: What was found and what was expected.
        alarm: Whether it fails the verification although nothing was derived: code, or a file that is not what it seems.
    """

    figure: str
    state: str
    why: str = ""
    alarm: bool = False

    @property
    def line(self) -> str:
        """As it is printed: one line, in which nothing steers a terminal."""
        text = f"{self.state:<14}{self.figure}" + (f": {self.why}" if self.why else "")
        return visible(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")

    @property
    def passes(self) -> bool:
        """Whether a verification with this finding may end well."""
        return self.state not in (DIFFERENT, UNKNOWN) and not self.alarm


@dataclass(frozen=True)
class Rerun:
    """How many published answers of each exam are computed again, the seed by which they are drawn, and who judges again."""

    count: int
    seed: int
    judge: str | None = None


@dataclass(frozen=True)
class Known:
    """What a run is compared with, beside its own files.

    Attributes:
        weights: `weights_hash` of the published model.
        folder: Where its tokenizer lies.
        files: SHA-256 → path of the questions and cases that are at hand.
        rerun: what is to be computed again on the weights, which then lie in `folder` too.
        unusable: why the tokenizer or template can make no prompts, once that was found: it is not waited for twice.
    """

    weights: str
    folder: Path
    files: dict[str, Path]
    rerun: Rerun | None = None
    unusable: list[str] = field(default_factory=list)

    @cached_property
    def behaviour(self) -> dict[str, str]:
        """See `behaviour_hashes`."""
        return behaviour_hashes(self.folder)


def compared(figure: str, derived: object, stored: object) -> Finding:
    """Whether `stored` is what was derived, up to the last digits of a float."""
    if equal(derived, stored) and equal(stored, derived):
        return Finding(figure, CONFIRMED, _short(stored))
    return Finding(figure, DIFFERENT, f"{_short(stored)}, where the evidence gives {_short(derived)}")


def behaviour_findings(where: str, model: Mapping, schema: int, known: Known) -> list[Finding]:
    """Whether the files that make the model behave as it does are those that the run was made with.

    Args:
        where: the field of the manifest that has their hashes.
        model: what the manifest says of the model. Before schema 2 it may have no hashes, and an endpoint's has none.
    """
    found, hashes = [], model.get("files_sha256", {})
    for name in sorted({*hashes, *known.behaviour} if hashes or (schema >= 2 and "endpoint" not in model) else ()):
        if name not in hashes:
            found.append(Finding(f"{where} {name}", DIFFERENT, "in the repository, and the run was made without it"))
        elif name not in known.behaviour:
            found.append(Finding(f"{where} {name}", DIFFERENT, "not in the repository, or too large to be one"))
        else:
            found.append(compared(f"{where} {name}", known.behaviour[name], hashes[name]))
    return found


def metric_findings(file: str, derived: dict, stored: dict) -> list[Finding]:
    """A finding for each figure of a metrics.json."""
    found = [compared(f"{file} {key}", value, stored.get(key)) for key, value in derived.items()]
    more = [Finding(f"{file} {key}", UNKNOWN, "no metric gives it") for key in stored if key not in derived]
    return found + more


def row_finding(file: str, derived: Sequence[Mapping], stored: Iterable) -> Finding:
    """Whether the rows of a file are those that were derived; the first that is not is named."""
    count = 0
    for count, theirs in enumerate(stored, start=1):
        if count > len(derived):
            continue
        ours = derived[count - 1]
        if not isinstance(theirs, dict) or not (equal(ours, theirs) and equal(theirs, ours)):
            theirs = theirs if isinstance(theirs, dict) else {}
            fields = [name for name in {**ours, **theirs} if not equal(ours.get(name), theirs.get(name))]
            return Finding(file, DIFFERENT, f"row {count} ({ours.get('id')}) has another {', '.join(fields)} than follows")
    if len(derived) != count:
        return Finding(file, DIFFERENT, f"{count} rows, where {len(derived)} follow")
    return Finding(file, CONFIRMED, f"{count} rows")


def key_finding(file: str, rows: Iterable[Mapping], wanted: Sequence[tuple], key: tuple[str, ...]) -> Finding:
    """Whether a file of outputs has each of the `wanted` once, in their order, and nothing else."""
    names = [tuple(row[field] for field in key) for row in rows]
    counts, expected = Counter(names), set(wanted)
    if twice := next((name for name in names if counts[name] > 1), None):
        return Finding(file, DIFFERENT, f"{_name_row(twice)} a second time")
    if lacking := next((name for name in wanted if name not in counts), None):
        return Finding(file, DIFFERENT, f"no {_name_row(lacking)}")
    if other := next((name for name in names if name not in expected), None):
        return Finding(file, DIFFERENT, f"{_name_row(other)}, which scores.jsonl does not have")
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
