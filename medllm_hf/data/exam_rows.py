"""The parts of an exam question under the names and in the forms that sources give them: columns, options, answers, kinds."""

import ast
import json
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from reprlib import repr as shortened
from string import ascii_uppercase

# In the order in which they are tried. Names are compared in lower case and without "_", "-" and spaces.
_QUESTION = ("question", "qtext", "题目", "题干", "问题", "題目", "題幹", "問題", "stem", "questiontext", "questionstem")
_OPTIONS = ("options", "option", "choices", "选项", "選項", "候选项", "answerchoices")
# A letter or a position says more than a text, so it is looked for first.
_ANSWER = (
    *("answeridx", "answerindex", "answerkey", "cop", "answer", "答案", "正确答案", "标准答案", "参考答案"),
    *("correctanswer", "correctoption", "correctidx", "correct", "label"),
)
_KIND = ("questiontype", "题型", "题目类型", "试题类型", "type", "类型")
_SUBJECT = ("subject", "subjectname", "metainfo", "examclass", "clinicaldepartment", "科目", "学科", "科室", "category")
_ID = ("id", "qid")
_PICTURE = ("qimage", "image", "images", "img", "图片")
_LABEL, _TEXT = ("label", "key", "letter", "标号"), ("text", "value", "content", "内容")
_LETTER_COLUMN = re.compile(r"(?:op|option|choice|选项|答案选项)?([a-z]|[0-9])", re.IGNORECASE)
_KINDS = (
    ("multi", re.compile(r"multi|多选|多项选|不定项|x型", re.IGNORECASE)),
    ("single", re.compile(r"single|单选|单项选|最佳选|[abc][1-4]?型", re.IGNORECASE)),
)
# What may stand between or around the letters of an answer, after full-width signs have become narrow ones.
_BETWEEN_LETTERS = re.compile(r"""[\s,、;/|+&.。()\[\]"'`]|和|与|及""")
_MARK = r"[\s.．、,，:：)）\]】]"
# Of options in one text.
LONGEST = 100_000
OUTVOTED = 20
_SPACES = re.compile(r"[\s_-]+")

Positions = Callable[[], int | None]


class NeedsImage(ValueError):
    """A question that cannot be answered from its text."""


def is_exam_row(row: dict) -> bool:
    """Whether a row has a question, options and an answer, under whatever names."""
    names = _names(row)
    return (
        _first(row, names, _QUESTION) is not None
        and _first(row, names, _ANSWER) is not None
        and (_first(row, names, _OPTIONS) is not None or len(_letter_columns(row)) > 1)
    )


def exam_fields(row: dict, positions: Positions) -> dict:
    """The fields id, question, options, answer (letters), subject, kind and language of a row.

    Options are an object of letter and text, a list of texts or of label and text, `{"label": [...], "text": [...]}`, lines or
    one line of lettered texts, or columns A, opa, option_A, optionA, 选项A and so on; those without a text at the end are left
    out. An answer is letters, the column or the text of an option, or positions, which count from `positions()`.

    Raises:
        NeedsImage: the question comes with a picture.
        ValueError: which part is wrong and why.
    """
    names = _names(row)
    picture = _first(row, names, _PICTURE)
    if picture and not (isinstance(picture, str) and picture.isspace()):
        raise NeedsImage(f"the question comes with a picture, {shortened(picture)}")
    if not any(name in names for name in _QUESTION):
        found = ", ".join(shortened(name) for name in list(row)[:8])
        raise ValueError(f"question is not among the columns {found or 'none'}; a table begins with a row of such names")
    question = checked_text(_first(row, names, _QUESTION), "question")
    labels, options = _options(row, names)
    kind = _kind(row, names)
    answer = _answer(row, names, labels, options, kind, positions)
    if not answer or not set(answer) <= set(options) or len(set(answer)) != len(answer):
        raise ValueError(f"answer {shortened(_first(row, names, _ANSWER))} does not name options {', '.join(options)}")
    # The columns of MedMCQA, whose questions are English.
    english = row.get("language") == "en" or {"cop", "opa"} <= names.keys()
    return {
        "id": _name(_first(row, names, _ID), "id"), "question": question, "options": options, "answer": answer,
        "subject": _name(_first(row, names, _SUBJECT), "subject"), "kind": kind, "language": "en" if english else "zh",
    }  # fmt: skip


def position_base(rows: Iterable[object]) -> int | None:
    """0 or 1, from which the answers of these rows count that are positions of options; None where nothing tells.

    Some first option is right in a file that counts from 0, and some last one in a file that counts from 1. Where both are
    seen, a few are slips (0 for no answer, say), and those for one side must be at least OUTVOTED times those for the other.
    """
    votes = [0, 0]
    for row in rows:
        if isinstance(row, dict) and is_exam_row(row):
            names = _names(row)
            try:
                found, count = _positions(_first(row, names, _ANSWER)), len(_options(row, names)[1])
            except ValueError:
                continue
            votes[0] += 0 in found
            votes[1] += count in found
    fewer, more = sorted(votes)
    return votes.index(more) if more and more >= OUTVOTED * fewer else None


