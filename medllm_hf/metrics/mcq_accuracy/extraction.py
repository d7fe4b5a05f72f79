"""Finds the letters that a reply to a multiple-choice question chooses. What is unclear is not guessed: it is None.

README.md has the rules in Chinese and English with examples.
 1. What stands in a thought (<think>, gpt-oss's channels and the like) is never read; Markdown, LaTeX, quotes and full-width
    forms become plain text first (plain_text.py).
 2. A list is letters or whole option texts joined by 、 和 "and" commas, spaces or nothing (named_letters.py). The longest text
    counts. "A or B", a letter that the question lacks, and a letter beside another option's text make the list void.
 3. A letter inside a word or a term (B超, AB型, vitamin B) is no letter. A lower-case letter counts in a verdict, or alone.
 4. The reply is read as statements (clauses.py): who is named, chosen or judged right or wrong, by which verb, in which order.
 5. A negated, doubted, conditional or questioned statement, or one that is said of others, is none.
 6. A first or last line that is nothing but a list is a verdict, unless the reply lists several options line by line; so is
    such a line after "I would select:". An "A. …" in the first line stands where the others below it are denied.
 7. The last verdict before a next question counts. Where it is void or taken back ("等等", "wait"), or one of three and more
    different answers or after five changes of mind, none of which is called final, the reply is unparsed; so is a thought
    without its marks that was cut.
 8. Without a verdict: option texts after 应选 and the like; else what is judged right where nothing is called wrong, or alone
    among others that are; else option texts that end a sentence after 是, 为 or "is"; else what completes the question's own
    words; else a first "B) …" that is the only one of its kind. Those of the first kind that is there must agree.
 9. Where the question is given (stems.py) and asks for what is wrong or does not belong, "wrong" answers it instead of "right".
10. Where it is known that one letter is wanted, several are no answer, and the only option that is not called wrong is one.
    Where several are wanted, a reply that is nothing but some options with their texts chooses them (option_rows.py); one
    that breaks off in such a list does not.
"""

import re
from collections.abc import Callable, Sequence
from itertools import islice
from unicodedata import normalize

from .clauses import read_statements
from .denials import is_denied
from .named_letters import Named, Reply, goes_on, matched, named_at, places, reply_to
from .option_rows import read_rows
from .plain_text import LOWER, plain
from .statements import Statement, is_listing, names_all
from .stems import Stem, read_stem

