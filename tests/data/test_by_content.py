"""Columns that are told by what stands in them; where two readings are left, none is taken."""

import pytest

from medllm_hf.data.commands.check import check
from medllm_hf.data.dialogues import Policy, dialogue_rows, examine
from tests.data.test_formats import write_lines

TURNS = [{"role": "user", "content": "头痛两天"}, {"role": "assistant", "content": "发热吗？"}]


def asked(i):
    return f"第{i}天头痛了，应当做什么检查好呢？"


def said(i):
    return f"先量体温，第{i}天若仍然头痛，请到医院去做一次检查，平时多休息，多喝水。"


def accepted(path):
    """The messages of the rows of a file."""
    rows = [examine(path, line, raw, "auto", Policy())[0] for line, raw in dialogue_rows(path, "auto", Policy())]
    return [row["messages"] for row in rows]


def shown(tmp_path, capsys, rows):
    code = check([write_lines(tmp_path / "a.jsonl", rows)])
    return code, capsys.readouterr().out


def test_a_question_and_a_longer_answer_under_unknown_names(tmp_path, capsys):
    rows = [{"n": i, "kopf": asked(i), "fuss": said(i), "group": "内科"} for i in range(10)]
    code, out = shown(tmp_path, capsys, rows)
    assert code == 0 and "user in kopf, assistant in fuss, by what stands there" in out
    assert "--columns user=kopf,assistant=fuss" in out
    assert [turn["content"] for turn in accepted(tmp_path / "a.jsonl")[3]] == [asked(3), said(3)]


@pytest.mark.parametrize(
    "row",
    [
        lambda i: {"kopf": asked(i), "fuss": said(i), "hand": said(i + 50)},  # a third text
        lambda i: {"kopf": said(i), "fuss": said(i + 50)},  # nobody asks
        lambda i: {"kopf": asked(i), "fuss": asked(i + 50) + "还有什么要注意的吗？"},  # both do
        lambda i: {"kopf": said(i) + asked(i), "fuss": said(i)},  # the question is the longer one
        lambda i: {"kopf": asked(i), "fuss": said(1)},  # always the same
        lambda i: {"kopf": asked(i), "fuss": said(i), "options": ["甲", "乙"]},
        lambda i: {"kopf": asked(i), "fuss": said(i), "more": [{"x": 1}]},
        lambda i: {"question": asked(i), "found_document": said(i)},  # what a search found
        lambda i: {"kopf": asked(i), "原文": said(i)},
        lambda i: {"kept_log": TURNS[::-1] + TURNS[:1], "bot_reply_text": said(i)},  # the answer stands beside
    ],
)
def test_two_readings_are_left_to_the_user(tmp_path, capsys, row):
    code, out = shown(tmp_path, capsys, [row(i) for i in range(10)])
    assert code == 1 and "none of its first 10 rows is a dialogue" in out


def test_the_only_turns_of_a_row(tmp_path, capsys):
    rows = [{"id": i, "kept_log": TURNS, "remark": said(i)} for i in range(3)]
    code, out = shown(tmp_path, capsys, rows)
    assert code == 0 and "messages in kept_log, by what stands there" in out
    rows = [{"id": i, "kept_log": [["patient", "头痛两天"], ["doctor", "发热吗？"]]} for i in range(3)]
    assert shown(tmp_path, capsys, rows)[0] == 0
    assert accepted(tmp_path / "a.jsonl") == [TURNS] * 3
    code, out = shown(tmp_path, capsys, [{"kept_log": TURNS, "other_log": TURNS} for _ in range(3)])
    assert code == 1 and "none of its first 3 rows" in out


def test_an_instruction_that_is_another_wording_of_the_question(tmp_path, capsys):
    rows = [{"instruction": f"{asked(i)}请说明。", "question": asked(i), "answer": said(i)} for i in range(10)]
    code, out = shown(tmp_path, capsys, rows)
    assert code == 0 and "user in question, assistant in answer, by what stands there" in out
    assert accepted(tmp_path / "a.jsonl")[0][0]["content"] == asked(0)
    rows = [{**row, "instruction": "请回答"} for row in rows]
    assert "user in instruction and question" in shown(tmp_path, capsys, rows)[1]


@pytest.mark.parametrize(
    "heads", [("人类", "助手"), ("人", "助手"), (" 用户", " 机器人"), ("患者", "医生"), ("Human", "Assistant")]
)
def test_turns_in_one_text_by_the_headings_of_a_template(tmp_path, capsys, heads):
    rows = [{"文本": f"###{heads[0]}：{asked(i)}###{heads[1]}：{said(i)}\n### 注：{i}"} for i in range(3)]
    code, out = shown(tmp_path, capsys, rows)
    assert code == 0 and "messages in 文本, by what stands there" in out
    # A heading that is nobody's stays in the text.
    assert [turn["content"] for turn in accepted(tmp_path / "a.jsonl")[1]] == [asked(1), f"{said(1)}\n### 注：1"]
