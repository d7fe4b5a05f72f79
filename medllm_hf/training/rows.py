"""Rows of a dataset in TRL's formats, as what there is to learn from each."""

import json
from dataclasses import dataclass
from typing import Any, TypeVar

from medllm_hf.errors import UserError, kind_of
from medllm_hf.templates.rendering import content_text, split_thought

# What a row may not tell the template, since it follows from the dialogue.
_OURS = {"messages", "tools", "template", "controls", "add_generation_prompt", "continue_final_message", "chat_template",
         "conversation", "tokenize", "return_dict", "return_tensors", "return_assistant_tokens_mask"}  # fmt: skip

Kind = TypeVar("Kind", list, dict)
# The source of rows that name none, beside others that do.
UNNAMED = "unnamed"


@dataclass(frozen=True)
class Dialogue:
    """What one row teaches: the answers among `messages` from index `first` on; or `completion` after `prompt`, plain text.

    Attributes:
        tools: What the template is told of tools.
        variables: What it is told besides, by the row's `chat_template_kwargs`.
    """

    messages: list[dict]
    first: int = 0
    tools: list[dict] | None = None
    variables: dict | None = None
    prompt: str | None = None
    completion: str | None = None

    @property
    def reasons(self) -> bool:
        """Whether an answer to learn holds its reasoning."""
        return any(message["role"] == "assistant" and split_thought(message)[0] for message in self.messages[self.first :])


def check_columns(columns: list[str]) -> None:
    """Check that rows with these columns can be trained on.

    Raises:
        UserError: they hold no format that is read here.
    """
    if "messages" not in columns and not {"prompt", "completion"} <= set(columns):
        do = "build the dataset with `medllm data build`, or rename its columns"
        raise UserError(f"columns {', '.join(columns)}", "messages, or prompt and completion", do)


def read_row(row: dict, nulls: bool = False) -> Dialogue:
    """The dialogue in a row with `messages`, or `prompt` and `completion`, which are lists of messages or plain texts.

    Args:
        nulls: whether an empty field of an object is one that somebody wrote; in a table every object has the fields of all,
            and what it did not have is empty.

    Raises:
        UserError: another shape, or a dialogue without an answer to learn.
    """
    prompt, completion = row.get("prompt"), row.get("completion")
    if row.get("messages") is None and isinstance(prompt, str) and isinstance(completion, str):
        return Dialogue([], prompt=prompt, completion=completion)
    if row.get("messages") is not None:
        messages, first = _turns(row["messages"], "messages"), 0
    else:
        asked = _turns(prompt, "prompt")
        messages, first = [*asked, *_turns(completion, "completion")], len(asked)
    if not nulls:
        messages = [{name: _without_empty(value) for name, value in one.items() if value is not None} for one in messages]
    messages = [_read_message(i, message) for i, message in enumerate(messages, start=1)]
    if not any(message["role"] == "assistant" for message in messages[first:]):
        raise UserError("a dialogue without an answer", "messages of the assistant", "leave it out")
    tools = _json(row.get("tools"), "tools", list)
    if tools and not nulls and not isinstance(row.get("tools"), str):
        tools = [_without_empty(tool) for tool in tools]
    variables = _json(row.get("chat_template_kwargs"), "chat_template_kwargs", dict) or {}
    if taken := _OURS & set(variables):
        raise UserError(f"chat_template_kwargs with {min(taken)}", "variables of the template", "leave it out")
    variables = {name: value for name, value in variables.items() if value is not None}
    return Dialogue(messages, first, tools or None, variables)


def source_name(value: object) -> str:
    """What a row's `source` is called, whatever it holds."""
    missing = value is None or value == "" or (isinstance(value, float) and value != value)
    return UNNAMED if missing else str(value)


def _turns(value: object, name: str) -> list[dict]:
    if not isinstance(value, list) or not all(isinstance(one, dict) and isinstance(one.get("role"), str) for one in value):
        raise UserError(f"{name} that is no list of messages", '[{"role": ..., "content": ...}, ...]', "mend the row")
    return value


def _read_message(number: int, message: dict) -> dict:
    """A message whose tool calls are objects; content that is missing is somebody's mistake where nothing is called."""
    calls = _json(message.get("tool_calls"), "tool_calls", list)
    if not calls and message.get("content") is None:
        raise UserError(f"message {number} ({message['role']}) without content", "text", "mend the row")
    content_text(message)
    return (
        {**message, "tool_calls": calls} if calls else {name: value for name, value in message.items() if name != "tool_calls"}
    )


def _without_empty(value: Any) -> Any:
    """`value` without the fields that are empty, at any depth."""
    if isinstance(value, dict):
        return {name: _without_empty(inner) for name, inner in value.items() if inner is not None}
    return [_without_empty(inner) for inner in value] if isinstance(value, list) else value


def _json(value: object, name: str, kind: type[Kind]) -> Kind | None:
    """A value that tables may keep as JSON text."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError as error:
            raise UserError(f"{name} {str(value)[:30]!r}", "JSON", "mend the row") from error
    if value is None or value == "":
        return None
    if not isinstance(value, kind):
        raise UserError(f"{name} that is {kind_of(value)}", f"a {kind.__name__}", "mend the row")
    return value or None
