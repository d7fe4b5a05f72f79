"""The report of exam runs as blocks: headings, tables, notes and figures made from its values."""

from collections.abc import Iterator

from medllm_hf.evaluation.costs.prices import cost_text
from medllm_hf.evaluation.exams.compared_readings import publish_blocks, reading_blocks
from medllm_hf.evaluation.exams.derive import finished_text, of_prompts
from medllm_hf.evaluation.exams.position_bias import P_LIMIT, SHARE_LIMIT
from medllm_hf.evaluation.exams.reference_results import MISPRINT, NOTE, SOURCE
from medllm_hf.evaluation.exams.report import ALL_ROTATIONS
from medllm_hf.reporting.blocks import (
    MOST_NAMED,
    Block,
    Figure,
    Heading,
    Paragraph,
    Table,
    chance_text,
    figure_name,
    interval,
    percent,
)


def report_blocks(values: dict) -> list[Block]:
    """The whole report without the single questions."""
    results = {row["run"]: row for row in values["results"]}
    blocks: list[Block] = [Heading(1, "Accuracy on multiple-choice questions")]
    if len(values["datasets"]) > 1:
        blocks += [Heading(2, "All runs"), Paragraph("Runs on different questions cannot be compared with each other.")]
        blocks += [_overview(values)]
    for number, dataset in enumerate(values["datasets"], start=1):
        rows = [results[name] for name in dataset["runs"]]
        split = f", {dataset['split']} split" if dataset.get("split") else ""
        blocks += [Heading(2, f"{dataset['name']}{split}"), *publish_blocks(dataset), *_headlines(dataset)]
        blocks += _questions(dataset, rows)
        blocks += _results(dataset, rows)
        blocks += [Figure(figure_name("accuracy", number), "accuracy with 95% intervals; the dashed line is the chance level")]
        blocks += reading_blocks(dataset)
        for part in (_quoted(dataset), _subjects(rows, number), _comparisons(dataset), _circular(rows), _positions(rows)):
            blocks += part
        blocks += _confusion(rows, number)
    return blocks


def _headlines(dataset: dict) -> Iterator[Block]:
    found = dataset["headlines"]
    if len(found) > 1:
        yield Paragraph(f"Each run against the first, {found[0]['against']}. 各次运行与第一个运行 {found[0]['against']} 比较。")
    for language in ("en", "zh"):
        yield from (Paragraph(one[language]) for one in found[:MOST_NAMED])
    if len(found) > MOST_NAMED:
        yield Paragraph(f"{len(found) - MOST_NAMED} more are in results.json. 其余见 results.json。")


def _overview(values: dict) -> Table:
    of = {name: number for number, dataset in enumerate(values["datasets"], start=1) for name in dataset["runs"]}
    head = ("run", "model", "questions", "accuracy", "95% interval", "n", "unparsed", "chance")
    rows = []
    for row in values["results"]:
        dataset = values["datasets"][of[row["run"]] - 1]
        split = f", {dataset['split']}" if dataset.get("split") else ""
        limits = interval(row["interval_low"], row["interval_high"])
        shares = (percent(row["accuracy"]), limits, str(row["n"]), str(row["unparsed"]), percent(row["chance"]))
        limited = f", limited to {row['n']} of {dataset['of']}" if "of" in dataset else ""
        rows.append((row["run"], row["model"], f"{row['data']}{split} ({dataset['sha256'][:8]}){limited}", *shares))
    return Table(head, tuple(rows))


def _questions(dataset: dict, rows: list[dict]) -> Iterator[Block]:
    kinds = f"{rows[0]['single']} with one right answer, {rows[0]['multi']} with several"
    counts = {row["n"] for row in rows}
    noun = "question" if counts == {1} else "questions"
    asked = f"{rows[0]['n']} {noun} ({kinds})" if len(counts) == 1 else f"{min(counts)} to {max(counts)} questions"
    text = f"{asked}; SHA-256 {dataset['sha256'][:16]}."
    for key in ("revision", "licence"):
        text += f" {key.capitalize()}: {dataset[key]}." if dataset.get(key) else ""
    if dataset.get("left_out"):
        text += " Left out: " + ", ".join(f"{kind} {count}" for kind, count in sorted(dataset["left_out"].items())) + "."
    yield Paragraph(text)


