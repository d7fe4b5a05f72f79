"""Text that cannot turn into control tokens, for any tokenizer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing transformers takes seconds, and most callers have only text
    from transformers import PreTrainedTokenizerBase

# What the Baichuan family's tokenizers read as ids 0, 1, 2, 195 and 196 wherever it stands in a text.
CONTROL_TOKENS = ("<unk>", "<s>", "</s>", "<reserved_106>", "<reserved_107>")


def control_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    """The tokens that steer a model, by their spelling: those marked so, and whatever the tokenizer ends or pads with."""
    named = {token for token in tokenizer.special_tokens_map.values() if isinstance(token, str)}
    added = tokenizer.added_tokens_decoder
    return {token.content: id for id, token in added.items() if token.special or token.content in named}


def escape_control_tokens(text: str, tokens: Sequence[str] = CONTROL_TOKENS) -> str:
    """`text` in which none of `tokens` is spelt: the `<` that begins one becomes the full-width `＜`.

    So `</s>` is read, shown and learned as the four characters `＜/s>`, and everything else stays as it is, to the byte.
    A text that went through this once is not changed again. Chat, training and evaluation do this to every message, and the
    chat templates of this project do it once more for whoever else renders them; call it for text that goes to the tokenizer
    beside a template, as a scored answer does.
    """
    for token in sorted(tokens, key=len, reverse=True):
        # Full-width forms lie at a fixed distance from ASCII; a blank parts the few tokens that begin otherwise.
        first = chr(ord(token[0]) + 0xFEE0) if "!" <= token[0] <= "~" else token[0] + " "
        text = text.replace(token, first + token[1:])
    return text
