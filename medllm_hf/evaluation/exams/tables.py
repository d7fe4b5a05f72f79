"""The report of exam runs as blocks: headings, tables, notes and figures made from its values."""

from collections.abc import Iterator

from medllm_hf.evaluation.costs.prices import cost_text
from medllm_hf.evaluation.exams import phrases
from medllm_hf.evaluation.exams.compared_readings import publish_blocks, reading_blocks
from medllm_hf.evaluation.exams.phrases import finished_text, of_prompts
from medllm_hf.evaluation.exams.position_bias import P_LIMIT, SHARE_LIMIT, place_text
from medllm_hf.evaluation.exams.reference_results import SOURCE
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
    span,
)
from medllm_hf.reporting.phrases import SETTINGS, Text, Words, joined
from medllm_hf.reporting.terms import term, value_text


def report_blocks(values: dict) -> list[Block]:
    """The whole report without the single questions."""
    results = {row["run"]: row for row in values["results"]}
    blocks: list[Block] = [Heading(1, phrases.TITLE)]
    if len(values["datasets"]) > 1:
        blocks += [Heading(2, phrases.ALL_RUNS), Paragraph(phrases.NOT_COMPARABLE), _overview(values)]
    for number, dataset in enumerate(values["datasets"], start=1):
        rows = [results[name] for name in dataset["runs"]]
        blocks += [Heading(2, _named(dataset)), *publish_blocks(dataset), *_headlines(dataset)]
        blocks += _questions(dataset, rows)
        blocks += _results(dataset, rows)
        blocks += [Figure(figure_name("accuracy", number), phrases.ACCURACY_FIGURE)]
        blocks += reading_blocks(dataset)
        for part in (_quoted(dataset), _subjects(rows, number), _comparisons(dataset), _circular(rows), _positions(rows)):
            blocks += part
        blocks += _confusion(rows, number)
    return blocks


def _named(dataset: dict) -> Words:
    name, split = dataset["name"], dataset.get("split")
    return phrases.DATASET(name=name, split=split) if split else name


def _headlines(dataset: dict) -> Iterator[Block]:
    found = dataset["headlines"]
    if len(found) > 1:
        yield Paragraph(phrases.AGAINST_FIRST(run=found[0]["against"]))
    yield from (Paragraph(Text(one["en"], one["zh"])) for one in found[:MOST_NAMED])
    if len(found) > MOST_NAMED:
        yield Paragraph(phrases.MORE(n=len(found) - MOST_NAMED))


def _overview(values: dict) -> Table:
    of = {name: number for number, dataset in enumerate(values["datasets"], start=1) for name in dataset["runs"]}
    rows = []
    for row in values["results"]:
        dataset = values["datasets"][of[row["run"]] - 1]
        split = f", {dataset['split']}" if dataset.get("split") else ""
        asked: Words = phrases.OVERVIEW_DATA(name=row["data"], split=split, hash=dataset["sha256"][:8])
        if "of" in dataset:
            asked += phrases.OVERVIEW_LIMITED(n=row["n"], of=dataset["of"])
        limits = interval(row["interval_low"], row["interval_high"])
        shares = (percent(row["accuracy"]), limits, str(row["n"]), str(row["unparsed"]), percent(row["chance"]))
        rows.append((row["run"], row["model"], asked, *shares))
    head = (phrases.RUN, phrases.MODEL, phrases.QUESTIONS, phrases.ACCURACY, phrases.INTERVAL, phrases.N, phrases.UNPARSED)
    return Table((*head, phrases.CHANCE), tuple(rows))


def _questions(dataset: dict, rows: list[dict]) -> Iterator[Block]:
    counts = {row["n"] for row in rows}
    kinds = {"single": rows[0]["single"], "multi": rows[0]["multi"]}
    asked = phrases.COUNT_RANGE(low=min(counts), high=max(counts))
    if len(counts) == 1:
        asked = phrases.COUNT_ONE(**kinds) if counts == {1} else phrases.COUNT(n=rows[0]["n"], **kinds)
    text = phrases.HASHED(asked=asked, hash=dataset["sha256"][:16])
    for key, phrase in (("revision", phrases.REVISION), ("licence", phrases.LICENCE)):
        if dataset.get(key):
            text += phrase(name=dataset[key])
    if left_out := dataset.get("left_out"):
        kinds_left = [phrases.LEFT_OUT_KIND(kind=term(kind), n=count) for kind, count in sorted(left_out.items())]
        text += phrases.LEFT_OUT(kinds=joined(kinds_left))
    yield Paragraph(text)


