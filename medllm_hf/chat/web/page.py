"""The page of one visitor: his conversations, and the answers while they are written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import streamlit as st
from streamlit.runtime import get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx

from medllm_hf.chat.web.conversation import Conversation, new_conversation, read, settle
from medllm_hf.chat.web.pane import pane
from medllm_hf.chat.web.request_queue import Line
from medllm_hf.chat.web.style import STYLE, note, upload_label
from medllm_hf.chat.web.tab_storage import exchange, packed, unpacked
from medllm_hf.chat.web.texts import LANGUAGES, TEXTS, language_of
from medllm_hf.errors import UserError


@dataclass(eq=False)
class Visitor:
    """What one open page holds; it is in nobody else's reach.

    Attributes:
        present: Says whether the page is connected.
        shown: One conversation, or two side by side.
        restored: Whether the tab has told what it kept of an earlier load of the page.
        error: What was wrong with the last file that was to be imported.
        uploads: How many files were imported; a new number makes the field empty again.
    """

    present: Callable[[], bool]
    conversations: list[Conversation]
    shown: list[Conversation]
    language: str
    restored: bool = False
    error: str | None = None
    uploads: int = 0


def page(line: Line, name: str) -> None:
    """Shows the page of the visitor whose script this is."""
    st.set_page_config(page_title="medllm", layout="wide")
    visitor = _visitor(line)
    for conversation in visitor.conversations:
        settle(conversation)
    st.html(STYLE)
    _keep(line, visitor)
    with st.sidebar:
        _sidebar(line, visitor, name)
    texts = TEXTS[visitor.language]
    _disclaimer("disclaimer", texts)
    if len(visitor.shown) == 1:
        # Outside of columns, the field for questions stays at the bottom of the window.
        pane(line, visitor.shown[0], texts)
        return
    for column, conversation in zip(st.columns(2, gap="large"), visitor.shown, strict=True):
        with column:
            pane(line, conversation, texts)


def _disclaimer(key: str, texts: dict[str, str]) -> None:
    with st.container(key=key):
        st.html(note(texts["disclaimer"], "disclaimer"))


def _visitor(line: Line) -> Visitor:
    if "visitor" not in st.session_state:
        context = get_script_run_ctx()
        assert context is not None, "the page is drawn by Streamlit's script alone"
        session = context.session_id
        first = new_conversation(line, present := lambda: get_instance().is_active_session(session))
        st.session_state.visitor = Visitor(present, [first], [first], language_of(st.context.locale))
    return st.session_state.visitor


def _keep(line: Line, visitor: Visitor) -> None:
    """Has the tab keep the conversations, and takes those of an earlier load from it."""
    kept = exchange(packed(visitor.conversations, visitor.language) if visitor.restored else None)
    if visitor.restored or kept is None:
        return
    visitor.restored = True
    conversations, language = unpacked(line, kept, visitor.present)
    # A visitor who was faster than his browser has begun a conversation already.
    if conversations and not (visitor.conversations[0].messages or visitor.conversations[0].job):
        visitor.conversations, visitor.shown = conversations, conversations[:1]
    if language:
        visitor.language = st.session_state.language = language
    st.rerun()


def _sidebar(line: Line, visitor: Visitor, name: str) -> None:
    """The list of conversations and what concerns all of them."""
    # On a phone the list covers the page.
    _disclaimer("disclaimer-beside", TEXTS[visitor.language])
    if "language" not in st.session_state:
        st.session_state.language = visitor.language
    visitor.language = st.radio(
        "界面语言 / Language", list(LANGUAGES), format_func=LANGUAGES.__getitem__, key="language", horizontal=True
    )
    texts = TEXTS[visitor.language]
    st.html(note(texts["model"].format(name=name)))
    st.button(texts["new"], key="new", width="stretch", on_click=lambda: _add(visitor, new_conversation(line, visitor.present)))
    for conversation in visitor.conversations:
        _row(line, visitor, conversation, texts)
    _beside(visitor, texts)
    _import(line, visitor, texts)
    st.html(note(texts["kept"]))


def _add(visitor: Visitor, conversation: Conversation) -> None:
    visitor.conversations.insert(0, conversation)
    visitor.shown = [conversation]


def _row(line: Line, visitor: Visitor, conversation: Conversation, texts: dict[str, str]) -> None:
    """One line of the list: the conversation's name, to show it, and a button that deletes it."""

    def open_it() -> None:
        visitor.shown = [conversation]

    def delete() -> None:
        if conversation.job:
            line.stop(conversation.job)
        visitor.conversations.remove(conversation)
        if not visitor.conversations:
            visitor.conversations.append(new_conversation(line, visitor.present))
        visitor.shown = [one for one in visitor.shown if one is not conversation] or visitor.conversations[:1]

    with st.container(horizontal=True, wrap=False, gap="small"):
        kind: Literal["primary", "secondary"] = "primary" if conversation in visitor.shown else "secondary"
        title = (conversation.title() or texts["untitled"]) + (" …" if conversation.job else "")
        st.button(title, key=f"open-{conversation.id}", type=kind, width="stretch", on_click=open_it)
        st.button("✕", key=f"delete-{conversation.id}", help=texts["delete"], on_click=delete)


def _beside(visitor: Visitor, texts: dict[str, str]) -> None:
    """The choice of a second conversation to be shown."""
    others = {one.id: one for one in visitor.conversations if one is not visitor.shown[0]}
    if not others:
        return
    names = {"": texts["alone"]} | {id: one.title() or texts["untitled"] for id, one in others.items()}
    st.session_state.beside = visitor.shown[1].id if len(visitor.shown) == 2 else ""

    def choose() -> None:
        id = st.session_state.beside
        visitor.shown = [visitor.shown[0], *([others[id]] if id else [])]

    st.selectbox(texts["beside"], list(names), format_func=names.__getitem__, key="beside", on_change=choose)


def _import(line: Line, visitor: Visitor, texts: dict[str, str]) -> None:
    """The field for a file with a conversation."""
    st.html(upload_label(texts["upload"]))
    file = st.file_uploader(texts["import"], "json", key=f"import-{visitor.uploads}")
    if file is not None:
        visitor.uploads += 1
        visitor.error = None
        try:
            system, messages = read(file.getvalue())
        except UserError as error:
            visitor.error = str(error)
        else:
            conversation = new_conversation(line, visitor.present)
            conversation.system, conversation.messages = system, messages
            _add(visitor, conversation)
        st.rerun()
    if visitor.error:
        st.html(note(texts["error"].format(error=visitor.error), "error"))
