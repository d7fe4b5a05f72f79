"""How the next token is chosen: by the model's own settings and what a user changes of them."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypedDict, cast
from weakref import WeakKeyDictionary

from medllm_hf.errors import UserError, first_line
from medllm_hf.generation_settings import PENALTIES
from medllm_hf.pretrained import lacks_memory

if TYPE_CHECKING:  # with an endpoint nothing needs them, and they take seconds to import
    import torch
    from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel
    from transformers.generation.utils import GenerativePreTrainedModel

# Model → the texts at which its own settings end an answer.
_stop_strings: "WeakKeyDictionary[PreTrainedModel, tuple[str, ...]]" = WeakKeyDictionary()


class SamplingFields(TypedDict, total=False):
    """The fields of `SamplingParams`, as keywords."""

    do_sample: bool | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    repetition_penalty: float | None
    max_new_tokens: int | None
    enable_thinking: bool | None


@dataclass(frozen=True)
class SamplingParams:
    """What to change of a model's own settings; None keeps the model's.

    Attributes:
        do_sample: False always takes the most probable token. Where it is None, a temperature of 0 means the same, and a
            temperature, top_p or top_k of any other value means True.
        temperature: Divides the logits before sampling.
        top_p, top_k: Sample among the most probable tokens that make up this probability, or that are this many; 0 for
            top_k means all.
        repetition_penalty: Above 1, tokens of the conversation so far become less probable.
        max_new_tokens: The most tokens of one answer.
        enable_thinking: Whether the model thinks before it answers, where its chat template reads this.
    """

    do_sample: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    max_new_tokens: int | None = None
    enable_thinking: bool | None = None

    def __post_init__(self) -> None:
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


def stop_strings(model: "PreTrainedModel") -> tuple[str, ...]:
    """The texts at which the model's own settings end an answer. They are taken from `generate`, which cannot look for them."""
    if own := model.generation_config.stop_strings:
        _stop_strings[model] = (own,) if isinstance(own, str) else tuple(own)
        model.generation_config.stop_strings = None
    return _stop_strings.get(model, ())


def generation_config(model: "PreTrainedModel", sampling: SamplingParams, limit: int) -> "GenerationConfig":
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


def processors(model: "PreTrainedModel", ids: "torch.Tensor", config: "GenerationConfig") -> "LogitsProcessorList":
    """What `generate` would do to the logits after `ids` `(1, seq)`, in its order, so that every setting of it counts.

    Raises:
        UserError: a setting that `generate` does not take.
    """

    def handed_over(model: object, input_ids: object, logits_processor: "LogitsProcessorList", **_: object) -> object:
        return logits_processor

    writer = cast("GenerativePreTrainedModel", model)  # as every chat model is
    with refuse_failing_settings(model):
        # What `generate` returns is what `custom_generate` does.
        changes = writer.generate(
            ids, attention_mask=ids.new_ones(ids.shape), generation_config=config, custom_generate=handed_over
        )
        return cast("LogitsProcessorList", changes)


def process(changes: "LogitsProcessorList", ids: "torch.Tensor", logits: "torch.Tensor") -> "torch.Tensor":
    """The `logits` `(1, vocab)` after `ids` `(1, seq)` with all changes."""
    return changes(cast("torch.LongTensor", ids), cast("torch.FloatTensor", logits))


def check_choice(model: "PreTrainedModel", tokens: int) -> None:
    """Check that the model's own generation settings can choose among logits of so many `tokens`.

    Raises:
        UserError: transformers refuses one of them, or fails at it.
    """
    import torch

    ids = torch.zeros((1, 2), dtype=torch.long, device=model.device)
    changes = processors(model, ids, generation_config(model, SamplingParams(), 1))
    with refuse_failing_settings(model), torch.inference_mode():
        process(changes, ids, torch.zeros((1, tokens), device=model.device))


@contextmanager
def refuse_failing_settings(model: "PreTrainedModel") -> Iterator[None]:
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


def next_token(logits: "torch.Tensor", sampled: bool, generator: "torch.Generator") -> int:
    """The token chosen by processed `logits` `(1, vocab)`."""
    if not sampled:
        return int(logits.argmax(dim=-1))
    return int(logits.softmax(dim=-1).multinomial(1, generator=generator))
