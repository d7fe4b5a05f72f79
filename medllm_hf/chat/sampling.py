"""How the next token is chosen: the model's own settings, and what a user changes of them."""

import copy
from dataclasses import asdict, dataclass

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

from medllm_hf.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """What to change of a model's own settings; None keeps the model's.

    Attributes:
        do_sample: False always takes the most probable token. Where it is None, a temperature of 0 means the same, and a
            temperature, top_p or top_k of any other value means True.
        temperature: Divides the logits before sampling.
        top_p, top_k: Sample among the most probable tokens that make up this probability, or that are this many; 0 for
            top_k means all.
        repetition_penalty: Above 1, tokens of the conversation so far become less probable.
        max_new_tokens: The most tokens of one answer.
    """

    do_sample: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    max_new_tokens: int | None = None

    def __post_init__(self):
        for name, right, expected in (
            ("temperature", lambda value: 0 <= value < float("inf"), "0 or more"),
            ("top_p", lambda value: 0 < value <= 1, "more than 0, at most 1"),
            ("top_k", lambda value: value >= 0, "0 or more"),
            ("repetition_penalty", lambda value: 0 < value < float("inf"), "more than 0"),
            ("max_new_tokens", lambda value: value >= 1, "1 or more"),
        ):
            value = getattr(self, name)
            if value is not None and not right(value):
                raise UserError(f"{name} {value}", expected, "change it")

    def sampled(self) -> bool | None:
        """Whether to sample; None where the model's own settings decide."""
        if self.do_sample is not None:
            return self.do_sample and self.temperature != 0
        if self.temperature == 0:
            return False
        return True if {self.temperature, self.top_p, self.top_k} != {None} else None


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

    return model.generate(ids, generation_config=config, custom_generate=handed_over)


def next_token(logits: torch.Tensor, sampled: bool, generator: torch.Generator) -> int:
    """The token chosen by processed `logits` `(1, vocab)`."""
    if not sampled:
        return int(logits.argmax(dim=-1))
    return int(torch.multinomial(logits.softmax(dim=-1), num_samples=1, generator=generator))
