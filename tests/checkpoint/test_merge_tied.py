"""A merge onto tied embeddings is the model that peft runs, whatever of embedding and head the adapter trains or saves.

The truth is the logits of `PeftModel`. Peft's own `merge_and_unload` differs from it where a LoRA stands on one of two tied
tensors, because it adds the change to the tensor that both share.
"""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from medllm_hf.checkpoint.merge import merge
from medllm_hf.errors import UserError

VOCABULARY = 96
IDS = torch.arange(VOCABULARY).view(2, -1)
SAVED = {"none": [], "embed": ["embed_tokens"], "head": ["lm_head"], "both": ["embed_tokens", "lm_head"]}
# The attention is in each, since peft wants one module that it does not save whole.
TRAINED = {"attention": ["v_proj"], "embed": ["embed_tokens"], "head": ["lm_head"], "both": ["embed_tokens", "lm_head"]}
FAMILIES = ("llama", "qwen2", "qwen3")


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """(family, tied) → folder of a small random model."""
    made = {}
    for family in FAMILIES:
        for tied in (True, False):
            sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
            heads = {"num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.2}
            config = AutoConfig.for_model(family, vocab_size=VOCABULARY, tie_word_embeddings=tied, **sizes, **heads)
            torch.manual_seed(0)
            made[family, tied] = tmp_path_factory.mktemp(f"{family}-{tied}")
            AutoModelForCausalLM.from_config(config).save_pretrained(made[family, tied])
    return made


def write_adapter(base, folder, saved="none", trained="attention", save_embeddings="auto", **options):
    """An adapter of `base` with random numbers, saved by peft, which is the model's last word on what it computes."""
    options = {"modules_to_save": [*SAVED[saved]] or None, "target_modules": ["q_proj", *TRAINED[trained]], **options}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, lora_alpha=8, **options))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in {p.data_ptr(): p for p in model.parameters() if p.requires_grad}.values():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, save_embedding_layers=save_embeddings)
    return folder


@torch.no_grad()
def logits_of(model):
    return model.eval()(IDS).logits


def with_adapter(base, adapter):
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)


def assert_same(base, adapter, out):
    """The written model has every top token of peft's and its logits up to rounding; what is tied and written fits."""
    expected = logits_of(with_adapter(base, adapter))
    model, report = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not (report["missing_keys"] or report["unexpected_keys"] or report["mismatched_keys"])
    logits = logits_of(model)
    assert torch.equal(logits.argmax(-1), expected.argmax(-1))
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    with safe_open(out / "model.safetensors", framework="pt") as file:
        assert ("lm_head.weight" in file.keys()) == (not model.config.tie_word_embeddings)
    return model


@pytest.mark.parametrize("trained", TRAINED)
@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", [pytest.param(name, marks=[pytest.mark.slow] * (name != "qwen3")) for name in FAMILIES])
def test_merge_is_the_model_that_peft_runs(bases, tmp_path, family, tied, saved, trained):
    base = bases[family, tied]
    adapter = write_adapter(base, tmp_path / "adapter", saved, trained)
    merge(str(adapter), str(tmp_path / "out"), base=str(base))
    model = assert_same(base, adapter, tmp_path / "out")
    assert model.config.tie_word_embeddings == (tied and saved == "none" and trained == "attention")
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert ("word_embeddings" in provenance) == (tied and not model.config.tie_word_embeddings)
    merged = with_adapter(base, adapter).merge_and_unload()
    merged.save_pretrained(tmp_path / "peft")
    expected = logits_of(model)
    differs = (logits_of(AutoModelForCausalLM.from_pretrained(tmp_path / "peft")) - expected).abs().max() > 0.1
    # Where peft contradicts itself: its merge of a LoRA on one of two tied tensors, which are still one when it adds.
    assert differs == (tied and saved == "none" and trained != "attention")


TIED_BY_PEFT = {
    "embed": {"trained": "embed"},
    "head": {"trained": "head"},
    "embed saved": {"saved": "embed"},
    "both saved": {"saved": "both"},
}


