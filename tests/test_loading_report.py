"""Weights that do not fit config.json are refused by merge and push as by loading, and whatever transformers loads is not."""

import json
import shutil

import pytest
import transformers
from safetensors.torch import load_file, save_file
from support.commands import one_line_error, run

from medllm_hf.checkpoint.merge import merge
from medllm_hf.errors import UserError
from medllm_hf.hub.publish import check_files, check_model
from medllm_hf.pretrained import check_weights, load_config, load_model
from medllm_hf.weight_files import header_shapes
from tests.checkpoint.test_merge import trained_adapter

K = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
ONE = {**K, "num_key_value_heads": 1, "head_dim": 16}
DEEPSEEK = {
    **{"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "moe_intermediate_size": 16},
    **{"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8},
    "first_k_dense_replace": 1,
}
QWEN3_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "num_key_value_heads": 1}
FAMILIES = {
    "Llama": ("LlamaConfig", K),
    "Llama, tied": ("LlamaConfig", {**K, "tie_word_embeddings": True}),
    "Qwen2": ("Qwen2Config", K),
    "Qwen3": ("Qwen3Config", {**ONE, "tie_word_embeddings": True}),
    "Gemma": ("GemmaConfig", ONE),
    "Gemma 2": ("Gemma2Config", ONE),
    "Gemma 3": ("Gemma3TextConfig", ONE),
    "Phi 3": ("Phi3Config", {**K, "pad_token_id": 0}),
    "GLM": ("GlmConfig", {**ONE, "pad_token_id": 0}),
    "Mistral": ("MistralConfig", {**K, "num_key_value_heads": 1}),
    "GPT-2": ("GPT2Config", {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 2}),
    "OLMo": ("OlmoConfig", K),
    "Mamba": ("FalconMambaConfig", {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    # Their experts are stored one by one and held together.
    "Mixtral": ("MixtralConfig", {**K, "num_local_experts": 2, "num_key_value_heads": 2}),
    "Qwen3 MoE": ("Qwen3MoeConfig", {**K, **QWEN3_MOE}),
    "DeepSeek": ("DeepseekV3Config", {**K, **DEEPSEEK}),
}


def changed_json(folder, file="config.json", **values):
    """Changes what a JSON file of a checkpoint says; None takes a field out."""
    path = folder / file
    kept = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in kept.items() if value is not None}))


def copied(folder, copy):
    shutil.copytree(folder, copy)
    return copy


@pytest.mark.parametrize("name", FAMILIES)
def test_families(tmp_path, name):
    """A saved model fits its config; without a weight, with one too many, or another config, it does not."""
    kind, values = FAMILIES[name]
    config = getattr(transformers, kind)(**values)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    shapes = header_shapes([tmp_path / "model.safetensors"])
    check_weights(tmp_path, shapes)
    load_model(tmp_path)
    for missing in sorted(shapes)[:: max(1, len(shapes) // 6)]:
        with pytest.raises(UserError, match="missing|do not go together|of shape"):
            check_weights(tmp_path, {one: shape for one, shape in shapes.items() if one != missing})
    with pytest.raises(UserError, match=r"1 unexpected weights in .*such as model\.extra\.weight"):
        check_weights(tmp_path, {**shapes, "model.extra.weight": (3,)})
    wider = next(one for one, shape in shapes.items() if len(shape) == 2)
    with pytest.raises(UserError, match="of shape|do not go together"):
        check_weights(tmp_path, {**shapes, wider: tuple(2 * size for size in shapes[wider])})
    changed_json(tmp_path, vocab_size=120)
    with pytest.raises(UserError, match=r"of shape \(100, 32\).*expected \(120, 32\)|of shape \(100,\)"):
        check_weights(tmp_path, shapes)
    with pytest.raises(UserError, match=r"of shape \(100, 32\).*expected \(120, 32\)|of shape \(100,\)"):
        load_model(tmp_path)


def test_names_that_transformers_translates(tmp_path):
    """A checkpoint without the prefix of its base model, and buffers that older versions stored."""
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**K)).save_pretrained(tmp_path)
    shapes = header_shapes([tmp_path / "model.safetensors"])
    check_weights(tmp_path, {name.removeprefix("model."): shape for name, shape in shapes.items()})
    check_weights(tmp_path, {**shapes, "model.layers.0.self_attn.rotary_emb.inv_freq": (8,)})
    changed_json(tmp_path, model_type="one of tomorrow", architectures=None)
    check_weights(tmp_path, {})  # what transformers does not know it cannot tell


BROKEN = {
    "vocabulary": {"vocab_size": 5000},
    "more layers": {"num_hidden_layers": 3},
    "fewer layers": {"num_hidden_layers": 1},
    "width": {"intermediate_size": 100},
    "another family": {"model_type": "qwen2"},
    "another family, unnamed": {"model_type": "qwen2", "architectures": None},
}


@pytest.mark.parametrize("name", BROKEN)
def test_merge_and_push_refuse_another_config(tiny, tmp_path, name):
    adapter = trained_adapter(tiny["base"], tmp_path / "adapter")
    base = copied(tiny["base"], tmp_path / "base")
    check_model(base, check_files(base))
    changed_json(base, **BROKEN[name])
    with pytest.raises(UserError, match=r"of shape|missing|unexpected|model_type 'qwen2'"):
        merge(str(adapter), str(tmp_path / "merged"), base=str(base))
    assert not (tmp_path / "merged").exists()
    with pytest.raises(UserError, match=r"of shape|missing|unexpected|model_type 'qwen2'"):
        check_model(base, check_files(base))


@pytest.mark.parametrize("change", ["less", "more"])
def test_merge_and_push_refuse_other_tensors(tiny, tmp_path, change):
    adapter = trained_adapter(tiny["base"], tmp_path / "adapter")
    base = copied(tiny["base"], tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    weights = dict(list(weights.items())[:-1]) if change == "less" else weights | {"extra": weights["lm_head.weight"] + 1}
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    expected = "1 missing weights" if change == "less" else "1 unexpected weights"
    with pytest.raises(UserError, match=expected):
        check_model(base, check_files(base))
    assert expected in one_line_error(run("medllm", "merge", str(adapter), str(tmp_path / "merged"), "--base", str(base)))
    assert not (tmp_path / "merged").exists()


def test_an_architecture_of_another_family_is_refused_wherever_a_config_is_read(tiny, tmp_path):
    base = copied(tiny["base"], tmp_path / "base")
    changed_json(base, model_type="gemma")  # whose names of weights are the same: without this, it would talk nonsense
    with pytest.raises(UserError, match="architecture LlamaForCausalLM beside model_type 'gemma'"):
        load_config(base)
    for architectures in (["Emu3ForCausalLM"], ["NobodyKnows"], None):
        kind = "emu3_text_model" if architectures == ["Emu3ForCausalLM"] else "llama"
        changed_json(base, model_type=kind, architectures=architectures)
        load_config(base)


def test_a_template_of_an_adapter_that_cannot_be_parsed_is_refused(tiny, tmp_path):
    adapter = trained_adapter(tiny["base"], tmp_path / "adapter")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny["base"] / file, adapter)
    for template in ("{% for m in messages %}{{ m.content }", "{{ raise_exception('never') }}"):
        (adapter / "chat_template.jinja").write_text(template)
        with pytest.raises(UserError, match=r"a chat template in .*adapter that fails"):
            merge(str(adapter), str(tmp_path / "merged"), base=str(tiny["base"]))
        assert not (tmp_path / "merged").exists()
