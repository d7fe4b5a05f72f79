"""LoRA on a frozen linear layer as one step of autograd: the products of PEFT's layer without its copies in float32."""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import nn

# Dropout is drawn from so many equally likely numbers an element.
LEVELS = 1 << 16


def fuse(model: nn.Module) -> int:
    """How many LoRA layers of `model` now compute with `LoraProduct`; the others stay as PEFT made them.

    On a CPU PEFT's layer spends more time on casting and on drawing dropout than on the products: 20 ms of dropout beside
    8 ms for the product itself, for 800 tokens of width 4,864. Weights, names and what is saved do not change.
    """
    layers = [module for module in model.modules() if type(module) is Linear and type(module.base_layer) is nn.Linear]
    for layer in layers:
        layer.__class__ = FusedLinear
    return len(layers)


class FusedLinear(Linear):
    """PEFT's LoRA layer with the same parameters, whose usual case is one step of autograd."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """What PEFT's layer gives for `x` (..., in)."""
        if args or kwargs or not self._is_usual(x):
            return super().forward(x, *args, **kwargs)
        (name,) = self.active_adapters
        dropout, base = self.lora_dropout[name], self.base_layer
        rate = dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        return LoraProduct.apply(x, base.weight, base.bias, a.to(x.dtype), b.to(x.dtype), self.scaling[name], rate)

    def _is_usual(self, x: torch.Tensor) -> bool:
        """One plain adapter on a frozen layer, unmerged, not shared among ranks, and all products in one precision."""
        names = [name for name in self.active_adapters if name in self.lora_A]
        if self.disable_adapters or self.merged or len(names) != 1 or names[0] in self.lora_variant:
            return False
        pair, base = (self.lora_A[names[0]], self.lora_B[names[0]]), self.base_layer
        trained = any(weight.requires_grad for weight in (base.weight, base.bias) if weight is not None)
        if (
            len(self.active_adapters) > 1
            or trained
            or any(hasattr(part.weight, "ds_id") or part.bias is not None for part in pair)
        ):
            return False
        autocast = torch.is_autocast_enabled(x.device.type)
        used = torch.get_autocast_dtype(x.device.type) if autocast else pair[0].weight.dtype
        return x.device.type == "cpu" and x.dtype == base.weight.dtype == used


class LoraProduct(torch.autograd.Function):
    """x W^T + bias + scaling · dropout(x) A^T B^T for frozen W (out, in) and bias; x is (..., in), A (rank, in), B (out, rank).

    The dropped input is not kept but made again from its mask.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
        rate: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        mask, kept = dropout_mask(rows, rate) if rate else (None, 1.0)
        low = (rows if mask is None else rows * mask) @ a.t()
        out = rows @ weight.t() if bias is None else torch.addmm(bias, rows, weight.t())
        out.addmm_(low, b.t(), alpha=scaling / kept)
        ctx.save_for_backward(rows, weight, a, b, low, None if mask is None else mask.bool())
        ctx.scaling, ctx.shape = scaling / kept, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight, a, b, low, mask = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        mask = None if mask is None else mask.to(rows.dtype)
        grad_low = (grad @ b).mul_(ctx.scaling)
        grad_b = (grad.t() @ low).mul_(ctx.scaling)
        grad_a = grad_low.t() @ (rows if mask is None else rows * mask)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ weight
            if mask is None:
                grad_x.addmm_(grad_low, a)
            else:
                grad_x.addcmul_(grad_low @ a, mask)
            grad_x = grad_x.view(ctx.shape)
        return grad_x, None, None, grad_a, grad_b, None, None


def dropout_mask(like: torch.Tensor, rate: float) -> tuple[torch.Tensor, float]:
    """Ones and zeros in the shape and type of `like`, each zero with probability `rate`, and the exact share of ones.

    Four elements share one draw of 64 bits, which takes a third of the time of `bernoulli_`; the rate is rounded to 1/65,536.
    """
    zeros = round(rate * LEVELS)
    draws = torch.empty(-(-like.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    mask = draws.view(torch.int16)[: like.numel()].view(like.shape) >= zeros - LEVELS // 2
    return mask.to(like.dtype), 1 - zeros / LEVELS
