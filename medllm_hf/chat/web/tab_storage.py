"""Conversations that outlive a reload of the page: the browser's tab keeps them, and nobody else can read them there."""

import json
from collections.abc import Callable

import streamlit as st

from medllm_hf.chat.web.conversation import Conversation, Draft, new_conversation, turns, visible
from medllm_hf.chat.web.request_queue import Line
from medllm_hf.chat.web.texts import LANGUAGES
from medllm_hf.errors import UserError

# Where the tab's storage is full or forbidden, the page goes on without it.
_SCRIPT = """
export default function ({ data, setTriggerValue }) {
  let kept = "";
  try {
    if (data.write !== null) sessionStorage.setItem("medllm", data.write);
    else kept = sessionStorage.getItem("medllm") || "";
  } catch {}
  if (data.write === null) setTriggerValue("kept", kept || "{}");
}
"""
_storage = st.components.v2.component("medllm_kept", js=_SCRIPT)


def exchange(write: str | None) -> str | None:
    """Has the tab keep `write`; where that is None, what it kept before, once it has answered."""
    with st.container(key="kept"):
        return _storage(key="tab", data={"write": write}, on_kept_change=lambda: None).kept


def packed(conversations: list[Conversation], language: str) -> str:
    """What the tab is to keep. A question that is being answered is kept as a draft."""
    return json.dumps({"language": language, "conversations": [_record(one) for one in conversations]})


def _record(conversation: Conversation) -> dict:
    draft = conversation.job.question if conversation.job else conversation.draft.text if conversation.draft else ""
    return {"messages": conversation.whole(), "draft": draft}


def unpacked(line: Line, text: str, present: Callable[[], bool]) -> tuple[list[Conversation], str | None]:
    """The conversations and the language that `packed` made `text` of; nothing where it is something else."""
    try:
        kept = json.loads(text)
        language = kept.get("language")
        conversations = [_conversation(record, new_conversation(line, present)) for record in kept.get("conversations", [])]
    except (ValueError, RecursionError, AttributeError, TypeError, UserError):
        # Whoever changed the storage of his own tab gets an empty page.
        return [], None
    return conversations, language if language in LANGUAGES else None


def _conversation(record: dict, conversation: Conversation) -> Conversation:
    conversation.system, conversation.messages = turns(record)
    draft = str(record.get("draft") or "")
    conversation.draft = Draft(visible(draft), replaces=False) if draft else None
    return conversation
