"""Whether a doctor's words ask for a fact: rules over words, no model is asked.

They read sentence by sentence and clause by clause: "没有发烧吗" asks for the fever, and "如果发烧，请及时就医" asks nothing.
What they cannot see is a fact in words that stand in none of its aliases.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medllm_hf.evaluation.consultations.fact_words import CLAUSE, HOW_LONG, FactWords, Known, one_form, sentences_in

# A clause of at most so many letters after a question goes on with its list: "有没有发烧，咳嗽，流涕？"
_LISTED = 6
_MARKED = re.compile(r"\?\W*$|[吗嘛]\W*$|(?<![什怎那这])么\W*$|呢\W*$")
_ASKING = re.compile(
    r"有没有|有无|是不是|会不会|能不能|多久|多长时间|多大|多高|多少|几(?:[天周年月次岁]|个(?:小时|月|星期|礼拜))了?(?=[\W吗呢]|$)|什么时候|何时|哪[里儿些个种天]|怎么样"
    r"|什么样|什么(?:症状|感觉|颜色|部位|时间|情况|病史?|药)|还?有(?:什么|哪些)|请.{0,6}(?:告诉(?!你?的?(?:医生|医师|医护|大夫))|描述|说明(?!书)|说(?!明)|讲|提供|补充)"
    r"|我们?还?(?:想|需要|先|得)要?再?(?:了解|问|确认)|(?:你|请问?|孩子|宝宝|病人|患者)[^,]{0,10}是否(?:有|伴|出现|存在|曾|做|吃|用|感|服)|^[\W\d]*(?:此外|另外)?,?是否(?:有|伴|出现|曾|做|吃|用|感|服)|(?P<verb>[\u4e00-\u9fff])[不没](?P=verb)"
    r"|\bplease (?:tell|describe)|\b(?:do|did|have|are|were|has|is) you\b|\bhow (?:long|often|high|many|old)\b"
)
# A sentence that asks by none but these words is an advice with an "if" or an aim in it.
_ADVISING = re.compile(
    r"建议|如果|要是|若|一旦|假如|倘若|观察|检查|排除|明确|确定|帮助|扫描|评估|判断|注意|取决于|根据|随时|选择|结合|检测|监测|\bif\b|\brecommend|\badvise|\bshould\b"
)
# Questions that name nothing, and such as do so even if they name something too: "描述疼痛的性质，是否有其他症状".
_OPEN = re.compile(
    r"(?:什么|哪些).{0,4}(?:症状|不适|不舒服|情况|感觉|表现|问题)|哪[里儿]?不(?:舒服|适)|怎么(?:了|不舒服|不好)"
    r"|(?:描述|说|讲|介绍|谈)(?:一?下|说|讲)?.{0,8}(?:症状|病情|情况|不适|不舒服)|有什么.{0,6}帮|(?:还|另外)有(?:什么|别的|其他)?(?:吗|要补充)"
    r"|\bwhat(?:'s| is| are| brings| seems).{0,30}(?:wrong|symptom|problem|you in|matter)|\bhow (?:can|may) i help"
)
_OPEN_TOO = re.compile(
    r"(?:其他|其它|别的|还有什么|还有哪些).{0,4}(?:症状|不适|不舒服|情况|感觉|表现|问题)|\banything else|\b(?:any|what) other"
)
# "除了咳嗽，还有什么症状" does not ask for the cough.
_BESIDES = re.compile(r"除了?[^,?。]{1,16}?(?:以外|之外|外)?,|\b(?:besides|apart from|other than) [^,?.]{1,40},")
# "发烧，咳嗽，这些症状有吗" asks for what stands before.
_POINTS_BACK = re.compile(
    r"这些|那些|以上|上述|都有|有[吗么]|有没有\W*$|,(?:你说)?(?:是|对|没错|这样)(?:的)?(?:吗|吧|不[是对])\W*$"
)
# A question that is answered by yes or no, and one that is not, whatever else stands in it.
_POLAR = re.compile(r"[吗嘛吧]\W*$|有没有|有无|是不是|是否|会不会|([\u4e00-\u9fff])[不没]\1|\b(?:do|did|have|has|are|is|any)\b")
_WANTS_WORDS = re.compile(r"多少|多[大高久长]|什么|怎么?样|怎么|哪|几|\b(?:how|what|when|where|which|why)\b")
# What a question may have beside what it asks for, longest first.
_EMPTY = re.compile(
    r"有没有|是不是|会不会|有无|是否|有过|没有|什么|请问|现在|目前|最近|近期|平时|这几天|出现|感到|感觉|觉得|症状|情况|现象|或者|以及|另外"
    r"|首先|此外|同时|一下|告诉我|伴有|伴随|这些|其他|医生|好的|那么|曾经|以前|有|吗|么|呢|你|还|也|会|的|了|和|或|及|与|过|是|那|再|请|等|没|在|到|啊|呀"
    r"|\b(?:do|did|have|has|had|are|is|you|your|any|the|a|an|or|and|ever|also|please|tell|me|been|having|with|feel|feeling|there)\b"
    r"|[\W\d_]+"
)


@dataclass(frozen=True)
class Question:
    """A question of the doctor: the ids of the facts it asks for, whether it names nothing, and what it asks of them.

    `holds` has, of a question that yes or no answers, whether what it names of each fact is what the case holds. `denies`:
    it is put in the negative, "没有发烧吧"; `single`: it names one thing.
    """

    asks: tuple[str, ...]
    is_open: bool
    rest: str
    holds: Mapping[str, bool]
    denies: bool = False
    single: bool = True

    @property
    def keys(self) -> set[tuple[str, str]]:
        """Questions of the same keys ask the same."""
        if self.asks:
            return {(fact, self.rest) for fact in self.asks}
        return {("", self.rest)} if len(self.rest) > 1 else set()


def _is_question(text: str) -> bool:
    if re.search(r"\?\W*$", text):
        return True
    return bool(_MARKED.search(text) or _ASKING.search(text)) and not _ADVISING.search(text)


def read_questions(text: str, facts: Sequence[Known]) -> list[Question]:
    """The questions in what a doctor says, and which of the facts each asks for."""
    return [_question(sentence, facts) for sentence in sentences_in(text) if _is_question(sentence)]


def _question(sentence: str, facts: Sequence[Known]) -> Question:
    said = _BESIDES.sub("", sentence)
    found: dict[str, Known] = {}
    before: dict[str, Known] = {}
    inside = False
    for clause in CLAUSE.findall(said):
        if _is_question(clause) or (inside and len(re.sub(r"\W", "", clause)) <= _LISTED):
            inside = True
            found |= {fact.id: fact for fact in _asked_for(clause, facts, list(before.values()))}
        before |= {fact.id: fact for fact in facts if fact.words.named(clause)}
    found |= {fact.id: fact for fact in facts if fact.words.kind != "duration" and fact.words.named_together(said)}
    if not found and _POINTS_BACK.search(said):
        found = {fact.id: fact for fact in _asked_for(said, facts, [])}
    rest = said
    for fact in found.values():
        for word in (word for name in fact.words.names for word in name.patterns):
            rest = word.sub("", rest)
        rest = fact.words.short.sub("", rest) if fact.words.short else rest
    rest = "多久" if HOW_LONG.search(rest) else _EMPTY.sub("", rest)
    is_open = bool(_OPEN_TOO.search(sentence) or (not found and _OPEN.search(sentence)))
    return Question(tuple(found), is_open, rest, *_named_in(said, list(found.values())))


def _named_in(said: str, asked: Sequence[Known]) -> tuple[dict[str, bool], bool, bool]:
    """What `holds`, `denies` and `single` of a question are."""
    if _WANTS_WORDS.search(said) and not _POLAR.search(said):
        return {}, False, True
    # "发烧没有？" is no question in the negative.
    plainly = re.sub(r"(?:没有?|不)\W*$", "", said)
    holds, denies, places = {}, False, []
    for fact in asked:
        if (numbered := fact.words.numbered(plainly)) is not None:
            if numbered:
                holds[fact.id] = True
            continue
        found = [how for name in fact.words.names for how in name.agreements(plainly)]
        denies = denies or (bool(found) and fact.words.denied == found[0])
        holds[fact.id] = not fact.words.denied
        places.append(_places(plainly, fact.words))
    single = all(one & places[0] for one in places)
    return holds, denies, single


def _places(text: str, words: FactWords) -> set[int]:
    """The places in a text that name a fact."""
    found = [place for name in words.names for word in name.patterns if (place := word.search(text))]
    found += [place for place in [words.short and words.short.search(text)] if place]
    return {sign for place in found for sign in range(*place.span())}


def _asked_for(part: str, facts: Sequence[Known], before: Sequence[Known]) -> list[Known]:
    """The facts that a part of a question asks for; `before` are those that its earlier parts name."""
    named = [fact for fact in facts if fact.words.named(part) or (fact.words.short and fact.words.short.search(part))]
    if not HOW_LONG.search(part):
        return [fact for fact in facts if (fact.words.numbered(part) if fact.words.lengths else fact in named)]
    lasting = [fact for fact in facts if fact.words.kind == "duration"]
    if own := [fact for fact in named if fact.words.kind == "duration"]:
        return own
    # "咳嗽多久了" asks for "咳嗽5年", not for "反酸30年".
    if about := named or before:
        return [fact for fact in lasting if any(one.words.named(one_form(fact.words.text)) for one in about)]
    return lasting
