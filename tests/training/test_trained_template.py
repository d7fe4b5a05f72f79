"""The template that was trained is the one that is saved: whoever renders it sends what was trained, without a flag."""

import hashlib
import json
import re
import shutil
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.ranks import words, write_dialogues
from support.short_run import sft
from support.template_tokenizers import tokenizer_for, trl_template
from transformers import AutoTokenizer, GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from medllm_hf.chat import ChatSession
from medllm_hf.checkpoint.merge import merge
from medllm_hf.cli import main
from medllm_hf.training.rows import Dialogue
from medllm_hf.training.template import dated_text
from medllm_hf.training.tokens import encoder


def checkpoint(folder: Path, template: str, eos: str) -> Path:
    """A random Qwen3 of one layer with a tiny tokenizer; no generation config, as some base models have none."""
    tokenizer = tokenizer_for(template, bos=eos, eos=eos)
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, head_dim=32, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
            tie_word_embeddings=True,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("qwen3") / "base", trl_template("qwen3"), "<|im_end|>")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dialogues(tmp_path_factory.mktemp("data") / "data", 12)


def answers_of(data: Path) -> list[list[dict]]:
    return [json.loads(line)["messages"] for line in (data / "train.jsonl").read_text("utf-8").splitlines()]


def trained_ids(base: Path, messages: list[dict], **options) -> list[int]:
    return encoder(AutoTokenizer.from_pretrained(base), None, **options)(Dialogue(messages)).ids


@pytest.mark.parametrize("flag", [None, "true"])
def test_thinking_is_saved_as_it_was_trained(qwen3, data, tmp_path, flag):
    """transformers alone, and our chat, send the history that was trained; a flag says otherwise."""
    options = {"enable_thinking": flag} if flag else {}
    sft(qwen3, data, tmp_path / "out", max_steps=1, max_length=1024, **options)
    saved = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert "generation" in saved.chat_template and saved.chat_template != trl_template("qwen3")
    for messages in answers_of(data)[:4]:
        whole = trained_ids(qwen3, messages, enable_thinking=bool(flag))
        for i in range(1, len(messages), 2):
            sent = saved.apply_chat_template(messages[:i], add_generation_prompt=True, return_dict=False)
            assert whole[: len(sent)] == sent
            assert saved.decode(sent).endswith("<think>\n\n</think>\n\n") == (flag is None)
            other = saved.apply_chat_template(
                messages[:i], add_generation_prompt=True, return_dict=False, enable_thinking=not flag
            )
            assert other != sent
    session = ChatSession.from_pretrained(str(tmp_path / "out"), device="cpu", max_new_tokens=3)
    "".join(session.stream(answers_of(data)[0][0]["content"]))
    asked = saved.apply_chat_template(session.messages[:1], add_generation_prompt=True, return_dict=False)
    assert session.writer.reader.ids[: len(asked)] == asked


def test_a_base_model_ends_answers_as_its_template_does_wherever_it_is_served(data, tmp_path):
    """Fully trained and merged from an adapter: end token, generation config and template agree on `<|im_end|>`."""
    base = checkpoint(tmp_path / "base", trl_template("qwen2_5"), "<|endoftext|>")
    told = sft(base, data, tmp_path / "full", max_steps=1, max_length=1024)
    assert "answers end with <|im_end|> in this template and not with <|endoftext|>" in told
    lora = {"use_peft": True, "lora_r": 4, "lora_target_modules": "q_proj"}
    sft(base, data, tmp_path / "lora", max_steps=1, max_length=1024, **lora)
    merge(str(tmp_path / "lora"), str(tmp_path / "merged"))
    for folder in (tmp_path / "full", tmp_path / "merged"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        assert tokenizer.eos_token == "<|im_end|>"
        assert json.loads((folder / "config.json").read_text())["eos_token_id"] == end
        if (folder / "generation_config.json").exists():
            configured = GenerationConfig.from_pretrained(folder).eos_token_id
            assert end in (configured if isinstance(configured, list) else [configured])
        assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tmp_path / "lora").chat_template
        messages = answers_of(data)[0]
        sent = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, return_dict=False)
        assert trained_ids(folder, messages)[: len(sent)] == sent
    assert json.loads((tmp_path / "merged" / "provenance.json").read_text())["chat_template"] == "the adapter's"


