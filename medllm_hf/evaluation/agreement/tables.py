"""What `eval agree` writes and says: tables of agreement, and whether a judge lies where the annotators do."""

from collections.abc import Iterator, Sequence

from medllm_hf.evaluation.statistics.bootstrap import FEWEST
from medllm_hf.reporting.blocks import Block, Heading, Paragraph, Table, listed, percent, score, signed, words

_HEAD = ("first", "second", "criterion", "n", "weighted kappa", "Krippendorff's alpha", "Spearman", "macro F1", "equal",
         "first minus second")  # fmt: skip
_BAND = ("kappa", "alpha", "spearman", "macro_f1", "exact")
_NAMES = {"kappa": "weighted kappa", "alpha": "Krippendorff's alpha", "spearman": "Spearman", "macro_f1": "macro F1",
          "exact": "equal"}  # fmt: skip
_CALIBRATED = ("run", "system", "criterion", "labels", "cases labelled", "of all", "uncalibrated", "calibrated", "labels alone",
               "judge minus labels", "weight of the judge")  # fmt: skip
_PLACES = {"within": "lies within", "below": "lies below", "above": "lies above"}
_FILE = "agreement.json"


def agreement_blocks(values: dict) -> list[Block]:
    """The content of agreement.md."""
    blocks: list[Block] = [Heading(1, "Agreement of judges")]
    blocks += [Paragraph(_run_text(run)) for run in values["runs"]]
    if values["labels"]["files"]:
        blocks += _labels(values["labels"])
    parts = (("Judge and annotators", "judge_human"), ("Judges", "judges"))
    for title, name in parts:
        if values[name]:
            blocks += [Heading(2, title), _table(values[name])]
    for row in values["judges"]:
        blocks += _apart(row)
    for one in values["bands"]:
        blocks += [Heading(2, f"{one['run']} beside the annotators"), _band_table(one)]
        blocks += [Paragraph(sentence(one["run"], key, found)) for key, found in one["criteria"].items() if found]
        blocks += _alpha_of_all(one)
        blocks += [Heading(3, "Annotators on the dialogues that the judge scored"), _table(one["pairs"])]
    if values["calibration"]:
        blocks += _calibration(values)
    return [*blocks, Heading(2, "What the figures are"), Paragraph(_NOTE)]


_NOTE = (
    "n: dialogues that both sides scored; of several replies of a judge the mean counts. In brackets: 95% intervals, bootstrap "
    f"over dialogues. Below {FEWEST} dialogues, or with equal values in all draws, there is none; below {FEWEST} no Spearman "
    "either. Weighted kappa: quadratic weights. Alpha: interval scale. Macro F1: the mean over the scores that occur, the "
    "second side taken for true. Equal: the share of equal scores; neither of these two says anything of the overall score, "
    "which is the mean of the criteria. A dash: not defined, as where no score differs."
)


_CALIBRATION_NOTE = (
    "Calibrated: the mean that the annotators would give all dialogues which the judge scored, estimated from its scores of "
    "all and the labels of some by prediction-powered inference (Angelopoulos et al. 2023). It holds where the labelled "
    "dialogues were drawn at random and the annotators did not see the judge's scores; only a plain choice by score, system "
    "or group is noticed. Each dialogue counts once, with the mean of its annotators' labels; the interval is for these "
    "annotators, not for others. In brackets: 95% intervals that count cases, since dialogues of one case are alike. Of a "
    "comparison: the win rate of the first system. Weight: what a point of the judge counts, 0 where it is of no use."
)


def calibration_sentences(values: dict) -> list[str]:
    """The overall mean of each system, or that of its only criterion, calibrated and not, in one sentence."""
    found, key = [], values["criteria"][-1]
    for row in (values["calibration"] or {"rows": []})["rows"]:
        own, where = row["criteria"][key], f"{row['run']}, {row['system']}, {words(key)}"
        if own["withheld"]:
            found.append(f"{where}: not calibrated, {own['withheld']}.")
        else:
            found.append(
                f"{where}: {_mean_text(own['calibrated'])} calibrated with {own['n']} labels of {own['dialogues']}; "
                f"uncalibrated {_mean_text(own['judge'])}."
            )
    return found


def _calibration(values: dict) -> Iterator[Block]:
    labels, lines, withheld = values["calibration"]["labels"], [], []
    for row in values["calibration"]["rows"]:
        for key, own in row["criteria"].items():
            where = (row["run"], row["system"], words(key))
            if own["withheld"]:
                lines.append((*where, str(own["n"]), *["–"] * (len(_CALIBRATED) - 4)))
                withheld.append(f"{', '.join(where)}: {own['withheld']}")
            else:
                means = [_mean_text(own[name]) for name in ("judge", "calibrated", "labels")]
                bias = signed(own["bias"]["value"]) + _ends(own["bias"]["interval"])
                counts = [str(own[name]) for name in ("n", "cases", "dialogues")]
                lines.append((*where, *counts, *means, bias, score(own["weight"])))
    yield Heading(2, "Calibrated by labels")
    yield from _labels(labels)
    if labels["by_several"]:
        yield Paragraph(f"Labelled by two annotators or more: {labels['by_several']}; the mean of their labels counts.")
    if labels["unscored"]:
        yield Paragraph(f"Labelled and not scored by a judge, not used: {listed(labels['unscored'], _FILE).en}.")
    yield Table(_CALIBRATED, tuple(lines))
    if withheld:
        yield Paragraph(f"Not calibrated: {listed(withheld, _FILE, '; ').en}.")
    yield Paragraph(_CALIBRATION_NOTE)


