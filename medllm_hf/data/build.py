"""Dialogue files → dataset folder: read → check → mask → compare → split → Parquet and card, in two passes over the rows."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from pickle import dumps
from typing import TextIO

import numpy as np
from tqdm import tqdm

from medllm_hf.data import card
from medllm_hf.data.archives import archive_of
from medllm_hf.data.benchmarks.catalogue import BENCHMARKS
from medllm_hf.data.benchmarks.read import IMAGE, load_benchmark
from medllm_hf.data.dialogues import (
    AUTO,
    OnBadRow,
    OnTrailingUser,
    Policy,
    Rejections,
    dialogue_rows,
    make_policy,
    read_as,
    unreadable,
)
from medllm_hf.data.files import input_files
from medllm_hf.data.licences import check_licence
from medllm_hf.data.mcq import McqItem, read_question_file
from medllm_hf.data.screening import decontamination
from medllm_hf.data.screening.chunk import Listed, Overlap, Settings
from medllm_hf.data.screening.near_duplicates import SLOTS
from medllm_hf.data.settings import NearDuplicates, OnOverlap, OnPersonalData, Options
from medllm_hf.data.splits import Decision, decide, in_test, write_splits
from medllm_hf.data.workers import screen_all
from medllm_hf.errors import UserError
from medllm_hf.folders import check_apart, check_free, new_folder, sha256, write_text

CHUNK_ROWS, CHUNK_BYTES = 1_000, 2 * 2**20
# Examples of each kind of personal data.
EXAMPLES = 3
# Of files that cannot be read, so many are named.
SHOWN_FILES = 10


@dataclass
class Gathered:
    """What the first pass says of all rows; see `chunk.Screened`. `chunks` are the numbers of rows that each chunk spilled."""

    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[str, int, int, int, str]] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)
    rejections: Rejections = field(default_factory=Rejections)
    repairs: Rejections = field(default_factory=Rejections)
    left: Counter[str] = field(default_factory=Counter)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    chunks: list[int] = field(default_factory=list)


def build(
    inputs: list[str],
    out: str,
    license: str | None = None,
    format: str = AUTO,
    columns: str | None = None,
    roles: str | None = None,
    encoding: str | None = None,
    revision: str | None = None,
    trailing_user: OnTrailingUser = Policy.trailing_user,
    bad_row: OnBadRow = Policy.bad_row,
    near_duplicates: NearDuplicates = Options.near_duplicates,
    benchmarks: list[str] | None = None,
    on_personal_data: OnPersonalData = Options.on_personal_data,
    on_overlap: OnOverlap = Options.on_overlap,
    test_fraction: float = Options.test_fraction,
    seed: int = Options.seed,
    overwrite: bool = False,
) -> card.Summary:
    """Writes a dataset folder that `load_dataset` and `trl sft` take as it is. Same input and seed, same bytes.

    Large inputs are screened by processes of their own: a script that calls this needs `if __name__ == "__main__":`.

    Args:
        columns, roles: other names of columns and roles, as `parse_names` reads them.
        near_duplicates: "group" keeps near-duplicates in one split, "drop" leaves out all but one, "off" does not look.
        benchmarks: held-out questions to look for; see `question_set`.
        on_personal_data: "mask", "drop" the dialogue, or "refuse".
        on_overlap: what is done with a dialogue that holds a held-out question: "drop", "keep" or "refuse".

    Raises:
        UserError: no licence, nothing usable in the inputs, a fraction outside [0, 1), or something that is refused.
    """
    check_apart(out, [*inputs, *(name.partition("=")[2] or name for name in benchmarks or [])])
    check_free(out, overwrite)
    files = input_files(inputs, revision)
    check_apart(out, files)
    options = Options(check_licence(license), near_duplicates, on_personal_data, on_overlap, test_fraction, seed)
    if not 0 <= test_fraction < 1:
        raise UserError(f"--test-fraction {test_fraction}", "at least 0 and below 1", "choose another")
    policy = make_policy(format, columns, roles, encoding, trailing_user, bad_row)
    check_files(files, format, policy)
    sets = [question_set(name, encoding) for name in benchmarks or []]
    with new_folder(out, overwrite) as folder:
        spill = folder / ".spill"
        spill.mkdir()
        questions = [(asked.name, item) for asked in sets for item in asked.items]
        index = decontamination.index(questions) if questions else None
        settings = Settings(files, format, policy, on_personal_data, near_duplicates != "off", index, spill)
        return _write(folder, settings, sets, questions, options)


def check_files(files: list[Path], format: str, policy: Policy) -> None:
    """Check that each of the files can be read, before any work is done on them.

    Raises:
        UserError: some cannot; one of several names the first of them.
    """
    faults = [fault for file in files if (fault := unreadable(file, format, policy))]
    if len(faults) == 1:
        raise faults[0]
    if faults:
        whats = [str(fault).partition("; expected")[0].removeprefix("found ") for fault in faults]
        shown = "; ".join(whats[:SHOWN_FILES])
        more = f"; and {len(faults) - SHOWN_FILES} more" if len(faults) > SHOWN_FILES else ""
        found = f"{len(faults)} of {len(files)} files that cannot be read: {shown}{more}"
        raise UserError(found, "dialogues", "mend them or leave them out; `medllm data check` lists them")


def question_set(name: str, encoding: str | None = None) -> card.QuestionSet:
    """The held-out questions in a file, or the test split of a benchmark by its name, NAME or NAME=PATH of published files.

    `encoding` is that of a file's text in which none is found.

    Raises:
        UserError: they cannot be read; see `read_question_file` and `load_benchmark`.
    """
    benchmark, _, path = name.partition("=")
    if benchmark in BENCHMARKS:
        found = load_benchmark(benchmark, path or None)
        origin = f"revision {found.revision}" if found.revision else ", ".join(sorted(found.files.values()))
        return card.QuestionSet(benchmark, found.items, origin, found.left_out)
    if not Path(name).is_file() and archive_of(Path(name)) is None:
        raise UserError(f"no file and no benchmark {name}", "questions, or one of " + ", ".join(BENCHMARKS), "check the name")
    read = read_question_file(name, encoding)
    left_out = {IMAGE: read.with_picture} if read.with_picture else {}
    return card.QuestionSet(Path(name).name, read.items, sha256(archive_of(Path(name)) or Path(name)), left_out)


def short_names(files: list[Path]) -> list[str]:
    """For each file the end of its path, as long as it must be to tell it from the others: a dataset names no machine."""
    depth, names = 1, [file.name for file in files]
    while len(set(names)) < len(files):
        depth += 1
        names = ["/".join(file.absolute().parts[-depth:]) for file in files]
    return [name.encode("utf-8", "replace").decode() for name in names]


def _write(
    folder: Path, settings: Settings, sets: list[card.QuestionSet], questions: list[tuple[str, McqItem]], options: Options
) -> card.Summary:
    """Both passes, and all files of the dataset folder."""
    names = short_names(settings.files)
    with (folder / "problems.jsonl").open("w", encoding="utf-8") as listing:
        gathered = _gather(settings, names, listing)
        columns, spill = gathered.columns, settings.folder
        slots = np.fromfile(spill / "slots", np.uint16).reshape(-1, SLOTS) if settings.near_duplicates else None
        leaks = np.array(sorted({hit.row for hit in gathered.overlaps}), dtype=np.int64)
        decision = decide(columns, leaks, slots, options)
        del slots
        if options.on_overlap == "refuse" and gathered.overlaps:
            raise _overlap_refusal(gathered, questions, settings.files)
        for row in _left_out(gathered, decision, questions, names, options):
            listing.write(_json_line(row, names))
    if not decision.keep.any():
        why = f" ({gathered.rejections.lines()[0]})" if gathered.rejections.lines() else ""
        raise UserError(f"no usable dialogue{why}", "at least one", "run `medllm data check` on the inputs")
    test = in_test(columns["key"], decision, options)
    written = write_splits(folder, spill, gathered.chunks, columns["id"], decision, test)
    shutil.rmtree(spill)
    summary = card.Summary(
        options=options,
        counts=gathered.counts + decision.counts,
        kinds=gathered.kinds,
        written=written,
        inputs=_inputs(names, settings),
        rejections=gathered.rejections.lines(),
        repairs=gathered.repairs.lines(),
        left=gathered.left,
        sets=sets,
        unsearched=settings.index.unsearched if settings.index else 0,
        not_compared=decision.not_compared,
    )
    hits = [(card.place(names, columns, hit.row), hit, *questions[hit.question]) for hit in gathered.overlaps
            if decision.first[hit.row] == hit.row]  # fmt: skip
    pairs = [(card.place(names, columns, row), card.place(names, columns, twin), share, written.texts[row],
              written.texts[twin]) for row, twin, share in decision.pairs]  # fmt: skip
    examples = [(kind, f"{names[file]}:{line} turn {turn}", text) for kind, file, line, turn, text in gathered.examples]
    write_text(folder / "README.md", card.card(summary))
    write_text(folder / "screening.md", card.screening(summary, examples, pairs, hits))
    card.histogram(columns["length"][decision.keep], folder / "lengths.png")
    return summary


def _inputs(names: list[str], settings: Settings) -> list[tuple[str, str, str]]:
    """The name of each file, the hash of it or of its archive, and what it was read as."""
    hashes: dict[Path, str] = {}
    found = []
    for name, file in zip(names, settings.files, strict=True):
        archive = archive_of(file)
        origin = archive or file
        hashes[origin] = hashes.get(origin) or sha256(origin)
        kind = read_as(file, settings.format, settings.policy) + (f", in {archive.name}" if archive else "")
        found.append((name, hashes[origin], kind))
    return found


def _gather(settings: Settings, names: list[str], listing: TextIO) -> Gathered:
    """The first pass. Signatures go to the file `slots` beside the spilled rows."""
    gathered, parts, rows = Gathered(), [], 0
    with (
        (settings.folder / "slots").open("wb") as slots,
        closing(screen_all(_chunks(settings), settings)) as results,
        tqdm(unit=" rows", disable=None) as bar,
    ):
        for result in results:
            if result.fatal:
                raise result.fatal.refusal()
            if result.refused:
                raise UserError(*result.refused)
            for row in result.listed:
                listing.write(_json_line(row, names))
                if row.verdict == "rejected":
                    gathered.rejections.add(f"{names[row.file]}:{row.line}", row.field, row.reason)
                if row.verdict == "repaired":
                    gathered.repairs.add_repairs(f"{names[row.file]}:{row.line}", row.field, row.reason)
            if settings.near_duplicates:
                slots.write(result.columns.pop("slots").tobytes())
            parts.append(result.columns)
            gathered.chunks.append(len(result.columns["length"]))
            gathered.counts += result.counts
            gathered.kinds += result.personal_kinds
            gathered.left += result.left
            gathered.overlaps += [hit.at(rows) for hit in result.overlaps]
            for example in result.examples:
                if sum(example[0] == other[0] for other in gathered.examples) < EXAMPLES:
                    gathered.examples.append(example)
            rows += gathered.chunks[-1]
            bar.update(result.counts["read"])
    if not parts:
        raise UserError("no rows in the inputs", "dialogues", "check the files")
    gathered.columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return gathered


def _chunks(settings: Settings) -> Iterator[list[tuple[int, int, object]]]:
    """Yields lists of (number of the file, line, raw row), by the rows alone, so that the borders are always the same."""
    chunk, size = [], 0
    for number, file in enumerate(settings.files):
        for line, raw in dialogue_rows(file, settings.format, settings.policy):
            chunk.append((number, line, raw))
            size += len(raw) if isinstance(raw, bytes) else len(dumps(raw))
            if len(chunk) == CHUNK_ROWS or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk


def _overlap_refusal(gathered: Gathered, questions: list[tuple[str, McqItem]], files: list[Path]) -> UserError:
    rows = len({hit.row for hit in gathered.overlaps})
    hit = gathered.overlaps[0]
    name, item = questions[hit.question]
    first = card.place([str(file) for file in files], gathered.columns, hit.row)
    found = f"held-out questions in {rows} dialogues, first {name} {item.id} in {first}"
    return UserError(found, "none", "choose --on-overlap drop or keep")


def _left_out(
    gathered: Gathered, decision: Decision, questions: list[tuple[str, McqItem]], names: list[str], options: Options
) -> Iterator[Listed]:
    """Yields the rows that comparing left out or kept, and those that hold a held-out question."""
    columns = gathered.columns
    every = np.arange(len(decision.first))
    repeated = np.flatnonzero(decision.first != every).tolist()

    def listed(verdict: str, row: int, reason: str) -> Listed:
        return Listed(verdict, int(columns["file"][row]), int(columns["line"][row]), "dialogue", reason)

    for row in repeated:
        yield listed("exact duplicate", row, f"the same as {card.place(names, columns, decision.first[row])}")
    verdict = "overlap" if options.on_overlap == "drop" else "overlap, kept"
    for hit in gathered.overlaps:
        if decision.first[hit.row] == hit.row:
            name, item = questions[hit.question]
            yield listed(verdict, hit.row, f"{name} {item.id} with {hit.edits} edits in turn {hit.turn}: {hit.excerpt}")
    verdict = "near-duplicate" if options.near_duplicates == "drop" else "near-duplicate, kept"
    for row, twin in decision.repeats.items():
        yield listed(verdict, row, f"much the same as {card.place(names, columns, twin)}")


def _json_line(row: Listed, names: list[str]) -> str:
    value = {"verdict": row.verdict, "file": names[row.file], "line": row.line, "field": row.field, "reason": row.reason}
    return json.dumps(value, ensure_ascii=False) + "\n"
