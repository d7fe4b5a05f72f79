"""One command, several exams: each benchmark in each of its readings, a run folder each, from one model loaded once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from medllm_hf.data.benchmarks.catalogue import BENCHMARKS
from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.estimate import spent_in
from medllm_hf.evaluation.exams.prompts import Questions, overview, read_questions
from medllm_hf.evaluation.exams.ranks import meet
from medllm_hf.evaluation.exams.run import KEY, Exam, estimate_cost, load_examinee, prepare_exam, run_exam, summary
from medllm_hf.evaluation.exams.settings import (
    ALIASES,
    READINGS,
    Mode,
    ResolvedSettings,
    Settings,
    for_readings,
    resolve_defaults,
)
from medllm_hf.evaluation.runs.folder import outputs_in
from medllm_hf.evaluation.runs.names import check_no_runs_below
from medllm_hf.folders import check_apart, check_free

# What a question file's name may end in.
_ENDINGS = {".gz", ".zip", ".json", ".jsonl", ".csv", ".tsv", ".xlsx", ".parquet"}


@dataclass(frozen=True)
class Benchmark:
    """Questions, the name of their folder among several, and what asks them in each reading."""

    name: str
    questions: Questions
    settings: list[ResolvedSettings]


def parse_modes(text: str | None) -> list[Mode] | None:
    """The readings that --mode names, in the order of `READINGS`; None where it says nothing.

    Raises:
        UserError: one that there is not, or is named twice.
    """
    if text is None:
        return None
    named = [ALIASES.get(name.strip(), name.strip()) for name in text.split(",")]
    _check_names("--mode", text, named)
    if unknown := [name for name in named if name not in READINGS]:
        raise UserError(f"--mode {unknown[0]!r}", f"one or several of {', '.join(READINGS)}", "separate them by commas")
    if twice := [name for name in READINGS if named.count(name) > 1]:
        raise UserError(f"--mode {text} with {twice[0]} twice", "each reading once", "leave one out")
    return [mode for mode in READINGS if mode in named]


def _check_names(flag: str, text: str, names: Sequence[str]) -> None:
    if "" in names:
        raise UserError(f"an empty name in {flag} {text!r}", "a name on either side of a comma", "leave the comma out")


def parse_data(named: Sequence[str]) -> list[tuple[str, str | None]]:
    """The benchmarks and files that --data names, each with the path that NAME=PATH gives a benchmark.

    Commas separate them, unless the whole is a file.

    Raises:
        UserError: an empty name.
    """
    parts = [part.strip() for text in named for part in ([text] if Path(text).is_file() else text.split(","))]
    _check_names("--data", ",".join(named), parts)
    found = []
    for part in parts:
        name, _, path = part.partition("=")
        found.append((name, path or None) if name in BENCHMARKS else (part, None))
    return found


def read_benchmarks(asked: Settings, data: Sequence[str], modes: list[Mode] | None) -> list[Benchmark]:
    """The benchmarks of a command with the settings of each reading.

    Raises:
        UserError: see `for_readings` and `read_questions`; --data-path or --split for several, or two of one name.
    """
    named = parse_data(data)
    if len(named) > 1 and asked.data_path is not None:
        raise UserError("--data-path with several --data", "NAME=PATH for each benchmark", "write --data NAME=PATH,NAME=PATH")
    found: list[Benchmark] = []
    for name, path in named:
        own = replace(asked, data=name, data_path=path or asked.data_path)
        settings = for_readings(own, modes) if modes else [resolve_defaults(own)]
        folder = folder_name(name)
        if twins := [one for one in found if one.name.lower() == folder.lower()]:
            expected = f"a folder of its own for each, and {twins[0].name} twice"
            raise UserError(f"--data {', '.join(part for part, _ in named)}", expected, "leave one out or rename its file")
        found.append(Benchmark(folder, read_questions(own.data, own.data_path, own.split, own.encoding), settings))
    return found


def folder_name(data: str) -> str:
    """What the folder of a benchmark or a file of questions is called."""
    if data in BENCHMARKS:
        return data.replace("/", "-")
    path = Path(data)
    while path.suffix.lower() in _ENDINGS:
        path = path.with_suffix("")
    return path.name


def prepare_exams(benchmarks: Sequence[Benchmark], out: str, overwrite: bool) -> dict[str, Exam]:
    """Run folder → exam, in the order in which they are sat: OUT itself for one exam, else OUT/BENCHMARK/READING.

    Raises:
        UserError: see `prepare_exam`; or a folder that holds something else, told before any question is asked.
    """
    asked = [settings for one in benchmarks for settings in one.settings]
    several = len(asked) > 1
    if meet().is_first:  # the others come when it has begun to write
        _check_folders(benchmarks, asked, out, overwrite)
    # What is checked for writing suits every reading.
    who = load_examinee(next((settings for settings in asked if settings.written), asked[0]))
    exams = {}
    for one in benchmarks:
        for settings in one.settings:
            folder = str(Path(out) / one.name / settings.mode) if several else out
            exams[folder] = prepare_exam(settings, one.questions, who)
            if meet().is_first:
                outputs_in(folder, exams[folder].manifest, KEY, overwrite)
    return exams


def _check_folders(benchmarks: Sequence[Benchmark], asked: Sequence[ResolvedSettings], out: str, overwrite: bool) -> None:
    """Check that OUT is free for the exams `asked`, or has their runs, before torch is imported.

    Raises:
        UserError: it holds something else.
    """
    several = len(asked) > 1
    # The command line has looked at --data as it was written, before it was parted at its commas.
    if overwrite or not (Path(out) / "manifest.json").is_file():
        check_apart(out, [settings.data_path or settings.data for settings in asked], inside=True)
    if several and (Path(out) / "manifest.json").is_file() and not overwrite:
        found = f"a run in {out} and {len(asked)} exams for it"
        raise UserError(found, "a folder for OUT/BENCHMARK/READING", "choose another folder")
    if not several and not (Path(out) / "manifest.json").is_file():
        own = Path(out) / benchmarks[0].name / asked[0].mode
        check_no_runs_below(
            out, f"--out {own} {'goes on with' if own.is_dir() else 'is a folder for'} that one, or choose another folder"
        )
        check_free(out, overwrite)


def run_exams(exams: dict[str, Exam], overwrite: bool = False) -> Iterator[tuple[str, str | None]]:
    """Runs each exam, or goes on with it; yields (folder, what is missing in the end or None) after each.

    A budget holds for all of them together.

    Raises:
        UserError: see `run_exam`.
    """
    done: list[str] = []
    for folder, exam in exams.items():
        prices = exam.manifest.get("prices", {})
        # What is to be overwritten later is no part of what this command costs.
        others = [other for other in (done if overwrite else exams) if other != folder and prices]
        before = sum((spent_in(other, prices) for other in others), Fraction(0))
        done.append(folder)
        yield folder, run_exam(exam, folder, overwrite, before)


def overviews(benchmarks: Sequence[Benchmark]) -> str:
    """A line on the questions of each benchmark."""
    return "\n".join(overview(one.questions) for one in benchmarks)


def estimates(exams: dict[str, Exam], overwrite: bool) -> str:
    """What is printed in place of the runs."""
    several = len(exams) > 1
    texts = [(folder, estimate_cost(exam, folder, overwrite)) for folder, exam in exams.items()]
    return "\n".join(f"{folder}:\n{text}" if several else text for folder, text in texts)


def summary_line(folder: str, exam: Exam, several: bool) -> str:
    """One line on a finished run, which names its reading among several."""
    return f"{exam.settings.mode}: {summary(folder)}" if several else summary(folder)
