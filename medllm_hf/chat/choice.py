"""How the next token is chosen: by the model's own settings and the changes of a user."""

import copy
from dataclasses import asdict

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

from medllm_hf.chat.sampling import Sampling


def generation_config(model: PreTrainedModel, sampling: Sampling, limit: int) -> GenerationConfig:
    """The model's generation config with the changes of `sampling`, for one answer of at most `limit` tokens."""
    config = copy.deepcopy(model.generation_config)
    for name, value in asdict(sampling).items():
        if value is not None:
            setattr(config, name, value)
    sampled = sampling.sampled()
    config.do_sample = bool(config.do_sample) if sampled is None else sampled
    if not config.do_sample:
        config.temperature, config.top_p, config.top_k = 1.0, 1.0, 50
    config.max_new_tokens, config.max_length, config.num_beams = limit, None, 1
    # Only its processors are taken from `generate`, which would make a cache for nothing.
    config.use_cache, config.cache_implementation = False, None
    return config


def processors(model: PreTrainedModel, ids: torch.Tensor, config: GenerationConfig) -> LogitsProcessorList:
    """What `generate` would do to the logits after `ids` `(1, seq)`, in its order, so that every setting of it counts."""

    def handed_over(model, input_ids, logits_processor, **_):
        return logits_processor

    return model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config, custom_generate=handed_over)


def next_token(logits: torch.Tensor, sampled: bool, generator: torch.Generator) -> int:
    """The token chosen by processed `logits` `(1, vocab)`."""
    if not sampled:
        return int(logits.argmax(dim=-1))
    return int(torch.multinomial(logits.softmax(dim=-1), num_samples=1, generator=generator))
