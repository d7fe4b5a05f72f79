"""The exam benchmarks' questions as `McqItem`s, with an account of every question that is left out."""

import os
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from reprlib import repr as shortened
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from medllm_hf.data.benchmarks.catalogue import BENCHMARKS, Benchmark
from medllm_hf.data.benchmarks.published import Part, find, hub_folder, matching
from medllm_hf.data.files import BadRow, file_rows, parsed
from medllm_hf.data.mcq import McqItem, chance_level, item_from_row
from medllm_hf.data.pictures import NeedsImage
from medllm_hf.errors import UserError, first_line, kind_of
from medllm_hf.folders import sha256

if TYPE_CHECKING:
    from huggingface_hub import CardData

IMAGE, MALFORMED, IN_TEST = "needs an image", "malformed", "also in the test split"


@dataclass(frozen=True)
class LeftOut:
    """A question that is not among the items: `kind` is the count it belongs to, `reason` says what is the matter."""

    file: str
    line: int
    kind: str
    reason: str


@dataclass(frozen=True)
class McqSet:
    """The questions of one split and the account of how they were read.

    `listed` has every row that is not an item; `empty_options` counts the options without a text, which are no options.
    `files` maps the files read to their SHA-256: which answers CMB was scored with is told by the hash of its answer file.
    `revision` is the commit on the Hub; it and `hub` are None for local files.
    """

    name: str
    split: str
    items: tuple[McqItem, ...]
    listed: tuple[LeftOut, ...]
    empty_options: int
    files: dict[str, str]
    licence: str
    source: str
    hub: str | None
    revision: str | None

    @property
    def read(self) -> int:
        return len(self.items) + len(self.listed)

    @property
    def left_out(self) -> dict[str, int]:
        return dict(Counter(row.kind for row in self.listed))

    @property
    def chance(self) -> float:
        return chance_level(self.items)


def load_benchmark(name: str, path: str | None = None, split: str = "test", revision: str | None = None) -> McqSet:
    """The questions of a split of the benchmark `name`, from its published files at `path` or from the Hub.

    Args:
        path: a folder or zip file as published, or one file of questions, which is then the whole split.
        split: one of the benchmark's own `splits`; "test" is what is scored, "dev" has the few-shot examples.
        revision: of the copy on the Hub, instead of the pinned one.

    Raises:
        UserError: an unknown name or split, files that are missing or broken, no Hub copy, or no question that can be used.
    """
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark {name}", f"one of {', '.join(BENCHMARKS)}", "check the name")
    benchmark = BENCHMARKS[name]
    if split not in benchmark.splits:
        raise UserError(f"no split {split} of {name}", f"one of {', '.join(benchmark.splits)}", "choose one")
    root = Path(os.path.abspath(path)) if path is not None else _fetched(name, benchmark, split, revision)
    with TemporaryDirectory() as scratch:
        parts = find(root, benchmark.splits[split], benchmark.archive, Path(scratch))
        origins = {part.origin for part in parts}
        answers = None
        if benchmark.answers and split == "test":
            place = _answer_file(benchmark, benchmark.answers, root)
            answers = _answers(place)
            origins.add(place)
        taken = _taken(name, root, path, revision) if benchmark.dev_is_rest and split == "dev" else frozenset()
        items, listed, empty = _read(benchmark, parts, answers, taken)
    if not items:
        first = f"the first of {len(listed)}: {listed[0].file} {listed[0].line}: {listed[0].reason}" if listed else "no rows"
        raise UserError(f"no usable question in {root} ({first})", f"{benchmark.title} as published", "check the files")
    folder = root if root.is_dir() else root.parent
    return McqSet(
        name=name,
        split=split,
        items=tuple(items),
        listed=tuple(listed),
        empty_options=empty,
        files={os.path.relpath(file, folder): sha256(file) for file in sorted(origins)},
        licence=benchmark.licence,
        source=benchmark.source,
        hub=benchmark.hub if path is None else None,
        revision=root.name if path is None else None,
    )


def _fetched(name: str, benchmark: Benchmark, split: str, revision: str | None) -> Path:
    commit = revision or benchmark.revision
    if benchmark.hub is None or commit is None:
        do = f"get it as dataset_cards/{benchmark.card} says and give its path"
        raise UserError(f"no copy of {name} on the Hub", "the path of its published files", do)
    wanted = (*benchmark.splits[split], *filter(None, (benchmark.archive, benchmark.answers)))
    return hub_folder(benchmark.hub, commit, wanted)