_LINE = re.compile(r"[^\n]+")
_NUMBER = re.compile(r"[-\s]{0,9}(?:第?\d+题?\s?[.、:)]\s?)?")
# "g D i.e., …" and "g B (Intrinsic)": what is left of "Ans".
_STRAY = re.compile(r"\s{0,3}[a-z]\.?[ ](?=[A-Z][ ](?:i\.e\b|\())")
_ALONE = re.compile(r"[ ]?[).。、:,;!]{0,9}\s?$")
_CUT = re.compile(r"[^\n]*:$|[-\s]{0,4}\([^)\n]*$")
# "…的不同表现在:" and "A." below: the first option of a list that breaks off.
_BEGUN = re.compile(
    r"(?<!答案)(?<!选择)(?<!选项)(?<!为)(?<!是)(?<!answer)(?<!choice)(?<!option)(?<!select)(?<! is):\n[-\s]{0,4}\(?A[.:、)]$"
)
_HEAD = re.compile(
    r"[ ]?(?:[。!]|[.,:;]?[ ]?(?:i\.e\b|因为|由于|因此|所以|理由|原因|解析|解释|分析|说明|根据|依据"
    r"|because\b|since\b|explanation|reason|as\b))",
    re.I,
)
_LABEL = re.compile(
    r"(?:^|(?<=[\s;。,?.:]))\(?(?:选项|[Oo]ption )?([A-Z])[ ]?(?:[:)](?![ ]?[\d(])|\.(?=[ ]?(?:$|\n|[A-Z]|[^\x00-\x7f])))[ ]?"
)
_MARK = re.compile(r"(?:^|(?<=[\s;。,:]))\(?([A-Z])\)?[.:、)]")
_POINT = re.compile(r"[.。:](?!\d)")
_GOES_ON = re.compile(_POINT.pattern + r"|[ ]\(")
_NO_LABEL = re.compile(
    r"正确|错误|对(?!此|于)|错|不|是|否|违|合法|[√×✓✗]|说法|该|此|您|你|请|我|[A-Z]\b|$"
    r"|(?:right|wrong|true|false|correct|incorrect|yes|no|hello|hi|sure|i)\b",
    re.I,
)
_OTHERS = re.compile(r"其他|其它|其余|余下|\b(?:other|remaining|rest|incorrect)\b", re.I)
_DENIED = re.compile(r"[不非无未没错]|\b(?:not|less|incorrect|wrong|unlikely)\b|n't\b", re.I)
_SAYS_NOT = re.compile(r"\b(?:not|incorrect|wrong|excluded?|eliminated?|ruled out)\b|n't\b|[不非无未没错误除]", re.I)
_FALSE = re.compile(r"错误|不正确|不对|\b(?:incorrect|wrong|false|not (?:correct|true))\b", re.I)
_TAKEN_BACK = re.compile(
    r"[。.!?;\n]\s?(?:等等|等一下|不对|不,|更正|我错了|重新(?:考虑|分析|审题)|(?:hmm,? ?)?wait\b|actually\b|no,)", re.I
)
# So many different answers are a recital, unless the last one says that it is the last.
_MANY, _TURNS, _ANSWER, _FINAL = 3, 5, re.compile(r"答案|answer", re.I), re.compile(r"最终|最后|综上|\bfinal", re.I)
# A last line that is a conclusion and nothing else is said to be the last too.
_CONCLUSION = re.compile(
    r"\n(?:因此|所以|故|(?:therefore|thus|hence|so)\b)[ ]?,?[ ]?"
    r"(?:我|本题|(?:正确)?答案|the|my|correct|best|answer|I|would|应该?|[选是为]|[ ]|is|choose|:)*"
    r"[ (]*(?-i:[A-Z]{1,9})[ )]*[.。!]$",
    re.I,
)
# How a thought begins that has lost its marks, and what it is full of.
_THINKING = re.compile(
    r"(?:okay|ok|alright|all right|hmm+|let me|let's)\b|嗯|好(?:的|吧|,)|首先,(?:这道?|本)?题目?[是问]", re.I
)
_SECOND_THOUGHT, _SECOND_THOUGHTS, _FAR = (
    re.compile(r"\b(?:wait|hmm+|let me)\b|等等|让我|我(?:再|需要|认为)|不过|但题目", re.I),
    2,
    80,
)
# What may stand between the letters of a list that has one a line, and a line that is one small letter.
_LINES_LATER = re.compile(
    r"[ )]{0,3}(?:选项|项)?(?:\n[-\s]{0,4}\(?(?:选项|[Oo]ption )?(?:[A-Za-z](?![A-Za-z0-9])[ ).]{0,3}(?:选项|项)?)?){1,9}"
)
_SMALL = re.compile(r"[-\s]{0,4}\(?(?:选项|[Oo]ption )?[a-z][ ).。,]{0,4}$")
_NEXT = re.compile(
    r"下一[道个]?题|下题[:是]|\n\(?(?:例题|题目|问题|练习|[单多]选题)\)?\d{0,3}\)?[:.、]|\(例题\)|第[二三四五2-5]题"
    r"|\b(?:summari[sz]e|here are|list)\b[^.\n]{0,30}\banswers\b|总结以上问题|\n={2,}[^\n]*\n"
    r"|\n<?(?:Question|Q|Human|User|bot|Assistant|用户|问)>?[ ]?\d{0,3}[:.]"
    r"|请你?(?:说|回答)(?::|[^\n。:]{0,20}问题)|请你?(?:运用|阅读|根据|从)[^\n。]{0,40}(?:选出|选择|给出|回答)",
    re.I,
)
_NEXT_OPTIONS = re.compile(r"[?:。是有为)]\s?\(?A\)?[ ]?[.:、)][ ]?(?=[^\n;]{1,200}?[\n;。, ][ ]?\(?B\)?[ ]?[.:、)])")
_COPULA = re.compile(
    r"(?:(?<![不否])[是为]:?|(?<=诊断):)\s?|(?:\b(?:is|are|would be|will be|should be):?|\brefers? to|, specifically)\s+"
    r"(?:an?\s+|the\s+|to\s+)?",
    re.I,
)
_IN_BRACKETS = re.compile(
    r"(?<![不否])[是为选][^,;。!?()\n]{1,30}\((?:选项|即|[Oo]ption )?[ ]?([A-Z])[ ]?(?:选项|项)?(?:[:.、][^()\n]{1,60})?\)"
)
_IS_OPTION = re.compile(r"\b(?:is|are)\b[^,;!?()\n]{1,60}\((?:[Oo]ption|[Aa]nswer|[Cc]hoice)[ ]([A-Z])\)(?=[ ]?(?:\.?$|\.\s))")
_QUANTITY, _THUS = re.compile(r"[$+-]?\d"), re.compile(r"\b(?:therefore|thus|hence|so)\b|answer", re.I)
_LABELLED = re.compile(r"\(?([A-Z])[ ]?[:)][ ]?(?=[^\W\d_])")
# "A: …" without an end: the others of a question for several may have been to follow.
_BEGINS_LIST = re.compile(r"\(?A[ ]?[.:)][^\n]*[^\n.。!]$")
_OPTION = re.compile(r"[-\s]{0,4}(?:选项|Option )[ ]?[A-Z]")
_LINE_ENDS = re.compile(r"[。.!?\n]")
_NEXT_LABEL = re.compile(r"(?<![A-Za-z])[A-Z][ ]?[:、)]")
_SENTENCE_ENDS = re.compile(
    r"[ ]?(?:[。.!;\n]|$|,?[ ]?(?:因为|由于|其次|because\b|since\b|due to\b|as (?:it|this|the)\b|which (?:is|are)\b))",
    re.I,
)
_COLON = re.compile(r"(?<=[^\n:]{6}):[ ]?(?=\(?[A-Z](?![A-Za-z]))")
_REFUSAL = re.compile(r"抱歉|对不起|不能(?:判断|确定|提供|回答)|无法(?:回答|提供|作答|选择)|\b(?:sorry|unable)\b", re.I)


