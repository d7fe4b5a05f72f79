"""Messages as the text that a model reads, by the tokenizer's chat template: text stays text, and no message is lost."""

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateError

from medllm_hf.control_tokens import control_tokens, escape_control_tokens
from medllm_hf.errors import UserError, first_line, kind_of
from medllm_hf.templates.template_checks import check_chat_template

if TYPE_CHECKING:  # with an endpoint nothing needs transformers, which takes seconds to import
    from transformers import PreTrainedTokenizerBase

# Stands for a text of which no template knows anything.
_PROBE, _THOUGHT_PROBE, _ANSWER_PROBE = "probe-4711", "thought-4711", "answer-4711"
# The names under which datasets and servers keep what an assistant thought.
_REASONING = ("reasoning_content", "reasoning", "thinking")
# What an assistant may write around its reasoning, also where a tokenizer counts these among its control tokens.
_THOUGHT = ("<think>", "</think>")
# Where reasoning ends that begins in the prompt: on a line of its own.
_THOUGHT_END = re.compile(r"\n?</think>\n")
# What a template raises: its own words, or Python's where it was handed what it does not expect.
_REFUSALS = (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError)


def template_text(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The Jinja text of the tokenizer's chat template; of several named ones the default.

    Raises:
        UserError: there is none.
    """
    template = tokenizer.chat_template
    if isinstance(template, str) and template:
        return template
    check_chat_template(tokenizer)
    if "default" not in template:
        found = f"chat templates {', '.join(template)} in {tokenizer.name_or_path}"
        raise UserError(found, "one of the name default", "save the one to use as chat_template.jinja")
    return template["default"]


def render(
    tokenizer: "PreTrainedTokenizerBase",
    messages: Sequence[dict],
    *,
    add_generation_prompt: bool = False,
    tools: list[dict] | None = None,
    template: str | None = None,
    controls: Sequence[str] | None = None,
    **variables: Any,
) -> str:
    """The text that the template makes of `messages`, in which no message spells a control token.

    Content may be text or a list of text parts, arguments of a tool call an object or its JSON; the template gets the form
    that it takes.

    Args:
        template: in the place of the tokenizer's own.
        controls: the tokenizer's control tokens, for callers that have collected them already.
        variables: of the template, such as `enable_thinking`.

    Raises:
        UserError: there is no template, or it refuses the messages; a part of a message that is no text.
    """
    template = template or template_text(tokenizer)
    controls = tuple(control_tokens(tokenizer)) if controls is None else controls
    form = content_form(tokenizer, template)
    plain = [_plain(message, controls, form) for message in messages]
    options = {"add_generation_prompt": add_generation_prompt, "tools": _escaped(tools, controls), **variables}
    try:
        return _apply(tokenizer, template, plain, options)
    except _REFUSALS as error:
        if any(message.get("tool_calls") for message in plain):
            # Some templates write arguments as JSON themselves, others are handed it.
            try:
                return _apply(tokenizer, template, [_with_json_arguments(message) for message in plain], options)
            except _REFUSALS:
                pass
        found = f"messages that the model's chat template refuses ({first_line(error)})"
        raise UserError(found, "turns in the order that it takes", "change the messages") from error


def check_conversation(tokenizer: "PreTrainedTokenizerBase", name: str | Path | None = None) -> None:
    """Check that the tokenizer's chat template writes an answer and a second question. `name` is its checkpoint's.

    Raises:
        UserError: it refuses them, or leaves the answer out; see also `check_chat_template`.
    """
    name = name or tokenizer.name_or_path
    check_chat_template(tokenizer, name)
    asked, answered = {"role": "user", "content": _PROBE}, {"role": "assistant", "content": _ANSWER_PROBE}
    try:
        written = render(tokenizer, [asked, answered, asked], add_generation_prompt=True)
    except UserError as error:
        reason = first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
        found = f"a chat template in {name} that refuses a second question ({reason})"
        raise UserError(found, "one for conversations", "mend chat_template.jinja") from error
    if _ANSWER_PROBE not in written:
        found = f"a chat template in {name} that leaves answers out"
        raise UserError(found, "one for conversations", "mend chat_template.jinja")


def encode_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """The token ids of rendered text, to which the tokenizer adds nothing."""
    # Not verbose: what is too long is cut or refused by the caller, so that no warning of it is in place.
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def lost_part(messages: Sequence[dict], text: str, controls: Sequence[str], write: Callable[[list[dict]], str]) -> str | None:
    """What of the messages does not stand in `text`, which `write` made of them; None where all of it does.

    Templates pass over what they do not know, such as a tool's reply or a system message that is not the first, in silence.
    Reasoning is asked for in the last message alone: that of earlier ones is left out by design.
    """

    def changed(i: int, **fields: object) -> str | None:
        """What would be written of the messages if one were another."""
        try:
            return write([*messages[:i], {**messages[i], **fields}, *messages[i + 1 :]])
        except UserError:
            return None

    for i, message in enumerate(messages):
        name = f"message {i + 1} ({message['role']})"
        thought, said = plain_texts(message, controls)
        if not _stands_in(text, said):
            return name
        if i == len(messages) - 1 and not _stands_in(text, thought):
            return f"the reasoning of {name}"
        # The same words may stand elsewhere, as what a tool said does in the answer: a word that is nowhere else tells.
        if (
            message["role"] not in ("user", "assistant")
            and said.strip()
            and _PROBE not in (changed(i, content=_PROBE) or _PROBE)
        ):
            return name
        if message.get("tool_calls") and changed(i, tool_calls=None) == text:
            return f"the tool call of {name}"
    return None


def _stands_in(text: str, said: str) -> bool:
    """Whether a template wrote what was said, trimmed, as it is or as JSON."""
    said = said.strip()
    return any(form in text for form in (said, json.dumps(said, ensure_ascii=False)[1:-1], json.dumps(said)[1:-1]))


def plain_texts(message: dict, controls: Sequence[str]) -> tuple[str, str]:
    """The reasoning and the text of a message, in which no control token is spelt.

    An assistant's own marks of reasoning are taken off it; where else they stand they are text.
    """
    if message.get("role") != "assistant":
        return "", escape_control_tokens(content_text(message), controls)
    controls = (*controls, *_THOUGHT)
    thought, answer = split_thought(message)
    return escape_control_tokens(thought, controls), escape_control_tokens(answer, controls)


def content_text(message: dict) -> str:
    """The text of a message, whose content is text, a list of text parts, or nothing beside a tool call.

    Raises:
        UserError: a part that is no text.
    """
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise UserError(f"content that is {kind_of(content)}", "text or a list of text parts", "change the messages")
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise UserError(f"a part of type {kind} in a message", "parts of type text", "leave it out: only text is read")
    return "".join(part["text"] for part in content)


def split_thought(message: dict) -> tuple[str, str]:
    """The reasoning of an assistant's message, empty where there is none, and its answer.

    Reasoning stands in a field of its own, or at the beginning of the content before `</think>`, which stands on a line of its
    own where the prompt has opened the reasoning already.

    Raises:
        UserError: reasoning that is no text.
    """
    text = content_text(message)
    for name in _REASONING:
        thought = message.get(name)
        if isinstance(thought, str) and thought.strip():
            return thought.strip("\n"), text
        if thought and not isinstance(thought, str):
            raise UserError(f"{name} that is {kind_of(thought)}", "text", "change the messages")
    begun = text.lstrip().startswith("<think>")
    end = text.find("</think>") if begun else -1
    if not begun and "<think>" not in text and (found := _THOUGHT_END.search(text)):
        end = found.start() + found[0].index("<")
    if end < 0:
        return "", text
    thought = text[:end].lstrip().removeprefix("<think>") if begun else text[:end]
    return thought.strip("\n"), text[end + len("</think>") :].lstrip("\n")


@dataclass(frozen=True)
class Form:
    """What a template takes.

    Attributes:
        parts: Content as a list of parts only, as those of some vision models do.
        reasoning: Reasoning in its field.
        tags: Reasoning between tags, which the template knows.
    """

    parts: bool
    reasoning: bool
    tags: bool


@lru_cache(maxsize=16)
def content_form(tokenizer: "PreTrainedTokenizerBase", template: str) -> Form:
    """The form in which `template` writes all of a message."""

    def written(user: object, **answer: object) -> str:
        messages = [{"role": "user", "content": user}, {"role": "assistant", "content": user, **answer}]
        try:
            return _apply(tokenizer, template, messages, {"enable_thinking": True})
        except _REFUSALS:
            return ""

    parts = [{"type": "text", "text": _PROBE}]
    only_parts = _PROBE not in written(_PROBE) and _PROBE in written(parts)
    reasoning = _THOUGHT_PROBE in written(parts if only_parts else _PROBE, reasoning_content=_THOUGHT_PROBE)
    return Form(only_parts, reasoning, "<think>" in template)


def _apply(tokenizer: "PreTrainedTokenizerBase", template: str, messages: list[dict], options: dict) -> str:
    return str(tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **options))


def _plain(message: dict, controls: Sequence[str], form: Form) -> dict:
    """A message without empty fields, without control tokens in its texts, and in the form that the template takes."""
    own = {name: value for name, value in message.items() if value is not None and value != [] and name != "content"}
    thought, text = plain_texts(message, controls)
    if message.get("role") == "assistant":
        own = {name: value for name, value in own.items() if name not in _REASONING}
        if thought and form.reasoning:
            own["reasoning_content"] = thought
        elif thought and (form.tags or any(map(message.get, _REASONING))):
            # As such models write it themselves.
            text = f"<think>\n{thought}\n</think>\n\n{text}"
        elif thought:
            marks = [token for token in controls if token not in _THOUGHT]
            text = escape_control_tokens(content_text(message), marks)
    calls = [_call(call) for call in own.pop("tool_calls", ())]
    plain = {name: value if name == "reasoning_content" else _escaped(value, controls) for name, value in own.items()}
    plain |= {"tool_calls": _escaped(calls, controls)} if calls else {}
    if calls and message.get("content") is None:
        return plain | {"content": None}
    return plain | {"content": [{"type": "text", "text": text}] if form.parts else text}


def _escaped(value: Any, controls: Sequence[str]) -> Any:
    """`value` with every text inside it escaped, names of fields among them."""
    if isinstance(value, str):
        return escape_control_tokens(value, controls)
    if isinstance(value, dict):
        return {_escaped(key, controls): _escaped(inner, controls) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escaped(inner, controls) for inner in value]
    return value


def _call(call: object) -> dict:
    """A tool call whose arguments are an object.

    Raises:
        UserError: it is none.
    """
    # Some write the function without the object around it.
    function = call.get("function") or call if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise UserError(f"a tool call {str(call)[:40]!r}", "a function with a name and arguments", "change the messages")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with suppress(ValueError):  # told below
            arguments = json.loads(arguments)
    if not isinstance(arguments, dict | None):
        found = f"arguments {str(function['arguments'])[:40]!r} of a tool call"
        raise UserError(found, "a JSON object", "change the messages")
    return {**call, "function": {**function, "arguments": arguments or {}}}


def _with_json_arguments(message: dict) -> dict:
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False)}}
        for call in message.get("tool_calls", ())
    ]
    return message | ({"tool_calls": calls} if calls else {})
