"""The training report beside the weights: training_report.md, training.json and training_curves.png."""

import html
import math
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medllm_hf.folders import write_json, write_text
from medllm_hf.training.prepare import Prepared
from medllm_hf.training.report_values import BY_SOURCE, series, training_values

if TYPE_CHECKING:
    from medllm_hf.training.trainer import ExactTrainer

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")
# A curve of up to so many points shows each of them.
FEW_POINTS = 40
ACCURACY = "multiple-choice accuracy, %"


def write_training_report(trainer: "ExactTrainer", prepared: Prepared, folder: Path) -> str | None:
    """Writes the three files into `folder`, on the first rank only and without a word to the others; None when all is well.

    The weights are saved by then, so whatever goes wrong here does not fail the run: what to say of it comes back.
    """
    try:
        values = training_values(trainer, prepared)
        write_json(folder / "training.json", values)
        plot(values, folder / "training_curves.png")
        write_text(folder / "training_report.md", markdown(values))
    except Exception:
        return f"{traceback.format_exc()}medllm: no whole training report in {folder}, see above; the weights are saved"
    return None


def markdown(values: dict) -> str:
    """The report as a page: figures, curves, losses by source, settings, versions."""
    lines = ["# Training report", "", "![curves](training_curves.png)", "", *table("", figure_lines(values))]
    if values["sources"]:
        head = "| | source | dialogues | first evaluation loss | last evaluation loss |"
        lines += ["", "## By source", "", head, "|---|---|---|---|---|"]
        for number, row in enumerate(values["sources"], start=1):
            losses = ("" if loss is None else f"{loss:.4f}" for loss in (row["first_loss"], row["last_loss"]))
            lines.append(f"| {number} | {cell(row['source'])} | {row['dialogues']:,} | {' | '.join(losses)} |")
    lines += ["", "## Settings that are not TRL's defaults", "", *table("setting", values["settings"])]
    for name, settings in values["adapters"].items():
        lines += ["", f"## Settings of the adapter {cell(name)} that are not PEFT's defaults", "", *table("setting", settings)]
    lines += ["", "## Versions", "", *table("package", values["versions"])]
    notes = (
        "Tokens a second are those fed in this call over the trainer's own run time, which holds its evaluations and "
        "checkpoints. Model FLOPs a token: 4 x parameters + 2 x trained parameters + 12 x layers x attention width x "
        "length of the sample, nothing recomputed (PaLM, appendix B, arXiv 2204.02311). The peak is NVIDIA's dense bf16 figure."
    )
    return "\n".join([*lines, "", notes, "", "All of it as data, with every logged value: `training.json`.", ""])


def figure_lines(values: dict) -> dict[str, str]:
    """Label → text of the report's first table."""
    run, hardware = values["run"], values["hardware"]
    resumed = f", of which {run['resumed_at_step']:,} before this run was resumed" if run["resumed_at_step"] else ""
    use = "peak of this device not known"
    if run["flop_use"] is not None:
        use = f"{100 * run['flop_use']:.1f}% of {run['peak_flops']:.3g} model FLOPs a second"
    lines = {
        "steps": f"{run['steps']:,}{resumed}",
        "epochs": f"{run['epochs']:.2f}",
        "saved weights": run["saved_weights"],
        "dialogues": f"{run['dialogues_read']:,} read, {run['dialogues_shortened']:,} longer than max_length, "
        f"{run['dialogues_left_out']:,} left out",
        "tokens of the dataset": f"{run['tokens']:,}, {run['trained_tokens']:,} of them trained",
        "tokens fed": f"{run['tokens_fed']:,} in {run['seconds']:,.1f} s",
        "real-token share of the batches": f"{run['real_token_share']:.4f}",
        "tokens a second": f"{run['tokens_per_second']:,.0f}",
        "parameters": f"{run['parameters']:,}, {run['trained_parameters']:,} of them trained",
        "model FLOPs a second": f"{run['flops_per_second']:.3g}",
        "model FLOP use": use,
        "peak memory of the first rank": f"{run['peak_memory'] / 1e9:.2f} GB (10^9 bytes)",
        "attention": run["attention"],
        "hardware": f"{hardware['devices']} x {hardware['device']}, {hardware['cores_of_this_node']} CPU cores a node",
    }
    last = {"loss": "training loss", "eval_loss": "evaluation loss"}
    lines |= {f"last {text}": f"{run[f'last_{key}']:.4f}" for key, text in last.items() if f"last_{key}" in run}
    if "last_eval_mcq_accuracy" in run:
        n = series(values["log_history"], "eval_mcq_n")[-1][1]
        lines["last multiple-choice accuracy"] = f"{100 * run['last_eval_mcq_accuracy']:.1f}% of n={n}"
    return lines


def table(name: str, rows: dict) -> list[str]:
    """The lines of a Markdown table with two columns."""
    return [f"| {name} | |", "|---|---|", *(f"| {cell(key)} | {cell(value)} |" for key, value in rows.items())]


def cell(value: object) -> str:
    """`value` as it may stand in a Markdown table: no markup, no column break."""
    return html.escape(str(value), quote=False).replace("|", "&#124;").replace("\n", " ")


def plot(values: dict, path: Path) -> None:
    """Draws a panel each for loss, learning rate, loss by source and accuracy over steps; what was not logged has none.

    A source whose name is not ASCII is called by its number in the report, since not every machine has its letters.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = {title: curves for title, curves in panel_curves(values).items() if any(curves.values())}
    rows = math.ceil(len(panels) / 2)
    figure = Figure(figsize=(9, 3.2 * max(1, rows)), layout="constrained")
    if not panels:
        figure.suptitle("nothing was logged during training")
    for place, (title, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, min(2, len(panels)), place)
        for colour, (name, points) in zip(COLOURS, curves.items(), strict=False):
            if points:
                marker, width = ("o", 1.2) if len(points) <= FEW_POINTS else (None, 0.7)
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=3, linewidth=width, label=name)
        if title == ACCURACY:
            axes.set_ylim(-2, 102)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if len(curves) > 1:
            beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if len(curves) > 2 else {}
            axes.legend(frameon=False, fontsize=8, **beside)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def panel_curves(values: dict) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Title of a panel → name of a curve → its (step, value) pairs."""
    history = values["log_history"]
    sources = {}
    for number, row in enumerate(values["sources"][: len(COLOURS)], start=1):
        name = f"{number} {row['source']}" if row["source"].isascii() else f"source {number}"
        sources[name] = series(history, BY_SOURCE + row["source"])
    more = f", first {len(COLOURS)} of {len(values['sources'])}" if len(values["sources"]) > len(COLOURS) else ""
    return {
        "loss, nats a token": {"training": series(history, "loss"), "evaluation": series(history, "eval_loss")},
        "learning rate": {"": series(history, "learning_rate")},
        f"evaluation loss by source{more}": sources,
        ACCURACY: {"": [(step, 100 * share) for step, share in series(history, "eval_mcq_accuracy")]},
    }
