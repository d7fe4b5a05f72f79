"""The marks of thoughts: what a prompt opens, what a reply leaves open, and what a tokenizer must not drop."""

import pytest

from medllm_hf.evaluation.exams.generation import decoded
from medllm_hf.evaluation.exams.thoughts import end_of_thought, has_mark, is_mark, opened_thought, without_marks
from medllm_hf.metrics.mcq_accuracy.extraction import extract_choice

OPTIONS = {"A": "甲", "B": "乙", "C": "丙"}


@pytest.mark.parametrize(
    "reply",
    [
        "<think>答案：A</think>答案：B",
        "答案：A</think>\n答案：B",
        "<seed:think>答案：A</seed:think>答案：B",
        "答案：A</seed:think>B",
        "<reasoning>答案：A</reasoning>B",
        "[THINK]答案：A[/THINK]B",
        "◁think▷答案：A◁/think▷B",
        "<|channel|>analysis<|message|>答案：A<|end|><|start|>assistant<|channel|>final<|message|>答案：B",
        "analysisWe pick A. The answer is A.assistantfinal答案：B",
        "<think>答案：A</think><think>答案：C</think>B",
    ],
)
def test_only_what_follows_a_thought_is_read(reply):
    assert extract_choice(reply, OPTIONS) == "B"


@pytest.mark.parametrize(
    "reply", ["<seed:think>答案：A", "analysisThe answer is A.", "<|channel|>analysis<|message|>答案：A", "[THINK]A"]
)
def test_a_thought_without_end_is_no_answer(reply):
    assert extract_choice(reply, OPTIONS) is None


def test_the_word_analysis_begins_no_thought():
    assert extract_choice("analysis: 答案：B", OPTIONS) == "B"


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("<think>\n想", "\n</think>"),
        ("<think>想</think>完", ""),
        ("想</think>", ""),
        ("没有", ""),
        ("<THINK>想", "\n</think>"),
        ("<seed:think>想", "\n</seed:think>"),
        ("<|channel|>analysis<|message|>想", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ],
)
def test_what_ends_an_open_thought(text, end):
    assert end_of_thought(text) == end
    assert has_mark(text) == (text != "没有")


def test_what_a_prompt_opens():
    assert opened_thought("<|im_start|>assistant\n<think>\n") == "<think>\n"
    assert opened_thought("assistant\n<think>\n\n</think>\n\n") == opened_thought("assistant\n") == ""
    assert without_marks("<think>\n想</think> 完") == "想 完"


class Tokenizer:
    """One whose thoughts are marked by tokens that steer it, as Seed-OSS's are."""

    special_tokens_map = {"eos_token": "<eos>"}
    names = {0: "<eos>", 1: "<seed:think>", 2: "</seed:think>", 3: "想A", 4: "答B"}

    @property
    def added_tokens_decoder(self):
        return {id: type("Token", (), {"content": name, "special": True}) for id, name in self.names.items() if id < 3}

    def decode(self, ids, skip_special_tokens):
        return "".join(self.names[id] for id in ids if not (skip_special_tokens and id < 3))


def test_marks_that_are_special_tokens_stay_in_a_reply():
    assert decoded(Tokenizer(), [1, 3, 2, 4, 0]) == "<seed:think>想A</seed:think>答B"
    assert is_mark("<|channel|>") and is_mark("[THINK]") and not is_mark("<|im_end|>")
