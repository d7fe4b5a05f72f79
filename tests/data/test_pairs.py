"""A question, with what it is about, and its answer: by the usual names, and by the words in others."""

import pytest

from medllm_hf.data.commands.check import check
from medllm_hf.data.dialogues import dialogue
from medllm_hf.data.files import BadRow
from tests.data.test_formats import GOOD, USUAL, write_lines

ASKED, ANSWERED = (turn["content"] for turn in GOOD)
CASE = "患者女，六十岁，乏力两个月，近日头痛。"


def read(row):
    """The question and the answer of a row."""
    found, _ = dialogue(row, "auto", "x", USUAL)
    return [turn["content"] for turn in found["messages"]]


@pytest.mark.parametrize(
    "row",
    [
        {"context": CASE, "text": ASKED, "answer": ANSWERED},
        {"context": CASE, "question": ASKED, "answer": ANSWERED},
        {"question": ASKED, "passage": [CASE], "answer": ANSWERED},
        {"question": ASKED, "answer": ANSWERED, "病例": CASE},
        {"context": CASE, "question_text": ASKED, "reply": ANSWERED},
        {"context": CASE, "question_asked": ASKED, "nurse_reply": ANSWERED},
    ],
)
def test_what_a_question_is_about_stands_before_it(row):
    assert read(row) == [f"{CASE}\n{ASKED}", ANSWERED]


def test_a_word_on_the_row_and_a_text_that_holds_everything_are_no_part_of_the_question():
    assert read({"context": "头部", "question": ASKED, "answer": ANSWERED}) == [ASKED, ANSWERED]
    whole = f"### {CASE} ### {ANSWERED}"
    assert read({"context": CASE, "text": whole, "response": ANSWERED}) == [CASE, ANSWERED]
    assert read({"instruction": "请回答", "input": ASKED, "context": CASE, "output": ANSWERED})[0] == f"请回答\n{CASE}\n{ASKED}"


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        *(("Question_description", "Answer_details"), ("Question", "Free_form_answer"), ("harmful_request", "safe_response")),
        *(("query", "gpt-3.5-turbo"), ("题目", "标答"), ("front", "back"), ("patientQuestionFull", "expertAnswerFull")),
        *(("患者的提问", "专家的答复"), ("query", "rejected_note_free_reply"), ("question zh", "answer zh")),
    ],
)
def test_names_that_hold_one_known_word(user, assistant):
    row = {user: ASKED, "topic_name": "内科，普通门诊，第一诊室，上午的号", assistant: ANSWERED, "note": "多" * 30, "n": 3}
    if "rejected" in assistant:
        with pytest.raises(BadRow):
            read(row)
    else:
        assert read(row) == [ASKED, ANSWERED]


@pytest.mark.parametrize(
    "row",
    [
        {"question_en": "Why?", "question_zh": ASKED, "answer_zh": ANSWERED, "answer_en": "So."},
        {"query": ASKED, "gpt-4-answer": ANSWERED, "claude-2": "多喝水"},
        {"query": ASKED, "gpt-4-answer": ANSWERED, "claude-2": ""},  # a row alone must not choose
        {"question_full": ASKED, "answer_full": ANSWERED, "scenario": "他在工地上摔了一跤，后来一直头痛。"},
        {"question_full": ASKED, "answer_full": ["一", "二"]},
        {"question_full": ASKED, "answer_full": ANSWERED, "A": "一", "B": "二"},
        {"question": ASKED, "answer_type": "text"},
        {"doctor_question": ASKED, "answer_full": ANSWERED},
    ],
)
def test_what_may_be_something_else_is_not_read(row):
    with pytest.raises(BadRow, match="no columns of a dialogue"):
        read(row)


def test_a_passage_under_a_name_that_nobody_knows_is_not_taken_for_the_question(tmp_path, capsys):
    rows = [
        {"problem": f"病历{i // 5}：乏力两个月", "input_question": f"第{i}问：下一步查什么好呢？", "answer": "查血"}
        for i in range(20)
    ]
    assert check([write_lines(tmp_path / "a.jsonl", rows)]) == 1
    shown = capsys.readouterr().out
    assert "4 different texts in problem beside 20 in input_question, of 20 rows" in shown
    assert "user=…,assistant=answer" in shown
    rows = [{"problem": f"病历{i // 5}：乏力两个月", "ending": f"第{i}问：下一步查什么？", "answer": "查血"} for i in range(20)]
    assert check([write_lines(tmp_path / "c.jsonl", rows)]) == 1
    # Several answers to one question, each with what its author says of it, are read.
    rows = [
        {"question": f"头痛{i // 5}天怎么办？", "answer": f"休息{i}天", "why": f"因为这是第{i}次说起此事了"} for i in range(20)
    ]
    assert check([write_lines(tmp_path / "b.jsonl", rows)]) == 0


def test_a_pair_made_of_an_exam_question_that_points_at_a_picture_is_left_out():
    options = "\n(A) cyst\n(B) abscess\n(C) scar"
    with pytest.raises(BadRow, match="points at a picture"):
        read({"text": f"A radiograph of the jaw is shown. What is it?{options}", "answer": "(A) cyst"})
    assert read({"text": f"A man has a lump in the jaw. What is it?{options}", "answer": "(A) cyst"})
    assert read({"question": "A radiograph is shown. 我的片子要紧吗？", "answer": ANSWERED})  # a free question


def test_a_case_in_a_text_beside_the_question():
    assert read({"text": CASE, "question": ASKED, "answer": ANSWERED}) == [f"{CASE}\n{ASKED}", ANSWERED]
    assert read({"case": CASE, "question": ASKED, "answer": ANSWERED}) == [f"{CASE}\n{ASKED}", ANSWERED]
    for text in (f"问：{ASKED} 答：{ANSWERED}", ASKED, "头痛"):
        assert read({"text": text, "question": ASKED, "answer": ANSWERED}) == [ASKED, ANSWERED]


def test_an_answer_beside_the_one_it_is_measured_by(tmp_path, capsys):
    rows = [
        {"query": f"头痛{i}天怎么办？", "response": f"休息{i}天，多喝水。", "ground_truth": f"请在{i}天内到医院检查。"}
        for i in range(9)
    ]
    assert check([write_lines(tmp_path / "a.jsonl", rows)]) == 1
    assert "several may be the answer (response, ground_truth): choose with --columns" in capsys.readouterr().out
    rows = [{"input": row["query"], "output": row["response"], "expected": "B"} for row in rows]
    assert check([write_lines(tmp_path / "a.jsonl", rows)]) == 1
    assert "several may be the answer (output, expected)" in capsys.readouterr().out
    rows = [{**row, "expected": ""} for row in rows]
    assert check([write_lines(tmp_path / "a.jsonl", rows)]) == 0


def test_a_verdict_beside_the_whole_answer(tmp_path, capsys):
    rows = [
        {"context": CASE, "question": ASKED, "answer": "Yes", "long_answer": f"{ANSWERED}也要量血压，共{i}次。"}
        for i in range(3)
    ]
    assert check([write_lines(tmp_path / "a.jsonl", rows)]) == 1
    said = capsys.readouterr().out
    assert "several may be the answer (answer, long_answer): choose with --columns user=context+question,assistant=…" in said
    assert check([str(tmp_path / "a.jsonl")], columns="user=context+question,assistant=long_answer") == 0
    rows = [{**row, "answer": ANSWERED} for row in rows]
    assert check([write_lines(tmp_path / "b.jsonl", rows)]) == 0
