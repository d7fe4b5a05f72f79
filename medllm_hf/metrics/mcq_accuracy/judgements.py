"""Who is judged: right, wrong, what is asked for, the only one left. See clauses.py for how these stand beside verdicts."""

import re
from collections.abc import Iterator

from .denials import is_denied
from .named_letters import CLEAR, END, OR, Named, Reply, matched, named_at, places
from .statements import (
    FITS,
    QUESTION,
    REPLY_ENDS,
    SUBJECT,
    SUBJECT_ALONE,
    THUS,
    WRONG,
    Statement,
    is_listing,
    letter_lists,
    said,
    settled,
)
from .stems import Stem

_RIGHT = re.compile(
    SUBJECT
    + r"(?:正确|对(?=$|\W|[A-Z的了])|符合|成立|恰当|准确|合适|(?<=最)(?:有?可能(?!性)|佳|好|适[合宜]|贴切|完整|全面|合理)"
    r"|[√✓✔✅]|的?可能性(?:也?[最较更很]|比较|相对较?)?[高大]"
    r"|(?:the )?(?:correct|right|true|appropriate|suitable|(?<=most )(?:likely|probable|consistent|accurate))\b"
    r"|(?<=best )[a-z]+\b)",
    re.I,
)
# "A项正确,不符合题意": the next clause says it of the same subject.
_THEN_FITS = re.compile(
    r"[^。;!?\nA-Z]{0,80},[ ]?(?:因此|所以|故)?(?:本|该|此)?[项题]?"
    r"(?:(?P<not>[不未])?(?:符合|满足|切合)(?:题[意干目]|[本此该]题)|(?P<off>与题[意干]?(?:不符|矛盾|相悖|不合)))"
)
_EXCLUDES = re.compile(
    r"(?<!不能)(?<!无法)(?<!不)(?:排除|剔除)(?:了|掉)?(?:选项)?[ ]?"
    r"|\b(?:rul(?:e|ing) out|eliminat(?:e|es|ed|ing)|exclud(?:e|es|ed|ing)) ",
    re.I,
)
_PRAISE = re.compile(
    r"(?:是|为|作为)(?:[^,。;:!?\n不非无未没A-Za-z]{0,8}的)?(?:首选|最佳选择)"
    r"(?:的?(?:药物?|治疗|检查|方法|方案|措施|用药))?(?=[ ]?(?:$|[,。.;!\n]))"
    r"|[ ]is (?:the )?(?:first[- ]line (?:drug|treatment|therapy|agent|test)?"
    r"|(?:drug|treatment|test|agent|antibiotic|investigation) of (?:first )?choice)(?!\w)",
    re.I,
)
_THUS_ENDS = re.compile(THUS.pattern + r"$", re.I)
_IS_ANSWER = re.compile(
    r"(?:[ ]?\)?(?:选项|项|[二两三四五六][项个者])?[ ]?(?:(?:才|应该?|都|均|就|即)[ ]?)*(?:[是为]|作为)(?:[本此该]题|我)?的?"
    r"(?:唯一|最终)?的?(?:(?:(?:正确|最佳|标准|最合适)的?)?答案(?!之一)|(?:正确|最佳|最合适)的?选[项择])"
    r"|[ ]?(?:选项|项)?当选(?!的)"
    r"|\s(?:is|would be|will be|must be|should be|seems (?:to be )?) ?(?:my|our) (?:final |best |first |top |preferred )?"
    r"(?:pick|choice|answer|selection|guess|bet|vote|recommendation)\b|\s(?:gets|has|wins) my vote\b"
    r"|\s(?:is|would be) (?:what|the (?:one|option|answer)(?: that)?) I(?:'d|'ll| would| will)? "
    r"(?:choose|pick|select|go with|recommend)\b"
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
    r"(?:(?P<wrong>错误|不正确|不对|错|[×✗✘❌])|正确(?:答案)?|对|[√✓✔✅]|correct(?: answer)?)的?[)。.;]?[ ]?$",
    re.M,
)
_EXCEPT = re.compile(r"除(?:了|去|开|[ ])?(?!外)")
_THE_REST = re.compile(
    r"[ ]?(?:选项|[一二两三四五]?[项个者])?(?:以外|之外|外)?[ ]?,?[ ]?(?:其余|其他|其它|剩余|剩下|余下)的?"
    r"(?:[一二两三四五][个项]|各项|几项)?(?:选项|说法|描述|项|答案)?[ ]?(?:都|均|皆|全部?|也)?(?P<said>[^,。;!\n]{0,30})"
)
_DENIES = re.compile(r"^(?:是|为|被)?(?:不|非|无|未|没|错|误|排除)")
# "以上说法均正确" · "All of the above are correct".
_EACH = re.compile(
    r"(?<![并不]非)(?:(?:以上|上述|所有|全部|这)(?:以上|上述|的)?(?:[二三四五六七几][个项]|各项)?"
    r"(?:选项|说法|描述|表述|叙述|情形|情况|行为|答案|内容)?的?(?=都|均|皆|全))"
    r"|\ball (?:(?:of )?(?:the|these) (?:above|options|statements|choices)(?: options| statements)?|of them|four|five)"
    r"(?= are\b)",
    re.I,
)
_LEFT = re.compile(
    r"(?<![没不])剩(?:下|余)?的?(?:只有|就是|就|只|是)?\s?"
    r"|\b(?:leav(?:es?|ing)|(?:is|am|are|'m|'re|was|were) left with)(?: (?:us|me|you)(?: with)?)? (?:only |just )?",
    re.I,
)
_REMAINS = re.compile(
    r" (?:remains|is (?:the (?:only|last) (?:one|option|choice|answer)? ?)?(?:left|remaining|standing))\b"
    r"|[ ]?(?:选项|项)?(?:被?保?留下来?|幸存)",
    re.I,
)


