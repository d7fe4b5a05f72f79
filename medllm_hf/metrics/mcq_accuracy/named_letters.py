"""Reads which of a question's letters are named at a place in a reply (rules 2 and 3 of extraction.py)."""

import re
from collections import Counter
from dataclasses import dataclass

from .plain_text import LOWER, plain, without_thought

# How much of a long reply is read, in characters: a verdict stands at its beginning or at its end.
_BEGINNING, _END = 8_000, 16_000
_FIRST, _LAST = 40, 120  # of the places where something may be said
_TELLING, _HEAD = 6, 20  # characters of an option's text that tell which one a cut reply gives; the most before them

# A letter or a run of letters with what may stand around it; what joins letters; what makes them alternatives.
_RUN = re.compile(
    r"\(?[ ]?(?:(?:选项|选(?=[A-Z])|字母|第|[Oo]ptions?\b|OPTIONS?\b|[Cc]hoices?\b|[Ll]etters?\b|[Bb]oth\b)[ ]?)*\(?[ ]?"
    r"([A-Z]+|(?!e\.[ ]?g|i\.[ ]?e|[ap]\.[ ]?m)[a-z](?!\())(?![A-Za-z0-9'])(?!-\w)(?:[ ]?\))*(?:选项|项)?"
)
_BEFORE_TEXT = re.compile(r"[ ]?[.、:)(,—=-]*[ ]?\(?")
# A name in another writing or an abbreviation: "B（COPD）", "C、D（HAV、HEV）".
_GLOSS = re.compile(r"[ ]?\((?=[A-Z][A-Za-z0-9-])(?!选项|[Oo]ption)[^()\n]{2,60}\)")
_OPENING = re.compile(r"\(?[ ]?")
_LETTER_AFTER_TEXT = re.compile(r"[ ]?\((?:选项|[Oo]ption[ ])?[ ]?([A-Z])[ ]?(?:选项|项)?\)")
_JOINT = re.compile(
    r"\s*(?:(?<=[A-Z) ])(?:e|y|et|und|и|và)[ ](?=\(?[A-Z](?![A-Za-z]))"
    r"|[、,;]?[ ]?(?:以及|と|와|과|和|与|及|还有|and\b|as well as\b|&|\+)|、"
    r"|\.(?=[A-Z](?![A-Za-z]))|\.[ ](?=(?:[A-Z]\.[ ])*[A-Z]\.?(?:\n|$)))\s*"
)
_LOOSE = re.compile(r"[ ]*[,;]\s*|[ ]+|(?=\()")
_NEXT_LINE = re.compile(r"\s*\n[-\s]*")
OR = re.compile(r"\s*[,、]?\s*(?:或者?|还是|抑或|or\b|/)\s*")

# Letters that a list goes on with but that are not read, by their case or by what joins them: it must not pass for whole.
_JOINER = (
    r"(?:(?:[ ]?(?:[、,;&+/|·~.—-]|以及|和|与|及|跟|同|还有|或者?|and\b|or\b|plus\b|as well as\b)){1,2}\s?|[ ]|(?=\())"
    r"\(?[ ]?(?:选项|字母|[Oo]ptions?[ ]|[Ll]etters?[ ])?\(?"
)
_MORE = re.compile(rf"(?:{_JOINER}(?!e\.[ ]?g|i\.[ ]?e|[ap]\.[ ]?m)[A-Za-z](?![A-Za-z0-9'])[ ]?\)?(?:选项|项)?){{1,25}}")
_MORE_ENDS = re.compile(r"[ ]?\)?(?:$|[\n,;。!]|[.](?:$|\s)|[是都均皆全因正对为]|(?:is|are|because|since|as|both|all)\b)")
_POINT_ENDS = re.compile(r"[ ]?\)?(?:[.,]?[ ]?(?:$|\n)|[。!,;]|因为|because\b)")
_MORE_LINES = re.compile(
    r"(?:[ )]{0,3}\n[-\s]{0,4}\(?(?:选项|[Oo]ption )?[A-Za-z](?![A-Za-z0-9])\)?(?:选项|项)?){1,25}"
    r"(?=[ ]?(?:[.!]?[ ]?(?:$|\n)|。|,?因为|because\b|是?正确|[都均]))"
)
_E = re.compile(r"(?<![^\W\d_])[a-z]\)? e \(?[a-z](?![^\W\d_])")  # "a e c" is two letters in Portuguese and Italian
_LETTERS = re.compile(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])")
_BEFORE = re.compile(rf"(?<![A-Za-z])([A-Za-z])\)?(?:选项|项)?(?:{_JOINER})$")

