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
                | "perhaps" NAMES            也可能是B                            chosen: void
    NAMES       → who is named at a place, by letter or text (named_letters.py)

A statement that is denied, doubted, supposed, asked or said of others is none (rule 5 of extraction.py).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .named_letters import CLEAR, END, OR, Named, Reply, matched, named_at, places

_EITHER = re.compile(
    r"\s?\)?\s?(?:这?[两二三几]者?个?)?(?:(?:当|其)?中的?(?:任|某|一|哪)|之间|之一|二选一"
    r"|[都均皆也亦]?(?:可以?|可选|行|有可能|有道理)(?!\w))"
)
_QUESTION = re.compile(r"[ ]?\)?(?:选项|项)?[ ]?(?:是?(?:正确|对)的?)?[ ]?(?:吗|么|\?)")
_ALL_OF_THEM = re.compile(r"[ ]?(?:选项|项|[二两三四五六][项个者])?[ ]?(?:都|均|皆)(?![不非没未无])")
_SUBJECT = (
    r"[ ]?\)?[ ]?(?:选项|项|[二两三四五六][项个者])?[ ]?(?:的?(?:说法|描述|表述|叙述|选项|情况|诊断))?[ ]?[:(]?"
    r"(?:(?:都|均|皆|全|也|并|才|更|显然|明显|肯定|可以|可|被|是|为"
    r"|are|is|all|both|also|clearly|can be|could be|seems?|appears?|to be)[ ]?)*"
    r"(?P<most>最为?|(?:the )?(?:most|best)\b)?[ ]?"
)
_SUBJECT_ALONE = re.compile(_SUBJECT, re.I)
_WRONG = re.compile(
    _SUBJECT + r"(?:不(?:正确|对|符|恰当|准确|合适|合理|成立|妥|行|可取|[太大]?可能|选|适[合用宜])"
    r"|错(?=$|\W|[A-Z的了])|错误|误|有误|排除|与题[意干](?:不符|矛盾)"
    r"|可能性(?:不大|(?:很|较|都|比较|更|最)*[小低])|[×✗✘❌╳]"
    r"|(?:incorrect|wrong|false|ruled out|excluded|isn't|aren't|can't|cannot|unlikely|(?:less|least) (?:likely|appropriate)"
    r"|not (?:the )?(?:correct|right|true|best|answer|appropriate|indicated|suitable|likely|a likely))\b)",
    re.I,
)
_RIGHT = re.compile(
    _SUBJECT
    + r"(?:正确|对(?=$|\W|[A-Z的了])|符合|成立|恰当|准确|合适|(?<=最)(?:有?可能(?!性)|佳|好|适[合宜]|贴切|完整|全面|合理)"
    r"|[√✓✔✅]|的?可能性(?:也?[最较更很]|比较|相对较?)?[高大]"
    r"|(?:the )?(?:correct|right|true|appropriate|suitable|(?<=most )(?:likely|probable|consistent|accurate))\b"
    r"|(?<=best )[a-z]+\b)",
    re.I,
)

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
    + r"|(?P<en>(?<![A-Za-z])answers?(?:_(?:choice|option|letter|key|idx|index|label))?\b"
    r"|(?<!each )(?<!every )(?<!ing )\b(?:choice|correct|response|selected option)(?=:)|\bmy (?:choice|pick)\b"
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
    r"(?P<urged>(?:应该|应当|应|宜|故|所以|因此|因而|我|我会|[本此该]题|这道题|只能|最终|最后|于是)[ ]?,?)?"
    r"选(?!项)(?:择|取|定|用)?(?:的?是|为|:)?\s?"
    r"|(?P<held>(?<![反对适效供响])应[该当]?|一定|肯定|觉得|认为|猜|而|故)(?:是|为)(?::\s?)?\s?"
    r"|(?P<felt>(?:认为|考虑|怀疑|推测|判断|提示)[^,。;:!?\n不非没无未]{0,16}?(?:患有|患了|是|为))\s?"
    r"|(?P<likened>\b(?:most|(?:is|are)(?: highly| very)?) (?:consistent with|suggestive of|indicative of)\s+(?:an? |the )?)"
    r"|(?:推荐|建议)(?:您|你|患者)?(?:使用|选用|采用|进行|给予)\s?"
    r"|(?P<weighed>(?:首先|优先|首要|最应|应该?|应当|主要|更?多)考虑(?:是|为)?|(?:初步|临床|故|应|可)诊断[是为])\s?"
    r"|(?:应该?|应当|需|须)?[更修纠]?改[正成]?(?:为|成|选)\s?"
    r"|[,;。]\s?(?:也?即|也就是|亦即)(?:是|为|选项)?\s?"
    r"|\b(?:choose|chose|select|pick|recommend|go with|going with|opt for|chang(?:e|ing) (?:my|the) answer to"
    r"|I'd say|I would say)\s+"
    r"|\bit(?:'s|'d be| is| must be)\s+|\bnot\b[^.;\n]{1,60}?\bbut\s+(?:rather\s+)?",
    re.I,
)
_THUS = re.compile(r"(?:综上所述|综上|因此|所以|故|\b(?:therefore|thus|hence|so)\b)[ ]?[,:]?[ ]?", re.I)
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
_REPLY_ENDS = re.compile(r"[ ]?[).。!]{0,3}\s{0,3}$")
_MORE = re.compile(r"[ ]?\([^()\n]{1,60}\)[ ]?(?:[、,和与及或]|and\b|or\b)")
# "…, which is not the answer".
_NOT_THAT = re.compile(r"[^.\n]{0,80}?, (?:but|which|though|although|however)\b[^.\n]{0,60}(?:\bnot\b|n't\b|incorrect)", re.I)
# "所以选项B:可以申请不是正确答案": what follows the letter goes on to deny it.
_DENIED_LATER = re.compile(r"[ ]?:[^。;\n]{0,200}?(?:不|错误|无关|\bnot\b|n't|incorrect|wrong)", re.I)
_IS_ANSWER = re.compile(
    r"(?:[ ]?\)?(?:选项|项|[二两三四五六][项个者])?[ ]?(?:(?:才|应该?|都|均|就|即)[ ]?)*(?:[是为]|作为)(?:[本此该]题|我)?的?"
    r"(?:唯一|最终)?的?(?:(?:(?:正确|最佳|标准|最合适)的?)?答案(?!之一)|(?:正确|最佳|最合适)的?选[项择])"
    r"|\s(?:is|are|would be) (?:the |an? )?(?:only )?"
    r"(?:(?:correct|right|best|closest|most appropriate) (?:answers?|options?|choices?|ones?|match|fit)|answers?)\b|\sit is\b)"
    r"(?![^.。;\n]{0,200}\b(?:if|unless)\b)",
    re.I,
)
# "A能降压,是正确答案。": the next clause says it of the same subject.
_SO_ANSWER = re.compile(
    r"[^,。;!?\nA-Z]{1,24},[ ]?(?:因此|所以|故|也)?(?:就|才|应该?)?[是为](?:[本此该]题的?)?(?:唯一的?)?(?:正确|最佳)的?"
    r"(?:答案|选项|选择)(?=[ ]?(?:$|[。.!;\n]))"
)
_SAME = re.compile(r"[ ]?(?:选项|项)?(?:就|应该?|才)?[是为]([^,。;:!?\n]{0,60})")
_CALLED = re.compile(
    r"(?:(?P<wrong>错误|不正确|不对|不恰当|不符合题意|不符合|不(?!良|足|全|稳|明)[^,。;:\n]{2,30}(?=的选项[是为]))的?|(?:正确|符合题[意干])的)"
    r"(?:选项|说法|描述|叙述|表述|陈述|一?项)?(?:应该?)?(?:是|为|有|包括|:)\s?"
)
_ONLY = re.compile(r"(?:只有|仅有?|唯有|唯独|\bonly)[ ]?(?:选项)?\(?$", re.I)
_ARTICLE = re.compile(r"[ ](?!is\b|are\b|was\b|can\b|could\b|and\b|both\b|also\b|clearly\b|seems\b|appears\b)[a-z]")
_IN_ALL = re.compile(
    r"(?:综上所述|综上|总之|总的来[说看]|综合(?:以上|上述|来看|考虑|分析|所述)|由此可[见知]"
    r"|\b(?:in (?:summary|conclusion)|overall|to summarize|in all)\b)[^。;!?\n]{0,80}$",
    re.I,
)
# "A: …, 正确。": a line that begins with a label and ends with a judgement.
_JUDGED_LINE = re.compile(
    r"^[-\s]?\(?(?:选项)?([A-Z])[.:、)][^\n]{1,400}?[,。;:(—-][ ]?(?:(?:这[个一]?|该|此)?(?:说法|描述|表述|选项|项)?[是为]?)"
    r"(?:(?P<wrong>错误|不正确|不对|错|[×✗✘❌])|正确|对|[√✓✔✅])的?[)。.;]?[ ]?$",
    re.M,
)
_EXCEPT = re.compile(r"除(?:了|去|开|[ ])?(?!外)")
_THE_REST = re.compile(
    r"[ ]?(?:选项|[一二两三四五]?[项个者])?(?:以外|之外|外)?[ ]?,?[ ]?(?:其余|其他|其它|剩余|剩下|余下)的?"
    r"(?:[一二两三四五][个项]|各项|几项)?(?:选项|说法|描述|项|答案)?[ ]?(?:都|均|皆|全部?|也)?(?P<said>[^,。;!\n]{0,30})"
)
_DENIES = re.compile(r"^(?:是|为|被)?(?:不|非|无|未|没|错|误|排除)")
_ALL = re.compile(
    r"(?<!\w)(?:(?:以上|上述|所有|全部|这)?(?P<count>[二三四五六七2-7])[ ]?[个项](?:选项|说法|描述|答案)?"
    r"|(?:以上|上述|所有)(?:选项|各项|说法|答案))[ ]?"
    r"(?:(?:应该?|都|均|皆|全部?)[ ]?)*(?:全|都|均|入|要|应)[ ]?选(?!项|出|错)"
)

