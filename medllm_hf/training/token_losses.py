"""Cross entropy of single tokens, and its gradient, without a copy of all logits in float32."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

# Logits that are worked on at a time: 4 MB in float32, which stay in the processor's cache.
CHUNK = 1 << 20


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each token, in nats and float32 (tokens,), and how many targets have the largest logit.

    Args:
        logits: (tokens, vocabulary), of any floating type.
        targets: (tokens,) ids.
    """
    return TokenLosses.apply(logits, targets)


class TokenLosses(torch.autograd.Function):
    """The values of `cross_entropy(logits.float(), targets, reduction="none")`.

    The gradient is made on the way forward, in the type of the logits. With a vocabulary of 150,000 PyTorch's own way, which
    writes and reads all logits seven times, took a third of a step of training on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        losses = torch.empty(len(targets), device=logits.device)
        right = torch.zeros((), dtype=torch.int64, device=logits.device)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        for rows in chunks(logits):
            wanted, values = targets[rows, None], logits[rows].float()
            right += (values.argmax(-1, keepdim=True) == wanted).sum()
            logs = torch.log_softmax(values, -1)
            losses[rows] = -logs.gather(-1, wanted)[:, 0]
            if gradient is not None:
                gradient[rows] = logs.exp_().scatter_add_(-1, wanted, logs.new_full(wanted.shape, -1.0))
        ctx.gradient = gradient
        ctx.mark_non_differentiable(right)
        return losses, right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, None]:
        gradient, ctx.gradient = ctx.gradient, None  # it is written over, so that a second pass has to fail
        for rows in chunks(gradient):
            gradient[rows] = gradient[rows].float().mul_(outer[rows, None])
        return gradient, None


def chunks(logits: torch.Tensor) -> list[slice]:
    """The rows of (tokens, vocabulary) in pieces of about `CHUNK` elements."""
    step = max(1, CHUNK // logits.shape[-1])
    return [slice(start, start + step) for start in range(0, len(logits), step)]
