"""The verb `report`: run folders of one kind → report.md, report.html, pictures, results.json."""

from collections.abc import Callable
from pathlib import Path

from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.derive import check_run
from medllm_hf.evaluation.exams.page import write_pages
from medllm_hf.evaluation.exams.plots import draw
from medllm_hf.evaluation.exams.report import values
from medllm_hf.evaluation.exams.tables import report_blocks
from medllm_hf.evaluation.judging.derive import load_judge_run
from medllm_hf.evaluation.judging.page import write_page
from medllm_hf.evaluation.judging.plots import draw_sets
from medllm_hf.evaluation.judging.report import judge_sets, judge_values
from medllm_hf.evaluation.judging.tables import judge_blocks
from medllm_hf.evaluation.preferences.report import check_pair_run, pair_values, write_pair_page
from medllm_hf.evaluation.preferences.tables import pair_blocks
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.runs.names import distinct_names
from medllm_hf.evaluation.verification.findings import damage_told
from medllm_hf.folders import check_free, new_folder, write_json, write_text
from medllm_hf.reporting.blocks import figure_name, markdown


def report(runs: list[str], out: str, overwrite: bool = False) -> None:
    """Writes what the runs found: tables, plots, a page to browse, and all figures as data.

    Raises:
        UserError: a run that is given twice, unfinished or damaged, whose figures do not follow from its outputs, or
            that is not of the kind of the first one; or `out` is not free.
    """
    check_free(out, overwrite)
    names = distinct_names(runs)
    read = [read_run(run) for run in runs]
    kinds = {name: run["manifest"].get("kind") for name, run in zip(names, read, strict=True)}
    kind = _AS.get(kinds[names[0]], kinds[names[0]])
    if any(_AS.get(other, other) != kind for other in kinds.values()):
        found = ", ".join(f"{name} of kind {kind}" for name, kind in kinds.items())
        raise UserError(found, "runs of one kind", "report them apart")
    if kind not in KINDS:
        raise UserError(f"{names[0]} of kind {kind}", f"one of {', '.join([*KINDS, *_AS])}", "see `medllm eval`")
    with new_folder(out, overwrite) as folder, damage_told(runs):
        summary = KINDS[kind](dict(zip(names, read, strict=True)), folder)
    print(f"wrote {out}/report.md and {out}/report.html: {summary}")


def report_mcq(runs: dict[str, dict], folder: Path) -> str:
    """Writes the report of exam runs into `folder` and returns one line on what is in it."""
    checked = [check_run(name, run) for name, run in runs.items()]
    found = values(checked)
    blocks = report_blocks(found)
    write_json(folder / "results.json", found)
    write_text(folder / "report.md", markdown(blocks))
    draw(found, figure_name, folder)
    by_name = {run.name: run for run in checked}
    failed = write_pages(blocks, [[by_name[name] for name in dataset["runs"]] for dataset in found["datasets"]], folder)
    return f"{len(checked)} runs, {failed:,} questions to browse"


def report_judge(runs: dict[str, dict], folder: Path) -> str:
    """Writes the report of judge runs into `folder` and returns one line on what is in it."""
    checked = [load_judge_run(name, run) for name, run in runs.items()]
    found = judge_values(checked)
    blocks = judge_blocks(found)
    write_json(folder / "results.json", found)
    write_text(folder / "report.md", markdown(blocks))
    draw_sets(found, folder)
    count = write_page(blocks, found, judge_sets(checked), folder)
    return f"{len(checked)} runs, {count:,} dialogues to read"


def report_pairs(runs: dict[str, dict], folder: Path) -> str:
    """Writes the report of comparisons of two systems into `folder` and returns one line on what is in it."""
    checked = [check_pair_run(name, run) for name, run in runs.items()]
    found = pair_values(checked)
    blocks = pair_blocks(found)
    write_json(folder / "results.json", found)
    write_text(folder / "report.md", markdown(blocks))
    count = write_pair_page(blocks, checked, folder)
    return f"{len(checked)} runs, {count:,} cases to read"


# Kind in the manifest → what writes its report into a folder and says in a line what it holds.
KINDS: dict[str, Callable[[dict[str, dict], Path], str]] = {
    "mcq": report_mcq,
    "judge": report_judge,
    "pair": report_pairs,
}
# Consultations are reported by the judge run inside their folder.
_AS = {"consult": "judge"}