def answer_letters(answer: object) -> str:
    """The letters of an answer as sources write it ("b", "ＡＢ", "A,B", "A、B和D", ["A", "B"]), in capitals.

    Raises:
        ValueError: it is not text or a list of texts.
    """
    parts = answer if isinstance(answer, list) else [answer]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) < len(parts):
        raise ValueError(f"answer {shortened(answer)} is not letters")
    return _BETWEEN_LETTERS.sub("", unicodedata.normalize("NFKC", "".join(texts)).upper())


def lettered_lines(text: str) -> dict[str, str]:
    """The options in lines such as "A 甲" or "B. 乙", empty when there are none.

    The letters must come in order: a line that begins with another letter (D-二聚体) continues the option before it.
    """
    options: dict[str, str] = {}
    for line in text.splitlines():
        letter = ascii_uppercase[min(len(options), 25)]
        full_width = chr(ord(letter) + 0xFEE0)
        match = re.match(rf"\s*[(（]?[{letter}{letter.lower()}{full_width}](?:{_MARK}+(.*)|$)", line)
        if match and letter not in options:
            options[letter] = match[1] or ""
        elif options:
            options[next(reversed(options))] += "\n" + line
    return {letter: text.strip() for letter, text in options.items()}


def lettered_text(text: str) -> dict[str, str]:
    """The options in one line such as "A. 甲 B. 乙", "A、甲；B、乙" or "A 甲 B 乙", empty when there are none.

    The letters must come in order, each with a mark behind it and no letter or digit before it.
    """
    for mark in (r"\s*[.．、:：)）\]】]\s*", r"\s+"):
        places: list[tuple[int, int]] = []
        for letter in ascii_uppercase:
            sign = re.compile(rf"(?<![A-Za-z0-9Ａ-Ｚ-])[(（\[【]?[{letter}{chr(ord(letter) + 0xFEE0)}]{mark}")
            match = sign.search(text, places[-1][1]) if places else sign.match(text, len(text) - len(text.lstrip()))
            if not match:
                break
            places.append(match.span())
        if len(places) > 1:
            ends = [begin for begin, _ in places[1:]] + [len(text)]
            found = [text[begin:end].strip(" \t\n;；,，|") for (_, begin), end in zip(places, ends, strict=True)]
            return dict(zip(ascii_uppercase, found, strict=False))
    return {}


