"""Ids and labels over every training template of the installed TRL, ours, and the templates that users bring.

What a template has to give is written down by hand: what stands between a question and its answer, what the model writes
before the answer, the tokens that end it, and what stands before the next question.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import trl
from datasets import Dataset
from packaging.version import Version
from support.paths import ROOT, SAMPLE
from support.template_tokenizers import TRL_TEMPLATES, tokenizer_for, trl_template
from transformers import AutoTokenizer

from medllm_hf.chat.prompt import encode_prompt
from medllm_hf.data.mcq import McqItem
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.prompts import Prompts
from medllm_hf.templates.rendering import encode_text, render
from medllm_hf.training.prepare import prepare
from medllm_hf.training.rows import Dialogue, read_row
from medllm_hf.training.template import read_template, saved_template, set_up
from medllm_hf.training.tokens import IGNORED, Unfit, encoder


@dataclass(frozen=True)
class Hand:
    """One format: `middle` stands between a question and its answer, `lead` and `end` are learned around it, `after` follows.

    `history_end` stands in a history where `end` is learned; `thought` follows `middle` where an answer has no reasoning and
    the model can be told so.
    """

    middle: str
    end: str
    after: str
    lead: str = ""
    history_end: str | None = None
    thought: str = ""


CHATML = Hand("<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>", "\n<|im_start|>user\n")
QWEN3 = Hand(CHATML.middle, CHATML.end, CHATML.after, thought="<think>\n\n</think>\n\n")
NEMOTRON = Hand(CHATML.middle, CHATML.end, CHATML.after, thought="<think></think>")
GEMMA = Hand("<end_of_turn>\n<start_of_turn>model\n", "<end_of_turn>", "\n<start_of_turn>user\n")
GEMMA4 = Hand("<turn|>\n<|turn>model\n", "<turn|>", "\n<|turn>user\n")
HEADERS = ("<|start_header_id|>", "<|end_header_id|>\n\n")
LLAMA3 = Hand(f"<|eot_id|>{'assistant'.join(HEADERS)}", "<|eot_id|>", "user".join(HEADERS))
PHI3 = Hand("<|end|>\n<|assistant|>\n", "<|end|>", "\n<|user|>\n")
DEEPSEEK = Hand("<｜Assistant｜>", "<｜end▁of▁sentence｜>", "<｜User｜>")
GLM = Hand("/nothink<|assistant|>\n", "<|user|>", "\n", lead="\n", thought="<think></think>")
UTTERANCE = Hand("<end_of_utterance>\nAssistant:", "<end_of_utterance>", "\nUser: ", lead=" ")
ENDED, BEGUN = "<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>"
COHERE = Hand(f"{ENDED}{BEGUN}<|CHATBOT_TOKEN|>", ENDED, f"{BEGUN}<|USER_TOKEN|>")
FORMATS = {
    "qwen2": CHATML, "qwen3": QWEN3, "qwen3_instruct": CHATML, "qwen3_vl": CHATML, "lfm2": CHATML, "nemotron": NEMOTRON,
    "gemma": GEMMA, "gemma4": GEMMA4, "diffusion_gemma": GEMMA4, "llama3": LLAMA3, "phi3": PHI3, "deepseek": DEEPSEEK,
    "glm4moe": GLM, "idefics3": UTTERANCE,
    "smolvlm": UTTERANCE, "llava_next": Hand(" [/INST]", "</s>", " [INST] ", lead=" "), "cohere": COHERE,
    "cohere2": Hand(f"{COHERE.middle}<|START_RESPONSE|>", f"<|END_RESPONSE|>{COHERE.end}", COHERE.after),
    "gptoss": Hand(
        "<|end|><|start|>assistant", "<|return|>", "<|start|>user<|message|>", "<|channel|>final<|message|>", "<|end|>"
    ),
    "muse": Hand("<|eot|><|start|>assistant", "<|eot|>", "<|start|>user<|message|>", " to=user<|message|>"),
}  # fmt: skip
# Formats that users bring and TRL has no training template for, written down here: SmolLM2's, GLM-4's, Phi-4's and Llama-2's.
BROUGHT = {
    "smollm2": (CHATML, "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
                "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
                "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
                "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"),
    "glm4": (Hand("<|assistant|>\n", "<|user|>", "\n"), "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n"
             "{{ m.content }}{% endfor %}"
             "{% if add_generation_prompt %}<|assistant|>\n{% elif messages[-1].role == 'assistant' %}<|user|>{% endif %}"),
    "phi4": (Hand("<|im_end|><|im_start|>assistant<|im_sep|>", "<|im_end|>", "<|im_start|>user<|im_sep|>"),
             "{% for m in messages %}{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}{% endfor %}"
             "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"),
    "llama2": (Hand(" [/INST]", "</s>", "<s>[INST] ", lead=" "),
               "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}"
               "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}{% else %}"
               "{{ raise_exception('no ' + m.role) }}{% endif %}{% endfor %}"),
}  # fmt: skip
EOS = {"deepseek": "<｜end▁of▁sentence｜>", "gptoss": "<|return|>"}
OLDER = Version(trl.__version__) < Version("1.16")
TRAINING = sorted(path.stem for path in TRL_TEMPLATES.glob("*.jinja"))
OURS = {"medllm": Hand("<reserved_107>", "</s>", "<reserved_106>")}
NAMES = [*TRAINING, *BROUGHT, *OURS]
QUESTIONS, ANSWERS = ("血压高怎么办？", "一天 2 次？"), ("先测三天。\n\n再来。", "是的 ")


def made(name: str):
    """The tokenizer of a template, and its format as written down above."""
    if OLDER and name.startswith(("glm4moe", "gptoss")):
        pytest.skip(f"TRL {trl.__version__} has another {name}: no end of the last answer, reasoning in the history")
    if name in BROUGHT:
        hand, text = BROUGHT[name]
    elif name in OURS:
        hand, text = OURS[name], (ROOT / "medllm_hf" / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    else:
        hand = FORMATS[max((known for known in FORMATS if name.startswith(known)), key=len)]
        text = trl_template(name)
    eos = next((token for start, token in EOS.items() if name.startswith(start)), "</s>")
    return tokenizer_for(text, eos=eos), hand


def dialogue(*, last: int = 2) -> list[dict]:
    """The questions and answers as messages, `last` answers of them."""
    turns = zip(QUESTIONS, ANSWERS, strict=True)
    return [message for q, a in turns for message in ({"role": "user", "content": q}, {"role": "assistant", "content": a})][
        : 2 * last
    ]


def by_hand(tokenizer, hand: Hand, answers: list[str], start: str) -> tuple[list[int], list[int]]:
    """Ids and labels of the dialogue from its format; `start` is what stands before the first question."""

    def ids_of(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    ids = ids_of(start)
    labels = [IGNORED] * len(ids)
    for number, (question, answer) in enumerate(zip(QUESTIONS, answers, strict=False)):
        final = number + 1 == len(answers)
        before = ids_of(("" if number == 0 else hand.after) + question + hand.middle + hand.thought)
        written, end = ids_of(hand.lead + answer), ids_of(hand.end)
        ids += before + written + (end if final or not hand.history_end else ids_of(hand.history_end))
        labels += [IGNORED] * len(before) + written + end
    return ids, labels


def start_of(tokenizer, template: str) -> str:
    """What the template writes before the first question."""
    options = {"add_generation_prompt": True, "template": template, "enable_thinking": False}
    return render(tokenizer, dialogue()[:1], **options).partition(QUESTIONS[0])[0]


@pytest.mark.parametrize("name", NAMES)
def test_ids_and_labels_equal_those_written_by_hand(name):
    tokenizer, hand = made(name)
    trims = hand in (GEMMA, GEMMA4, LLAMA3, COHERE) or name.startswith(("qwen3_5", "qwen3_6", "qwen3_8", "nemotron", "glm4moe"))
    for rounds in (1, 2):
        encoded = encoder(tokenizer, None)(Dialogue(dialogue(last=rounds)))
        answers = [answer.strip() if trims else answer for answer in ANSWERS[:rounds]]
        expected = by_hand(tokenizer, hand, answers, start_of(tokenizer, read_template(tokenizer).text))
        assert tokenizer.decode(encoded.ids) == tokenizer.decode(expected[0])
        assert (encoded.ids, encoded.labels) == expected
        assert encoded.rounds == encoded.rounds_read == rounds
        stop = tokenizer.convert_tokens_to_ids(hand.end.rpartition("<")[1] + hand.end.rpartition("<")[2])
        assert encoded.labels.count(stop) == rounds


@pytest.mark.parametrize("name", NAMES)
def test_chat_and_evaluation_send_the_ids_that_were_trained(name):
    """With the template that is saved, and without a flag."""
    tokenizer, _ = made(name)
    ids = encoder(tokenizer, None)(Dialogue(dialogue())).ids
    item = McqItem("q", QUESTIONS[0], {"A": "对", "B": "错"}, frozenset("A"), "", "single")
    asked = {"role": "user", "content": item.prompt(options=True)}
    exam = encoder(tokenizer, None)(Dialogue([asked, {"role": "assistant", "content": ANSWERS[0]}])).ids
    tokenizer.chat_template = saved_template(tokenizer, thinks=False, enable_thinking=None)
    for history in (dialogue()[:1], dialogue()[:3]):
        sent = encode_prompt(tokenizer, history, add_generation_prompt=True)
        assert ids[: len(sent)] == sent
    prompts = Prompts(tokenizer, {}, mode="reply")
    sent = encode_text(tokenizer, prompts.text(item))
    assert exam[: len(sent)] == sent


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Looks a drug up.",
            "parameters": {"type": "object", "properties": {"drug": {"type": "string"}}},
        },
    }
]
# Those that write tools, calls and replies; the others are refused by name.
TOOL_FORMATS = (
    *("gemma4", "glm4moe", "gptoss", "lfm2_2_5", "lfm2_v2", "llama3_1", "llama3_2", "muse", "nemotron", "qwen2_5", "qwen3"),
)  # fmt: skip
NO_TOOLS = ("qwen2_5_vl", "qwen2_5_vl_training", "gemma4", "gemma4_v3", "gemma4_v4", "gemma4_v5")


def with_tool(result: str = "每日一次") -> list[dict]:
    call = {"type": "function", "function": {"name": "look_up", "arguments": {"drug": "氨氯地平"}}}
    return [
        {"role": "user", "content": "怎么吃？"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "look_up", "content": result},
        {"role": "assistant", "content": "一天一次。"},
    ]


@pytest.mark.parametrize("name", NAMES)
def test_calls_of_tools_are_learned_whole_or_refused(name):
    tokenizer, _ = made(name)
    encode = encoder(tokenizer, None)
    try:
        encoded = encode(Dialogue(with_tool(), tools=TOOLS))
    except (Unfit, UserError):
        assert not name.startswith(TOOL_FORMATS) or name in NO_TOOLS
        return
    assert name.startswith(TOOL_FORMATS)
    call, answer = learned_texts(tokenizer, encoded)
    assert "look_up" in call and "氨氯地平" in call and "每日一次" not in call + answer and "一天一次。" in answer
    text = tokenizer.decode(encoded.ids)
    assert "Looks a drug up." in text and "每日一次" in text
    # As datasets keep them: the tools as JSON, with the fields of other tools empty.
    table = {"messages": with_tool(), "tools": json.dumps(TOOLS)}
    table["messages"][1] = {**table["messages"][1], "name": None, "reasoning_content": None}
    assert encode(read_row(table)) == encoded


def learned_texts(tokenizer, encoded) -> list[str]:
    """The runs of places with a label, as text."""
    runs, open_ = [], False
    for label in encoded.labels:
        if label != IGNORED:
            runs = [*runs[:-1], [*runs[-1], label]] if open_ else [*runs, [label]]
        open_ = label != IGNORED
    return [tokenizer.decode(run) for run in runs]


# Templates that write reasoning nowhere or nowhere else than in the last answer, or whose prompt does not begin it alike.
NO_REASONING = ("deepseekv3", "nemotron")
LAST_ONLY = ("diffusion_gemma", "gemma4_v5", "glm4moe", "gptoss", "lfm2_2_5")


@pytest.mark.parametrize("form", ["field", "tags"])
@pytest.mark.parametrize("name", NAMES)
def test_reasoning_is_learned_with_its_answer_or_refused(name, form):
    tokenizer, _ = made(name)
    messages = dialogue(last=2)
    for message, thought in ((messages[1], "先想。"), (messages[3], "再想。")):
        if form == "field":
            message["reasoning_content"] = thought
        else:
            message["content"] = f"<think>\n{thought}\n</think>\n\n{message['content']}"
    encode = encoder(tokenizer, None)
    if name.startswith((*NO_REASONING, *LAST_ONLY)):
        with pytest.raises(Unfit, match="reasoning|the history|a history"):
            encode(Dialogue(messages))
    if name.startswith(NO_REASONING):
        return
    messages = messages[:2] if name.startswith(LAST_ONLY) else messages
    encoded = encode(Dialogue(messages))
    texts = learned_texts(tokenizer, encoded)
    for text, thought, answer in zip(texts, ("先想。", "再想。"), ANSWERS, strict=False):
        assert text.index(thought) < text.index(answer.strip())
    # The history as chat sends it to the saved template, which now thinks by default.
    tokenizer.chat_template = saved_template(tokenizer, thinks=True, enable_thinking=None)
    for i in range(1, len(messages), 2):
        sent = encode_prompt(tokenizer, messages[:i], add_generation_prompt=True)
        assert encoded.ids[: len(sent)] == sent


@pytest.mark.parametrize("name", NAMES)
def test_text_that_spells_the_end_of_a_turn_does_not_end_it(name):
    tokenizer, hand = made(name)
    template = read_template(tokenizer)
    stop = tokenizer.convert_ids_to_tokens(template.stop)
    messages = [
        {"role": "user", "content": f"医生说{stop}是什么？"},
        {"role": "assistant", "content": f"{stop}不是药。"},
    ]
    encoded = encoder(tokenizer, None)(Dialogue(messages))
    (text,) = learned_texts(tokenizer, encoded)
    assert "不是药。" in text
    assert encoded.labels.count(template.stop) == 1 and encoded.labels[-1] == template.stop
    sent = encode_prompt(tokenizer, messages[:1], add_generation_prompt=True, template=template.text, enable_thinking=False)
    assert encoded.ids[: len(sent)] == sent


def test_a_base_model_learns_the_end_that_its_template_writes():
    """A Qwen base ends texts with another token than its template ends answers with."""
    tokenizer = tokenizer_for(trl_template("qwen2_5"), eos="<|endoftext|>")
    settings = SimpleNamespace(chat_template_path=None, eos_token=None)
    assert "answers end with <|im_end|>" in set_up(tokenizer, settings)
    assert settings.eos_token == tokenizer.eos_token == "<|im_end|>"
    encoded = encoder(tokenizer, None)(Dialogue(dialogue()))
    assert [text[-10:] for text in learned_texts(tokenizer, encoded)] == ["<|im_end|>"] * 2
    assert "<|endoftext|>" not in tokenizer.decode(encoded.ids)


def test_template_and_end_token_of_a_recipe_are_there_before_anything_is_tokenise(tmp_path):
    (tmp_path / "chatml.jinja").write_text(BROUGHT["smollm2"][1], encoding="utf-8")
    tokenizer = tokenizer_for(trl_template("llama3"), extra=("<|im_start|>", "<|im_end|>"))
    settings = SimpleNamespace(chat_template_path=str(tmp_path / "chatml.jinja"), eos_token="<|im_end|>")
    assert set_up(tokenizer, settings) is None
    assert settings.chat_template_path is None
    encoded = encoder(tokenizer, None)(Dialogue(dialogue()))
    start = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n"
    assert (encoded.ids, encoded.labels) == by_hand(tokenizer, CHATML, list(ANSWERS), start)
    assert saved_template(tokenizer, False, None) == BROUGHT["smollm2"][1]
    for path, eos, told in (
        (None, "<|eot|>", "a token of the vocabulary"),
        (None, "</s>", "ends answers with <|im_end|>"),
        (str(tmp_path / "none.jinja"), None, "none.jinja"),
    ):
        with pytest.raises(UserError, match=re.escape(told)):
            set_up(tokenizer, SimpleNamespace(chat_template_path=path, eos_token=eos))


def test_a_row_says_itself_what_the_template_is_told():
    tokenizer, _ = made("qwen3")
    encode = encoder(tokenizer, None)
    plain = encode(Dialogue(dialogue()))
    told = encode(read_row({"messages": dialogue(), "chat_template_kwargs": {"enable_thinking": True, "other": None}}))
    assert "<think>" not in "".join(learned_texts(tokenizer, plain))
    assert all(text.startswith("<think>\n\n</think>\n\n") for text in learned_texts(tokenizer, told))
    assert told == encoder(tokenizer, None, enable_thinking=True)(Dialogue(dialogue()))


def test_prompt_and_completion_teach_the_completion():
    tokenizer, _ = made("qwen2_5")
    encode = encoder(tokenizer, None)
    whole = encode(Dialogue(dialogue()))
    messages = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in dialogue()]
    assert encode(Dialogue(messages)) == whole
    half = encode(read_row({"prompt": messages[:3], "completion": messages[3:]}))
    assert half.ids == whole.ids and half.rounds == half.rounds_read == 1
    assert learned_texts(tokenizer, half) == learned_texts(tokenizer, whole)[1:]
    plain = encode(read_row({"prompt": "问：", "completion": "答"}))
    assert tokenizer.decode(plain.ids) == "问：答</s>" and learned_texts(tokenizer, plain) == ["答</s>"]
    with pytest.raises(UserError, match="a part of type image"):
        encode(Dialogue([{"role": "user", "content": [{"type": "image", "url": "x"}]}, dialogue()[1]]))
    with pytest.raises(UserError, match="a dialogue without an answer"):
        read_row({"messages": dialogue()[:1]})


def test_a_history_that_inference_would_tokenise_otherwise_is_cut_off():
    """An answer that begins with a line break joins the one that the prompt ends with, once both stand in a history."""
    tokenizer, _ = made("qwen2_5")
    messages = dialogue()
    messages[1]["content"] = "\n先测。"
    encoded = encoder(tokenizer, None)(Dialogue(messages))
    assert encoded.joined and (encoded.rounds, encoded.rounds_read) == (1, 2)
    alone = encoder(tokenizer, None)(Dialogue(messages[:2]))
    assert (encoded.ids, encoded.labels) == (alone.ids, alone.labels) and not alone.joined
    rows = Dataset.from_dict({"messages": [messages, dialogue()]})
    prepared = prepare(rows, tokenizer, None, over_length="refuse")
    assert (prepared.shortened, prepared.joined, prepared.left_out) == (1, 1, 0)


def test_rows_without_a_source_beside_others_with_one_are_named_so():
    tokenizer, _ = made("qwen2_5")
    rows = Dataset.from_dict({"messages": [dialogue()] * 3, "source": ["甲", None, "甲"]})
    prepared = prepare(rows, tokenizer, None)
    assert [prepared.sources[i] for i in prepared.dataset["source"]] == ["甲", "unnamed", "甲"]


@pytest.mark.parametrize("name", ["qwen-0.5b", "smollm2-135m"])
def test_real_tokenizers(name):
    """Real vocabularies and templates: ids as inference sends them, a stop after every answer, nothing else learned."""
    if not (folder := os.environ.get("MEDLLM_REAL")):
        pytest.skip("no MEDLLM_REAL: a folder with real models")
    tokenizer = AutoTokenizer.from_pretrained(Path(folder) / name)
    assert set_up(tokenizer, SimpleNamespace(chat_template_path=None, eos_token=None)) is None
    template, encode = read_template(tokenizer), encoder(tokenizer, None)
    dialogues = [row["conversation"] for row in map(json.loads, (SAMPLE / "dialogues.jsonl").read_text("utf-8").splitlines())]
    assert len(dialogues) > 100
    for messages in dialogues:
        encoded = encode(Dialogue(messages))
        texts = learned_texts(tokenizer, encoded)
        assert texts == [m["content"] + "<|im_end|>" for m in messages if m["role"] == "assistant"][: encoded.rounds]
        assert encoded.labels.count(template.stop) == encoded.rounds == encoded.rounds_read
        for i in range(1, len(messages), 2):
            sent = encode_prompt(tokenizer, messages[:i], add_generation_prompt=True)
            assert encoded.ids[: len(sent)] == sent
