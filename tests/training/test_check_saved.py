"""Every fault of a saved model or adapter is found and named, and sound ones of every kind pass."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, MixtralConfig, Qwen3Config

from medllm_hf.errors import UserError
from medllm_hf.training.check_saved import check_saved

SIZES = {
    "vocab_size": 4000, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
HEAD, NORM = "lm_head.weight", "model.norm.weight"


@pytest.fixture
def model(tiny, tmp_path) -> Path:
    """A sound model, to be spoilt."""
    return Path(shutil.copytree(tiny["base"], tmp_path / "model"))


@pytest.fixture(scope="module")
def lora(tiny, tmp_path_factory) -> Path:
    """A sound adapter with pairs of linear and embedding matrices, and a module trained whole."""
    out = tmp_path_factory.mktemp("lora") / "adapter"
    base = AutoModelForCausalLM.from_pretrained(tiny["base"])
    config = LoraConfig(r=4, target_modules=["q_proj", "embed_tokens"], modules_to_save=["lm_head"], task_type="CAUSAL_LM")
    get_peft_model(base, config).save_pretrained(out)
    copy_tokenizer(tiny["base"], out)
    return out


def copy_tokenizer(base: Path, folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base / name, folder)


def change(file: Path, edit) -> None:
    """Applies `edit` to the contents of a JSON or safetensors file."""
    if file.suffix == ".json":
        content = json.loads(file.read_text(encoding="utf-8"))
        edit(content)
        file.write_text(json.dumps(content), encoding="utf-8")
    else:
        content = load_file(file)
        edit(content)
        save_file(content, file, {"format": "pt"})


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        check_saved(folder)
    return str(error.value)


def test_the_converted_model_passes(model):
    check_saved(model)


@pytest.mark.parametrize(
    "config",
    [Qwen3Config(**SIZES, tie_word_embeddings=True), MixtralConfig(**SIZES, num_local_experts=2)],
    ids=["tied", "experts"],
)
@pytest.mark.parametrize("shard", ["1GB", "300KB"])
def test_models_whose_files_differ_from_their_modules_pass(tiny, tmp_path, config, shard):
    """A tied head is not in the files, and experts lie there one by one."""
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path, max_shard_size=shard)
    copy_tokenizer(tiny["base"], tmp_path)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "300KB")
    check_saved(tmp_path)


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda t: t.update({HEAD: torch.zeros(0)}), "the empty tensor lm_head.weight of shape [0]"),
        (lambda t: t.pop(NORM), "no tensor model.norm.weight"),
        (lambda t: t.update({NORM: torch.ones(32)}), "model.norm.weight of shape [32]"),
        (lambda t: t.update(extra=torch.ones(1)), "a tensor extra"),
        (lambda t: t.clear(), "no tensor in"),
    ],
    ids=["empty", "missing", "shape", "extra", "none"],
)
def test_wrong_tensors_are_named(model, edit, found):
    change(model / "model.safetensors", edit)
    assert f"found {found}" in refused(model)


def test_a_cut_file_and_an_absent_one_are_named(model):
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert "whole safetensors file" in refused(model)
    file.unlink()
    assert "no model.safetensors" in refused(model)


def test_a_shard_without_what_the_index_lists_is_named(tiny, model):
    AutoModelForCausalLM.from_pretrained(tiny["base"]).save_pretrained(model, max_shard_size="500KB")
    (model / "model.safetensors").unlink()
    check_saved(model)
    place = json.loads((model / "model.safetensors.index.json").read_text())["weight_map"][NORM]
    change(model / place, lambda tensors: tensors.pop(NORM))
    assert f"no tensor {NORM} in {place}" in refused(model)
    (model / place).unlink()
    assert f"no {place}" in refused(model)


@pytest.mark.parametrize(
    ("file", "edit", "found"),
    [
        ("config.json", lambda c: c.update(auto_map={"AutoModel": "own.Model"}), "auto_map"),
        ("config.json", lambda c: c.update(_attn_implementation="per_sample"), "_attn_implementation per_sample"),
        ("config.json", lambda c: c.update(architectures=["BaichuanForCausalLM"]), "architectures ['BaichuanForCausalLM']"),
        ("config.json", lambda c: c.update(eos_token_id=7), "eos_token_id 7 in"),
        ("config.json", lambda c: c.update(pad_token_id=2), "pad_token_id 2 in"),
        ("generation_config.json", lambda c: c.pop("eos_token_id"), "eos_token_id None in"),
        ("generation_config.json", lambda c: c.update(eos_token_id=[1, 195]), "eos_token_id [1, 195] in"),
        ("tokenizer_config.json", lambda c: c.update(eos_token="<s>"), "eos_token_id 2 in"),
    ],
)
def test_settings_that_disagree_are_named(model, file, edit, found):
    change(model / file, edit)
    assert f"found {found}" in refused(model)


def test_further_end_tokens_and_an_unset_padding_pass(model):
    change(model / "generation_config.json", lambda c: c.update(eos_token_id=[195, 2]))
    change(model / "config.json", lambda c: c.pop("pad_token_id"))
    check_saved(model)


def test_what_transformers_reads_is_what_is_checked(model):
    """An index that lies about beside the weights is an earlier save's; transformers does not look at it."""
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {NORM: "model-00001-of-00002.safetensors"}}), encoding="utf-8")
    AutoModelForCausalLM.from_pretrained(model)
    check_saved(model)
    change(model / "model.safetensors", lambda tensors: tensors.pop(NORM))
    assert f"no tensor {NORM} in {model}" in refused(model)


def test_a_template_is_asked_for_where_there_was_one(model):
    (model / "chat_template.jinja").unlink()
    assert "no chat_template.jinja" in refused(model)
    check_saved(model, template=False)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "chat_template.jinja"])
def test_an_absent_file_is_named(model, name):
    (model / name).unlink()
    assert name in refused(model)


def test_a_second_default_chat_template_is_refused(model, lora, tmp_path):
    """Named ones, as for tools, stay beside the one that was trained."""
    adapter = Path(shutil.copytree(lora, tmp_path / "adapter"))
    for folder in (model, adapter):
        templates = folder / "additional_chat_templates"
        templates.mkdir()
        (templates / "tool_use.jinja").write_text("another")
        check_saved(folder)
        shutil.rmtree(templates)
        change(folder / "tokenizer_config.json", lambda c: c.update(chat_template="another"))
        assert "two chat templates" in refused(folder)


def test_an_adapter_passes(lora):
    check_saved(lora)


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda t: t.pop(next(name for name in t if "lora_B" in name)), "lora_B.weight"),
        (lambda t: t.pop(next(name for name in t if "lora_A" in name)), "lora_A.weight"),
        (lambda t: t.pop(next(name for name in t if "lora_embedding_B" in name)), "lora_embedding_B in"),
        (lambda t: t.update({name: torch.zeros(0) for name in t if "lora_A" in name}), "the empty tensor"),
        (lambda t: t.update({name: torch.zeros(3, 64) for name in t if "lora_A" in name}), "ranks 3 and 4"),
        (lambda t: [t.pop(name) for name in list(t) if "lora" in name], "no LoRA matrix"),
        (lambda t: t.clear(), "no tensor in"),
    ],
)
def test_a_spoilt_adapter_is_named(lora, tmp_path, edit, found):
    adapter = Path(shutil.copytree(lora, tmp_path / "adapter"))
    change(adapter / "adapter_model.safetensors", edit)
    assert found in refused(adapter)
    (adapter / "adapter_model.safetensors").unlink()
    assert "no adapter_model.safetensors" in refused(adapter)
