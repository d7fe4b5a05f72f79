"""Reads the scores out of a judge's reply. What is unclear is not guessed: the reply is unscored, with the reason.

1. Only what follows a closing </think>, or gpt-oss's mark of a final channel, is read. Full-width signs, Markdown and tags
   become plain text first.
2. A verdict is a JSON object, or labelled lines ("Accuracy: 4", "准确性：4分"), in any order and either language.
3. What the judge quotes (in quotation marks, after > or |) is no verdict.
4. A verdict is complete when it names every criterion. The last complete one counts; parts of two are never put together.
   Labels belong together when all of them follow one another at once, or all with reasons in between.
5. A criterion with two scores, a range, a scale of another length, or none in place of a number makes its verdict unusable.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .quasi_json import Pairs, decode

BREAK = "\x00"  # stands in plain text where one verdict cannot go on

# How thoughts end and begin; those of gpt-oss end where the final channel, or a text without a channel, begins.
_THOUGHT_END = re.compile(
    r"</(?:seed:)?think(?:ing)?>|<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>|<\|end\|>(?!\s*<\|)"
)
_THOUGHT = re.compile(r"<(?:seed:)?think(?:ing)?>|<\|channel\|>")

# Labelled lines, "criterion: score", with what stands between one and the next.
_NUMERALS = dict(zip("零一二三四五六七八九十", range(11), strict=True)) | {"两": 2}
_ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER_WORDS = {word: i for i, word in enumerate(_ENGLISH)}
_NUMBER = re.compile(
    r"(?P<number>[-+]?\d+(?:\.\d+)?)(?P<half>\s*分半|\s+and a half)?"
    r"|(?P<numeral>[零一二两三四五六七八九十])(?P<point>点五|分半)?"
    rf"|(?P<english>{'|'.join(_NUMBER_WORDS)})\b(?P<after>\s+and a half\b)?"
    r"|(?P<none>n/?a\b|none\b|null\b|unknown\b|not applicable\b|无法评[分判]|无法判断|不适用|无|未知|\?+|[x_]+(?![^\W_]))",
    re.I,
)
_UNIT = re.compile(r"\s*(?:分(?!\w)|分(?=[/(])|points?\b|pts?\b|stars?\b|星)", re.I)
_OUT_OF = re.compile(
    r"\s*(?:/|(?:out\s+)?of\b|\(?满分|\(?out of)\s*(?P<length>\d+)(?:\.0)?\s*(?:分|points?\b)?(?!\s*\w)\s*\)?", re.I
)
_ANOTHER = re.compile(
    r"\s*(?:-+>|~|→|=>|\bto\b|\bor\b|到|至|或者?|改为|/)\s*[-+]?\d|[-–—]\d"
    # A dash between spaces may begin the reason, and that with a number.
    r"|\s*(?:[-–—,])\s*\d+(?:\.\d+)?\s*(?:分|points?\b|/|[;。)|]|$|\n)",
    re.I,
)
_END = r"""\s*(?=$|[\n\x00,;。、|)\]}"'!(\[:]|\.(?!\d)|-\s|\s[-–—]|[–—])"""
# What may stand before a label at the beginning of a line: bullets, numbers, signs of a table or of an object.
_LEAD = (
    r"^[-+•·▪●○◆■>|({\[, \t]*(?:\(?(?:\d{1,2}|[一二三四五六七八九十])[.)、:][ \t]*)?"
    r"(?:(?:score|rating) (?:for|of) )?"
)
_NOUN = r"(?:scores?\b|ratings?\b|得分|评分|分数|打分)?"
_LINK = (
    rf"[ \t]*{_NOUN}[ \t]*"
    rf"(?:(?:[:=|]|-+>|[–—→]|(?<!\s)-|-(?=\s)|\bis\b|[为是打给])[ \t]*[\"'(\[]*{_NOUN}[ \t]*[:=]?[ \t]*[\"'(\[]*)?"
)
_SCORE_LINE = re.compile(
    r"^[ \t]*[-+•·|]*[ \t]*(?:[本该此]项)?(?:scores?|ratings?|得分|评分|分数|打分)"
    r"[ \t]*(?:\([^()\n]{0,12}\))?[ \t]*[:=为|][ \t]*",
    re.I,
)
# A criterion that has a line to itself: what may stand before and after its name.
_AROUND = re.compile(
    r"^\W*(?:(?:\d{1,2}|[一二三四五六七八九十])[.)、:]\s*)?|(?:\s*\([^()]*\))?(?:评价|点评|分析|评分|得分)?(?:\s*\([^()]*\))?\W*$"
)
# A score at the end of a line, after the reason for it; and whose word that may be in place of the judge's.
_TAIL = re.compile(
    r"(?P<before>[^\n]*?)[,;。:(!]\s*(?P<score>(?:\d(?:\.\d+)?|[一二三四五六七八九十])\s*(?:分(?!\w)|points?\b|/\s*\d))[^\w\n]*$",
    re.I,
)
_A_SCORE = re.compile(r"(?:\d|[零一二两三四五六七八九十满])\s*(?:分(?![钟之别为析布泌娩])|points?\b)|\d\s*/\s*\d", re.I)
_CLAIMED = re.compile(r"claim|demand|wants?\b|asks? for|wrote|要求|声称|自称|自评|写道|宣称", re.I)
# A line that begins another verdict, and a beginning of a line that a verdict may follow.
_HEADING = re.compile(
    r"^\W*(?:(?:my|the|an?)\s+)?(?:(?:final|revised|updated|corrected|initial|first|second|draft|preliminary|new)\s+)*"
    r"(?:scores?|ratings?|verdicts?|pass|draft|thoughts|round|evaluation|assessment)\W*$"
    r"|^\W*(?:最终|修订|修正|更正|初步|首次|重新|复核|第.[次轮])[后的]?(?:评[分价]|打分|得分|结[论果]|意见)?\W*$"
    r"|^\W*(?:评分|打分|得分)(?:结果)?\W*$",
    re.I,
)
_QUOTES = re.compile(  # so long at most, so that a text of opening marks is read once
    r"“[^”]{0,5000}+”|「[^」]{0,5000}+」|『[^』]{0,5000}+』|‘[^’]{0,5000}+’|《[^》]{0,5000}+》"
    r"|(?<![\w\"])\"(?=\S)[^\"]{0,5000}+(?<=\S)\"(?!\w)|(?<![\w'])'(?=\S)[^'\n]{0,5000}+(?<=\S)'(?!\w)"
)
_PREFACE = re.compile(
    r"^[^\n\"']{0,60}?(?:scores?|ratings?|verdict|评分|打分|得分|结果|综上|总结)[^\n\"'\d]{0,20}?[:,]\s*", re.I
)
_OTHERS = re.compile(
    r"doctor|patient|user|transcript|dialogue|claim|demand|ask|wrote|wants|said|医生|患者|病人|对话|要求|声称|自称|写道", re.I
)


