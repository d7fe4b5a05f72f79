"""Which field a refusal is about, which address is meant, and what no repetition mends."""

import asyncio
import json
import resource
import ssl
import time
import zlib

import httpx2
import pytest
from support.asking import ASKED, answered, ask
from support.chat_server import Behaviour, ChatServer, completion, in_turn

from medllm_hf.chat import ChatSession
from medllm_hf.endpoints.address import parse_endpoint
from medllm_hf.endpoints.client import ChatClient, EndpointError
from medllm_hf.endpoints.refusals import Failure, address_advice, refusal, unreachable, without
from medllm_hf.errors import UserError

SYSTEM = [{"role": "system", "content": "你是医生。"}, *ASKED]
SENT = {"model": "m", "messages": SYSTEM, "max_tokens": 9, "temperature": 0.0, "response_format": {"type": "json_schema"}}


@pytest.mark.parametrize(
    ("status", "body", "field"),
    [
        (400, {"object": "error", "message": "system role is not supported by the template", "code": 400}, "system"),
        (400, {"error": {"message": "messages[0].role cannot be 'system' here"}}, "system"),
        (500, {"detail": "Conversation roles must alternate user/assistant/..."}, "system"),
        (400, {"error": "response_format.type is wrong"}, "response_format"),
        (400, {"error": {"message": "structured output is not available"}}, "response_format"),
        (400, {"error": {"message": "not today"}}, "response_format"),
        (400, {"error": {"message": "the prompt is longer than the context"}}, None),
        (400, {"error": {"message": "stopped by the content filter"}}, None),
        (500, {"error": {"message": "cannot compile the grammar"}}, "response_format"),
        (500, {"error": {"message": "out of memory"}}, None),
        (422, {"detail": [{"loc": ["body", "temperature"], "msg": "no", "input": SENT}]}, "temperature"),
        (400, {"error": {"message": "use max_completion_tokens"}}, "max_tokens"),
        (400, {"error": {"message": "stream must be set to true"}}, "stream"),
        (429, {"error": {"message": "the system role of stream"}}, None),
    ],
)
def test_the_field_of_a_refusal(status, body, field):
    response = httpx2.Response(status, content=json.dumps(body).encode())
    assert refusal(response, body, SENT).field == field


def test_a_request_still_asks_the_same():
    assert without(SENT, {"system"})["messages"] == [{"role": "user", "content": f"你是医生。\n\n{ASKED[0]['content']}"}]
    assert without({**SENT, "messages": SYSTEM[:1]}, {"system"})["messages"] == [{"role": "user", "content": "你是医生。"}]
    assert without(SENT, {"stream"})["stream_options"] == {"include_usage": True}
    assert "stream_options" not in without(SENT, {"stream", "stream_options"})
    assert "stream" not in without({**SENT, "stream": True}, {"stream"})
    assert SENT["messages"] is SYSTEM and len(SYSTEM) == 2, "the request itself stays"


@pytest.mark.parametrize(
    ("url", "status", "reason", "advice"),
    [
        ("http://h:1", 404, "Not Found", "add /v1 (http://h:1/v1)"),
        ("http://h:1", 405, "Method Not Allowed", "add /v1 (http://h:1/v1)"),
        ("http://h:1/openai", 200, "<!DOCTYPE html>", "add /v1 (http://h:1/openai/v1)"),
        ("http://h:1/v1", 404, "Not Found", ""),
        ("http://h:1/api/v3", 404, "Not Found", ""),
        ("http://h:1/v1beta/openai", 404, "Not Found", ""),
        ("http://h:1", 404, 'model "x" not found', ""),
        ("http://h:1", 401, "no key", ""),
        ("https://x.openai.azure.com/openai/deployments/d", 404, "Resource not found", "add ?api-version=… before #"),
        ("https://x.openai.azure.com/openai/deployments/d?api-version=1", 404, "Resource not found", ""),
        ("https://x.openai.azure.com/openai/v1", 404, "Resource not found", ""),
    ],
)
def test_the_address_that_is_meant(url, status, reason, advice):
    assert address_advice(url, Failure(status, reason, again=False)) == advice


def test_a_dead_endpoint_ends_at_once():
    with ChatServer(in_turn("好")) as server:
        pass
    began = time.monotonic()
    (error,), client = ask(server, settings={"backoff": 5.0, "retries": 6})
    assert (error.fatal, client.usage.requests) == (True, 1)
    assert time.monotonic() - began < 5


def test_a_certificate_is_refused_once():
    error = httpx2.ConnectError("no")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    failure = unreachable(error, answered=True)
    assert (failure.again, failure.fatal) == (False, True) and "SSL_CERT_FILE" in failure.remedy


def test_certificates_that_cannot_be_read_are_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    for content in (None, "no certificate"):
        file = tmp_path / "ca.pem"
        if content:
            file.write_text(content)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        with pytest.raises(UserError, match="correct or unset SSL_CERT_FILE"):
            ChatClient(parse_endpoint("https://chat.example/v1#m"))
        with pytest.raises(UserError, match="correct or unset SSL_CERT_FILE"):
            list(ChatSession.from_pretrained("https://chat.example/v1#m").stream("你好"))


def test_a_packed_answer_has_a_limit_and_takes_little_memory():
    """Two hundred megabytes in as many kilobytes, packed a megabyte at a time."""
    packer = zlib.compressobj(wbits=31)
    bomb = Behaviour(
        body=b"".join([*(packer.compress(b" " * 1_000_000) for _ in range(200)), packer.flush()]),
        headers={"Content-Encoding": "gzip"},
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error, _, server = answered(bomb)
    assert isinstance(error, EndpointError) and "more than 8 MB" in str(error) and len(server.requests) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


def test_an_answer_that_was_not_asked_for_so_is_refused():
    error, _, _ = answered(Behaviour(body=b"x", headers={"Content-Encoding": "zstd"}), settings={"retries": 0})
    assert "packed as zstd" in str(error)


USED_UP = completion(None, "length", reasoning_content="想")


def test_reasoning_that_leaves_no_answer_ends_a_run_that_has_had_none():
    error, _, server = answered(USED_UP)
    assert (error.fatal, error.remedy, len(server.requests)) == (True, "raise --max-new-tokens", 1)
    with ChatServer(in_turn("好", USED_UP)) as server:
        replies, _ = ask(server, times=2, settings={"concurrency": 1})
    assert [(reply.text, reply.used_up) for reply in replies] == [("好", False), ("", True)]


def test_a_run_that_goes_on_is_not_ended_by_its_first_reply():
    async def work(server):
        async with ChatClient(parse_endpoint(f"{server.url}#m")) as client:
            client.worded = True
            return await client.complete(ASKED, max_tokens=9)

    with ChatServer(in_turn(USED_UP)) as server:
        assert asyncio.run(work(server)).used_up


def test_two_calls_at_once_find_out_the_same():
    """The second was sent with the field before the first had found out."""
    script = lambda body: Behaviour(400, {"error": {"param": "seed"}}, delay=0.1) if "seed" in body else "好"  # noqa: E731
    with ChatServer(script) as server:
        replies, client = ask(server, times=4, settings={"concurrency": 4}, seed=1)
    assert [reply.text for reply in replies] == ["好"] * 4 and client.dropped == {"seed"}
