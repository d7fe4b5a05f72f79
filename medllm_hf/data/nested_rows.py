"""A row that holds others, such as a quiz with its questions or an article with what is asked about it → these rows."""

from medllm_hf.data.columns import is_prose, known, plain
from medllm_hf.data.exam_rows import is_exam_row
from medllm_hf.data.sides import PASSAGES, is_beside

# Rows in rows in rows: SQuAD has articles, paragraphs and questions.
_DEEPEST = 3
# Longer is what questions may be about, sooner in Chinese.
_LONGEST_WORDS = 40
# Pairs in a list may be the rounds of one dialogue; under this name they are questions on a passage.
_ON_PASSAGE = "qas"


def inner_rows(value: object, depth: int = 0) -> list[object] | None:
    """The rows in the one list of a row, each with the passage that stands beside the list; None if it holds none.

    They are exam questions, or pairs as SQuAD has them. None too where another text stands beside the list: it may be what
    the questions are about.
    """
    if not isinstance(value, dict) or depth > _DEEPEST or is_exam_row(value):
        return None
    lists = [name for name, held in value.items() if isinstance(held, list) and held and isinstance(held[0], dict)]
    if len(lists) != 1:
        return None
    entries = value[lists[0]]
    passage = {name: text for name, text in value.items() if plain(name) in PASSAGES and isinstance(text, str)}
    others = [text for name, text in value.items() if name not in passage and isinstance(text, str) and not is_beside(name)]
    if any(is_prose(text) and len(text) > (_LONGEST_WORDS if text.isascii() else _LONGEST_WORDS // 4) for text in others):
        return None
    found: list[object] = []
    for entry in entries:
        inner = inner_rows(entry, depth + 1)
        found += inner if inner else [entry]
    if not any(_is_row(entry, lists[0], passage) for entry in found):
        return None
    return [{**passage, **entry} if isinstance(entry, dict) else entry for entry in found]


def _is_row(entry: object, column: str, passage: dict) -> bool:
    if not isinstance(entry, dict):
        return False
    columns = known(tuple(entry))
    asked = plain(column) == _ON_PASSAGE and bool(passage) or any(plain(name) in PASSAGES for name in entry)
    return is_exam_row(entry) or (asked and bool(columns["user"] and columns["assistant"]))