def extract_choice(reply: str, options: dict[str, str], question: str = "", kind: str = "") -> str | None:
    """The chosen letters in order ("B", "ABD"), or None when the reply does not say clearly.

    Args:
        reply: what the model said.
        options: letter → text of this question; a text may be empty.
        question: its stem without the options, "" where it is not known (rule 9).
        kind: "single" or "multi", as the question is known to want one letter or several; "" where it is not (rule 10).

    >>> extract_choice("A对听力无影响，故选B。", {"A": "青霉素", "B": "链霉素"})
    'B'
    >>> extract_choice("The answer is streptomycin.", {"A": "Penicillin", "B": "Streptomycin"})
    'B'
    >>> extract_choice("缺乏维生素B", {"A": "青霉素", "B": "链霉素"}) is None
    True
    >>> extract_choice("只有B是错误的。", {"A": "青霉素", "B": "链霉素"}, "下列说法不正确的是")
    'B'
    """
    if _is_bare(reply, options):
        return reply
    r, asked = reply_to(reply, options), plain(question)
    choice = _choice(r, read_stem(asked, kind), asked.translate(LOWER))
    return None if choice is None or (kind == "single" and len(choice) > 1) else choice


def _is_bare(reply: str, options: dict[str, str]) -> bool:
    """Whether a reply is one letter of the options, as all choices by likelihood are, and stands in no option's text.

    For these the rules below give the letter too; they need no more than a look here.
    """
    if len(reply) != 1 or not "A" <= reply <= "Z" or reply not in options:
        return False
    return not any(reply in normalize("NFKC", text).upper() for text in options.values())


