"""Finds the letters that a reply to a multiple-choice question chooses. What is unclear is not guessed: it is None.

README.md has the rules in Chinese and English with examples.
 1. Only what follows a closing </think> is read; Markdown, LaTeX, quotes and full-width forms become plain text first.
 2. A list is letters or whole option texts joined by 、 和 "and" commas, spaces or nothing. The longest option text counts.
    "A or B", a letter that the question does not have, and a letter beside another option's text make the list void.
 3. A letter inside a word or a term (B超, AB型, vitamin B) is no letter. A lower-case letter counts in a verdict, or alone.
 4. A verdict is a list after 答案是, 故选, 应选, "the answer is", \\boxed, "answer": and the like, or before 是正确答案.
 5. A negated, doubted, conditional or questioned verdict, or one that is said of others, is none.
 6. A first or last line that is nothing but a list is a verdict, unless the reply lists several options line by line.
 7. The last verdict counts. Where it is void or taken back ("等等", "wait"), the reply is unparsed.
 8. Without a verdict: option texts after 应选 and the like; else lists called correct, where nothing is called wrong;
    else option texts that end a sentence after 是, 为 or "is". Those of the first kind that is there must all agree.
"""

import re
from collections.abc import Iterator

from .named_letters import CLEAR, END, OR, Named, Reply, matched, named_at, reply_to

_EITHER = re.compile(
    r"\s*\)?\s*(?:这?[两二三几]者?个?)?(?:(?:当|其)?中的?(?:任|某|一|哪)|之间|之一|二选一"
    r"|[都均皆也亦]?(?:可以?|可选|行|有可能|有道理)(?!\w))"
)
_QUESTION = re.compile(r"[ ]?\)?(?:选项|项)?[ ]?(?:是?(?:正确|对)的?)?[ ]?(?:吗|么|\?)")
# Rule 5: what calls a list wrong; rule 8: what calls it right.
_SUBJECT = (
    r"[ ]?\)?[ ]?(?:选项|项|[二两三四五六][项个者])?[ ]?(?:的?(?:说法|描述|选项))?[ ]?"
    r"(?:(?:都|均|皆|全|也|并|才|最|更|显然|明显|肯定|可以|可|被|是|为|are|is|all|both|also|clearly|can be|could be)[ ]?)*"
)
_WRONG = re.compile(
    _SUBJECT + r"(?:不(?:正确|对|符|恰当|准确|合适|合理|成立|妥|行|可取|可能|选)|错|误|有误|排除|与题[意干](?:不符|矛盾)"
    r"|(?:incorrect|wrong|false|ruled out|excluded|isn't|aren't|can't|cannot"
    r"|not (?:the )?(?:correct|right|true|best|answer|appropriate|indicated|suitable))\b)",
    re.I,
)
_RIGHT = re.compile(
    _SUBJECT + r"(?:正确|对(?![应比照症于])|符合|成立|恰当|准确|合适"
    r"|(?:the )?(?:most |best )?(?:correct|right|true|appropriate|suitable)\b)",
    re.I,
)

