"""The options of an exam question as sources write them: columns, objects, lists, lettered texts, the end of the question."""

import ast
import json
import re
import unicodedata
import warnings
from contextlib import suppress
from functools import lru_cache
from reprlib import repr as shortened
from string import ascii_uppercase

from medllm_hf.data.columns import is_blank

_OPTIONS = (
    *(
        "options",
        "option",
        "choices",
        "选项",
        "選項",
        "候选项",
        "备选答案",
        "備選答案",
        "answerchoices",
        "answeroptions",
        "选择项",
    ),
    *(
        "選択肢",
        "선택지",
        "보기",
        "선지",
        "opciones",
        "alternativas",
        "opções",
        "opcoes",
        "propositions",
        "antwortmöglichkeiten",
    ),
    *(
        "варианты",
        "вариантыответа",
        "вариантыответов",
        "lựachọn",
        "cáclựachọn",
        "phươngán",
        "الخيارات",
        "seçenekler",
        "pilihan",
    ),
)
# Lists of the texts that answer a question, too; with their letters, or marked right and wrong, options.
_MAYBE_OPTIONS = ("answers",)
_LABEL = ("label", "key", "letter", "aid", "标号", "id", "optionid", "identifier")
_TEXT = ("text", "value", "content", "atext", "内容", "optiontext", "answertext", "answer", "option", "choice", "body", "title")
# Which of the options are right, where each says it of itself.
_FLAGS = ("iscorrect", "correct", "isright", "right", "isanswer", "istrue", "iscorrectanswer", "正确", "是否正确")
LETTER_COLUMN = re.compile(
    # answerA is an option; answer1 may be one of several answers.
    r"(?:op|opt|option|choice|ending|选项|选择|答案选项|選項|選擇|答案選項|(?:answer|答案)(?=[a-h]\Z)|選択肢|선택지|보기"
    r"|opci[oó]n|op[cç][aã]o|alternativa|вариант|phươngán|lựachọn|pilihan)?\(?([a-z]|[0-9])[).:]?",
    re.IGNORECASE,
)
# What stands behind a letter.
MARK = r"[\s.．、,，:：)）\]】]"
_MARKS, _OPENING = r"[.．、:：)）\]】]", r"(（\[【"
_FIRST_LETTER = re.compile(rf"(?<![A-Za-z0-9Ａ-Ｚ°-])[{_OPENING}]?[AＡ]\s*{_MARKS}")
# A line that begins with the letter of an option.
_LETTERED = re.compile(rf"^[ \t\u3000]*[{_OPENING}]?([A-JＡ-Ｊa-j])[ \t]*({_MARKS})", re.MULTILINE)
# The options at the end of a question as Python or JSON prints them.
_PRINTED = re.compile(r"(\{\s*['\"]A['\"]\s*:[^{}]{3,20000}\})[\s,.]*\Z")
# Columns called a, b and c are options; a and b may be anything.
_FEWEST_BARE = 3
# Of options in one text.
LONGEST = 100_000
SPACES = re.compile(r"[\s_-]+")
_YES, _NO = ("true", "1", "1.0", "yes", "是"), ("false", "0", "0.0", "no", "否", "none", "")


def given_options(row: dict, names: dict[str, str]) -> object:
    """What stands in a column of options, None if there is none."""
    options = first_filled(row, names, _OPTIONS)
    if options is not None:
        return options
    maybe = first_filled(row, names, _MAYBE_OPTIONS)
    labelled = isinstance(maybe, dict) and all(isinstance(name, str) and len(name) == 1 for name in maybe)
    listed = isinstance(maybe, list) and all(isinstance(one, dict) and _either(one, _LABEL[:5]) is not None for one in maybe)
    return maybe if labelled or listed or marked_right(maybe) is not None else None


def marked_right(options: object) -> list[bool] | None:
    """Of options that each say of themselves whether they are right, what they say; None of any others."""
    if not isinstance(options, list) or len(options) < 2 or not all(isinstance(option, dict) for option in options):
        return None
    said = [str(_either(option, _FLAGS)).strip().lower() for option in options]
    if not all(flag in (*_YES, *_NO) for flag in said) or not any(flag in _YES for flag in said):
        return None
    return [flag in _YES for flag in said]