def read_judgements(r: Reply, stem: Stem) -> Iterator[Statement]:
    """Who is judged, and by what; those of one kind in the order of the text."""
    yield from _judged(r, stem)
    yield from _judged_lines(r)
    yield from _called(r)
    yield from _excluded(r)
    yield from _excepted(r)
    yield from _left(r)
    yield from _praised(r)
    yield from _each_judged(r, stem)


def _judged(r: Reply, stem: Stem) -> Iterator[Statement]:
    predicate, ending = stem.predicate, stem.ending.rstrip("是为有")
    for start, named in letter_lists(r):
        before = r.text[max(0, start - 100) : start]
        if _IS_ANSWER.match(r.text, named.end):
            yield from said("chosen", r, start, named)
            continue
        same = _SAME.match(r.text, named.end)
        completes = len(ending) > 2 and same and ending in same[1]
        if completes or (predicate and r.text.startswith(predicate, matched(SUBJECT_ALONE, r.text, named.end).end())):
            yield from said("matching", r, start, named)
            continue
        if _SO_ANSWER.match(r.text, named.end):
            yield from said("urged", r, start, named)
            continue
        if (fits := FITS.match(r.text, named.end)) and not QUESTION.match(r.text, fits.end()):
            firm = bool(fits["most"] or _ONLY.search(before) or _THUS_ENDS.search(before))
            yield from _fitting(r, start, named, fits, firm)
            continue
        if fits := _THEN_FITS.match(r.text, named.end):
            yield from _fitting(r, start, named, fits)
        wrong = WRONG.match(r.text, named.end)
        right = None if wrong else _RIGHT.match(r.text, named.end)
        judgement = wrong or right
        if right and start == 0 and REPLY_ENDS.match(r.text, right.end()):  # it says nothing but "B is correct."
            yield from said("chosen", r, start, named)
            continue
        if judgement and r.text[start : named.end].strip() == "A" and _ARTICLE.match(r.text, named.end):
            continue  # "A correct estimate"
        if judgement and not QUESTION.match(r.text, named.end):
            firm = bool(_ONLY.search(before) or _IN_ALL.search(before) or judgement["most"])
            denied = (right or firm) and is_denied(r, start)
            if wrong or not denied:
                yield Statement("wrong" if wrong else "right", named.labels, start, named.end, firm and not denied)


def _fitting(r: Reply, start: int, named: Named, fits: re.Match[str], firm: bool = False) -> Iterator[Statement]:
    if fits["not"] or fits["off"]:
        yield Statement("unfit", named.labels, start, named.end, firm)
    elif not is_denied(r, start):
        yield Statement("fit", named.labels, start, named.end, firm)


def _judged_lines(r: Reply) -> Iterator[Statement]:
    for match in places(_JUDGED_LINE, r.text):
        if match[1] in r.labels:
            yield Statement("wrong" if match["wrong"] else "right", match[1], match.start(), match.end())


def _called(r: Reply) -> Iterator[Statement]:
    for match in places(_CALLED, r.text):
        named = settled(r, match.end(), texts=True)
        if named and not is_listing(r, named):
            yield from said("wrong" if match["wrong"] else "right", r, match.start(), named, firm=True)


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


def _left(r: Reply) -> Iterator[Statement]:
    """Who is left when the others are excluded, where it is one."""
    for match in places(_LEFT, r.text):
        named = named_at(r, match.end())
        if named and len(named.labels) == 1 and END.match(r.text, named.end) and not OR.match(r.text, named.end):
            yield from said("best", r, match.start(), named, firm=True)
    for start, named in letter_lists(r):
        if len(named.labels) == 1 and _REMAINS.match(r.text, named.end):
            yield from said("best", r, start, named, firm=True)


def _excluded(r: Reply) -> Iterator[Statement]:
    for match in places(_EXCLUDES, r.text):
        named = named_at(r, match.end())
        if named and CLEAR.match(r.text, named.end) and not is_denied(r, match.start()):
            yield Statement("unfit", named.labels, match.start(), named.end)


def _praised(r: Reply) -> Iterator[Statement]:
    """Option texts that are said to be the first choice, or the answer."""
    for match in places(_PRAISE, r.text):
        label, text = next(((label, text) for text, label in r.texts if r.low.endswith(text, 0, match.start())), ("", ""))
        start = match.start() - len(text)
        inside = start > 0 and r.low[start - 1].isalnum() and r.low[start - 1].isascii() and text[:1].isascii()
        if label and not inside and not is_denied(r, start):
            yield Statement("urged", label, start, match.end(), lettered=False)


def _each_judged(r: Reply, stem: Stem) -> Iterator[Statement]:
    """What is said of all options at once, where several letters are wanted and none of the options says so itself."""
    own = any(re.match(r"(?:以上|上述|所有|全部|all\b)", text) for text, _ in r.texts)
    for match in places(_EACH, r.text) if stem.several and not own else []:
        at = matched(SUBJECT_ALONE, r.text, match.end()).end()
        matches = bool(stem.predicate) and r.text.startswith(stem.predicate, at)
        wrong, right = WRONG.match(r.text, match.end()), _RIGHT.match(r.text, match.end())
        act = stem.wanted if matches else "wrong" if wrong else "right" if right else ""
        if act and not is_denied(r, match.start()):
            yield Statement(act, "".join(r.labels), match.start(), at, firm=True)