def _choice(r: Reply, stem: Stem, asked: str) -> str | None:
    statements = read_statements(r, stem)
    verdicts = [one for one in statements if one.act == "chosen"] + _lone_lines(r, stem)
    if any(one.lettered and one.labels for one in verdicts):
        verdicts = [one for one in verdicts if one.lettered or not one.labels]
    if not any(one.labels for one in verdicts):
        verdicts += [one for one in statements if one.firm and one.act in (stem.wanted, "fit", "best")]
    if verdicts:
        return _last(r, verdicts)
    if _breaks_off(r, 0):
        return None
    weaker: tuple[Callable[[], Sequence[str]], ...] = (
        lambda: [one.labels for one in statements if one.act == "urged"],
        lambda: _judged(statements, r, stem),
        lambda: _said_to_be(r, asked) or _completed(r, stem, asked),
        lambda: [] if stem.several and _BEGINS_LIST.match(r.text) else _first_label(r),
    )
    for read in weaker[: 1 if r.shortened else len(weaker)]:
        if said := read():
            agreed = len({frozenset(labels) for labels in said}) == 1
            return "".join(sorted(said[0])) or None if agreed else None
    return None


def _last(r: Reply, verdicts: list[Statement]) -> str | None:
    """The letters of the last verdict that still belongs to this question, unless it is taken back (rule 7)."""
    marker = _NEXT.search(r.text, min(one.end for one in verdicts))
    marked = marker.start() if marker else len(r.text)
    end = _next_options(r, min(one.end for one in verdicts), marked)
    own = [one for one in verdicts if one.start < end]
    last = max(own, key=lambda one: one.end, default=None)
    if last and any(set(one.labels) != set(last.labels) and _LINES_LATER.fullmatch(r.text, one.end, last.start) for one in own):
        return None  # "答案是B" and in the next line "D": perhaps both
    if last is None or _TAKEN_BACK.search(r.text, last.end, end) or _breaks_off(r, last.end):
        return None
    answers = {frozenset(one.labels) for one in own if one.labels and _ANSWER.search(r.text, one.start, one.end)}
    said = [frozenset(one.labels) for one in sorted(verdicts, key=lambda one: one.end) if one.labels and one.start < marked]
    turns = sum(one != other for one, other in zip(said, said[1:], strict=False))
    void = sum(not one.labels for one in own)
    final = _FINAL.search(r.text, max(0, last.start - 30), last.end) or _CONCLUSION.search(r.text, max(0, last.start - 30))
    if (len(answers) >= _MANY or len(answers) + void > _MANY or turns >= _TURNS) and not final:
        return None
    return "".join(sorted(last.labels)) or None


def _breaks_off(r: Reply, after: int) -> bool:
    """Whether the reply is a thought without its marks that was cut long after `after`, which was not its last word."""
    thinks = _THINKING.match(r.text) and len(_SECOND_THOUGHT.findall(r.text)) >= _SECOND_THOUGHTS
    return bool(thinks and len(r.text) - after > _FAR and r.text[-1] not in ".。!?)")


def _next_options(r: Reply, after: int, end: int) -> int:
    """Where the reply goes on with a question of its own and its options between `after` and `end`, else `end`."""
    for match in islice(_NEXT_OPTIONS.finditer(r.text, after, end), 40):
        named = named_at(r, match.end(), texts=True)
        asks = match[0][0] == "?"  # "…吗?A:是;B:否"
        if not (named and named.labels == "A") and (asks or not _NO_LABEL.match(r.text, match.end())):
            return match.start()
    return end