# Rule 4: what a verdict's list follows, and what follows it.
_LINK = (
    r"[ ]?\)?\s*(?:(?:应该|应当|应|就|只能|显然|可能|大概|很可能|无疑|必然|肯定|当然|[更改][正改成]?(?=[为成选])"
    r"|我?选择|我?选(?!项)|仅)[ ]?)*"
    r"(?:是|为|成|选择|选(?!项)|即|有|包括|包含|如下|:|=|→|⇒|->|[-—]+|\s)*(?:\(\s*)?"
)
_EN_LINK = (
    r"\)?\s*(?:\(s\)\s*)?(?:(?:to|for) (?:this|the) question\s*)?(?:,? ?(?:therefore|thus),? )?"
    r"(?:(?:'s|is|are|was|would be|should be|must be|will be|has to be|seems to be)\b|:|=|→|->|[-—]+|\s)*"
    r"(?:(?:clearly|most likely|probably|likely|definitely|therefore|thus|indeed)\b,?\s*)?:?\s*(?:\(\s*)?"
)
_NOUN = re.compile(
    r"(?P<noun>答案(?:[与及和]解析)?|正解|结论(?=:)|^\s*答(?=:)|符合[^,。;\n]{0,12}的选项"
    r"|(?:正确|最佳|最合适|最恰当|最准确|最适当|最可能)的?选项)" + _LINK + r"|(?P<en>(?<![A-Za-z])answers?\b"
    r"|\b(?:choice|correct|response|selected option)(?=:)|\bmy (?:choice|pick)\b"
    r"|\b(?:correct|right|best|final|appropriate)\s+(?:options?|choices?|ones?)\b)" + _EN_LINK,
    re.I | re.M,
)
_OPEN = re.compile(
    r"[ ]?(?:无法|不能|难以|不确定|不明|未知|不唯一|存在争议|unclear|unknown|cannot|can't|not clear|depends)", re.I
)
_VERB = re.compile(
    r"(?P<urged>(?:应该|应当|应|宜|故|所以|因此|因而|我|我会|[本此该]题|这道题|只能|最终|最后|于是)[ ]?,?)?"
    r"选(?!项)(?:择|取|定|用)?(?:的?是|为|:)?\s*"
    r"|(?P<held>(?<![反对适效供响])应[该当]?|一定|肯定|觉得|认为|猜|而|故)(?:是|为)\s*"
    r"|\b(?:choose|chose|select|pick|go with|going with|opt for|chang(?:e|ing) (?:my|the) answer to|I'd say|I would say)\s+"
    r"|\bit(?:'s|'d be| is| must be)\s+|\bnot\b[^.;\n]{1,60}?\bbut\s+(?:rather\s+)?",
    re.I,
)
_THUS = re.compile(r"(?:综上所述|综上|因此|所以|故|\b(?:therefore|thus|hence|so)\b)[ ]?[,:]?[ ]?", re.I)
_MAYBE = re.compile(r"(?:[也亦又](?:有?可能|许|可以?)|不排除)[ ]?(?:是|为|选)?[ ]?|\b(?:could|might|may) (?:also )?be\s+", re.I)
_IS_ANSWER = re.compile(
    r"(?:[ ]?\)?(?:[二两三四五六][项个者])?[ ]?(?:(?:才|应该?|都|均|就|即)[ ]?)*(?:[是为]|作为)(?:[本此该]题|我)?的?"
    r"(?:唯一|最终)?的?(?:(?:(?:正确|最佳|标准|最合适)的?)?答案(?!之一)|(?:正确|最佳|最合适)的?选项)"
    r"|\s(?:is|are|would be) (?:the |an? )?(?:only )?"
    r"(?:(?:correct|right|best|most appropriate) (?:answers?|options?|choices?|ones?)|answers?)\b|\sit is\b)"
    r"(?![^.。;\n]*\b(?:if|unless)\b)",
    re.I,
)
_ONLY = re.compile(r"(?:只有|仅有?|唯有|\bonly)[ ]?$", re.I)

# Rule 5: what stands before a verdict that is none: right before it, in its clause, in its sentence.
_NOT = re.compile(
    r"(?:[不别勿未误错首备次候筛入可没非多单]|没有|不[能应会宜可要该得]|不应该|不(?:正确|恰当|合适)的?|错误的?"
    r"|或者?|[A-Z][ ,]*还是|or |wrong |incorrect |not |n't )\s?$",
    re.I,
)
_CLAUSE = re.compile(r"[,;:。!?\n]|\.(?!\d)|但|所以|因此|故|\b(?:so|but|therefore|thus|hence)\b", re.I)
_DOUBT = re.compile(
    r"无法|不能|不确定|不知|难以|是否|不清楚|没有理由|没有?必要|\b(?:whether|not|unsure|cannot|never|neither)\b|n't\b", re.I
)
_SENTENCE = re.compile(r"[。!?\n]|\.(?!\d)|但|不过|然而|本[题例]|其实|实际上|后来|\b(?:but|however)\b", re.I)
_SUPPOSED = re.compile(
    r"若(?!干)|如果|假如|假设|要是|倘若|有人|(?<![所没具只])有的|考生|同学(?!们)|误以为|最初|起初|一开始|原以为|乍看"
    r"|\b(?:if|suppose|unless|(?:some|many) (?:would|people|students|might|may|argue|say)"
    r"|at first|initially|first impression)\b",
    re.I,
)

