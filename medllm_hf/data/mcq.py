"""Multiple-choice questions: the record, its file formats and its prompts."""

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from reprlib import repr as shortened
from string import ascii_uppercase

from medllm_hf.data.files import BadRow, file_rows, parsed
from medllm_hf.errors import UserError

REPLY_PREFIX = "答案："
INSTRUCTION = {
    "single": "请回答下面的单项选择题，只写出正确选项的字母。",
    "multi": "请回答下面的多项选择题，写出所有正确选项的字母。",
}
ENGLISH_PREFIX = "Answer: "
ENGLISH_INSTRUCTION = {
    "single": "Answer the following multiple-choice question. One option is right: write only its letter.",
    "multi": "Answer the following multiple-choice question. Several options may be right: write the letters of all of them.",
}
# What may stand between or around the letters of an answer, after full-width signs have become narrow ones.
_BETWEEN_LETTERS = re.compile(r"[\s,、;/|+&.。()\[\]]|和|与|及")


@dataclass(frozen=True)
class McqItem:
    """One question. `answer` holds the right letters; `kind` is "single" or "multi" and is told to the examinee.

    `language`, "zh" or "en", is that of the words around the question.
    """

    id: str
    question: str
    options: dict[str, str]
    answer: frozenset[str]
    subject: str
    kind: str
    language: str = "zh"

    @property
    def reply_prefix(self) -> str:
        return ENGLISH_PREFIX if self.language == "en" else REPLY_PREFIX

    def option_text(self, letters: Iterable[str]) -> str:
        """The texts of `letters` in the order of the options, joined as a list of the language."""
        chosen = frozenset(letters)
        joint = "; " if self.language == "en" else "、"
        return joint.join(text for letter, text in self.options.items() if letter in chosen)

    def prompt(self, options: bool) -> str:
        """The user turn: the bare question, or instruction, question and lettered options."""
        if not options:
            return self.question
        lines = [f"{letter}. {text}" for letter, text in self.options.items()]
        instruction = ENGLISH_INSTRUCTION if self.language == "en" else INSTRUCTION
        return "\n".join([instruction[self.kind], self.question, *lines])


def item_from_row(row: object) -> McqItem:
    """The item in one row `{"id", "question", "options", "answer", "subject", "kind"}`.

    `options` is an object of letter and text, a list of texts or of label and text, or lines "A text"; without it, the
    columns A, B, C and so on are the options, empty ones left out. `answer` is letters as `answer_letters` reads them.
    Without `kind`, a question with several right letters is "multi". Only where `language` is "en" is the prompt English.

    Raises:
        ValueError: which field is wrong and why.
    """
    if not isinstance(row, dict):
        raise ValueError(f"the row is a {type(row).__name__}, not an object")
    question, options, answer = _text(row.get("question"), "question"), _options(row), answer_letters(row.get("answer"))
    if not answer or not set(answer) <= set(options) or len(set(answer)) != len(answer):
        raise ValueError(f"answer {shortened(row.get('answer'))} does not name options {', '.join(options)}")
    kind = row.get("kind") or ("multi" if len(answer) > 1 else "single")
    if not isinstance(kind, str) or kind not in INSTRUCTION:
        raise ValueError(f"kind {shortened(kind)} is not single or multi")
    if kind == "single" and len(answer) != 1:
        raise ValueError(f"answer {answer!r} of a single-answer question")
    language = "en" if row.get("language") == "en" else "zh"
    return McqItem(_name(row, "id"), question, options, frozenset(answer), _name(row, "subject"), kind, language)


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
        match = re.match(rf"\s*[(（]?[{letter}{letter.lower()}{full_width}](?:[\s.．、,，:：)）]+(.*)|$)", line)
        if match and letter not in options:
            options[letter] = match[1] or ""
        elif options:
            options[next(reversed(options))] += "\n" + line
    return {letter: text.strip() for letter, text in options.items()}


def chance_level(items: Iterable[McqItem]) -> float:
    """The expected accuracy of guessing: the mean over the items of one over the number of answers that may be given.

    Those are the options of a single-answer question, and all sets of at least one option of a multiple-answer question.
    """
    chances = [Fraction(1, len(item.options) if item.kind == "single" else 2 ** len(item.options) - 1) for item in items]
    return float(sum(chances) / len(chances))


def load_items(path: str) -> list[McqItem]:
    """The questions of a file of JSON lines, a JSON array or CSV; one without an id is named by its line.

    Raises:
        UserError: no such file, no questions, two with one id, or a bad line, named by its number.
    """
    items: dict[str, McqItem] = {}
    for number, raw in file_rows(Path(path)):
        try:
            row = parsed(raw)
            if isinstance(row, dict) and row.get("id") in (None, ""):
                row = {**row, "id": str(number)}
            item = item_from_row(row)
        except ValueError as error:
            reason = error.reason if isinstance(error, BadRow) else error
            raise UserError(
                f"{path} line {number}: {reason}", "a multiple-choice question", "mend or remove the line"
            ) from error
        if item.id in items:
            raise UserError(f"id {item.id!r} twice, again in {path} line {number}", "an id of its own a question", "rename one")
        items[item.id] = item
    if not items:
        raise UserError(f"no questions in {path}", "questions as JSON lines, a JSON array or CSV", "check the file")
    return list(items.values())


def _options(row: dict) -> dict[str, str]:
    options = row.get("options")
    if options is None:
        options = {column: row[column] for column in ascii_uppercase if row.get(column) not in ("", None)}
    elif isinstance(options, str):
        options = lettered_lines(options) or _json_or_none(options)
    if isinstance(options, list):
        options = _labelled(options)
    # Parquet has a null for every letter that only other rows use.
    options = {label: text for label, text in options.items() if text is not None} if isinstance(options, dict) else {}
    if len(options) < 2:
        raise ValueError("options is not an object of at least two texts")
    texts = {unicodedata.normalize("NFKC", label).strip().upper(): _text(o, "an option") for label, o in options.items()}
    if len(texts) < len(options) or any(len(label) != 1 or label not in ascii_uppercase for label in texts):
        raise ValueError(f"options are labelled {shortened(', '.join(options))}, not with a capital letter each")
    return texts


def _labelled(options: list) -> dict[object, object]:
    if all(isinstance(option, dict) for option in options):
        pairs = [(o.get("label", o.get("key")), o.get("text", o.get("value"))) for o in options]
        if not all(isinstance(label, str) for label, _ in pairs):
            raise ValueError("options is a list without labels")
        return dict(pairs) if len(dict(pairs)) == len(pairs) else {}
    return dict(zip(ascii_uppercase, options, strict=False)) if len(options) <= len(ascii_uppercase) else {}


def _json_or_none(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _text(value: object, field: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field} is not a text")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{field} is not Unicode text")
    return value.strip()


def _name(row: dict, field: str) -> str:
    value = row.get(field)
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"{field} is a {type(value).__name__}, not a text")
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{field} is not Unicode text")
    return "" if value is None else str(value)
