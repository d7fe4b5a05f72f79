"""What a reply says of the options, clause by clause: statements in which somebody is named, and affirmed or denied by a verb.

    statement   → noun link NAMES            答案是B · the answer is B            chosen
                | verb NAMES                 故选B · I choose B                   chosen, of option texts alone: urged
                | "therefore" NAMES end      所以B。                              chosen
                | NAMES "the answer"         B是正确答案 · 选择B作为答案            chosen
                | ALL "chosen"               五项全选                             chosen
                | NAMES judgement            B正确 · B（√） · B is less likely      right, wrong
                | "the right one is" NAMES   正确的是B · 错误的叙述是C              right, wrong: firm
                | "only" NAMES judgement     只有B正确 · 只有C是不对的              right, wrong: firm
                | "all in all" NAMES judgement, or NAMES "the most likely"         right, wrong: firm
                | "the best … is" LETTERS         the closest option is (B)      best: firm
                | "therefore … is" LETTERS, or "is" LETTERS at the end of the reply   best: firm
                | "except" NAMES "the rest" judgement                              right, wrong: firm
                | NAMES "what is asked for"  B符合题意 · B与题意不符 · 排除B       fit, unfit
                | "what is left is" LETTER   排除A、B、C，只剩D · only D remains   best: firm
                | TEXT "the first choice"    青霉素是首选 · 首选青霉素             urged
                | ALL judgement              以上说法均正确                        right, wrong: firm, where several are wanted
                | "perhaps" NAMES            也可能是B                            chosen: void
    NAMES       → who is named at a place, by letter or text (named_letters.py)

A statement that is denied, doubted, supposed, asked or said of others is none (rule 5 of extraction.py).
"""

import re
from collections.abc import Iterator

from .denials import SENTENCE, is_denied
from .judgements import read_judgements
from .languages import after_foreign
from .named_letters import OR, Reply, named_at, places
from .statements import REPLY_ENDS, THUS, Statement, is_called_wrong, is_listing, names_all, said, settled
from .stems import Stem

