"""Under which names a row has the parts of an exam question."""

import re
from typing import TypeGuard

from medllm_hf.data.columns import is_prose
from medllm_hf.data.exam_options import first_filled, given_options, letter_columns, option_columns, plain_names
from medllm_hf.data.sides import PASSAGES, is_beside

# In the order in which they are tried. Names are compared in lower case and without "_", "-" and spaces.
QUESTION = (
    *("question", "qtext", "题目", "题干", "问题", "題目", "題幹", "問題", "stem", "questiontext", "questionstem"),
    *("题目内容",),
    *(
        "试题",
        "试题内容",
        "試題",
        "problem",
        "problemtext",
        "text",
        "query",
        "prompt",
        "問題文",
        "設問",
        "質問",
        "질문",
        "문제",
        "문항",
    ),
    *("pregunta", "enunciado", "pergunta", "énoncé", "enonce", "frage", "вопрос", "câuhỏi", "السؤال", "سؤال", "soru", "q"),
)
# Names of any text, which are a question where no other can be.
_MAYBE_QUESTION = (
    "content",
    "contents",
    "body",
    "title",
    "内容",
    "內容",
    "내용",
    "标题",
    "標題",
    "contenido",
    "texto",
    "inhalt",
)
# A shorter text beside it is a word on the row.
_SHORTEST = 10
# What several questions are about, without which they cannot be answered.
PASSAGE = ("sharecontent", *PASSAGES)
# A letter or a position says more than a text, so it is looked for first.
ANSWER = (
    *("answeridx", "answerindex", "answerindices", "answerkey", "answerletter", "keyletter", "goldletter", "cop", "ra"),
    *(
        f"correct{what}{which}"
        for what in ("", "answer", "option", "choice")
        for which in ("letter", "letters", "key", "id", "ids", "idx", "index", "indexes", "indices")
    ),
    *("answer", "答案", "正确答案", "标准答案", "参考答案", "正確答案", "標準答案", "正确选项"),
    *("correctanswer", "correctanswers", "correctoption", "correctoptions", "correctchoice", "correctchoices", "correct"),
    *("rightanswer", "rightoption", "goldanswer", "gold", "label", "ans", "正解", "正答", "解答", "答え", "정답", "답"),
    *("respuestacorrecta", "opcióncorrecta", "opcioncorrecta", "respuesta", "respostacorreta", "resposta", "gabarito"),
    *("bonneréponse", "bonnereponse", "réponsecorrecte", "réponse", "richtigeantwort", "korrekteantwort", "antwort"),
    *("правильныйответ", "верныйответ", "ответ", "đápán", "dapan", "الإجابةالصحيحة", "الجوابالصحيح", "الإجابة", "الجواب"),
    *("doğrucevap", "cevap", "kuncijawaban", "jawaban"),
)
# Other names of an answer, where letters or a position stand in it and one column alone has such a name.
_LIKE_ANSWER = re.compile(r"answer|correct|gold|答案|正解|정답|correct[ao]|правильн|richtig")
# What somebody answered, which need not be right.
_GIVEN = re.compile(r"model|pred|student|user|chosen|selected|consensus|given|your|llm|gpt|response|wrong|incorrect|iscorrect")
_LETTERS = re.compile(r"\s*[A-Za-z](?:[\s,、;/|+&]*[A-Z]){0,9}\s*")


def unfolded(row: dict) -> dict:
    """A row with what is in its question beside it, where that is an object of the stem and the options, as ARC has it."""
    folded = next((name for name in ("question", "Question") if name in row and is_folded(row[name])), None)
    return row if folded is None else {**{name: value for name, value in row.items() if name != folded}, **row[folded]}


def is_folded(value: object) -> bool:
    """Whether a value is an object of the stem of a question and its options."""
    if not isinstance(value, dict):
        return False
    names = plain_names(value)
    return given_options(value, names) is not None and isinstance(first_filled(value, names, QUESTION), str)


def names_of(row: dict) -> dict[str, str]:
    """{name as it is compared: column} of a row; a letter for a name, or another of an answer, is the usual one too."""
    names = plain_names(row)
    if {"q", "o", "a"} <= names.keys() and isinstance(row[names["o"]], list | dict):
        names = {"question": names["q"], "options": names["o"], "answer": names["a"], **names}
    if not any(name in names for name in QUESTION) and (asked := _only_text(row, names)):
        names["question"] = asked
    if any(name in names for name in QUESTION) and not any(name in names for name in ANSWER):
        if "a" in names and "b" not in names and given_options(row, names) is not None:
            return {"answer": names["a"], **names}
        like = [
            column
            for name, column in names.items()
            if _LIKE_ANSWER.search(name) and not _GIVEN.search(name) and _may_be_answer(row[column])
        ]
        names.update({"answer": like[0]} if len(like) == 1 else {})
    return names


def _only_text(row: dict, names: dict[str, str]) -> str | None:
    """The column of a question with options that has the name of any text, if nothing else in the row may be it."""
    maybe = [names[name] for name in _MAYBE_QUESTION if name in names and _is_text(row[names[name]])]
    if len(maybe) != 1 or (given_options(row, names) is None and len(letter_columns(row)) < 2):
        return None
    apart = {*maybe, *option_columns(row), *(names[name] for name in ANSWER if name in names)}
    others = (text for name, text in row.items() if name not in apart and not is_beside(str(name)))
    asked = row[maybe[0]].strip()
    return None if any(_is_text(text) and _may_ask_beside(text, asked) for text in others) else maybe[0]


def _may_ask_beside(text: str, asked: str) -> bool:
    """Whether a text may be the question in place of another: it asks, or is as long."""
    return text.rstrip().endswith(("?", "？")) or len(text.strip()) >= len(asked)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value.strip()) >= _SHORTEST and is_prose(value)


def missing_parts(row: dict) -> list[str]:
    """Which of "question" and "answer" a row with options has no filled column for."""
    row = unfolded(row)
    names = names_of(row)
    return [part for part, wanted in (("question", QUESTION), ("answer", ANSWER)) if filled_column(row, names, wanted) is None]


def _may_be_answer(value: object) -> bool:
    return _LETTERS.fullmatch(value) is not None if isinstance(value, str) else position(value) is not None


def filled_column(row: dict, names: dict[str, str], wanted: tuple[str, ...]) -> str | None:
    """The first wanted column that is there and not empty, None if there is none."""
    return next((names[name] for name in wanted if name in names and row[names[name]] not in (None, "", [], {})), None)


def position(part: object) -> int | None:
    """A whole number, also in digits of at most two places; None for anything else."""
    if isinstance(part, str) and re.fullmatch(r"\s*-?[0-9]{1,2}(?:\.0)?\s*", part):
        part = float(part)
    if isinstance(part, bool) or not isinstance(part, int | float) or not -100 < part < 100 or part != int(part):
        return None
    return int(part)