def _mean_text(mean: dict) -> str:
    return score(mean["value"]) + _ends(mean["interval"])


def sentence(run: str, key: str, found: dict) -> str:
    """Whether the judge's agreement with the annotators is that of the annotators with each other, in one sentence."""
    kappa = found["kappa"]
    where = f"{run}, {words(key)}"
    if kappa["judge_lies"] is None:
        few = "too few" if found["n"] < FEWEST else "with too little spread"
        return f"{where}: {found['n']} dialogues with two annotators or more, {few} for a weighted kappa with an interval."
    low, high = kappa["humans_interval"]
    return (
        f"{where}: the judge's weighted kappa with the annotators, {kappa['judge']:.2f}, {_PLACES[kappa['judge_lies']]} the "
        f"annotators' own, {kappa['humans']:.2f} (95% interval {low:.2f} to {high:.2f}), on {found['n']} dialogues."
    )


def short_table(values: dict) -> list[str]:
    """The lines that the verb prints: each comparison with its main figures, in columns."""
    rows = [("first", "second", "criterion", "n", "kappa", "alpha", "Spearman", "macro F1")]
    for row in [*values["judge_human"], *values["judges"]]:
        for key, found in row["criteria"].items():
            cells = [score(found[name]) for name in ("kappa", "alpha", "spearman", "macro_f1")]
            rows.append((row["first"], row["second"], words(key), str(found["n"]), *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _run_text(run: dict) -> str:
    text = f"{run['run']}: judge {run['judge']['id']}, rubric {run['rubric']['name']}, version {run['rubric']['version']}, "
    text += f"{run['data']['n']} {run['unit']}, of which {len(run['unscored'])} unscored, {run['samples']} replies each."
    if run.get("shown") == "case":
        text += " The judge was shown the cases."
    if run["unlabelled"]:
        text += f" Without labels are {len(run['unlabelled'])}: {listed(run['unlabelled'], _FILE).en}."
    if run["no_headline"]:
        text += f" The run has no headline figure: {'; '.join(run['no_headline'])}."
    return text


def _labels(labels: dict) -> Iterator[Block]:
    annotators = ", ".join(f"{name} ({count} dialogues)" for name, count in labels["annotators"].items())
    files = ", ".join(f"{file['name']} (SHA-256 {file['sha256'][:16]})" for file in labels["files"])
    yield Paragraph(f"Labels by {annotators}, from {files}.")
    if labels["bad_rows"]:
        yield Paragraph(f"Rows left out, {len(labels['bad_rows'])}: {listed(labels['bad_rows'], _FILE, '; ').en}.")
    if labels["unknown_ids"]:
        yield Paragraph(
            f"Labelled ids that no run has, {len(labels['unknown_ids'])}: {listed(labels['unknown_ids'], _FILE).en}."
        )
    if labels["other_words"]:
        yield Paragraph(
            f"Labels of other words than the runs have under the id, {len(labels['other_words'])}, left out: "
            f"{listed(labels['other_words'], _FILE).en}."
        )
    if labels["unread_columns"]:
        yield Paragraph(f"Columns that are no criterion and were not read: {', '.join(labels['unread_columns'])}.")


def _table(rows: list[dict]) -> Table:
    lines = []
    for row in rows:
        for key, found in row["criteria"].items():
            figures = [_with_ends(found, name) for name in ("kappa", "alpha", "spearman", "macro_f1")]
            exact = percent(found["exact"]) + _ends(found["intervals"]["exact"], 100)
            apart = signed(found["difference"]) + _ends(found["intervals"]["difference"])
            lines.append((row["first"], row["second"], words(key), str(found["n"]), *figures, exact, apart))
    return Table(_HEAD, tuple(lines))


def _apart(row: dict) -> Iterator[Block]:
    for side in ("first", "second"):
        if names := row[f"only_{side}"]:
            yield Paragraph(f"Dialogues only in {row[side]}, beside the other: {listed(names, _FILE).en}.")
    if row["other_words"]:
        yield Paragraph(
            f"Ids with other words in {row['first']} than in {row['second']}: {listed(row['other_words'], _FILE).en}."
        )


def _band_table(one: dict) -> Table:
    lines = []
    for key, found in one["criteria"].items():
        for name in _BAND:
            if found and name in found:
                sides = [score(found[name][side]) + _ends(found[name][f"{side}_interval"]) for side in ("judge", "humans")]
                lines.append((words(key), str(found["n"]), _NAMES[name], *sides, found[name]["judge_lies"] or "–"))
    head = ("criterion", "n", "figure", "judge with annotators, mean", "annotators with each other, mean", "the judge lies")
    return Table(head, tuple(lines))


def _alpha_of_all(one: dict) -> Iterator[Block]:
    known = [f"{words(key)} {score(found['alpha_of_all'])}" for key, found in one["criteria"].items() if found]
    if known:
        yield Paragraph(f"Krippendorff's alpha of all annotators together on these dialogues: {', '.join(known)}.")


def _with_ends(found: dict, name: str) -> str:
    return score(found[name]) + _ends(found["intervals"][name])


def _ends(ends: Sequence[float] | None, times: float = 1) -> str:
    if ends is None:
        return ""
    return f" ({times * ends[0]:.1f} to {times * ends[1]:.1f}%)" if times == 100 else f" ({ends[0]:.2f} to {ends[1]:.2f})"
