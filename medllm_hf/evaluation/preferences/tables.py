"""The report of comparisons of two systems as blocks: headings, tables and notes made from its values."""

from collections.abc import Iterator

from medllm_hf.evaluation.costs.prices import cost_text
from medllm_hf.evaluation.judging.phrases import RUBRIC_ALONE
from medllm_hf.evaluation.judging.reasons import unscored_text
from medllm_hf.evaluation.judging.tables import about_judge, settings_text
from medllm_hf.evaluation.preferences import phrases
from medllm_hf.evaluation.statistics.bootstrap import share_text
from medllm_hf.reporting.blocks import Block, Heading, Paragraph, Table, chance_text, interval, listed, percent
from medllm_hf.reporting.phrases import COMMA, SEMICOLON, Text, Words, joined
from medllm_hf.reporting.terms import term


def pair_blocks(values: dict) -> list[Block]:
    """The whole report without the single dialogues."""
    blocks: list[Block] = [Heading(1, phrases.TITLE)]
    for one in values["runs"]:
        title = phrases.JUDGED_BY(name=phrases.AGAINST(**one["systems"]), judge=one["judge"]["id"])
        blocks += [Heading(2, title), _asked(one), *_notices(one), *_results(one), *_orders(one), *_replies(one)]
    return [*blocks, Heading(2, phrases.HOW_TO_READ), Paragraph(phrases.HOW_TO_READ_NOTE)]


def _asked(one: dict) -> Block:
    rubric = {name: one["rubric"][name] for name in ("name", "version", "language")}
    text = phrases.RUN(run=one["run"]) + RUBRIC_ALONE(hash=one["rubric"]["sha256"][:16], **rubric)
    return Paragraph(text + about_judge(one["judge"]) + settings_text(one["settings"]) + phrases.BOTH_ORDERS)


def _notices(one: dict) -> Iterator[Block]:
    if one["no_headline"]:
        why = joined(map(Text, one["no_headline"], one["no_headline_zh"]), SEMICOLON)
        yield Paragraph(phrases.NO_HEADLINE(why=why))
    for text in map(Text, one["warnings"], one["warnings_zh"]):
        yield Paragraph(phrases.WARNING(text=text))


def _results(one: dict) -> Iterator[Block]:
    lines: list[tuple[Words, ...]] = []
    for name, found in one["criteria"].items():
        if one["no_headline"]:
            lines.append((term(name), str(found["n"]), *(phrases.WITHHELD for _ in range(len(phrases.OUTCOMES) + 3))))
            continue
        cells = (percent(found["win_rate"]), share_text(found["interval"], found["n"]), chance_text(found["p"]))
        lines.append((term(name), str(found["n"]), *(str(found[key]) for key in phrases.OUTCOMES), *cells))
    head = (phrases.CRITERION, phrases.CASES, *phrases.OUTCOMES.values(), phrases.WIN_RATE, phrases.INTERVAL, phrases.P)
    yield Table(head, tuple(lines))
    yield Paragraph(phrases.RESULT_NOTE(first=one["systems"]["first"]))
    if one["unscored"]:
        text = phrases.UNSCORED(n=one["unscored"], of=one["n"])
        bounded = {} if one["no_headline"] else {key: found["bounds"] for key, found in one["criteria"].items()}
        ends = [phrases.NAMED(name=term(name), value=interval(*own)) for name, own in bounded.items() if own]
        yield Paragraph(text + phrases.BOUNDS(ends=joined(ends, SEMICOLON)) if ends else text)


def _orders(one: dict) -> Iterator[Block]:
    yield Heading(3, phrases.ORDERS)
    lines: list[tuple[Words, ...]] = []
    for name, found in one["criteria"].items():
        position = found["position"]
        ends = share_text(position["interval"], found["n"])
        lines.append((term(name), percent(found["consistency"]), str(position["n"]), percent(position["share"]), ends))
    yield Table(phrases.ORDERS_HEAD, tuple(lines))
    yield Paragraph(phrases.ORDERS_NOTE)
    length = one["length"]
    means = {"one": f"{length['first']:.0f}", "two": f"{length['second']:.0f}"}
    yield Paragraph(phrases.LENGTH(n=length["n"], share=percent(length["longer_wins"]), **means, **one["systems"]))
    for side in ("first", "second"):
        if names := one[f"only_{side}"]:
            yield Paragraph(phrases.ONLY_ONE_HAS(system=one["systems"][side], names=listed(names)))


def _replies(one: dict) -> Iterator[Block]:
    yield Heading(3, phrases.REPLIES)
    failures, usage = one["failures"], one["usage"]
    share = phrases.SHARE(n=failures["unscored"], share=percent(failures["rate"]))
    counts = [str(usage[name]) for name in ("calls", "prompt_tokens", "completion_tokens")]
    headline = phrases.NO if one["no_headline"] else phrases.YES
    cells: tuple[Words, ...] = (str(failures["replies"]), share, percent(failures["limit"]), headline, *counts)
    yield Table(phrases.REPLIES_HEAD, (cells,))
    if "cost" in one:
        yield Paragraph(phrases.COST(cost=cost_text(one["cost"])))
    if reasons := one["unscored_reasons"]:
        why = [phrases.COUNTED(what=unscored_text(reason), n=count) for reason, count in reasons.items()]
        yield Paragraph(phrases.WHY_UNSCORED(why=joined(why, SEMICOLON)))
    lines: list[tuple[Words, ...]] = []
    for row in one["canaries"]:
        outcomes = [phrases.NAMED(name=term(key), value=term(found)) for key, found in (row["outcomes"] or {}).items()]
        text = unscored_text(row["unscored"]) if row["unscored"] else joined(outcomes, COMMA)
        lines.append((row["id"], text, phrases.PASSED if row["passed"] else phrases.FAILED))
    yield Table(phrases.CANARY_HEAD, tuple(lines))
