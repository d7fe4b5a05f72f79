"""The pictures of the report of judge runs as PNG and SVG: same values, same bytes."""

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from medllm_hf.evaluation.judging import phrases
from medllm_hf.reporting.blocks import figure_name
from medllm_hf.reporting.phrases import DEFAULT, Language
from medllm_hf.reporting.plotting import COLOURS, Lettering, save, style
from medllm_hf.reporting.terms import term

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.projections.polar import PolarAxes

MOST_GROUPS = 40


def draw(values: dict, folder: Path, language: Language = DEFAULT) -> None:
    """Writes the pictures of each set into `folder`."""
    sets = values["sets"]
    names = [name for one in sets for name in (*(system["name"] for system in one["systems"]), *one["groups"])]
    with style(names, language):
        for number, one in enumerate(sets, start=1):
            if all(system["withheld"] for system in one["systems"]):
                continue
            save(partial(criteria, one), folder, figure_name("criteria", number), language)
            if len(one["rubric"]["criteria"]) > 2:
                save(partial(radar, one), folder, figure_name("radar", number), language)
            if len(one["groups"]) > 1:
                save(partial(groups, one), folder, figure_name("groups", number), language)


def criteria(one: dict, named: Lettering) -> "Figure":
    """Points by criterion, one a system, with their 95% intervals; none where the scores are withheld."""
    names = [*one["rubric"]["criteria"], "overall"]
    rows = [
        {name: (system[name], system["intervals"][name]) for name in names if not system["withheld"]}
        for system in one["systems"]
    ]
    figure, axes = _points(one, names, rows, named)
    axes.set_yticks(range(len(names)), [named.label(term(name)) for name in names])
    return figure


def groups(one: dict, named: Lettering) -> "Figure":
    """Points of the overall score by group, one a system, with their 95% intervals."""
    names = one["groups"][:MOST_GROUPS]
    rows = [
        {row["group"]: (row["overall"], row["intervals"]["overall"]) for row in system["groups"] if not system["withheld"]}
        for system in one["systems"]
    ]
    figure, axes = _points(one, names, rows, named)
    axes.set_yticks(range(len(names)), named([name or named.label(phrases.NO_NAME) for name in names], ""))
    scale = phrases.GROUP_SCALE(**_scale(one))
    more = phrases.FIRST_GROUPS(n=len(names), of=len(one["groups"])) if len(one["groups"]) > len(names) else ""
    axes.set_xlabel(named.label(scale + more))
    return figure


def _points(one: dict, names: list[str], rows: list[dict], named: Lettering) -> "tuple[Figure, Axes]":
    """A point for each name and system on the whole scale, with a line for its interval where it has one.

    A bar would have to begin at 0, which no score of a scale from 1 can be.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 1.2 + len(names) * (0.2 + 0.16 * len(rows))), layout="constrained")
    axes = figure.add_subplot()
    low, high = one["rubric"]["low"], one["rubric"]["high"]
    for number, (row, label) in enumerate(zip(rows, named(_names(one), phrases.SYSTEM), strict=True)):
        there = [place for place, name in enumerate(names) if row.get(name, (None,))[0] is not None]
        means = [row[names[place]][0] for place in there]
        # NaN, which `max` keeps when it comes first, draws no line.
        limits = [row[names[place]][1] or [math.nan, math.nan] for place in there]
        ends = [[max(mean - end[0], 0.0) for mean, end in zip(means, limits, strict=True)],
                [max(end[1] - mean, 0.0) for mean, end in zip(means, limits, strict=True)]]  # fmt: skip
        heights = [place + 0.8 * ((number + 0.5) / len(rows) - 0.5) for place in there]
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(means, heights, xerr=ends, fmt="o", markersize=4, capsize=2, linewidth=1, color=colour, label=label)
    # Points at the ends of the scale are whole.
    axes.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(named.label(phrases.SCALE(**_scale(one))))
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, ncols=3)
    return figure, axes


def radar(one: dict, named: Lettering) -> "Figure":
    """A line a system around the criteria, on the whole scale of the rubric."""
    from matplotlib.figure import Figure

    names = one["rubric"]["criteria"]
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = cast("PolarAxes", figure.add_subplot(projection="polar"))
    angles = [2 * math.pi * place / len(names) for place in range(len(names))]
    for number, (system, label) in enumerate(zip(one["systems"], named(_names(one), phrases.SYSTEM), strict=True)):
        if system["withheld"] or system[names[0]] is None:
            continue
        means = [system[name] for name in names]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot([*angles, angles[0]], [*means, means[0]], color=colour, linewidth=1.5, label=label)
    axes.set_theta_offset(math.pi / 2)
    axes.set_theta_direction(-1)
    axes.set_ylim(one["rubric"]["low"], one["rubric"]["high"])
    axes.set_xticks(angles, [named.label(term(name)) for name in names])
    for angle, tick in zip(angles, axes.get_xticklabels(), strict=True):
        side = round(math.sin(angle), 6)
        tick.set_horizontalalignment("left" if side > 0 else "right" if side < 0 else "center")
    axes.tick_params(axis="y", labelsize=8)
    if axes.lines:
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.15, 1))
    return figure


def _scale(one: dict) -> dict[str, str]:
    return {end: f"{one['rubric'][end]:g}" for end in ("low", "high")}


def _names(one: dict) -> list[str]:
    return [system["name"] for system in one["systems"]]
