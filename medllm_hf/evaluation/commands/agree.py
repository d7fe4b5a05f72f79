"""The verb `eval agree`: judge runs beside human labels and beside each other → agreement.json, agreement.md."""

from medllm_hf.data.rubric_benchmarks import CHECKLIST
from medllm_hf.errors import UserError
from medllm_hf.evaluation.agreement.calibrations import calibration_values
from medllm_hf.evaluation.agreement.labels import Labels, Reading, read_labels, read_outcome, read_score
from medllm_hf.evaluation.agreement.report import Ratings, agreement_values
from medllm_hf.evaluation.agreement.tables import agreement_blocks, calibration_sentences, short_table
from medllm_hf.evaluation.judging.derive import load_judge_run
from medllm_hf.evaluation.judging.report import ratings
from medllm_hf.evaluation.preferences.report import check_pair_run, pair_ratings
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.runs.names import distinct_names
from medllm_hf.folders import check_free, new_folder, write_json, write_text
from medllm_hf.reporting.blocks import markdown

_KINDS = ("judge", "consult", "pair")
# What a label says of two systems, as what it is worth to the first.
_OUTCOMES = {"first": 1.0, "second": 0.0, "tie": 0.5}


def agree(runs: list[str], out: str, labels: list[str], calibrate: list[str], overwrite: bool = False) -> None:
    """Writes how far the judges of `runs` agree with the human labels in the files `labels`, and with each other.

    With labels to `calibrate` by, the judges' means and win rates are corrected by these, which are compared with the judges
    too where there are no other labels.

    Raises:
        UserError: one run and no labels; a run of another kind, of another rubric, damaged or unfinished; no label for any
            of its dialogues; labels that calibrate no figure; or `out` is not free.
    """
    check_free(out, overwrite)
    if len(runs) < 2 and not labels and not calibrate:
        raise UserError("one run and no --labels", "something to compare the run with", "add --labels or another run")
    judges = _load_runs(runs)
    criteria = judges[0].about["rubric"]["criteria"]
    human = read_labels(labels or calibrate, criteria, _reading(judges[0])) if labels or calibrate else Labels()
    found = agreement_values(judges, criteria, human)
    if calibrate:
        chosen = read_labels(calibrate, criteria, _reading(judges[0])) if labels else human
        found["calibration"] = calibration_values(judges, criteria, chosen)
    with new_folder(out, overwrite) as folder:
        write_json(folder / "agreement.json", found)
        write_text(folder / "agreement.md", markdown(agreement_blocks(found)))
    bad, unknown = human.bad_rows, found["labels"]["unknown_ids"]
    lines = [f"left out {row}" for row in bad[:10]] + ([f"and {len(bad) - 10} more rows"] if len(bad) > 10 else [])
    lines += [f"{len(unknown)} labelled ids that no run has: {', '.join(unknown[:10])}"] if unknown else []
    lines += [*short_table(found), *found["sentences"], *calibration_sentences(found)]
    print("\n".join([*lines, f"wrote {out}/agreement.md and {out}/agreement.json"]))


def _load_runs(folders: list[str]) -> list[Ratings]:
    """What the judges of the runs in folders said, all on one scale."""
    found = []
    for name, folder in zip(distinct_names(folders), folders, strict=True):
        run = read_run(folder)
        kind = run["manifest"].get("kind")
        if kind not in _KINDS:
            raise UserError(f"a run of kind {kind} in {folder}", "a judge run", "leave it out")
        found.append(pair_ratings(check_pair_run(name, run)) if kind == "pair" else ratings(load_judge_run(name, run)))
    for one in found:
        if _scale(one) != _scale(found[0]):
            both = f"other criteria or another scale in {one.run} than in {found[0].run}"
            raise UserError(both, "runs whose scores mean the same", "compare runs of one rubric")
    return found


def _scale(judge: Ratings) -> list:
    """What scores mean: criteria and scale, and of a comparison its systems."""
    systems = dict.fromkeys(place.system for place in judge.places.values()) if _compares(judge) else {}
    return [judge.unit, judge.about["rubric"]["criteria"], judge.scale, list(systems)]


def _compares(judge: Ratings) -> bool:
    return judge.unit != "dialogues"


def _reading(judge: Ratings) -> Reading:
    """How labels for a run are read."""
    if _compares(judge):
        return read_outcome(_OUTCOMES)
    rubric = judge.about["rubric"]
    return read_score(*judge.scale, step=1 if rubric.get("whole_points") and rubric["name"] != CHECKLIST else None)