# What a verdict's names follow.
_LINK = (
    r"[ ]?\)?\s?(?:的?(?:序号|字母|代号|编号|选项))?\s?"
    r"(?:(?:应该|应当|应|就|只能|显然|可能|大概|很可能|无疑|必然|肯定|当然|[更改][正改成]?(?=[为成选])"
    r"|我?选择|我?选(?!项)|仅)[ ]?)*"
    r"(?:是|为|成|选择|选(?!项)|即|有|包括|包含|如下|:|=|→|⇒|->|[-—]+|\s)*(?:\(\s?)?"
)
_EN_LINK = (
    r"\)?\s?(?:\(s\)\s?)?(?:(?:to|for) (?:this|the) question\s?)?(?:,? ?(?:therefore|thus),? )?"
    r"(?:(?:'s|is|are|was|would be|should be|must be|will be|has to be|seems to be|closest to)\b|:|=|→|->|[-—]+|\s)*"
    r"(?:(?:clearly|most likely|probably|likely|definitely|therefore|thus|indeed)\b,?\s?)?:?\s?(?:\(\s?)?"
)
_NOUN = re.compile(
    r"(?P<noun>(?:正确|最佳|标准|最终|参考)?答案(?:[与及和]解析)?|正解|结论(?=:)|^\s?答(?=:)|(?<![请你])回答(?=:)|最?符合[^,。;\n]{0,12}的(?:选项|答案)"
    r"|(?:正确|最佳|最合适|最恰当|最准确|最适当|最合理|最可能)的?选项"
    r"|(?:^|(?<=[,。;:]))[^,。;:\n不非无未没错误排除否]{1,30}的选项(?=应?[是为]))"
    + _LINK
    + r"|(?P<en>(?:(?<![A-Za-z])|(?<=_))ans\b\.?(?=[ ]?(?:is\b|[:=(]))"
    r"|(?<![A-Za-z])answers?(?:_(?:choice|option|letter|key|idx|index|label))?\b"
    r"|(?<!each )(?<!every )(?<!ing )(?<!are )(?<!is )\b(?:choice|correct|response|selected option)(?=:)|\bmy (?:choice|pick)\b"
    r"|\b(?:correct|right|best|final|appropriate)\s+(?:options?|choices?|ones?)\b)" + _EN_LINK,
    re.I | re.M,
)
_OPEN = re.compile(
    r"[ ]?(?:(?:这个问题|[本此该]题|题目)?的?(?:给出的|所给的?|这些|上述|以上)?选项[中里]?(?:并?[没未]|不)"
    r"|无法|不能|难以|不确定|不明|未知|不唯一|存在争议|unclear|unknown|cannot|can't|depends|none of"
    r"|not (?:clear|provided|given|listed|stated|included|present|available|applicable|among|in (?:the )?options?))",
    re.I,
)
_VERB = re.compile(
    r"(?P<first>首选(?:的?(?:药物?|治疗|检查|方法|方案|措施|用药))?(?:是|为|:)?)|"
    r"(?P<urged>(?:应该|应当|应|宜|故|所以|因此|因而|我|我会|[本此该]题|这道题|只能|最终|最后|于是)[ ]?,?)?"
    r"选(?!项)(?:择|取|定|用)?(?:的?是|为|:)?\s?"
    r"|(?P<held>(?<![反对适效供响])应[该当]?|一定|肯定|觉得|认为|猜|而|故)(?:是|为)(?::\s?)?\s?"
    r"|(?P<felt>(?:认为|考虑|怀疑|推测|判断|提示)[^,。;:!?\n不非没无未]{0,16}?(?:患有|患了|是|为))\s?"
    r"|(?P<likened>\b(?:most|(?:is|are)(?: highly| very)?) (?:consistent with|suggestive of|indicative of)\s+(?:an? |the )?)"
    r"|(?:推荐|建议)(?:您|你|患者)?(?:使用|选用|采用|进行|给予)\s?"
    r"|(?P<weighed>(?:宜|应)选用|宜用|(?:首先|优先|首要|最应|应该?|应当|主要|更?多)考虑(?:是|为)?|(?:初步|临床|故|应|可)诊断[是为])\s?"
    r"|(?:应该?|应当|需|须)?[更修纠]?改[正成]?(?:为|成|选)\s?"
    r"|(?:锁定|敲定|投给|投票给)(?:答案)?(?:是|为|:)?\s?|那就(?:是|选)?\s?"
    r"|[,;。]\s?(?:也?即|也就是|亦即)(?:是|为|选项)?\s?"
    r"|\b(?:choose|chose|select|pick|recommend|go(?:ing)? (?:with|for)|opt for|settle (?:on|for)|vote for"
    r"|(?:vote|money|bet) (?:goes to|would go to|is on)"
    r"|chang(?:e|ing) (?:my|the) answer to|I(?:'d| would) (?:say|suggest))\s+"
    r"|\bit(?:'s|'d be| is| must be)\s+|\bnot\b[^.;\n]{1,60}?\bbut\s+(?:rather\s+)?",
    re.I,
)
_IT_IS = re.compile(r"it(?:'s|'d be| is| must be)\s", re.I)
_MAYBE = re.compile(r"(?:[也亦又](?:有?可能|许|可以?)|不排除)[ ]?(?:是|为|选)?[ ]?|\b(?:could|might|may) (?:also )?be\s+", re.I)
_IF = re.compile(r"[^.。;\n]{0,200}\b(?:if|unless)\b", re.I)
# "The most likely diagnosis is: (B)", "Therefore the dose is (B)": letters after "is" in a sentence with a superlative, in a
# conclusion, or where the reply ends; "…, which is (B)".
_IS = re.compile(
    r"\b(?P<which>,? which is(?: closest to)?|, or)\s(?:(?:[Oo]ption|[Aa]nswer|[Cc]hoice) (?=\(?[A-Z])|(?=\([A-Z]))"
    r"|\b(?<!there )(?:[Ii]s|[Aa]re|would be|should be)(?: likely)?(?: associated with| due to)?"
    r"(?::\s{0,3}|\s(?:[Oo]ption |[Cc]hoice )?(?=\(|[A-Z][:.)] ?[A-Za-z0-9(+-]|[A-Z][.]?$))"
    r"|(?<![不否认以作])[是为]:?\s?(?=(?:选项)?[A-Z](?![A-Za-z]))"
)
_BEST = re.compile(r"\b(?:most|best|least|correct|right|only|key|main|[a-z]{3,}est)\b|(?<!不)最|首选|唯一", re.I)
_CONCLUDES = re.compile(r"\b(?:therefore|thus|hence|in (?:summary|conclusion)|considering|so)\b|因此|所以|综上|故(?!障)", re.I)
_DENIAL = re.compile(
    r"\b(?:not|incorrect|wrong|false|excluded|eliminated?|unlikely|cannot|never)\b|n't\b|[不非无未没错误排除]", re.I
)
_MORE = re.compile(r"[ ]?\([^()\n]{1,60}\)[ ]?(?:[、,和与及或]|and\b|or\b)")
_BRACKETED = re.compile(r"\([A-Z]\)")
# "…, which is not the answer".
_NOT_THAT = re.compile(r"[^.\n]{0,80}?, (?:but|which|though|although|however)\b[^.\n]{0,60}(?:\bnot\b|n't\b|incorrect)", re.I)
# "所以选项B:可以申请不是正确答案": what follows the letter goes on to deny it.
_DENIED_LATER = re.compile(r"[ ]?:[^。;\n]{0,200}?(?:不|错误|无关|\bnot\b|n't|incorrect|wrong)", re.I)
_CLOSES_ROW = re.compile(r"[^\s(]\s?\((?:正确答案|正确选项|correct answer)\)[ ]?\n$", re.I)
_ALL = re.compile(
    r"(?<!\w)(?:(?:以上|上述|所有|全部|这)?(?P<count>[二三四五六七2-7])[ ]?[个项](?:选项|说法|描述|答案)?"
    r"|(?:以上|上述|所有)(?:选项|各项|说法|答案))[ ]?"
    r"(?:(?:应该?|都|均|皆|全部?)[ ]?)*(?:全|都|均|入|要|应)[ ]?选(?!项|出|错)"
)