@dataclass(frozen=True)
class Scale:
    """What a criterion's score may be: a number from `low` to `high` in steps of `step`, or one of `words`."""

    low: float
    high: float
    step: float
    words: Mapping[str, float]


@dataclass(frozen=True)
class Label:
    """A criterion with its score, or with the reason why it has no clear one.

    Attributes:
        start: Its place in the text.
        gap: Lines of text between it and the label before.
        breaks: Whether another verdict begins in between.
    """

    key: str
    score: float | str
    start: int
    gap: int
    breaks: bool


def plain(text: str, names: Mapping[str, Sequence[str]]) -> str:
    """`text` with ordinary signs, without Markdown, tags and quoted lines; code fences are breaks."""
    text = unicodedata.normalize("NFKC", re.sub(r"(\d)\s*½", r"\1.5", text).replace("½", "0.5"))
    text = "\n".join(text.splitlines())
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf" and (sign in "\n\t" or sign.isprintable()))
    text = re.sub(rf"<\s*({_any_name(names)})\s*>\s*([^<>]*?)\s*</\s*\1\s*>", r"\1: \2\n", text, flags=re.I)
    text = re.sub(r"<br\s*/?>", "\n", text, flags=re.I)
    text = re.sub(r"</?[a-z][^<>\n]{0,80}>", "", text, flags=re.I)
    text = re.sub(r"^[ \t]*```.*$|```", BREAK, text, flags=re.MULTILINE)
    text = re.sub(r"~~[^~\n]*~~|[*`#]|\\(?=_)", "", text)
    # Criteria that stand on one line, each with its reason, are lines of their own.
    text = re.sub(rf";[ \t]*(?=(?:{_any_name(names)})[ \t]*:)", "\n", text, flags=re.I)
    text = re.sub(r"_{2,}|(?<![^\W_])_(?=[^\W_])|(?<=[^\W_])_(?![^\W_])", "", text)
    # What is quoted in Markdown's way, or copied from the fence; a row of a table ends in a bar too.
    return re.sub(r"^[ \t]*(?:>.*|\|(?!.*\|[ \t]*$).*)$", "...", text, flags=re.MULTILINE)