def _results(dataset: dict, rows: list[dict]) -> Iterator[Block]:
    differ = dataset["settings_differ"]
    multi = any(row["multi"] for row in rows)
    head = (phrases.ACCURACY, phrases.INTERVAL, phrases.N, phrases.UNPARSED, phrases.MACRO, *[phrases.PARTIAL] * multi)
    lines: list[tuple[Words, ...]] = []
    for row in rows:
        limits = interval(row["interval_low"], row["interval_high"])
        shares: list[Words] = [percent(row["accuracy"]), limits, str(row["n"])]
        shares += [str(row["unparsed"]), percent(row["macro_accuracy"])] + [percent(row["partial_credit"])] * multi
        settings = [_setting(row["settings"].get(key)) for key in differ]
        lines.append((row["run"], _model(row, rows), *settings, *shares, percent(row["chance"])))
    yield Table((phrases.RUN, phrases.MODEL, *map(term, differ), *head, phrases.CHANCE), tuple(lines))
    yield Paragraph(phrases.RESULT_NOTE + phrases.PARTIAL_NOTE if multi else phrases.RESULT_NOTE)
    yield from _settings(dataset, rows)
    if "of" in dataset:
        yield Paragraph(phrases.TRIAL(n=rows[0]["n"], of=dataset["of"]))
    for row in rows:
        if row.get("ties"):
            yield Paragraph(phrases.TIES_NOTE(run=row["run"], n=row["ties"], of=of_prompts(row)))
        if "finished" in row:
            yield Paragraph(phrases.FINISHED_NOTE(run=row["run"], finished=finished_text(row)))
        if "cost" in row:
            yield Paragraph(phrases.COST(run=row["run"], cost=cost_text(row["cost"])))
    if differ:
        yield Paragraph(phrases.SETTINGS_DIFFER(names=joined(map(term, differ))))


def _settings(dataset: dict, rows: list[dict]) -> Iterator[Block]:
    equal = [phrases.SETTING(name=term(key), value=_setting(value)) for key, value in dataset["settings_equal"].items()]
    if equal:
        phrase = phrases.SETTINGS_OF_ALL if len(rows) > 1 else phrases.SETTINGS
        yield Paragraph(phrase(settings=joined(equal, SETTINGS)))


def _model(row: dict, rows: list[dict]) -> Words:
    """The model's name, with the beginning of its weights' hash where another model of that name is beside it."""
    namesakes = {other["weights_sha256"] for other in rows if other["model"] == row["model"]}
    if len(namesakes) < 2:
        return row["model"]
    return phrases.SHARE(share=row["model"], ends=row["weights_sha256"][:8] if row["weights_sha256"] else phrases.ENDPOINT)


def _setting(value: object) -> Words:
    if value is None or value == "":
        return phrases.NOTHING
    if isinstance(value, bool):
        return phrases.YES if value else phrases.NO
    text = str(value)
    return text[:12] if len(text) == 64 else value_text(text)


def _quoted(dataset: dict) -> Iterator[Block]:
    if not dataset["quoted"]:
        return
    yield Heading(3, phrases.QUOTED)
    rows = []
    for row in dataset["quoted"]:
        figure = row["as_printed"] + "%" + "*" * row["misprint"]
        rows.append((row["system"], row["shots"], figure, str(row["n"])))
    yield Table((phrases.SYSTEM, phrases.EXAMPLES, phrases.PUBLISHED, phrases.N), tuple(rows))
    misprint = any(row["misprint"] for row in dataset["quoted"])
    note = phrases.QUOTED_NOTE + phrases.MISPRINT if misprint else phrases.QUOTED_NOTE
    yield Paragraph(note + phrases.SOURCE, SOURCE)


def _subjects(rows: list[dict], number: int) -> Iterator[Block]:
    names = list(dict.fromkeys(group["group"] for row in rows for group in row["groups"]))
    if len(names) < 2:
        return
    yield Heading(3, phrases.BY_SUBJECT)
    groups = [{group["group"]: group for group in row["groups"]} for row in rows]
    lines: list[tuple[Words, ...]] = []
    for position, name in enumerate(names, start=1):
        group = next(one[name] for one in groups if name in one)
        cells = [_group_cell(one[name]) if name in one else "–" for one in groups]
        lines.append((str(position), name or phrases.NO_NAME, str(group["n"]), percent(group["chance"]), *cells))
    head = ("#", phrases.SUBJECT, phrases.N, phrases.CHANCE)
    yield Table((*head, *(row["run"] for row in rows)), tuple(lines))
    yield Figure(figure_name("subjects", number), phrases.SUBJECTS_FIGURE)


def _share(share: float, low: float, high: float) -> Text:
    return phrases.SHARE(share=percent(share), ends=interval(low, high))


def _group_cell(group: dict) -> Text:
    share = _share(group["accuracy"], group["interval_low"], group["interval_high"])
    return share + phrases.SUBJECT_UNPARSED(n=group["unparsed"]) if group["unparsed"] else share


