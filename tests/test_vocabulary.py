"""Ids beyond the embedding are told before the weights are read, and those that never come are not."""

import json

import pytest
from support.paths import SAMPLE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from medllm_hf.chat import ChatSession
from medllm_hf.chat.prompt import encode_prompt
from medllm_hf.cli import main
from medllm_hf.errors import UserError
from medllm_hf.evaluation.models import parse_model
from medllm_hf.hub.publish import check_files, check_model
from tests.test_loading_report import changed_json, copied

OTHERS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


def with_tokens(base, special: bool, *tokens: str):
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(list(tokens), special_tokens=special)
    tokenizer.save_pretrained(base)
    return base


def test_tokens_of_text(tiny, tmp_path, refused):
    base = with_tokens(copied(tiny["base"], tmp_path / "base"), False, "鑫鑫氇氇", "氇氇鑫鑫")
    told = (
        r"a tokenizer in .*base with the id 4000 for .鑫鑫氇氇. and 1 more; expected ids below the model's vocabulary of 4000"
    )
    with pytest.raises(UserError, match=told):
        check_model(base, check_files(base))
    (base / "model.safetensors").write_bytes(b"damaged")  # told before it is read
    with pytest.raises(UserError, match=told):
        ChatSession.from_pretrained(str(base))
    with pytest.raises(UserError, match=told):
        parse_model(str(base), "KEY", concurrency=1, timeout=1)


def test_a_token_of_the_template(tiny, tmp_path):
    base = with_tokens(copied(tiny["base"], tmp_path / "base"), True, "<|end|>")
    (base / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}<|end|>{% endfor %}")
    with pytest.raises(UserError, match="with the id 4000 for '<|end|>'"):
        ChatSession.from_pretrained(str(base))


def test_tokens_that_never_come(tiny, tmp_path):
    """A token for images, as Gemma 3 has one too many, and padding that was added without a row, as many have."""
    base = with_tokens(copied(tiny["base"], tmp_path / "base"), True, "<image>", "[PAD]")
    changed_json(base, "tokenizer_config.json", pad_token="[PAD]")
    check_model(base, check_files(base))
    session = ChatSession.from_pretrained(str(base), max_new_tokens=3)
    assert session.tokenizer.pad_token_id == 4001
    assert session.stream("头痛[PAD]<image>怎么办") and "".join(session.stream("头痛[PAD]<image>怎么办")) is not None
    assert max(encode_prompt(session.tokenizer, session.messages)) < 4000
    rows = (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()[:3]
    (tmp_path / "q.jsonl").write_text("\n".join(rows), encoding="utf-8")
    for mode in ("generate", "likelihood"):
        words = ["eval", "mcq", "--model", str(base), "--data", str(tmp_path / "q.jsonl"), "--out", str(tmp_path / mode)]
        assert main([*words, "--mode", mode]) == 0
        assert json.loads((tmp_path / mode / "metrics.json").read_text())["n"] == 3


REFUSING = {
    "answers": "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no answers') }}{% endif %}"
    "{{ m.content }}{% endfor %}",
    "a third message": "{% if messages|length > 2 %}{{ raise_exception('one turn') }}{% endif %}" + OTHERS,
    "an index": "{% if messages|length > 1 %}{{ messages[5].content }}{% endif %}" + OTHERS,
    "leaves out": "{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}",
}


@pytest.mark.parametrize("name", REFUSING)
def test_templates_for_one_question_alone(tiny, tmp_path, name):
    """They are told as such by what talks, before the weights are read; an exam does with them."""
    base = copied(tiny["base"], tmp_path / "base")
    (base / "chat_template.jinja").write_text(REFUSING[name])
    rows = (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()[:2]
    (tmp_path / "q.jsonl").write_text("\n".join(rows), encoding="utf-8")
    words = ["eval", "mcq", "--model", str(base), "--data", str(tmp_path / "q.jsonl"), "--out", str(tmp_path / "run")]
    assert main([*words, "--mode", "generate", "--max-new-tokens", "2"]) == 0
    parse_model(str(base), "KEY", concurrency=1, timeout=1)
    told = r"a chat template in .*base that (refuses a second question|leaves answers out).*mend chat_template.jinja"
    (base / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=told):
        ChatSession.from_pretrained(str(base))
    with pytest.raises(UserError, match=told):
        parse_model(str(base), "KEY", concurrency=1, timeout=1, talks=True)
    assert isinstance(AutoTokenizer.from_pretrained(base), PreTrainedTokenizerFast)