# Rules 6 to 8.
_NEW_LINE = re.compile(r"\n[-\s]*$")
_NUMBER = re.compile(r"[-\s]*(?:第?\d+题?\s*[.、:)]\s*)?")
_ALONE = re.compile(r"[ ]?[).。、:,;!]*\s*$")
_HEAD = re.compile(
    r"[ ]?(?:[。!]|[.,:;]?[ ]?(?:因为|由于|因此|所以|理由|原因|解析|解释|分析|说明|because\b|since\b|explanation|reason|as\b))",
    re.I,
)
_TAKEN_BACK = re.compile(
    r"[。.!?;\n]\s*(?:等等|等一下|不对|不,|更正|我错了|重新(?:考虑|分析|审题)|(?:hmm,? ?)?wait\b|actually\b|no,)", re.I
)
_CALLED = re.compile(
    r"(?P<wrong>错误|不正确|不符合题意|不符合)?(?(wrong)|(?:正确|符合题[意干]))的(?:选项|说法|描述|一?项)?"
    r"(?:应该?)?(?:是|为|有|包括|:)\s*"
)
_COPULA = re.compile(r"(?:(?<![不否])[是为]|(?<=诊断):)\s*|\b(?:is|are)\s+(?:an?\s+|the\s+)?", re.I)
_SENTENCE_ENDS = re.compile(r"[ ]?(?:[。.!;\n]|$)")
_REFUSAL = re.compile(r"无法|抱歉|对不起|不能(?:判断|确定|提供|回答)|\b(?:sorry|cannot|can't|unable)\b", re.I)
_LETTER = re.compile(
    r"(?:(?<![\w°-])|(?<=选项)|(?<=只有)|(?<=因此)|(?<=所以)|(?<=认为)|(?<=答案)|(?<=[故题仅但则把将]))"
    r"\(?[ ]?(?:[Oo]ptions? |[Bb]oth )?(?=[A-Z](?![a-z]))"
)


def extract_choice(reply: str, options: dict[str, str]) -> str | None:
    """The chosen letters in order ("B", "ABD"), or None when the reply does not say clearly.

    Args:
        reply: what the model said.
        options: letter → text of this question; a text may be empty.

    >>> extract_choice("A对听力无影响，故选B。", {"A": "青霉素", "B": "链霉素"})
    'B'
    >>> extract_choice("The answer is streptomycin.", {"A": "Penicillin", "B": "Streptomycin"})
    'B'
    >>> extract_choice("缺乏维生素B", {"A": "青霉素", "B": "链霉素"}) is None
    True
    """
    r = reply_to(reply, options)
    verdicts, urged = _verdicts(r)
    if verdicts := verdicts + _lone_lines(r):
        last = max(verdicts, key=lambda named: named.end)
        labels = "" if _TAKEN_BACK.search(r.text, last.end) else last.labels
    else:
        said = urged or _called_right(r) or _said_to_be(r)
        labels = said[0].labels if len({frozenset(named.labels) for named in said}) == 1 else ""
    return "".join(sorted(labels)) or None


def _settled(r: Reply, at: int, texts: bool, closed: bool = False) -> Named | None:
    """The list at `at` as a verdict: void for one of several, None when it is asked or called wrong, or goes on as a word."""
    named = named_at(r, at, texts, lower=True, by_line=bool(_NEW_LINE.search(r.text[max(0, at - 20) : at])))
    if not named or _QUESTION.match(r.text, named.end):
        return None
    wrong = _WRONG.match(r.text, named.end)
    if OR.match(r.text, named.end) or (_EITHER.match(r.text, named.end) and not wrong):
        return Named("", named.end, lettered=named.lettered)
    return named.loose if wrong or not (END if closed else CLEAR).match(r.text, named.end) else named


