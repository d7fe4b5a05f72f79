"""Figures of evaluation runs as the Hub takes them: tables of the card, `model-index` and `.eval_results`."""

from pathlib import Path

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml

from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.report import result_row, results_table
from medllm_hf.folders import write_text
from medllm_hf.reporting.blocks import Table, table_lines

FOLDER = ".eval_results"


def tables(runs: list[dict]) -> list[str]:
    """The lines of the card's tables: exams first, then the judges' scores."""
    exams = [run for run in runs if run["manifest"]["kind"] == "mcq"]
    judges = [run for run in runs if run["manifest"]["kind"] == "judge"]
    lines = results_table([result_row(run) for run in exams]) if exams else []
    if judges:
        head = ("run", "judge", "rubric", "cases", "overall", "95% interval", "n", "unscored", "by criterion")
        lines += [*([""] if lines else []), *table_lines(Table(head, tuple(map(_judge_cells, judges))))]
    return lines


def _judge_cells(run: dict) -> tuple[str, ...]:
    manifest = run["manifest"]
    (system,) = manifest["systems"]
    rubric, found = manifest["rubric"], run["metrics"]["systems"][system]
    names = (run["name"], manifest["judge"]["id"], f"{rubric['name']} {rubric['version']} {rubric['language']}", run["cases"])
    if run["metrics"]["headline"] is None:
        why = "; ".join(run["metrics"]["no_headline"])
        return (*names, f"none: {why}", "–", str(found["n"]), str(found["unscored"]), "–")
    low, high = found["intervals"]["overall"]
    each = ", ".join(f"{key} {found[key]:.2f}" for key in rubric["criteria"])
    return (*names, f"{found['overall']:.2f}", f"{low:.2f} to {high:.2f}", str(found["n"]), str(found["unscored"]), each)


def model_index(runs: list[dict]) -> list[EvalResult]:
    """The runs as entries of `model-index`: accuracies of exams, and each criterion of a judge that has a headline figure."""
    return [entry for run in runs for entry in (_exam(run) if run["manifest"]["kind"] == "mcq" else _judge(run))]


def _exam(run: dict) -> list[EvalResult]:
    row, data = result_row(run), run["manifest"]["data"]
    low, high = row["interval_low"], row["interval_high"]
    args = {"run": run["name"], "n": row["n"], "unparsed": row["unparsed"], "interval": [float(low), float(high)]}
    return [
        EvalResult(
            task_type="question-answering",
            task_name="Multiple-choice questions",
            dataset_type=data.get("hub") or Path(row["data"]).stem,
            dataset_name=row["data"],
            dataset_split=data.get("split"),
            dataset_revision=data.get("revision"),
            metric_type="accuracy",
            metric_name=f"accuracy, n={row['n']}, 95% interval {low:.4f} to {high:.4f}",
            metric_value=float(row["accuracy"]),
            metric_args=args,
        )
    ]


def _judge(run: dict) -> list[EvalResult]:
    manifest = run["manifest"]
    if run["metrics"]["headline"] is None:
        return []
    (system,) = manifest["systems"]
    rubric, found = manifest["rubric"], run["metrics"]["systems"][system]
    entries = []
    for key in ("overall", *rubric["criteria"]):
        low, high = found["intervals"][key]
        name = (
            f"{key} by {rubric['name']}, judge {manifest['judge']['id']}, n={found['n']}, 95% interval {low:.3f} to {high:.3f}"
        )
        args = {"run": run["name"], "n": found["n"], "unscored": found["unscored"], "interval": [float(low), float(high)]}
        entries.append(
            EvalResult(
                task_type="text-generation",
                task_name="Simulated consultations",
                dataset_type=Path(run["cases"]).stem,
                dataset_name=run["cases"],
                metric_type=key,
                metric_name=name,
                metric_value=float(found[key]),
                metric_args={**args, "rubric": rubric["name"], "judge": manifest["judge"]["id"]},
            )
        )
    return entries


def parse_benchmark(text: str, runs: list[dict]) -> tuple[dict, str, str]:
    """The run, the dataset and the task that RUN=ORG/DATASET#TASK names.

    Raises:
        UserError: it is not of that form, or names no exam run that is published.
    """
    name, _, place = text.partition("=")
    dataset, _, task = place.partition("#")
    if not task or dataset.count("/") != 1:
        do = "write the id that the Hub has registered as a benchmark, and its task"
        raise UserError(f"--benchmark {text!r}", "RUN=ORG/DATASET#TASK", do)
    run = next((run for run in runs if run["name"] == name and run["manifest"]["kind"] == "mcq"), None)
    if run is None:
        raise UserError(f"--benchmark of the run {name!r}", "the name of an exam run of --eval-run", "correct it")
    return run, dataset, task


def entry(run: dict, repo_id: str, dataset: str, task: str) -> list[dict]:
    """A run as the content of its file in `.eval_results`, for a benchmark that is registered on the Hub."""
    row, manifest = result_row(run), run["manifest"]
    shots = manifest["settings"]["shots"]
    notes = (
        f"{manifest['settings']['mode']}, {shots}-shot, n={row['n']}, unparsed {row['unparsed']}, "
        f"95% interval {row['interval_low']:.4f} to {row['interval_high']:.4f}, share of right answers"
    )
    found = EvalResultEntry(
        dataset_id=dataset,
        task_id=task,
        value=float(row["accuracy"]),
        dataset_revision=manifest["data"].get("revision"),
        date=manifest["ended"],
        source_url=f"https://huggingface.co/{repo_id}/tree/main/eval/{run['name']}",
        source_name="medllm_hf run folder",
        notes=notes,
    )
    return eval_result_entries_to_yaml([found])


def write_entry(folder: Path, run: dict, repo_id: str, dataset: str, task: str) -> None:
    """Writes the run's file in `.eval_results`; a date in quotes stays a text."""
    (folder / FOLDER).mkdir(exist_ok=True)
    text = yaml.safe_dump(entry(run, repo_id, dataset, task), allow_unicode=True, sort_keys=False)
    write_text(folder / FOLDER / f"{run['name']}.yaml", text)