@pytest.mark.parametrize("stored", [False, True], ids=["one tensor", "both tensors"])
@pytest.mark.parametrize("name", TIED_BY_PEFT)
def test_what_peft_keeps_tied_stays_tied(bases, tmp_path, name, stored):
    base = with_head(bases["qwen3", True], tmp_path / "base") if stored else bases["qwen3", True]
    adapter = write_adapter(base, tmp_path / "adapter", ensure_weight_tying=True, **TIED_BY_PEFT[name])
    merge(str(adapter), str(tmp_path / "out"), base=str(base))
    expected = logits_of(with_adapter(base, adapter))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert (logits_of(model) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert model.config.tie_word_embeddings
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert not torch.equal(model.lm_head.weight, AutoModelForCausalLM.from_pretrained(base).lm_head.weight)
    assert "word_embeddings" not in json.loads((tmp_path / "out" / "provenance.json").read_text())


def with_head(base, folder, change=0.0):
    """A copy of a tied model that stores its head too, as `.bin` files do, in safetensors."""
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    head = state["model.embed_tokens.weight"].clone() + change
    save_file({**state, "lm_head.weight": head}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("change", [0.0, 0.1], ids=["equal", "different"])
@pytest.mark.parametrize(
    ("saved", "trained"), [("embed", "attention"), ("none", "embed"), ("none", "head"), ("none", "attention")]
)
def test_a_tied_base_that_stores_both(bases, tmp_path, change, saved, trained):
    """Transformers ties two stored tensors when they are equal, whatever the config says."""
    base = with_head(bases["qwen3", True], tmp_path / "base", change)
    adapter = write_adapter(base, tmp_path / "adapter", saved, trained)
    merge(str(adapter), str(tmp_path / "out"), base=str(base))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    expected = logits_of(with_adapter(base, adapter))
    assert (logits_of(model) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert model.config.tie_word_embeddings == ((saved, trained) == ("none", "attention"))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("trained", ["attention", "embed", "head"])
def test_embeddings_saved_in_place(bases, tmp_path, tied, trained):
    """`save_embedding_layers` puts the base's own tensors in the adapter, here changed ones: in a tied model both follow."""
    base = bases["llama", tied]
    adapter = write_adapter(base, tmp_path / "adapter", trained=trained, save_embeddings=True)
    state = load_file(adapter / "adapter_model.safetensors")
    stored = [key for key in state if key.endswith(("embed_tokens.weight", "lm_head.weight", "base_layer.weight"))]
    noise = torch.randn(VOCABULARY, 64) * 0.1
    save_file({**state, **{key: state[key] + noise for key in stored}}, adapter / "adapter_model.safetensors")
    assert len(stored) == (2 if trained == "attention" else 1)
    merge(str(adapter), str(tmp_path / "out"), base=str(base))
    assert_same(base, adapter, tmp_path / "out")


def test_bfloat16_is_cast_once_on_both_sides(bases, tmp_path):
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(bases["llama", True]).bfloat16().save_pretrained(base)
    adapter = write_adapter(base, tmp_path / "adapter", trained="embed")
    merge(str(adapter), str(tmp_path / "out"), base=str(base))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    embedding, state = model.get_input_embeddings(), load_file(tmp_path / "out" / "model.safetensors")
    exact = embedding.base_layer.weight + embedding.get_delta_weight("default")
    assert torch.equal(state["model.embed_tokens.weight"], exact.to(torch.bfloat16))
    assert torch.equal(state["lm_head.weight"], load_file(base / "model.safetensors")["model.embed_tokens.weight"])


def test_a_second_adapter_goes_onto_the_untied_result(bases, tmp_path):
    first = write_adapter(bases["qwen3", True], tmp_path / "first", trained="embed")
    merge(str(first), str(tmp_path / "one"), base=str(bases["qwen3", True]))
    second = write_adapter(tmp_path / "one", tmp_path / "second", "embed", "head")
    merge(str(second), str(tmp_path / "two"))
    assert_same(tmp_path / "one", second, tmp_path / "two")


@pytest.mark.parametrize(
    "options", [{"saved": "both"}, {"trained": "embed"}, {"trained": "head"}, {"save_embeddings": True}], ids=str
)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_resized_vocabulary_is_refused_with_what_to_do(bases, tmp_path, tied, options):
    """The advice is followed: with the base resized the merge is what peft computes on it."""
    model = AutoModelForCausalLM.from_pretrained(bases["qwen2", tied])
    model.resize_token_embeddings(VOCABULARY + 4)
    model.save_pretrained(tmp_path / "resized")
    adapter = write_adapter(tmp_path / "resized", tmp_path / "adapter", **options)
    with pytest.raises(UserError, match=rf"{VOCABULARY + 4} rows .* vocabulary of {VOCABULARY}; resize the base first"):
        merge(str(adapter), str(tmp_path / "out"), base=str(bases["qwen2", tied]))
    merge(str(adapter), str(tmp_path / "out"), base=str(tmp_path / "resized"))
    assert_same(tmp_path / "resized", adapter, tmp_path / "out")


def test_trained_rows_of_an_embedding_are_refused_by_name(bases, tmp_path):
    adapter = write_adapter(bases["qwen2", True], tmp_path / "adapter", trainable_token_indices=[3, 5])
    with pytest.raises(UserError, match="trainable_token_indices"):
        merge(str(adapter), str(tmp_path / "out"), base=str(bases["qwen2", True]))
    assert not (tmp_path / "out").exists()


def test_one_of_several_embeddings_is_refused_by_name(bases, tmp_path):
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(bases["llama", True]).save_pretrained(base)
    state = load_file(base / "model.safetensors")
    more = {"model.audio.embed_tokens.weight": torch.zeros(3, 64)}
    save_file({**state, **more}, base / "model.safetensors", metadata={"format": "pt"})
    adapter = write_adapter(bases["llama", True], tmp_path / "adapter", trained="embed")
    with pytest.raises(UserError, match="2 embeddings"):
        merge(str(adapter), str(tmp_path / "out"), base=str(base))
