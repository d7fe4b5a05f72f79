"""One conversation on the page: its messages, what can be done with it, its settings and exports."""

from dataclasses import asdict, replace

import streamlit as st

from medllm_hf.chat.web.conversation import (
    Conversation,
    Draft,
    as_json,
    as_markdown,
    as_row,
    ask,
    clear,
    last_question,
)
from medllm_hf.chat.web.request_queue import Job, Line
from medllm_hf.chat.web.style import note, said

# Seconds between two looks at an answer, and at the place in line: each runs a script in the server, and many may wait.
LOOK, LOOK_AT_PLACE = 0.15, 1.0
# Least value and step of each number; with a step of 1 it is a whole number.
NUMBERS = {
    "temperature": (0.0, 0.1),
    "top_p": (1e-6, 0.05),
    "top_k": (0, 1),
    "repetition_penalty": (1e-6, 0.05),
    "max_new_tokens": (1, 1),
}


def pane(line: Line, conversation: Conversation, texts: dict[str, str]) -> None:
    """Shows a conversation, and goes on showing the answer that is being written."""
    st.html(note(conversation.title() or texts["untitled"], "title"))
    job, messages = conversation.job, conversation.messages
    if job:
        messages = [*(message for message in job.before if message["role"] != "system")]
        messages.append({"role": "user", "content": job.question})
    elif not messages:
        st.html(note(texts["welcome"]))
    for message in messages:
        with st.chat_message(message["role"]):
            st.html(said(message["content"]) if message["content"] else note(texts["empty"]))
    if job:
        with st.chat_message("assistant"):
            waits = line.place(job) > 0
            st.fragment(_growing, run_every=LOOK_AT_PLACE if waits else LOOK)(line, job, texts, waits)
    else:
        _after(conversation, texts)
    _actions(line, conversation, texts)
    if conversation.draft:
        _draft(line, conversation, conversation.draft, texts)
    key = f"ask-{conversation.id}"
    st.chat_input(
        texts["ask"], key=key, disabled=job is not None, on_submit=lambda: _submit(line, conversation, st.session_state[key])
    )


def _growing(line: Line, job: Job, texts: dict[str, str], waits: bool) -> None:
    """Shows the answer so far, or what it waits for; the page is drawn anew when the line is over and at the end."""
    number = line.place(job)
    if job.done or waits and not number:
        st.rerun()
    if job.text:
        st.html(said(job.text))
    elif number:
        st.html(note(texts["waiting"].format(place=number)))
    else:
        st.html(note(texts["answering"]))


def _submit(line: Line, conversation: Conversation, text: str, replaces: bool = False) -> None:
    if text.strip() and conversation.job is None:
        _take_settings(conversation)
        ask(line, conversation, text.strip(), replaces)


def _take_settings(conversation: Conversation) -> None:
    """Takes what the fields of the settings hold; the run of the script that was to take a change may have been cut short."""
    fields, id = st.session_state, conversation.id
    conversation.system = fields.get(f"system-{id}", conversation.system).strip()
    names = [name for name in ("do_sample", *NUMBERS) if f"{name}-{id}" in fields]
    conversation.sampling = replace(conversation.sampling, **{name: fields[f"{name}-{id}"] for name in names})


def _after(conversation: Conversation, texts: dict[str, str]) -> None:
    """Shows what is to be said about the last answer."""
    if conversation.error is not None:
        st.html(note(texts["error"].format(error=conversation.error or texts["broken"]), "error"))
    if conversation.dropped:
        st.html(note(texts["dropped"].format(count=conversation.dropped)))
    if conversation.ended not in (None, "eos"):
        other = texts["ended other"].format(reason=conversation.ended)
        st.html(note(texts.get(f"ended {conversation.ended}", other)))


def _actions(line: Line, conversation: Conversation, texts: dict[str, str]) -> None:
    """The row of buttons below the messages."""
    id, job = conversation.id, conversation.job
    with st.container(horizontal=True, gap="xsmall", key=f"actions-{id}"):
        if job:
            st.button(texts["stop"], key=f"stop-{id}", type="primary", on_click=lambda: line.stop(job))
        elif conversation.messages:
            question = last_question(conversation)
            st.button(texts["retry"], key=f"retry-{id}", on_click=lambda: _submit(line, conversation, question, True))
            st.button(texts["edit"], key=f"edit-{id}", on_click=lambda: _set_draft(conversation, Draft(question, True)))
        if job or conversation.messages:
            st.button(texts["clear"], key=f"clear-{id}", on_click=lambda: clear(line, conversation))
        with st.popover(texts["settings"], key=f"settings-{id}"):
            _settings(conversation, texts)
        if conversation.messages:
            with st.popover(texts["export"], key=f"export-{id}"):
                _exports(conversation, texts)


def _set_draft(conversation: Conversation, draft: Draft | None) -> None:
    conversation.draft = draft


def _draft(line: Line, conversation: Conversation, draft: Draft, texts: dict[str, str]) -> None:
    """The form of a question that is edited, or that got no answer."""
    id = conversation.id
    with st.form(f"draft-{id}"):
        label = texts["edited"] if draft.replaces else texts["user"]
        text = st.text_area(label, draft.text, key=f"text-{id}-{hash(draft)}")
        with st.container(horizontal=True):
            sent = st.form_submit_button(texts["send"], key=f"send-{id}", type="primary")
            left = st.form_submit_button(texts["cancel"], key=f"cancel-{id}")
    if sent:
        _submit(line, conversation, text, draft.replaces)
    if left:
        conversation.draft = conversation.error = None
    if sent or left:
        st.rerun()


def _settings(conversation: Conversation, texts: dict[str, str]) -> None:
    """The fields of the settings; empty ones are the model's own."""
    id = conversation.id
    # Streamlit forgets the fields of a conversation that is not shown, so each begins with what is known.
    st.text_area(texts["system"], conversation.system, key=f"system-{id}", placeholder=texts["system hint"])
    known, own = asdict(conversation.sampling), texts["own"]
    words = {True: texts["yes"], False: texts["no"]}
    place = None if known["do_sample"] is None else list(words).index(known["do_sample"])
    st.selectbox(texts["do_sample"], list(words), place, format_func=words.__getitem__, key=f"do_sample-{id}", placeholder=own)
    for name, (least, step) in NUMBERS.items():
        value, most = known[name], 1.0 if name == "top_p" else None
        st.number_input(texts[name], least, most, value, step, key=f"{name}-{id}", placeholder=own)
    _take_settings(conversation)


def _exports(conversation: Conversation, texts: dict[str, str]) -> None:
    """The buttons that download the conversation."""
    for kind, text, file, mime in (
        ("json", as_json(conversation), "medllm.json", "application/json"),
        ("markdown", as_markdown(conversation, texts), "medllm.md", "text/markdown"),
        ("row", as_row(conversation), "medllm.jsonl", "application/jsonl"),
    ):
        key = f"{kind}-{conversation.id}"
        st.download_button(texts[f"export {kind}"], text, file, mime, key, on_click="ignore", width="stretch")
