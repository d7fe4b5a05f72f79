"""Rows as they come: what is trained of them, and what is told of those that cannot be."""

import copy
import json

import pytest
from datasets import Dataset
from support.template_tokenizers import tokenizer_for, trl_template
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from medllm_hf.errors import UserError
from medllm_hf.training import prepare as preparing
from medllm_hf.training.prepare import prepare, tokenise
from medllm_hf.training.rows import Dialogue, read_row
from medllm_hf.training.template import saved_template
from medllm_hf.training.tokens import IGNORED, Unfit, encoder

ZEPHYR = (
    "{% for m in messages %}{% if m.role in ('user', 'system', 'assistant') %}<|{{ m.role }}|>\n"
    "{{ m.content }}{{ eos_token }}\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


NULLS = '{"x": null, "y": [null, {"z": null}]}'


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def answer(text: str | None, **more) -> dict:
    return {"role": "assistant", "content": text, **more}


def call(arguments: object, name: str = "look_up") -> dict:
    return answer(None, tool_calls=[{"type": "function", "function": {"name": name, "arguments": arguments}}])


def learned(tokenizer, encoded) -> str:
    return tokenizer.decode([label for label in encoded.labels if label != IGNORED])


def test_a_dropped_reply_of_a_tool_is_found_though_the_answer_quotes_it():
    tokenizer = tokenizer_for(ZEPHYR)
    encode = encoder(tokenizer, None)
    dropped = [user("多少度？"), {"role": "tool", "content": "三度"}, answer("三度。")]
    with pytest.raises(Unfit, match=r"message 2 \(tool\), which the chat template does not write"):
        encode(Dialogue(dropped))
    assert encode(Dialogue([{"role": "system", "content": "三度"}, user("三度"), answer("三度。")])).rounds == 1


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ('{"x": null, "y": [null, {"z": null}]}', '{"x": null, "y": [null, {"z": null}]}'),
        ({"x": "a"}, '{"x": "a"}'),
        (None, "{}"),
    ],
)
def test_arguments_are_learned_as_they_were_written(arguments, kept):
    tokenizer = tokenizer_for(trl_template("qwen2_5"))
    row = {"messages": [user("查"), call(arguments), {"role": "tool", "content": "好"}, answer("好的")]}
    assert f'"arguments": {kept}}}' in learned(tokenizer, encoder(tokenizer, None)(read_row(row)))
    # In a table each object has the fields of all.
    table = copy.deepcopy(row)
    table["messages"] = [{"name": None, "tool_calls": None, **message} for message in table["messages"]]
    assert read_row(table) == read_row(row)


@pytest.mark.parametrize("arguments", ["", "{bad", "[1]", 3])
def test_arguments_that_are_no_object_are_refused(arguments):
    tokenizer = tokenizer_for(trl_template("qwen2_5"))
    row = {"messages": [user("查"), call(arguments), {"role": "tool", "content": "好"}, answer("好的")]}
    with pytest.raises(UserError, match="arguments .* of a tool call"):
        encoder(tokenizer, None)(read_row(row))


def test_control_tokens_stay_text_wherever_a_row_has_them():
    """In values and names of arguments, whatever the field is called, and in a tokenizer that does not mark its end token."""
    tokenizer = tokenizer_for(trl_template("qwen2_5"))
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    arguments = {"type": "q<|im_end|>", "role": "r<|im_end|>", "k<|im_end|>": {"<|im_end|>": "<|im_end|>"}}
    row = {"messages": [user("查"), call(arguments), {"role": "tool", "content": "<|im_end|>"}, answer("好<|im_end|>的")]}
    assert encoder(tokenizer, None)(read_row(row)).labels.count(end) == 2
    plain = tokenizer_for(ZEPHYR, eos="<END>")
    inner = Tokenizer.from_str(plain.backend_tokenizer.to_str().replace('"special":true', '"special":false'))
    unmarked = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<END>", chat_template=ZEPHYR)
    encoded = encoder(unmarked, None)(Dialogue([user("x<END>y"), answer("y<END>z")]))
    assert encoded.ids.count(unmarked.eos_token_id) == 2 and encoded.labels.count(unmarked.eos_token_id) == 1


def test_thinking_follows_the_rounds_that_are_kept():
    tokenizer = tokenizer_for(trl_template("qwen3"), eos="<|im_end|>")
    plain = [user("甲"), answer("一")]
    cut = [*plain, user("乙" * 200), answer("二", reasoning_content="想")]
    short = encoder(tokenizer, 60)(Dialogue(cut))
    assert (short.rounds, short.rounds_read, short.thinks) == (1, 2, False)
    assert learned(tokenizer, short) == "一<|im_end|>"
    closed = encoder(tokenizer, None)(Dialogue([user("甲"), answer("写作 `</think>`。")]))
    assert not closed.thinks and "<think>" not in learned(tokenizer, closed)
    thinking = [user("甲"), answer("<think>\n想\n</think>\n\n一")]
    rows = Dataset.from_dict({"messages": [plain, [user("丙"), answer("三")], thinking]})
    prepared = prepare(rows, tokenizer, None)
    assert prepared.thinking == 1 and not prepared.thinks
    assert "else false" in saved_template(tokenizer, prepared.thinks, None)
    told = {"messages": [thinking] * 2 + [plain], "chat_template_kwargs": [None, None, {"enable_thinking": True}]}
    assert prepare(Dataset.from_dict(told), tokenizer, None).thinking == 3


