"""The verb `report`: run folders → report.md, accuracy.png, results.json."""

import html
from pathlib import Path

from medllm_hf.errors import UserError
from medllm_hf.evaluation.run_folder import read_run
from medllm_hf.folders import check_free, new_folder, write_json, write_text


def report(runs: list[str], out: str, overwrite: bool = False) -> None:
    """Writes a table and a plot of the accuracy of several runs on the same questions.

    Raises:
        UserError: a run is unfinished, or the runs answered different questions.
    """
    check_free(out, overwrite)
    read = [read_run(run) for run in runs]
    data = {run["manifest"]["data"]["sha256"] for run in read}
    if len(data) > 1:
        raise UserError(f"runs on {len(data)} different question files", "runs on the same questions", "report them apart")
    rows = [result_row(run) for run in read]
    with new_folder(out, overwrite) as folder:
        write_json(folder / "results.json", {"results": rows})
        write_text(folder / "report.md", markdown(rows, read))
        plot(rows, folder / "accuracy.png")
    print(f"wrote {out}/report.md")


def result_row(run: dict) -> dict:
    """What the tables say of one run."""
    metrics, manifest = run["metrics"], run["manifest"]
    keys = ("accuracy", "n", "unparsed", "interval_low", "interval_high", "macro_accuracy", "partial_credit")
    return {
        "run": Path(run["folder"]).name,
        "model": manifest["model"]["id"],
        "data": manifest["data"]["file"],
        "settings": manifest["settings"],
        **{key: metrics[key] for key in keys},
        "chance": sum(group["chance"] * group["n"] for group in metrics["groups"]) / metrics["n"],
    }


def markdown(rows: list[dict], runs: list[dict]) -> str:
    """The report: one table over the runs, one by subject."""
    lines = ["# Accuracy on multiple-choice questions", ""]
    lines += [f"Questions: `{rows[0]['data']}`, n = {rows[0]['n']}, chance {percent(rows[0]['chance'])}.", ""]
    lines += results_table(rows)
    lines += ["", "![accuracy with 95% intervals](accuracy.png)", "", "## By subject", ""]
    names = [group["group"] for group in runs[0]["metrics"]["groups"]]
    lines += ["| subject | n | " + " | ".join(cell(row["run"]) for row in rows) + " |", "|---" * (2 + len(rows)) + "|"]
    for i, name in enumerate(names):
        shares = [percent(run["metrics"]["groups"][i]["accuracy"]) for run in runs]
        lines.append(f"| {cell(name)} | {runs[0]['metrics']['groups'][i]['n']} | " + " | ".join(shares) + " |")
    return "\n".join([*lines, ""])


def results_table(rows: list[dict]) -> list[str]:
    """The lines of a Markdown table with n, unparsed replies and the interval of each run."""
    lines = ["| run | model | accuracy | 95% interval | n | unparsed |", "|---|---|---|---|---|---|"]
    for row in rows:
        interval = f"{percent(row['interval_low'])} to {percent(row['interval_high'])}"
        cells = (cell(row["run"]), cell(row["model"]), percent(row["accuracy"]), interval, row["n"], row["unparsed"])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def percent(share: float) -> str:
    """0.5 → "50.0%"."""
    return f"{100 * share:.1f}%"


def cell(text: str) -> str:
    """`text` as it may stand in a Markdown table: no markup, no column break."""
    return html.escape(text).replace("|", "&#124;").replace("\n", " ")


def plot(rows: list[dict], path: Path) -> None:
    """One bar a run with its 95% interval, and the chance level as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(1.6 + 1.4 * len(rows), 3.6))
    heights = [100 * row["accuracy"] for row in rows]
    errors = [
        [h - 100 * row["interval_low"] for h, row in zip(heights, rows, strict=True)],
        [100 * row["interval_high"] - h for h, row in zip(heights, rows, strict=True)],
    ]
    axes.bar(range(len(rows)), heights, yerr=errors, capsize=4, color="#4477aa", width=0.6)
    axes.axhline(100 * rows[0]["chance"], linestyle="--", color="#888888", linewidth=1, label="chance")
    axes.set_xticks(range(len(rows)), [row["run"] for row in rows])
    axes.set_ylim(0, 100)
    axes.set_ylabel(f"accuracy, % (n = {rows[0]['n']})")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)
