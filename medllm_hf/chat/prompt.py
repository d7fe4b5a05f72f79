"""A conversation as the token ids that a model reads: text stays text, and what does not fit is cut at turn boundaries."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict, Unpack

from medllm_hf.errors import UserError, kind_of
from medllm_hf.templates.rendering import encode_text, render

if TYPE_CHECKING:  # with an endpoint nothing needs transformers, which takes seconds to import
    from transformers import PreTrainedTokenizerBase

ROLES = ("system", "user", "assistant")


class TemplateVariables(TypedDict, total=False):
    """What a chat template may be told beside the messages; what is left out it is not told."""

    enable_thinking: bool


def check_messages(messages: object) -> list[dict]:
    """`messages` as a list of {"role", "content"}.

    Raises:
        UserError: it is no such list.
    """
    expected, do = 'a list of {"role": system|user|assistant, "content": text}', "change the messages"
    if not isinstance(messages, list):
        raise UserError(f"messages that are {kind_of(messages)}", expected, do)
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or message.get("role") not in ROLES or not isinstance(message.get("content"), str):
            raise UserError(f"message {number} that is no turn", expected, do)
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def encode_prompt(
    tokenizer: "PreTrainedTokenizerBase",
    messages: Sequence[dict],
    add_generation_prompt: bool = False,
    template: str | None = None,
    **variables: Unpack[TemplateVariables],
) -> list[int]:
    """The token ids that the tokenizer's template, or another, makes of `messages`. `variables` are those of the template.

    Raises:
        UserError: the template refuses them.
    """
    text = render(tokenizer, messages, add_generation_prompt=add_generation_prompt, template=template, **variables)
    return encode_text(tokenizer, text)


def truncate_to_context(
    tokenizer: "PreTrainedTokenizerBase",
    messages: Sequence[dict],
    context: int | None,
    reserve: int,
    **variables: Unpack[TemplateVariables],
) -> tuple[list[int], int]:
    """The prompt's token ids, and how many of the oldest messages were left out so that `reserve` tokens are free.

    `variables` are those of the template.

    Whole turns go, a question with its answer, the oldest first. A system message and the last question stay, and when
    they leave fewer than `reserve` tokens of the `context` free, the answer has to do with those.

    Raises:
        UserError: the last question does not fit; the template refuses the messages.
    """
    first = 1 if messages and messages[0]["role"] == "system" else 0
    questions = [i for i, message in enumerate(messages) if message["role"] == "user" and i > first]

    def ids(start: int) -> list[int]:
        return encode_prompt(tokenizer, [*messages[:first], *messages[start:]], add_generation_prompt=True, **variables)

    prompt, start = ids(first), first
    if context is None or len(prompt) + reserve <= context:
        return prompt, 0
    if questions:
        # Fewer messages are never more tokens, so the place is found by halving.
        place = bisect_left(questions, True, key=lambda start: len(ids(start)) + reserve <= context)
        start = questions[min(place, len(questions) - 1)]
        prompt = ids(start)
    if len(prompt) >= context:
        raise UserError(f"a message of {len(prompt)} tokens", f"fewer than the model's {context}", "shorten it")
    return prompt, start - first
