"""The simulated consultations behind judge runs as blocks: who played, what the checks and the gate found, what it cost."""

from collections.abc import Iterator

from medllm_hf.evaluation.consultations.figures import described
from medllm_hf.evaluation.consultations.manners import STYLES
from medllm_hf.evaluation.costs.prices import cost_text
from medllm_hf.evaluation.judging import phrases
from medllm_hf.evaluation.judging.inventions import inventions_text
from medllm_hf.evaluation.judging.reasons import all_reasons
from medllm_hf.reporting.blocks import Block, Heading, Paragraph, Table, listed, percent
from medllm_hf.reporting.phrases import COMMA, LIST, Phrase, Text, Words, joined
from medllm_hf.reporting.terms import term

_HEADING = Phrase("Simulated consultations", "模拟问诊")
_HEAD = (
    phrases.RUN, Phrase("patient", "患者"), phrases.DIALOGUES, Phrase("failed", "失败"), Phrase("rounds", "轮数"),
    phrases.CHARACTERS, Phrase("patient said the diagnosis", "患者说出诊断"),
)  # fmt: skip
_NOTE = Phrase(
    "Shares of dialogues in which a check found something; failed dialogues are not judged.",
    "比例为检查发现问题的对话所占比例；失败的对话不评分。",
)
_SAID = Phrase("{share} of {n}", "{n} 段中 {share}")
_PLAYED = Phrase("{patient}, {style}", "{patient}，{style}")
_LINE = Phrase("{run}: {text}.", "{run}：{text}。")
_WITHHELD = Phrase(
    "no headline figure: {reasons}. What was counted and matched in the dialogues is withheld here; results.json has it",
    "没有主结果：{reasons}。对话中计数和比对的数字这里不予公布，它们在 results.json 中",
)
_COST = Phrase("Cost of the dialogues in {run}: {cost}.", "{run} 中对话的费用：{cost}。")
_DISC = Phrase(
    "held by DISC's protocol, for comparison with its published dialogues: three rounds, patients that ask in their "
    "turns, tell "
    "what they like of their case and never say that they do not know, a judge that sees no case. What differs: DISC has "
    "published no prompt of its patients, so these follow its dialogues; turns that leave the role are said again or left out; "
    "the judge has rubrics worded anew, gives its reasons first, and must score canaries low",
    "按 DISC 的规程进行，以便与其公开的对话比较：三轮，患者在自己的话里提问，可说病例中的任何内容，从不说不知道，"
    "裁判看不到病例。"
    "不同之处：DISC 没有公开患者的提示词，这里按其对话拟定；出戏的话会重说或不纳入；裁判的评分标准重新措辞，"
    "先写理由，且必须给陷阱样例打低分",
)
_GATE = Phrase(
    "{run}: of {turns} turns of the patient {again} were asked for again, since they did not keep to its role; "
    "{invalid} of {of} "
    "dialogues stayed so and are not judged{cases}. Canaries of the patient: {canaries}. {inventions}.",
    "{run}：患者的 {turns} 次发言中有 {again} 次没有守住角色，被要求重说；{of} 段对话中有 {invalid} 段仍未改正，"
    "不予评分{cases}。"
    "患者的陷阱样例：{canaries}。{inventions}。",
)
_CASES = Phrase(" (cases {names}: {faults})", "（病例 {names}：{faults}）")
_COUNT, _CANARY = Phrase("{name} {n}", "{name} {n}"), Phrase("{name} ({how})", "{name}（{how}）")
_KEPT = Phrase("kept", "守住")


def consultation_blocks(rows: list[dict]) -> Iterator[Block]:
    """A line a run of consultations, and what is to be known of it."""
    if not rows:
        return
    yield Heading(2, _HEADING)
    findings = list(rows[0]["findings"])
    yield Table((*_HEAD, *map(term, findings)), tuple(_line(row, findings) for row in rows))
    yield Paragraph(_NOTE)
    if disc := [row["run"] for row in rows if row["patients"] == "disc"]:
        yield Paragraph(_LINE(run=joined(disc), text=_DISC))
    yield from (Paragraph(_gate(row)) for row in rows if row.get("gate") is not None)  # older runs have none
    yield from (Paragraph(_LINE(run=row["run"], text=text)) for row in rows for text in _figures(row))
    yield from (Paragraph(_COST(run=row["run"], cost=cost_text(row["cost"]))) for row in rows if "cost" in row)


def _figures(row: dict) -> list[Text]:
    """What was counted and matched in the dialogues of a run, or why it is withheld."""
    if not row["no_headline"]:
        return described(row)
    return [_WITHHELD(reasons=all_reasons([*map(Text, row["no_headline"], row["no_headline_zh"])]))]


def _line(row: dict, findings: list[str]) -> tuple[Words, ...]:
    means = [_mean(row["mean_rounds"], 1), _mean(row["mean_doctor_characters"], 0)]
    said = _SAID(share=percent(row["said_diagnosis"]["share"]), n=row["said_diagnosis"]["n"])
    shares = [percent(row["findings"][name]) for name in findings]
    plain = row["patients"] == STYLES[0]
    played = row["patient"] if plain else _PLAYED(patient=row["patient"], style=term(row["patients"]))
    return (row["run"], played, str(row["n"]), str(row["failed"]), *means, said, *shares)


def _mean(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _gate(row: dict) -> Text:
    """What the gate of consultations found."""
    gate = row["gate"]
    faults = joined((_COUNT(name=term(name), n=count) for name, count in gate["faults"].items()), COMMA)
    cases = _CASES(names=listed(gate["cases"]), faults=faults) if gate["invalid"] else ""
    kept = {one["id"]: _KEPT if one["passed"] else joined(map(term, one["faults"]), LIST) for one in gate["canaries"]}
    canaries = joined((_CANARY(name=name, how=how) for name, how in kept.items()), COMMA)
    counts = {"turns": gate["turns"], "again": gate["asked_again"], "invalid": gate["invalid"], "of": gate["of"]}
    return _GATE(run=row["run"], cases=cases, canaries=canaries, inventions=inventions_text(row["inventions"]), **counts)