def _denied(r: Reply, start: int) -> bool:
    before = r.text[max(0, start - 200) : start]
    clause, sentence = _CLAUSE.split(before)[-1], _SENTENCE.split(before)[-1]
    return bool(_NOT.search(before) or _DOUBT.search(clause) or _SUPPOSED.search(sentence))


def _verdicts(r: Reply) -> tuple[list[Named], list[Named]]:
    """The verdicts (rule 4), and the option texts that are only urged (first part of rule 8)."""
    verdicts: list[Named | None] = []
    urged: list[Named | None] = []
    for match in _NOUN.finditer(r.text):
        if _OPEN.match(r.text, match.end()):
            verdicts.append(Named("", match.end()))
        elif not _denied(r, match.start()):
            bare = match[0].strip() == (match["noun"] or match["en"])
            verdicts.append(_settled(r, match.end(), texts=True, closed=bare))
    for match in _VERB.finditer(r.text):
        if not _denied(r, match.start()):
            named = _settled(r, match.end(), texts=bool(match["urged"] or match["held"]))
            (verdicts if named and named.lettered else urged).append(named)
    for match in _THUS.finditer(r.text):
        verdicts.append(None if _denied(r, match.start()) else _settled(r, match.end(), texts=False, closed=True))
    for match in _MAYBE.finditer(r.text):
        named = _settled(r, match.end(), texts=False)
        verdicts.append(named and Named("", named.end))
    for start, letters in _letter_lists(r):
        only = _ONLY.search(r.text[max(0, start - 8) : start]) and _RIGHT.match(r.text, letters.end)
        if (only or _IS_ANSWER.match(r.text, letters.end)) and not _denied(r, start):
            verdicts.append(letters)
    return [named for named in verdicts if named], [named for named in urged if named]


def _letter_lists(r: Reply) -> Iterator[tuple[int, Named]]:
    """The start and the list of all letters in the reply that are not inside a word."""
    match = _LETTER.search(r.text)
    while match:
        named = named_at(r, match.start())
        if named and named.labels:
            yield match.start(), named
        match = _LETTER.search(r.text, max(named.end if named else 0, match.end() + 1))


def _lone_lines(r: Reply) -> list[Named]:
    """The verdicts of rule 6."""
    lines = list(re.finditer(r"[^\n]*\S[^\n]*", r.text))
    alone = {}
    for number, line in enumerate(lines):
        named = named_at(r, matched(_NUMBER, r.text, line.start()).end(), texts=True, lower=len(lines) == 1)
        if not named or not named.labels or (named.worded and (set(named.labels) == r.labels or named.spaced)):
            continue
        if _ALONE.match(r.text, named.end, line.end()) or (number == 0 and _HEAD.match(r.text, named.end)):
            alone[number] = named
    if len({frozenset(named.labels) for named in alone.values()}) > 1:
        return []
    return [named for number, named in alone.items() if number in (0, len(lines) - 1)]


def _called_right(r: Reply) -> list[Named]:
    """The lists that are called correct; a void one besides where something is called wrong."""
    called = []
    for start, letters in _letter_lists(r):
        if _WRONG.match(r.text, letters.end):
            called.append(Named("", letters.end))
        elif _RIGHT.match(r.text, letters.end) and not _denied(r, start):
            called.append(letters)
    for match in _CALLED.finditer(r.text):
        named = _settled(r, match.end(), texts=True)
        if named:
            called.append(Named("", named.end) if match["wrong"] else named)
    return called


def _said_to_be(r: Reply) -> list[Named]:
    """The option texts that end a sentence after "is"; none in a reply that refuses."""
    if _REFUSAL.search(r.text):
        return []
    found = []
    for match in _COPULA.finditer(r.text):
        named = named_at(r, match.end(), texts=True)
        if named and named.worded and _SENTENCE_ENDS.match(r.text, named.end) and not _denied(r, match.start()):
            found.append(named)
    return found