def _results(dataset: dict, rows: list[dict]) -> Iterator[Block]:
    differ = dataset["settings_differ"]
    multi = any(row["multi"] for row in rows)
    head = ("run", "model", *map(_setting_name, differ), "accuracy", "95% interval", "n", "unparsed", "macro accuracy")
    lines = []
    for row in rows:
        shares = [percent(row["accuracy"]), interval(row["interval_low"], row["interval_high"]), str(row["n"])]
        shares += [str(row["unparsed"]), percent(row["macro_accuracy"])] + [percent(row["partial_credit"])] * multi
        settings = [_setting(row["settings"].get(key)) for key in differ]
        lines.append((row["run"], _model(row, rows), *settings, *shares, percent(row["chance"])))
    yield Table((*head, *["partial credit"] * multi, "chance"), tuple(lines))
    note = "Unparsed replies count as wrong. Intervals are Wilson's. Macro accuracy is the mean over the subjects."
    yield Paragraph(note + " Partial credit gives a question the share of its right letters, 0 with a wrong one." * multi)
    equal = ", ".join(f"{_setting_name(key)} {_setting(value)}" for key, value in dataset["settings_equal"].items())
    if equal:
        yield Paragraph(f"Settings{' of all runs' if len(rows) > 1 else ''}: {equal}.")
    if "of" in dataset:
        yield Paragraph(
            f"Limited to the first {rows[0]['n']} of {dataset['of']} questions: a trial, not a result on the benchmark. "
            f"只做了 {dataset['of']} 题中的前 {rows[0]['n']} 题：是试跑，不是该题集的结果。"
        )
    for row in rows:
        if row.get("ties"):
            yield Paragraph(
                f"{row['run']}: {row['ties']} ties{of_prompts(row)}. The best answers are exactly as likely as each other, so "
                "the model prefers none; none is taken, and the question counts as unparsed."
            )
        if "finished" in row:
            yield Paragraph(f"{row['run']}, unread replies asked once more: {finished_text(row)}.")
        if "cost" in row:
            yield Paragraph(f"Cost of {row['run']}: {cost_text(row['cost'])}.")
    if differ:
        names = ", ".join(map(_setting_name, differ))
        yield Paragraph(
            f"The runs' settings differ ({names}): a difference in accuracy can come from them, not from the models."
        )


def _model(row: dict, rows: list[dict]) -> str:
    """The model's name, with the beginning of its weights' hash where another model of that name is beside it."""
    namesakes = {other["weights_sha256"] for other in rows if other["model"] == row["model"]}
    return f"{row['model']} ({(row['weights_sha256'] or 'endpoint')[:8]})" if len(namesakes) > 1 else row["model"]


def _setting_name(key: str) -> str:
    return key.replace("_", " ").removesuffix(" sha256")


def _setting(value: object) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return text[:12] if len(text) == 64 else text


def _quoted(dataset: dict) -> Iterator[Block]:
    if not dataset["quoted"]:
        return
    yield Heading(3, "Quoted, not measured here")
    rows = []
    for row in dataset["quoted"]:
        figure = row["as_printed"] + "%" + "*" * row["misprint"]
        rows.append((row["system"], row["shots"], figure, str(row["n"])))
    yield Table(("system", "examples", "accuracy as published", "n"), tuple(rows))
    yield Paragraph(NOTE + f" {MISPRINT}" * any(row["misprint"] for row in dataset["quoted"]) + " Source:", SOURCE)


def _subjects(rows: list[dict], number: int) -> Iterator[Block]:
    names = list(dict.fromkeys(group["group"] for row in rows for group in row["groups"]))
    if len(names) < 2:
        return
    yield Heading(3, "By subject")
    groups = [{group["group"]: group for group in row["groups"]} for row in rows]
    lines = []
    for position, name in enumerate(names, start=1):
        group = next(one[name] for one in groups if name in one)
        cells = [_group_cell(one[name]) if name in one else "–" for one in groups]
        lines.append((str(position), name or "(none)", str(group["n"]), percent(group["chance"]), *cells))
    yield Table(("#", "subject", "n", "chance", *(row["run"] for row in rows)), tuple(lines))
    yield Figure(figure_name("subjects", number), "accuracy by subject with 95% intervals; ticks are the chance levels")


def _group_cell(group: dict) -> str:
    unparsed = f", {group['unparsed']} unparsed" if group["unparsed"] else ""
    return f"{percent(group['accuracy'])} ({interval(group['interval_low'], group['interval_high'])}){unparsed}"


