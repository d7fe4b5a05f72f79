"""One model's answers to the same questions, taken in several readings: spread, agreement, and which figure to publish."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from medllm_hf.evaluation.exams import phrases
from medllm_hf.evaluation.exams.derive import METRICS, Run, chance_of, reading_of
from medllm_hf.evaluation.exams.phrases import accuracy_text, finished_text, of_prompts
from medllm_hf.evaluation.exams.prompts import limit_of
from medllm_hf.evaluation.exams.settings import READINGS, Mode
from medllm_hf.evaluation.runs.folder import json_line
from medllm_hf.evaluation.statistics.tests import wilson
from medllm_hf.reporting.blocks import Block, Heading, Paragraph, Table, interval, percent
from medllm_hf.reporting.phrases import Text, Words
from medllm_hf.reporting.terms import term

# A written reading is taken for the headline when no larger share of its replies is unparsed.
MOST_UNPARSED = 0.05
# No figure is published of which more of the questions are without an answer that could be read, ties included.
MOST_UNREAD = 0.5
# Which reading is the headline where several could be: what people meet first, what is compared last.
PREFERRED: tuple[Mode, ...] = ("reply", "reasoning", "likelihood")
# What runs must share beside the model to be readings of one answer.
_SHARED = ("shots", "seed", "shuffle_options", "circular", "chat_template")
_RULE = Text(
    "The rule for the number to publish asks how well the answers could be read, never which figure is higher: the short "
    f"reply as read, for that is what people meet, if at most {MOST_UNPARSED:.0%} of its replies are unparsed; else the "
    "reasoning under the same limit; else the likelihood, because written figures with many unparsed replies say more of their "
    "form than of knowledge; where no likelihood was taken, the reading with the fewest unparsed; "
    f"none of which more than {MOST_UNREAD:.0%} of the questions are unparsed, ties included, and none of a trial. A "
    "figure after asking once more stands beside the one as read and never in its place.",
    "选定发布哪个数字的规则只看回复能否读出，从不看哪个数字更高："
    f"未解析的简短回复不超过 {MOST_UNPARSED:.0%} 时取简短回复（reply），"
    "因为这是人们实际见到的；否则按同样的限度取推理后的回复（reasoning）；再否则取似然（likelihood），"
    "因为未解析很多时，书面回复的数字反映的多是形式而不是知识；没有似然时取未解析最少的读法；"
    f"未解析（含并列）超过 {MOST_UNREAD:.0%} 的题目时不取，试跑也不取。再问一次之后的数字只并列在旁，从不代替原回复的数字。",
)


def compared_readings(runs: list[Run]) -> list[dict]:
    """What the report says of each model that answered these questions in more than one reading.

    Args:
        runs: on the same questions.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        shared = {name: run.manifest["settings"].get(name) for name in _SHARED}
        groups.setdefault(json_line({"model": run.manifest["model"], **shared}), []).append(run)
    several = (members for members in groups.values() if len({reading_of(run.manifest) for run in members}) > 1)
    return [_compared(sorted(members, key=lambda run: READINGS.index(reading_of(run.manifest)))) for members in several]


def _compared(runs: list[Run]) -> dict:
    rows = [_row(run) for run in runs]
    shares = [row["accuracy"] for row in rows]
    apart = [
        [one["run"], other["run"]]
        for one, other in combinations(rows, 2)
        if one["interval_high"] < other["interval_low"] or other["interval_high"] < one["interval_low"]
    ]
    limited = limit_of(runs[0].manifest)  # of all, which have the same questions
    chosen = None if limited else headline(rows)
    group: dict[str, Any] = {
        "model": runs[0].manifest["model"]["id"],
        "rows": rows,
        "spread": max(shares) - min(shares),
        "agreement": [agreement(one, other) for one, other in combinations(runs, 2)],
        "apart": apart,
        **({"limited_to": limited} if limited else {}),
        "publish": chosen["run"] if chosen else None,
    }
    en, zh = _publish_texts(group) if chosen else _none_texts(group)
    return {**group, "headline": {"en": en, "zh": zh}}


def _row(run: Run) -> dict:
    counts = {name: run.metrics[name] for name in ("ties", "finished", "circular") if name in run.metrics}
    figures = {name: run.metrics[name] for name in METRICS[:5]}
    return {"run": run.name, "reading": reading_of(run.manifest), **figures, "chance": chance_of(run.metrics), **counts}


def agreement(first: Run, second: Run) -> dict[str, Any]:
    """How often two readings chose the same options, of the questions from which both give letters; None of none."""
    theirs = {(answer.id, answer.rotation): answer.own_choice for answer in second.answers}
    both = [
        (answer.own_choice, theirs[key])
        for answer in first.answers
        if answer.choice is not None and theirs.get(key := (answer.id, answer.rotation)) is not None
    ]
    equal = sum(one == other for one, other in both)
    low, high = wilson(equal, len(both)) if both else (None, None)
    share = equal / len(both) if both else None
    return {"first": first.name, "second": second.name, "n": len(both), "equal": equal, "share": share,
            "interval_low": low, "interval_high": high}  # fmt: skip


