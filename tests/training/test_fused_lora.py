"""LoRA as one step of autograd computes what PEFT's layer computes, and leaves to PEFT what it does not know."""

from copy import deepcopy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from medllm_hf.training.fused_lora import FusedLinear, LoraProduct, dropout_mask, fuse

SHAPES = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def adapted(dtype=torch.float32, dropout: float = 0.0, **options):
    """A random model with LoRA on all linear layers whose B is not zero, in training mode."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPES, attention_bias=True)).to(dtype)
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM", **options)
    model = get_peft_model(model, config).train()
    for name, weight in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(weight, std=0.2)
    return model


def step(model, autocast: bool) -> dict[str, torch.Tensor]:
    """The loss and the gradients of one batch."""
    ids = torch.randint(0, 50, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return {"loss": loss.detach(), **{name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_values_and_gradients_are_those_of_peft(checkpointing):
    stock = adapted()
    ours = deepcopy(stock)
    assert fuse(ours) == 14
    assert ours.state_dict().keys() == stock.state_dict().keys()
    if checkpointing:
        ours.enable_input_require_grads()
        ours.gradient_checkpointing_enable()
    else:
        assert "LoraProductBackward" in nodes(ours)
    wanted, seen = step(stock, False), step(ours, False)
    for name, value in wanted.items():
        assert (seen[name] - value).abs().max() <= 1e-5 * value.abs().max(), name


def test_in_bfloat16_it_is_as_near_to_float32_as_peft():
    exact, apart = step(adapted(torch.float32), False), []
    stock = adapted(torch.bfloat16)
    for fused in (False, True):
        model = deepcopy(stock)
        if fused:
            fuse(model)
            assert "LoraProductBackward" in nodes(model, autocast=True)
        seen = step(model, True)
        assert all(seen[name].dtype == torch.float32 for name in exact if name != "loss")
        apart.append(sum((seen[name] - value).square().sum() / value.square().sum() for name, value in exact.items()))
    assert apart[1] <= 1.2 * apart[0]


def nodes(model, autocast: bool = False) -> set[str]:
    """The names of the steps of autograd behind the loss."""
    ids = torch.tensor([[1, 2, 3]])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found, left = set(), [model(input_ids=ids, labels=ids).loss.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in found:
            found.add(node)
            left += [parent for parent, _ in node.next_functions]
    return {node.name() for node in found}


def test_dropout_is_that_of_its_mask():
    x = torch.randn(6, 8, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(5, 8, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    a, b = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 8), (5, 3)))

    def repeated(*tensors):
        torch.manual_seed(3)
        return LoraProduct.apply(tensors[0], weight, bias, *tensors[1:], 2.0, 0.4)

    torch.manual_seed(3)
    mask, kept = dropout_mask(x, 0.4)
    assert 0 < mask.sum() < mask.numel()
    wanted = x @ weight.t() + bias + 2.0 * (x * mask / kept) @ a.t() @ b.t()
    assert torch.allclose(repeated(x, a, b), wanted)
    assert torch.autograd.gradcheck(repeated, (x, a, b))


def test_the_mask_has_the_share_of_zeros_that_was_asked_for():
    torch.manual_seed(0)
    for rate in (0.05, 0.5):
        mask, kept = dropout_mask(torch.empty(1000, 1001), rate)
        assert abs(kept - (1 - rate)) < 1e-5
        # Five standard deviations of the share of zeros among a million draws.
        assert abs(mask.mean() - kept) < 5 * (rate * (1 - rate) / mask.numel()) ** 0.5
        neighbours = (mask[:, 1:] * mask[:, :-1]).mean() - mask.mean() ** 2
        assert abs(neighbours) < 5e-3 * rate


@pytest.mark.parametrize("case", ["dora", "merged", "disabled", "two adapters", "mixed precision", "bias"])
def test_what_it_does_not_know_is_left_to_peft(case):
    stock = adapted(
        torch.bfloat16 if case == "mixed precision" else torch.float32, use_dora=case == "dora", lora_bias=case == "bias"
    )
    if case == "two adapters":
        stock.add_adapter("second", LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
        stock.base_model.set_adapter(["default", "second"])
    if case == "merged":
        stock.merge_adapter()
    ours = deepcopy(stock)
    fuse(ours)
    assert any(isinstance(module, FusedLinear) for module in ours.modules())
    ids = torch.tensor([[1, 2, 3, 4]])
    if case == "disabled":
        with stock.disable_adapter(), ours.disable_adapter():
            assert torch.equal(stock(input_ids=ids).logits, ours(input_ids=ids).logits)
    else:
        assert torch.equal(stock(input_ids=ids).logits, ours(input_ids=ids).logits)
