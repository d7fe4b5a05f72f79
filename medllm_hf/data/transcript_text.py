"""Plain text and Markdown in which lines begin with who speaks → one row for each dialogue."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import pairwise

from medllm_hf.data.columns import ROLES
from medllm_hf.data.row_readers import LARGEST_ROW, BadRow, ByteStream

# At least so many of the lines begin with who speaks.
_FEWEST_MARKS, _LEAST_SHARE = 2, 0.1
# What stands between dialogues: a rule, a heading, a number.
_BREAK = re.compile(
    r"\s*+(?:#{1,6}[ \t]++\S.*+|id\s*+[=:]\s*+\w++"
    r"|[#*\s\[【]*+(?:dialogue|dialog|conversation|transcript|session|case|example|scenario|consultation|visit|sample"
    r"|对话|会话|病例|案例|问诊|示例|例)\s*+[#:：.]?\s*+(?:\d++|[一二三四五六七八九十]++)\b.{0,80}+)\s*+",
    re.IGNORECASE,
)
# A line of signs alone, and what Markdown has for a heading without its words.
_RULE = re.compile(r"(?:[-=*_~+—–―─━═＝－＊#][ \t]*){3,}|#{1,6}")
# Q1: …, **问题 2**：…, ### Question: …
_QUESTION_MARK = re.compile(
    r"[#>*\s-]*(?:(?P<asks>Q|Question|问题|问|質問|問|질문)|(?P<says>A|Answer|答案|回答|答|답변))"
    r"[ \t]*+\d{0,5}[ \t]*+\**+[ \t]*+[:：]\**+[ \t]*+",
    re.IGNORECASE,
)
_HEADING = re.compile(r"#{1,6}[ \t]")


def is_transcript(lines: list[str]) -> bool:
    """Whether lines are those of dialogues, or of questions with their answers: some of either side, and enough of them."""
    if _are_questions(lines):
        return True
    sides = [_side(line) for line in lines]
    marked = [side for side in sides if side]
    return {"user", "assistant"} <= set(marked) and len(marked) >= max(_FEWEST_MARKS, _LEAST_SHARE * len(lines))


def transcript_rows(stream: ByteStream) -> Iterator[tuple[int, object]]:
    """Yields (line where it begins, {"dialogue": text}) for each dialogue, with what stands before its first turn as `heading`.

    Dialogues are told apart by rules, headings and numbers between them; where there are none, by blank lines, if each part
    then begins with one side and holds both; else the file is one.
    """
    data = stream.read(LARGEST_ROW + 1)
    if len(data) > LARGEST_ROW:
        yield 1, BadRow("file", f"plain text longer than {LARGEST_ROW:,} bytes: cut it")
        return
    lines = list(enumerate(data.decode("utf-8", "surrogateescape").splitlines(), start=1))
    if _are_questions([line for _, line in lines if line.strip()]):
        yield from _questions(lines)
        return
    for part in _parts(lines):
        start = next((i for i, (_, line) in enumerate(part) if _side(line)), None)
        if start is None:
            continue
        before = "\n".join(line for _, line in part[:start]).strip()
        text = "\n".join(_plain(line) for _, line in part[start:]).strip()
        yield part[start][0], {"dialogue": text} | ({"heading": before} if before else {})


def _are_questions(lines: list[str]) -> bool:
    """Whether lines begin with Q: and A: by turns, each a question and its answer; A: and B: are options."""
    marks = [(match["asks"] is not None) for line in lines if (match := _QUESTION_MARK.match(line))]
    pairs = sum(first and not second for first, second in pairwise(marks))
    enough = pairs >= _FEWEST_MARKS and 2 * pairs >= 0.9 * len(marks) and len(marks) >= _LEAST_SHARE * len(lines)
    return enough and not any(re.match(r"[#>*\s-]*B\s*[:：]", line) for line in lines)


def _questions(lines: list[tuple[int, str]]) -> Iterator[tuple[int, object]]:
    """Yields (line, {"question", "answer"}) of each; a heading between two ends the answer before it."""
    row: dict[str, list[str]] = {}
    start, column = 0, None
    for number, line in lines:
        if match := _QUESTION_MARK.match(line):
            if match["asks"] and row:
                yield start, {name: "\n".join(texts).strip() for name, texts in row.items()}
                row = {}
            start, column = (number if match["asks"] else start), ("question" if match["asks"] else "answer")
            row.setdefault(column, []).append(line[match.end() :].strip(" *"))
        elif column and not _HEADING.match(line) and not _is_rule(line):
            row[column].append(line)
    if row:
        yield start, {name: "\n".join(texts).strip() for name, texts in row.items()}


def _parts(lines: list[tuple[int, str]]) -> list[list[tuple[int, str]]]:
    parts = _split(lines, lambda line: _is_rule(line) or (not _side(line) and _BREAK.fullmatch(line) is not None))
    talks = [part for part in parts if any(_side(line) for _, line in part)]
    if len(talks) > 1 and all(_is_whole(part) for part in talks):
        return parts
    blocks = [part for part in _split(lines, lambda line: not line.strip()) if any(line.strip() for _, line in part)]
    first = {next(_sides(part), None) for part in blocks}
    if len(blocks) > 1 and len(first) == 1 and all(_is_whole(part) and _side_at_start(part) for part in blocks):
        return blocks
    return [[(number, line) for number, line in lines if not _is_rule(line)]]


def _split(lines: list[tuple[int, str]], ends: Callable[[str], bool]) -> list[list[tuple[int, str]]]:
    parts: list[list[tuple[int, str]]] = [[]]
    for number, line in lines:
        if ends(line):
            parts.append([])
        else:
            parts[-1].append((number, line))
    return parts


def _is_whole(part: list[tuple[int, str]]) -> bool:
    return {"user", "assistant"} <= set(_sides(part))


def _side_at_start(part: list[tuple[int, str]]) -> bool:
    return _side(next(line for _, line in part if line.strip())) is not None


def _sides(part: Iterable[tuple[int, str]]) -> Iterator[str]:
    return (side for _, line in part if (side := _side(line)))


def _is_rule(line: str) -> bool:
    return _RULE.fullmatch(line.strip()) is not None


def _side(line: str) -> str | None:
    """The side whose mark a line begins with, None if it begins with none."""
    match = _mark().match(line)
    return ROLES[_name(match).casefold()] if match else None


def _name(match: re.Match[str]) -> str:
    return match["name"] or match["head"]


def _plain(line: str) -> str:
    """A line with its mark, if it has one, as `name: …`."""
    match = _mark().match(line)
    return f"{_name(match)}: {line[match.end() :].strip()}" if match else line


@cache
def _mark() -> re.Pattern[str]:
    """`Doctor: …`, `**Doctor:** …`, `- Doctor: …`; a heading `## Doctor` or `**Doctor**` alone on its line."""
    spelled = {*ROLES, *(form for name in ROLES if not name.isascii() for form in (name.capitalize(), name.upper()))}
    names = "|".join(re.escape(name) for name in sorted(spelled, key=lambda name: (-len(name), name)))
    dressed = r"[#>*_\-\s\[【]{0,8}"
    ends = r"[\]】*_\s]{0,4}[:：][*_]{0,3}"
    alone = rf"(?=\s*[#*\[【]){dressed}(?P<head>{names})[\]】*_\s]*$"
    return re.compile(rf"{dressed}(?P<name>{names}){ends}[ \t]*|{alone}", re.IGNORECASE | re.ASCII)
