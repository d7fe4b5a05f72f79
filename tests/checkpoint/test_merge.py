"""Merging equals peft's own merge in float32, for every option offered; what is not computed exactly is refused by name."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from support.commands import one_line_error, run
from transformers import AutoModelForCausalLM, AutoTokenizer

from medllm_hf.checkpoint.convert import convert
from medllm_hf.checkpoint.merge import merge
from medllm_hf.checkpoint.shards import tensors
from medllm_hf.errors import UserError

OPTIONS = {
    "plain": {},
    "every layer": {"target_modules": "all-linear"},
    "rslora": {"use_rslora": True},
    "patterns": {
        "target_modules": ["q_proj", "down_proj"],
        "rank_pattern": {"down_proj": 2, "layers.0.self_attn.q_proj": 3},
        "alpha_pattern": {"layers.1.self_attn.q_proj": 5, ".*mlp.*": 7},
    },
    "patterns with rslora": {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}},
    "some layers": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "modules to save": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "v_proj"]},
    "dropout": {"lora_dropout": 0.1},
}


def trained_adapter(base, folder, **options):
    """A LoRA on `base` whose A, B and saved modules are random, as after training, saved by peft itself."""
    torch.manual_seed(1)
    options = {"target_modules": ["q_proj", "v_proj"], **options}
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, lora_alpha=12, task_type="CAUSAL_LM", **options)
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", OPTIONS)
def test_merge_equals_peft(tiny, tmp_path, name):
    folder = trained_adapter(tiny["base"], tmp_path / "adapter", **OPTIONS[name])
    merge(str(folder), str(tmp_path / "merged"), base=str(tiny["base"]))
    ours = dict(tensors(tmp_path / "merged"))
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny["base"]), folder).merge_and_unload()
    expected = peft.state_dict()
    assert set(ours) == set(expected)
    assert [key for key in ours if not torch.equal(ours[key], expected[key])] == []
    assert any(not torch.equal(ours[key], value) for key, value in tensors(tiny["base"]))


def test_base_in_bfloat16_is_cast_once(tiny, tmp_path):
    """D19: float32 arithmetic and one cast, where peft's own merge of a bfloat16 model rounds twice."""
    convert(str(tiny["source"]), str(tmp_path / "base"), dtype="bfloat16")
    folder = trained_adapter(tmp_path / "base", tmp_path / "adapter")
    merge(str(folder), str(tmp_path / "merged"), base=str(tmp_path / "base"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    exact = PeftModel.from_pretrained(model, folder).merge_and_unload().state_dict()
    for key, value in tensors(tmp_path / "merged"):
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, exact[key].to(torch.bfloat16))
    merge(str(folder), str(tmp_path / "wide"), base=str(tmp_path / "base"), dtype="float32")
    assert all(torch.equal(value, exact[key]) for key, value in tensors(tmp_path / "wide"))
    assert json.loads((tmp_path / "wide" / "config.json").read_text())["dtype"] == "float32"


def test_blocks_of_rows_equal_the_whole_product():
    """A product taken in blocks of rows has the bits of the whole one, at the 7B's shapes."""
    from medllm_hf.checkpoint.adapter import Delta
    from medllm_hf.checkpoint.merge import changed

    torch.manual_seed(0)
    for out, inner, rank in ((11008, 4096, 64), (4096, 11008, 8), (4096, 4096, 16)):
        weight, delta = torch.randn(out, inner), Delta(torch.randn(rank, inner), torch.randn(out, rank), 0.37)
        blocked = torch.cat(list(changed(weight, delta)))
        assert torch.equal(blocked, weight + (delta.b @ delta.a) * 0.37)


def test_golden_adapter_of_the_original_layout(golden, tmp_path):
    """D25: a LoRA on W_pack splits into thirds; logits of the original model that carries it."""
    convert(str(golden), str(tmp_path / "base"))
    merge(str(golden / "wpack-adapter"), str(tmp_path / "merged"), base=str(tmp_path / "base"))
    reference = torch.load(golden / "wpack-adapter" / "reference.pt")
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(reference["ids"]).logits
    assert (logits - reference["logits"]).abs().max().item() <= 1e-5
    plain = torch.load(golden / "reference.pt")["logits"]
    assert (logits - plain).abs().max().item() > 1e-2


def test_merged_folder_keeps_the_base_facts(tiny, tmp_path):
    """D22: reloaded, it has the base's ids, template, end tokens and sampling."""
    folder = trained_adapter(tiny["base"], tmp_path / "adapter")
    (folder / "tokenizer_config.json").write_text("{}")  # what a trainer leaves there has no say
    merge(str(folder), str(tmp_path / "merged"), base=str(tiny["base"]))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (tiny["base"] / name).read_bytes()
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").eos_token_id == 2
    provenance = json.loads((tmp_path / "merged" / "provenance.json").read_text())
    assert provenance["base_weights"] == "float32, not quantised"


def test_merging_twice_is_refused(tiny, tmp_path):
    folder = trained_adapter(tiny["base"], tmp_path / "adapter")
    merge(str(folder), str(tmp_path / "merged"), base=str(tiny["base"]))
    with pytest.raises(UserError, match="already"):
        merge(str(folder), str(tmp_path / "twice"), base=str(tmp_path / "merged"))
    other = trained_adapter(tmp_path / "merged", tmp_path / "other", target_modules=["o_proj"])
    merge(str(other), str(tmp_path / "both"), base=str(tmp_path / "merged"))
    with pytest.raises(UserError, match="already"):
        merge(str(folder), str(tmp_path / "thrice"), base=str(tmp_path / "both"))


def edited(tiny, tmp_path, **values):
    folder = trained_adapter(tiny["base"], tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **values}))
    return folder


