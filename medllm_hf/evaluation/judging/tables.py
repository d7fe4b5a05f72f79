"""The report of judge runs as blocks: headings, tables, notes and figures made from its values."""

from collections.abc import Iterator, Mapping

from medllm_hf.evaluation.costs.prices import cost_text
from medllm_hf.evaluation.judging import phrases
from medllm_hf.evaluation.judging.axis_tables import axis_blocks, style_blocks
from medllm_hf.evaluation.judging.consultation_tables import consultation_blocks
from medllm_hf.evaluation.judging.reasons import all_reasons, canary_text, unscored_text
from medllm_hf.evaluation.judging.report import CEILING
from medllm_hf.evaluation.statistics.bootstrap import NO_INTERVAL, ends_text, score_text
from medllm_hf.reporting.blocks import (
    Block,
    Figure,
    Heading,
    Paragraph,
    Table,
    chance_text,
    figure_name,
    listed,
    percent,
    score,
    signed,
    span,
)
from medllm_hf.reporting.phrases import COMMA, SEMICOLON, SETTINGS, Text, Words, joined
from medllm_hf.reporting.terms import term, value_text


def judge_blocks(values: dict) -> list[Block]:
    """The whole report without the single dialogues."""
    blocks: list[Block] = [Heading(1, phrases.TITLE if values["sets"] else phrases.TITLE_UNJUDGED)]
    blocks += [*axis_blocks(values["axes"]), *style_blocks(values["styles"])]
    if len(values["sets"]) > 1:
        blocks += [Paragraph(phrases.NOT_COMPARABLE)]
    for number, one in enumerate(values["sets"], start=1):
        blocks += [Heading(2, set_name(one)), *_asked(one), *_notices(one), *_results(one)]
        blocks += _benchmark(one)
        for part in (_figures(one, number), _groups(one, number), _coverage(one), _comparisons(one), _repeated(one)):
            blocks += part
        for part in (_ceiling(one), _length(one), _replies(one)):
            blocks += part
    return [*blocks, *_agreement(values["agreement"]), *consultation_blocks(values["consultations"])]


def set_name(one: dict) -> Text:
    """What a set of runs is called: its dialogues and its judge."""
    name = phrases.DIALOGUES_NAME if one["name"] == phrases.DIALOGUES_NAME.en else one["name"]
    return phrases.JUDGED_BY(name=name, judge=Text(one["judge_label"], one["judge_label_zh"]))


def _with_interval(row: dict, name: str) -> Words:
    return score_text(row[name], row["intervals"][name], row["n"] - row["unscored"])


def _believed(system: dict, row: dict, name: str) -> Words:
    return phrases.WITHHELD if system["withheld"] else _with_interval(row, name)


def about_judge(judge: Mapping) -> Text:
    """What is known of a judge, on a line."""
    known = (phrases.NAMED(name=term(name), value=value) for name, value in judge.items() if name != "id")
    return phrases.JUDGE(about=joined([judge["id"], *known], COMMA))


def settings_text(settings: Mapping) -> Text:
    """Settings on a line."""
    named = (phrases.NAMED(name=term(name), value=value_text(value)) for name, value in settings.items())
    return phrases.SETTINGS(settings=joined(named, SETTINGS))


def _asked(one: dict) -> Iterator[Block]:
    rubric, runs = one["rubric"], one["runs"]
    kept = {name: rubric[name] for name in ("name", "version", "language")}
    text = phrases.RUBRIC(hash=rubric["sha256"][:16], low=f"{rubric['low']:g}", high=f"{rubric['high']:g}", **kept)
    text += about_judge(one["judge"]) + phrases.SHOWN[one["shown"]]
    text += settings_text({name: value for name, value in runs[0]["settings"].items() if name not in one["settings_differ"]})
    if any(run["imported"] for run in runs):
        text += phrases.IMPORTED
    yield Paragraph(text)
    if one["settings_differ"]:
        yield Paragraph(phrases.SETTINGS_DIFFER(names=joined(map(term, one["settings_differ"]))))


def _notices(one: dict) -> Iterator[Block]:
    for run in one["runs"]:
        where = phrases.OF_RUN(run=run["run"]) if len(one["runs"]) > 1 else ""
        if run["no_headline"]:
            why = all_reasons(list(map(Text, run["no_headline"], run["no_headline_zh"])))
            yield Paragraph(phrases.NO_HEADLINE(where=where, why=why))
        for text in map(Text, run["warnings"], run["warnings_zh"]):
            yield Paragraph(phrases.WARNING(where=where, text=text))


