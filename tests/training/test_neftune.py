"""NEFTune's noise: as strong for each sample of a flattened row as the paper says, in training only, and gone afterwards."""

import json
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.ranks import finished, words, write_dialogues
from transformers import AutoModelForCausalLM

from medllm_hf.training.neftune import Noise, added_noise, token_lengths

ALPHA = 5.0
# One row of four samples, the first one much longer than the others.
LENGTHS = (400, 25, 100, 7)
POSITIONS = torch.cat([torch.arange(length) for length in LENGTHS])[None]


@pytest.fixture(params=["plain", "lora beside it", "lora on it", "trained whole"])
def model(request, tiny):
    base = AutoModelForCausalLM.from_pretrained(tiny["base"])
    options = {
        "lora beside it": {"target_modules": ["q_proj"]},
        "lora on it": {"target_modules": ["q_proj", "embed_tokens"]},
        "trained whole": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    }
    return base if request.param == "plain" else get_peft_model(base, LoraConfig(**options[request.param]))


def embedded(model) -> torch.Tensor:
    """The embedding of one row, (tokens, width), as the model's own first layer gets it."""
    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    seen = []
    hook = network.model.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs.get("hidden_states", args[0] if args else None)), with_kwargs=True
    )
    ids = torch.arange(sum(LENGTHS))[None] % 3000 + 500
    with torch.no_grad():
        model(input_ids=ids, position_ids=POSITIONS, use_cache=False)
    hook.remove()
    return seen[0][0]


def test_each_sample_has_the_noise_of_the_paper(model):
    """Uniform in ±alpha / sqrt(L d): its bound, its spread and its mean, for each length."""
    torch.manual_seed(0)
    noise = Noise(ALPHA)
    noise.positions = POSITIONS
    model.train()
    bare = embedded(model)
    with added_noise(model, noise):
        added = torch.stack([embedded(model) for _ in range(40)]) - bare
    width = bare.shape[-1]
    for sample, length in zip(added.split(LENGTHS, dim=1), LENGTHS, strict=True):
        bound = ALPHA / math.sqrt(length * width)
        assert 0.99 * bound < sample.abs().max() <= 1.0001 * bound
        assert sample.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
        assert abs(sample.mean().item()) < 0.02 * bound
    assert (embedded(model) == bare).all(), "the noise outlives its block"


def test_evaluation_has_no_noise_and_a_failure_leaves_none(model):
    noise = Noise(ALPHA)
    noise.positions = POSITIONS
    bare = embedded(model.eval())
    with pytest.raises(RuntimeError), added_noise(model, noise):
        assert (embedded(model) == bare).all()
        assert (embedded(model.train()) != bare).any()
        raise RuntimeError
    assert (embedded(model.train()) == bare).all()


def test_lengths_of_samples():
    assert token_lengths(torch.tensor([[0, 1, 0, 0, 1, 2]])).tolist() == [[2, 2, 1, 3, 3, 3]]
    with added_noise(torch.nn.Linear(1, 1), None):  # which has no embedding at all
        pass


@pytest.mark.slow
def test_a_run_has_noise_and_its_evaluation_has_none(tiny, tmp_path):
    """A learning rate of zero: the weights stay, so that every difference is the noise."""
    data = write_dialogues(tmp_path / "data", 8, 3)
    still = {"learning_rate": 0.0, "max_steps": 2, "eval_strategy": "steps", "eval_steps": 1, "per_device_train_batch_size": 8}
    seen = {}
    for name, alpha in (("bare", {}), ("noisy", {"neftune_noise_alpha": 15})):
        out = tmp_path / name
        finished(tmp_path / "logs", *words(tiny["base"], data, out, **still, **alpha))
        history = json.loads((out / "training.json").read_text(encoding="utf-8"))["log_history"]
        seen[name] = [[entry[key] for entry in history if key in entry] for key in ("loss", "eval_loss")]
    assert seen["noisy"][0] != seen["bare"][0] and seen["noisy"][1] == seen["bare"][1]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("bare", "noisy")]
    assert weights[0] == weights[1]
