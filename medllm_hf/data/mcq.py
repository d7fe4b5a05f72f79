"""Multiple-choice questions: the record, its file format and its prompts."""

import json
from dataclasses import dataclass
from pathlib import Path

from medllm_hf.errors import UserError

REPLY_PREFIX = "答案："
INSTRUCTION = {
    "single": "请回答下面的单项选择题，只写出正确选项的字母。",
    "multi": "请回答下面的多项选择题，写出所有正确选项的字母。",
}


@dataclass(frozen=True)
class McqItem:
    """One question. `answer` holds the right letters; `kind` is "single" or "multi" and is told to the examinee."""

    id: str
    question: str
    options: dict[str, str]
    answer: frozenset[str]
    subject: str
    kind: str

    def option_text(self, letters: frozenset[str] | tuple[str, ...]) -> str:
        """The texts of `letters` in the order of the options, joined as a Chinese list."""
        return "、".join(text for letter, text in self.options.items() if letter in letters)

    def prompt(self, options: bool) -> str:
        """The user turn: the bare question, or instruction, question and lettered options."""
        if not options:
            return self.question
        lines = [f"{letter}. {text}" for letter, text in self.options.items()]
        return "\n".join([INSTRUCTION[self.kind], self.question, *lines])


def item_from_row(row: object) -> McqItem:
    """The item in one JSON row `{"id", "question", "options", "answer", "subject", "kind"}`; `answer` is letters, "ABD".

    Raises:
        ValueError: which field is wrong and why.
    """
    if not isinstance(row, dict):
        raise ValueError(f"the row is a {type(row).__name__}, not an object")
    question, options, answer = row.get("question"), row.get("options"), row.get("answer")
    if not isinstance(question, str) or not question.strip():
        raise ValueError("question is not a text")
    if not isinstance(options, dict) or len(options) < 2 or not all(isinstance(o, str) and o.strip() for o in options.values()):
        raise ValueError("options is not an object of at least two texts")
    if any(len(letter) != 1 or not "A" <= letter <= "Z" for letter in options):
        raise ValueError(f"options are labelled {', '.join(options)}, not with capital letters")
    if not isinstance(answer, str) or not answer or not set(answer) <= set(options) or len(set(answer)) != len(answer):
        raise ValueError(f"answer {answer!r} does not name options {', '.join(options)}")
    kind = row.get("kind") or ("multi" if len(answer) > 1 else "single")
    if kind not in INSTRUCTION:
        raise ValueError(f"kind {kind!r} is not single or multi")
    if kind == "single" and len(answer) != 1:
        raise ValueError(f"answer {answer!r} of a single-answer question")
    return McqItem(str(row.get("id", "")), question.strip(), options, frozenset(answer), str(row.get("subject", "")), kind)


def load_items(path: str) -> list[McqItem]:
    """The questions of a JSON-lines file.

    Raises:
        UserError: no such file, no questions, two with one id, or a bad line, named by its number.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"no readable file {path}", "questions as JSON lines", "check the path") from error
    items: dict[str, McqItem] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = item_from_row(json.loads(line))
        except ValueError as error:
            raise UserError(
                f"{path} line {number}: {error}", "a multiple-choice question", "mend or remove the line"
            ) from error
        if item.id in items:
            raise UserError(f"id {item.id!r} twice, again in {path} line {number}", "an id of its own a question", "rename one")
        items[item.id] = item
    if not items:
        raise UserError(f"no questions in {path}", "questions as JSON lines", "check the file")
    return list(items.values())
