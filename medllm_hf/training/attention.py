"""Exact attention over flattened rows, each sample by itself, without flash-attention and without a quadratic mask."""

from itertools import pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "per_sample"
# On a CPU and in bfloat16, matrix products beat the kernel, forward and backward, for samples of up to so many tokens.
PLAIN_TOKENS = 512


def register() -> None:
    """Makes `attn_implementation="per_sample"` known to transformers in this process.

    Source: https://huggingface.co/docs/transformers/attention_interface
    """
    AttentionInterface.register(NAME, per_sample)
    AttentionMaskInterface.register(NAME, mask)


def mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    attention_mask: torch.Tensor | None = None,
    **kwargs,
) -> torch.Tensor | None:
    """None for whole rows without padding, which `per_sample` takes apart itself; the mask of sdpa for everything else.

    Padded batches and decoding behind a cache are "everything else": there a row is one sample. What the caller says of
    packing in `kwargs` is dropped for whole rows, and with it the (q_length, kv_length) mask.
    """
    if attention_mask is None and q_length == kv_length:
        return None
    return sdpa_mask(batch_size, q_length, kv_length, q_offset, kv_offset, attention_mask=attention_mask, **kwargs)


def per_sample(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_ids: torch.Tensor | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Causal attention in which no token sees another sample: (batch, seq, heads, head_dim), and no weights.

    A sample begins where `cu_seq_lens_q` (the collator's, one row) or, without it, `position_ids` says so; the time is the
    sum of the samples' own, whatever else stands in the row. It does not matter whether a cache is filled beside it.

    Args:
        query: (batch, heads, seq, head_dim); key and value: (batch, key-value heads, seq, head_dim).
        attention_mask: from `mask`; when there is one, this is sdpa.
    """
    if attention_mask is not None or query.shape[2] != key.shape[2]:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    gqa = query.shape[1] != key.shape[1]
    rows = []
    for row, sizes in enumerate(sample_sizes(query, position_ids, cu_seq_lens_q)):
        # A single row is not sliced, nor joined below: each would copy it, and once more on the way back.
        whole = (query, key, value) if len(query) == 1 else (tensor[row : row + 1] for tensor in (query, key, value))
        samples = [
            # The kernel's own layout is (1, seq, heads, head_dim), so this transposition costs nothing.
            causal(q, k, v, dropout, scaling, gqa).transpose(1, 2)
            for q, k, v in zip(*(tensor.split(sizes, dim=2) for tensor in whole), strict=True)
        ]
        rows.append(torch.cat(samples, dim=1) if len(samples) > 1 else samples[0])
    return torch.cat(rows) if len(rows) > 1 else rows[0], None


def causal(query, key, value, dropout: float, scaling: float | None, gqa: bool) -> torch.Tensor:
    """Attention of one sample to itself, (1, heads, seq, head_dim)."""
    length = query.shape[2]
    if query.device.type != "cpu" or query.dtype != torch.bfloat16 or dropout or length > PLAIN_TOKENS:
        options = {"dropout_p": dropout, "scale": scaling, "is_causal": True, "enable_gqa": gqa}
        return scaled_dot_product_attention(query, key, value, **options)
    if gqa:
        key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for tensor in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    future = query.new_full((length, length), float("-inf")).triu(1)
    return ((query * scale) @ key.transpose(2, 3) + future).softmax(-1) @ value


def sample_sizes(query: torch.Tensor, position_ids: torch.Tensor | None, cu_seq_lens: torch.Tensor | None) -> list[list[int]]:
    """The lengths of the samples in each row of `query` (batch, heads, seq, head_dim).

    A sample starts where the positions do not go on by one.

    Raises:
        ValueError: boundaries that do not cover the row.
    """
    batch, _, length, _ = query.shape
    if cu_seq_lens is not None:
        sizes = cu_seq_lens.diff().tolist()
        if batch != 1 or sum(sizes) != length:
            raise ValueError(f"boundaries of {sum(sizes)} tokens for {batch} rows of {length}")
        return [sizes]
    if position_ids is None:
        return [[length]] * batch
    starts = torch.ones((len(position_ids), length), dtype=torch.bool)
    starts[:, 1:] = (position_ids.diff() != 1).cpu()
    edges = [[*row.nonzero().flatten().tolist(), length] for row in starts.expand(batch, -1)]
    return [[end - start for start, end in pairwise(row)] for row in edges]
