"""Whether a tokenizer has a chat template that works, told before any work."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from medllm_hf.errors import UserError, first_line

if TYPE_CHECKING:  # it takes seconds to import
    from transformers import PreTrainedTokenizerBase

ADD_TEMPLATE = "add a chat_template.jinja to the folder"
_LONGEST = 300


def check_chat_template(tokenizer: "PreTrainedTokenizerBase", name: str | Path | None = None, do: str = ADD_TEMPLATE) -> None:
    """Check that the tokenizer can render a conversation. `name` is that of its checkpoint.

    A template is a program too: transformers runs it in a sandbox, whose refusal is told here before any work.

    Raises:
        UserError: it has no chat template, or one that fails at a single question.
    """
    where = name or tokenizer.name_or_path or "the tokenizer"
    if not tokenizer.chat_template:
        raise UserError(f"no chat template in {where}", "a chat model", do)
    failures: list[Exception] = []
    for content in ("?", [{"type": "text", "text": "?"}]):  # some of vision models take a list of parts alone
        messages: list[dict] = [{"role": "user", "content": content}]
        try:
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return
        except Exception as error:  # a template may raise anything
            failures.append(error)
    found = f"a chat template in {where} that fails ({type(failures[0]).__name__}: {first_line(failures[0])[:_LONGEST]})"
    raise UserError(found, "one that renders a question", "mend chat_template.jinja") from failures[0]


def check_thinking(tokenizer: "PreTrainedTokenizerBase", name: str | Path | None, enable_thinking: bool | None) -> None:
    """Check that the chat template reads `enable_thinking`, or nothing is said of it.

    Raises:
        UserError: the template does not, so that saying it would do nothing.
    """
    if enable_thinking is not None and not reads_thinking(tokenizer):
        found = f"enable_thinking and a chat template in {name or tokenizer.name_or_path} that does not read it"
        raise UserError(found, "a template that does", "leave it out")


def reads_thinking(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the chat template can be told to think or not, by `enable_thinking`."""
    template = tokenizer.chat_template
    texts = template.values() if isinstance(template, dict) else [template or ""]
    return any(re.search(r"\benable_thinking\b", text) for text in texts)
