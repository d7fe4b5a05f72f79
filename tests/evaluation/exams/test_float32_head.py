"""Logits in float32 of models in bfloat16: the product by hand, no ties, and the head is itself again."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, Qwen2Config

from medllm_hf.evaluation.exams import float32_head as module
from medllm_hf.evaluation.exams.float32_head import float32_head
from medllm_hf.evaluation.exams.likelihood import Question, log_probabilities

SHAPE = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.2,
}  # fmt: skip
CONFIGS = {"llama": LlamaConfig(**SHAPE), "tied": Qwen2Config(**SHAPE, tie_word_embeddings=True)}
IDS = torch.arange(3, 63).reshape(2, 30)


def model(config, dtype=torch.bfloat16):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


@pytest.mark.parametrize("rows", [7, 300, 8192])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_the_logits_are_the_products_in_float32(name, rows, monkeypatch):
    monkeypatch.setattr(module, "ROWS", rows)
    network = model(CONFIGS[name])
    hidden = network.model(input_ids=IDS).last_hidden_state
    with float32_head(network):
        logits = network(input_ids=IDS).logits
    assert logits.dtype == torch.float32
    exact = hidden.double() @ network.lm_head.weight.double().T
    torch.testing.assert_close(logits.double(), exact, rtol=1e-5, atol=1e-6)
    rounded = network(input_ids=IDS).logits
    assert rounded.dtype == torch.bfloat16, "the head is itself again"
    assert (rounded.double() - exact).abs().max() > 100 * (logits.double() - exact).abs().max()


@torch.no_grad()
def test_a_bias_and_what_the_model_does_after_its_head():
    network = model(Gemma2Config(**SHAPE, head_dim=16, final_logit_softcapping=2.0))
    network.lm_head.bias = torch.nn.Parameter(torch.linspace(-1, 1, 300, dtype=torch.bfloat16))
    hidden = network.model(input_ids=IDS).last_hidden_state
    with float32_head(network):
        logits = network(input_ids=IDS).logits
    exact = torch.tanh((hidden.double() @ network.lm_head.weight.double().T + network.lm_head.bias.double()) / 2) * 2
    torch.testing.assert_close(logits.double(), exact, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_float32_weights_autocast_and_errors():
    network = model(CONFIGS["llama"], torch.float32)
    plain = network(input_ids=IDS).logits
    with pytest.raises(RuntimeError), float32_head(network):
        assert torch.equal(network(input_ids=IDS).logits, plain)
        with torch.autocast("cpu", torch.bfloat16):
            assert network(input_ids=IDS).logits.dtype == torch.float32
        raise RuntimeError
    assert "forward" not in vars(network.lm_head)


@torch.no_grad()
def test_a_head_of_another_kind_stays_as_it_is():
    class Other(torch.nn.Linear):
        pass

    network = model(CONFIGS["llama"])
    other = Other(64, 300, bias=False, dtype=torch.bfloat16)
    network.set_output_embeddings(other)
    with float32_head(network):
        assert network(input_ids=IDS).logits.dtype == torch.bfloat16
    network = model(CONFIGS["llama"])
    fetched = network.lm_head.forward = network.lm_head.forward  # as weights on a disk are fetched
    with float32_head(network):
        assert network.lm_head.forward is fetched
    assert network.lm_head.forward is fetched


def test_no_ties_in_bfloat16():
    """Of 300 next tokens many have equal logits in bfloat16; summed in float32 none have."""
    network = model(CONFIGS["llama"])
    questions = [Question(list(range(3, 3 + n)), [[*range(3, 3 + n), last] for last in range(3, 300)]) for n in (5, 9, 20)]
    for _, values in log_probabilities(network, questions):
        assert len(set(values)) > 0.99 * len(values)
