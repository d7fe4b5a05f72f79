"""The verb `eval agree`: judge runs beside human labels and beside each other → agreement.json, agreement.md."""

from medllm_hf.errors import UserError
from medllm_hf.evaluation.agreement.labels import Labels, read_labels
from medllm_hf.evaluation.agreement.report import agreement_values
from medllm_hf.evaluation.agreement.tables import agreement_blocks, short_table
from medllm_hf.evaluation.judging.derive import JudgeRun, load_judge_run
from medllm_hf.evaluation.judging.report import ratings
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.runs.names import distinct_names
from medllm_hf.folders import check_free, new_folder, write_json, write_text
from medllm_hf.reporting.blocks import markdown

_KINDS = ("judge", "consult")


def agree(runs: list[str], out: str, labels: list[str], overwrite: bool = False) -> None:
    """Writes how far the judges of `runs` agree with the human labels in the files `labels`, and with each other.

    Raises:
        UserError: one run and no labels; a run of another kind, of another rubric, damaged or unfinished; no label for any
            of its dialogues; or `out` is not free.
    """
    check_free(out, overwrite)
    if len(runs) < 2 and not labels:
        raise UserError("one run and no --labels", "something to compare the run with", "add --labels or another run")
    loaded = _load_runs(runs)
    rubric = loaded[0].manifest["rubric"]
    human = read_labels(labels, rubric["criteria"], rubric["low"], rubric["high"]) if labels else Labels()
    found = agreement_values([ratings(run) for run in loaded], rubric["criteria"], human)
    with new_folder(out, overwrite) as folder:
        write_json(folder / "agreement.json", found)
        write_text(folder / "agreement.md", markdown(agreement_blocks(found)))
    bad, unknown = human.bad_rows, found["labels"]["unknown_ids"]
    lines = [f"left out {row}" for row in bad[:10]] + ([f"and {len(bad) - 10} more rows"] if len(bad) > 10 else [])
    lines += [f"{len(unknown)} labelled ids that no run has: {', '.join(unknown[:10])}"] if unknown else []
    print("\n".join([*lines, *short_table(found), *found["sentences"], f"wrote {out}/agreement.md and {out}/agreement.json"]))


def _load_runs(folders: list[str]) -> list[JudgeRun]:
    """The judge runs in folders, all of one scale."""
    found = []
    for name, folder in zip(distinct_names(folders), folders, strict=True):
        run = read_run(folder)
        if run["manifest"].get("kind") not in _KINDS:
            raise UserError(f"a run of kind {run['manifest'].get('kind')} in {folder}", "a judge run", "leave it out")
        found.append(load_judge_run(name, run))
    scales = {one.name: [one.manifest["rubric"][key] for key in ("criteria", "low", "high")] for one in found}
    for name, scale in scales.items():
        if scale != scales[found[0].name]:
            both = f"other criteria or another scale in {name} than in {found[0].name}"
            raise UserError(both, "runs whose scores mean the same", "compare runs of one rubric")
    return found
