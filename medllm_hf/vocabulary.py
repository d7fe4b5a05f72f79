"""Whether a model has a row of its embedding for every id that its tokenizer may give, told before the weights are loaded."""

from pathlib import Path
from typing import TYPE_CHECKING

from medllm_hf.control_tokens import control_tokens
from medllm_hf.errors import UserError
from medllm_hf.templates.rendering import encode_text, render

if TYPE_CHECKING:  # they take seconds to import
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

_ASKED, _ANSWERED = {"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}


def check_ids(tokenizer: "PreTrainedTokenizerBase", config: "PreTrainedConfig", name: str | Path) -> None:
    """Check that text and chat template can give no id beyond the vocabulary of the model `name`.

    Control tokens that the template does not write never get there: some published tokenizers have one for images too many,
    and many have a padding token that was added without a row.

    Raises:
        UserError: they can.
    """
    rows = getattr(config.get_text_config(), "vocab_size", None)
    beyond = {token: id for token, id in tokenizer.get_vocab().items() if rows is not None and id >= rows}
    if not beyond:
        return
    wanted = set(beyond) - set(control_tokens(tokenizer))
    written = set(_template_ids(tokenizer))
    if reached := sorted(wanted | {token for token, id in beyond.items() if id in written}, key=beyond.__getitem__):
        more = f" and {len(reached) - 1} more" if len(reached) > 1 else ""
        found = f"a tokenizer in {name} with the id {beyond[reached[0]]} for {reached[0]!r}{more}"
        do = "take the tokenizer that belongs to these weights, or resize the model (resize_token_embeddings) and save both"
        raise UserError(found, f"ids below the model's vocabulary of {rows}", do)


def _template_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """What the chat template, if any, writes around a conversation, or a question where it takes no more."""
    if not tokenizer.chat_template:
        return []
    for turns in ([_ASKED, _ANSWERED, _ASKED], [_ASKED]):
        try:
            return encode_text(tokenizer, render(tokenizer, turns, add_generation_prompt=True))
        except UserError:  # of a single question it is told elsewhere
            continue
    return []
