"""One text with marks of who speaks: Markdown, languages, and what chat templates put around turns."""

import pytest

from medllm_hf.data.columns import ROLES
from medllm_hf.data.dialogues import Policy, dialogue
from medllm_hf.data.marked_text import split, without_template
from tests.data.test_formats import GOOD, SYSTEM, TWO_ROUNDS

ASKED, ANSWERED = (turn["content"] for turn in GOOD)


def read(row):
    return dialogue(row, "auto", "x", Policy())[0]["messages"]


@pytest.mark.parametrize(
    "text",
    [
        f"**Patient:** {ASKED}\n**Doctor:** {ANSWERED}",
        f"**Patient**: {ASKED}\n**Doctor**: {ANSWERED}",
        f"- Patient: {ASKED}\n- Doctor: {ANSWERED}",
        f"### Human: {ASKED}\n### Assistant: {ANSWERED}",
        f"### Human: {ASKED}### Assistant: {ANSWERED}",
        f"Пациент: {ASKED}\nВрач: {ANSWERED}",
        f"환자: {ASKED}\n의사: {ANSWERED}",
        f"Bệnh nhân: {ASKED}\nBác sĩ: {ANSWERED}",
        f"Médico: \nPaciente: {ASKED}\nMédico: {ANSWERED}",
        f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n{ANSWERED}<|im_end|>",
        f"<|user|>\n{ASKED}<|end|>\n<|assistant|>\n{ANSWERED}<|end|>",
        f"<start_of_turn>user\n{ASKED}<end_of_turn>\n<start_of_turn>model\n{ANSWERED}<end_of_turn>",
        f"<s>[INST] {ASKED} [/INST] {ANSWERED} </s>",
        f"### Instruction:\n{ASKED}\n\n### Response:\n{ANSWERED}</s>",
    ],
)
def test_a_dialogue_in_one_text(text):
    assert read({"text": text}) == GOOD


def test_the_system_turn_and_the_rounds_of_a_template():
    rounds = f"<s>[INST] <<SYS>>\n你是医生\n<</SYS>>\n\n{ASKED} [/INST] {ANSWERED} </s><s>[INST] 没有 [/INST] 多休息。</s>"
    assert read({"text": rounds}) == [SYSTEM, *TWO_ROUNDS]
    asked = f"<|im_start|>system\n你是医生<|im_end|>\n<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n"
    assert read({"prompt": asked, "chosen": f"{ANSWERED}<|im_end|>", "rejected": "别问"}) == [SYSTEM, *GOOD]
    alpaca = f"你是医生\n\n### Instruction:\n说说\n\n### Input:\n{ASKED}\n\n### Response:\n{ANSWERED}"
    assert read({"text": alpaca}) == [SYSTEM, {"role": "user", "content": f"说说\n{ASKED}"}, GOOD[1]]


def test_what_only_looks_like_a_mark_stays():
    for text in (
        "### Notes: nothing",
        "a <|user|> b",
        "İ: x",
        "[INST] 头痛",
        "## Plan\nrest",
        "<|im_start|>",
        "### Input: a\n### Question: b",
    ):
        assert split(text, ROLES, question=False) is None
        assert read({"question": text, "answer": ANSWERED})[0]["content"] == text
    assert without_template("x > y>") == "x > y>" and without_template("多休息。<|im_end|>\n") == "多休息。"