def _comparisons(dataset: dict) -> Iterator[Block]:
    rows = dataset["comparisons"]
    if not rows:
        return
    yield Heading(3, phrases.DIFFERENCES)
    several = len(rows) > 1
    head = (phrases.MINUS_HEAD, phrases.PAIRS, phrases.ONLY_FIRST, phrases.ONLY_SECOND, phrases.DIFFERENCE, phrases.INTERVAL)
    lines: list[tuple[Words, ...]] = []
    for row in rows:
        counts = [str(row[key]) for key in ("n", "only_first", "only_second")]
        points = phrases.POINTS(points=_points(row["difference"]))
        limits = span(_points(row["interval_low"]), _points(row["interval_high"]))
        name = phrases.MINUS(first=row["first"], second=row["second"])
        lines.append((name, *counts, points, limits, chance_text(row["p"]), *[chance_text(row["p_holm"])] * several))
    yield Table((*head, phrases.P, *[phrases.P_HOLM] * several), tuple(lines))
    yield Paragraph(phrases.TESTS + phrases.HOLM if several else phrases.TESTS)
    if any(row["counted"] == ALL_ROTATIONS for row in rows):
        yield Paragraph(phrases.BY_ROTATIONS)
    for row in rows:
        if row["unpaired_first"] or row["unpaired_second"]:
            apart = {"one": row["unpaired_first"], "two": row["unpaired_second"]}
            yield Paragraph(phrases.WITHOUT_PARTNER(first=row["first"], second=row["second"], **apart))


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _circular(rows: list[dict]) -> Iterator[Block]:
    rows = [row for row in rows if "circular" in row]
    if not rows:
        return
    yield Heading(3, phrases.CIRCULAR)
    lines: list[tuple[Words, ...]] = []
    for row in rows:
        one = row["circular"]
        first = _share(one["first_accuracy"], one["first_interval_low"], one["first_interval_high"])
        same = _share(one["consistent"] / row["n"], one["consistent_interval_low"], one["consistent_interval_high"])
        strict = _share(row["accuracy"], row["interval_low"], row["interval_high"])
        lines.append((row["run"], strict, first, same, str(row["n"]), str(one["rotations"])))
    head = (phrases.RUN, phrases.ALL_RIGHT, phrases.FIRST_RIGHT, phrases.SAME_OPTION, phrases.N, phrases.PROMPTS)
    yield Table(head, tuple(lines))
    yield Paragraph(phrases.CIRCULAR_NOTE)


def _positions(rows: list[dict]) -> Iterator[Block]:
    yield Heading(3, phrases.BIAS)
    yield Paragraph(phrases.BIAS_NOTE(p=P_LIMIT, share=f"{100 * SHARE_LIMIT:.0f}"))
    for row in rows:
        position = row["position"]
        sentence = phrases.NO_SINGLE if position is None else Text(position["sentence"], position["sentence_zh"])
        yield Paragraph(phrases.BIAS_OF(run=row["run"], sentence=sentence))
        for key, name in (("letter", phrases.LETTER), ("from_end", phrases.FROM_END)):
            if position and key in position:
                yield _places(position[key], name, position["n"])


def _places(view: dict, name: Text, count: int) -> Table:
    test: Words = "–"
    if view["freedom"]:
        test = phrases.CHI_SQUARE(value=f"{view['chi_square']:.1f}", df=view["freedom"], p=chance_text(view["p"]))
    lines: list[tuple[Words, ...]] = []
    for place in view["places"]:
        shares = [_of(place[key], count) for key in ("predicted", "right")]
        expected = phrases.SHARE(share=f"{place['expected']:.1f}", ends=percent(place["expected"] / count))
        recall = percent(place["hits"] / place["right"] if place["right"] else None)
        lines.append((place_text(place["name"]), str(place["shown"]), *shares, expected, recall))
    head = (phrases.SHOWN, phrases.PREDICTED, phrases.RIGHT, phrases.EXPECTED, phrases.RECALL)
    return Table((phrases.TESTED(name=name, test=test), *head), tuple(lines))


def _of(part: int, count: int) -> Text:
    return phrases.SHARE(share=part, ends=percent(part / count))


def _confusion(rows: list[dict], number: int) -> Iterator[Block]:
    rows = [row for row in rows if row["single"]]
    if not rows:
        return
    yield Heading(3, phrases.CONFUSION)
    yield Paragraph(phrases.CONFUSION_NOTE)
    for row in rows:
        columns = row["confusion"]["columns"]
        lines = [(right, *(str(cells[column]) for column in columns)) for right, cells in row["confusion"]["rows"].items()]
        yield Table((row["run"], *map(term, columns)), tuple(lines))
    yield Figure(figure_name("confusion", number), phrases.CONFUSION_FIGURE)