def read_statements(r: Reply, stem: Stem) -> list[Statement]:
    """All statements of the reply; those of one kind in the order of the text.

    Who is said to do what the stem's predicate says, or to be what its last words say, is "matching".
    """
    return [
        *_after_nouns(r),
        *after_foreign(r),
        *_after_verbs(r),
        *_after_thus(r),
        *_best(r),
        *_all_chosen(r),
        *read_judgements(r, stem),
    ]


def _after_nouns(r: Reply) -> Iterator[Statement]:
    for match in places(_NOUN, r.text):
        if _OPEN.match(r.text, match.end()) and not named_at(r, match.end(), texts=True):
            yield Statement("chosen", "", match.start(), match.end())
        else:
            bare = match[0].strip(" (") == (match["noun"] or match["en"])
            if _CLOSES_ROW.search(r.text[max(0, match.start() - 80) : match.end()]) and r.text[match.end() - 1] == "\n":
                continue  # "B. … (正确答案)" in a line of its own
            if bare and match["en"] and (match["en"][-1] in "sS" or r.text[: match.start()].endswith("(")):
                continue  # "(answers C and D)" mentions them
            yield from said("chosen", r, match.start(), settled(r, match.end(), texts=True, closed=bare))


def _after_verbs(r: Reply) -> Iterator[Statement]:
    for match in places(_VERB, r.text):
        named = settled(r, match.end(), texts=any(match.groups()))
        if named and "即" in match[0] and any(_is_symbol(r, letter) for letter in named.labels):
            continue  # "A+C, 即A" of the events A and C
        if match["first"] and (not named or named.lettered):
            continue  # "首选A, 次选B" ranks them
        if named and match["likened"] is None and r.text[named.end - 1 : named.end + 1] == "a" and _IT_IS.match(match[0]):
            continue  # "It is a" and there the reply breaks off
        if match["likened"] and not (named and named.worded):
            continue  # "consistent with COPD"
        yield from said("chosen" if named and named.lettered else "urged", r, match.start(), named)


def _is_symbol(r: Reply, letter: str) -> bool:
    """Whether an option's text uses the letter as a sign of its own."""
    return any(re.search(rf"(?<![a-z]){letter.lower()}(?![a-z])", text) for text, _ in r.texts)


def _after_thus(r: Reply) -> Iterator[Statement]:
    for match in places(THUS, r.text):
        named = named_at(r, match.end())
        foreign = named and not named.labels and not re.search(OR, r.text[match.end() : named.end])
        denied = named and (is_called_wrong(r, named) or _DENIED_LATER.match(r.text, named.end))
        symbols = named and named.loose and all(_is_symbol(r, letter) for letter in named.labels)
        if named and not foreign and not denied and not symbols and not names_all(r, named):
            yield from said("chosen", r, match.start(), settled(r, match.end(), texts=False, closed=True))
    for match in places(_MAYBE, r.text):
        named = settled(r, match.end(), texts=False)
        if named and not _IF.match(r.text, named.end):
            yield Statement("chosen", "", match.start(), named.end)


def _best(r: Reply) -> Iterator[Statement]:
    for match in places(_IS, r.text):
        named = settled(r, match.end(), texts=True)
        sentence = SENTENCE.split(r.text[max(0, match.start() - 250) : match.start()])[-1]
        closes = match["which"] or _CONCLUDES.search(sentence) or (named and REPLY_ENDS.match(r.text, named.end))
        best = _BEST.search(sentence) or (closes and not _DENIAL.search(sentence))
        listed = bool(named and (is_listing(r, named) or names_all(r, named) or _MORE.match(r.text, named.end)))
        listed = listed or bool(match["which"] == ", or" and _BRACKETED.search(sentence))  # "(A) …, (B) …, or (C) …"
        if named and named.labels and named.lettered and not listed and best and not _NOT_THAT.match(r.text, named.end):
            yield from said("best", r, match.start(), named, firm=True)


def _all_chosen(r: Reply) -> Iterator[Statement]:
    for match in places(_ALL, r.text):
        count = match["count"]
        if not is_denied(r, match.start()) and (not count or "二三四五六七234567".index(count) % 6 + 2 == len(r.labels)):
            yield Statement("chosen", "".join(r.labels), match.start(), match.end())
