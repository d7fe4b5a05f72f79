"""What a statement is, and when names count in one: not when judged wrong, asked, offered as alternatives or part of a word."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .denials import is_denied
from .named_letters import CLEAR, END, OR, Named, Reply, goes_before, in_lines, named_at, places
from .option_rows import read_rows

THUS = re.compile(r"(?:综上所述|综上|因此|所以|故|\b(?:therefore|thus|hence|so)\b)[ ]?[,:]?[ ]?", re.I)
REPLY_ENDS = re.compile(r"[ ]?[).。!]{0,3}\s{0,3}$")

_EITHER = re.compile(
    r"\s?\)?\s?(?:这?[两二三几]者?个?)?(?:(?:当|其)?中的?(?:任|某|一|哪)|之间|之一|二选一"
    r"|[都均皆也亦]?(?:可以?|可选|行|有可能|有道理)(?!\w))"
)
QUESTION = re.compile(r"[ ]?\)?(?:选项|项)?[ ]?(?:是?(?:正确|对)的?)?[ ]?(?:吗|么|\?)")
_ALL_OF_THEM = re.compile(r"[ ]?(?:选项|项|[二两三四五六][项个者])?[ ]?(?:都|均|皆)(?![不非没未无])")
SUBJECT = (
    r"[ ]?\)?[ ]?(?:选项|项|[二两三四五六][项个者])?[ ]?(?:的?(?:说法|描述|表述|叙述|选项|情况|诊断))?[ ]?[:(]?"
    r"(?:(?:都|均|皆|全|也|并|才|更|显然|明显|肯定|可以|可|被|是|为"
    r"|are|is|all|both|also|clearly|can be|could be|seems?|appears?|to be)[ ]?)*"
    r"(?P<most>最为?|(?:the )?(?:most|best)\b)?[ ]?"
)
SUBJECT_ALONE = re.compile(SUBJECT, re.I)
WRONG = re.compile(
    SUBJECT + r"(?:不(?:正确|对|符|恰当|准确|合适|合理|成立|妥|行|可取|[太大]?可能|选(?![ ]?[A-Z])|适[合用宜])"
    r"|错(?=$|\W|[A-Z的了])|错误|误|有误"
    r"|可能性(?:不大|(?:很|较|都|比较|更|最)*[小低])|[×✗✘❌╳]"
    r"|(?:incorrect|wrong|false|isn't|aren't|can't|cannot|unlikely|(?:less|least) (?:likely|appropriate)"
    r"|not (?:the )?(?:correct|right|true|best|answer|appropriate|indicated|suitable|likely|a likely))\b)",
    re.I,
)
# Who is what the question asks for, be it right or wrong.
FITS = re.compile(
    SUBJECT + r"(?:(?P<not>不|未|并不)?(?:符合|满足|切合)(?:题[意干目]|[本此该]题)(?:的?要求)?|"
    r"(?P<off>与题[意干]?(?:不符|矛盾|相悖|不合)|排除|(?:ruled out|excluded|eliminated)\b))",
    re.I,
)
_COPULA = re.compile(r"[ ](?:is|are|was|were|would be|should be)\b")
_NEXT_LABEL = re.compile(r"[;,。.]?\s?\(?([A-Z])[ ]?[.:、)]")
_NEXT_ROW = re.compile(r"[ ]?[:、.][^\n;]+[;\n][-\s]{0,4}\(?([A-Z])[ ]?[.:、)]")
_NEW_WORDS = re.compile(r"[ ][^\W\d_A-Za-z]")
_NEW_LINE = re.compile(r"\n[-\s]{0,4}$")
_LETTER = re.compile(
    r"(?:(?<![\w°-])(?<!\d )|(?<=选项)|(?<=只有)|(?<=因此)|(?<=所以)|(?<=认为)|(?<=答案)|(?<=选择)|(?<=叙述)"
    r"|(?<=[故题仅但则把将选除而及和与]))"
    r"\(?[ ]?(?:[Oo]ptions? |[Bb]oth )?(?=[A-Z](?![a-z]))"
)


@dataclass(frozen=True)
class Statement:
    """Who is chosen, urged, best, right, wrong, fit (what is asked for) or unfit; `labels` is "" where void.

    `firm`: said of no other, or of all in all.
    """

    act: str
    labels: str
    start: int
    end: int
    firm: bool = False
    lettered: bool = True


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
    fits = FITS.match(r.text, named.end)
    return bool(WRONG.match(r.text, named.end) or (fits and (fits["not"] or fits["off"])))


def settled(r: Reply, at: int, texts: bool, closed: bool = False) -> Named | None:
    """The names at `at` as a verdict: void for one of several, None when asked, called wrong or part of a word."""
    rows = read_rows(r, at, len(r.text))  # "答案:A. …", and "B. …" in the next line
    if rows and rows.own:
        return Named(rows.labels, rows.end, worded=True, lettered=True, apart=True)
    by_line = bool(rows or _NEW_LINE.search(r.text[max(0, at - 20) : at]))
    named = named_at(r, at, texts, lower=True, by_line=by_line)
    if not named or QUESTION.match(r.text, named.end):
        return None
    wrong = is_called_wrong(r, named)
    if OR.match(r.text, named.end) or (_EITHER.match(r.text, named.end) and not wrong):
        return replace(named, labels="")
    goes_on = by_line and _NEXT_LABEL.match(r.text, named.end)
    next_row = _NEXT_ROW.match(r.text, named.end) if by_line and named.labels else None
    more = next_row and next_row[1] > named.labels[-1]
    if more or (rows and named.labels != rows.labels) or (goes_on and goes_on[1] in r.labels - set(named.labels)):
        return replace(named, labels="")  # a list, one a line, of which not all could be read
    part = r.text[named.end - 1] == ")" and r.text[named.end - 2].islower() and not named.worded
    if part and not END.match(r.text, named.end):
        return None  # "(a) …, (b) …" are parts of an answer
    if in_lines(r, named):
        return replace(named, labels="")
    copula = closed and named.worded and named.lettered and _COPULA.match(r.text, named.end)
    ends = (
        copula
        or (len(named.labels) > 2 and _NEW_WORDS.match(r.text, named.end))
        or (r.text[named.end - 1] == ")" and not closed)
        or (END if closed else CLEAR).match(r.text, named.end)
    )
    if wrong or not (ends or (not closed and not named.loose and _ALL_OF_THEM.match(r.text, named.end))):
        opened = "(" in r.text[max(0, at - 1) : at + 1] and ")" not in r.text[at : named.end]
        return (
            replace(named, labels="") if opened and named.loose else named.loose
        )  # "(B, C and A in reverse)": more than a list
    return named


def said(act: str, r: Reply, start: int, named: Named | None, firm: bool = False) -> Iterator[Statement]:
    """Yields the statement in which they are named at `start`, if there is one and nothing denies it."""
    if named and not is_denied(r, start):
        yield Statement(act, named.labels, start, named.end, firm, named.lettered)


def letter_lists(r: Reply) -> Iterator[tuple[int, Named]]:
    """The start and the list of all letters in the reply that are not inside a word."""
    after = 0
    for match in places(_LETTER, r.text):
        named = named_at(r, match.start()) if match.start() >= after else None
        if named and named.labels and not goes_before(r, match.start()):
            yield match.start(), named
        after = max(after, named.end if named else 0)
