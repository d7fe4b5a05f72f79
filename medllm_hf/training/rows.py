"""Rows of a dataset in TRL's formats, as what there is to learn from each."""

import json
from dataclasses import dataclass

from medllm_hf.errors import UserError
from medllm_hf.templates.rendering import split_thought

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
        return any(message.get("role") == "assistant" and split_thought(message)[0] for message in self.messages[self.first :])


def check_columns(columns: list[str]) -> None:
    """Check that rows with these columns can be trained on.

    Raises:
        UserError: they hold no format that is read here.
    """
    if "messages" not in columns and not {"prompt", "completion"} <= set(columns):
        do = "build the dataset with `medllm data build`, or rename its columns"
        raise UserError(f"columns {', '.join(columns)}", "messages, or prompt and completion", do)


def read_row(row: dict) -> Dialogue:
    """The dialogue in a row with `messages`, or `prompt` and `completion`, which are lists of messages or plain texts.

    Raises:
        UserError: another shape, or a dialogue without an answer to learn.
    """
    tools, variables = _json(row.get("tools")), _json(row.get("chat_template_kwargs"))
    if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        return Dialogue([], prompt=row["prompt"], completion=row["completion"])
    if row.get("messages") is not None:
        messages, first = row["messages"], 0
    else:
        messages, first = [*_turns(row["prompt"], "prompt"), *_turns(row["completion"], "completion")], len(row["prompt"])
    messages = _turns(messages, "messages")
    if not any(message["role"] == "assistant" for message in messages[first:]):
        raise UserError("a dialogue without an answer", "messages of the assistant", "leave it out")
    variables = {name: value for name, value in (variables or {}).items() if value is not None}
    return Dialogue(messages, first, tools or None, variables)


def source_name(value: object) -> str:
    """What a row's `source` is called, whatever it holds."""
    missing = value is None or value == "" or (isinstance(value, float) and value != value)
    return UNNAMED if missing else str(value)


def _turns(value: object, name: str) -> list[dict]:
    if not isinstance(value, list) or not all(isinstance(one, dict) and isinstance(one.get("role"), str) for one in value):
        raise UserError(f"{name} that is no list of messages", '[{"role": ..., "content": ...}, ...]', "mend the row")
    return value


def _json(value: object) -> object:
    """Tables keep what differs from row to row as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise UserError(f"tools or chat_template_kwargs {value[:30]!r}", "JSON", "mend the row") from error