def key_of(name: str, names: Mapping[str, Sequence[str]]) -> str | None:
    """The criterion that `name` names, whatever its case and the signs between its words."""
    for key, own in names.items():
        if any(re.fullmatch(_loose(one), name.strip(), re.I) for one in (key, *own)):
            return key
    return None


def score_at(text: str, place: int, scale: Scale, after: str = _END) -> tuple[float | str, int] | None:
    """The score that begins at `place`, or why there is no clear one, and where it ends; None if none stands there."""
    if scale.words:
        word = "|".join(sorted(map(re.escape, scale.words), key=len, reverse=True))
        if found := re.compile(rf"({word})(?!\w)", re.I).match(text, place):
            if re.compile(rf"\s*(?:/|\||,|\bor\b|或)\s*(?:{word})(?!\w)", re.I).match(text, found.end()):
                return "more than one answer", found.end()
            ends = re.compile(after).match(text, found.end())
            return (scale.words[found[1].casefold()], found.end()) if ends else None
    found = _NUMBER.match(text, place)
    if not found:
        return None
    score, end = _number(found), found.end()
    if unit := _UNIT.match(text, end):
        end = unit.end()
    if length := _OUT_OF.match(text, end):
        end = length.end()
        if int(length["length"]) != scale.high:
            score = f"a score out of {length['length']}"
    elif _ANOTHER.match(text, end):
        return "more than one number", end
    return (score, end) if re.compile(after, re.I).match(text, end) else None


def labelled(text: str, names: Mapping[str, Sequence[str]], scale: Scale) -> list[Label]:
    """The labels with a score in plain text, in order, those in quotation marks left out."""
    labels: list[Label] = []
    text = _unquoted(text, names)
    place, gap, breaks, waiting = 0, 0, False, None
    for line in text.split("\n"):
        found = list(_in_line(line, names, scale))
        if not found and waiting and (start := _SCORE_LINE.match(line)) and (below := score_at(line, start.end(), scale)):
            found = [(waiting, below[0], 0)]
        for key, score, column in found:
            labels.append(Label(key, score, place + column, gap, breaks))
            gap, breaks, waiting = 0, False, None
        if not found:
            alone = key_of(_AROUND.sub("", line), names)
            waiting = alone or _opened(line, names) or waiting
            breaks = breaks or BREAK in line or bool(_HEADING.match(line))
            gap += bool(re.search(r"\w", line)) and not alone
        place += len(line) + 1
    return labels


def _in_line(line: str, names: Mapping[str, Sequence[str]], scale: Scale) -> Iterator[tuple[str, float | str, int]]:
    """Yields (criterion, score, column) of a line that begins with a label, or with a preface to one."""
    any_name = _any_name(names)
    another = rf"(?:[ \t]*[(/\[][ \t]*(?:{any_name})[ \t]*[)\]]?|[ \t]+(?:{any_name}))*"
    name = (
        rf"[\"']?(?P<names>(?:{any_name}){another})(?![A-Za-z])[\"']?"
        rf"(?:[ \t]*[(\[][^()\[\]\n]{{0,30}}[)\]])?[\"']?{_LINK}"
    )
    first, then = (_compiled(lead + name) for lead in (_LEAD, r"(?:[,;、|/。.)\]}]\s*|\s+|^)(?:and |和)?"))
    after = rf"{_END}|\s*[/]\s*(?:{any_name})|\s+(?:{any_name})"
    place, pattern = 0, first
    if (preface := _PREFACE.match(line)) and not _OTHERS.search(preface[0]) and not first.match(line):
        line, pattern = " " * preface.end() + line[preface.end() :], then
    while found := (pattern.match if pattern is first else pattern.search)(line, place):
        score = score_at(line, found.end(), scale, after)
        keys = {key for one in re.findall(any_name, found["names"], re.I) if (key := key_of(one, names))}
        if score and len(keys) == 1:
            yield keys.pop(), score[0], found.start("names")
        elif pattern is first:
            if len(keys) == 1 and (tail := _tail_score(line, found.end(), names, scale)):
                yield keys.pop(), tail, found.start("names")
            return
        place, pattern = (score[1] if score else found.end()), then