def _may_list(r: Reply, stem: Stem, labels: str) -> bool:
    """Whether options that are listed from A on may be the answer: some to a question for several, all where it says 哪些."""
    return stem.asks_several or (stem.several and set(labels) < r.labels)


def _listed(r: Reply, stem: Stem) -> list[Statement]:
    """The verdict of a reply that is nothing but options with their texts (rule 10)."""
    following = _NEXT.search(r.text)
    end = following.start() if following else len(r.text)
    rows = read_rows(r, 0, end, inline=True, least=1)
    if rows and rows.cut and stem.several:
        return [Statement("chosen", "", 0, rows.end)]
    whole = rows and rows.own and not r.text[rows.end : end].strip(" .。;\n)")
    if not rows or not whole or (len(rows.labels) > 1 and not _may_list(r, stem, rows.labels)):
        return []
    return [Statement("chosen", rows.labels, 0, rows.end)]


def _lone_lines(r: Reply, stem: Stem) -> list[Statement]:
    """The verdicts of rule 6, and of rule 10 where several letters are wanted."""
    if options := _listed(r, stem):
        return options
    lines = places(_LINE, r.text)
    alone = _lines_alone(r, stem, lines)
    if 0 in alone and (following := _NEXT.search(r.text, alone[0].end)):  # what stands in a next question is not this one's
        alone = {number: named for number, named in alone.items() if lines[number].start() <= following.start()}
    if 0 in alone and not alone[0].worded:  # what follows letters alone with letters and texts is a list of what there is
        alone = {number: named for number, named in alone.items() if not (named.worded and named.lettered)}
    if len({frozenset(named.labels) for named in alone.values()}) > 1:
        joint = "".join(named.labels for named in alone.values())
        listed = len(alone) == len(lines) and all(named.worded and named.lettered for named in alone.values())
        from_a = set(joint) == r.labels or "".join(sorted(r.labels)).startswith(joint)
        listing = from_a and not _may_list(r, stem, joint)
        chosen = listed and len(set(joint)) == len(joint) and not listing
        return [Statement("chosen", joint, 0, len(r.text))] if chosen else []
    marked = places(_MARK, r.text)
    marks = "".join(mark[1] for mark in marked)
    several = len(lines) == 1 and 0 in alone and alone[0].labels == marks and len(marks) > 1
    if several and (_may_list(r, stem, marks) or not is_listing(r, alone[0])):  # "C: …; D: …" alone chooses both
        return [Statement("chosen", marks, 0, alone[0].end)]
    rows = (
        0 in alone and alone[0].worded and len(lines) > 1 and marks == "".join(sorted(set(marks))) and len(marks) == len(lines)
    )
    if 0 in alone and (rows or marks.startswith("AB")) and not _heads(r, alone[0], lines, marked):
        alone.pop(0)
    if 0 in alone and not alone[0].lettered and _is_numbered(r, lines):
        alone.pop(0)
    listed = len(marks) > 1 and (ord(marks[-1]) == ord(marks[-2]) + 1 or (marks[-1] == "A" and "B" in marks))
    listed = listed or (len(lines) > 1 and len(marks) == len(lines) == sum(bool(_MARK.match(line[0])) for line in lines))
    if listed and _MARK.match(r.text, lines[-1].start()):
        alone.pop(len(lines) - 1, None)
    last = lines[-1].start() if lines else 0
    cut = len(lines) > 1 and (_CUT.match(r.text, last) or _BEGUN.search(r.text, last - 40) or _is_judged_by_line(r, lines))
    return [
        Statement("chosen", named.labels, lines[number].start(), named.end, lettered=named.lettered)
        for number, named in alone.items()
        if number == 0 or (number == len(lines) - 1 and not cut) or _is_announced(r, named, lines[number - 1][0])
    ]


