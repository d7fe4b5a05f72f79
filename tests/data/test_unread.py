"""Columns that hold a text and are not read are named, on the screen and in the card."""

from collections import Counter

import pytest

from medllm_hf.data.build import build
from medllm_hf.data.card import screen_lines
from medllm_hf.data.columns import parse_names
from medllm_hf.data.commands.check import check
from medllm_hf.data.dialogues import Policy, dialogue
from medllm_hf.data.unread import MOST_NAMES, count, unread_lines
from tests.data.test_formats import GOOD, write_lines

ASKED, ANSWERED = (turn["content"] for turn in GOOD)


def left(row, columns=None):
    """The question of a row, and what was left unread."""
    found = Counter()
    whole, _ = dialogue(row, "auto", "x", Policy(names=parse_names(columns, None)), left=found)
    return whole["messages"][0]["content"], dict(found)


@pytest.mark.parametrize(
    ("row", "question", "unread"),
    [
        ({"instruction": "请回答", "query": ASKED, "output": ANSWERED}, f"请回答\n{ASKED}", {}),
        ({"instruction": "请回答", "input": ASKED, "query": "别的", "output": ANSWERED}, f"请回答\n{ASKED}", {"query": 1}),
        ({"instruction": "请回答", "context": ASKED, "response": ANSWERED}, f"请回答\n{ASKED}", {}),
        ({"instruction": ASKED, "prompt": f"问题：{ASKED}。回答：", "output": ANSWERED}, f"问题：{ASKED}。回答：", {}),
        ({"instruction": ASKED, "output": ANSWERED, "text": f"### {ASKED} ### {ANSWERED}"}, ASKED, {"text": 1}),
        ({"question": ASKED, "think": "想", "answer": ANSWERED, "n": 3, "tags": ["a"]}, ASKED, {"think": 1, "tags": 1}),
        ({"id": "a", "source": "网", "messages": GOOD, "tools": [{"x": 1}], "dialogue_id": "b"}, ASKED, {"tools": 1}),
        ({"messages": [GOOD[0], {**GOOD[1], "reasoning_content": "想", "a": None}]}, ASKED, {"messages.reasoning_content": 1}),
        ({"messages": [{"message": ASKED, "attrs": [1]}, {"message": ANSWERED}]}, ASKED, {"messages.attrs": 1}),
        ({"title": ASKED, "ask": "无", "answer": ANSWERED}, ASKED, {"ask": 1}),
        (
            {"question": ASKED, "options": ["甲", "乙"], "answer": "B", "explanation": "因为", "facts": ["一"], "field": "外"},
            ASKED,
            {"explanation": 1, "facts": 1, "field": 1},
        ),
        ({"题目": ASKED, "A": "甲", "B": "乙", "答案": "A", "题型": "单选", "答案来源": "原题"}, ASKED, {"答案来源": 1}),
        ({"q": ASKED, "o": ["甲", "乙"], "a": "B", "ex": "因为"}, ASKED, {"ex": 1}),
    ],
)  # fmt: skip
def test_what_is_read_and_what_is_left(row, question, unread):
    assert left(row) == (question, unread)


def test_columns_that_the_user_names_are_read():
    row = {"meta": {"asks": ASKED}, "says": ANSWERED, "question": "别的", "answer": "别的"}
    assert left(row, "user=meta.asks,assistant=says") == (ASKED, {"question": 1, "answer": 1})


def test_what_is_left_is_said(tmp_path, capsys):
    path = write_lines(
        tmp_path / "a.jsonl", [{"question": f"{ASKED}{i}", "answer": ANSWERED, "think|": "想"} for i in range(3)]
    )
    assert check([path]) == 0
    line = "columns with text that were not read (in so many rows): think| (3)"
    assert line in capsys.readouterr().out.splitlines()
    summary = build([path], str(tmp_path / "out"), "mit", test_fraction=0)
    assert line in screen_lines(summary, "out")
    assert line.replace("|", "&#124;") in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "think&#124; (3)" in (tmp_path / "out" / "screening.md").read_text(encoding="utf-8")


def test_names_without_end_are_cut_off():
    found = Counter()
    for i in range(2 * MOST_NAMES):
        count(found, {f"列{i}\n"})
    assert len(found) == MOST_NAMES
    [line] = unread_lines(found, 3)
    assert line.endswith(f"and {MOST_NAMES - 3} more") and line.isprintable()
    assert unread_lines(Counter(), 3) == []


def test_columns_in_as_many_rows_stand_by_their_names():
    counts = Counter()
    count(counts, ("b", "d"))
    count(counts, ("d", "a", "c"))
    assert unread_lines(counts, 3) == ["columns with text that were not read (in so many rows): d (2), a (1), b (1) and 1 more"]