def _opened(line: str, names: Mapping[str, Sequence[str]]) -> str | None:
    """The one criterion with whose name and a colon a line without a score begins: the score may stand in a line below."""
    found = _compiled(rf"{_LEAD}({_any_name(names)})[ \t]*(?:\([^()\n]{{0,30}}\))?[ \t]*:").match(line)
    if not found or len(re.findall(_any_name(names), line, re.I)) > 1:
        return None
    return key_of(found[1], names)


def _tail_score(line: str, place: int, names: Mapping[str, Sequence[str]], scale: Scale) -> float | str | None:
    """The score that ends a line after a reason, if no other score and no other criterion stands in it."""
    found = None if scale.words else _TAIL.match(line, place)
    if not found or _CLAIMED.search(found["before"]) or re.search(_any_name(names), found["before"], re.I):
        return None
    if len(_A_SCORE.findall(line, place)) > 1:
        return "more than one number"
    score = score_at(found["score"], 0, scale)
    return score and score[0]


def _number(found: re.Match) -> float | str:
    half = 0.5 * bool(found["half"] or found["point"] or found["after"])
    if found["number"]:
        return float(found["number"]) + half
    if found["numeral"]:
        return _NUMERALS[found["numeral"]] + half
    return _NUMBER_WORDS[found["english"].lower()] + half if found["english"] else "no score"


def _unquoted(text: str, names: Mapping[str, Sequence[str]]) -> str:
    """`text` of which every quotation with a label and a number in it is blotted out."""
    told = re.compile(rf"(?:{_any_name(names)})\W{{0,6}}[\w ]{{0,10}}\W{{0,3}}\d", re.I)
    return _QUOTES.sub(lambda found: re.sub(r"[^\n]", ".", found[0]) if told.search(found[0]) else found[0], text)


@functools.cache
def _compiled(pattern: str) -> re.Pattern:
    return re.compile(pattern, re.I)


def _any_name(names: Mapping[str, Sequence[str]]) -> str:
    every = {name for key, own in names.items() for name in (key, *own)}
    return "|".join(map(_loose, sorted(every, key=len, reverse=True)))


@functools.cache
def _loose(name: str) -> str:
    # A number of a point must not go on: "Point 1" is not the beginning of "Point 12".
    return r"[\s_-]*".join(map(re.escape, re.split(r"[\s_]+", name))) + (r"(?!\d)" if name[-1].isdigit() else "")


# Verdicts in JSON objects, also those that are only nearly JSON, of which so many are searched for their end.
_ATTEMPTS = 20
_SCORE_NAMES = ("score", "value", "rating", "points", "met", "criteria_met", "分数", "得分", "评分", "结果", "满足")
_CRITERION_NAMES = ("criterion", "name", "dimension", "item", "point", "标准", "维度", "指标", "项目", "要点")


def object_verdicts(text: str, names: Mapping[str, Sequence[str]], scale: Scale) -> tuple[list[tuple[int, dict]], str]:
    """(position, scores) of the verdicts in JSON objects, and `text` with all objects blotted out."""
    found, place, failed = [], 0, 0
    for start in re.finditer(r"\{|\[(?=\s*\{)", text):
        if start.start() < place:
            continue
        value, end = decode(text, start.start(), failed < _ATTEMPTS)
        if end is None:
            failed += 1
            continue
        place = end
        if not re.search(r"[\"'“‘「『]$", text[: start.start()]):
            found += [(start.start(), scores) for scores in _collected(value, names, scale)]
        text = text[: start.start()] + BREAK * (end - start.start()) + text[end:]
    return found, text


def _collected(value: object, names: Mapping[str, Sequence[str]], scale: Scale) -> Iterator[dict]:
    """Yields the scores of each verdict in a JSON value: the outermost object that names a criterion, or a list of such."""
    if isinstance(value, dict):
        value = Pairs(value.items())
    if isinstance(value, Pairs):
        own = [(key_of(str(name), names), _score(inner, scale)) for name, inner in value]
        if own := [(key, score) for key, score in own if key and score is not None]:
            yield _together(own)
            return
        for _, inner in value:
            yield from _collected(inner, names, scale)
    elif isinstance(value, list):
        fields = [dict(entry) for entry in value if isinstance(entry, Pairs | dict)]
        named = [(key_of(str(_field(entry, _CRITERION_NAMES)), names), _score(entry, scale)) for entry in fields]
        if named := [(key, score) for key, score in named if key and score is not None]:
            yield _together(named)
            return
        for inner in value:
            yield from _collected(inner, names, scale)