# What stands before a statement that is none: right before it, in its clause, in its sentence.
_NOT = re.compile(
    r"(?:[不别勿未误错首备次候筛入可没非多单]|没有|不[能应会宜可要该得]|不应该|不(?:正确|恰当|合适)的?|错误的?|例如|比如|譬如|如:?"
    r"|或者?|[A-Z][ ,]*还是|or |wrong |incorrect |not |n't |e\.g\.,? ?)\s?\(?$",
    re.I,
)
_CLAUSE = re.compile(r"[,;:。!?\n]|\.(?!\d)|但|所以|因此|故|\b(?:so|but|therefore|thus|hence)\b", re.I)
_DOUBT = re.compile(
    r"无法|不能|不确定|不知|不认为|难以|是否|不清楚|没有理由|没有?必要"
    r"|\b(?:whether|not(?! \w+ing\b)|unsure|cannot|never|neither)\b|n't\b",
    re.I,
)
_SENTENCE = re.compile(r"[。!?\n]|\.(?!\d)|但|不过|然而|本[题例]|其实|实际上|后来|\b(?:but|however)\b", re.I)
_SUPPOSED = re.compile(
    r"若(?!干)|如果(?!(?:我们?|你|一定)?(?:必须|非要|只能|要)[^,。;\n]{0,12}选)|示例|例题|(?<![这本])类似题|(?:有些|一些|老|旧|那个|另一个?|第一个)题|题库|真题"
    r"|假如|假设|要是|倘若|有人|(?<![所没具只])有的|考生|同学(?!们)|误以为|最初|起初|一开始|原以为|乍看"
    r"|\b(?:if(?! (?:I|we|one) (?:had|have|must|were forced)\b)|suppose|unless"
    r"|(?:some|many) (?:would|people|students|might|may|argue|say)"
    r"|at first|initially|first impression)\b",
    re.I,
)
# "下面是一个例子:…答案:A": up to where the reply turns to the question.
_EXAMPLE = re.compile(r"(?:例子|[示样]例|范例):(?!.*(?:回答|现在|本题))", re.S)
_COPULA = re.compile(r"[ ](?:is|are|was|were|would be|should be)\b")
_NEXT_LABEL = re.compile(r"[;,。.]?\s?\(?([A-Z])[ ]?[.:、)]")
_NEXT_ROW = re.compile(r"[ ]?[:、.][^\n;]+[;\n][-\s]{0,4}\(?([A-Z])[ ]?[.:、)]")
_NEXT_LINE = re.compile(r"[;。,]?\s*\n[-\s]{0,4}\(?([A-Z])[ ]?[.:、)]")
_NEW_LINE = re.compile(r"\n[-\s]{0,4}$")
_LETTER = re.compile(
    r"(?:(?<![\w°-])(?<!\d )|(?<=选项)|(?<=只有)|(?<=因此)|(?<=所以)|(?<=认为)|(?<=答案)|(?<=选择)|(?<=叙述)"
    r"|(?<=[故题仅但则把将选除而及和与]))"
    r"\(?[ ]?(?:[Oo]ptions? |[Bb]oth )?(?=[A-Z](?![a-z]))"
)


