"""Figures of evaluation runs as the Hub takes them: tables of the card, `model-index` and `.eval_results`."""

from pathlib import Path

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml

from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.derive import result_row
from medllm_hf.evaluation.judging.derive import judge_label
from medllm_hf.evaluation.statistics.bootstrap import ends_text, share_text
from medllm_hf.folders import write_text
from medllm_hf.hub.exam_tables import exam_lines
from medllm_hf.reporting.blocks import Table, percent, table_lines

FOLDER = ".eval_results"


def tables(runs: list[dict], base: str | None = None) -> list[str]:
    """The lines of the card's tables: exams first, then the judges' scores and their comparisons of two systems.

    Args:
        base: the name of the base model.
    """
    exams, judges, pairs = ([run for run in runs if run["manifest"]["kind"] == kind] for kind in ("mcq", "judge", "pair"))
    parts = [exam_lines(exams, base)] if exams else []
    if judges:
        head = (
            *("run 评测", "judge 裁判模型", "rubric 量表", "cases 病例", "overall 总分", "95% interval 区间", "n"),
            *("unscored 未评分", "by criterion 各项"),
        )
        notes = ["", *_CASE_NOTES] if any("cases" in run["manifest"] for run in judges) else []
        parts.append([*table_lines(Table(head, tuple(map(_judge_cells, judges)))), *notes])
    if pairs:
        parts.append([*table_lines(Table(_PAIR_HEAD, tuple(map(_pair_cells, pairs)))), "", *_PAIR_NOTES])
    return [line for part in parts for line in ("", *part)][1:]


_PAIR_HEAD = (
    *("run 评测", "first 甲", "second 乙", "judge 裁判模型", "rubric 量表"),
    *("win rate of the first 甲胜率", "95% interval 区间", "wins 胜", "ties 平", "losses 负", "inconsistent 不一致", "n"),
    *("unscored 未评分", "canaries 陷阱样例", "by criterion 各项"),
)
_PAIR_NOTES = (
    "Comparisons: the judge read both consultations on each case in both orders. Wins and losses, on which the orders agree,",
    "are those of the first system. Ties, and cases on which the orders disagree, count half in the win rate. n counts the",
    "unscored cases too. Canaries are pairs of which it is known how they compare.",
    "",
    "成对比较：裁判模型对每个病例的两份对话按两种先后顺序各读一次。胜负以第一个系统计，两种顺序的结论一致才算；"
    "平局和两种顺序结论不一致的病例在胜率（win rate）中各计一半。n 包括未能评分（unscored）的病例。"
    "陷阱样例（canary）是已知优劣的对话对，用来检验裁判模型。",
)


_CASE_NOTES = (
    "Shown the cases: the judge read the description and diagnosis of each case beside the dialogue. The texts of the cases",
    "are not under `eval/`, only the SHA-256 of each; who has the file of cases can confirm them.",
    "",
    "标有 shown the cases 的裁判模型在读对话的同时能看到病例资料（描述和诊断）。`eval/` 中没有病例原文，"
    "只有每份原文的 SHA-256；持有病例文件的人可以核对。",
)


def _pair_cells(run: dict) -> tuple[str, ...]:
    manifest, found = run["manifest"], run["metrics"]
    rubric, overall = manifest["rubric"], found["criteria"]["overall"]
    names = {side: name or "(none)" for side, name in manifest["systems"].items()}
    systems = [f"{names[side]}{f' (these weights, {held})' if held else ''}" for side, held in _sides(run)]
    passed = f"{sum(row['passed'] for row in found['canaries'])} of {len(found['canaries'])} passed"
    head = (run["name"], *systems, manifest["judge"]["id"], f"{rubric['name']} {rubric['version']} {rubric['language']}")
    if found["headline"] is None:
        withheld = (f"none: {'; '.join(found['no_headline'])}", *["–"] * 5)
        return (*head, *withheld, str(found["n"]), str(found["unscored"]), passed, "–")
    counts = (*(str(overall[name]) for name in ("wins", "ties", "losses", "inconsistent")), str(found["n"]))
    single = {key: found["criteria"][key] for key in rubric["criteria"] if key != "overall"}
    each = ", ".join(
        f"{key} {percent(own['win_rate'])} ({share_text(own['interval'], own['n']).en})" for key, own in single.items()
    )
    rate = (percent(overall["win_rate"]), share_text(overall["interval"], overall["n"]).en)
    return (*head, *rate, *counts, str(found["unscored"]), passed, each)


