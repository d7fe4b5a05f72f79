"""Plain text and Markdown with who speaks at the beginning of lines."""

import pytest

from medllm_hf.data.recognition import recognise
from medllm_hf.data.transcript_text import is_transcript
from medllm_hf.errors import UserError
from tests.data.test_formats import GOOD, TWO_ROUNDS, reading

ASKED, ANSWERED = (turn["content"] for turn in GOOD)
ONE = f"患者：{ASKED}\n医生：{ANSWERED}"
RULES = ("##", "---", "====", "***", "* * *", "———", "######", "+++")
MARKDOWN = f"**Patient:** {ASKED}\n**Doctor:** {ANSWERED}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ONE, [GOOD]),
        (f"{ONE}\n患者：没有\n医生：多休息。\n", [TWO_ROUNDS]),
        (f"患者：{ASKED}\n\n医生：{ANSWERED}\n\n患者：没有\n\n医生：多休息。\n", [TWO_ROUNDS]),
        (f"{ONE}\n\n{ONE}\n患者：没有\n医生：多休息。", [GOOD, TWO_ROUNDS]),
        (f"{ONE}\n---\n{ONE}\n患者：没有\n医生：多休息。", [GOOD, TWO_ROUNDS]),
        (f"# 病例\n\n## 一、头痛\n\n{MARKDOWN}\n\n## 二、头痛\n\n{MARKDOWN}\n", [GOOD, GOOD]),
        (
            f"id=1\nx\nDialogue\nPatient:\n{ASKED}\nDoctor:\n{ANSWERED}\n\nid=2\nPatient:\n{ASKED}\nDoctor:\n{ANSWERED}",
            [GOOD, GOOD],
        ),
        (f"## User\n{ASKED}\n\n## Assistant\n{ANSWERED}\n", [GOOD]),
        (f"对话 1\n{ONE}\n\n对话 2\n{ONE}", [GOOD, GOOD]),
        *((f"编号\n{rule}\n{ONE}\n{rule}\n\n编号\n{rule}\n{ONE}\n{rule}\n", [GOOD, GOOD]) for rule in RULES),
        *((f"{ONE}\n{rule}\n", [GOOD]) for rule in RULES),
        (f"患者：{ASKED}\n---\n医生：{ANSWERED}\n---\n患者：没有\n---\n医生：多休息。", [TWO_ROUNDS]),
    ],
)
def test_dialogues_in_a_text(tmp_path, text, expected):
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    accepted, repaired, rejected = reading([str(path)])
    assert [row["messages"] for row in accepted] == expected and not repaired and not rejected
    assert str(recognise(path)) == "plain text with who speaks, UTF-8"


def test_a_text_that_is_none(tmp_path):
    assert not is_transcript(["Doctor: no", "Doctor: yes"]) and not is_transcript(["Patient: x", "Doctor: y", *["z"] * 30])
    path = tmp_path / "a.txt"
    path.write_text("A doctor and a patient.\nThey talk.\n", encoding="utf-8")
    with pytest.raises(UserError, match="neither JSON nor a table"):
        recognise(path)


@pytest.mark.parametrize(
    "text",
    [
        f"Q: {ASKED}\nA: {ANSWERED}\n\nQ: {ASKED}\nA: {ANSWERED}\n",
        f"# 问答\n\n### Q1: {ASKED}\n\nA1: {ANSWERED}\n\n## 其他\n\n### Q2: {ASKED}\n\nA2: {ANSWERED}\n",
        f"**问题1：** {ASKED}\n**答案1：** {ANSWERED}\n**问题2：** {ASKED}\n**答案2：** {ANSWERED}",
    ],
)
def test_questions_with_their_answers_are_a_dialogue_each(tmp_path, text):
    path = tmp_path / "a.md"
    path.write_text(text, encoding="utf-8")
    accepted, repaired, rejected = reading([str(path)])
    assert [row["messages"] for row in accepted] == [GOOD, GOOD] and not repaired and not rejected


def test_options_are_no_answers():
    assert not is_transcript(["Q1: which?", "A: one", "B: two", "Q2: which?", "A: one", "B: two"])