def read_options(row: dict, options: object) -> tuple[dict[str, str], dict[str, str]]:
    """({label of the source: letter}, {letter: text}) of what stands in the column of options, or in columns of their own."""
    if options is None:
        options = {letter_of(column): text for column, text in letter_columns(row).items() if not _is_empty(text)}
    elif isinstance(options, str):
        options = _written(options)
    if isinstance(options, dict) and isinstance(options.get("text"), list) and isinstance(options.get("label"), list):
        columns = zip(options["label"], options["text"], strict=False)
        options = [{"label": label, "text": text} for label, text in columns]
    if isinstance(options, list):
        options = _labelled(options)
    pairs = list(options.items()) if isinstance(options, dict) else []
    # An empty last option is none; Parquet has a null for every letter that only other rows use.
    while pairs and _is_empty(pairs[-1][1]):
        pairs.pop()
    pairs = [(label, text) for label, text in pairs if text is not None]
    if len(pairs) < 2:
        raise ValueError("options is not an object of at least two texts")
    letters = _as_letters([label for label, _ in pairs])
    return letters, _without_letters({letters[label]: checked_text(text, "an option") for label, text in pairs})


def options_within(question: str) -> tuple[str, dict[str, str]] | None:
    """The stem and the options of a question that ends with them, lettered; None if it does not.

    A stem may name "A、B" too; the options are what has the most letters, and the last of these.
    """
    if printed := _PRINTED.search(question[:LONGEST]):
        given = _written(printed[1])
        texts = list(given.values()) if isinstance(given, dict) else []
        named = len(texts) > 1 and isinstance(given, dict) and list(given) == list(ascii_uppercase[: len(given)])
        if isinstance(given, dict) and named and all(isinstance(text, str) and text.strip() for text in texts):
            return question[: printed.start()].strip(), given
    lines = list(_LETTERED.finditer(question, 0, LONGEST)) if "\n" in question else []
    if _is_other_order(lines, list(map(_letter, lines))) and (stem := question[: lines[0].start()].strip()):
        return stem, _by_letter(question, lines)
    best: tuple[str, dict[str, str]] | None = None
    for match in list(_FIRST_LETTER.finditer(question[:LONGEST]))[-8:]:
        stem, options = question[: match.start()].strip(), lettered_text(question[match.start() :], spaces=False)
        if stem and len(options) > 2 and all(options.values()) and (best is None or len(options) >= len(best[1])):
            best = stem, options
    return best


def letter_columns(row: dict) -> dict[str, object]:
    """The options that have a column each, by the column: those of one manner of naming, in order.

    A small letter or a digit alone names one where at least three of them, from the first on, are there.
    """
    manners: dict[tuple[str, bool, bool], dict[str, object]] = {}
    for column, text in row.items():
        match = _letter_column(column) if isinstance(column, str) else None
        if match:
            bare = not match[1].isupper()
            manners.setdefault((match[0][: match.start(1)].lower(), match[1].isdigit(), bare), {})[column] = text
    for (before, digits, bare), found in list(manners.items()):
        letters = sorted(letter_of(column) for column in found)
        first = ("0", "1") if digits else ("a",)
        run = [chr(ord(letters[0]) + i) for i in range(len(letters))]
        if not before and bare and (len(letters) < _FEWEST_BARE or letters[0] not in first or letters != run):
            del manners[before, digits, bare]
    columns = max(manners.values(), key=len, default={})
    return dict(sorted(columns.items(), key=lambda pair: pair[0].lower()))


def letter_of(column: str) -> str:
    """The letter or digit in the name of a column that is an option's."""
    match = _letter_column(column)
    return match[1] if match else column[-1]


@lru_cache(maxsize=4096)
def _letter_column(column: str) -> re.Match[str] | None:
    return LETTER_COLUMN.fullmatch(SPACES.sub("", column))


def option_columns(row: dict) -> set[str]:
    """The columns whose names are those of options, or of one option."""
    names = plain_names(row)
    return {*letter_columns(row), *(names[name] for name in _OPTIONS if name in names)}


