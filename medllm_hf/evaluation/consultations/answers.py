"""What a patient's words tell of the facts of its case: rules over words, no model is asked.

A fact is told when the patient's words give the value that the case holds: a symptom that it has, the want of one that it has
not, a number where it holds a number. The opposite contradicts it and tells nothing; who does not know tells nothing.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from medllm_hf.evaluation.consultations.fact_words import CLAUSE, Known, sentences_in
from medllm_hf.evaluation.consultations.questions import Question

_UNKNOWN = re.compile(
    r"不(?:太|大|是很|怎么)?(?:清楚|知道|记得|了解|确定)(?!.{0,3}(?:为什么|怎么|咋|什么原因|是什么|啥))"
    r"|没有?(?:太|怎么|特意|特别)?(?:注意|留意|留心|(?:量|测|查(?!出)|检查(?!出)|化验|做(?!过?.{0,6}(?:手术|治疗|[放化]疗|透析)))过?)"
    r"|忘了|忘记|记不(?:清|得|住)|说不(?:清|上|准)"
    r"|\b(?:don't|do not|didn't|did not|not|never|haven't) (?:really |exactly )?"
    r"(?:know|sure|notice|noticed|remember|measured?|checked|tested)\b"
    r"|\bno idea\b"
)
# From here on a patient's clause asks, fears or supposes, and tells nothing.
_WONDERS = re.compile(
    r"会不会|是不是|是否|要不要|用不用|需不需要|能不能|可不可以|应不应该|有没有|(?![时动])([\u4e00-\u9fff])[不没]\1"
    r"|如果|要是|假如|万一|担心|害怕|生怕|怕会|怕是|以免|\b(?:if|in case|afraid|worried)\b"
)
# The same in a clause that ends as a question.
_WONDERS_IF = re.compile(
    r"会|需要|可以|能|应该|要|是|\b(?:is|are|am|do|does|could|should|can|will|would|might)\b",
)
_BARE = re.compile(
    r"(?:嗯|哦|啊|对|好的?|医生|大夫|都|也|还|就|暂时|目前|现在|应该|好像|确实|真的|倒是?|这些|这个|这种|我|从来?|一直)*"
    r"(?:没有?得?|无|有|有点儿?|是|不是|不对|不会|会|不|嗯|对|偶尔会?有?|经常有?|一直都?有){1,3}"
    r"(?:啊|的|了|呢|吧|过|哦|这些|这种|这个|情况|症状|出现|发现|问题)*|(?:no|yes|yeah|yep|nope|not really)"
)
_ALL = re.compile(r"都|全|none|neither|all of|both")
# The end of a list of what is not so.
_NONE_OF_THEM = re.compile(r"(?:这些|那些|以上|上述|这几样|我|也|倒|症状)*(?:都|全|均)(?:没有?|不|无)(?:过|的|啊|呢|了)*\W*")


class Answer(NamedTuple):
    """The ids of the facts that a patient's words tell, and of those of which they say the opposite."""

    told: list[str]
    contradicted: list[str]


Bare = Literal["exists", "agrees", "none", "differs"]


def answer(text: str, facts: Sequence[Known], asked: Sequence[Question]) -> Answer:
    """What a patient's words say of the facts, after the questions `asked` of the doctor's last turn.

    A fact of which one clause says what the case holds is told, whatever another clause says of it ("现在不痛，之前痛").
    """
    wanted = {name for question in asked for name in question.asks}
    bare: dict[str, bool] = {}
    found: dict[str, set[bool]] = {}
    for sentence in sentences_in(text):
        sentence = _joined(sentence)
        unclear = bool(_UNKNOWN.search(sentence))
        for fact in facts if not unclear else ():
            for name in fact.words.named_together(_stated(sentence)):
                found.setdefault(fact.id, set()).update(name.agreements(_stated(sentence)))
        # A number is told where its name stands in the sentence, or was asked for.
        spoken_of = wanted | {fact.id for fact in facts if fact.words.numbers and fact.words.named(sentence)}
        for clause in CLAUSE.findall(sentence):
            if unclear and _UNKNOWN.search(clause):
                continue
            if answered := _bare(clause):
                bare |= _answered(answered, bool(_ALL.search(clause)), asked)
            elif stated := _stated(clause):
                for fact in facts:
                    if (agrees := _agreement(stated, fact, wanted, spoken_of)) is not None:
                        found.setdefault(fact.id, set()).add(agrees)
    said = {**bare, **{name: True in both for name, both in found.items() if both}}
    order = [fact.id for fact in facts if fact.id in said]
    return Answer([name for name in order if said[name]], [name for name in order if not said[name]])


def _joined(sentence: str) -> str:
    """A sentence whose lists stand in one clause: "没有发烧，咳嗽这些", "发烧，咳嗽，都没有"."""
    sentence = re.sub(r",(?=[^,]{1,8}(?:这些|这类|之类|等等|等症状|什么的|等情况))", " ", sentence)
    clauses = CLAUSE.findall(sentence)
    for last in range(1, len(clauses)):
        if _NONE_OF_THEM.fullmatch(clauses[last]):
            first = last
            while first and re.fullmatch(r"[^没不无有了]{1,8},", clauses[first - 1]):
                first -= 1
                clauses[first] = clauses[first][:-1] + " "
    return "".join(clauses)


def _bare(clause: str) -> Bare | None:
    """What an answer that names nothing says; None where the clause is none."""
    words = clause.strip(" ,.!?") if clause.isascii() else re.sub(r"\W", "", clause)
    if not _BARE.fullmatch(words):
        return None
    if re.search("没|无|no", words) or (re.search("不", words) and not re.search("不[是对]", words)):
        return "none"
    if re.search("不[是对]", words):
        return "differs"
    return "exists" if re.search("有|偶尔|经常", words) else "agrees"


def _answered(said: Bare, every: bool, asked: Sequence[Question]) -> dict[str, bool]:
    """What a bare answer says of the facts: of those of the last question, or of `every` one that was asked for."""
    replied = [question for question in asked if question.asks]
    found: dict[str, bool] = {}
    for question in replied if every else replied[-1:]:
        denied = said == "none" or (said == "agrees" and question.denies)
        if (said == "differs" and question.denies) or (not denied and not question.single and not every):
            continue
        affirmed = not denied and said != "differs"
        found |= {name: holds == affirmed for name, holds in question.holds.items()}
    return found


def _stated(clause: str) -> str:
    """What a clause of the patient says as true: all, or what stands before its question, or nothing."""
    if wonders := _WONDERS.search(clause) or (re.search(r"[吗嘛?]\W*$", clause) and _WONDERS_IF.search(clause)) or None:
        return clause[: wonders.start()]
    return "" if re.search(r"[吗嘛]\W*$", clause) else clause


def _agreement(clause: str, fact: Known, wanted: set[str], spoken_of: set[str]) -> bool | None:
    """Whether a clause says what the case holds of a fact, or the opposite; None where it says neither."""
    words = fact.words
    if (numbered := words.numbered(clause)) is not None:
        return True if numbered and (words.lengths or fact.id in spoken_of) else None
    found = words.agreement(clause)
    return words.answered(clause) if found is None and fact.id in wanted and not words.named(clause) else found
