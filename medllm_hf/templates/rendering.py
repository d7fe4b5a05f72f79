"""Messages as the text that a model reads, by the tokenizer's chat template: text stays text, and no message is lost."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateError

from medllm_hf.control_tokens import control_tokens, escape_control_tokens
from medllm_hf.errors import UserError, first_line
from medllm_hf.pretrained import check_chat_template

if TYPE_CHECKING:  # with an endpoint nothing needs transformers, which takes seconds to import
    from transformers import PreTrainedTokenizerBase

# Stands for a text of which no template knows anything.
_PROBE, _THOUGHT_PROBE = "probe-4711", "thought-4711"
# The names under which datasets and servers keep what an assistant thought.
_REASONING = ("reasoning_content", "reasoning", "thinking")
# What an assistant may write around its reasoning, also where a tokenizer counts these among its control tokens.
_THOUGHT = ("<think>", "</think>")
# What is no text of somebody's: names that templates compare, and the shape of a schema.
_AS_IT_IS = ("role", "type")
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


def encode_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """The token ids of rendered text, to which the tokenizer adds nothing."""
    # Not verbose: what is too long is cut or refused by the caller, so that no warning of it is in place.
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def lost_part(messages: Sequence[dict], text: str, controls: Sequence[str], write: Callable[[list[dict]], str]) -> str | None:
    """What of the messages does not stand in `text`, which `write` made of them; None where all of it does.

    Templates pass over what they do not know, such as a tool's reply or a system message that is not the first, in silence.
    Reasoning is asked for in the last message alone: that of earlier ones is left out by design.
    """
    for i, message in enumerate(messages):
        name = f"message {i + 1} ({message['role']})"
        thought, said = split_thought(message) if message["role"] == "assistant" else ("", content_text(message))
        if not _stands_in(text, escape_control_tokens(said, controls)):
            return name
        if i == len(messages) - 1 and not _stands_in(text, escape_control_tokens(thought, controls)):
            return f"the reasoning of {name}"
        if message.get("tool_calls"):
            without = [*messages[:i], {**message, "tool_calls": None}, *messages[i + 1 :]]
            try:
                if write(without) == text:
                    return f"the tool call of {name}"
            except UserError:
                pass  # a reply of a tool that nobody called
    return None


def _stands_in(text: str, said: str) -> bool:
    """Whether a template wrote what was said, trimmed, as it is or as JSON."""
    said = said.strip()
    return any(form in text for form in (said, json.dumps(said, ensure_ascii=False)[1:-1], json.dumps(said)[1:-1]))


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
        raise UserError(f"content that is a {type(content).__name__}", "text or a list of text parts", "change the messages")
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise UserError(f"a part of type {kind} in a message", "parts of type text", "leave it out: only text is read")
    return "".join(part["text"] for part in content)


def split_thought(message: dict) -> tuple[str, str]:
    """The reasoning of an assistant's message, empty where there is none, and its answer.

    Reasoning stands in a field of its own, or in the content before `</think>`.
    """
    text = content_text(message)
    thought = next((message[name] for name in _REASONING if message.get(name)), "")
    if not thought and "</think>" in text:
        thought, _, text = text.partition("</think>")
        thought = thought.rpartition("<think>")[2]
    return thought.strip("\n"), text.lstrip("\n") if thought else text


@dataclass(frozen=True)
class Form:
    """What a template takes: content as a list of `parts` only, as those of some vision models do; `reasoning` in its field."""

    parts: bool
    reasoning: bool


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
    return Form(only_parts, _THOUGHT_PROBE in written(parts if only_parts else _PROBE, reasoning_content=_THOUGHT_PROBE))


def _apply(tokenizer: "PreTrainedTokenizerBase", template: str, messages: list[dict], options: dict) -> str:
    return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **options)


def _plain(message: dict, controls: Sequence[str], form: Form) -> dict:
    """A message without empty fields, without control tokens in its texts, and in the form that the template takes."""
    own = {name: value for name, value in message.items() if value is not None and value != [] and name != "content"}
    text = content_text(message)
    if message.get("role") == "assistant":
        controls = [token for token in controls if token not in _THOUGHT]
        thought, answer = split_thought(message)
        own = {name: value for name, value in own.items() if name not in _REASONING}
        if thought and form.reasoning:
            own["reasoning_content"], text = thought, answer
        elif thought and "</think>" not in text:
            # As such models write it themselves.
            text = f"<think>\n{thought}\n</think>\n\n{answer}"
    calls = [{**call, "function": _with_object_arguments(_function(call))} for call in own.get("tool_calls", ())]
    plain = _escaped(own | ({"tool_calls": calls} if calls else {}), controls)
    if calls and message.get("content") is None:
        return plain | {"content": None}
    text = escape_control_tokens(text, controls)
    return plain | {"content": [{"type": "text", "text": text}] if form.parts else text}


def _escaped(value: Any, controls: Sequence[str], name: str = "") -> Any:
    """`value` with every text inside it escaped, and without the empty fields that tables add to objects."""
    if isinstance(value, str):
        return value if name in _AS_IT_IS else escape_control_tokens(value, controls)
    if isinstance(value, dict):
        return {key: _escaped(inner, controls, key) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_escaped(inner, controls) for inner in value]
    return value


def _function(call: dict) -> dict:
    """The function of a tool call, which some write without the object around it."""
    return call.get("function") or call


def _with_object_arguments(function: dict) -> dict:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return function
    return {**function, "arguments": arguments if isinstance(arguments, dict) else function.get("arguments")}


def _with_json_arguments(message: dict) -> dict:
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False)}}
        for call in message.get("tool_calls", ())
    ]
    return message | ({"tool_calls": calls} if calls else {})