def _comparisons(dataset: dict) -> Iterator[Block]:
    rows = dataset["comparisons"]
    if not rows:
        return
    yield Heading(3, "Differences on the same questions")
    head = ("first minus second", "pairs", "only first right (b)", "only second right (c)", "difference", "95% interval", "p")
    lines = []
    for row in rows:
        name = f"{row['first']} minus {row['second']}"
        points = f"{100 * row['difference']:+.1f} points"
        limits = f"{100 * row['interval_low']:+.1f} to {100 * row['interval_high']:+.1f}"
        cells = (name, row["n"], row["only_first"], row["only_second"], points, limits, chance_text(row["p"]))
        lines.append((*map(str, cells), *[chance_text(row["p_holm"])] * (len(rows) > 1)))
    yield Table((*head, *["p, Holm"] * (len(rows) > 1)), tuple(lines))
    yield Paragraph("p: McNemar's exact test. Interval: Newcombe's for paired proportions (1998, method 10)."
                    + " Holm: corrected for the number of comparisons." * (len(rows) > 1))  # fmt: skip
    if any(row["counted"] == ALL_ROTATIONS for row in rows):
        yield Paragraph("Circular runs are compared by the questions of which all rotations are right.")
    for row in rows:
        if row["unpaired_first"] or row["unpaired_second"]:
            apart = f"{row['unpaired_first']} of {row['first']} and {row['unpaired_second']} of {row['second']}"
            yield Paragraph(f"Questions without a partner in the other run, left out of the comparison: {apart}.")


def _circular(rows: list[dict]) -> Iterator[Block]:
    rows = [row for row in rows if "circular" in row]
    if not rows:
        return
    yield Heading(3, "Circular evaluation")
    lines = []
    for row in rows:
        one = row["circular"]
        first = f"{percent(one['first_accuracy'])} ({interval(one['first_interval_low'], one['first_interval_high'])})"
        limits = interval(one["consistent_interval_low"], one["consistent_interval_high"])
        strict = f"{percent(row['accuracy'])} ({interval(row['interval_low'], row['interval_high'])})"
        lines.append((row["run"], strict, first, f"{percent(one['consistent'] / row['n'])} ({limits})", str(row["n"]),
                      str(one["rotations"])))  # fmt: skip
    head = ("run", "all rotations right", "first rotation right", "same option in all rotations", "n", "prompts")
    yield Table(head, tuple(lines))
    yield Paragraph("The chance level of a circular run is that of choosing an option once and keeping to it.")


def _positions(rows: list[dict]) -> Iterator[Block]:
    yield Heading(3, "Position bias")
    yield Paragraph(
        "Counted over answers that choose one option of a single-answer question, letters as shown. A bias is named when the "
        f"wrong answers are spread unevenly (chi-square, exact for few, p < {P_LIMIT}) and one place gets at least "
        f"{100 * SHARE_LIMIT:.0f} in 100 answers more, or less, than with the mistakes spread evenly (expected). With options "
        "in their own order, what stands at a place can draw answers too; shuffled and circular runs tell the two apart."
    )
    for row in rows:
        position = row["position"]
        sentence = "no answers to single-answer questions" if position is None else position["sentence"]
        yield Paragraph(f"{row['run']}: {sentence}.")
        for key, name in (("letter", "letter"), ("from_end", "place from the end")):
            if position and key in position:
                yield _places(position[key], name, position["n"])


def _places(view: dict, name: str, count: int) -> Table:
    test = f"chi-square {view['chi_square']:.1f}, {view['freedom']} df, p {chance_text(view['p'])}" if view["freedom"] else "–"
    lines = []
    for place in view["places"]:
        shares = [f"{place[key]} ({percent(place[key] / count)})" for key in ("predicted", "right")]
        expected = f"{place['expected']:.1f} ({percent(place['expected'] / count)})"
        recall = percent(place["hits"] / place["right"] if place["right"] else None)
        lines.append((place["name"], str(place["shown"]), *shares, expected, recall))
    return Table((f"{name} ({test})", "shown", "predicted", "right", "expected", "recall"), tuple(lines))


def _confusion(rows: list[dict], number: int) -> Iterator[Block]:
    rows = [row for row in rows if row["single"]]
    if not rows:
        return
    yield Heading(3, "Confusion by letter")
    yield Paragraph("Single-answer questions; rows: the right letter, columns: the predicted one, as shown, in all rotations.")
    for row in rows:
        columns = row["confusion"]["columns"]
        lines = [(right, *(str(cells[column]) for column in columns)) for right, cells in row["confusion"]["rows"].items()]
        yield Table((row["run"], *columns), tuple(lines))
    yield Figure(figure_name("confusion", number), "share of each right letter's questions by predicted letter")
