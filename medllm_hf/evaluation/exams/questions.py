"""The questions of a run and where its examples come from, with what a manifest says of them."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from medllm_hf.data.benchmarks.catalogue import BENCHMARKS
from medllm_hf.data.benchmarks.read import IMAGE, load_benchmark
from medllm_hf.data.mcq import McqItem, read_question_file
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.prompts import Examples, draw
from medllm_hf.evaluation.exams.settings import Settings
from medllm_hf.evaluation.runs.folder import json_line
from medllm_hf.folders import sha256


@dataclass(frozen=True)
class Questions:
    """Questions and what the manifest says of them under "data"."""

    items: tuple[McqItem, ...]
    record: dict


def read_questions(data: str, path: str | None = None, split: str | None = None) -> Questions:
    """The questions of a benchmark's split, "test" if none is named, or of a file.

    `sha256` in the record is that of the file; for a benchmark it is `questions_hash`, since it may come as several files
    or as an archive.

    Raises:
        UserError: neither a benchmark nor a file of questions, or a flag that only benchmarks have.
    """
    if data in BENCHMARKS:
        read = load_benchmark(data, path, split or "test")
        return Questions(read.items, {
            "name": read.name, "split": read.split, "sha256": questions_hash(read.items), "n": len(read.items),
            "files": read.files, "hub": read.hub, "revision": read.revision, "left_out": read.left_out,
            "empty_options": read.empty_options, "licence": read.licence,
        })  # fmt: skip
    if path is not None or split is not None:
        raise UserError(f"--data-path or --split with {data}", f"a benchmark: {', '.join(BENCHMARKS)}", "name one with --data")
    if not Path(data).is_file():
        raise UserError(f"no file and no benchmark {data}", f"questions or one of {', '.join(BENCHMARKS)}", "check --data")
    return _file_questions(data)


def read_examples(questions: Questions, settings: Settings) -> tuple[Examples, dict]:
    """The solved examples that `settings` ask for, and what the manifest says of them under "data".

    Raises:
        UserError: they cannot be had, or there are too few.
    """
    if not settings.shots:
        return Examples({}, 0), {}
    if settings.examples is not None:
        source = _named_examples(settings.examples)
    elif settings.data in BENCHMARKS:
        source = read_questions(settings.data, _dev_path(settings.data, settings.data_path), "dev")
    else:
        do = "add --examples FILE, or the benchmark that the questions are of, such as --examples cmexam"
        raise UserError("--shots with a question file alone", "solved examples", do)
    drawn = draw(source.items, questions.items, settings.shots, settings.seed)
    names = {kind: [item.id for item in items] for kind, items in drawn.of_kind.items()}
    also = {"in_questions": drawn.left_out, "ids": names}
    return drawn, {"examples": {name: source.record[name] for name in ("name", "split", "sha256", "n")} | also}


def _named_examples(name: str) -> Questions:
    benchmark, _, path = name.partition("=")
    if benchmark in BENCHMARKS:
        return read_questions(benchmark, path or None, "dev")
    if not Path(name).is_file():
        expected = f"a file of solved examples, or one of {', '.join(BENCHMARKS)}"
        raise UserError(f"no file and no benchmark {name}", expected, "check --examples")
    return _file_questions(name)


def _dev_path(name: str, path: str | None) -> str | None:
    """Where the dev split is: at `path`, or on the Hub (None) where that is one file of questions, which are the test."""
    if path is None or not Path(path).is_file() or path.lower().endswith(".zip"):
        return path
    if BENCHMARKS[name].hub is None:
        do = f"add --examples {name}=FOLDER, where its dev split is, or --examples FILE"
        raise UserError(f"--shots with one file of {name}", "solved examples", do)
    return None


def _file_questions(file: str) -> Questions:
    read = read_question_file(file)
    record = {"name": Path(file).name, "split": None, "sha256": sha256(Path(file)), "n": len(read.items)}
    return Questions(read.items, record | ({"left_out": {IMAGE: read.with_picture}} if read.with_picture else {}))


def questions_hash(items: Iterable[McqItem]) -> str:
    """One SHA-256 over all that the questions hold, in their order."""
    lines = (json_line({**asdict(item), "answer": sorted(item.answer)}) for item in items)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def left_out(record: dict) -> str:
    """What is said of the rows of a benchmark or file that are no questions; "" where there are none."""
    counts = ", ".join(f"{count} {kind}" for kind, count in record.get("left_out", {}).items())
    name = " ".join(filter(None, (record["name"], record["split"])))
    return f"{name}: {record['n']} questions, left out: {counts}" if counts else ""
