"""The keys and values that a model keeps: the argument that takes them, and a proof that the model uses them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from medllm_hf.errors import UserError

# What the argument is called from transformers 5.24 on, before, and in recurrent models.
ARGUMENTS = ("cache", "past_key_values", "cache_params")
# Tokens that are read for the comparison: the last one behind a cache of the others.
COMPARED = 16
# How far logits may differ by rounding, in median distances of a logit from the median logit: two trained models of 135 and
# 500 million weights had 3e-5 in float32, 0.2 in bfloat16, and 9 to 15 when the cache was ignored.
ROUNDING, LOW_PRECISION_ROUNDING = 1e-3, 1.0

# Model → the ways of using a cache that were compared.
_compared: WeakKeyDictionary[torch.nn.Module, set[Callable]] = WeakKeyDictionary()


def forward_arguments(model: torch.nn.Module) -> Mapping[str, inspect.Parameter]:
    """The arguments of a language model's forward; PEFT's wrapper hands them on to the one within."""
    wrapped = getattr(model, "get_base_model", None)
    network = wrapped() if callable(wrapped) else model
    return inspect.signature(type(network).forward).parameters


def cache_argument(model: PreTrainedModel) -> str:
    """The name of the argument of `model.forward` that takes a cache; any other name could be swallowed unseen.

    Raises:
        UserError: it has none.
    """
    accepted = forward_arguments(model)
    for name in ARGUMENTS:
        if name in accepted:
            return name
    raise _unused(model, f"no argument {' or '.join(ARGUMENTS)} of its forward")


def check_cache(
    network: PreTrainedModel,
    ids: Sequence[int],
    behind_cache: Callable[[PreTrainedModel, list[int]], torch.Tensor],
) -> None:
    """Check that a step behind a cache has the logits that reading everything anew has.

    Compared the first time that a process uses a cache with a model, once for each function `behind_cache`. Fewer than two
    ids compare nothing, and the next use does.

    Args:
        network: a causal language model in evaluation mode, wrapped or not.
        behind_cache: (network, ids) → the logits `(vocab,)` after the ids, the last one read behind a cache of the others.

    Raises:
        UserError: they differ by more than rounding: the installed transformers does not use the cache that it is given.
    """
    ids = list(ids[-COMPARED:])
    done = _compared.setdefault(network, set())
    if behind_cache in done or len(ids) < 2:
        return
    with torch.inference_mode():
        anew = network(input_ids=torch.tensor([ids], device=network.device), use_cache=False).logits[0, -1]
        step = behind_cache(network, ids).float()
    rounding, anew = ROUNDING if anew.dtype == torch.float32 else LOW_PRECISION_ROUNDING, anew.float()
    if not anew.isfinite().all():
        raise UserError("logits that are no numbers", "weights that are finite", "fetch or train the model again")
    allowed = rounding * (anew - anew.median()).abs().median().item()
    if not torch.allclose(step, anew, rtol=0, atol=allowed):
        raise _unused(network, f"logits that differ by {(step - anew).abs().max().item():.3g} with and without a cache")
    done.add(behind_cache)


def _unused(network: torch.nn.Module, found: str) -> UserError:
    expected = f"a {type(network).__name__} that uses the cache it is given"
    return UserError(found, expected, "install a transformers of the tested range; `pip install medllm_hf` takes one")
