"""Attention of many tails over one shared prefix, whose keys and values are kept once and never copied for a row."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import AttentionInterface, DynamicCache, PreTrainedModel

from medllm_hf.key_value_cache import cache_argument, check_cache

NAME = "shared_prefix"
# Architectures whose layers hand their keyword arguments on to the attention and ask nothing else of it.
MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
# These rotations depend on the longest position of the whole forward.
_ROPE_BY_LENGTH = ("dynamic", "longrope")
# Attention weights that exist at one time where no kernel returns the log-sum-exp: 256 MiB in float32.
_WEIGHTS_AT_ONCE = 2**26


@dataclass(frozen=True)
class Block:
    """`count` tails of equal shape, one behind the other in the row.

    A tail of `stem` tokens and `branches` is a small tree: each branch sees the stem and itself, not the other branches.
    """

    count: int
    stem: int
    branches: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """The tokens of one tail."""
        return self.stem + sum(self.branches)


@dataclass(frozen=True)
class Row:
    """What the attention has to know of a flattened row (1, tokens): its blocks in order, and the prefix of all its tails.

    `prefix` holds (keys, values) of each layer, (1, key-value heads, prefix, head_dim); it is empty without a prefix.
    """

    blocks: list[Block]
    prefix: list[tuple[torch.Tensor, torch.Tensor]]


def language_model(network: torch.nn.Module) -> PreTrainedModel:
    """The transformers model within `network`: itself, or what DeepSpeed, DDP or peft have wrapped."""
    return next(module for module in network.modules() if isinstance(module, PreTrainedModel))


def device_of(network: torch.nn.Module) -> torch.device:
    """Where a model takes its ids, as itself or what has wrapped it says."""
    return cast(torch.device, network.device)


def supports(network: torch.nn.Module) -> bool:
    """True if this attention is exact for the model: a known architecture, all layers see all tokens, fixed rotation."""
    config = language_model(network).config
    return (
        config.model_type in MODEL_TYPES
        and getattr(config, "sliding_window", None) is None
        and config.rope_parameters["rope_type"] not in _ROPE_BY_LENGTH
    )


@contextmanager
def attending(network: torch.nn.Module) -> Iterator[None]:
    """Gives the model this attention, and its own one back however the block ends."""
    model = language_model(network)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def keys_and_values(network: torch.nn.Module, prefix: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(keys, values) of each layer for the ids `prefix`, as `Row` wants them, from one forward.

    Raises:
        UserError: see `check_cache`.
    """
    check_cache(cast(PreTrainedModel, network), prefix, _behind_prefix)
    return _keys_and_values(network, prefix)


@torch.inference_mode()
def _keys_and_values(network: torch.nn.Module, prefix: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    cache = DynamicCache()
    options = {cache_argument(language_model(network)): cache, "use_cache": True, "logits_to_keep": 1}
    with attending(network):
        ids = torch.tensor([prefix], device=device_of(network))
        network(input_ids=ids, row=Row([Block(1, len(prefix))], []), **options)
    layers: list[Any] = cache.layers  # all of one kind, with keys and values, since `supports` was asked
    return [(layer.keys, layer.values) for layer in layers]


def _behind_prefix(network: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    """The logits `(vocab,)` after `ids`, the last one read behind the others as its prefix."""
    row = Row([Block(1, 1)], _keys_and_values(network, ids[:-1]))
    last, place = torch.tensor([[ids[-1]], [len(ids) - 1]], device=device_of(network)).split(1)
    with attending(network):
        return network(input_ids=last, position_ids=place, use_cache=False, row=row).logits[0, -1]


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    row: Row,
    scaling: float,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What each token sees of the prefix and of its own tail: (1, tokens, heads, head_dim), and no weights.

    Both parts are computed apart and merged by their log-sum-exp, which is the softmax over both together.

    Args:
        query: (1, heads, tokens, head_dim); key and value: (1, key-value heads, tokens, head_dim).
        row: handed through the model as the keyword argument `row` of its forward.
    """
    kernel = _flash if query.device.type == "cpu" else _matmul
    outputs, sums, start = [], [], 0
    for block in row.blocks:
        end = start + block.count * block.length
        tails = [tensor[0, :, start:end].unflatten(1, (block.count, -1)).transpose(0, 1) for tensor in (query, key, value)]
        output, total = kernel(tails[0], tails[1], tails[2], scaling, _mask(block, query.device), causal=not block.branches)
        outputs.append(output.transpose(1, 2).flatten(0, 1))
        sums.append(total.transpose(1, 2).flatten(0, 1))
        start = end
    own, own_sum = torch.cat(outputs), torch.cat(sums)
    if row.prefix:
        output, total = kernel(query, *row.prefix[cast(int, module.layer_idx)], scaling, None, causal=False)
        share = torch.sigmoid(total[0].T - own_sum).unsqueeze(-1)
        own = torch.lerp(own.float(), output[0].transpose(0, 1).float(), share).to(query.dtype)
    return own.unsqueeze(0), None


# There is no entry for masks under this name: transformers then makes none, and the blocks say who sees whom.
AttentionInterface.register(NAME, attention)


def _mask(block: Block, device: torch.device) -> torch.Tensor | None:
    """(length, length), True where a token of a tree is seen; None for a plain causal tail."""
    if not block.branches:
        return None
    sizes = torch.tensor([block.stem, *block.branches], device=device)
    part = torch.arange(len(sizes), device=device).repeat_interleave(sizes)
    return ((part == 0) | (part[:, None] == part)).tril()


def _flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, mask: torch.Tensor | None, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output (rows, heads, tokens, head_dim) and the log-sum-exp (rows, heads, tokens) in float32, on a CPU."""
    if mask is not None:
        mask = torch.zeros(mask.shape, dtype=query.dtype).masked_fill(~mask, -torch.inf)
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, causal, attn_mask=mask, scale=scaling
    )


def _matmul(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, mask: torch.Tensor | None, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same as `_flash` on any device, by products of matrices in float32, some queries at a time."""
    rows, heads, tokens, _ = query.shape
    groups = heads // key.shape[1]
    if causal:
        mask = torch.ones((tokens, tokens), dtype=torch.bool, device=query.device).tril()
    grouped = query.unflatten(1, (-1, groups)).float()
    key, value = key.unsqueeze(2).float().transpose(-1, -2), value.unsqueeze(2).float()
    step = max(1, _WEIGHTS_AT_ONCE // (rows * heads * key.shape[-1]))
    outputs, sums = [], []
    for start in range(0, tokens, step):
        weights = grouped[..., start : start + step, :] @ key * scaling
        if mask is not None:
            weights = weights.masked_fill(~mask[start : start + step], -torch.inf)
        sums.append(weights.logsumexp(-1))
        outputs.append(weights.softmax(-1) @ value)
    return torch.cat(outputs, dim=-2).flatten(1, 2).to(query.dtype), torch.cat(sums, dim=-1).flatten(1, 2)
