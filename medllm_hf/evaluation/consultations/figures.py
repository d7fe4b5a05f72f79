"""Facts and diagnoses of dialogues → shares with their intervals over dialogues."""

from collections.abc import Mapping, Sequence

import numpy

from medllm_hf.evaluation.consultations.diagnosis import DiagnosisGiven
from medllm_hf.evaluation.consultations.facts import FactCounts
from medllm_hf.evaluation.statistics.bootstrap import FEWEST, drawn_sums, ends_text, interval, quotient, share_text
from medllm_hf.evaluation.statistics.tests import wilson
from medllm_hf.reporting.blocks import percent

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
    "asked": "asked for",
    "told_asked": "told when asked",
    "told_unasked": "told unasked",
    "told_opening": "told at the beginning",
    CONTRADICTED: "contradicted",
    "repeated_questions": "questions repeated",
}


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


def described(figures: Mapping) -> list[str]:
    """What the metrics of a run say of facts and diagnoses in words, and what of these they do not measure."""
    facts, diagnosis = figures.get("facts"), figures.get("diagnosis")
    if figures.get("n") == 0:
        return ["nothing is measured: no dialogue is whole"]
    if not facts or not facts["n"]:
        lines = ["facts are not measured: the cases have none, `medllm eval cases` makes them"]
    else:
        ratios, n = facts["ratios"], facts["n"]
        shares = [f"{words} {_share(ratios[name], n)}" for name, words in _WORDS.items() if name in ratios]
        each = ratios["facts_a_question"]
        shares.append(f"{_text(each['value'])} facts a question ({ends_text(each['interval'], n)})")
        without = f", {facts['without']} more without facts are not measured" if facts["without"] else ""
        lines = [f"facts of {n} dialogues{without}: {', '.join(shares)}"]
    if diagnosis and diagnosis["n"]:
        names = {"top1": "first", "top3": "among three"}
        shares = [f"{words} {_share(diagnosis[name], diagnosis['n'])}" for name, words in names.items()]
        rest = f"unreadable {diagnosis['unreadable']}, without a diagnosis to compare with {diagnosis['not_compared']}"
        lines.append(f"the case's diagnosis in {diagnosis['n']} dialogues: {', '.join(shares)}, {rest}")
    elif diagnosis:
        lines.append("diagnoses are not measured: the cases have none to compare with")
    return lines


def _share(figure: Mapping, count: int) -> str:
    return f"{percent(figure['value'])} ({share_text(figure['interval'], count)})"


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