@dataclass(frozen=True)
class Statement:
    """Who is chosen, urged, best, right or wrong; `labels` is "" where void. `firm`: said of no other, or of all in all."""

    act: str
    labels: str
    start: int
    end: int
    firm: bool = False
    lettered: bool = True


def read_statements(r: Reply, predicate: str = "", ending: str = "") -> list[Statement]:
    """All statements of the reply; those of one kind in the order of the text.

    Args:
        predicate: what holds of the answer in the question's own words; who is said to do so is "matching".
        ending: the last words of a question that the answer completes; who is said to be that is "matching" too.
    """
    judged = [*_judged(r, predicate, ending.rstrip("是为有")), *_judged_lines(r)]
    verdicts = [*_after_nouns(r), *_after_verbs(r), *_after_thus(r)]
    return [*verdicts, *_best(r), *judged, *_called(r), *_excepted(r), *_all_chosen(r)]


def is_denied(r: Reply, start: int) -> bool:
    """Whether what begins at `start` is denied, doubted, supposed or said of others."""
    before = r.text[max(0, start - 300) : start]
    if _EXAMPLE.search(before):
        return True
    clause, sentence = _CLAUSE.split(before)[-1], _SENTENCE.split(before)[-1]
    return bool(_NOT.search(before) or _DOUBT.search(clause) or _SUPPOSED.search(sentence))


