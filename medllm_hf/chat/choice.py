"""How the next token is chosen: by the model's own settings and the changes of a user."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from weakref import WeakKeyDictionary

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

from medllm_hf.chat.sampling import Sampling
from medllm_hf.errors import UserError, first_line
from medllm_hf.generation_settings import PENALTIES
from medllm_hf.pretrained import lacks_memory

# Model → the texts at which its own settings end an answer.
_stop_strings: WeakKeyDictionary[PreTrainedModel, tuple[str, ...]] = WeakKeyDictionary()


def stop_strings(model: PreTrainedModel) -> tuple[str, ...]:
    """The texts at which the model's own settings end an answer. They are taken from `generate`, which cannot look for them."""
    if own := model.generation_config.stop_strings:
        _stop_strings[model] = (own,) if isinstance(own, str) else tuple(own)
        model.generation_config.stop_strings = None
    return _stop_strings.get(model, ())


def generation_config(model: PreTrainedModel, sampling: Sampling, limit: int) -> GenerationConfig:
    """The model's generation config with the changes of `sampling`, for one answer of at most `limit` tokens."""
    config = copy.deepcopy(model.generation_config)
    for name, value in asdict(sampling).items():
        if value is not None:
            setattr(config, name, value)
    sampled = sampling.sampled()
    config.do_sample = bool(config.do_sample) if sampled is None else sampled
    if config.temperature == 0:  # where the model's own settings say so
        config.do_sample = False
    for name in PENALTIES:  # which transformers takes as floats alone
        if isinstance(value := getattr(config, name, None), int):
            setattr(config, name, float(value))
    if not config.do_sample:
        config.temperature, config.top_p, config.top_k = 1.0, 1.0, 50
    config.max_new_tokens, config.max_length, config.num_beams = limit, None, 1
    # Only its processors are taken from `generate`, which would make a cache for nothing.
    config.use_cache, config.cache_implementation = False, None
    return config


def processors(model: PreTrainedModel, ids: torch.Tensor, config: GenerationConfig) -> LogitsProcessorList:
    """What `generate` would do to the logits after `ids` `(1, seq)`, in its order, so that every setting of it counts.

    Raises:
        UserError: a setting that `generate` does not take.
    """

    def handed_over(model, input_ids, logits_processor, **_):
        return logits_processor

    with settings_told(model):
        return model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config, custom_generate=handed_over)


def check_choice(model: PreTrainedModel, tokens: int) -> None:
    """Returns nothing when the model's own generation settings can choose among logits of so many `tokens`.

    Raises:
        UserError: transformers refuses one of them, or fails at it.
    """
    ids = torch.zeros((1, 2), dtype=torch.long, device=model.device)
    changes = processors(model, ids, generation_config(model, Sampling(), 1))
    with settings_told(model), torch.inference_mode():
        changes(ids, torch.zeros((1, tokens), device=model.device))


@contextmanager
def settings_told(model: PreTrainedModel) -> Iterator[None]:
    """Makes whatever transformers makes of generation settings, which may hold anything, a mistake that the user is told.

    Raises:
        UserError: the block failed.
    """
    try:
        yield
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError) as error:
        if lacks_memory(error):
            raise
        found = f"generation settings of {model.name_or_path} that fail ({first_line(error)})"
        raise UserError(found, "those that transformers takes", "correct generation_config.json") from error


def next_token(logits: torch.Tensor, sampled: bool, generator: torch.Generator) -> int:
    """The token chosen by processed `logits` `(1, vocab)`."""
    if not sampled:
        return int(logits.argmax(dim=-1))
    return int(torch.multinomial(logits.softmax(dim=-1), num_samples=1, generator=generator))
