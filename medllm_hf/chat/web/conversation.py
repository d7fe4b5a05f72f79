"""Conversations of one visitor of the page: their records, and the files that they come from and become."""

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from medllm_hf.chat.prompt import check_messages
from medllm_hf.chat.sampling import SamplingParams
from medllm_hf.chat.session import ChatSession
from medllm_hf.chat.web.request_queue import Job, Line
from medllm_hf.errors import UserError

TITLE_LENGTH = 16
EXPECTED, DO = 'a JSON file {"messages": [...]} as the page exports it', "choose another file"
# What no page shows: control characters but tab and line feed.
_UNSEEN = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])
# What Markdown takes as its own anywhere in a line, and at the beginning of one.
_MARKS = re.compile(r"([\\`*_\[\]<>#|~$&!])")
_LINE_MARKS = re.compile(r"^([^\S\n]*)([-+=]|\d+(?=[.)]))", re.MULTILINE)


@dataclass(frozen=True)
class Draft:
    """A question that is not asked yet; `replaces` says whether it takes the place of the last one."""

    text: str
    replaces: bool


@dataclass(eq=False)
class Conversation:
    """A history without its system message, which stands apart, and what happens to it.

    Attributes:
        present: Says whether the page of its visitor is connected.
        ended: Why the last answer ended, as in `ChatSession`; None before the first.
        dropped: How many of the oldest messages the last answer did not read.
        error: What went wrong with the last question; "" for what is not the user's mistake.
    """

    session: ChatSession
    system: str
    sampling: SamplingParams
    present: Callable[[], bool]
    messages: list[dict] = field(default_factory=list)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    job: Job | None = None
    draft: Draft | None = None
    ended: str | None = None
    dropped: int = 0
    error: str | None = None

    def whole(self) -> list[dict]:
        """The messages with the system message, where there is one."""
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.messages]

    def title(self) -> str:
        """The letters of the first question; "" before it. Signs are left out, since labels of buttons may have markup."""
        asked = [*self.messages, *([{"content": self.job.question}] if self.job else [])]
        text = "".join(letter if letter.isalnum() else " " for letter in asked[0]["content"][:200]) if asked else ""
        return " ".join(text.split())[:TITLE_LENGTH].strip()


def new_conversation(line: Line, present: Callable[[], bool]) -> Conversation:
    """An empty conversation with the settings of the command line."""
    session = line.new_session()
    return Conversation(session, line.system, session.sampling, present)


def ask(line: Line, conversation: Conversation, question: str, replaces: bool = False) -> None:
    """Puts a question into the line; `replaces` takes the last one and its answer away once this one is answered."""
    conversation.draft = conversation.error = conversation.ended = None
    conversation.dropped = 0
    if replaces:
        conversation.session.messages = conversation.whole()
        conversation.session.undo()
        before = conversation.session.messages
    else:
        before = conversation.whole()
    job = Job(conversation.session, before, visible(question), conversation.sampling, conversation.present)
    conversation.job = job
    line.submit(job)


def last_question(conversation: Conversation) -> str:
    """The last question of a history that has one."""
    return conversation.messages[-2]["content"]


def settle(conversation: Conversation) -> None:
    """Takes the result of a job that is done into the history; a question without an answer becomes a draft."""
    job = conversation.job
    if job is None or not job.done:
        return
    conversation.job = None
    if job.after is not None:
        conversation.messages = _turns(job.after)
        conversation.ended, conversation.dropped = job.session.stopped, job.session.dropped
        return
    replaces = len(_turns(job.before)) < len(conversation.messages)
    conversation.error = job.error
    if not replaces or job.question != last_question(conversation):
        conversation.draft = Draft(job.question, replaces)


def _turns(messages: list[dict]) -> list[dict]:
    return [message for message in messages if message["role"] != "system"]


def clear(line: Line, conversation: Conversation) -> None:
    """Empties a conversation, keeping its settings; the random numbers begin again."""
    if conversation.job:
        line.stop(conversation.job)
    conversation.session, conversation.messages = line.new_session(), []
    conversation.job = conversation.draft = conversation.ended = conversation.error = None
    conversation.dropped = 0


def visible(text: str) -> str:
    """`text` without control characters and halves of characters, which neither a page nor a tokenizer takes."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\r\n", "\n").translate(_UNSEEN)


def as_json(conversation: Conversation) -> str:
    """The conversation as `ChatSession.save` writes it."""
    return json.dumps({"messages": conversation.whole()}, ensure_ascii=False, indent=2) + "\n"


def as_row(conversation: Conversation) -> str:
    """The conversation as a line of a file for `medllm data build`."""
    row = {"id": f"web-{conversation.id}", "source": "medllm-web", "messages": conversation.whole()}
    return json.dumps(row, ensure_ascii=False) + "\n"


def as_markdown(conversation: Conversation, texts: dict[str, str]) -> str:
    """The conversation as Markdown that reads as the page does: markup in messages stays letters."""
    parts = [f"> {texts['disclaimer']}"]
    for message in conversation.whole():
        text = _LINE_MARKS.sub(_escaped, _MARKS.sub(r"\\\1", message["content"]))
        parts.append(f"**{texts[message['role']]}**")
        parts += ["\\\n".join(block.strip().splitlines()) for block in re.split(r"\n\s*\n", text) if block.strip()]
    return "\n\n".join(parts) + "\n"


def _escaped(found: re.Match) -> str:
    blank, mark = found.groups()
    # After a number it is the dot or bracket that makes it a list.
    return f"{blank}{mark}\\" if mark.isdigit() else f"{blank}\\{mark}"


def read(data: bytes | str) -> tuple[str, list[dict]]:
    """The system message, "" for none, and the other messages in an exported JSON file.

    Raises:
        UserError: it is no such file.
    """
    try:
        return turns(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise UserError("a file that is not JSON", EXPECTED, DO) from error


def turns(value: object) -> tuple[str, list[dict]]:
    """The system message, "" for none, and the other messages of an object {"messages": [...]}.

    Raises:
        UserError: it is none; questions and answers do not take turns.
    """
    if not isinstance(value, dict):
        raise UserError("JSON that is no object", EXPECTED, DO)
    messages = [{**message, "content": visible(message["content"])} for message in check_messages(value.get("messages"))]
    system = messages.pop(0)["content"] if messages and messages[0]["role"] == "system" else ""
    if [message["role"] for message in messages] != ["user", "assistant"] * (len(messages) // 2):
        raise UserError("messages in another order", "questions and answers in turn, an answer last", DO)
    return system, messages
