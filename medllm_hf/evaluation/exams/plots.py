"""The report's pictures as PNG and SVG: same values, same bytes."""

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medllm_hf.evaluation.exams import phrases
from medllm_hf.reporting.blocks import figure_name, span
from medllm_hf.reporting.phrases import DEFAULT, Language
from medllm_hf.reporting.plotting import COLOURS, Lettering, save, style
from medllm_hf.reporting.terms import term

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SUBJECTS, MOST_MAPS = 60, 12


def draw(values: dict, folder: Path, language: Language = DEFAULT) -> None:
    """Writes each dataset's pictures into `folder`."""
    results = {row["run"]: row for row in values["results"]}
    with style([*results, *(group["group"] for row in values["results"] for group in row["groups"])], language):
        for number, dataset in enumerate(values["datasets"], start=1):
            rows = [results[name] for name in dataset["runs"]]
            save(partial(accuracy, rows), folder, figure_name("accuracy", number), language)
            if len({group["group"] for row in rows for group in row["groups"]}) > 1:
                save(partial(subjects, rows), folder, figure_name("subjects", number), language)
            if any(row["single"] for row in rows):
                save(partial(confusion, rows), folder, figure_name("confusion", number), language)


def _empty(width: float, height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def accuracy(rows: list[dict], named: Lettering) -> "Figure":
    """A bar a run with its 95% interval, and the chance level as a dashed line."""
    figure, axes = _empty(6.4, 1.1 + 0.42 * len(rows))
    for place, row in enumerate(rows):
        colour = COLOURS[place % len(COLOURS)]
        axes.barh(place, 100 * row["accuracy"], xerr=_whiskers([row]), capsize=3, color=colour, height=0.62)
        label = named.label(phrases.CHANCE) if place == 0 else None
        axes.plot([100 * row["chance"]] * 2, [place - 0.5, place + 0.5], "--", color="#555555", linewidth=1, label=label)
    axes.set_yticks(range(len(rows)), named([row["run"] for row in rows], phrases.RUN))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    counts = sorted({row["n"] for row in rows})
    n = str(counts[0]) if len(counts) == 1 else span(str(counts[0]), str(counts[-1]))
    _finish(axes, named.label(phrases.ACCURACY_AXIS(n=n)))
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return figure


def subjects(rows: list[dict], named: Lettering) -> "Figure":
    """A point a subject and run with its 95% interval; small ticks are the subjects' chance levels."""
    names = list(dict.fromkeys(group["group"] for row in rows for group in row["groups"]))
    shown = names[:MOST_SUBJECTS]
    figure, axes = _empty(6.4, 1.2 + len(shown) * (0.24 + 0.11 * len(rows)))
    for number, (row, label) in enumerate(zip(rows, named([row["run"] for row in rows], phrases.RUN), strict=True)):
        groups = {group["group"]: group for group in row["groups"]}
        there = [place for place, name in enumerate(shown) if name in groups]
        members = [groups[shown[place]] for place in there]
        shares = [100 * group["accuracy"] for group in members]
        heights = [place + 0.7 * ((number + 0.5) / len(rows) - 0.5) for place in there]
        colour, limits = COLOURS[number % len(COLOURS)], _whiskers(members)
        axes.errorbar(shares, heights, xerr=limits, label=label, fmt="o", markersize=4, capsize=2, linewidth=1, color=colour)
        axes.plot([100 * group["chance"] for group in members], there, "|", color="#555555", markersize=9)
    axes.set_yticks(range(len(shown)), named([name or named.label(phrases.NO_NAME) for name in shown], ""))
    axes.set_ylim(len(shown) - 0.4, -0.6)
    part = phrases.FIRST_SUBJECTS(n=len(shown), of=len(names))
    _finish(axes, named.label(part if len(names) > len(shown) else phrases.SUBJECTS_AXIS))
    if len(rows) > 1:
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, ncols=3)
    return figure


def _whiskers(rows: list[dict]) -> list[list[float]]:
    # In floats, the upper limit of all right can be a hair below 1.
    low = [max(0.0, 100 * (row["accuracy"] - row["interval_low"])) for row in rows]
    return [low, [max(0.0, 100 * (row["interval_high"] - row["accuracy"])) for row in rows]]


def _finish(axes: "Axes", title: str) -> None:
    axes.set_xlim(0, 100)
    axes.set_xlabel(title)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def confusion(rows: list[dict], named: Lettering) -> "Figure":
    """A map a run: of each right letter's questions, the share that each letter was predicted for, with the counts."""
    from matplotlib.figure import Figure

    maps = [row for row in rows if row["single"]]
    names = named([row["run"] for row in maps], phrases.RUN)
    shown = maps[:MOST_MAPS]
    columns = min(3, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(0.4 + 3.5 * columns, 0.3 + 3.3 * lines), layout="constrained")
    for place, (row, name) in enumerate(zip(shown, names, strict=False), start=1):
        table = row["confusion"]
        axes = figure.add_subplot(lines, columns, place)
        counts = [[cells[column] for column in table["columns"]] for cells in table["rows"].values()]
        shares = [[100 * count / max(1, sum(line)) for count in line] for line in counts]
        # Drawn as paths: a page whose policy lets no image be loaded shows none of an image in an SVG.
        edges = [[place - 0.5 for place in range(length + 1)] for length in (len(table["columns"]), len(shares))]
        axes.pcolormesh(*edges, shares, cmap="Blues", vmin=0, vmax=100)
        axes.invert_yaxis()
        for i, line in enumerate(counts):
            for j, count in enumerate(line):
                colour = "white" if shares[i][j] > 60 else "black"
                axes.text(j, i, str(count), ha="center", va="center", fontsize=7, color=colour)
        axes.set_xticks(range(len(table["columns"])), [named.label(term(name)) for name in table["columns"]], fontsize=8)
        axes.tick_params(axis="x", rotation=40)
        axes.set_yticks(range(len(counts)), list(table["rows"]), fontsize=8)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(named.label(phrases.PREDICTED), fontsize=8)
        axes.set_ylabel(named.label(phrases.RIGHT), fontsize=8)
    if len(maps) > len(shown):
        figure.suptitle(named.label(phrases.FIRST_RUNS(n=len(shown), of=len(maps))), fontsize=9)
    return figure
