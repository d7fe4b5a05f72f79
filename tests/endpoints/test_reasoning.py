"""Reasoning in every form becomes `<think>…</think>`, whole and in pieces of any size, and nothing else changes."""

import random

import pytest

from medllm_hf.endpoints.reasoning import ReasoningForm, answer_of, with_one_form, without_reasoning

_FINAL = "<|start|>assistant<|channel|>final<|message|>"
FORMS = {
    "<think>想</think>好": "<think>想</think>好",
    "<seed:think>想</seed:think>好": "<think>想</think>好",
    "<thinking>想</thinking>好": "<think>想</think>好",
    "◁think▷想◁/think▷好": "<think>想</think>好",
    "<|begin_of_thought|>想<|end_of_thought|>好": "<think>想</think>好",
    f"<|channel|>analysis<|message|>想<|end|>{_FINAL}好<|return|>": "<think>\n想\n</think>\n\n好",
    "<|start|>assistant<|channel|>analysis<|message|>想<|end|>好": "<think>\n想\n</think>\n\n好",
    "<|channel|>final <|constrain|>json<|message|>{}": "{}",
    "<|channel|>analysis<|message|>想一半": "<think>\n想一半",
    "<think>想一半": "<think>想一半",
    # No reasoning: comparisons, the end marks of other templates, and a mark that is only begun.
    "血压<140，[见下]，心率<100": "血压<140，[见下]，心率<100",
    "好<|end|>": "好<|end|>",
    "好<|chan": "好<|chan",
    "": "",
}  # fmt: skip


@pytest.mark.parametrize(("text", "form"), FORMS.items())
def test_one_form_whole_and_in_pieces(text, form):
    assert with_one_form(text) == form
    cuts = random.Random(7)
    for most in (1, 2, 3, 9):
        pieces, rest, writer = [], text, ReasoningForm()
        while rest:
            size = cuts.randint(1, most)
            pieces.append(writer.feed(rest[:size]))
            rest = rest[size:]
        assert "".join([*pieces, writer.end()]) == form


def test_thoughts_without_a_beginning_and_channels_without_marks():
    assert with_one_form("想\n</think>\n\n好") == "<think>\n想\n</think>\n\n好"
    assert answer_of("analysis想想assistantfinal好") == "好"
    assert answer_of("analysis 是分析的意思") == "analysis 是分析的意思"


def test_the_answer_alone():
    assert without_reasoning("<think>\n想\n</think>\n\n好") == "好"
    assert without_reasoning("\n<think>想一半") == ""
    assert without_reasoning("好，<think>") == "好，<think>"


def test_a_long_answer_of_half_marks_is_read_in_the_end():
    text = "<|" * 50_000 + "[" * 50_000
    assert with_one_form(text) == text