def checked_text(value: object, field: str) -> str:
    """A text without the space around it.

    Raises:
        ValueError: it is empty, no text or no Unicode.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field} is not a text")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{field} is not Unicode text")
    return value.strip()


def _names(row: dict) -> dict[str, str]:
    """{name as it is compared: column} of a row."""
    return {_SPACES.sub("", name).lower(): name for name in reversed(list(row)) if isinstance(name, str)}


def _first(row: dict, names: dict[str, str], wanted: tuple[str, ...]) -> object:
    """The value of the first wanted column that is there and not empty, else None."""
    for name in wanted:
        if name in names and row[names[name]] not in (None, "", [], {}):
            return row[names[name]]
    return None


def _letter_columns(row: dict) -> dict[str, object]:
    """The options that have a column each, by the column: those of one manner of naming, in order."""
    manners: dict[tuple[str, bool], dict[str, object]] = {}
    for column, text in row.items():
        match = _LETTER_COLUMN.fullmatch(_SPACES.sub("", column)) if isinstance(column, str) else None
        if match and (len(match[0]) > 1 or match[1].isupper()):
            manners.setdefault((match[0][:-1].lower(), match[1].isdigit()), {})[column] = text
    columns = max(manners.values(), key=len, default={})
    return dict(sorted(columns.items(), key=lambda pair: pair[0].lower()))


def _options(row: dict, names: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """({label of the source: letter}, {letter: text})."""
    options = _first(row, names, _OPTIONS)
    if options is None:
        options = {column[-1]: text for column, text in _letter_columns(row).items() if not _is_empty(text)}
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


def _without_letters(options: dict[str, str]) -> dict[str, str]:
    """The options without their letters, where each has its own before it; a space is no mark, since texts begin "A 型" too."""
    marks = {letter: re.match(rf"[(（]?{letter}[.．、:：)）]\s*(?=\S)", text) for letter, text in options.items()}
    return {
        letter: options[letter][mark.end() :] if mark and all(marks.values()) else options[letter]
        for letter, mark in marks.items()
    }


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
    """A capital letter for each label; labels that are numbers in order become the letters in order."""
    if labels in ([str(i + first) for i in range(len(labels))] for first in (0, 1)):
        return dict(zip(labels, ascii_uppercase, strict=False))
    letters = {label: unicodedata.normalize("NFKC", label).strip().upper() for label in labels if isinstance(label, str)}
    if len(set(letters.values())) < len(labels) or any(len(one) != 1 or one not in ascii_uppercase for one in letters.values()):
        raise ValueError(f"options are labelled {shortened(', '.join(map(str, labels)))}, not with a capital letter each")
    return letters


def _labelled(options: list) -> dict[str, object]:
    if options and all(isinstance(option, dict) for option in options):
        pairs = [(_either(option, _LABEL), _either(option, _TEXT)) for option in options]
        if not all(isinstance(label, str | int) for label, _ in pairs):
            raise ValueError("options is a list without labels")
        return {str(label): text for label, text in pairs} if len(dict(pairs)) == len(pairs) else {}
    return dict(zip(ascii_uppercase, options, strict=False)) if len(options) <= len(ascii_uppercase) else {}


def _either(option: dict, names: tuple[str, ...]) -> object:
    return next((option[name] for name in names if name in option), None)


def _kind(row: dict, names: dict[str, str]) -> str | None:
    """single or multi as the row says it, None where it does not. Other words than these count only in a column `kind`."""
    own = row.get("kind")
    if own in (None, ""):
        own = _first(row, names, _KIND)
    known = [kind for kind, words in _KINDS if isinstance(own, str) and words.search(own)]
    if not known and row.get("kind") not in (None, ""):
        raise ValueError(f"kind {shortened(own)} is not single or multi")
    return known[0] if known else None


def _answer(
    row: dict, names: dict[str, str], labels: dict[str, str], options: dict[str, str], kind: str | None, positions: Positions
) -> str:
    """The letters of the right options, "" where the answer names none.

    Raises:
        ValueError: it is nothing that names options, can be read in two ways, or another column gives another answer.
    """
    answer = _first(row, names, _ANSWER)
    label = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    if isinstance(label, str) and label.strip() in labels:
        letters = labels[label.strip()]
    elif places := _positions(answer):
        letters = _at_positions(answer, places, options, positions)
    else:
        letters = _letters_or_texts(answer, options, kind)
    said = row[names["answer"]] if "answer" in names else None
    if (named := _named(said, options)) and len(letters) == 1 and letters != answer_letters(said) and named != letters:
        raise ValueError(f"answer is not the text of option {letters}")
    return letters


def _at_positions(answer: object, places: list[int], options: dict[str, str], positions: Positions) -> str:
    first, named = positions(), _named(answer, options)
    if first is None:
        reason = f"answer {shortened(answer)} is a position, and the answers do not tell whether they count from 0 or from 1"
        raise ValueError(f"{reason}: write letters")
    letters = "".join(letter for place, letter in enumerate(options, start=first) if place in places)
    if named and named != letters:
        raise ValueError(f"answer {shortened(answer)} is an option's text and another's position: write its letter")
    return letters if len(letters) == len(places) else ""


def _letters_or_texts(answer: object, options: dict[str, str], kind: str | None) -> str:
    column = _LETTER_COLUMN.fullmatch(_SPACES.sub("", answer)) if isinstance(answer, str) else None
    letters = column[1].upper() if column else answer_letters(answer)
    named = _named(answer, options)
    if not set(letters) <= set(options) or not named or named == letters:
        return named or letters
    # An option may read AB, as a blood group does.
    if len(letters) > 1 and kind is None:
        raise ValueError(f"answer {shortened(answer)} is letters and an option's text: give the kind, single or multi")
    return letters if len(letters) == 1 or kind == "multi" else named


def _positions(answer: object) -> list[int]:
    """The positions that an answer names: whole numbers, or digits of at most two places; none where it is anything else."""
    parts = answer if isinstance(answer, list) else [answer]
    places = [place for part in parts if (place := _position(part)) is not None]
    return places if len(places) == len(parts) else []


def _position(part: object) -> int | None:
    if isinstance(part, str) and re.fullmatch(r"\s*-?[0-9]{1,2}(?:\.0)?\s*", part):
        part = float(part)
    if isinstance(part, bool) or not isinstance(part, int | float) or not -100 < part < 100 or part != int(part):
        return None
    return int(part)


def _named(answer: object, options: dict[str, str]) -> str:
    """The letters of the options whose texts these are, with or without a letter before them; "" where one is none."""
    parts = answer if isinstance(answer, list) else [answer]
    found = [_of_text(part, options) if isinstance(part, str) else "" for part in parts]
    return "".join(found) if all(found) else ""


def _of_text(answer: str, options: dict[str, str]) -> str:
    texts = {letter: _bare(text) for letter, text in options.items()}
    bare = _bare(answer)
    found = [letter for letter, text in texts.items() if text == bare]
    marked = re.match(rf"[(\[【]?([A-Za-z]){_MARK}+", bare)
    if not found and marked and texts.get(marked[1].upper()) == bare[marked.end() :]:
        return marked[1].upper()
    return found[0] if len(found) == 1 else ""


def _bare(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip(" \t\n.。;；")


def _is_empty(text: object) -> bool:
    return text is None or (isinstance(text, str) and not text.strip())


def _name(value: object, field: str) -> str:
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"{field} is a {type(value).__name__}, not a text")
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{field} is not Unicode text")
    return "" if value is None else str(value)
