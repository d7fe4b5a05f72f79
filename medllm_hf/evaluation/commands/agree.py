"""The verb `eval agree`: judge runs beside human labels and beside each other → agreement.json, agreement.md."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from medllm_hf.errors import UserError
from medllm_hf.evaluation.agreement.labels import Labels, read_labels
from medllm_hf.evaluation.agreement.measures import band, figures
from medllm_hf.evaluation.agreement.tables import agreement_blocks, sentence, short_table
from medllm_hf.evaluation.judging.derive import load_metric
from medllm_hf.evaluation.judging.scores import JudgeRun, checked_judge_run, judge_run_of
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.runs.names import distinct_names
from medllm_hf.folders import check_free, new_folder, write_json, write_text
from medllm_hf.reporting.blocks import markdown

_KINDS = ("judge", "consult")
# Criterion → dialogue id → score.
Scores = Mapping[str, Mapping[str, float]]


def agree(runs: list[str], out: str, labels: list[str], overwrite: bool = False) -> None:
    """Writes how far the judges of `runs` agree with the human labels in the files `labels`, and with each other.

    Raises:
        UserError: one run and no labels; a run of another kind, of another rubric, damaged or unfinished; no label for any
            of its dialogues; or `out` is not free.
    """
    check_free(out, overwrite)
    if len(runs) < 2 and not labels:
        raise UserError("one run and no --labels", "something to compare the run with", "add --labels or another run")
    checked = _runs(runs)
    rubric = checked[0].manifest["rubric"]
    human = read_labels(labels, rubric["criteria"], rubric["low"], rubric["high"]) if labels else Labels()
    found = agreement_values(checked, human)
    with new_folder(out, overwrite) as folder:
        write_json(folder / "agreement.json", found)
        write_text(folder / "agreement.md", markdown(agreement_blocks(found)))
    bad, unknown = human.bad_rows, found["labels"]["unknown_ids"]
    told = [f"left out {row}" for row in bad[:10]] + ([f"and {len(bad) - 10} more rows"] if len(bad) > 10 else [])
    told += [f"{len(unknown)} labelled ids that no run has: {', '.join(unknown[:10])}"] if unknown else []
    print("\n".join([*told, *short_table(found), *found["sentences"], f"wrote {out}/agreement.md and {out}/agreement.json"]))


def agreement_values(runs: Sequence[JudgeRun], labels: Labels) -> dict:
    """The content of agreement.json.

    Raises:
        UserError: labels, and none for a dialogue of the runs.
    """
    criteria = runs[0].criteria
    judges = {run.name: judge_scores(run) for run in runs}
    annotators = {name: human_scores(rows, criteria) for name, rows in labels.scores.items()}
    known = {one.id for run in runs for one in run.dialogues}
    labelled = dict.fromkeys(dialogue for rows in labels.scores.values() for dialogue in rows)
    unknown = [dialogue for dialogue in labelled if dialogue not in known]
    if labelled and len(unknown) == len(labelled):
        found = f"labels for {unknown[0]} and {len(unknown) - 1} more dialogues, and none for a dialogue of the runs"
        raise UserError(found, f"ids such as {next(iter(known))}", "mend the column id of the labels")
    bands = [{"run": name, **_bands(scores, annotators)} for name, scores in judges.items()] if len(annotators) > 1 else []
    return {
        "kind": "agreement",
        "criteria": [*criteria, *_overall(criteria)],
        "runs": [_told(run, labelled) for run in runs],
        "labels": {
            "files": labels.files,
            "annotators": {name: len(rows) for name, rows in labels.scores.items()},
            "bad_rows": labels.bad_rows,
            "unknown_ids": unknown,
            "unread_columns": list(labels.unread_columns),
        },
        "judge_human": [
            {"first": run, "second": name, "criteria": compared(scores, own)}
            for run, scores in judges.items()
            for name, own in annotators.items()
        ],
        "bands": bands,
        "judges": [row for pair in combinations(runs, 2) if (row := _judges(*pair)) is not None],
        "sentences": [
            sentence(one["run"], key, found) for one in bands for key, found in one["criteria"].items() if found is not None
        ],
    }


def judge_scores(run: JudgeRun) -> Scores:
    """The scores of a judge run, means over the samples, and the overall score where the rubric has several criteria."""
    scored = [one for one in run.dialogues if one.unscored is None]
    found = {key: {one.id: one.scores[key] for one in scored} for key in run.criteria}
    return found | {key: {one.id: one.overall for one in scored} for key in _overall(run.criteria)}


def human_scores(rows: Mapping[str, Mapping[str, float]], criteria: Sequence[str]) -> Scores:
    """The scores of an annotator, and the overall score, a mean, of the dialogues on which no criterion is a gap."""
    found = {key: {name: row[key] for name, row in rows.items() if key in row} for key in criteria}
    means = {name: sum(row.values()) / len(row) for name, row in rows.items() if len(row) == len(criteria)}
    return found | dict.fromkeys(_overall(criteria), means)


def compared(first: Scores, second: Scores) -> dict:
    """The figures of two raters by criterion."""
    return {key: figures(first[key], second[key], key != "overall") for key in first}


def _overall(criteria: Sequence[str]) -> list[str]:
    return ["overall"] if len(criteria) > 1 else []


def _bands(judge: Scores, annotators: Mapping[str, Scores]) -> dict:
    """The judge beside the annotators by criterion, and each pair of annotators on the dialogues that the judge scored."""
    pairs = []
    for first, second in combinations(annotators, 2):
        own = {key: {name: score for name, score in annotators[first][key].items() if name in judge[key]} for key in judge}
        pairs.append({"first": first, "second": second, "criteria": compared(own, annotators[second])})
    criteria = {key: band(judge[key], [one[key] for one in annotators.values()], key != "overall") for key in judge}
    return {"criteria": criteria, "pairs": pairs}


def _judges(first: JudgeRun, second: JudgeRun) -> dict | None:
    """Two judge runs on the dialogues of both; None where there is none. A dialogue in other words is another one."""
    turns = [{one.id: one.turns for one in run.dialogues} for run in (first, second)]
    other = [name for name in turns[0] if name in turns[1] and turns[0][name] != turns[1][name]]
    if not turns[0].keys() & turns[1].keys() - set(other):
        return None
    ours = {key: {name: score for name, score in own.items() if name not in other} for key, own in judge_scores(first).items()}
    return {
        "first": first.name,
        "second": second.name,
        "criteria": compared(ours, judge_scores(second)),
        "only_first": [name for name in turns[0] if name not in turns[1]],
        "only_second": [name for name in turns[1] if name not in turns[0]],
        "other_words": other,
    }


def _told(run: JudgeRun, labelled: Mapping[str, None]) -> dict:
    return {
        "run": run.name,
        "judge": run.manifest["judge"],
        "rubric": run.manifest["rubric"],
        "data": run.manifest["data"],
        "samples": run.manifest["settings"]["samples"],
        "unscored": [one.id for one in run.dialogues if one.unscored is not None],
        "unlabelled": [one.id for one in run.dialogues if one.id not in labelled] if labelled else [],
        "no_headline": run.metrics["no_headline"],
    }


def _runs(folders: list[str]) -> list[JudgeRun]:
    metric, found = load_metric(), []
    for name, folder in zip(distinct_names(folders), folders, strict=True):
        run = read_run(folder)
        if run["manifest"].get("kind") not in _KINDS:
            raise UserError(f"a run of kind {run['manifest'].get('kind')} in {folder}", "a judge run", "leave it out")
        found.append(checked_judge_run(name, judge_run_of(name, run), metric))
    scales = {one.name: [one.manifest["rubric"][key] for key in ("criteria", "low", "high")] for one in found}
    for name, scale in scales.items():
        if scale != scales[found[0].name]:
            both = f"other criteria or another scale in {name} than in {found[0].name}"
            raise UserError(both, "runs whose scores mean the same", "compare runs of one rubric")
    return found
