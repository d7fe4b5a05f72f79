"""Why a run has no headline figure, why a reply is unscored, and what readers are warned of, in the languages of reports."""

import re
from collections.abc import Iterable, Mapping, Sequence

from medllm_hf.evaluation.judging.records import PatientGate
from medllm_hf.reporting.phrases import COMMA, SEMICOLON, Phrase, Text, joined
from medllm_hf.reporting.terms import term

SHOWN_CASES = Phrase("{text} (shown the cases)", "{text}，看过病例")
NO_CANARIES = Phrase("no canary dialogues were judged", "没有评过陷阱样例")
OWN_FAMILY = Phrase(
    "{judge} judges {name}, a model of its own family, and may prefer it",
    "裁判 {judge} 评的 {name} 与它同属一个模型系列，可能偏向它",
)
OWN_PATIENT = Phrase(
    "{judge} judges dialogues of the patient {name}, a model of its own family, and may prefer them",
    "裁判 {judge} 所评对话的患者 {name} 与它同属一个模型系列，可能偏向这些对话",
)
SAME_SCORES = Phrase(
    "{judge} gives all {n} dialogues the same scores, and so tells nothing apart",
    "裁判 {judge} 给全部 {n} 段对话同样的分数，没有区分任何对话",
)
_NOT_LOW = Phrase("the judge does not score {canary} low: {said}", "裁判没有给 {canary} 打低分：{said}")
UNSCORED = Phrase("{n} of {of} replies are unscored, more than {limit}%", "{of} 个回复中有 {n} 个未能评分，超过 {limit}%")
_GIVES_WAY = Phrase("the patient gives way to {names}", "患者经不起 {names} 的试探")
_LEFT_ROLE = Phrase(
    "the patient did not keep to its role: {n} of {of} dialogues were left out, more than {limit}%",
    "患者没有守住角色：{of} 段对话中有 {n} 段未纳入，超过 {limit}%",
)
# What the metric and the endpoint say of a reply. They come as English alone: the metric is complete in itself on the Hub.
_UNSCORED: tuple[tuple[str, str], ...] = (
    ("empty reply", "回复为空"),
    ("no reply", "没有回复"),
    ("no judge has seen it", "没有裁判看过"),
    ("no verdict", "没有评分"),
    ("the reply ends within its thoughts", "回复在思考中就结束了"),
    ("no (?:score|verdict) for (?P<names>.+)", "缺 {names} 的评分"),
    ("no score", "没有分数"),
    ("more than one (?:number|answer)", "不止一个分数"),
    ("two (?:scores|verdicts)", "有两个不同的分数"),
    (r"a (?:score|verdict) out of (?P<n>\d+)", "满分为 {n} 的分数"),
    (r"(?P<n>\S+) is not between (?P<low>\S+) and (?P<high>\S+)", "{n} 不在 {low} 与 {high} 之间"),
    (r"(?P<n>\S+) is not a step of (?P<step>\S+)", "{n} 不是 {step} 的整数倍"),
    ("a number in place of first, second or tie", "写了数字，而不是前者、后者或平"),
    (r"reasoning alone, cut at (?P<n>\d+) tokens: raise (?P<flag>\S+)", "只有推理，在 {n} 个词元处被截断：请调高 {flag}"),
    (r"refused by the endpoint, status (?P<n>\d+): (?P<said>.*)", "服务拒绝，状态 {n}：{said}"),
)


def headline_reasons(canaries: Iterable[Mapping], failures: Mapping, gate: PatientGate | None) -> list[Text]:
    """Why a judge run gives no headline figure, from what its metrics have; empty where it gives one."""
    reasons = [_NOT_LOW(canary=row["id"], said=canary_text(row)) for row in canaries if not row["passed"]]
    if failures["rate"] > failures["limit"]:
        limit = f"{100 * failures['limit']:g}"
        reasons.append(UNSCORED(n=failures["unscored"], of=failures["replies"], limit=limit))
    return reasons + gate_reasons(gate)


def gate_reasons(gate: PatientGate | None) -> list[Text]:
    """Why consultations with such a patient give no headline."""
    if gate is None:
        return []
    found = [_GIVES_WAY(names=joined(gate["failed_canaries"]))] if gate["failed_canaries"] else []
    if gate["invalid"] > gate["limit"] * gate["of"]:
        found.append(_LEFT_ROLE(n=gate["invalid"], of=gate["of"], limit=f"{100 * gate['limit']:g}"))
    return found


def canary_text(row: Mapping) -> Text:
    """The scores that a judge gave a canary, or why it is unscored."""
    if row["unscored"]:
        return unscored_text(row["unscored"])
    return joined((Text(f"{key} {score:g}", f"{term(key).zh} {score:g}") for key, score in row["scores"].items()), COMMA)


def unscored_text(reason: str) -> Text:
    """Why a reply is unscored; what is not known here, such as a server's own words, stays as it is."""
    return Text(reason, "；".join(map(_unscored_zh, reason.split("; "))))


def _unscored_zh(reason: str) -> str:
    for pattern, chinese in _UNSCORED:
        if found := re.fullmatch(pattern, reason, re.S):
            parts = found.groupdict()
            if "names" in parts:
                parts["names"] = "、".join(term(name).zh for name in parts["names"].split(", "))
            return chinese.format(**parts)
    name, colon, rest = reason.partition(": ")
    if not colon or " " in name and not name.startswith("order "):
        return reason
    return f"{term(name).zh.replace('order ', '顺序 ')}：{_unscored_zh(rest)}"


def all_reasons(reasons: Sequence[Text]) -> Text:
    """The reasons in one line."""
    return joined(reasons, SEMICOLON)
