"""Whether a doctor's words ask for a fact, and whether a patient's words tell it: rules over words, no model is asked.

They read sentence by sentence and clause by clause: "没有发烧吗" asks for the fever, "不发烧" tells it, "体温没量过" tells
nothing, and "如果发烧，请及时就医" asks nothing. What they cannot see is a fact in words that stand in none of its aliases.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from medllm_hf.evaluation.consultations.numerals import lengths_in, numbers_in, plain

# The words of a case count as an alias up to so many letters; longer ones nobody repeats.
ALIAS_LETTERS = 8
# A clause of at most so many letters after a question goes on with its list: "有没有发烧，咳嗽，流涕？"
_LISTED = 6

_SENTENCE = re.compile(r"[^。!?;\n]+[。!?;]?")
_CLAUSE = re.compile(r"[^,]+,?")
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
_HOW_LONG = re.compile(
    r"多久|多长时间|几个?(?:小时|钟头|天|日|周|星期|礼拜|月|年)|(?:什么时候|何时|哪天|从哪年).{0,4}(?:开始|起|出现|发生|有)|持续时间|病程"
    r"|\bhow (?:long|many (?:hours|days|weeks|months|years))\b|\bsince when\b|\bwhen did\b"
)
# "除了咳嗽，还有什么症状" does not ask for the cough.
_BESIDES = re.compile(r"除了?[^,?。]{1,16}?(?:以外|之外|外)?,|\b(?:besides|apart from|other than) [^,?.]{1,40},")
# "发烧，咳嗽，这些症状有吗" asks for what stands before.
_POINTS_BACK = re.compile(r"这些|那些|以上|上述|都有|有[吗么]|有没有\W*$")
_UNKNOWN = re.compile(
    r"不(?:太|大|是很|怎么)?(?:清楚|知道|记得|了解|确定)(?!.{0,3}(?:为什么|怎么|咋|什么原因|是什么|啥))"
    r"|没有?(?:太|怎么|特意|特别)?(?:注意|留意|留心|(?:量|测|查(?!出)|做|检查(?!出)|化验)过?)|忘了|忘记|记不(?:清|得|住)|说不(?:清|上|准)"
    r"|\b(?:don't|do not|didn't|did not|not|never|haven't) (?:really |exactly )?"
    r"(?:know|sure|notice|noticed|remember|measured?|checked|tested)\b"
    r"|\bno idea\b"
)
# From here on a patient's clause asks and tells nothing.
_WONDERS = re.compile(
    r"会不会|是不是|是否|要不要|用不用|需不需要|能不能|可不可以|应不应该|有没有",
)
# The same in a clause that ends as a question.
_WONDERS_IF = re.compile(
    r"会|需要|可以|能|应该|要|是|\b(?:is|are|am|do|does|could|should|can|will|would|might)\b",
)
_BARE = re.compile(
    r"(?:嗯|哦|啊|对|好的?|医生|大夫|都|也|还|就|暂时|目前|现在|应该|好像|确实|真的|倒是?|这些|这个|这种|我)*"
    r"(?:没有?|无|有|有点儿?|是|不是|不会|会|不|嗯|对|偶尔会?有?|经常有?|一直都?有)"
    r"(?:啊|的|了|呢|吧|过|哦|这些|这种|这个|情况|症状|出现|发现|问题)*|(?:no|yes|yeah|yep|nope|not really)"
)
_ALL = re.compile(r"都|全|none|neither|all of|both")
# Between the last letter of a word and the rest: 头有点痛, 发过烧, 肚子不怎么痛.
_FILLING = "[不没有很点些儿也还在总是过了得一直会特别非常怎么太经常偶尔都又老]{0,4}"
# What stands for a whole word where it is asked for or answered: 烧不烧, 还咳吗, 不痛.
_VERBS = frozenset("烧热咳喘痛痒晕吐泻拉胀麻肿闷慌")
# What a question may have beside what it asks for, longest first.
_EMPTY = re.compile(
    r"有没有|是不是|会不会|有无|是否|有过|没有|什么|请问|现在|目前|最近|近期|平时|这几天|出现|感到|感觉|觉得|症状|情况|现象|或者|以及|另外"
    r"|首先|此外|同时|一下|告诉我|伴有|伴随|这些|其他|医生|好的|那么|曾经|以前|有|吗|么|呢|你|还|也|会|的|了|和|或|及|与|过|是|那|再|请|等|没|在|到|啊|呀"
    r"|\b(?:do|did|have|has|had|are|is|you|your|any|the|a|an|or|and|ever|also|please|tell|me|been|having|with|feel|feeling|there)\b"
    r"|[\W\d_]+"
)


class Known(Protocol):
    """A fact that the patient knows."""

    @property
    def id(self) -> str: ...
    @property
    def words(self) -> "FactWords": ...


@dataclass(frozen=True)
class FactWords:
    """A fact as the rules read it."""

    kind: str
    text: str
    aliases: tuple[str, ...]

    @cached_property
    def patterns(self) -> list[list[re.Pattern]]:
        """The ways to name it, each of one word or of several that must stand together; those that ask how long are none."""
        short = len(re.sub(r"[\W_]", "", self.text)) <= ALIAS_LETTERS
        names = dict.fromkeys([*self.aliases, *([self.text] if short else [])])
        words = [one_form(name).split() for name in names]
        kept = [[word for word in several if not _HOW_LONG.fullmatch(word)] for several in words]
        return [[_pattern(word) for word in several] for several in kept if several]

    @cached_property
    def short(self) -> re.Pattern | None:
        """Its verb as it is asked for or answered alone (还烧吗, 烧不烧, 不烧了); None where it has none."""
        aliases = map(one_form, self.aliases)
        verbs = "".join(sorted({sign for alias in aliases if len(alias) <= 4 for sign in alias} & _VERBS))
        if not verbs:
            return None
        alone = rf"(?<![\u4e00-\u9fff])[还也就现在都有点没不再]{{0,4}}[{verbs}](?:[过了着没]|得厉害|(?![\u4e00-\u9fff]))"
        return re.compile(rf"{alone}|(?P<verb>[{verbs}])[不没](?P=verb)|(?<![\u4e00-\u9fff])[还也现在]{{0,3}}[{verbs}][吗么]")

    @cached_property
    def echo(self) -> re.Pattern:
        """An answer of nothing but the first sign of one of its aliases: 抽, 不抽."""
        signs = "".join(sorted({alias[0] for alias in self.aliases if len(alias) > 1 and not alias.isascii()})) or "\0"
        return re.compile(rf"[不没有也都还]{{0,3}}[{re.escape(signs)}][过了的啊呢]{{0,2}}")

    @cached_property
    def lengths(self) -> set[float]:
        """The lengths of time in its text, in hours."""
        return lengths_in(self.text) if self.kind == "duration" else set()

    @cached_property
    def numbers(self) -> set[float]:
        """The numbers in its text, if it is a value."""
        return numbers_in(self.text) if self.kind == "value" else set()

    def named(self, text: str) -> bool:
        """Whether `text`, in one form, has one of its names."""
        return any(all(word.search(text) for word in several) for several in self.patterns)

    def named_together(self, sentence: str) -> bool:
        """Whether a whole sentence, in one form, has one of its names of several words."""
        return any(len(several) > 1 and all(word.search(sentence) for word in several) for several in self.patterns)


@dataclass(frozen=True)
class Question:
    """A question of the doctor: the ids of the facts it asks for, whether it names nothing, and what it asks of them."""

    asks: tuple[str, ...]
    is_open: bool
    rest: str

    @property
    def keys(self) -> set[tuple[str, str]]:
        """Questions of the same keys ask the same."""
        if self.asks:
            return {(fact, self.rest) for fact in self.asks}
        return {("", self.rest)} if len(self.rest) > 1 else set()


def one_form(text: str) -> str:
    """`text` in one form of its letters and of some words: 疼 is 痛, 您 is 你."""
    return plain(text).replace("疼", "痛").replace("痛痛", "痛").replace("您", "你").replace("、", " ")


def _pattern(word: str) -> re.Pattern:
    if word.isascii():
        return re.compile(rf"\b{re.escape(word)}(?:e?s|ish)?\b")
    # A question for 高血压 is none for the 血压.
    begins = "(?<![高低])" if word.startswith("血") else ""
    if 2 <= len(word) <= ALIAS_LETTERS and re.fullmatch("[\u3400-\u9fff]+", word):
        return re.compile(f"{begins}{word[:-1]}{_FILLING}{word[-1]}")
    return re.compile(begins + re.escape(word))


def _is_question(text: str) -> bool:
    if re.search(r"\?\W*$", text):
        return True
    return bool(_MARKED.search(text) or _ASKING.search(text)) and not _ADVISING.search(text)


def read_questions(text: str, facts: Sequence[Known]) -> list[Question]:
    """The questions in what a doctor says, and which of the facts each asks for."""
    sentences = _SENTENCE.findall(re.sub(r"\. ", "。", one_form(text)))
    return [_question(sentence, facts) for sentence in sentences if _is_question(sentence)]


def _question(sentence: str, facts: Sequence[Known]) -> Question:
    said = _BESIDES.sub("", sentence)
    found: dict[str, Known] = {}
    before: dict[str, Known] = {}
    inside = False
    for clause in _CLAUSE.findall(said):
        if _is_question(clause) or (inside and len(re.sub(r"\W", "", clause)) <= _LISTED):
            inside = True
            found |= {fact.id: fact for fact in _asked_for(clause, facts, list(before.values()))}
        before |= {fact.id: fact for fact in facts if fact.words.named(clause)}
    found |= {fact.id: fact for fact in facts if fact.words.kind != "duration" and fact.words.named_together(said)}
    if not found and _POINTS_BACK.search(said):
        found = {fact.id: fact for fact in _asked_for(said, facts, [])}
    rest = said
    for fact in found.values():
        for word in (word for several in fact.words.patterns for word in several):
            rest = word.sub("", rest)
        rest = fact.words.short.sub("", rest) if fact.words.short else rest
    rest = "多久" if _HOW_LONG.search(rest) else _EMPTY.sub("", rest)
    is_open = bool(_OPEN_TOO.search(sentence) or (not found and _OPEN.search(sentence)))
    return Question(tuple(found), is_open, rest)


def _asked_for(part: str, facts: Sequence[Known], before: Sequence[Known]) -> list[Known]:
    """The facts that a part of a question asks for; `before` are those that its earlier parts name."""
    named = [fact for fact in facts if fact.words.named(part) or (fact.words.short and fact.words.short.search(part))]
    if not _HOW_LONG.search(part):
        return [fact for fact in named if fact.words.kind != "duration"]
    lasting = [fact for fact in facts if fact.words.kind == "duration"]
    if own := [fact for fact in named if fact.words.kind == "duration"]:
        return own
    # "咳嗽多久了" asks for "咳嗽5年", not for "反酸30年".
    if about := named or before:
        return [fact for fact in lasting if any(one.words.named(one_form(fact.words.text)) for one in about)]
    return lasting


def told(text: str, facts: Sequence[Known], asked: Sequence[Question]) -> list[str]:
    """The ids of the facts that a patient's words tell, after the questions `asked` of the doctor's last turn."""
    replied = [question for question in asked if question.asks]
    wanted = {name for question in replied for name in question.asks}
    # A bare "没有" tells what the last question asks for, "都没有" all that was asked.
    every = [fact.id for fact in facts if fact.id in wanted and fact.words.kind != "duration"]
    last = [name for name in every if name in replied[-1].asks] if replied else []
    found: dict[str, None] = {}
    for sentence in _SENTENCE.findall(re.sub(r"\. ", "。", one_form(text))):
        unclear = bool(_UNKNOWN.search(sentence))
        found |= {fact.id: None for fact in facts if not unclear and fact.words.named_together(_stated(sentence))}
        # A number is told where its name stands in the sentence, or was asked for.
        spoken_of = wanted | {fact.id for fact in facts if fact.words.numbers and fact.words.named(sentence)}
        for clause in _CLAUSE.findall(sentence):
            if unclear and _UNKNOWN.search(clause):
                continue
            if replied and _BARE.fullmatch(re.sub(r"\W", "", clause) if not clause.isascii() else clause.strip(" ,.!?")):
                found |= dict.fromkeys(every if _ALL.search(clause) else last)
            elif stated := _stated(clause):
                found |= {fact.id: None for fact in facts if _tells(stated, fact, wanted, spoken_of)}
    return list(found)


def _stated(clause: str) -> str:
    """What a clause of the patient says as true: all, or what stands before its question, or nothing."""
    if wonders := _WONDERS.search(clause) or (re.search(r"[吗嘛?]\W*$", clause) and _WONDERS_IF.search(clause)) or None:
        return clause[: wonders.start()]
    return "" if re.search(r"[吗嘛]\W*$", clause) else clause


def _tells(clause: str, fact: Known, wanted: set[str], spoken_of: set[str]) -> bool:
    words = fact.words
    if words.lengths:
        return bool(words.lengths & lengths_in(clause))
    if words.numbers and (numbers := numbers_in(clause)):
        return bool(words.numbers & numbers) and fact.id in spoken_of
    if words.named(clause):
        return True
    if fact.id not in wanted:
        return False
    return bool((words.short and words.short.search(clause)) or words.echo.fullmatch(re.sub(r"\W", "", clause)))
