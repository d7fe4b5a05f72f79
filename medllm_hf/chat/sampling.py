"""What a user changes of a model's own settings."""

from dataclasses import dataclass

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
        enable_thinking: Whether the model thinks before it answers, where its chat template reads this.
    """

    do_sample: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    max_new_tokens: int | None = None
    enable_thinking: bool | None = None

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