def _results(one: dict) -> Iterator[Block]:
    names = one["rubric"]["criteria"]
    lines = [
        (row["name"], *(_believed(row, row, name) for name in (*names, "overall")), str(row["n"]), str(row["unscored"]))
        for row in one["systems"]
    ]
    head = (phrases.SYSTEM, *map(term, names), phrases.OVERALL, phrases.N, phrases.UNSCORED)
    yield Table(head, tuple(lines))
    yield Paragraph(phrases.RESULT_NOTE + NO_INTERVAL)
    low, high = f"{one['rubric']['low']:g}", f"{one['rubric']['high']:g}"
    for row in one["systems"]:
        if row["unscored"] and not row["withheld"]:
            ends = [phrases.BOUND(name=term(name), ends=span(*map(score, row["bounds"][name]))) for name in names]
            yield Paragraph(phrases.BOUNDS(name=row["name"], low=low, high=high, ends=joined(ends, SEMICOLON)))


def _benchmark(one: dict) -> Iterator[Block]:
    """Whose benchmark the dialogues are, and its score as it is published."""
    for run in one["runs"]:
        if not (known := run.get("benchmark")):
            continue
        whose = {name: known[name] for name in ("name", "licence", "source", "cases")}
        text = phrases.BENCHMARK(run=run["run"], **whose)
        if known["unanswered"]:
            text += phrases.UNANSWERED(n=len(known["unanswered"]), names=listed(known["unanswered"]))
        if known["other_answers"]:
            text += phrases.OTHER_ANSWERS(n=known["other_answers"])
        scores = [_published(system) for system in one["systems"] if system["run"] == run["run"]]
        text += phrases.PUBLISHED[known["clips_mean"]](scores=joined(scores, SEMICOLON))
        yield Paragraph(text + phrases.ONE_QUESTION)


def _published(system: dict) -> Text:
    found = system["published"]
    shown = score_text(found["value"], found["interval"], found["n"] - found["unscored"])
    figure = phrases.WITHHELD if system["withheld"] else shown
    name = system["name"] or phrases.NO_NAME
    return phrases.PUBLISHED_SCORE(name=name, score=figure, n=found["n"], unscored=found["unscored"])


def _figures(one: dict, number: int) -> Iterator[Block]:
    if all(system["withheld"] for system in one["systems"]):
        return
    yield Figure(figure_name("criteria", number), phrases.CRITERIA_FIGURE)
    if len(one["rubric"]["criteria"]) > 2:
        yield Figure(figure_name("radar", number), phrases.RADAR_FIGURE)


def _groups(one: dict, number: int) -> Iterator[Block]:
    if len(one["groups"]) < 2:
        return
    yield Heading(3, phrases.BY_GROUP)
    of = [{row["group"]: row for row in system["groups"]} for system in one["systems"]]
    lines: list[tuple[Words, ...]] = []
    for place, group in enumerate(one["groups"], start=1):
        counts = sorted({own[group]["n"] for own in of if group in own})
        n = str(counts[0]) if len(counts) == 1 else span(str(counts[0]), str(counts[-1]))
        there = zip(one["systems"], of, strict=True)
        cells = [_group_cell(system, own[group]) if group in own else "–" for system, own in there]
        lines.append((str(place), group or phrases.NO_NAME, n, *cells))
    head = ("#", phrases.GROUP, phrases.N)
    yield Table((*head, *(system["name"] for system in one["systems"])), tuple(lines))
    yield Paragraph(phrases.GROUP_NOTE)
    if not all(system["withheld"] for system in one["systems"]):
        yield Figure(figure_name("groups", number), phrases.GROUPS_FIGURE)


def _group_cell(system: dict, row: dict) -> Words:
    value = _believed(system, row, "overall")
    return phrases.UNSCORED_TOO(value=value, n=row["unscored"]) if row["unscored"] else value


