"""Exams in a model card: this model's and its base's, and the difference on the same questions."""

from collections.abc import Mapping, Sequence
from typing import cast

from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.derive import check_run, result_row
from medllm_hf.evaluation.exams.phrases import finished_text
from medllm_hf.evaluation.exams.report import FIRST_ROTATION, comparison
from medllm_hf.evaluation.runs.folder import FinishedRun, read_run
from medllm_hf.reporting.blocks import Table, chance_text, interval, percent, table_lines

# What may differ between the exams of a model and of its base: where they were computed, and the template of each.
_FREE = frozenset(("batch_tokens", "batch_size", "device", "chat_template", "prompt_sha256", "reply_prefix"))
_DATA = ("name", "split", "sha256", "n", "of")
_HEAD = (
    *("run 评测", "model 模型", "accuracy 正确率", "95% interval 区间", "chance 随机水平", "n", "unparsed 未读出"),
    *("questions 题目", "reading 读取方式"),
)
_CHANGES = (
    *("base 基座", "this model 本模型", "difference, points 差异（百分点）", "95% interval 区间", "p", "n"),
    *("only this 仅本模型", "only base 仅基座", "questions 题目", "reading 读取方式"),
)
_NOTES = (
    "Chance is the accuracy of guessing. Unparsed replies, from which no answer could be read, count as wrong.",
    "",
    "“随机水平”指随机猜测的正确率；“未读出”指无法从回答中读出选项的题，按答错计。",
)
_CHANGE_NOTES = (
    "The base and this model answered the same questions by the same settings; “only” counts the questions that one of them",
    "alone answered rightly. The interval is Newcombe's for paired proportions (1998, method 10), p is McNemar's exact test;",
    "an interval that holds 0 shows no difference. Which weights the base's outputs are from is the publisher's word.",
    "",
    "基座与本模型以相同设置回答同一批题目；“仅本模型”“仅基座”是只有一方答对的题数。区间为配对比例的 Newcombe 区间"
    "（1998，方法 10），p 为 McNemar 精确检验；区间包含 0 即未显示差异。基座输出来自哪份权重以发布者声明为准。",
)
_OWN_TEMPLATES = (
    "",
    "The prompts differ: each model was asked by its own chat template.",
    "",
    "提示词不同：两个模型各用自己的对话模板。",
)


def exam_lines(runs: Sequence[dict], base: str | None) -> list[str]:
    """The lines of the tables of exams, in both languages.

    Args:
        runs: exams of `runs.published`, with those of the base.
        base: what the base is called where its runs do not say it better.
    """
    again = any("finished" in run["metrics"] for run in runs)
    rows = []
    for run in runs:
        row = result_row(run)
        who = _base_name(run, base) if "of_base" in run else "this model 本模型"
        ends = interval(row["interval_low"], row["interval_high"]).en
        figures = (percent(row["accuracy"]), ends, percent(row["chance"]), str(row["n"]), str(row["unparsed"]))
        rows.append((run["name"], who, *figures, row["data"], row["reading"], *[finished_text(row).en] * again))
    lines = [*table_lines(Table((*_HEAD, *["asked once more 再问一次"] * again), tuple(rows))), "", *_NOTES]
    if changes := pairs(runs):
        cells = tuple(_change_cells(own, other) for own, other in changes)
        digests = [[run["manifest"]["settings"].get("prompt_sha256") for run in pair] for pair in changes]
        parted = any(own != other for own, other in digests)
        lines += ["", *table_lines(Table(_CHANGES, cells)), "", *_CHANGE_NOTES, *_OWN_TEMPLATES * parted]
    return lines


def _base_name(run: Mapping, base: str | None) -> str:
    return f"base 基座 {base or run['manifest']['model']['id']}"


def pairs(runs: Sequence[dict]) -> list[tuple[dict, dict]]:
    """Each exam of the model with each of its base on the same questions by the same settings."""
    own = [run for run in runs if "of_base" not in run]
    return [(one, base) for base in runs if "of_base" in base for one in own if not differing(one, base)]


def differing(own: Mapping, base: Mapping) -> list[str]:
    """What makes two exams none of the same questions by the same settings, by its name in the manifest."""
    ours, theirs = own["manifest"], base["manifest"]
    found = [f"data.{name}" for name in _DATA if ours["data"].get(name) != theirs["data"].get(name)]
    names = sorted({*ours["settings"], *theirs["settings"]} - _FREE)
    if not ours["settings"].get("shots") and not ours["settings"].get("shuffle_options"):
        names = [name for name in names if name != "seed"]  # it draws nothing
    found += [f"settings.{name}" for name in names if ours["settings"].get(name) != theirs["settings"].get(name)]
    examples = [one["data"].get("examples", {}).get("ids") for one in (ours, theirs)]
    return found + ["data.examples"] * (examples[0] != examples[1])


def check_base_runs(runs: Sequence[Mapping]) -> None:
    """Check that each exam of the base has one of the model beside it on the same questions by the same settings.

    Raises:
        UserError: one that has none.
    """
    own = [run for run in runs if "of_base" not in run and run["manifest"]["kind"] == "mcq"]
    for base in (run for run in runs if "of_base" in run):
        found = [differing(one, base) for one in own]
        if not found or all(found):
            least = f", which differs in {', '.join(min(found, key=len)[:4])}" if found else ""
            raise UserError(
                f"--base-run {base['folder']} and no exam of this model like it{least}",
                "the same questions and settings before and after",
                "run `medllm eval mcq` on both with the same flags",
            )


def _whole(run: dict) -> FinishedRun:
    """The run with its rows, read again: a verification lets go of those that it has derived metrics from."""
    stored = read_run(run["folder"])
    return cast(FinishedRun, {**run, "outputs": stored["outputs"], "scores": stored["scores"]})


def _change_cells(own: dict, base: dict) -> tuple[str, ...]:
    after, before = (check_run(run["name"], _whole(run)) for run in (own, base))
    found = comparison(after, before)
    first = found["counted"] == FIRST_ROTATION
    shares = [(found["both"] + found[side]) / found["n"] for side in ("only_second", "only_first")]
    row = result_row(own)
    return (
        *map(percent, shares),
        f"{100 * found['difference']:+.1f}",
        f"{100 * found['interval_low']:+.1f} to {100 * found['interval_high']:+.1f}",
        *(chance_text(found["p"]), str(found["n"]), str(found["only_first"]), str(found["only_second"])),
        row["data"] + ("" if first else " (all rotations 全部轮换)"),
        row["reading"],
    )
