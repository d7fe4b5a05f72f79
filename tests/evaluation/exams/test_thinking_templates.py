"""Templates that open a thought, or can be told not to think: where the letters are compared and the replies begin."""

from pathlib import Path

import pytest
import torch
from support.chat_server import ChatServer, completion
from support.paths import SAMPLE
from support.template_tokenizers import tokenizer_for, trl_template
from transformers import Qwen3Config, Qwen3ForCausalLM

from medllm_hf.data.mcq import load_items
from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.evaluation.exams.likelihood import zero_shot
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, Prompts
from medllm_hf.evaluation.exams.settings import READINGS
from medllm_hf.evaluation.exams.thoughts import default_thinking, skipped_thought
from medllm_hf.evaluation.exams.weights import load_network
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.pretrained import load_tokenizer

ITEMS = load_items(str(SAMPLE / "questions_test.jsonl"))[:4]
PLAIN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
# How the last words of a template's prompt look; `enable_thinking` switches in the second.
OPENS = PLAIN + "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
SWITCHES = OPENS.replace("<think>\n", "<think>\n{% if enable_thinking is false %}{{ '\\n</think>\\n\\n' }}{% endif %}")


def prompt_of(template: str, mode: str, enable_thinking: bool | None = None) -> str:
    """What a question's prompt ends in, behind the question."""
    tokenizer = tokenizer_for(template)
    told = default_thinking(tokenizer, mode) if enable_thinking is None else enable_thinking
    item = ITEMS[0]
    text = Prompts(tokenizer, {}, mode=mode, enable_thinking=told).text(item)
    return text.rpartition(item.options[max(item.options)])[2]


@pytest.mark.parametrize(
    ("name", "short", "reasoned"),
    [
        ("qwen3", "<|im_start|>assistant\n<think>\n\n</think>\n\n", "<|im_start|>assistant\n"),
        ("glm4moe", "<|assistant|>\n<think></think>", "<|assistant|>"),
        ("deepseekv3", "<｜Assistant｜><think>\n\n</think>\n\n", "<｜Assistant｜><think>\n"),
        ("gptoss", "<|start|>assistant<|channel|>final<|message|>", "<|start|>assistant"),
        ("qwen2_5", "<|im_start|>assistant\n", "<|im_start|>assistant\n"),
    ],
)
def test_where_the_answer_begins_by_published_templates(name, short, reasoned):
    """Letters are compared and short replies written behind a thought that is over, in the template's own form of it."""
    template = trl_template(name)
    assert prompt_of(template, "likelihood").endswith(f"{short}答案：")
    assert prompt_of(template, "reply").endswith(short) and prompt_of(template, "reasoning").endswith(reasoned)


@pytest.mark.parametrize("template", [OPENS, SWITCHES])
def test_a_thought_that_the_prompt_opens_is_over_before_the_letters(template):
    assert prompt_of(template, "likelihood") == "<|assistant|><think>\n\n</think>\n\n答案："
    assert prompt_of(template, "reply") == "<|assistant|><think>\n\n</think>\n\n"
    assert prompt_of(template, "reasoning") == "<|assistant|><think>\n"


def test_who_asks_for_thinking_gets_it_in_a_short_reply_too():
    assert prompt_of(SWITCHES, "reply", enable_thinking=True) == "<|assistant|><think>\n"
    assert prompt_of(SWITCHES, "reasoning", enable_thinking=False) == "<|assistant|><think>\n\n</think>\n\n"
    assert prompt_of(SWITCHES, "likelihood", enable_thinking=True).endswith("</think>\n\n答案："), "never within a thought"


def test_marks_of_other_families_are_ended_by_their_own():
    assert skipped_thought("assistant[THINK]", "") == "\n[/THINK]\n\n"
    assert skipped_thought("assistant<seed:think>\n", "") == "\n</seed:think>\n\n"
    final = "<|channel|>final<|message|>"
    assert skipped_thought("<|start|>assistant<|channel|>analysis<|message|>", final) == f"<|end|><|start|>assistant{final}"
    assert skipped_thought("<|start|>assistant", "") == "" == skipped_thought("assistant\n<think>\n\n</think>\n\n", "")