def _lines_alone(r: Reply, stem: Stem, lines: list[re.Match[str]]) -> dict[int, Named]:
    """The lines, by number, that are nothing but a list, or begin with one where they are the first."""
    alone: dict[int, Named] = {}
    for number, line in enumerate(lines):
        stray = _STRAY.match(r.text) if number == 0 else None
        start = stray.end() if stray else matched(_NUMBER, r.text, line.start()).end()
        named = named_at(r, start, texts=True, lower=len(lines) == 1)
        if not named or not named.labels or (named.worded and (set(named.labels) == r.labels or named.spaced)):
            continue
        if names_all(r, named) and not stem.several:
            continue
        run = len(named.labels) > 1 and not named.worded and not named.apart and _GOES_ON.match(r.text, named.end)
        own = stray and named.worded
        if _ALONE.match(r.text, named.end, line.end()) or (number == 0 and (run or own or _HEAD.match(r.text, named.end))):
            alone[number] = named
    small = {number for number, line in enumerate(lines) if _SMALL.match(line[0])}
    return {number: named for number, named in alone.items() if len(lines) == 1 or not small & {number - 1, number, number + 1}}


def _heads(r: Reply, first: Named, lines: list[re.Match[str]], marked: list[re.Match[str]]) -> bool:
    """Whether what stands alone in the first line answers, though "A. …" and "B. …" are the first marks of the reply."""
    if not first.worded and marked[0].start() >= first.end:
        return True
    begun = [line for line in lines[1:] if _MARK.match(r.text, line.start())]
    if marked[0].start() >= first.end or begun[:1] == lines[1:2]:
        return False
    between = r.text[first.end : begun[0].start()] if begun else ""
    return bool(not begun or _OTHERS.search(between) or all(_DENIED.search(line[0]) for line in begun))


def _is_numbered(r: Reply, lines: list[re.Match[str]]) -> bool:
    """Whether the lines are an enumeration: "1. …" and further on "2. …"."""
    first = re.match(r"[-\s]{0,9}1[.、)]", lines[0][0])
    return bool(first and any(re.match(r"[-\s]{0,9}2[.、)]", line[0]) for line in lines[1:]))


def _is_judged_by_line(r: Reply, lines: list[re.Match[str]]) -> bool:
    """Whether the last line breaks off where others have judged an option each ("选项A正确。", "选项B错误。", "选项C")."""
    begun = [line for line in lines if _OPTION.match(line[0])]
    return r.text[-1] not in ".。!" and len(begun) > 1 and begun[-1] is lines[-1]


def _is_announced(r: Reply, named: Named, before: str) -> bool:
    """Whether letters alone in a line follow a line that ends with a colon and denies nothing ("I would select:")."""
    return not named.worded and before.rstrip().endswith(":") and not _SAYS_NOT.search(before[-200:])


def _judged(statements: list[Statement], r: Reply, stem: Stem) -> list[str]:
    """What is judged to be what the question asks for; nothing where that is unclear."""
    if fit := [one.labels for one in statements if one.act == "fit"]:
        unfit = "".join(one.labels for one in statements if one.act == "unfit")
        complete = stem.several and set("".join(fit) + unfit) == r.labels
        return ["".join(set("".join(fit)))] if complete else fit
    if matching := [one.labels for one in statements if one.act == "matching"]:
        return matching
    wanted = [one.labels for one in statements if one.act == stem.wanted]
    others = [one.labels for one in statements if one.act in (stem.others, "unfit")]
    rest = r.labels - set("".join(others))
    if stem.single and not wanted and "" not in others and len(rest) == 1:
        return list(rest)  # all but one are excluded
    if not others or not wanted:
        return wanted
    chosen, left = set("".join(wanted)), set("".join(others))
    if chosen & left or "" in wanted:
        return [""]
    alone = len(chosen) == 1 and len(left) >= 2
    together = len(wanted) == 1 and len(chosen) > 1
    complete = stem.several and (together or chosen | left == r.labels)
    return ["".join(chosen) if alone or complete else ""]