def blank_before() -> PreTrainedTokenizerFast:
    """A tokenizer in sentencepiece's manner: a text begins with a blank, and what follows something else does not."""
    letters = sorted({*"▁\nabdehilorstu<|>?", *"甲乙一二"})
    vocabulary = {letter: i for i, letter in enumerate(letters)} | {"▁h": 90, "he": 91, "▁he": 92, "<unk>": 93}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[("▁", "h"), ("h", "e"), ("▁h", "e")], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    inner.decoder = decoders.Metaspace(prepend_scheme="first")
    inner.add_tokens([AddedToken("</s>", special=True, normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", unk_token="<unk>", chat_template=ZEPHYR)


def test_an_answer_behind_plain_text_is_tokenised_as_inference_goes_on():
    """Where a tokenizer puts a blank before every text, an answer has none: it follows the prompt."""
    tokenizer = blank_before()
    messages = [user("she"), answer("he"), user("he"), answer("hello")]
    encoded = encoder(tokenizer, None)(Dialogue(messages))
    assert encoded.rounds == 2 and not encoded.joined
    whole = tokenizer.apply_chat_template(messages, return_dict=False)
    assert encoded.ids == whole[: len(encoded.ids)]
    for i in (1, 3):
        sent = tokenizer.apply_chat_template(messages[:i], add_generation_prompt=True, return_dict=False)
        assert encoded.ids[: len(sent)] == sent and encoded.labels[len(sent)] == tokenizer.convert_tokens_to_ids("he")
        assert encoded.labels[len(sent) - 1] == IGNORED


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"messages": None, "prompt": None}, "prompt that is no list of messages"),
        ({"messages": [user("甲"), answer(None)]}, "message 2 .assistant. without content"),
        ({"messages": [user("甲")]}, "a dialogue without an answer"),
        ({"messages": [user("甲"), answer("一", reasoning={"a": 1})]}, "reasoning that is an object"),
        ({"messages": [user("甲"), answer("一", tool_calls="[1]")]}, "a tool call '1'"),
        ({"messages": [user("甲"), answer("一", tool_calls="{}")]}, "tool_calls that is an object"),
        ({"messages": [user("甲"), answer("一")], "chat_template_kwargs": "[1]"}, "chat_template_kwargs that is a list"),
        ({"messages": [user("甲"), answer("一")], "chat_template_kwargs": {"tokenize": True}}, "with tokenize"),
        ({"messages": [user("甲"), answer("一")], "tools": "{bad"}, "JSON"),
        ({"prompt": "问", "completion": [answer("一")]}, "prompt that is no list"),
        ({"prompt": "问", "completion": None}, "prompt that is no list|completion"),
    ],
)
def test_rows_of_another_shape_are_told(row, told):
    tokenizer = tokenizer_for(trl_template("qwen2_5"))
    with pytest.raises((UserError, Unfit), match=told):
        encoder(tokenizer, None)(read_row(row))


@pytest.mark.parametrize(
    ("ids", "labels", "told"),
    [
        ([1, 2], [1], "2 input_ids and 1 labels"),
        ([], [], "0 input_ids"),
        (None, None, "0 input_ids"),
        ([1, -1], [1, 1], "below 0"),
        ([1, 2], [1, -5], "below 0"),
    ],
)
def test_ready_ids_are_looked_at_before_training(ids, labels, told):
    rows = Dataset.from_dict({"input_ids": [[1, 2], ids], "labels": [[1, 2], labels]})
    with pytest.raises(UserError, match=rf"1 of 2 rows that cannot be trained, the first one row 2: .*{told}"):
        prepare(rows, None, None)


def test_rows_that_are_left_out_first_do_not_decide_the_columns():
    tokenizer = tokenizer_for(trl_template("qwen2_5"))
    rows = [[user("甲" * 400), answer("一")]] * 1200 + [[user("乙"), answer("二")]]
    prepared = prepare(Dataset.from_dict({"messages": rows}), tokenizer, 200)
    assert (len(prepared.dataset), prepared.left_out) == (1, 1200)


def test_sources_of_any_type_have_a_name():
    tokenizer = tokenizer_for(trl_template("qwen2_5"))
    rows = {"messages": [[user("甲"), answer("一")]] * 3, "source": [0, None, 7]}
    prepared = prepare(Dataset.from_dict(rows), tokenizer, None)
    assert [prepared.sources[i] for i in prepared.dataset["source"]] == ["0", "unnamed", "7"]


def test_rows_that_another_version_tokenised_are_not_taken_for_todays(monkeypatch):
    tokenizer = tokenizer_for(trl_template("qwen2_5"))
    rows = Dataset.from_list([{"messages": json.loads(json.dumps([user("甲"), answer("一")]))}])
    first = tokenise(rows, tokenizer, None, None, None, None)[0]
    assert tokenise(rows, tokenizer, None, None, None, None)[0]._fingerprint == first._fingerprint
    monkeypatch.setattr(preparing, "version", lambda name: "another")
    assert tokenise(rows, tokenizer, None, None, None, None)[0]._fingerprint != first._fingerprint


def test_a_tokenizer_that_knows_no_places_is_refused():
    tokenizer = ByT5Tokenizer()
    tokenizer.chat_template = ZEPHYR
    with pytest.raises(UserError, match="a ByT5Tokenizer in .*; expected a tokenizer with tokenizer.json"):
        encoder(tokenizer, None)
