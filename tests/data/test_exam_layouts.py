"""Layouts of exam questions: flags of the options, indices, other languages, and the dialogue that a question becomes."""

import pytest

from medllm_hf.data.commands.check import check
from medllm_hf.data.dialogues import Policy, dialogue
from medllm_hf.data.exam_rows import is_exam_row
from medllm_hf.data.files import BadRow
from medllm_hf.data.mcq import item_from_row
from tests.data.test_formats import reading, write_lines

TEXTS = ["甲", "乙", "丙"]
FLAGGED = [{"label": letter, "text": text, "is_correct": text == "乙"} for letter, text in zip("ABC", TEXTS, strict=True)]


@pytest.mark.parametrize(
    "row",
    [
        {"options": FLAGGED},
        {"answers": [{"answer": text, "isCorrect": text == "乙"} for text in TEXTS]},
        {"choices": [{"text": text, "correct": int(text == "乙")} for text in TEXTS]},
        {"options": [{"text": "甲"}, {"text": "乙", "correct": True}, {"text": "丙"}]},
        {"options": [{"id": letter, "text": text} for letter, text in zip("abc", TEXTS, strict=True)], "correctAnswer": "b"},
        {"options": [{"id": f"opt-{i}", "text": text} for i, text in enumerate(TEXTS)], "correct_option_id": "opt-1"},
        {"answerChoices": TEXTS, "correctAnswerIndexes": [1]},
        {"text": "患者头痛两天，伴有发热。", "choices": TEXTS, "answer": "B"},
        {"choices": TEXTS, "correct_indices": [1]},
        {"a": "甲", "b": "乙", "c": "丙", "answer": "b"},
        {"A)": "甲", "B)": "乙", "C)": "丙", "answer": "B"},
        {"option1": "甲", "option2": "乙", "option3": "丙", "correct_answer": "option2"},
        {"choices": TEXTS, "key_letter": "B", "model_letter": "A"},
        {"choices": TEXTS, "gold_answer": "B", "predicted_answer": "C"},
        {"選択肢": TEXTS, "正解": "乙"},
        {"보기": TEXTS, "정답": "B"},
        {"opcion_a": "甲", "opcion_b": "乙", "opcion_c": "丙", "respuesta_correcta": "B"},
        {"Варианты ответа": TEXTS, "Правильный ответ": "乙"},
    ],
)
def test_the_second_option_is_right(row):
    item = item_from_row({"question": "选哪个？", **row}, lambda: 0)
    assert (list(item.options.values()), item.answer) == (TEXTS, {"B"})


def test_a_case_and_several_texts():
    case = "患者头痛两天，伴有发热。"
    assert (
        item_from_row({"text": case, "question": "选哪个？", "choices": TEXTS, "answer": "B"}).question == f"{case}\n选哪个？"
    )
    whole = {"text": "选哪个？A. 甲 B. 乙 C. 丙", "question": "选哪个？", "choices": TEXTS, "answer": "甲 | 丙"}
    item = item_from_row(whole)
    assert (item.question, item.answer) == ("选哪个？", {"A", "C"})


def test_columns_that_are_called_by_numbers():
    assert item_from_row({"question": "选哪个？", "1": "甲", "2": "乙", "3": "丙", "answer": "2"}).answer == {"B"}


def test_a_question_that_is_an_object_and_one_with_printed_options():
    choices = [{"label": letter, "text": text} for letter, text in zip("ABC", TEXTS, strict=True)]
    item = item_from_row({"id": "x", "question": {"stem": "选哪个？", "choices": choices}, "answerKey": "B"})
    assert (item.id, item.question, item.answer) == ("x", "选哪个？", {"B"})
    asked = "选哪个？ Choices: {'A': '甲', 'B': '乙', 'C': '丙'}"
    item = item_from_row({"question": asked, "answer": "C"})
    assert (item.options, item.answer) == (dict(zip("ABC", TEXTS, strict=True)), {"C"})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"options": [{**option, "is_correct": False} for option in FLAGGED]}, "no columns|options"),
        ({"choices": TEXTS, "answer": "B", "correct_answer": "C"}, "beside another that is"),
        ({"option1": "甲", "option2": "乙", "answer_index": 1}, "whether they count from 0 or from 1"),
        ({"options": [f"第{i}位" for i in range(4)], "answer": "一律給分"}, "does not name options"),
    ],
)
def test_what_tells_nothing_is_refused(row, said):
    with pytest.raises((BadRow, ValueError), match=said):
        dialogue({"question": "选哪个？", **row}, "auto", "x", Policy())


def test_numbers_beside_numbered_options_count_as_the_file_does(tmp_path):
    """In a file that counts from 0, 1 is the second option and not the one that is called option1."""
    rows = [{"question": f"第{i}题", "option1": "甲", "option2": "乙", "option3": "丙", "correct_idx": i} for i in range(3)]
    accepted, _, _ = reading([write_lines(tmp_path / "a.jsonl", rows)])
    assert [row["messages"][1]["content"] for row in accepted] == ["答案：甲", "答案：乙", "答案：丙"]


@pytest.mark.parametrize(
    ("question", "options", "reply"),
    [
        ("选哪个？", TEXTS, "答案：乙"),
        ("どれですか", TEXTS, "正解：乙"),
        ("무엇입니까", ["하나", "둘"], "정답: 둘"),
        ("Which one?", ["one", "two"], "Answer: two"),
        ("Which is the sign 気 of, in short, among these of old?", ["one", "two"], "Answer: two"),
        ("¿Cuál es la más pequeña de las células según él?", ["óvulo é", "glía ó"], "glía ó"),
        ("Что это?", ["одно", "два"], "два"),
    ],
)
def test_the_words_around_an_answer_are_of_its_language(question, options, reply):
    whole, _ = dialogue({"question": question, "options": options, "answer": "B"}, "auto", "x", Policy())
    assert [turn["content"] for turn in whole["messages"]] == [question, reply]


def test_questions_beside_open_ones_and_tags(tmp_path, capsys):
    (tmp_path / "a.json").write_text(
        '{"title": "x", "tags": ["头痛", "发热"], "questions": ['
        '{"q": "选哪个？", "choices": ["甲", "乙"], "answer": 0}, {"q": "选哪个？", "choices": ["甲", "乙"], "answer": 1},'
        '{"q": "头痛怎么办？", "answer": "多休息。"}]}',
        encoding="utf-8",
    )
    assert check([str(tmp_path / "a.json")]) == 0 and "accepted 3" in capsys.readouterr().out
    accepted, _, _ = reading([str(tmp_path / "a.json")])
    assert [row["messages"][1]["content"] for row in accepted] == ["答案：甲", "答案：乙", "多休息。"]


def test_of_two_names_that_are_alike_the_filled_one_counts():
    row = {"Question": "", "question": "选哪个？", "Answer": None, "answer": "B", "choices": TEXTS}
    assert item_from_row(row).answer == {"B"} and is_exam_row(row)


def test_a_pair_never_loses_its_options():
    row = {"question": "选哪个？", "choices": TEXTS, "consensus_letter": "A", "answer_text": "乙"}
    assert not is_exam_row(row)
    with pytest.raises(BadRow, match="options"):
        dialogue(row, "auto", "x", Policy())