def names_all(r: Reply, named: Named) -> bool:
    """Whether the names are all letters, one by one: a list of what there is rather than a choice."""
    return named.apart and set(named.labels) == r.labels


def is_listing(r: Reply, named: Named) -> bool:
    """Whether the names are options from A on, each with its text, as a question has them."""
    labels = "".join(sorted(r.labels))
    goes_on = _NEXT_LABEL.match(r.text, named.end)
    listed = named.apart or (goes_on and goes_on[1] == labels[len(named.labels) : len(named.labels) + 1])
    return bool(listed and named.worded and named.lettered and labels.startswith(named.labels))


def is_called_wrong(r: Reply, named: Named) -> bool:
    """Whether what follows the names denies them."""
    return bool(_WRONG.match(r.text, named.end))


def _settled(r: Reply, at: int, texts: bool, closed: bool = False) -> Named | None:
    """The names at `at` as a verdict: void for one of several, None when asked, called wrong or part of a word."""
    by_line = bool(_NEW_LINE.search(r.text[max(0, at - 20) : at]))
    named = named_at(r, at, texts, lower=True, by_line=by_line)
    below = _NEXT_LINE.match(r.text, named.end) if named and named.worded and named.lettered and named.labels else None
    if named and below and below[1] > named.labels[-1]:
        by_line, named = True, named_at(r, at, texts, lower=True, by_line=True)  # "答案:A. …", and "B. …" in the next line
    if not named or _QUESTION.match(r.text, named.end):
        return None
    wrong = is_called_wrong(r, named)
    if OR.match(r.text, named.end) or (_EITHER.match(r.text, named.end) and not wrong):
        return replace(named, labels="")
    goes_on = by_line and _NEXT_LABEL.match(r.text, named.end)
    row = _NEXT_ROW.match(r.text, named.end) if by_line and named.labels else None
    if (row and row[1] == chr(ord(named.labels[-1]) + 1)) or (goes_on and goes_on[1] in r.labels - set(named.labels)):
        return replace(named, labels="")  # a list, one a line, of which not all could be read
    part = r.text[named.end - 1] == ")" and r.text[named.end - 2].islower() and not named.worded
    if part and not END.match(r.text, named.end):
        return None  # "(a) …, (b) …" are parts of an answer
    copula = closed and named.worded and named.lettered and _COPULA.match(r.text, named.end)
    ends = copula or (r.text[named.end - 1] == ")" and not closed) or (END if closed else CLEAR).match(r.text, named.end)
    if wrong or not (ends or (not closed and not named.loose and _ALL_OF_THEM.match(r.text, named.end))):
        opened = "(" in r.text[max(0, at - 1) : at + 1] and ")" not in r.text[at : named.end]
        return (
            replace(named, labels="") if opened and named.loose else named.loose
        )  # "(B, C and A in reverse)": more than a list
    return named