# What ends a list for certain, and what may follow it in a sentence. Anything else makes the last letter part of a word.
END = re.compile(r"[ ]?(?:$|\n|[^\w\s%°/~|>=+^→-]|-(?!\w))")
CLEAR = re.compile(
    END.pattern
    + r"|[ ]?(?:[二两三四五六]?(?:个?选项|[项个者]))?(?:$|[^\w\s%°/~|>=+^→-]|因|由于|理由|原因|而|不选|不是|非|即|这|该|本"
    r"|です|である|だ(?=[。\n]|$)|입니다|이다|吧|哦|呢|了|啦|嘛|最|更|才|正确|对|是正确|是对|是因|符合|解|分析|答案|根据|依据|属于|故|所以|以上"
    r"|i\.[ ]?e\b|(?:because|since|as|due|which|for|given|rather|instead|over|here|based|is|are|and not|not)\b)",
    re.I,
)
_TEXT_ENDS = re.compile(
    END.pattern
    + r"|[是为](?=正确|错误|不|最|[本该]题|唯一|符合)|的?(?:可能性|说法|描述|表述)|不(?:正确|对|符合|属于)|正确|错误|属于|符合"
    r"|[ ]?(?:解析|解释|理由|分析|因为|根据|依据)|[ ]答案|[ ](?:is|are|was|were|would be|should be)\b"
)


@dataclass(frozen=True)
class Reply:
    """A reply in plain form (`low` in lower case, same length) with its item's letters and option texts, longest first.

    `shortened`: of a long reply only the beginning and the end are here.
    """

    text: str
    low: str
    labels: frozenset[str]
    texts: tuple[tuple[str, str], ...]
    shortened: bool = False


@dataclass(frozen=True)
class Named:
    """What is named up to `end`: letters, or "" where it is void.

    `worded`: by option texts; `lettered`: by letters; `apart`: one by one; `spaced`: with blanks between; `loose` is the part
    before the first comma or space.
    """

    labels: str
    end: int
    worded: bool = False
    lettered: bool = False
    apart: bool = False
    spaced: bool = False
    loose: "Named | None" = None


def reply_to(reply: str, options: dict[str, str]) -> Reply:
    """The reply to a question with `options` (letter → text) as the rules read it."""
    said = without_thought(reply)
    shortened = len(said) > _BEGINNING + _END
    text = plain(f"{said[:_BEGINNING]}\n{said[-_END:]}" if shortened else said)
    texts = {(plain(option).strip(" .。;,").translate(LOWER), label) for label, option in options.items()}
    texts |= {(re.sub(r"^(?:an?|the) |\s*\([^()]*\)$", "", text), label) for text, label in texts}
    owners = Counter(text for text, _ in texts)
    own = sorted((pair for pair in texts if pair[0] and owners[pair[0]] == 1), key=lambda pair: -len(pair[0]))
    return Reply(text, text.translate(LOWER), frozenset(options), tuple(own), shortened)


