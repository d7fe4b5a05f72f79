"""Multiple-choice questions: the record, its files and its prompts."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial
from itertools import chain
from pathlib import Path

from medllm_hf.data.archives import archive_of
from medllm_hf.data.exam_prompts import INSTRUCTION, LETTERS_ALONE, REASONING_INSTRUCTION, REPLY_PREFIX
from medllm_hf.data.exam_rows import Positions, exam_fields, position_base
from medllm_hf.data.files import BadRow, parsed
from medllm_hf.data.pictures import NeedsImage
from medllm_hf.data.raw_rows import raw_rows
from medllm_hf.data.recognition import recognise
from medllm_hf.errors import UserError, kind_of

# Of the words around a question that does not say otherwise.
LANGUAGE = "zh"


@dataclass(frozen=True, slots=True)
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
    language: str = LANGUAGE

    @property
    def reply_prefix(self) -> str:
        return REPLY_PREFIX[self.language]

    @property
    def letters_alone(self) -> str:
        """The user turn that asks once more, for the letters alone."""
        return LETTERS_ALONE[self.language][self.kind]

    def option_text(self, letters: Iterable[str]) -> str:
        """The texts of `letters` in the order of the options, joined as a list of the language."""
        chosen = frozenset(letters)
        joint = "; " if self.language == "en" else "、"
        return joint.join(text for letter, text in self.options.items() if letter in chosen)

    @property
    def answer_prefix(self) -> str:
        """What stands before an answer in a dialogue, in Chinese, Japanese, Korean and English alone."""
        return _said_before(self.question, self.language)

    def prompt(self, options: bool, reasoning: bool = False) -> str:
        """The user turn: the bare question, or instruction, question and lettered options.

        `reasoning` asks for an analysis before the answer, else for the letters alone.
        """
        if not options:
            return self.question
        lines = [f"{letter}. {text}" for letter, text in self.options.items()]
        instruction = REASONING_INSTRUCTION if reasoning else INSTRUCTION
        return "\n".join([instruction[self.language][self.kind], self.question, *lines])


def _said_before(text: str, language: str) -> str:
    """What stands before the answer in a dialogue, by the signs of the question."""
    if language == "en":
        return REPLY_PREFIX["en"] if sum(char.isalpha() and not char.isascii() for char in text) * 50 < len(text) else ""
    signs = {"正解：": "[\u3041-\u3096\u30a1-\u30fa]", "정답: ": "[\uac00-\ud7a3]", REPLY_PREFIX["zh"]: "[\u3400-\u9fff]"}
    return next((prefix for prefix, sign in signs.items() if re.search(sign, text)), "")


def item_from_row(row: object, positions: Positions = lambda: None) -> McqItem:
    """The item in one row of any layout that `exam_fields` reads; answers that are positions count from `positions()`.

    Without a kind, a question with several right letters is "multi". The prompt is English where `language` is "en".

    Raises:
        ValueError: which field is wrong and why.
    """
    if not isinstance(row, dict):
        raise ValueError(f"the row is {kind_of(row)}, not an object")
    fields = exam_fields(row, positions)
    answer = fields["answer"]
    kind = fields["kind"] or ("multi" if len(answer) > 1 else "single")
    if kind == "single" and len(answer) != 1:
        raise ValueError(f"answer {answer!r} of a single-answer question")
    return McqItem(**{**fields, "answer": frozenset(answer), "kind": kind})


def file_positions(path: str, encoding: str | None = None) -> int | None:
    """0 or 1, from which the answers in a file of questions count that are positions; None where nothing tells."""
    state = os.stat(archive_of(Path(path)) or path)
    return _positions_of(path, encoding, state.st_mtime_ns, state.st_size)


@cache
def _positions_of(path: str, encoding: str | None, changed: int, size: int) -> int | None:
    # The time and the size, so that a file which somebody mends is read again.
    return position_base(_readable_rows(path, encoding))


def chance_level(items: Iterable[McqItem]) -> float:
    """The expected accuracy of guessing: the mean over the items of one over the number of answers that may be given.

    Those are the options of a single-answer question, and all sets of at least one option of a multiple-answer question.
    """
    chances = [Fraction(1, len(item.options) if item.kind == "single" else 2 ** len(item.options) - 1) for item in items]
    return float(sum(chances) / len(chances))


@dataclass(frozen=True)
class QuestionFile:
    """The questions of a file, and how many others come with a picture, which no text can answer."""

    items: tuple[McqItem, ...]
    with_picture: int


def load_items(path: str) -> list[McqItem]:
    """The questions of a file; see `read_question_file`."""
    return list(read_question_file(path).items)


def read_question_file(path: str, encoding: str | None = None) -> QuestionFile:
    """The questions of a file in any layout that `exam_fields` reads; one without an id is named by its line.

    The words around all of them are of one language, that of most questions, but where a row names its own. `encoding` is
    that of a text in which none is found.

    Raises:
        UserError: no such file, no questions, two with one id, or bad lines, with their number and the first of them.
    """
    encoding = None if encoding is None or _is_readable(path) else encoding
    items: dict[str, McqItem] = {}
    bad: list[tuple[int, str]] = []
    own: set[str] = set()
    read = with_picture = 0
    for number, raw in chain(*raw_rows(Path(path), encoding)):
        read += 1
        try:
            row = parsed(raw)
            item = item_from_row(row, partial(file_positions, path, encoding))
        except NeedsImage:
            with_picture += 1
            continue
        except ValueError as error:
            bad.append((number, error.reason if isinstance(error, BadRow) else str(error)))
            continue
        item = item if item.id else replace(item, id=str(number))
        if item.id in items:
            raise UserError(f"id {item.id!r} twice, again in {path} line {number}", "an id of its own a question", "rename one")
        items[item.id] = item
        if isinstance(row, dict) and row.get("language"):
            own.add(item.id)
    if bad:
        more = f" ({len(bad)} of {read} lines are no questions, this is the first)" if len(bad) > 1 else ""
        do = "mend or remove the line; a benchmark's own file, given by NAME=FILE or --data-path, is read without such lines"
        raise UserError(f"{path} line {bad[0][0]}: {bad[0][1]}{more}", "multiple-choice questions", do)
    if not items:
        none = f"no questions in {path}" + (f" but {with_picture} with a picture" if with_picture else "")
        raise UserError(none, "questions as JSON lines, a JSON array or CSV", "check the file")
    english = sum(item.language == "en" for item in items.values()) * 2 > len(items)
    one_language = (item if item.id in own else replace(item, language="en" if english else "zh") for item in items.values())
    return QuestionFile(tuple(one_language), with_picture)


def _is_readable(path: str) -> bool:
    try:
        recognise(Path(path))
    except UserError:
        return False
    return True


def _readable_rows(path: str, encoding: str | None) -> Iterator[object]:
    for _, raw in chain(*raw_rows(Path(path), encoding)):
        with suppress(BadRow):
            yield parsed(raw)
