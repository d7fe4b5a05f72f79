"""One model's answers to the same questions, taken in several readings: spread, agreement, and which figure to publish."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from medllm_hf.evaluation.exams.derive import METRICS, Run, finished_text, reading_of, share_text
from medllm_hf.evaluation.exams.settings import READINGS, Mode
from medllm_hf.evaluation.runs.folder import json_line
from medllm_hf.evaluation.statistics.tests import wilson
from medllm_hf.reporting.blocks import Block, Heading, Paragraph, Table, interval, percent

# A written reading is taken for the headline when no larger share of its replies is unparsed.
MOST_UNPARSED = 0.05
# Which reading is the headline where several could be: what people meet first, what is compared last.
PREFERRED: tuple[Mode, ...] = ("reply", "reasoning", "likelihood")
# What runs must share beside the model to be readings of one answer.
_SHARED = ("shots", "seed", "shuffle_options", "circular", "chat_template")
_RULE = (
    f"The rule asks how well the answers could be read, never which figure is higher: the short reply as read, for that is "
    f"what people meet, if at most {MOST_UNPARSED:.0%} of its replies are unparsed; else the reasoning under the same limit; "
    "else the likelihood, because written figures with many unparsed replies say more of their form than of knowledge. A "
    "figure after asking once more stands beside the one as read and never in its place."
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
    return {
        "model": runs[0].manifest["model"]["id"],
        "rows": rows,
        "spread": max(shares) - min(shares),
        "agreement": [agreement(one, other) for one, other in combinations(runs, 2)],
        "apart": apart,
        "publish": headline(rows)["run"],
    }


def _row(run: Run) -> dict:
    counts = {name: run.metrics[name] for name in ("ties", "finished") if name in run.metrics}
    figures = {name: run.metrics[name] for name in METRICS[:5]}
    return {"run": run.name, "reading": reading_of(run.manifest), **figures, **counts}


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


def headline(rows: list[dict]) -> dict:
    """The row whose figure is to be published, by the rule that the report states."""
    written = [row for row in rows if row["reading"] != "likelihood"]
    readable = [row for row in written if row["unparsed"] <= MOST_UNPARSED * row["n"]]
    candidates = readable or [row for row in rows if row["reading"] == "likelihood"]
    if candidates:
        return min(candidates, key=lambda row: PREFERRED.index(row["reading"]))
    return min(rows, key=lambda row: row["unparsed"] / row["n"])


def reading_blocks(dataset: dict) -> Iterator[Block]:
    """The tables and notes on the readings of one dataset."""
    for group in dataset["readings"]:
        yield Heading(3, f"Readings of {group['model']}")
        yield _accuracies(group["rows"])
        yield Paragraph(
            "Likelihood compares the probabilities of the answers; reply reads a short written reply; reasoning reads what is "
            "written after free reasoning, never the reasoning. Asked once more: with the answers to a second question in the "
            "place of the replies from which no letter could be read."
        )
        yield _agreements(group["agreement"])
        yield Paragraph(f"Spread of the accuracies: {100 * group['spread']:.1f} points.")
        for first, second in group["apart"]:
            yield Paragraph(f"The intervals of {first} and {second} do not meet: how the model is asked decides its figure.")
        yield Paragraph(publish_text(group))


def _accuracies(rows: list[dict]) -> Table:
    again = any("finished" in row for row in rows)
    head = ("reading", "run", "accuracy", "95% interval", "n", "unparsed", "ties", *["asked once more"] * again)
    lines = []
    for row in rows:
        limits = interval(row["interval_low"], row["interval_high"])
        counts = (str(row["n"]), str(row["unparsed"]), str(row.get("ties", "–")), *[finished_text(row)] * again)
        lines.append((row["reading"], row["run"], percent(row["accuracy"]), limits, *counts))
    return Table(head, tuple(lines))


def _agreements(rows: list[dict]) -> Table:
    lines = []
    for row in rows:
        limits = interval(row["interval_low"], row["interval_high"]) if row["n"] else "–"
        shares = (percent(row["share"]), limits, str(row["equal"]), str(row["n"]))
        lines.append((f"{row['first']} and {row['second']}", *shares))
    return Table(("same options chosen", "share", "95% interval", "equal", "n, both with letters"), tuple(lines))


def publish_text(group: dict) -> str:
    """Which number to publish, by the rule, in one paragraph."""
    row = next(row for row in group["rows"] if row["run"] == group["publish"])
    named = f"{row['run']}, {share_text(row)}, n = {row['n']}, {row['unparsed']} unparsed"
    text = f"Which number to publish: {named}, named as a figure of the reading {row['reading']}. {_RULE}"
    if group["apart"]:
        return (
            f"{text} Since the readings differ by more than chance, publish all of them, and compare each only with its like."
        )
    return f"{text} The intervals of all readings meet, so the others can stand beside it as a check."
