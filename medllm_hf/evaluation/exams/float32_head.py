"""Logits in float32 of a model in lower precision: in bfloat16 the best two of four answers are often exactly equal."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch.nn.functional import linear

from medllm_hf.evaluation.exams.shared_prefix import language_model

# Rows of the head that are in float32 at a time: 112 MiB for the 3,584 columns of a 7B model.
ROWS = 8192


@contextmanager
def float32_head(network: torch.nn.Module) -> Iterator[None]:
    """Has the model's head multiply in float32, and gives it its own forward back however the block ends.

    The products of bfloat16 numbers are exact in float32, so that what is left of the low precision is the hidden state's. A
    head that is no plain matrix (quantised, an adapter), or whose weights are fetched when it is called, stays as it is.
    """
    head = language_model(network).get_output_embeddings()
    if type(head) is not torch.nn.Linear or "forward" in vars(head):
        yield
        return
    head.forward = partial(_in_float32, head)  # type: ignore[method-assign]  # so that its hooks stay
    try:
        yield
    finally:
        del head.forward


def _in_float32(head: torch.nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
    """`head(hidden)`, (..., vocabulary) in float32."""
    with torch.autocast(hidden.device.type, enabled=False):
        hidden, weight = hidden.float(), head.weight
        if weight.dtype == torch.float32:
            return linear(hidden, weight, head.bias)
        logits = hidden.new_empty(*hidden.shape[:-1], len(weight))
        for start in range(0, len(weight), ROWS):
            logits[..., start : start + ROWS] = linear(hidden, weight[start : start + ROWS].float())
        return logits if head.bias is None else logits.add_(head.bias.float())
