"""Which rows stay and on which side, and the second pass, which writes them."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import compute, ipc, parquet

from medllm_hf.data.screening import near_duplicates
from medllm_hf.data.screening.chunk import SCHEMA, id_hash, spill_path
from medllm_hf.data.settings import Options
from medllm_hf.errors import UserError
from medllm_hf.folders import sha256

ROW_GROUP = 10_000
# Pairs of near-duplicates that screening.md shows.
SHOWN_PAIRS = 10
_TEXT = 160


@dataclass(frozen=True)
class Decision:
    """What becomes of the rows of the first pass; arrays have one entry a row.

    keep: whether the row is written. labels: the first row of its cluster of near-duplicates, itself if there is none.
    first: the first row that is exactly equal, itself if there is none. repeats: for each near-duplicate, which is left out
    or kept, the row that it repeats. pairs: near-duplicates to show and their estimated similarity.
    not_compared: see `near_duplicates.clusters`.
    """

    keep: np.ndarray
    labels: np.ndarray
    first: np.ndarray
    repeats: dict[int, int]
    pairs: list[tuple[int, int, float]]
    not_compared: int
    counts: Counter[str]


@dataclass
class Written:
    """What the second pass wrote: counts (dialogues, turns, characters) of each split and rows of each source.

    `texts` holds the beginnings of the dialogues that were asked for, `files` the file name of each split.
    """

    splits: dict[str, Counter[str]] = field(default_factory=dict)
    sources: Counter[str] = field(default_factory=Counter)
    texts: dict[int, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def decide(columns: dict[str, np.ndarray], leaks: np.ndarray, slots: np.ndarray | None, options: Options) -> Decision:
    """What becomes of each row: exact duplicates go first, then rows in `leaks`, then near-duplicates.

    `slots` are the signatures of the rows, None where near-duplicates are not looked for.
    """
    rows = len(columns["length"])
    first = near_duplicates.first_of_equals(columns["key"])
    keep = first == np.arange(rows)
    counts = Counter(exact=int(rows - keep.sum()))
    hit = np.zeros(rows, dtype=bool)
    hit[leaks] = True
    counts["overlap"] = int((hit & keep).sum())
    if options.on_overlap == "drop":
        keep &= ~hit
    if slots is None:
        return Decision(keep, np.arange(rows), first, {}, [], 0, counts)
    labels, not_compared = near_duplicates.clusters(slots, columns["bands"], np.flatnonzero(keep & columns["comparable"]))
    sizes = np.bincount(labels[keep], minlength=rows)
    counts.update(clusters=int((sizes > 1).sum()), clustered=int(sizes[sizes > 1].sum()))
    repeats, kept = near_duplicates.repeated(slots, labels, np.flatnonzero(keep & (sizes[labels] > 1)))
    shares = near_duplicates.similarity(slots, kept[:SHOWN_PAIRS], repeats[:SHOWN_PAIRS])
    pairs = list(zip(repeats.tolist(), kept.tolist(), shares.tolist(), strict=False))
    counts["near"] = len(repeats)
    if options.near_duplicates == "drop":
        keep[repeats] = False
    return Decision(keep, labels, first, dict(zip(repeats.tolist(), kept.tolist(), strict=True)), pairs, not_compared, counts)


def in_test(keys: np.ndarray, decision: Decision, options: Options) -> np.ndarray:
    """(rows,) bool: whether a row is in the test split, by a hash of the seed and the smallest key of its cluster.

    So near-duplicates share a side, and a row stays on its side when others are added or the order changes, as long as it
    stays in its cluster or that keeps its smallest key.

    Raises:
        UserError: no row is left to train on.
    """
    rows = np.flatnonzero(decision.keep)
    order = rows[np.lexsort((keys[rows, 1], keys[rows, 0], decision.labels[rows]))]
    labels = decision.labels[order]
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))
    border = options.test_fraction * 2**64
    prefix = f"{options.seed}:".encode()
    digests = (hashlib.blake2b(prefix + keys[row].tobytes(), digest_size=8).digest() for row in order[starts])
    chosen = np.array([int.from_bytes(digest, "big") < border for digest in digests])
    test = np.zeros(len(keys), dtype=bool)
    test[order] = np.repeat(chosen, np.diff(np.append(starts, len(order))))
    if test[rows].all():
        raise UserError(f"{len(rows)} rows, all of them in the test split", "rows to train on", "lower --test-fraction")
    return test


def write_splits(
    folder: Path, spill: Path, chunks: list[int], ids: np.ndarray, decision: Decision, test: np.ndarray
) -> Written:
    """Writes the kept rows of the spilled chunks, of `chunks[i]` rows each, to data/train-HASH.parquet and test-HASH.parquet.

    HASH is that of the file. `load_dataset` keeps what it read under the folder's and the files' names alone, so that
    another dataset in a folder of the same name would otherwise be taken for this one.
    """
    written = Written()
    wanted = np.unique([row for pair in decision.pairs for row in pair[:2]]).astype(np.int64)
    names = _Names(ids[decision.keep])
    sides = {"train": decision.keep & ~test, "test": decision.keep & test}
    (folder / "data").mkdir()
    files = {name: _Rows(folder / "data" / f"{name}.parquet") for name, chosen in sides.items() if chosen.any()}
    start = 0
    for number, rows in enumerate(chunks):
        here = slice(start, start + rows)
        with pyarrow.memory_map(str(spill_path(spill, number))) as source:
            batch = ipc.open_file(source).get_batch(0)
            for row in wanted[(wanted >= start) & (wanted < start + rows)]:
                written.texts[int(row)] = beginning(batch["messages"][int(row) - start].as_py())
            batch = names.unique(batch.filter(pyarrow.array(decision.keep[here])))
            for name, file in files.items():
                part = batch.filter(pyarrow.array(sides[name][here][decision.keep[here]]))
                _count(part, written.splits.setdefault(name, Counter()), written.sources)
                file.add(part)
        start += rows
    for name, file in files.items():
        file.close()
        written.files[name] = f"{name}-{sha256(file.path)[:16]}.parquet"
        file.path.rename(file.path.with_name(written.files[name]))
    return written


def beginning(messages: list[dict]) -> str:
    """The first letters of a dialogue, for a reader."""
    text = " ".join(f"{turn['role']}: {turn['content']}" for turn in messages)
    return text if len(text) <= _TEXT else text[:_TEXT] + "…"


def _count(batch: pyarrow.RecordBatch, counts: Counter[str], sources: Counter[str]) -> None:
    turns = batch["messages"].flatten()
    characters = compute.sum(compute.utf8_length(turns.field("content"))).as_py() or 0
    counts.update(dialogues=batch.num_rows, turns=len(turns), characters=characters)
    for value in compute.value_counts(batch["source"]).to_pylist():
        sources[value["values"]] += value["counts"]


class _Names:
    """Makes ids unique: one that was given before gets the first free number."""

    def __init__(self, hashes: np.ndarray):
        self.hashes, first = np.unique(hashes, return_index=True)
        self.again = np.ones(len(hashes), dtype=bool)
        self.again[first] = False
        self.done = 0
        self.last: Counter[str] = Counter()

    def unique(self, batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
        """The next rows, with ids that no other row has."""
        again = self.again[self.done : self.done + batch.num_rows]
        self.done += batch.num_rows
        if not again.any():
            return batch
        names = batch["id"].to_pylist()
        for i in np.flatnonzero(again):
            names[i] = self._numbered(names[i])
        return batch.set_column(0, "id", pyarrow.array(names, pyarrow.string()))

    def _numbered(self, name: str) -> str:
        while True:
            self.last[name] += 1
            candidate = f"{name}-{self.last[name] + 1}"
            value = np.uint64(id_hash(candidate))
            place = np.searchsorted(self.hashes, value)
            if place == len(self.hashes) or self.hashes[place] != value:
                return candidate


class _Rows:
    """A Parquet file of row groups of ROW_GROUP rows, whatever the sizes that the rows come in."""

    def __init__(self, path: Path):
        self.path = path
        # Said in full, so that another default of another version does not change the bytes.
        options = {"compression": "zstd", "compression_level": 3, "use_dictionary": ["source", "messages.list.element.role"]}
        self.writer = parquet.ParquetWriter(path, SCHEMA, write_statistics=False, **options)
        self.waiting = SCHEMA.empty_table()

    def add(self, batch: pyarrow.RecordBatch) -> None:
        """Takes rows, and writes whole row groups."""
        self.waiting = pyarrow.concat_tables([self.waiting, pyarrow.Table.from_batches([batch], SCHEMA)])
        while self.waiting.num_rows >= ROW_GROUP:
            self.writer.write_table(self.waiting.slice(0, ROW_GROUP).combine_chunks(), row_group_size=ROW_GROUP)
            self.waiting = self.waiting.slice(ROW_GROUP)

    def close(self) -> None:
        """Writes the rest."""
        if self.waiting.num_rows:
            self.writer.write_table(self.waiting.combine_chunks(), row_group_size=ROW_GROUP)
        self.writer.close()
