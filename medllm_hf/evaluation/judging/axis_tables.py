"""The four axes and the styles of patients as blocks of the report of judge runs."""

from collections.abc import Iterator

from medllm_hf.evaluation.consultations.axes import AXES, SOURCES, axis_text
from medllm_hf.evaluation.judging.style_drops import MEASURES
from medllm_hf.evaluation.statistics.bootstrap import NO_INTERVAL, ends_text
from medllm_hf.reporting.blocks import Block, Heading, Paragraph, Table, percent, score, words

_MEANING = (
    "Inquiry: of the facts of a case that the patient's opening leaves unsaid, the share that it told when the doctor asked. "
    "Diagnosis: the share of dialogues after which the doctor's likeliest diagnosis is the case's. Safety: of the red flags, "
    "referrals and harmful things in the checklists, the share handled as they should be, or the mean of the rubric safety. "
    "Communication: the mean of helpfulness and linguistic quality. In brackets: 95% intervals, bootstrap over dialogues, "
    "Wilson's for the diagnosis."
)
# The figures beside the axes: axis, name among its parts, head of the column.
_BESIDE = (
    ("inquiry", "asked", "facts asked for"),
    ("inquiry", "told_unasked", "told unasked"),
    ("inquiry", "contradicted", "contradicted"),
    ("inquiry", "questions", "questions"),
    ("inquiry", "facts_a_question", "facts a question"),
    ("inquiry", "repeated_questions", "questions repeated"),
    ("diagnosis", "top3", "diagnosis among three"),
    ("safety", "red_flag", "red flags"),
    ("safety", "refer", "referral"),
    ("safety", "harmful", "harm avoided"),
)
_COUNTS = ("questions", "facts_a_question")


def axis_blocks(rows: list[dict]) -> Iterator[Block]:
    """A line a system, what stands beside the axes, and why some are not measured."""
    if not rows:
        return
    yield Heading(2, "Four axes")
    head = ("system", "patients", *(f"{name} ({SOURCES[name]})" for name in AXES))
    lines = [(row["name"], row["style"] or "–", *(_cell(row["axes"][name]) for name in AXES)) for row in rows]
    yield Table(head, tuple(lines))
    yield Paragraph(_MEANING)
    lacking = {name: next((row["axes"][name]["why"] for row in rows if "why" in row["axes"][name]), None) for name in AXES}
    if found := "; ".join(f"{name}, {why}" for name, why in lacking.items() if why):
        yield Paragraph(f"Where an axis is not measured: {found}.")
    beside = [one for one in _BESIDE if any(_part(row, *one[:2]) is not None for row in rows)]
    if beside:
        shown = [(row["name"], row["style"] or "–", *(_shown(row, axis, name) for axis, name, _ in beside)) for row in rows]
        yield Table(("system", "patients", *(title for *_, title in beside)), tuple(shown))
        yield Paragraph("Beside the axes. –: there is nothing to count, or it is not measured.")


def _cell(shown: dict) -> str:
    if "axis" not in shown:
        return "not measured"
    return "withheld" if shown["withheld"] else axis_text(shown["axis"])


def _part(row: dict, axis: str, name: str) -> float | None:
    shown = row["axes"][axis]
    return None if "axis" not in shown or shown["withheld"] else shown["parts"].get(name)


def _shown(row: dict, axis: str, name: str) -> str:
    value = _part(row, axis, name)
    return score(value) if name in _COUNTS else percent(value)


def style_blocks(rows: list[dict]) -> Iterator[Block]:
    """A line for each style of patients of a system: what it costs beside plain patients."""
    if not rows:
        return
    yield Heading(2, "What styles of patients cost")
    measures = [name for name in MEASURES if any(name in row["measures"] for row in rows)]
    lines = [
        (row["system"], words(row["style"]), *(_drop(row["measures"].get(name)) for name in measures))
        for row in rows
        if row["against"]
    ]
    if lines:
        yield Table(("system", "patients", *measures), tuple(lines))
        yield Paragraph(
            "The figure with plain patients minus that with these, over the cases of both: above 0 the style costs the doctor "
            f"something. In brackets: 95% intervals, paired bootstrap over cases. {NO_INTERVAL}"
        )
    for row in rows:
        if not row["against"]:
            yield Paragraph(f"{row['run']}: no run with plain patients and all else the same, so nothing is measured.")


def _drop(found: dict | None) -> str:
    if found is None:
        return "not measured"
    if found["withheld"]:
        return "withheld"
    factor, digits, unit = (100, 1, " points") if found["scale"] == [0, 1] else (1, 2, "")
    ends = [factor * end for end in found["interval"]] if found["interval"] else None
    return f"{factor * found['drop'] + 0.0:+.{digits}f}{unit} ({ends_text(ends, found['n'], digits)}), n {found['n']}"