def test_a_template_and_an_end_token_of_the_command_are_trained_and_saved(qwen3, data, tmp_path):
    plain = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    text = plain + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    (tmp_path / "plain.jinja").write_text(text, encoding="utf-8")
    told = sft(qwen3, data, tmp_path / "out", max_steps=1, max_length=4096, chat_template_path=tmp_path / "plain.jinja")
    saved = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert saved.chat_template == text
    counted = int(re.search(r"(\d+) tokens, \d+ of them trained", told)[1])
    assert counted == sum(len(trained_ids(tmp_path / "out", messages)) for messages in answers_of(data))


DATED = """{{- bos_token ~ 'Today is ' ~ strftime_now('%d %B %Y') ~ '\\n' }}
{%- for message in messages %}{{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def test_a_run_keeps_the_date_of_its_first_day(qwen3, data, tmp_path, monkeypatch, capsys):
    """A template that prints the date would give a run that is resumed tomorrow other rows."""
    base = Path(shutil.copytree(qwen3, tmp_path / "base"))
    (base / "chat_template.jinja").write_text(DATED, "utf-8")

    def trained(out: str, day: str, *more: str) -> str:
        monkeypatch.setattr("medllm_hf.training.run.date", SimpleNamespace(today=lambda: date.fromisoformat(day)))
        arguments = words(base, data, tmp_path / out, max_steps=2, save_strategy="steps", save_steps=1)
        assert main(["sft", *arguments, *more]) == 0, capsys.readouterr().err
        return hashlib.sha256((tmp_path / out / "model.safetensors").read_bytes()).hexdigest()

    first = trained("one", "2026-11-29")
    assert trained("other", "2026-12-03") != first
    record = json.loads((tmp_path / "one" / "resume.json").read_text("utf-8"))["run"]
    assert record["date that the chat template is told"] == "2026-11-29"
    for name in ("checkpoint-2", "resume.json", "model.safetensors"):
        path = tmp_path / "one" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert trained("one", "2026-12-03", "--resume_from_checkpoint", "true") == first
    assert "strftime_now('%d %B %Y')" in (tmp_path / "one" / "chat_template.jinja").read_text("utf-8")


def test_named_templates_stay_and_rows_of_another_one_are_refused(qwen3, data, tmp_path, capsys):
    base = Path(shutil.copytree(qwen3, tmp_path / "base"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    tools = tokenizer.chat_template + "{# of tools #}"
    tokenizer.chat_template = {"default": tokenizer.chat_template, "tool_use": tools}
    tokenizer.save_pretrained(base)
    assert main(["sft", *words(base, data, tmp_path / "out", max_steps=1)]) == 0, capsys.readouterr().err
    saved = AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    assert saved["tool_use"] == tools and "enable_thinking" in saved["default"] != tokenizer.chat_template["default"]
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    rows = [{"messages": messages, "tools": [tool]} for messages in answers_of(data)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows.jsonl").rename(tmp_path / "rows" / "train.jsonl")
    capsys.readouterr()
    assert main(["sft", *words(base, tmp_path / "rows", tmp_path / "tools", max_steps=1)]) == 2
    assert "a chat template of its own, tool_use" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["%d %B %Y", "%-d %b %y, %A", "%Y-%m-%d", "%H:%M 100%%", "%j of %G-W%V", "none"])
def test_a_date_is_written_as_python_writes_it(form):
    tokenizer = tokenizer_for("", bos="<|im_end|>", eos="<|im_end|>")
    text = "\n  {%- macro inner() %}{{ strftime_now(form) }}{% endmacro %}[{{ inner() }}|{{ strftime_now(form) }}]\n"
    written = datetime(2026, 2, 3).strftime(form)
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], chat_template=dated_text(text, "2026-02-03"),
                                             tokenize=False, form=form)  # fmt: skip
    assert rendered == f"[{written}|{written}]"
