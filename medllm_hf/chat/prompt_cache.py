"""The token loop of one conversation: reads only what it has not read yet."""

from collections.abc import Iterator
from threading import Event
from typing import cast

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from medllm_hf.chat.sampling import next_token, process, processors
from medllm_hf.key_value_cache import cache_argument, check_cache, forward_arguments
from medllm_hf.placement import refuse_lack_of_memory

# Tokens read at once: so often a long prompt can be stopped, and so much memory its activations take at most.
CHUNK = 512
# Tokens for which a layer has room at first.
ROOM = 128
TOO_LARGE = "clear the conversation, or use a smaller model"


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer, with room for more: a token is written into it, where a `DynamicLayer` copies all."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All keys and values `(batch, heads, seq, dim)`, with the new ones at their end."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._room = [states[..., :0, :] for states in (key_states, value_states)]
        known = self.get_seq_length()
        length = known + key_states.shape[-2]
        if length > self._room[0].shape[-2]:
            self._room = [_grown(old, known, length * 5 // 4 + ROOM) for old in self._room]
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[..., known:length, :] = new
        keys, values = (room[..., :length, :] for room in self._room)
        self.keys, self.values = keys, values
        return keys, values

    def shorten(self, length: int) -> None:
        """Forgets all but the first `length` tokens; what `crop` of a `DynamicLayer` means depends on its version."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[..., :length, :], self.values[..., :length, :]


def _grown(states: torch.Tensor, known: int, length: int) -> torch.Tensor:
    """Room for `length` places that begins with the first `known` of `states`."""
    room = states.new_empty(*states.shape[:-2], length, states.shape[-1])
    room[..., :known, :] = states[..., :known, :]
    return room


class PromptCache:
    """Reads token ids with a model and keeps their keys and values, to read the next prompt from where it differs.

    What is kept was computed from the same ids at the same places, so the logits are those of reading everything anew up
    to the rounding of the arithmetic: the order of sums depends on how many tokens are read at once. In float32 that is
    about 1e-6 of a logit; a token changes only where two are as close as that.

    Attributes:
        ids: The tokens whose keys and values are kept.
        read: How many tokens the model has read so far, over all prompts.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.read = 0
        self._cache_name = cache_argument(model)
        short = "logits_to_keep" in forward_arguments(model)
        self._options = {"use_cache": True} | ({"logits_to_keep": 1} if short else {})
        self.forget()

    def forget(self) -> None:
        """Frees the keys and values."""
        self.ids: list[int] = []
        self._cache = DynamicCache(config=self.model.config)
        self._cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in self._cache.layers]

    def prefill(self, prompt: list[int], stopping: Event) -> torch.Tensor | None:
        """The float32 logits `(1, vocab)` after `prompt`, None if `stopping` was set before its end.

        Raises:
            UserError: the memory does not suffice; see also `check_cache`.
        """
        with refuse_lack_of_memory(TOO_LARGE):
            check_cache(self.model, prompt, _behind_cache)
        known = self._keep(prompt)
        # The state of a recurrent layer can take one token, or all of them from the beginning.
        size = CHUNK if self._cuttable() else len(prompt)
        logits = None
        for begin in range(known, len(prompt), size):
            if stopping.is_set():
                return None
            logits = self.decode(prompt[begin : begin + size])
        return logits

    def decode(self, ids: list[int]) -> torch.Tensor:
        """The float32 logits `(1, vocab)` after `ids`, which follow all that was read before."""
        try:
            with refuse_lack_of_memory(TOO_LARGE), torch.inference_mode():
                part = torch.tensor([ids], device=self.model.device)
                output = self.model(input_ids=part, **{self._cache_name: self._cache}, **self._options)
                logits = output.logits[:, -1].float()
        except BaseException:
            # Some layers have these tokens by now and some do not.
            self.forget()
            raise
        self.ids += ids
        self.read += len(ids)
        return logits

    def _keep(self, prompt: list[int]) -> int:
        """How many tokens of `prompt` need not be read; what is kept beyond them is cut off."""
        pairs = zip(self.ids, prompt[:-1], strict=False)
        known = next((i for i, (old, new) in enumerate(pairs) if old != new), min(len(self.ids), len(prompt) - 1))
        if not self._cuttable():
            self.forget()
            return 0
        for layer in self._cache.layers:
            cast(GrowingLayer, layer).shorten(known)
        del self.ids[known:]
        return known

    def _cuttable(self) -> bool:
        """Whether the cache keeps every token apart; sliding windows and recurrent states do not."""
        return all(type(layer) is GrowingLayer for layer in self._cache.layers)


def _behind_cache(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """The logits `(vocab,)` after `ids`, the last one read behind a cache of the others."""
    cache = PromptCache(model)
    cache.decode(ids[:-1])
    return cache.decode(ids[-1:])[0]


def generate_tokens(
    cache: PromptCache, prompt: list[int], config: GenerationConfig, generator: torch.Generator, stopping: Event
) -> Iterator[int]:
    """Yields the tokens that follow `prompt`, without end unless `stopping` is set."""
    logits = cache.prefill(prompt, stopping)
    ids = torch.tensor([prompt], device=cache.model.device)
    changes = processors(cache.model, ids, config)
    while logits is not None and not stopping.is_set():
        with torch.inference_mode():
            token = next_token(process(changes, ids, logits), config.do_sample, generator)
        yield token
        ids = torch.cat([ids, torch.tensor([[token]], device=ids.device)], dim=1)
        logits = cache.decode([token])
