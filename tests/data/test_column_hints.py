"""What is proposed for columns that make no dialogue: nothing that would be garbage."""

import pytest

from medllm_hf.data.column_hints import no_column
from medllm_hf.data.columns import Names
from medllm_hf.data.commands.check import check
from tests.data.test_formats import write_lines

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
        ({"title": "头痛的问题请教", "description": ASKED * 2, "answer": ANSWERED},
         "--columns user=title+description,assistant=answer"),
        ({"topic": "头痛可以跑步吗？可以游泳吗？", "question": ASKED, "short_answer": ANSWERED, "gold": ["x"], "long_reply": 1},
         "try --columns user=topic+question,assistant=short_answer"),
        ({"question": ASKED, "short_answer": ANSWERED, "options": "", "correct_option": ""},
         "give those rows as a file of their own"),
        ({"asked_here": ASKED, "content": "头痛两天的患者", "options": ["甲", "乙"], "correct": "A"}, "name it `question`"),
        ({"quiz": 1, "rounds_held": [{"question": ASKED, "answer": ANSWERED}]}, "--columns messages=rounds_held"),
        (
            {"ques_info": {"content": ASKED}, "answers_info": [{"content": ANSWERED, "zan": "0"}]},
            "--columns user=ques_info.content,assistant=answers_info.0.content",
        ),
    ],
)  # fmt: skip
def test_what_is_proposed(row, said):
    assert said in no_column(row, Names())


def test_what_to_try_is_whole_beside_many_long_names(tmp_path, capsys):
    row = {f"a column of some hospital number {i}": 1 for i in range(12)} | {"small_answer": ANSWERED, "big_answer": "b" * 30}
    said = no_column({**row, "question": ASKED}, Names())
    assert said.endswith("choose with --columns user=question,assistant=…") and len(said) < 300 and ", …;" in said
    listing = tmp_path / "list.jsonl"
    check([write_lines(tmp_path / "a.jsonl", [{**row, "question": ASKED}] * 2)], list_file=str(listing))
    for shown in (capsys.readouterr().out, listing.read_text(encoding="utf-8")):
        assert "user=question,assistant=…" in shown