def _coverage(one: dict) -> Iterator[Block]:
    without = [name for run in one["runs"] for name in run["without_scores"]]
    if not one["coverage"] and not without:
        return
    yield Heading(3, phrases.COVERAGE)
    for row in one["coverage"]:
        cases = phrases.CASES_OF(n=len(row["cases"])) if len(row["cases"]) > 1 else phrases.CASE
        few = len(row["in"]) <= len(row["not_in"])
        phrase, systems = (phrases.ONLY_IN, row["in"]) if few else (phrases.MISSING_IN, row["not_in"])
        yield Paragraph(phrase(cases=cases, systems=joined(systems), names=listed(row["cases"])))
    if without:
        yield Paragraph(phrases.WITHOUT_SCORES(names=listed(without)))


def _comparisons(one: dict) -> Iterator[Block]:
    rows = [row for row in one["comparisons"] if not row["withheld"]]
    if not rows:
        return
    yield Heading(3, phrases.DIFFERENCES)
    lines: list[tuple[Words, ...]] = []
    for row in rows:
        name = phrases.MINUS(first=row["first"], second=row["second"])
        difference = (str(row["n"]), signed(row["difference"]), _ends(row, "interval"))
        chances = (chance_text(row["p"]), chance_text(row["p_holm"]), score(row["detectable_difference"]))
        lines.append((name, *difference, *chances, signed(row["equal_length_difference"]), _ends(row, "equal_length")))
    head = (phrases.MINUS_HEAD, phrases.CASES, phrases.OVERALL, phrases.INTERVAL, phrases.P, phrases.P_HOLM)
    yield Table((*head, phrases.DETECTABLE, phrases.EQUAL_LENGTH, phrases.INTERVAL), tuple(lines))
    yield Paragraph(phrases.TESTS(n=len(one["comparisons"])))
    for row in rows:
        if row["unpaired_first"] or row["unpaired_second"]:
            apart = {"one": row["unpaired_first"], "two": row["unpaired_second"]}
            yield Paragraph(phrases.WITHOUT_PARTNER(first=row["first"], second=row["second"], **apart))


def _ends(row: dict, name: str) -> Text:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return ends_text(None, row["n"]) if low is None else span(f"{low:+.2f}", f"{high:+.2f}")


def _repeated(one: dict) -> Iterator[Block]:
    """Kappa and alpha between the samples of each run that has several."""
    runs = [run for run in one["runs"] if run["repeated"]]
    if not runs:
        return
    yield Heading(3, phrases.REPEATED)
    lines: list[tuple[Words, ...]] = []
    for run in runs:
        systems = [row for row in one["systems"] if row["run"] == run["run"]]
        for name, found in run["repeated"]["criteria"].items():
            spread = [phrases.NAMED(name=row["name"], value=score(row["within_item_sd"][name])) for row in systems]
            counts = (str(run["repeated"]["n"]), str(run["repeated"]["samples"]))
            figures = (score(found["kappa"]), score(found["alpha"]))
            lines.append((run["run"], term(name), *counts, *figures, joined(spread, COMMA)))
    head = (phrases.RUN, phrases.CRITERION, phrases.DIALOGUES, phrases.SAMPLES, phrases.KAPPA, phrases.ALPHA, phrases.WITHIN)
    yield Table(head, tuple(lines))
    yield Paragraph(phrases.REPEATED_NOTE)


def _ceiling(one: dict) -> Iterator[Block]:
    """The share of full marks, with a warning; nothing where all systems are withheld."""
    names = one["rubric"]["criteria"]
    withheld = [row["withheld"] for row in one["systems"]]
    if all(withheld):
        return
    yield Heading(3, phrases.CEILING)
    rows = [*((row["name"], row["ceiling"]) for row in one["systems"]), (phrases.ALL_SYSTEMS, one["all"]["ceiling"])]
    lines = [
        (name, *(phrases.WITHHELD if hidden else percent(shares[key]) for key in (*names, "all")))
        for (name, shares), hidden in zip(rows, [*withheld, any(withheld)], strict=True)
    ]
    yield Table((phrases.SYSTEM, *map(term, names), phrases.ALL_CRITERIA), tuple(lines))
    if any(withheld):
        return
    shares = one["all"]["ceiling"]
    high = [name for name in names if shares[name] is not None and shares[name] >= CEILING]
    if high:
        named = (phrases.NAMED(name=term(name), value=percent(shares[name])) for name in high)
        yield Paragraph(phrases.AT_CEILING(limit=percent(CEILING), names=joined(named, COMMA)))