def _together(pairs: list[tuple[str, float | str]]) -> dict:
    scores: dict[str, float | str] = {}
    for key, score in pairs:
        scores[key] = score if scores.get(key, score) == score else "two scores"
    return scores


def _field(entry: dict, wanted: Sequence[str]) -> object:
    return next((inner for name, inner in entry.items() if str(name).lower() in wanted), None)


def _score(value: object, scale: Scale) -> float | str | None:
    """The score in a JSON value, the reason why it is unclear, or None if the value is none."""
    if isinstance(value, bool):
        return float(value) if scale.words else "no score"
    if isinstance(value, int | float):
        # 10**400 is a number in JSON and none here.
        return float(value) if abs(value) < 1e9 else "no score"
    if value is None:
        return "no score"
    if isinstance(value, str):
        found = score_at(value.strip(), 0, scale, r"\s*$|\s*[,;。.(:-]\s*\D")
        return found and found[0]
    if isinstance(value, Pairs | dict):
        fields = dict(value)
        return next((_score(inner, scale) for name, inner in fields.items() if str(name).lower() in _SCORE_NAMES), None)
    return "more than one number"


def read_verdict(reply: str, names: Mapping[str, Sequence[str]], scale: Scale) -> tuple[dict[str, float] | None, str | None]:
    """The scores by criterion and None, or None and why there are none.

    Args:
        names: criterion → the names that a reply may give it.
    """
    if not reply.strip():
        return None, "empty reply"
    *_, text = _THOUGHT_END.split(reply)
    if _THOUGHT.search(text):
        return None, "the reply ends within its thoughts"
    text = plain(text, names)
    found, rest = object_verdicts(text, names, scale)
    found += [verdict for run in _runs(labelled(rest, names, scale)) for verdict in _verdicts(run, len(names))]
    found.sort(key=lambda verdict: verdict[0])
    complete = [scores for _, scores in found if scores.keys() == names.keys()]
    if not complete:
        return None, _missing([scores for _, scores in found], list(names))
    for key, score in complete[-1].items():
        if problem := _problem(score, scale):
            return None, f"{key}: {problem}"
    return {key: float(complete[-1][key]) for key in names}, None


def _problem(score: float | str, scale: Scale) -> str | None:
    if isinstance(score, str):
        return score
    if not scale.low <= score <= scale.high:
        return f"{score:g} is not between {scale.low:g} and {scale.high:g}"
    if (score - scale.low) % scale.step:
        return f"{score:g} is not a step of {scale.step:g}"
    return None


def _missing(partial: list[dict], keys: list[str]) -> str:
    if not partial:
        return "no verdict"
    return "no score for " + ", ".join(key for key in keys if key not in partial[-1])


def _runs(labels: list[Label]) -> Iterator[list[Label]]:
    """Yields labels that belong together."""
    run: list[Label] = []
    for part in _unbroken(labels):
        gaps = {after.gap > 0 for after in part[1:]}
        if len(gaps) < 2:
            yield part
            continue
        for label in part:
            if run and label.gap > 0:
                yield run
                run = []
            run.append(label)
        yield run
        run = []


def _unbroken(labels: list[Label]) -> Iterator[list[Label]]:
    part: list[Label] = []
    for label in labels:
        if part and label.breaks:
            yield part
            part = []
        if part and not label.gap and (part[-1].key, part[-1].score) == (label.key, label.score):
            continue  # the same line in the other language
        part.append(label)
    if part:
        yield part


def _verdicts(run: list[Label], size: int) -> Iterator[tuple[int, dict]]:
    """Yields (position, scores) of each verdict in a run."""
    chunks = [run[i : i + size] for i in range(0, len(run), size)]
    if not all(len({label.key for label in chunk}) == size for chunk in chunks):
        chunks = [run]
    for chunk in chunks:
        scores: dict[str, float | str] = {}
        for label in chunk:
            scores[label.key] = label.score if scores.get(label.key, label.score) == label.score else "two scores"
        yield chunk[-1].start, scores
