"""The verb `report`: run folders of one kind → report.md, report.html, pictures, results.json."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.manners import STYLES
from medllm_hf.evaluation.exams.derive import check_run
from medllm_hf.evaluation.exams.page import write_pages
from medllm_hf.evaluation.exams.plots import draw as draw_exams
from medllm_hf.evaluation.exams.report import values
from medllm_hf.evaluation.exams.settings import READINGS
from medllm_hf.evaluation.exams.tables import report_blocks
from medllm_hf.evaluation.judging.page import write_page
from medllm_hf.evaluation.judging.plots import draw as draw_judged
from medllm_hf.evaluation.judging.report import judge_values
from medllm_hf.evaluation.judging.tables import judge_blocks
from medllm_hf.evaluation.judging.unjudged import load_talks
from medllm_hf.evaluation.preferences.report import check_pair_run, pair_values, write_pair_page
from medllm_hf.evaluation.preferences.tables import pair_blocks
from medllm_hf.evaluation.runs.folder import FinishedRun, read_run
from medllm_hf.evaluation.runs.names import distinct_names, nested_runs
from medllm_hf.folders import check_free, new_folder, write_json, write_text
from medllm_hf.reporting.blocks import Block, in_language, markdown
from medllm_hf.reporting.phrases import DEFAULT, Language


@dataclass(frozen=True)
class Kind:
    """How runs of one kind are reported.

    Attributes:
        check: Name and run as `read_run` gives it → the run whose figures follow from its outputs.
        values: Such runs → the content of results.json, of which `blocks`, `draw` and `write_page` make tables, pictures
            and report.html; `write_page` returns how many of the things that are `browsed` are in it.
    """

    check: Callable[[str, FinishedRun], Any]
    values: Callable[[list], dict]
    blocks: Callable[[dict], list[Block]]
    draw: Callable[[dict, Path, Language], None] | None
    write_page: Callable[[list[Block], dict, list, Path, Language], int]
    browsed: str


# By the kind in the manifest.
KINDS = {
    "mcq": Kind(check_run, values, report_blocks, draw_exams, write_pages, "questions to browse"),
    "judge": Kind(load_talks, judge_values, judge_blocks, draw_judged, write_page, "dialogues to read"),
    "pair": Kind(check_pair_run, pair_values, pair_blocks, None, write_pair_page, "cases to read"),
}
# Consultations are reported by the judge run inside their folder, or by what is counted of them where they have none.
_AS = {"consult": "judge"}


def report(runs: list[str], out: str, language: Language = DEFAULT, overwrite: bool = False) -> None:
    """Writes what the runs found, in a language: tables, plots, a page to browse, and all figures as data.

    A folder of several readings, benchmarks or styles of patients stands for all the runs in it.

    Raises:
        UserError: a run that is given twice, unfinished or damaged, whose figures do not follow from its outputs, or
            that is not of the kind of the first one; or `out` is not free.
    """
    check_free(out, overwrite)
    runs = [inner for run in runs for inner in nested_runs(run, [*READINGS, *STYLES])]
    names = distinct_names(runs)
    read = [read_run(run) for run in runs]
    kinds = {name: str(run["manifest"].get("kind")) for name, run in zip(names, read, strict=True)}
    kind = _AS.get(kinds[names[0]], kinds[names[0]])
    if any(_AS.get(other, other) != kind for other in kinds.values()):
        found = ", ".join(f"{name} of kind {kind}" for name, kind in kinds.items())
        raise UserError(found, "runs of one kind", "report them apart")
    if kind not in KINDS:
        raise UserError(f"{names[0]} of kind {kind}", f"one of {', '.join([*KINDS, *_AS])}", "see `medllm eval`")
    with new_folder(out, overwrite) as folder:
        summary, *headlines = _write_report(KINDS[kind], dict(zip(names, read, strict=True)), folder, language)
    print("\n".join([f"wrote {out}/report.md and {out}/report.html: {summary}", *headlines]))


def _write_report(kind: Kind, runs: dict[str, FinishedRun], folder: Path, language: Language) -> list[str]:
    """Writes the report of runs of one kind into `folder`; returns a line on what is in it, and the headlines of exams."""
    checked = [kind.check(name, run) for name, run in runs.items()]
    found = kind.values(checked)
    blocks = in_language(kind.blocks(found), language)
    write_json(folder / "results.json", found)
    write_text(folder / "report.md", markdown(blocks))
    if kind.draw:
        kind.draw(found, folder, language)
    count = kind.write_page(blocks, found, checked, folder, language)
    datasets = found.get("datasets", ())
    headlines = [group["headline"][language] for dataset in datasets for group in dataset["readings"]]
    headlines += [one[language] for dataset in datasets for one in dataset["headlines"]]
    return [f"{len(checked)} {'run' if len(checked) == 1 else 'runs'}, {count:,} {kind.browsed}", *headlines]