def _said_to_be(r: Reply, question: str) -> list[str]:
    """The option texts that end a sentence after "is", or are one; none that the question gives, none in a refusal."""
    if _REFUSAL.search(r.text):
        return []
    brackets = [*places(_IN_BRACKETS, r.text), *places(_IS_OPTION, r.text)]
    found = [(match.start(1), match[1] if match[1] in r.labels and not goes_on(r, match.end()) else "") for match in brackets]
    for match in places(_COPULA, r.text):
        named = named_at(r, match.end(), texts=True)
        ends = named and (_SENTENCE_ENDS.match(r.text, named.end) or (named.lettered and r.text[named.end] == ","))
        given = named and not named.lettered and r.low[match.end() : named.end].strip() in question
        given = given or (named and not named.lettered and _is_step(r, match, named.end))
        if named and named.worded and ends and not given and not is_listing(r, named):
            found.append((match.start(), named.labels))
        elif (label := _LABELLED.match(r.text, match.end())) and label[1] in r.labels and not (named and named.worded):
            if label[1] == "A" and not _LINE_ENDS.search(r.text, label.end()):
                continue  # perhaps a list of what there is, cut in its first line
            found.append((match.start(), "" if _NEXT_LABEL.search(r.text, label.end(), label.end() + 300) else label[1]))
    labels = places(_LABEL, r.text)
    for match in labels if len({match[1] for match in labels}) == 1 else []:
        named = named_at(r, match.start(), texts=True)
        denied = named and _FALSE.search(r.text, named.end, named.end + 60)
        if named and named.worded and _SENTENCE_ENDS.match(r.text, named.end) and not denied:
            found.append((match.start(), named.labels))
    return [labels for start, labels in found if not is_denied(r, start)]


def _is_step(r: Reply, copula: re.Match[str], end: int) -> bool:
    """Whether a quantity that is said in English is a step of a calculation that goes on."""
    english = copula[0].isascii() and _QUANTITY.match(r.text, copula.end())
    return bool(english and len(r.text) - end > 200 and not _THUS.search(r.text, max(0, copula.start() - 150), copula.start()))


def _completed(r: Reply, stem: Stem, question: str) -> list[str]:
    """The names after the stem's last words or, with a colon, any of its words; none where the options are repeated too."""
    found = []
    ending = re.compile(re.escape(stem.ending) + r"[\s:,.。()]{0,8}")
    repeated = [match for match in places(_COLON, r.text) if r.low[max(0, match.start() - 6) : match.start()] in question]
    for match in [*(places(ending, r.text) if stem.ending else []), *repeated]:
        named = named_at(r, match.end(), texts=True)
        if not named:
            continue
        labels = {mark[1] for mark in _MARK.finditer(r.text, named.end, named.end + 400)} & r.labels
        if is_listing(r, named) or (named.lettered and labels - set(named.labels)):
            return []
        ends = _SENTENCE_ENDS.match(r.text, named.end) and not re.search(r"[\n.。]", match[0])
        if ends and (stem.several or set(named.labels) != r.labels):
            found.append(named.labels)
    return found


def _first_label(r: Reply) -> list[str]:
    """The letter that begins the reply as a label ("B) …") where no other letter labels anything."""
    labels = places(_LABEL, r.text)
    first = named_at(r, 0, texts=True)
    alone = first and len(first.labels) == 1 and first.worded and first.lettered and len(places(_MARK, r.text)) < 2
    if first and alone and not labels and _POINT.match(r.text, first.end):
        return [first.labels]
    only = labels and labels[0].start() == 0 and len({match[1] for match in labels}) == 1
    if not only or _NO_LABEL.match(r.text, labels[0].end()) or _REFUSAL.search(r.text):
        return []
    if labels[0][1] == "I" and "II" in r.text:
        return []  # a Roman number
    named = named_at(r, 0, texts=True)
    return [named.labels if named and labels[0][1] in r.labels and not goes_on(r, named.end) else ""]
