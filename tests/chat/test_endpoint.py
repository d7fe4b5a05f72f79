"""A conversation over an endpoint: streamed events of a scripted server on loopback, and of `transformers serve`."""

import json
import time
from threading import Thread

import pytest
from support.chat_server import Behaviour, ChatServer, completion, in_turn
from support.commands import run

from medllm_hf.chat import ChatSession
from medllm_hf.endpoints.address import KEY_ENV
from medllm_hf.endpoints.local_server import served
from medllm_hf.errors import UserError

KEY = "sk-secret-1234"


def events(*pieces: str, finish: str | None = "stop", end: bytes = b"data: [DONE]\n\n", **behaviour) -> Behaviour:
    """A stream of chat events as servers send it."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces)]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    # Escaped, as most servers send it, except for a separator that is no end of a line here.
    lines = [json.dumps({"choices": [choice]}).replace("\\u2028", "\u2028") for choice in choices]
    body = b": a comment\r\n\r\n" + b"".join(b"data: " + line.encode() + b"\r\n\r\n" for line in lines) + end
    return Behaviour(body=body, headers={"Content-Type": "text/event-stream"}, **behaviour)


def session(server: ChatServer, **settings) -> ChatSession:
    return ChatSession.from_pretrained(f"{server.url}#scripted", **settings)


def test_a_conversation_is_streamed_and_remembered(monkeypatch, tmp_path):
    monkeypatch.setenv(KEY_ENV, KEY)
    with ChatServer(in_turn(events("头", "痛", "🩺\u2028吗"), events("\ud83e", "\ude7a好", finish="length"), "整句")) as server:
        talk = session(server, seed=3, temperature=0.5, max_new_tokens=9)
        assert list(talk.stream("一")) == ["头", "痛", "🩺\u2028吗"] and talk.stopped == "eos"
        assert list(talk.stream("二", temperature=0)) == ["🩺好"] and talk.stopped == "limit"
        assert talk.chat([{"role": "user", "content": "三"}]) == "整句" and talk.stopped == "eos"
    assert [message["content"] for message in talk.messages] == ["一", "头痛🩺\u2028吗", "二", "🩺好"]
    sent = [request.body for request in server.requests]
    assert sent[0] == {
        "model": "scripted", "messages": talk.messages[:1], "stream": True, "max_tokens": 9, "temperature": 0.5, "seed": 3
    }  # fmt: skip
    assert sent[1]["messages"] == talk.messages[:3] and (sent[1]["temperature"], sent[1]["seed"]) == (0, 4)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_bytes_that_come_one_by_one():
    with ChatServer(in_turn(events("头痛🩺", "\u2028", end=b"", trickle=0.0001))) as server:
        assert "".join(session(server).stream("一")) == "头痛🩺\u2028"


def test_stop_does_not_wait_for_the_server():
    with ChatServer(in_turn(events("头", delay=60))) as server:
        talk = session(server)
        answer = talk.stream("一")
        listener = Thread(target=lambda: list(answer))
        listener.start()
        while not server.requests:
            time.sleep(0.01)
        time.sleep(0.2)  # now it waits for the answer
        talk.stop()
        listener.join(10)
        assert not listener.is_alive() and talk.stopped == "stopped" and talk.messages == []


@pytest.mark.parametrize(
    ("meets", "told"),
    [
        (Behaviour(status=400, body={"error": {"message": f"bad\nkey {KEY}"}}), "status 400"),
        (events("头", cut=True), "scripted at"),
        (Behaviour(body=b"data: {]\n\n", headers={"Content-Type": "text/event-stream"}), "scripted at"),
        (Behaviour(body=b'data: {"error": {"message": "too long"}}\n\n'), "too long"),
        (Behaviour(body=b'data: ["odd"]\n\n'), "no chat answer"),
        (Behaviour(body=b"data: " + b"[" * 100_000 + b"\n\n"), "recursion"),
    ],
)
def test_a_failure_is_one_line_and_leaves_the_history(meets, told, monkeypatch):
    monkeypatch.setenv(KEY_ENV, KEY)
    with ChatServer(in_turn(events("好"), meets)) as server:
        talk = session(server)
        list(talk.stream("一"))
        with pytest.raises(UserError, match=told) as failure:
            list(talk.stream("二"))
        assert "\n" not in str(failure.value) and KEY not in str(failure.value)
        assert [message["content"] for message in talk.messages] == ["一", "好"]


def test_nobody_listens():
    with ChatServer(in_turn(completion())) as server:
        address = server.url
    with pytest.raises(UserError, match="scripted at"):
        list(ChatSession.from_pretrained(f"{address}#scripted").stream("一"))


@pytest.mark.parametrize(
    "spec", ["http://#m", "http://127.0.0.1/v1", "http://me:secret@127.0.0.1/v1#m", "http://127.0.0.1/v1?key=secret#m"]
)
def test_an_address_that_cannot_be_used(spec):
    with pytest.raises(UserError) as failure:
        ChatSession.from_pretrained(spec)
    assert "secret" not in str(failure.value)


def test_a_key_is_wanted_beyond_this_machine(monkeypatch):
    monkeypatch.delenv(KEY_ENV, raising=False)
    with pytest.raises(UserError, match=KEY_ENV):
        ChatSession.from_pretrained("https://chat.example/v1#m")
    monkeypatch.setenv(KEY_ENV, KEY)
    with pytest.raises(UserError, match="dtype"):
        ChatSession.from_pretrained("https://chat.example/v1#m", dtype="bfloat16")


def test_the_terminal_talks_to_an_endpoint():
    with ChatServer(in_turn(events("多喝", "水"), Behaviour(status=500, body={}), events("好"))) as server:
        done = run("medllm", "chat", f"{server.url}#scripted", stdin="一\n二\n三\n")
    assert (done.returncode, done.stdout) == (1, "多喝水\n好\n"), "the questions after a failure are answered"
    assert "status 500" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_real_server_says_what_the_model_says(tiny):
    settings = {"temperature": 0, "max_new_tokens": 12}
    local = ChatSession.from_pretrained(str(tiny["base"]), **settings)
    with served(tiny["base"]) as endpoint:
        remote = ChatSession.from_pretrained(f"{endpoint.url}#{endpoint.model}", **settings)
        for text in ("头痛三天", "还有发热"):
            assert "".join(remote.stream(text)) == "".join(local.stream(text)) != ""
            assert remote.stopped == local.stopped == "limit"