def headline(rows: list[dict]) -> dict | None:
    """The row whose figure is to be published, by the rule that the report states; None where none is."""
    rows = [row for row in rows if row["unparsed"] <= MOST_UNREAD * row["n"]]
    written = [row for row in rows if row["reading"] != "likelihood"]
    readable = [row for row in written if row["unparsed"] <= MOST_UNPARSED * row["n"]]
    candidates = readable or [row for row in rows if row["reading"] == "likelihood"]
    if candidates:
        return min(candidates, key=lambda row: PREFERRED.index(row["reading"]))
    return min(rows, key=lambda row: row["unparsed"] / row["n"], default=None)


def reading_blocks(dataset: dict) -> Iterator[Block]:
    """The tables and notes on the readings of one dataset."""
    for group in dataset["readings"]:
        yield Heading(3, phrases.READINGS_OF(model=group["model"]))
        yield _accuracies(group["rows"])
        yield Paragraph(phrases.READINGS_NOTE)
        yield _agreements(group["agreement"])
        yield Paragraph(phrases.SPREAD(points=f"{100 * group['spread']:.1f}"))
        for first, second in group["apart"]:
            yield Paragraph(phrases.APART(first=first, second=second))
    if dataset["readings"]:
        yield Paragraph(_RULE)


def _accuracies(rows: list[dict]) -> Table:
    again = any("finished" in row for row in rows)
    head = (phrases.READING, phrases.RUN, phrases.ACCURACY, phrases.INTERVAL, phrases.N, phrases.UNPARSED, phrases.TIES)
    lines = []
    for row in rows:
        limits = interval(row["interval_low"], row["interval_high"])
        counts = (str(row["n"]), str(row["unparsed"]), _ties(row), *[finished_text(row)] * again)
        lines.append((term(row["reading"]), row["run"], percent(row["accuracy"]), limits, *counts))
    return Table((*head, *[phrases.AGAIN] * again), tuple(lines))


def _ties(row: dict) -> Words:
    return str(row["ties"]) + of_prompts(row) if "ties" in row else "–"


def _agreements(rows: list[dict]) -> Table:
    lines = []
    for row in rows:
        limits = interval(row["interval_low"], row["interval_high"]) if row["n"] else "–"
        pair = phrases.AND(first=term(row["first"]), second=term(row["second"]))
        lines.append((pair, percent(row["share"]), limits, str(row["equal"]), str(row["n"])))
    head = (phrases.SAME_CHOSEN, phrases.SHARE_HEAD, phrases.INTERVAL, phrases.EQUAL, phrases.BOTH_LETTERS)
    return Table(head, tuple(lines))


def publish_blocks(dataset: dict) -> Iterator[Block]:
    """Which number to publish of each model that was asked in several readings, in a sentence."""
    for group in dataset["readings"]:
        yield Paragraph(Text(group["headline"]["en"], group["headline"]["zh"]))


def _publish_texts(group: dict) -> tuple[str, str]:
    row = next(row for row in group["rows"] if row["run"] == group["publish"])
    n, unparsed, chance = row["n"], row["unparsed"], percent(row["chance"])
    text = f"Which number to publish: {row['run']}, {accuracy_text(row).en}, n = {n}, {unparsed} unparsed, chance {chance}, "
    text += f"named as a figure of the reading {row['reading']}"
    ends = interval(row["interval_low"], row["interval_high"])
    zh = f"该发布哪个数字：{row['run']}，{percent(row['accuracy'])}（95% 区间 {ends.zh}），"
    zh += f"n = {n}，未解析 {unparsed}，随机水平 {chance}，并注明读法 {row['reading']}"
    if group["apart"]:
        text += "; since the readings differ by more than chance, publish all of them, each compared only with its like."
        return text, zh + "；各读法的差异超出偶然，因此应全部发布，且每个数字只与同一读法的数字比较。"
    text += "; the intervals of all readings meet, so the others can stand beside it as a check."
    return text, zh + "；所有读法的区间两两相交，其余数字可并列作为核对。"


def _none_texts(group: dict) -> tuple[str, str]:
    if limited := group.get("limited_to"):
        asked = f"limited to {limited['n']} of {limited['of']} questions"
        zh = f"该发布哪个数字：无，因为这些运行只做了 {limited['of']} 题中的前 {limited['n']} 题，是试跑。"
        return f"Which number to publish: none, since these runs are {asked}, a trial of which nothing is to be published.", zh
    least = min(group["rows"], key=lambda row: row["unparsed"] / row["n"])
    counts = f"{least['unparsed']} of {least['n']} in {least['run']}, the least"
    text = f"Which number to publish: none, since in every reading more than {MOST_UNREAD:.0%} of the questions are unparsed"
    zh = f"该发布哪个数字：无，因为每种读法都有超过 {MOST_UNREAD:.0%} 的题目未解析"
    zh += f"（最少的是 {least['run']}：{least['n']} 题中 {least['unparsed']} 题）。"
    return f"{text} ({counts}).", zh