def _sides(run: dict) -> list[tuple[str, str | None]]:
    """The sides of a comparison, each with the consultations of this model that its dialogues are from, if they are."""
    return [(side, run["held"].get(side)) for side in ("first", "second")]


def _judge_cells(run: dict) -> tuple[str, ...]:
    manifest = run["manifest"]
    (system,) = manifest["systems"]
    rubric, found = manifest["rubric"], run["metrics"]["systems"][system]
    names = (run["name"], judge_label(manifest), f"{rubric['name']} {rubric['version']} {rubric['language']}", run["cases"])
    if run["metrics"]["headline"] is None:
        why = "; ".join(run["metrics"]["no_headline"])
        return (*names, f"none: {why}", "–", str(found["n"]), str(found["unscored"]), "–")
    each = ", ".join(f"{key} {found[key]:.2f}" for key in rubric["criteria"])
    return (*names, f"{found['overall']:.2f}", _ends(found, "overall", 2), str(found["n"]), str(found["unscored"]), each)


def _ends(found: dict, key: str, digits: int) -> str:
    return ends_text(found["intervals"][key], found["n"] - found["unscored"], digits).en


def model_index(runs: list[dict]) -> list[EvalResult]:
    """The runs as entries of `model-index`: accuracies of exams, and each criterion of a judge that has a headline figure.

    Comparisons have none: a win rate is one against another system, which the Hub's format has no place for.
    """
    made = {"mcq": _exam, "judge": _judge}
    return [entry for run in _own(runs) if run["manifest"]["kind"] in made for entry in made[run["manifest"]["kind"]](run)]


def _own(runs: list[dict]) -> list[dict]:
    """The runs of the model itself: what is published of its base are no results of it."""
    return [run for run in runs if "of_base" not in run]


def _exam(run: dict) -> list[EvalResult]:
    row, data = result_row(run), run["manifest"]["data"]
    low, high = row["interval_low"], row["interval_high"]
    args = {"run": run["name"], "reading": row["reading"], "n": row["n"], "unparsed": row["unparsed"]}
    return [
        EvalResult(
            task_type="question-answering",
            task_name="Multiple-choice questions",
            dataset_type=data.get("hub") or Path(row["data"]).stem,
            dataset_name=row["data"],
            dataset_split=data.get("split"),
            dataset_revision=data.get("revision"),
            metric_type="accuracy",
            metric_name=f"accuracy by {row['reading']}, n={row['n']}, 95% interval {low:.4f} to {high:.4f}",
            metric_value=float(row["accuracy"]),
            metric_args={**args, "interval": [float(low), float(high)]},
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
        ends = found["intervals"][key]
        name = f"{key} by {rubric['name']}, judge {judge_label(manifest)}, n={found['n']}, "
        name += f"95% interval {_ends(found, key, 3)}"
        args = {"run": run["name"], "n": found["n"], "unscored": found["unscored"]}
        args |= {"interval": [float(end) for end in ends]} if ends else {}
        entries.append(
            EvalResult(
                task_type="text-generation",
                task_name="Simulated consultations",
                dataset_type=Path(run["cases"]).stem,
                dataset_name=run["cases"],
                metric_type=key,
                metric_name=name,
                metric_value=float(found[key]),
                metric_args={**args, "rubric": rubric["name"], "judge": judge_label(manifest)},
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
    run = next((run for run in _own(runs) if run["name"] == name and run["manifest"]["kind"] == "mcq"), None)
    if run is None:
        raise UserError(f"--benchmark of the run {name!r}", "the name of an exam run of --eval-run", "correct it")
    return run, dataset, task


def entry(run: dict, repo_id: str, dataset: str, task: str) -> list[dict]:
    """A run as the content of its file in `.eval_results`, for a benchmark that is registered on the Hub."""
    row, manifest = result_row(run), run["manifest"]
    shots = manifest["settings"]["shots"]
    notes = (
        f"{row['reading']}, {shots}-shot, n={row['n']}, unparsed {row['unparsed']}, "
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
