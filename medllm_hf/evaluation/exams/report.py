"""What the report says of exam runs, as values: everything that its tables and plots show."""

from itertools import combinations
from typing import Any

from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams import phrases
from medllm_hf.evaluation.exams.compared_readings import compared_readings
from medllm_hf.evaluation.exams.derive import Answer, Run, result_row
from medllm_hf.evaluation.exams.headline import headlines
from medllm_hf.evaluation.exams.position_bias import confusion, position_bias, sentences
from medllm_hf.evaluation.exams.prompts import limit_of
from medllm_hf.evaluation.exams.reference_results import quoted_rows
from medllm_hf.evaluation.statistics.tests import holm, mcnemar, paired_interval, wilson

ALL_ROTATIONS, FIRST_ROTATION = "all rotations right", "first rotation right"


def values(runs: list[Run]) -> dict:
    """The content of results.json: one entry a dataset, one result a run in the order given."""
    datasets: dict[tuple, list[Run]] = {}
    for run in runs:
        data = run.manifest["data"]
        limited = data["n"] if "of" in data else None  # a trial is not compared with a whole run
        datasets.setdefault((data["name"], data.get("split"), data["sha256"], limited), []).append(run)
    rows = [result_row({"folder": run.name, "manifest": run.manifest, "metrics": run.metrics}) for run in runs]
    results = [row | {"run": run.name} | _detail(run) for row, run in zip(rows, runs, strict=True)]
    return {"kind": "mcq", "datasets": [_dataset(members) for members in datasets.values()], "results": results}


def _detail(run: Run) -> dict:
    answers, settings = run.answers, run.manifest["settings"]
    # Scored by the texts of the answers, the options are not shown to the model.
    shown = not (settings.get("mode") == "likelihood" and settings.get("score") == "text")
    kinds = [rows[0].kind for rows in run.items.values()]
    detail: dict[str, Any] = {
        "weights_sha256": run.manifest["model"].get("weights_sha256"),
        **{key: run.metrics[key] for key in ("cost", "ties", "limited_to") if key in run.metrics},
        "groups": run.metrics["groups"],
        "single": kinds.count("single"),
        "multi": kinds.count("multi"),
        "wrong": run.metrics["n"] - round(run.metrics["accuracy"] * run.metrics["n"]) - run.metrics["unparsed"],
        "position": position_bias(answers) if shown else {"n": 0, "bias": None, **sentences(phrases.NOT_SHOWN)},
        "confusion": confusion(answers),
    }
    if not run.circular:
        return detail
    circular, count = run.metrics["circular"], run.metrics["n"]
    first = round(circular["first_accuracy"] * count)
    low, high = wilson(circular["consistent"], count)
    bounds = {"consistent_interval_low": low, "consistent_interval_high": high}
    low, high = wilson(first, count)
    return detail | {"circular": circular | bounds | {"first_interval_low": low, "first_interval_high": high}}


def _dataset(runs: list[Run]) -> dict:
    data = runs[0].manifest["data"]
    names = ("name", "split", "sha256", "revision", "licence", "left_out", "of")
    kept = {key: data[key] for key in names if key in data}
    settings = [run.manifest["settings"] for run in runs]
    keys = sorted({key for one in settings for key in one})
    quoted = quoted_rows(data["name"]) if data.get("split") == "test" and "of" not in data else []
    comparisons = compared(runs)
    return kept | {
        "runs": [run.name for run in runs],
        "settings_equal": {key: settings[0].get(key) for key in keys if all(_same(key, settings))},
        "settings_differ": [key for key in keys if not all(_same(key, settings))],
        "readings": compared_readings(runs),
        "headlines": headlines(runs[0].name, comparisons, ALL_ROTATIONS, limit_of(runs[0].manifest)),
        "comparisons": comparisons,
        "quoted": quoted,
    }


def _same(key: str, settings: list[dict]) -> list[bool]:
    return [key in one and one[key] == settings[0].get(key) for one in settings]


def compared(runs: list[Run]) -> list[dict]:
    """Each later run against each earlier one on the items that both have, with p values corrected for their number."""
    rows = [comparison(later, earlier) for earlier, later in combinations(runs, 2)]
    corrected = holm([row["p"] for row in rows])
    return [row | {"p_holm": p} for row, p in zip(rows, corrected, strict=True)]


def _right(rows: list[Answer], strict: bool) -> bool:
    return all(answer.right for answer in rows) if strict else rows[0].right


def comparison(first: Run, second: Run) -> dict:
    """McNemar's test and the difference in accuracy, first minus second, over the items of both.

    Rotations of one item are no independent pairs: circular runs are compared by items of which all rotations are right,
    and a circular run with another kind by its first rotation.

    Raises:
        UserError: an item that is not the same in both, or no item in both.
    """
    strict = first.circular and second.circular
    shared = [name for name in first.items if name in second.items]
    for name in shared:
        if first.items[name][0].item != second.items[name][0].item:
            found = f"two questions or keys for {name!r} in {first.name} and {second.name}"
            raise UserError(found, "the same questions, as their manifests say", "run one of them again")
    if not shared:
        found = f"no common question in {first.name} and {second.name}"
        raise UserError(found, "the questions that their manifests name", "run one of them again")
    pairs = [tuple(_right(run.items[name], strict) for run in (first, second)) for name in shared]
    both, only_first, only_second, neither = (
        pairs.count(case) for case in ((True, True), (True, False), (False, True), (False, False))
    )
    low, high = paired_interval(both, only_first, only_second, neither)
    settings = [run.manifest["settings"] for run in (first, second)]
    return {
        "first": first.name,
        "second": second.name,
        "counted": ALL_ROTATIONS if strict else FIRST_ROTATION,
        "n": len(pairs),
        "unpaired_first": len(first.items) - len(pairs),
        "unpaired_second": len(second.items) - len(pairs),
        "both": both,
        "only_first": only_first,
        "only_second": only_second,
        "neither": neither,
        "difference": (only_first - only_second) / len(pairs),
        "interval_low": low,
        "interval_high": high,
        "p": mcnemar(only_first, only_second),
        "settings_differ": [key for key in sorted({*settings[0], *settings[1]}) if not all(_same(key, settings))],
    }