def _said(act: str, r: Reply, start: int, named: Named | None, firm: bool = False) -> Iterator[Statement]:
    if named and not is_denied(r, start):
        yield Statement(act, named.labels, start, named.end, firm, named.lettered)


def _after_nouns(r: Reply) -> Iterator[Statement]:
    for match in places(_NOUN, r.text):
        if _OPEN.match(r.text, match.end()) and not named_at(r, match.end(), texts=True):
            yield Statement("chosen", "", match.start(), match.end())
        else:
            bare = match[0].strip(" (") == (match["noun"] or match["en"])
            if bare and match["en"] and (match["en"][-1] in "sS" or r.text[: match.start()].endswith("(")):
                continue  # "(answers C and D)" mentions them
            yield from _said("chosen", r, match.start(), _settled(r, match.end(), texts=True, closed=bare))


def _after_verbs(r: Reply) -> Iterator[Statement]:
    for match in places(_VERB, r.text):
        named = _settled(r, match.end(), texts=any(match.groups()))
        if named and "即" in match[0] and any(_is_symbol(r, letter) for letter in named.labels):
            continue  # "A+C, 即A" of the events A and C
        if match["likened"] and not (named and named.worded):
            continue  # "consistent with COPD"
        yield from _said("chosen" if named and named.lettered else "urged", r, match.start(), named)


def _is_symbol(r: Reply, letter: str) -> bool:
    """Whether an option's text uses the letter as a sign of its own."""
    return any(re.search(rf"(?<![a-z]){letter.lower()}(?![a-z])", text) for text, _ in r.texts)


def _after_thus(r: Reply) -> Iterator[Statement]:
    for match in places(_THUS, r.text):
        named = named_at(r, match.end())
        foreign = named and not named.labels and not re.search(OR, r.text[match.end() : named.end])
        denied = named and (is_called_wrong(r, named) or _DENIED_LATER.match(r.text, named.end))
        symbols = named and named.loose and all(_is_symbol(r, letter) for letter in named.labels)
        if named and not foreign and not denied and not symbols and not names_all(r, named):
            yield from _said("chosen", r, match.start(), _settled(r, match.end(), texts=False, closed=True))
    for match in places(_MAYBE, r.text):
        named = _settled(r, match.end(), texts=False)
        if named and not _IF.match(r.text, named.end):
            yield Statement("chosen", "", match.start(), named.end)