@pytest.fixture(scope="module")
def thinker(tmp_path_factory) -> Path:
    """A random checkpoint whose template opens a thought and does not ask whether to."""
    folder = tmp_path_factory.mktemp("thinker") / "model"
    tokenizer = tokenizer_for(OPENS)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 16}
    Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("questions") / "four.jsonl"
    path.write_text("\n".join((SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()[:4]), encoding="utf-8")
    return path


def test_three_readings_of_a_model_that_always_thinks(thinker, questions, tmp_path):
    """The short reply has no thought, free reasoning begins with the mark of its own, and the letters stand behind one."""
    flags = {"max_new_tokens": 3, "reasoning_tokens": 4, "finish": "letters"}
    assert mcq(str(thinker), str(questions), str(tmp_path / "out"), mode=",".join(READINGS), **flags) == 0
    runs = {mode: read_run(tmp_path / "out" / "four" / mode) for mode in READINGS}
    assert all(not row["reply"].startswith("<think>") for row in runs["reply"]["outputs"])
    assert all(row["reply"].startswith("<think>\n") for row in runs["reasoning"]["outputs"])
    network, tokenizer = load_network(thinker), load_tokenizer(thinker)
    for item, row in zip(ITEMS, runs["likelihood"]["outputs"], strict=True):
        asked = [{"role": "user", "content": item.prompt(True)}]
        begin = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(f"{begin}\n</think>\n\n答案：", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = network(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        if item.kind == "single":
            by_hand = {letter: float(logits[tokenizer.convert_tokens_to_ids(letter)]) for letter in item.options}
            assert row["logprobs"] == pytest.approx(by_hand, abs=2e-4)


def test_exam_figures_during_training_are_asked_the_same_way(thinker, questions, tmp_path):
    tokenizer = tokenizer_for(SWITCHES)
    tokenizer.save_pretrained(thinker.parent / "switch")
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        (thinker.parent / "switch" / name).write_bytes((thinker / name).read_bytes())
    folder = thinker.parent / "switch"
    assert mcq(str(folder), str(questions), str(tmp_path / "run")) == 0
    run = read_run(tmp_path / "run")
    assert run["manifest"]["settings"]["enable_thinking"] is False
    shown = [PresentedQuestion(item, 0, "".join(item.options)) for item in ITEMS]
    assert zero_shot(load_network(folder), load_tokenizer(folder), shown) == run["outputs"]


def test_an_endpoint_that_thinks_through_a_short_reply_says_what_helps(questions, tmp_path):
    with ChatServer(lambda body: completion(None, "length", reasoning_content="先想")) as server:
        with pytest.raises(UserError) as refused:
            mcq(None, str(questions), str(tmp_path / "run"), url=f"{server.url}#m", mode="reply")
        assert "--mode reasoning" in str(refused.value) and "--enable-thinking false" in str(refused.value)
        with pytest.raises(UserError, match="raise --reasoning-tokens"):
            mcq(None, str(questions), str(tmp_path / "two"), url=f"{server.url}#m", mode="reasoning", reasoning_tokens=9)


def test_solved_examples_without_an_analysis_ask_for_none_and_the_user_is_told(thinker, questions, tmp_path, capsys):
    """A real model copies the bare letters all the same, so it is said before the first question."""
    flags = {"shots": 1, "examples": str(SAMPLE / "questions_train.jsonl")}
    for mode, limit in (("reply", "max_new_tokens"), ("reasoning", "reasoning_tokens")):
        mcq(str(thinker), str(questions), str(tmp_path / mode), mode=mode, **flags, **{limit: 2})
        assert ("no analysis" in capsys.readouterr().err) == (mode == "reasoning")
    one, two = ITEMS[:2]
    turns = Prompts(None, {two.kind: (one,)}, mode="reasoning").turns(two)
    assert [turn["content"] for turn in turns] == [one.prompt(True), f"答案：{''.join(sorted(one.answer))}",
                                                   two.prompt(True, reasoning=True)]  # fmt: skip