def _length(one: dict) -> Iterator[Block]:
    """The rank correlation of the doctor's characters with each score; nothing where there is none."""
    names = [*one["rubric"]["criteria"], "overall"]
    rows = [*((row["name"], row["length"]) for row in one["systems"]), (phrases.ALL_SYSTEMS, one["all"]["length"])]
    if all(value is None for _, length in rows for value in length["spearman"].values()):
        return
    yield Heading(3, phrases.LENGTH)
    lines: list[tuple[Words, ...]] = []
    for name, length in rows:
        mean = "–" if length["doctor_characters"] is None else f"{length['doctor_characters']:.0f}"
        lines.append((name, mean, *(signed(length["spearman"][key]) for key in names)))
    yield Table((phrases.SYSTEM, phrases.CHARACTERS, *map(term, names)), tuple(lines))
    yield Paragraph(phrases.LENGTH_NOTE)


def _replies(one: dict) -> Iterator[Block]:
    """Unscored replies, canaries and costs of each run, and whether it has a headline figure."""
    yield Heading(3, phrases.REPLIES)
    lines: list[tuple[Words, ...]] = []
    for run in one["runs"]:
        failures, usage = run["failures"], run["usage"]
        share = phrases.SHARE(n=failures["unscored"], share=percent(failures["rate"]))
        failed = sum(not canary["passed"] for canary in run["canaries"])
        canaries = phrases.FAILED_OF(n=failed, of=len(run["canaries"])) if run["canaries"] else phrases.NONE_JUDGED
        counts = [str(usage[name]) for name in ("calls", "prompt_tokens", "completion_tokens")]
        cells = (run["run"], str(run["data"]["n"]), str(failures["replies"]), share, percent(failures["limit"]), canaries)
        lines.append((*cells, phrases.NO if run["no_headline"] else phrases.YES, *counts))
    yield Table(phrases.REPLIES_HEAD, tuple(lines))
    for run in one["runs"]:
        if "cost" in run:
            yield Paragraph(phrases.COST(run=run["run"], cost=cost_text(run["cost"])))
        if reasons := run["unscored_reasons"]:
            why = [phrases.COUNTED(what=unscored_text(reason), n=count) for reason, count in reasons.items()]
            yield Paragraph(phrases.UNSCORED_IN(run=run["run"], why=joined(why, SEMICOLON)))
    canary_lines = [
        (run["run"], canary["id"], canary_scores(canary), phrases.PASSED if canary["passed"] else phrases.FAILED)
        for run in one["runs"]
        for canary in run["canaries"]
    ]
    if canary_lines:
        yield Table(phrases.CANARY_HEAD, tuple(canary_lines))


def canary_scores(canary: dict) -> Text:
    """What the judge gave a canary, with the names of the criteria as they are read."""
    if canary["unscored"]:
        return canary_text(canary)
    return joined((phrases.NAMED(name=term(k), value=f"{v:g}") for k, v in canary["scores"].items()), COMMA)


def _agreement(rows: list[dict]) -> Iterator[Block]:
    """Kappa and alpha between runs over the same dialogues."""
    if not rows:
        return
    yield Heading(2, phrases.AGREEMENT)
    lines: list[tuple[Words, ...]] = []
    for row in rows:
        judges = map(Text, row["judges"], row["judges_zh"])
        sides = [phrases.RATER(run=row[side], judge=judge) for side, judge in zip(("first", "second"), judges, strict=True)]
        for name, found in row["criteria"].items():
            figures = [score(found[key]) for key in ("kappa", "alpha")]
            lines.append((*sides, term(name), str(found["n"]), *figures, percent(found["exact"]), signed(found["difference"])))
    head = (phrases.FIRST, phrases.SECOND, phrases.CRITERION, phrases.N, phrases.KAPPA, phrases.ALPHA, phrases.EQUAL)
    yield Table((*head, phrases.MINUS_HEAD), tuple(lines))
    yield Paragraph(phrases.AGREEMENT_NOTE)
    for row in rows:
        for name, ids in ((row["first"], row["only_first"]), (row["second"], row["only_second"])):
            if ids:
                yield Paragraph(phrases.ONLY_ONE_HAS(run=name, names=listed(ids)))
        if row["other_words"]:
            names = listed(row["other_words"])
            yield Paragraph(phrases.OTHER_WORDS(first=row["first"], second=row["second"], names=names))
