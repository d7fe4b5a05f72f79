"""Exact attention over flattened rows, each sample by itself, without the flash-attention package and a quadratic mask."""

from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.nn.functional import dropout as dropped
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "per_sample"
VARLEN = "varlen"
# What torch's variable-length kernel takes: https://docs.pytorch.org/docs/stable/nn.attention.varlen.html
VARLEN_TYPES = (torch.bfloat16, torch.float16)
VARLEN_HEAD = 256
# On a CPU and in bfloat16, matrix products beat the kernel, forward and backward, for samples of up to so many tokens.
PLAIN_TOKENS = 512


def register() -> None:
    """Makes `attn_implementation="per_sample"` and `"varlen"` known to transformers in this process.

    Source: https://huggingface.co/docs/transformers/attention_interface
    """
    for name, function in ((NAME, per_sample), (VARLEN, variable_length)):
        AttentionInterface.register(name, function)
        AttentionMaskInterface.register(name, mask)


def mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
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
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention in which no token sees another sample: (batch, seq, heads, head_dim), and no weights.

    A sample begins where `cu_seq_lens_q` (the collator's, one row) or, without it, `position_ids` says so; the time is the
    sum of the samples' own, whatever else stands in the row. It does not matter whether a cache is filled beside it.

    Args:
        query: (batch, heads, seq, head_dim); key and value: (batch, key-value heads, seq, head_dim).
        attention_mask: from `mask`; when there is one, this is sdpa.
        sliding_window: how many tokens, its own among them, a token sees; all before it without one.

    Raises:
        ValueError: attention sinks (`s_aux`), which only transformers' eager, flash and flex attention compute.
    """
    if s_aux is not None:
        raise ValueError("attention sinks: take --attn_implementation eager or flex_attention")
    if attention_mask is not None or query.shape[2] != key.shape[2]:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    gqa = query.shape[1] != key.shape[1]
    rows = []
    for row, sizes in enumerate(sample_sizes(query, position_ids, cu_seq_lens_q)):
        # A single row is not sliced, nor joined below: each would copy it, and once more on the way back.
        whole = (query, key, value) if len(query) == 1 else (tensor[row : row + 1] for tensor in (query, key, value))
        samples = [
            # The kernel's own layout is (1, seq, heads, head_dim), so this transposition costs nothing.
            causal(q, k, v, dropout, scaling, gqa, sliding_window, softcap).transpose(1, 2)
            for q, k, v in zip(*(tensor.split(sizes, dim=2) for tensor in whole), strict=True)
        ]
        rows.append(torch.cat(samples, dim=1) if len(samples) > 1 else samples[0])
    return torch.cat(rows) if len(rows) > 1 else rows[0], None


def causal(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float,
    scaling: float | None,
    gqa: bool,
    window: int | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """Attention of one sample to itself, (1, heads, seq, head_dim)."""
    length = query.shape[2]
    window = None if window is None or window >= length else window
    short = query.device.type == "cpu" and query.dtype == torch.bfloat16 and not dropout and length <= PLAIN_TOKENS
    if not softcap and not short:
        seen = None if window is None else visible(length, window, query.device)
        return scaled_dot_product_attention(
            query, key, value, attn_mask=seen, dropout_p=dropout, scale=scaling, is_causal=seen is None, enable_gqa=gqa
        )
    if gqa:
        key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for tensor in (key, value))
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(2, 3)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    hidden = query.new_full((length, length), float("-inf")).triu(1)
    if window is not None:
        hidden.masked_fill_(~visible(length, window, query.device), float("-inf"))
    return dropped((scores + hidden).softmax(-1), dropout) @ value


def visible(length: int, window: int, device: torch.device) -> torch.Tensor:
    """Which places (columns) each place (row) of a sample sees through a sliding window, (length, length)."""
    return torch.ones((length, length), dtype=torch.bool, device=device).tril_().triu_(1 - window)


def variable_length(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_ids: torch.Tensor | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What `per_sample` gives, by torch's own variable-length kernel; what that kernel cannot do goes to `per_sample`.

    Source: https://docs.pytorch.org/docs/stable/nn.attention.varlen.html
    """
    if torch.is_autocast_enabled(query.device.type):  # norms of queries and keys leave them in float32
        query, key, value = (tensor.to(torch.get_autocast_dtype(query.device.type)) for tensor in (query, key, value))
    batch, heads, length, width = query.shape
    whole = attention_mask is None and length == key.shape[2]
    plain = not dropout and not softcap and kwargs.get("s_aux") is None and query.is_cuda and query.dtype in VARLEN_TYPES
    if not (whole and plain and width == value.shape[-1] and width <= VARLEN_HEAD and width % 8 == 0):
        options = {"position_ids": position_ids, "cu_seq_lens_q": cu_seq_lens_q, "softcap": softcap, **kwargs}
        options |= {"dropout": dropout, "scaling": scaling, "sliding_window": sliding_window}
        return per_sample(module, query, key, value, attention_mask, **options)
    from torch.nn.attention.varlen import varlen_attn

    if cu_seq_lens_q is None or max_length_q is None or batch != 1:
        sizes = [size for row in sample_sizes(query, position_ids, cu_seq_lens_q) for size in row]
        cu_seq_lens_q = torch.tensor([0, *accumulate(sizes)], dtype=torch.int32, device=query.device)
        max_length_q = max(sizes)
    q, k, v = (tensor.transpose(1, 2).reshape(batch * length, -1, width) for tensor in (query, key, value))
    window = (-1 if sliding_window is None else sliding_window - 1, 0)
    ends, longest = cu_seq_lens_q, max_length_q
    fewer = heads != key.shape[1]
    out = varlen_attn(q, k, v, ends, ends, longest, longest, scale=scaling, window_size=window, enable_gqa=fewer)
    assert isinstance(out, torch.Tensor)  # a pair only with auxiliary results
    return out.view(batch, length, heads, width), None


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
