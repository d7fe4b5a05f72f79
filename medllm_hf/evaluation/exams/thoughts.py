"""Where a text thinks: the marks of thoughts that a prompt opens, a reply leaves open, and a tokenizer would drop."""

import re
from typing import TYPE_CHECKING

from medllm_hf.metrics.mcq_accuracy.plain_text import THOUGHTS
from medllm_hf.templates.template_checks import reads_thinking

if TYPE_CHECKING:  # it takes seconds to import
    from transformers import PreTrainedTokenizerBase

OPEN = THOUGHTS[0][0]
_END_OF = {begin.lower(): end for begin, end in THOUGHTS}
_BEGINS, _ENDS = ("|".join(re.escape(pair[i]) for pair in THOUGHTS) for i in (0, 1))
_OPENED = re.compile(rf"(?:{_BEGINS})\s*\Z", re.I)
_MARK = re.compile(rf"({_BEGINS})|(?:{_ENDS})", re.I)
# gpt-oss begins a channel, and so its answer, with a new message.
_CHANNEL_END, _TURN = THOUGHTS[-1][1], "<|start|>assistant"
_NEXT_CHANNEL = f"<|end|>{_TURN}"
_TOKENS = {*_END_OF, *_END_OF.values(), "<|channel|>", "<|message|>", "<|start|>", "<|end|>"}


def is_mark(token: str) -> bool:
    """Whether a token marks a thought, or is a part of such a mark."""
    return token in _TOKENS or token.lower() in _TOKENS


def has_mark(text: str) -> bool:
    """Whether a thought begins or ends in a text."""
    return _MARK.search(text) is not None


def opened_thought(prompt: str) -> str:
    """The mark of a thought, and the blanks after it, that a prompt ends in; "" where it opens none."""
    found = _OPENED.search(prompt)
    return found[0] if found else ""


def end_of_thought(text: str) -> str:
    """What ends the thought that is still open at the end of `text`; "" where none is."""
    opened = [match[1] for match in _MARK.finditer(text)]
    if not opened or opened[-1] is None:
        return ""
    end = _END_OF[opened[-1].lower()]
    return f"{_NEXT_CHANNEL}{end}" if end == _CHANNEL_END else f"\n{end}"


def skipped_thought(prompt: str, template: str) -> str:
    """What leads from a prompt to an answer without a thought; "" where the template begins none before the answer.

    A thought that the template has opened ends empty, in the very form that those have that can be told not to think; where
    turns are written in channels, as gpt-oss's are, the last one begins.
    """
    if end := end_of_thought(opened_thought(prompt)):
        return end if end.endswith(_CHANNEL_END) else f"{end}\n\n"
    return _CHANNEL_END if prompt.endswith(_TURN) and _CHANNEL_END in template else ""


def default_thinking(tokenizer: "PreTrainedTokenizerBase", mode: str) -> bool | None:
    """What a chat template is told of thinking in a reading where nobody has said: None where it does not listen."""
    return mode == "reasoning" if reads_thinking(tokenizer) else None


def without_marks(text: str) -> str:
    """A text whose thoughts stand in it like the rest; a chat template would drop them."""
    return _MARK.sub("", text).strip()