def plain_names(row: dict) -> dict[str, str]:
    """{name as it is compared: column} of a row; of two columns whose names are alike the first that holds something."""
    names = {SPACES.sub("", name).lower(): name for name in reversed(list(row)) if isinstance(name, str)}
    if len(names) < len(row):
        filled = {name: value for name, value in row.items() if value not in (None, "")}
        names |= {SPACES.sub("", name).lower(): name for name in reversed(list(filled)) if isinstance(name, str)}
    return names


def first_filled(row: dict, names: dict[str, str], wanted: tuple[str, ...]) -> object:
    """The value of the first wanted column that is there and not empty, else None."""
    for name in wanted:
        if name in names and row[names[name]] not in (None, "", [], {}):
            return row[names[name]]
    return None


def checked_text(value: object, field: str) -> str:
    """A text without the space around it.

    Raises:
        ValueError: it is empty, no text or no Unicode.
    """
    if not isinstance(value, str) or is_blank(value):
        raise ValueError(f"{field} is not a text")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{field} is not Unicode text")
    return value.strip()


def lettered_lines(text: str) -> dict[str, str]:
    """The options in lines such as "A 甲" or "B. 乙", empty when there are none.

    The letters come in order, and a line that begins with another letter (D-二聚体) continues the option before it; or each
    of them has one line, the first of which begins the text.

    Raises:
        ValueError: the first line is that of a later option, and not all are there once.
    """
    lines = list(_LETTERED.finditer(text))
    letters = [_letter(line) for line in lines]
    begins = bool(lines) and not text[: lines[0].start()].strip()
    if begins and _is_other_order(lines, letters):
        return _by_letter(text, lines)
    if begins and letters[0] != "A" and "A" in letters:
        found = ", ".join(letters)
        raise ValueError(f"options are in lines with the letters {found}: write each once")
    options: dict[str, str] = {}
    for line in text.splitlines():
        letter = ascii_uppercase[min(len(options), 25)]
        full_width = chr(ord(letter) + 0xFEE0)
        match = re.match(rf"\s*[(（]?[{letter}{letter.lower()}{full_width}](?:{MARK}+(.*)|$)", line)
        if match and letter not in options:
            options[letter] = match[1] or ""
        elif options:
            options[next(reversed(options))] += "\n" + line
    if len(options) > 1 and (
        lost := [line[1] for line in lines if line[2] == lines[0][2] and line[1] in ascii_uppercase and line[1] not in options]
    ):
        raise ValueError(
            f"options {', '.join(options)} in lines with {', '.join(lost)} among them: write the ones between, too"
        )
    return {letter: text.strip() for letter, text in options.items()}


