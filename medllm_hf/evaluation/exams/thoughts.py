"""Where a text thinks: the marks of thoughts that a prompt opens, a reply leaves open, and a tokenizer would drop."""

import re

from medllm_hf.metrics.mcq_accuracy.plain_text import THOUGHTS

OPEN = THOUGHTS[0][0]
_END_OF = {begin.lower(): end for begin, end in THOUGHTS}
_BEGINS, _ENDS = ("|".join(re.escape(pair[i]) for pair in THOUGHTS) for i in (0, 1))
_OPENED = re.compile(rf"(?:{_BEGINS})\s*\Z", re.I)
_MARK = re.compile(rf"({_BEGINS})|(?:{_ENDS})", re.I)
# gpt-oss begins a channel, and so its answer, with a new message.
_CHANNEL_END, _NEXT_CHANNEL = THOUGHTS[-1][1], "<|end|><|start|>assistant"
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


def without_marks(text: str) -> str:
    """A text whose thoughts stand in it like the rest; a chat template would drop them."""
    return _MARK.sub("", text).strip()
