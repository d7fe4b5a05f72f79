"""The four axes and the styles of patients as blocks of the report of judge runs."""

from collections.abc import Iterator

from medllm_hf.evaluation.consultations.axes import AXES, SOURCES, axis_text
from medllm_hf.evaluation.judging import phrases
from medllm_hf.evaluation.judging.axis_rows import WHY
from medllm_hf.evaluation.judging.style_drops import MEASURES
from medllm_hf.evaluation.statistics.bootstrap import NO_INTERVAL, ends_text
from medllm_hf.reporting.blocks import Block, Heading, Paragraph, Table, percent, score
from medllm_hf.reporting.phrases import SEMICOLON, Phrase, Words, joined
from medllm_hf.reporting.terms import term

_HEADING, _PATIENTS = Phrase("Four axes", "四个维度"), Phrase("patients", "患者")
_MEANING = Phrase(
    "Inquiry: of the facts of a case that the patient's opening leaves unsaid, the share that it told when the doctor asked. "
    "Diagnosis: the share of dialogues after which the doctor's likeliest diagnosis is the case's. Safety: of the red flags, "
    "referrals and harmful things in the checklists, the share handled as they should be, or the mean of the rubric safety. "
    "Communication: the mean of helpfulness and linguistic quality. In brackets: 95% intervals, bootstrap over dialogues, "
    "Wilson's for the diagnosis.",
    "问诊：患者开头没有说的病例事实中，医生问后才说出的比例。诊断：医生认为最可能的诊断与病例一致的对话比例。"
    "安全性：清单中的危险信号、转诊和有害做法得到正确处理的比例，或 safety 评分标准的均分。沟通：有用性和语言质量的均值。"
    "括号内为 95% 置信区间：按对话的自助法，诊断为 Wilson 区间。",
)
# The figures beside the axes: axis, name among its parts, head of the column.
_BESIDE = (
    ("inquiry", "asked", Phrase("facts asked for", "问到的事实")),
    ("inquiry", "told_unasked", Phrase("told unasked", "未问而说出")),
    ("inquiry", "contradicted", Phrase("contradicted", "说反")),
    ("inquiry", "questions", Phrase("questions a dialogue", "每段提问数")),
    ("inquiry", "facts_a_question", Phrase("facts a question", "每问得到的事实")),
    ("inquiry", "repeated_questions", Phrase("questions repeated", "重复提问")),
    ("diagnosis", "top3", Phrase("diagnosis among three", "诊断在前三位")),
    ("safety", "red_flag", Phrase("red flags", "危险信号")),
    ("safety", "refer", Phrase("referral", "转诊")),
    ("safety", "harmful", Phrase("harm avoided", "避免有害做法")),
)
_COUNTS = ("questions", "facts_a_question")
_BESIDE_NOTE = Phrase(
    "Beside the axes. –: there is nothing to count, or it is not measured.", "各维度旁的数字。–：没有可计数的内容，或没有测量。"
)
_WITH_SOURCE = Phrase("{name} ({source})", "{name}（{source}）")
_UNREAD = Phrase("; {n} unreadable", "；读不出 {n}")
_NOT_MEASURED = Phrase("not measured", "未测")
_WITHHELD_NOTE = Phrase(
    "Withheld: a judge or a patient that failed its checks gives no figure; why stands below, at the run.",
    "不予公布：裁判或患者没有通过检查，因此不给数字；原因见下文该运行处。",
)
_LACKING = Phrase("Where an axis is not measured: {reasons}.", "某个维度未测的原因：{reasons}。")
_LACKS = Phrase("{name}, {why}", "{name}，{why}")
_STYLES = Phrase("What styles of patients cost", "患者风格的影响")
_STYLES_NOTE = Phrase(
    "The figure with plain patients minus that with these, over the cases of both: above 0 the style costs the "
    "doctor something. "
    "In brackets: 95% intervals, paired bootstrap over cases. {no_interval}",
    "普通患者的数字减去该风格患者的数字，只算两者都有的病例：大于 0 说明这种风格使医生的表现下降。"
    "括号内为 95% 置信区间，按病例配对的自助法。{no_interval}",
)
_NO_PLAIN = Phrase(
    "{run}: no run with plain patients and all else the same, so nothing is measured.",
    "{run}：没有其他条件相同而患者为普通风格的运行，因此无从测量。",
)
_DROP, _DROP_POINTS = Phrase("{drop} ({ends}), n {n}", "{drop}（{ends}），n {n}"), Phrase("{drop} points", "{drop} 个百分点")


def axis_blocks(rows: list[dict]) -> Iterator[Block]:
    """A line a system, what stands beside the axes, and why some are not measured."""
    if not rows:
        return
    yield Heading(2, _HEADING)
    head = (phrases.SYSTEM, _PATIENTS)
    lines = [(*_whose(row), *(_cell(row["axes"][name]) for name in AXES)) for row in rows]
    axes = (_WITH_SOURCE(name=term(name), source=term(SOURCES[name])) for name in AXES)
    yield Table((*head, *axes), tuple(lines))
    yield Paragraph(_MEANING)
    if any(row["axes"][name].get("withheld") for row in rows for name in AXES):
        yield Paragraph(_WITHHELD_NOTE)
    lacking = [name for name in AXES if any("why" in row["axes"][name] for row in rows)]
    if lacking:
        yield Paragraph(_LACKING(reasons=joined((_LACKS(name=term(name), why=WHY[name]) for name in lacking), SEMICOLON)))
    beside = [one for one in _BESIDE if any(_part(row, *one[:2]) is not None for row in rows)]
    if beside:
        shown = [(*_whose(row), *(_shown(row, axis, name) for axis, name, _ in beside)) for row in rows]
        yield Table((*head, *(title for *_, title in beside)), tuple(shown))
        yield Paragraph(_BESIDE_NOTE)


def _whose(row: dict) -> tuple[Words, Words]:
    return row["name"], term(row["style"]) if row["style"] else "–"


def _cell(shown: dict) -> Words:
    if "axis" not in shown:
        return _NOT_MEASURED
    if shown["withheld"]:
        return phrases.WITHHELD
    unread = shown["parts"].get("unreadable")
    return axis_text(shown["axis"]) + (_UNREAD(n=unread) if unread else "")


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
    yield Heading(2, _STYLES)
    measures = [name for name in MEASURES if any(name in row["measures"] for row in rows)]
    lines = [
        (row["system"], term(row["style"]), *(_drop(row["measures"].get(name)) for name in measures))
        for row in rows
        if row["against"]
    ]
    if lines:
        yield Table((phrases.SYSTEM, _PATIENTS, *map(term, measures)), tuple(lines))
        yield Paragraph(_STYLES_NOTE(no_interval=NO_INTERVAL))
    yield from (Paragraph(_NO_PLAIN(run=row["run"])) for row in rows if not row["against"])


def _drop(found: dict | None) -> Words:
    if found is None:
        return _NOT_MEASURED
    if found["withheld"]:
        return phrases.WITHHELD
    share = found["scale"] == [0, 1]
    factor, digits = (100, 1) if share else (1, 2)
    ends = [factor * end for end in found["interval"]] if found["interval"] else None
    drop = f"{factor * found['drop'] + 0.0:+.{digits}f}"
    return _DROP(drop=_DROP_POINTS(drop=drop) if share else drop, ends=ends_text(ends, found["n"], digits), n=found["n"])
