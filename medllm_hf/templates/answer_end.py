"""How a chat template ends an answer."""

from functools import lru_cache
from typing import TYPE_CHECKING

from medllm_hf.control_tokens import control_tokens
from medllm_hf.templates.rendering import encode_text, render, template_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Stand for an answer and for what is asked, to see what a template writes around them.
_ASKED, _ANSWERED = "asked-4711", "answered-4711"


def answer_end(tokenizer: "PreTrainedTokenizerBase", template: str | None = None) -> tuple[tuple[int, ...], str]:
    """The ids of the control tokens that a template writes right after an answer, and all the text there.

    What follows the last answer is compared with what follows one that is followed by a question: templates may end the
    whole in a token of its own. Where they part at once, what ends the last one counts.

    Raises:
        UserError: the template cannot write a question and its answer.
    """
    return _answer_end(tokenizer, template or template_text(tokenizer))


@lru_cache(maxsize=16)
def _answer_end(tokenizer: "PreTrainedTokenizerBase", template: str) -> tuple[tuple[int, ...], str]:
    answered = [{"role": "user", "content": _ASKED}, {"role": "assistant", "content": _ANSWERED}]
    last = render(tokenizer, answered, template=template, enable_thinking=False).rpartition(_ANSWERED)[2]
    whole = render(tokenizer, [*answered, answered[0]], template=template, enable_thinking=False)
    between = whole.rpartition(_ANSWERED)[2].rpartition(_ASKED)[0]
    controls = set(control_tokens(tokenizer).values())
    ends, goes_on = (_leading(encode_text(tokenizer, text.lstrip()), controls) for text in (last, between))
    shared = next((i for i, (a, b) in enumerate(zip(ends, goes_on, strict=False)) if a != b), min(len(ends), len(goes_on)))
    return tuple(ends[:shared] or ends[:1]), last


def _leading(ids: list[int], controls: set[int]) -> list[int]:
    """The control tokens with which `ids` begins."""
    return ids[: next((i for i, id in enumerate(ids) if id not in controls), len(ids))]