def _best(r: Reply) -> Iterator[Statement]:
    for match in places(_IS, r.text):
        named = _settled(r, match.end(), texts=True)
        sentence = _SENTENCE.split(r.text[max(0, match.start() - 250) : match.start()])[-1]
        closes = match["which"] or _CONCLUDES.search(sentence) or (named and _REPLY_ENDS.match(r.text, named.end))
        best = _BEST.search(sentence) or (closes and not _DENIAL.search(sentence))
        listed = named and (is_listing(r, named) or names_all(r, named) or _MORE.match(r.text, named.end))
        if named and named.labels and named.lettered and not listed and best and not _NOT_THAT.match(r.text, named.end):
            yield from _said("best", r, match.start(), named, firm=True)


def _judged(r: Reply, predicate: str, ending: str) -> Iterator[Statement]:
    for start, named in letter_lists(r):
        before = r.text[max(0, start - 100) : start]
        if _IS_ANSWER.match(r.text, named.end):
            yield from _said("chosen", r, start, named)
            continue
        same = _SAME.match(r.text, named.end)
        completes = len(ending) > 2 and same and ending in same[1]
        if completes or (predicate and r.text.startswith(predicate, matched(_SUBJECT_ALONE, r.text, named.end).end())):
            yield from _said("matching", r, start, named)
            continue
        if _SO_ANSWER.match(r.text, named.end):
            yield from _said("urged", r, start, named)
            continue
        wrong = _WRONG.match(r.text, named.end)
        right = None if wrong else _RIGHT.match(r.text, named.end)
        judgement = wrong or right
        if right and start == 0 and _REPLY_ENDS.match(r.text, right.end()):  # it says nothing but "B is correct."
            yield from _said("chosen", r, start, named)
            continue
        if judgement and r.text[start : named.end].strip() == "A" and _ARTICLE.match(r.text, named.end):
            continue  # "A correct estimate"
        if judgement and not _QUESTION.match(r.text, named.end):
            firm = bool(_ONLY.search(before) or _IN_ALL.search(before) or judgement["most"])
            denied = (right or firm) and is_denied(r, start)
            if wrong or not denied:
                yield Statement("wrong" if wrong else "right", named.labels, start, named.end, firm and not denied)


def _judged_lines(r: Reply) -> Iterator[Statement]:
    for match in places(_JUDGED_LINE, r.text):
        if match[1] in r.labels:
            yield Statement("wrong" if match["wrong"] else "right", match[1], match.start(), match.end())


def _called(r: Reply) -> Iterator[Statement]:
    for match in places(_CALLED, r.text):
        named = _settled(r, match.end(), texts=True)
        if named and not is_listing(r, named):
            yield from _said("wrong" if match["wrong"] else "right", r, match.start(), named, firm=True)


def _excepted(r: Reply) -> Iterator[Statement]:
    for match in places(_EXCEPT, r.text):
        named = named_at(r, match.end(), texts=True)
        rest = named and named.labels and _THE_REST.match(r.text, named.end)
        if rest and named and not is_denied(r, match.start()):
            others = "".join(sorted(r.labels - set(named.labels)))
            denied = bool(_DENIES.match(rest["said"]))
            for act, labels in (("right", others), ("wrong", named.labels)):
                labels = (others if act == "wrong" else named.labels) if denied else labels
                yield Statement(act, labels, match.start(), rest.end(), firm=True)


def _all_chosen(r: Reply) -> Iterator[Statement]:
    for match in places(_ALL, r.text):
        count = match["count"]
        if not is_denied(r, match.start()) and (not count or "二三四五六七234567".index(count) % 6 + 2 == len(r.labels)):
            yield Statement("chosen", "".join(r.labels), match.start(), match.end())


def letter_lists(r: Reply) -> Iterator[tuple[int, Named]]:
    """The start and the list of all letters in the reply that are not inside a word."""
    after = 0
    for match in places(_LETTER, r.text):
        named = named_at(r, match.start()) if match.start() >= after else None
        if named and named.labels:
            yield match.start(), named
        after = max(after, named.end if named else 0)
