"""What is proposed for columns that make no dialogue: nothing that would be garbage."""

import pytest

from medllm_hf.data.column_hints import no_column
from medllm_hf.data.columns import Names

ASKED, ANSWERED = "头痛两天怎么办？", "多休息，多喝水。"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"题号": "3", "题干": ASKED, "选项A": "多休息吧", "选项B": "多喝水吧", "科目": "内科学"},
            "options, and no column that tells which is right",
        ),
        (
            {"question": ASKED, "options": {"A": "多休息吧", "D": "多喝水吧"}, "explanation": "因为如此。"},
            "options, and no column that tells which is right",
        ),
        (
            {"id": "q7", "question": ASKED, "difficulty": "medium", "category": "内科"},
            "none of them looks like the answer beside question",
        ),
        (
            {"topic": "药理", "view": "学生", "instruction": ASKED, "input": "<none>"},
            "none of them looks like the answer beside instruction, input",
        ),
        ({"kind": "short", "expert_answer": ANSWERED}, "none of them looks like the question beside expert_answer"),
        (
            {"sign": "面色少华", "pattern": "心脾两虚", "cause": "思虑过度", "cure": "健脾益气", "n": 1},
            "none of them looks like a question or an answer",
        ),
        ({"id": 1, "options_left": [{"id": "A", "text": "甲"}]}, "give files with --columns"),
        (
            {"question": ASKED, "small_answer": ANSWERED, "large_answer": ANSWERED},
            "several may be the answer (small_answer, large_answer): choose with --columns user=question,assistant=…",
        ),
        (
            {"Question - Arabic": "س", "Question - Thai": ASKED, "Answer - Arabic": "ج", "Answer - Thai": ANSWERED},
            'choose, such as --columns "user=Question - Arabic,assistant=Answer - Arabic"',
        ),
        ({"ask her": ASKED, "bot": ANSWERED, "link": ["x"]}, '--columns "user=ask her,assistant=bot"'),
        ({"cost_in_$ query": ASKED, "bot": ANSWERED}, "--columns 'user=cost_in_$ query,assistant=bot'"),
        ({"quiz": 1, "rounds_held": [{"question": ASKED, "answer": ANSWERED}]}, "--columns messages=rounds_held"),
        (
            {"ques_info": {"content": ASKED}, "answers_info": [{"content": ANSWERED, "zan": "0"}]},
            "--columns user=ques_info.content,assistant=answers_info.0.content",
        ),
    ],
)  # fmt: skip
def test_what_is_proposed(row, said):
    assert said in no_column(row, Names())