@pytest.mark.parametrize(
    "values",
    [
        {"use_dora": True},
        {"peft_type": "LOHA"},
        {"bias": "all"},
        {"fan_in_fan_out": True},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "loftq"},
        {"trainable_token_indices": [5]},
        {"lora_bias": True},
        {"a_setting_of_a_later_peft": 1},
    ],
    ids=lambda values: "-".join(values),
)
def test_other_adapters_are_refused_by_name(tiny, tmp_path, values):
    folder = edited(tiny, tmp_path, **values)
    key = next(iter(values))
    with pytest.raises(UserError, match="LOHA" if key == "peft_type" else key):
        merge(str(folder), str(tmp_path / "merged"), base=str(tiny["base"]))
    assert not (tmp_path / "merged").exists()


def test_adapters_that_do_not_fit_are_refused(tiny, tmp_path):
    folder = trained_adapter(tiny["base"], tmp_path / "adapter")
    weights = load_file(folder / "adapter_model.safetensors")
    name = next(key for key in weights if "q_proj.lora_B" in key)
    for change, message in (
        ({name: torch.zeros(7, 4)}, "own base"),
        ({name.replace("layers.0", "layers.9").replace("layers.1", "layers.9"): weights[name].clone()}, "half a LoRA"),
        ({"base_model.model.model.layers.0.q.lora_magnitude_vector": torch.ones(1)}, "lora_magnitude_vector"),
    ):
        broken = tmp_path / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(folder, broken)
        save_file({**weights, **change}, broken / "adapter_model.safetensors")
        with pytest.raises(UserError, match=message):
            merge(str(broken), str(tmp_path / "merged"), base=str(tiny["base"]))


def test_quantised_base_and_original_head_are_refused(tiny, golden, tmp_path):
    folder = trained_adapter(tiny["base"], tmp_path / "adapter")
    base = tmp_path / "base"
    shutil.copytree(tiny["base"], base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "bitsandbytes"}}))
    with pytest.raises(UserError, match="bitsandbytes"):
        merge(str(folder), str(tmp_path / "merged"), base=str(base))
    adapter = tmp_path / "wpack"
    shutil.copytree(golden / "wpack-adapter", adapter)
    adapter.chmod(0o755)
    weights = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    save_file({**weights, "base_model.model.lm_head.weight": torch.zeros(3000, 64)}, adapter / "adapter_model.safetensors")
    convert(str(golden), str(tmp_path / "golden"))
    with pytest.raises(UserError, match="lm_head"):
        merge(str(adapter), str(tmp_path / "merged"), base=str(tmp_path / "golden"))


def test_the_command_says_one_line(tiny, tmp_path):
    folder = edited(tiny, tmp_path, base_model_name_or_path=None)
    assert "--base" in one_line_error(run("medllm", "merge", str(folder), str(tmp_path / "merged")))


def test_weights_that_are_no_numbers_are_not_written(tiny, tmp_path):
    """A trained NaN, and numbers that float16 cannot hold."""
    trained_adapter(tiny["base"], adapter := tmp_path / "lora", target_modules=["q_proj"])
    file = adapter / "adapter_model.safetensors"
    sound = load_file(file)
    save_file({name: tensor * float("nan") for name, tensor in sound.items()}, file)
    with pytest.raises(UserError, match="NaN or infinity in model.layers.0"):
        merge(str(adapter), str(tmp_path / "out"))
    save_file({name: tensor + 1e4 for name, tensor in sound.items()}, file)
    with pytest.raises(UserError, match="beyond what float16 holds.*--dtype bfloat16"):
        merge(str(adapter), str(tmp_path / "out"), dtype="float16")
    assert not (tmp_path / "out").exists()


def test_an_original_base_is_to_be_converted_first(golden, tmp_path):
    with pytest.raises(UserError, match="in Baichuan's own layout; expected the converted base; run `medllm convert`"):
        merge(str(golden / "wpack-adapter"), str(tmp_path / "out"), base=str(golden))