def _letter(line: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", line[1]).upper()


def _is_other_order(lines: list[re.Match[str]], letters: list[str]) -> bool:
    """Whether lines begin with the letters A to the last, once each and alike, in another order than that."""
    if len(letters) < 2 or letters == sorted(letters) or len({line[2] for line in lines}) != 1:
        return False
    return sorted(letters) == list(ascii_uppercase[: len(letters)])


def _by_letter(text: str, lines: list[re.Match[str]]) -> dict[str, str]:
    """The options that begin in these lines, by their letters."""
    ends = [*(line.start() for line in lines[1:]), len(text)]
    return dict(sorted((_letter(line), text[line.end() : end].strip()) for line, end in zip(lines, ends, strict=True)))


def lettered_text(text: str, spaces: bool = True) -> dict[str, str]:
    """The options in one line such as "A. 甲 B. 乙", "A、甲；B、乙" or, with `spaces`, "A 甲 B 乙", empty when there are none.

    The letters must come in order, each with the mark of the first behind it and no letter or digit before it. Where two
    signs may begin an option (A、维生素B、C B、…), the one behind a space or the end of a phrase does; of two such, none.
    """
    first = re.match(rf"\s*([{_OPENING}]?)[AＡ]\s*({_MARKS}|\s)\s*", text)
    if not first or (first[2].isspace() and not spaces):
        return {}
    opening, mark = (f"[{_OPENING}]" if first[1] else ""), (r"\s+" if first[2].isspace() else rf"\s*{re.escape(first[2])}\s*")
    places = [first.span()]
    for letter in ascii_uppercase[1:]:
        sign = re.compile(rf"(?<![A-Za-z0-9Ａ-Ｚ°-]){opening}[{letter}{chr(ord(letter) + 0xFEE0)}]{mark}")
        found = list(sign.finditer(text, places[-1][1]))
        clear = [match for match in found if opening or re.match(r"[\s;；,，.。|)）]", text[match.start() - 1])] or found
        if len(clear) > 1:
            return {}
        if not clear:
            break
        places.append(clear[0].span())
    if len(places) < 2:
        return {}
    ends = [begin for begin, _ in places[1:]] + [len(text)]
    texts = [text[begin:end].strip(" \t\n;；,，|") for (_, begin), end in zip(places, ends, strict=True)]
    return dict(zip(ascii_uppercase, texts, strict=False))


def _without_letters(options: dict[str, str]) -> dict[str, str]:
    """The options without their letters, where each has its own before it; a space is no mark, since texts begin "A 型" too.

    Raises:
        ValueError: their letters are others than those of their places (one is lost, or they were shuffled), so that nobody
            knows which an answer means.
    """
    marks = {letter: re.match(r"[(（]?([A-ZＡ-Ｚ])[.．、:：)）]\s*(?=\S)", text) for letter, text in options.items()}
    own = [unicodedata.normalize("NFKC", mark[1]) for mark in marks.values() if mark]
    if len(own) < len(options) or len(set(own)) < len(own):
        return options
    if own == list(options):
        return {letter: options[letter][mark.end() :] for letter, mark in marks.items() if mark}
    # E. coli and S. aureus have no letters of options.
    if sorted(own) in (own, list(options)) and own[-1] <= "J":
        raise ValueError(f"options begin with the letters {', '.join(own)}, but stand at {', '.join(options)}: mend them")
    return options


def _written(text: str) -> object:
    """The options in a text: lettered lines or one such line, JSON, or a list as Python prints it into CSV."""
    if text.lstrip()[:1] in ("[", "{"):
        for read in (json.loads, ast.literal_eval):
            with suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of backslashes, which Python says on the screen
                return read(text[:LONGEST])
    lines = lettered_lines(text)
    return lines if len(lines) > 1 else lettered_text(text)


def _as_letters(labels: list) -> dict[str, str]:
    """A capital letter for each label; numbers in order, or ids of several signs, become the letters in order."""
    if labels in ([str(i + first) for i in range(len(labels))] for first in (0, 1)):
        return dict(zip(labels, ascii_uppercase, strict=False))
    ids = [label for label in labels if isinstance(label, str) and len(label) > 2]
    if len(set(ids)) == len(labels) <= len(ascii_uppercase):
        return dict(zip(labels, ascii_uppercase, strict=False))
    letters = {label: unicodedata.normalize("NFKC", label).strip().upper() for label in labels if isinstance(label, str)}
    if len(set(letters.values())) < len(labels) or any(len(one) != 1 or one not in ascii_uppercase for one in letters.values()):
        raise ValueError(f"options are labelled {shortened(', '.join(map(str, labels)))}, not with a capital letter each")
    return letters


def _labelled(options: list) -> dict[str, object]:
    if options and all(isinstance(option, dict) for option in options):
        pairs = [(_either(option, _LABEL), _either(option, _TEXT)) for option in options]
        if marked_right(options) is not None and not all(isinstance(label, str | int) for label, _ in pairs):
            return dict(zip(ascii_uppercase, (text for _, text in pairs), strict=False))
        if not all(isinstance(label, str | int) for label, _ in pairs):
            raise ValueError("options is a list without labels")
        return {str(label): text for label, text in pairs} if len(dict(pairs)) == len(pairs) else {}
    return dict(zip(ascii_uppercase, options, strict=False)) if len(options) <= len(ascii_uppercase) else {}


def _either(option: dict, names: tuple[str, ...]) -> object:
    plain = {SPACES.sub("", name).lower(): value for name, value in option.items() if isinstance(name, str)}
    return next((plain[name] for name in names if name in plain), None)


def _is_empty(text: object) -> bool:
    return text is None or (isinstance(text, str) and is_blank(text))