def _answer_file(benchmark: Benchmark, name: str, root: Path) -> Path:
    beside = root.parent / name
    found = matching(root, name) if root.is_dir() else [beside] if beside.is_file() else []
    if not found:
        raise UserError(
            f"no {name} in {root if root.is_dir() else root.parent}",
            "the answers, which are published apart from the questions",
            f"get it as dataset_cards/{benchmark.card} says, put it beside the questions and give their path",
        )
    return found[0]


def _answers(file: Path) -> dict[object, object]:
    """The answer of each question id in a published answer file."""
    answers: dict[object, object] = {}
    for number, raw in file_rows(file):
        row = None
        with suppress(BadRow):
            row = parsed(raw)
        if not isinstance(row, dict) or not {"id", "answer"} <= row.keys() or not isinstance(row["id"], Hashable):
            raise UserError(f"{file} row {number} without id and answer", "the published answers", "fetch it again")
        answers[row["id"]] = row["answer"]
    return answers


def _taken(name: str, root: Path, path: str | None, revision: str | None) -> frozenset[str]:
    """The ids and the texts of the test questions, which must not be shown as examples."""
    beside = None if path is None else str(root if root.is_dir() else root.parent)
    items = load_benchmark(name, beside, "test", revision).items
    return frozenset(text for item in items for text in (item.id, item.question))


def _read(
    benchmark: Benchmark, parts: Iterable[Part], answers: dict[object, object] | None, taken: frozenset[str]
) -> tuple[list[McqItem], list[LeftOut], int]:
    """The items, the rows that are none, and the number of options without a text."""
    items: list[McqItem] = []
    listed: list[LeftOut] = []
    ids: set[str] = set()
    empty = 0
    for part in parts:
        for number, raw in file_rows(part.path):
            try:
                item, blank = _item(benchmark, parsed(raw), part.path, answers)
            except ValueError as error:
                kind = IMAGE if isinstance(error, NeedsImage) else MALFORMED
                reason = error.reason if isinstance(error, BadRow) else str(error)
                listed.append(LeftOut(part.shown, number, kind, reason))
                continue
            if item.id in taken or item.question in taken:
                listed.append(LeftOut(part.shown, number, IN_TEST, f"id {item.id}"))
                continue
            items.append(replace(item, id=_free_id(item.id, part.path, number, ids)))
            ids.add(items[-1].id)
            empty += blank
    return items, listed, empty


def _free_id(own: str, file: Path, number: int, taken: set[str]) -> str:
    """A question's id; most files have none, and those of several files may repeat, as the files' own names may."""
    placed = "-".join(filter(None, (file.stem, str(number), own)))
    names = chain((own, placed), (f"{file.parent.name}-{placed}" + "+" * again for again in count()))
    return next(name for name in names if name and name not in taken)


def _item(benchmark: Benchmark, row: object, file: Path, answers: dict[object, object] | None) -> tuple[McqItem, int]:
    if not isinstance(row, dict):
        raise ValueError(f"the row is {kind_of(row)}, not an object")
    if answers is not None:
        name = row.get("id")
        if not isinstance(name, int | str) or name not in answers:
            raise ValueError(f"no answer with id {shortened(name)}")
        row = {**row, "answer": answers[name]}
    fields = benchmark.row(row, file)
    options = fields.get("options")
    if not isinstance(options, dict):
        return item_from_row(fields), 0
    filled = {
        letter: text
        for letter, text in options.items()
        if text is not None and not (isinstance(text, str) and not text.strip())
    }
    return item_from_row({**fields, "options": filled}), len(options) - len(filled)


def check_card(text: str) -> "CardData":
    """The metadata of a dataset card, valid for the Hub and with a licence.

    Raises:
        UserError: no YAML front matter, metadata that `huggingface_hub` refuses, or no licence.
    """
    import yaml
    from huggingface_hub import DatasetCard

    try:
        data = DatasetCard(text).data
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"a dataset card with bad metadata ({first_line(error)})", "YAML front matter", "mend it") from error
    licence = data.get("license")
    if not isinstance(licence, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence):
        do = "write the licence, or `unknown` with the reason in the text"
        raise UserError(f"a dataset card with license {licence!r}", "an identifier of the Hub such as apache-2.0", do)
    return data