def places(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """The matches of `pattern`; of very many the first and the last, so that a reply that repeats itself costs no more."""
    found = list(pattern.finditer(text))
    return found if len(found) <= _FIRST + _LAST else found[:_FIRST] + found[-_LAST:]


def named_at(reply: Reply, at: int, texts: bool = False, lower: bool = False, by_line: bool = False) -> Named | None:
    """The list of letters at `at`, None when there is none.

    Args:
        texts: option texts count too.
        lower: a single lower-case letter counts too.
        by_line: the list may go on in the next lines.
    """
    whole = _one(reply, at, texts, lower)
    if not whole:
        return None
    while whole.labels:
        joint = _JOINT.match(reply.text, whole.end)
        gap = joint or _LOOSE.match(reply.text, whole.end)
        if not gap and by_line:
            gap = _NEXT_LINE.match(reply.text, whole.end)
        small = lower and gap is not None and (bool(gap[0].strip(" ")) or reply.text[at : whole.end].islower())
        named = _one(reply, gap.end(), texts, small, whole.labels) if gap else None
        if not gap or not named or not (joint or _goes_on(reply, whole, named)):
            again = named and len(whole.labels) > 1 and whole.apart and set(named.labels) & set(whole.labels)
            if again and named and _LOOSE.match(reply.text, named.end):
                return Named("", named.end, lettered=True)  # "B, D, A, A, C": the answers of several questions
            break
        repeated = not named.labels or set(named.labels) & set(whole.labels)
        whole = Named(
            "" if repeated else whole.labels + named.labels,
            named.end,
            worded=whole.worded or named.worded,
            lettered=whole.lettered or named.lettered,
            apart=True,
            spaced=whole.spaced or gap[0].isspace(),
            loose=whole.loose or (None if joint else whole),
        )
    alternative = OR.match(reply.text, whole.end)
    other = alternative and _one(reply, alternative.end(), texts, lower)
    if not other and whole.labels and (_is_part(reply, whole) or (not whole.worded and _E.search(reply.text, at, whole.end))):
        return Named("", whole.end, lettered=whole.lettered)
    return Named("", other.end, lettered=whole.lettered) if other else whole


def _is_part(reply: Reply, whole: Named) -> bool:
    """Whether letters of the question follow that belong to the list but are not read ("A | B", "B e C", "B" and "d" below)."""
    more = None if whole.worded else _MORE.match(reply.text, whole.end)
    letters = set(_LETTERS.findall(more[0])) if more else set()
    if not more or not {letter.upper() for letter in letters} <= reply.labels - set(whole.labels):
        return False
    ends = _POINT_ENDS if more[0].lstrip(" ")[0] == "." else _MORE_ENDS  # a new sentence may speak of the others
    return bool(ends.match(reply.text, more.end()))


def goes_on(reply: Reply, end: int) -> bool:
    """Whether letters stand after `end`, joined to what ends there or alone in the next lines."""
    more = _MORE.match(reply.text, end)
    if more and re.match(r"[ ]?(?:[.]|\(?[A-Za-z](?![A-Za-z)]))", more[0]):
        more = None  # "B) A …" goes on with words
    more = more or _MORE_LINES.match(reply.text, end)
    return bool(more and {letter.upper() for letter in _LETTERS.findall(more[0])} <= reply.labels)


def in_lines(reply: Reply, named: Named) -> bool:
    """Whether the next lines are other letters of the question, one a line, and nothing more."""
    more = _MORE_LINES.match(reply.text, named.end)
    letters = {letter.upper() for letter in _LETTERS.findall(more[0])} if more else set()
    return bool(letters - set(named.labels)) and letters <= reply.labels


def goes_before(reply: Reply, at: int) -> bool:
    """Whether a letter of the question that is not read is joined to the list at `at`, so that the list is only its end."""
    at += len(reply.text[at : at + 3]) - len(reply.text[at : at + 3].lstrip("( "))
    before = _BEFORE.search(reply.text, max(0, at - 30), at)
    return bool(before and before[1].upper() in reply.labels)


def matched(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    """The match at `at` of a pattern that takes the empty text too, so that there always is one."""
    found = pattern.match(text, at)
    assert found is not None, pattern.pattern
    return found


def _goes_on(reply: Reply, whole: Named, named: Named) -> bool:
    """Whether `named`, after a comma or a space, belongs to the list and does not begin a new sentence ("选B，B项…")."""
    if not named.labels:
        return bool(END.match(reply.text, named.end))
    return not set(named.labels) & set(whole.labels) and not re.match(r"[ ]?[:—]", reply.text[named.end : named.end + 2])


def _one(reply: Reply, at: int, texts: bool, lower: bool, before: str = "") -> Named | None:
    """The letter, run of letters or option text at `at`, void for letters that the question lacks; `before`: listed so far."""
    run = _RUN.match(reply.text, at)
    if run and run[1].islower() and not (lower and len(run[1]) == 1):
        run = None
    if run and run[1] in reply.labels and (own := _with_own_text(reply, run[1], run.end())).worded:
        return own
    opening = matched(_OPENING, reply.text, at).end()
    said = _text_at(reply, opening) if texts else None
    if said and (not run or said[1] >= run.end(1)):
        end = said[1] + (opening > at and reply.text.startswith(")", said[1]))
        rival = run and run.end(1) == said[1] and set(run[1].upper()) <= reply.labels and run[1].upper() != said[0]
        letter = _LETTER_AFTER_TEXT.match(reply.text, end)
        rival = rival or (letter and letter[1] != said[0])
        gloss = letter or _GLOSS.match(reply.text, end)
        return Named("" if rival else said[0], gloss.end() if gloss else end, worded=True, lettered=bool(letter))
    if not run:
        return None
    letters = run[1].upper()
    if not set(letters) <= reply.labels or len(set(letters)) < len(letters):
        return Named("", run.end(), lettered=True) if CLEAR.match(reply.text, run.end()) else None
    return _with_own_text(reply, letters, run.end(), before)


def _with_own_text(reply: Reply, letters: str, end: int, listed: str = "") -> Named:
    """The letters that end at `end`, with the text of that option after them; void where it is another option's text."""
    before = matched(_BEFORE_TEXT, reply.text, end)
    said = _cut_text(reply, letters, before.end()) or _text_at(reply, before.end())
    if said and "、" in before[0] and reply.text[before.end() : said[1]] in reply.labels:
        said = None  # "A、C" are two letters, also where C is a text
    ended = bool(said and (_TEXT_ENDS.match(reply.text, said[1]) or _JOINT.match(reply.text, said[1])))
    if said and said[0] == letters and (ended or not before[0]):
        end = said[1] + ("(" in before[0] and reply.text.startswith(")", said[1]))
        gloss = _GLOSS.match(reply.text, end)
        return Named(letters, gloss.end() if gloss else end, worded=True, lettered=True)
    if said and ended and said[0] not in letters + listed and "," not in before[0]:
        return Named("", said[1], lettered=True)
    gloss = _GLOSS.match(reply.text, end)
    return Named(letters, gloss.end() if gloss else end, lettered=True)


def _cut_text(reply: Reply, letter: str, at: int) -> tuple[str, int] | None:
    """The label, `letter` if it may be, and the end of a reply that is no more than an option's text, which was cut."""
    rest = reply.low[at:] if at <= _HEAD and "\n" not in reply.low else ""
    found = sorted({label for text, label in reply.texts if text.startswith(rest)}) if len(rest) >= _TELLING else []
    return (letter if letter in found else found[0], len(reply.low)) if found else None


def _text_at(reply: Reply, at: int) -> tuple[str, int] | None:
    """The label of the longest option text that stands at `at`, and where it ends."""
    for text, label in reply.texts:
        end = at + len(text)
        if reply.low.startswith(text, at):
            word = re.match(r"[a-z0-9]", text[-1]) and re.match(r"[a-z0-9%]|\.\d", reply.low[end : end + 2])
            if not word:
                return label, end
    return None
