"""Which columns of a row are a question, with what it is about, and its answer."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from medllm_hf.data.column_hints import quoted
from medllm_hf.data.columns import Names, is_prose, known, plain
from medllm_hf.data.exam_options import given_options, letter_columns, plain_names
from medllm_hf.data.sides import PASSAGES, is_beside, named_sides, side

# What people write where they ask nothing beyond the title.
_NOTHING = {"", "无", "暂无", "无。"}
# A shorter text is a word on the row: no passage, and none that a question could be hidden in.
_SHORTEST = 10
# Names of a question and nothing else, beside which a `text` is a case.
QUESTIONS = (
    "question",
    "questions",
    "问题",
    "提问",
    "query",
    "質問",
    "질문",
    "pregunta",
    "pergunta",
    "frage",
    "вопрос",
    "câuhỏi",
)
# What an answer is called that others are measured by.
_RIGHT = (
    *("expected", "gold", "correctanswer", "rightanswer"),
    *("referenceanswer", "goldanswer", "groundtruth", "groundtruthanswer", "stdanswer", "standardanswer", "expectedanswer"),
    *("expectedoutput", "expectedresponse", "idealanswer", "idealresponse", "goldresponse", "标准答案", "参考答案", "标准回答"),
)
# What says no more than which of a few it is.
_VERDICTS = {
    *("yes", "no", "maybe", "true", "false", "y", "n", "unknown", "unclear", "是", "否", "对", "错", "正确", "错误", "不是"),
    *(
        "可能",
        "也许",
        "不确定",
        "はい",
        "いいえ",
        "예",
        "아니오",
        "sí",
        "si",
        "sim",
        "não",
        "oui",
        "non",
        "ja",
        "nein",
        "да",
        "нет",
    ),
}
# Among fewer rows that a text comes again says nothing.
_FEWEST_ROWS = 8


def is_pair(row: dict, names: Names) -> bool:
    """Whether a row has a column of a question and one of an answer, not both empty."""
    columns = known(tuple(row))
    # Either may be empty, which is for `check_turns` to say.
    usual = all(columns[side] for side in ("user", "assistant")) and any(
        has_value(row, column) for side in ("user", "assistant") for column in columns[side]
    )
    # A question without its options, of which an answer that is no exam's is one, would be another.
    return (usual and given_options(row, plain_names(row)) is None) or _by_words(row) is not None


def pair_columns(row: dict) -> tuple[list[str], str]:
    """The columns of the question, which are joined, and that of the answer, in a row that `is_pair`."""
    columns = known(tuple(row))
    if columns["user"] and columns["assistant"]:
        return _asks(row, columns["user"]), _first_filled(row, columns["assistant"])
    found = _by_words(row)
    if found is None:
        raise ValueError(f"no question and answer among {', '.join(row)}")
    return found


def hidden_question(rows: Iterable[dict]) -> str | None:
    """Says which column has the question if the one that would be read comes again and again beside it, None if none does.

    So a passage is told from the questions on it under names that nobody knows.
    """
    asked: set[tuple[str, ...]] = set()
    others: dict[str, set[str]] = defaultdict(set)
    read: set[str] = set()
    total = 0
    for row in rows:
        asks, answer = pair_columns(row)
        total += 1
        asked.add(tuple(str(row.get(name)) for name in asks))
        read |= {*asks, answer}
        for name, value in row.items():
            if isinstance(value, str) and len(value) >= _SHORTEST and is_prose(value):
                others[name].add(value)
    most = {name: len(values) for name, values in others.items() if name not in read and _may_ask(name, values)}
    name = max(most, key=lambda name: most[name], default=None)
    if name is None or total < _FEWEST_ROWS or len(asked) * 2 > min(total, most[name]):
        return None
    shown = " and ".join(sorted(read & {*asks}))
    return (
        f"{len(asked)} different texts in {shown} beside {most[name]} in {name}, of {total} rows: which is the question is not "
        f"clear; name it with --columns user=…,assistant={answer}"
    )


def several_answers(rows: Iterable[dict]) -> str | None:
    """Says which columns have an answer where one is called right and the one that would be read is not; None where none is.

    So a model's answer is told from the one it is measured by.
    """
    found: Counter[tuple[str, str]] = Counter()
    asked: list[str] = []
    total = 0
    for row in rows:
        asks, answer = pair_columns(row)
        asked = asked or asks
        total += 1
        for name in row:
            if plain(name) in _RIGHT and plain(answer) not in _RIGHT and has_value(row, name):
                found[answer, name] += row[name] != row[answer]
            elif name != answer and _is_long_answer(row, name, answer):
                found[answer, name] += 1
    (answer, name), count = found.most_common(1)[0] if found else (("", ""), 0)
    if not count or count * 2 < total:
        return None
    user = "+".join(asked) if asked else "…"
    return f"several may be the answer ({answer}, {name}): choose with --columns {quoted(f'user={user},assistant=…')}"


def _is_long_answer(row: dict, name: str, answer: str) -> bool:
    """Whether a column has an answer in full beside one that only says yes or no, as PubMedQA has them."""
    verdict, text = row.get(answer), row[name]
    if not isinstance(verdict, str) or verdict.strip(" .。").casefold() not in _VERDICTS or not isinstance(text, str):
        return False
    return side(name) == "assistant" and len(text) > _SHORTEST and is_prose(text)


def _may_ask(name: str, values: set[str]) -> bool:
    """Whether a column may hold questions: its name says so, or says nothing and most of the texts do."""
    if is_beside(name) or side(name) not in ("user", "none"):
        return False
    return side(name) == "user" or sum(text.rstrip().endswith(("?", "？")) for text in values) * 2 > len(values)


def _asks(row: dict, users: tuple[str, ...]) -> list[str]:
    """The columns of the question by the usual names, of which `users` are there."""
    columns = known(tuple(row))
    asks = [_first_filled(row, users)]
    parts = [name for name in columns["instruction"][:1] + columns["input"][:1] if has_value(row, name)]
    if len(parts) > 1 or asks[0] in parts:
        asks = parts
    if columns["instruction"] and asks[0] != columns["instruction"][0] and has_value(row, columns["instruction"][0]):
        asks = [columns["instruction"][0], *asks]
    elif asks == [*columns["instruction"][:1]]:
        # The task in the instruction, and what it is about under another name; `text` is all of it as it was trained.
        asks += [name for name in users if name not in asks and name.casefold() != "text" and has_value(row, name)][:1]
    first = row[asks[0]]
    if len(asks) == 1 and isinstance(first, str | None) and (first or "").strip() in _NOTHING and columns["title"]:
        return [columns["title"][0]]
    return _with_passage(row, asks, users)


def _with_passage(row: dict, asks: list[str], users: tuple[str, ...]) -> list[str]:
    """The columns of a question with that of the text it is about, which stands before it and behind an instruction."""
    passages = [name for name in row if plain(name) in PASSAGES and _is_text(row[name])]
    passages += [name for name in row if plain(name) == "text" and name not in asks and _is_case(row, name, asks)]
    if not passages:
        return asks
    if asks == passages[:1]:
        texts = [row[name] for name in known(tuple(row))["assistant"] if isinstance(row[name], str)]
        # A text that has the answer in it, too, is all of it as it was trained.
        rest = [name for name in users if name not in passages and isinstance(row[name], str) and row[name].strip()]
        rest = [name for name in rest if plain(name) != "text" or not any(text and text in row[name] for text in texts)]
        return [*asks, *rest[:1]]
    if passages[0] in asks:
        return asks
    at = 1 if asks[0] in known(tuple(row))["instruction"] else 0
    return [*asks[:at], passages[0], *asks[at:]]


def _is_case(row: dict, name: str, asks: list[str]) -> bool:
    """Whether a `text` beside a question is what it is about: not all of it with its answer, and not the question again."""
    text, question = row[name], row[asks[0]]
    if not isinstance(text, str) or not isinstance(question, str) or not _is_text(text) or question.strip() in text:
        return False
    answers = [row[column] for column in known(tuple(row))["assistant"] if isinstance(row[column], str)]
    return known((asks[0],))["user"][:1] == (asks[0],) and plain(asks[0]) in QUESTIONS and text not in answers


def _by_words(row: dict) -> tuple[list[str], str] | None:
    """The columns of the two sides by the words in their names; None unless there is one for each and nothing beside them.

    A row with options is no dialogue: its question would lose them.
    """
    sides = named_sides(row)
    cards = [name for word in ("front", "back") for name in row if plain(name) == word]
    if len(cards) == 2 and not sides["user"] and not sides["assistant"]:
        sides["user"], sides["assistant"] = cards[:1], cards[1:]
    columns = known(tuple(row))
    if len(sides["assistant"]) != 1 or not sides["user"]:
        return None
    answer = sides["assistant"][0]
    usual = tuple(name for name in columns["user"] if name in sides["user"])
    asks = _asks(row, usual) if usual else _with_passage(row, sides["user"], tuple(sides["user"]))
    left = [name for name in sides["user"] if name not in asks and has_value(row, name)]
    if left or (len([name for name in asks if name not in sides["passage"]]) > 1 and not columns["instruction"]):
        return None
    texts = [row[name] for name in (*asks, answer)]
    if not all(isinstance(text, str | None) for text in texts) or not any(texts):
        return None
    others = (value for name, value in row.items() if name not in (*asks, answer) and not is_beside(name))
    if any(isinstance(value, str) and len(value) >= _SHORTEST and is_prose(value) for value in others):
        return None
    has_options = given_options(row, plain_names(row)) is not None or len(letter_columns(row)) > 1
    return None if has_options else (asks, answer)


def passage_text(value: object, name: str) -> str | None:
    """The text of a column of a passage that is a list of texts, None of any other."""
    if plain(name) not in PASSAGES or not isinstance(value, list) or not _is_text(value):
        return None
    return "\n".join(value)


def _is_text(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(part, str) for part in value)
    return isinstance(value, str) and len(value.strip()) >= _SHORTEST


def _first_filled(row: dict, columns: tuple[str, ...]) -> str:
    return next((column for column in columns if has_value(row, column)), columns[0])


def has_value(row: dict, column: str) -> bool:
    """Whether an optional column is there; CSV writes a missing value as an empty text."""
    return row.get(column) not in (None, "")
