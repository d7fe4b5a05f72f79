"""Facts and diagnoses of dialogues → shares with their intervals over dialogues."""

from collections.abc import Mapping, Sequence

import numpy

from medllm_hf.evaluation.consultations.diagnosis import DiagnosisGiven
from medllm_hf.evaluation.consultations.facts import FactCounts
from medllm_hf.evaluation.statistics.bootstrap import FEWEST, drawn_sums, ends_text, interval, quotient, share_text
from medllm_hf.evaluation.statistics.tests import wilson
from medllm_hf.reporting.blocks import percent, score
from medllm_hf.reporting.phrases import COMMA, SAME, Phrase, Text, joined

# Runs before version 2 of the rules have not counted it.
CONTRADICTED = "contradicted"
# The columns of counts, and each figure as the columns above and below its line.
COLUMNS = ("facts", "opening", "asked", "told_asked", "told_open", "told_unasked", "contradicted", "questions", "repeated")
RATIOS: dict[str, tuple[tuple[str, ...], str]] = {
    "asked": (("asked",), "facts"),
    "told": (("opening", "told_asked", "told_open", "told_unasked"), "facts"),
    "told_opening": (("opening",), "facts"),
    "told_asked": (("told_asked", "told_open"), "facts"),
    "told_unasked": (("told_unasked",), "facts"),
    CONTRADICTED: ((CONTRADICTED,), "facts"),
    "repeated_questions": (("repeated",), "questions"),
    "facts_a_question": (("told_asked", "told_open"), "questions"),
}

# How the shares are called where they are told on a line.
_WORDS = {
    "asked": Phrase("asked for {share}", "问到 {share}"),
    "told_asked": Phrase("told when asked {share}", "问后说出 {share}"),
    "told_unasked": Phrase("told unasked {share}", "未问而说出 {share}"),
    "told_opening": Phrase("told at the beginning {share}", "开头就说出 {share}"),
    CONTRADICTED: Phrase("contradicted {share}", "说反 {share}"),
    "repeated_questions": Phrase("questions repeated {share}", "重复提问 {share}"),
}
_A_QUESTION = Phrase("{n} facts a question ({ends})", "每问得到 {n} 条事实（{ends}）")
_NOTHING = Phrase("nothing is measured: no dialogue is whole", "没有测量：没有一段完整的对话")
_NO_FACTS = Phrase(
    "facts are not measured: the cases have none, `medllm eval cases` makes them",
    "没有测量事实：病例没有事实清单，可用 `medllm eval cases` 生成",
)
_FACTS = Phrase("facts of {n} dialogues{without}: {shares}", "{n} 段对话的事实{without}：{shares}")
_WITHOUT = Phrase(", {n} more without facts are not measured", "（另有 {n} 段没有事实清单，未测量）")
_TOPS = {"top1": Phrase("first {share}", "首位 {share}"), "top3": Phrase("among three {share}", "前三位 {share}")}
_DIAGNOSES = Phrase(
    "the case's diagnosis in {n} dialogues: {shares}, unreadable {unreadable}, without a diagnosis to compare with {rest}",
    "{n} 段对话中给出病例诊断的比例：{shares}，读不出 {unreadable}，没有诊断可比对 {rest}",
)
_NO_DIAGNOSES = Phrase("diagnoses are not measured: the cases have none to compare with", "没有测量诊断：病例没有可比对的诊断")
_SHARE = Phrase("{value} ({ends})", "{value}（{ends}）")


def fact_figures(counts: Sequence[FactCounts | None]) -> dict:
    """The figures of facts over dialogues; None stands for one whose case has none.

    `n` dialogues have facts and `without` have none. `asked`, `told`, `told_opening`, `told_asked` (after any question),
    `told_unasked` and, where it was counted, `contradicted` are shares of the facts, `repeated_questions` one of the doctor's
    questions, `facts_a_question` is what a question brings. Each has its "value", None of nothing, and the 95% interval over
    dialogues, None where there is none.
    """
    known = [one for one in counts if one is not None]
    found: dict = {"n": len(known), "without": len(counts) - len(known)}
    if not known:
        return {**found, "totals": None, "ratios": None}
    columns = [name for name in COLUMNS if all(name in one for one in known)]
    table = numpy.array([[_count(one, name) for name in columns] for one in known], dtype=float)
    sums, drawn = table.sum(0, keepdims=True), drawn_sums(table)
    ratios = {}
    for name, (above, below) in RATIOS.items():
        if not {*above, below} <= {*columns}:
            continue
        top, under = [columns.index(one) for one in above], columns.index(below)
        value = float(quotient(sums[:, top].sum(1), sums[:, under])[0])
        ends = interval(quotient(drawn[:, top].sum(1), drawn[:, under]), len(known))
        ratios[name] = {"value": None if numpy.isnan(value) else value, "interval": ends}
    totals = {name: int(total) for name, total in zip(columns, sums[0], strict=True)}
    return {**found, "totals": totals, "ratios": ratios}


def _count(counts: FactCounts, name: str) -> int:
    value = counts[name]  # type: ignore[literal-required]  # one of COLUMNS
    return value if isinstance(value, int) else len(value)


def diagnosis_figures(given: Sequence[DiagnosisGiven | None]) -> dict:
    """The figures of diagnoses over dialogues; None stands for one whose case has none, or whose doctor was not asked.

    Of `n` dialogues `top1` and `top3` are the shares in which the case's diagnosis was the first, or one of the three, with
    Wilson's 95% interval; `unreadable` replies, which name none, count as wrong.
    """
    known = [one for one in given if one is not None]
    found: dict = {
        "n": len(known),
        "not_compared": len(given) - len(known),
        "unreadable": sum(not one["given"] for one in known),
    }
    for name, hits in (("top1", sum(one["top1"] for one in known)), ("top3", sum(one["top3"] for one in known))):
        ends = list(wilson(hits, len(known))) if len(known) >= FEWEST else None
        found[name] = {"value": hits / len(known) if known else None, "interval": ends}
    return found


def described(figures: Mapping) -> list[Text]:
    """What the metrics of a run say of facts and diagnoses in words, and what of these they do not measure."""
    facts, diagnosis = figures.get("facts"), figures.get("diagnosis")
    if figures.get("n") == 0:
        return [_NOTHING]
    if not facts or not facts["n"]:
        lines: list[Text] = [_NO_FACTS]
    else:
        ratios, n = facts["ratios"], facts["n"]
        shares = [phrase(share=_share(ratios[name], n)) for name, phrase in _WORDS.items() if name in ratios]
        each = ratios["facts_a_question"]
        if each["value"] is not None:
            shares.append(_A_QUESTION(n=score(each["value"]), ends=ends_text(each["interval"], n)))
        without = _WITHOUT(n=facts["without"]) if facts["without"] else ""
        lines = [_FACTS(n=n, without=without, shares=joined(shares, COMMA))]
    if diagnosis and diagnosis["n"]:
        shares = [phrase(share=_share(diagnosis[name], diagnosis["n"])) for name, phrase in _TOPS.items()]
        counts = {"unreadable": diagnosis["unreadable"], "rest": diagnosis["not_compared"]}
        lines.append(_DIAGNOSES(n=diagnosis["n"], shares=joined(shares, COMMA), **counts))
    elif diagnosis:
        lines.append(_NO_DIAGNOSES)
    return lines


def _share(figure: Mapping, count: int) -> Text:
    if figure["value"] is None:
        return SAME(text="–")
    return _SHARE(value=percent(figure["value"]), ends=share_text(figure["interval"], count))
