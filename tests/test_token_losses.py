"""Losses of single tokens: values and gradients of PyTorch's own cross entropy, and a second pass backward that fails."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from medllm_hf.training import token_losses as module
from medllm_hf.training.token_losses import token_losses

# Largest differences: of a loss in nats, of a gradient relative to the largest. bfloat16 keeps 8 bits and is rounded twice.
CLOSE = {torch.float32: 1e-6, torch.float64: 1e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("tokens", [0, 1, 2, 7, 50])
def test_losses_and_gradients_are_those_of_pytorch(tokens, dtype, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3000)  # three rows, so that the last chunk is short
    generator = torch.Generator().manual_seed(tokens)
    values = (8 * torch.randn(tokens, 1000, generator=generator)).to(dtype)
    targets = torch.randint(0, 1000, (tokens,), generator=generator)
    weights = torch.rand(tokens, generator=generator)
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    losses, right = token_losses(ours, targets)
    expected = cross_entropy(theirs.float(), targets, reduction="none")
    assert losses.dtype == torch.float32 and torch.equal(losses, expected)
    assert right.item() == (values.argmax(-1) == targets).sum().item()
    (losses * weights).sum().backward()
    (expected * weights).sum().backward()
    assert ours.grad.dtype == dtype
    if tokens:
        apart = (ours.grad.double() - theirs.grad.double()).abs().max() / theirs.grad.double().abs().max()
        assert apart <= CLOSE[dtype]


def test_likeliest_targets_are_counted_and_infinite_logits_kept():
    logits = torch.tensor([[1.0, 2.0, float("-inf")], [5.0, 1.0, 0.0], [float("nan"), 0.0, 0.0]])
    losses, right = token_losses(logits, torch.tensor([1, 1, 1]))
    assert right == 1 and losses[0] == cross_entropy(logits[:1], torch.tensor([1])) and losses[2].isnan()
    assert token_losses(logits[:1], torch.tensor([2]))[0].isinf().all()


def test_a_second_pass_backward_fails():
    logits = torch.randn(3, 5, requires_grad=True)
    losses, _ = token_losses(logits, torch.tensor([0, 1, 2]))
    losses.sum().backward(retain_graph=True)
    with pytest.raises(AttributeError):
        losses.sum().backward()
