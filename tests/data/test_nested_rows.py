"""Rows that hold rows: a quiz with its questions, an article with what is asked about it."""

import json

from medllm_hf.data.commands.check import check
from medllm_hf.data.mcq import load_items
from medllm_hf.data.nested_rows import inner_rows

QUIZ = {
    "id": 1,
    "title": "Ward rounds, part one of a long series on nursing",
    "questions": [
        {"text": f"Which bed comes {word}?", "options": ["one", "two", "three"], "correctAnswer": i}
        for i, word in enumerate(("first", "second", "last"))
    ],
}
CASE = "患者男，四十五岁，头痛两天，伴有恶心。"
ARTICLE = {
    "title": "头痛",
    "paragraphs": [
        {"context": CASE, "qas": [{"question": "头痛几天了？", "id": 5, "answers": [{"text": "两天", "answer_start": 9}]}]}
    ],
}


def test_quizzes_are_read_question_by_question(tmp_path, capsys):
    path = tmp_path / "quizzes.json"
    path.write_text(json.dumps([QUIZ, {**QUIZ, "id": 2}]), encoding="utf-8")
    assert check([str(path)]) == 0
    assert "accepted 6" in capsys.readouterr().out
    # Their positions, too, are told by all of them.
    single = tmp_path / "quiz.json"
    single.write_text(json.dumps([QUIZ]), encoding="utf-8")
    assert [sorted(item.answer) for item in load_items(str(single))] == [["A"], ["B"], ["C"]]


def test_questions_on_a_passage_bring_it(tmp_path, capsys):
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [ARTICLE], "version": "1"}, ensure_ascii=False), encoding="utf-8")
    assert check([str(path)]) == 0
    assert "user in context and question, assistant in answers" in capsys.readouterr().out
    assert inner_rows(ARTICLE) == [{"context": CASE, **ARTICLE["paragraphs"][0]["qas"][0]}]


def test_what_the_questions_may_need_is_not_lost():
    """A text under an unknown name beside the list, rounds of one dialogue, and two lists are left to the user."""
    questions = QUIZ["questions"]
    assert inner_rows({"通用": CASE, "questions": questions}) is None
    assert inner_rows({"stem": "A man of forty comes to the ward with a headache.", "questions": questions}) is None
    assert (
        inner_rows({"visit": 1, "talk": [{"question": "头痛", "answer": "多久了"}, {"question": "两天", "answer": "好"}]})
        is None
    )
    assert inner_rows({"a": questions, "b": questions}) is None
    assert inner_rows({"案例": CASE, "questions": questions})[0]["案例"] == CASE
    assert inner_rows([]) is None and inner_rows({"questions": []}) is None
