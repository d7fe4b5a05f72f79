"""Addresses of endpoints, and the key: who gets it and who never sees it."""

import asyncio
import logging
from dataclasses import replace

import pytest
from support.asking import ASKED, answered, endpoint
from support.chat_server import Behaviour, ChatServer, in_turn

from medllm_hf.endpoints.address import Endpoint, call_address, parse_endpoint, request_headers
from medllm_hf.endpoints.client import ChatClient
from medllm_hf.endpoints.response import REASON_LENGTH
from medllm_hf.errors import UserError

KEY = "sk-a-secret-0123456789"


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_the_key_is_sent_and_told_to_nobody(monkeypatch, caplog):
    """The server repeats the key, once so that cutting its words to their length would leave the first half."""
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    caplog.set_level(logging.DEBUG)
    for before in (0, REASON_LENGTH - 10):
        told = Behaviour(401, {"error": {"message": "x" * before + KEY}})
        error, client, server = answered(told)
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
        shown = " ".join(map(repr, (error, client, client.endpoint, client.usage, vars(error)))) + str(error)
        assert error.fatal
        assert KEY[:6] not in shown + caplog.text
    error, client, server = answered(Behaviour(502, f"<p>{KEY}</p>".encode()))
    assert "***" in error.reason
    assert KEY[:6] not in str(error) + caplog.text
    assert "POST" in caplog.text


def test_no_key_is_made_up_for_this_machine():
    _, _, server = answered("好")
    assert "authorization" not in server.requests[0].headers


def test_the_key_comes_from_the_named_variable_alone(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("MY_KEY", "mine")
    _, _, server = answered("好", settings={"key_env": "MY_KEY"})
    assert server.requests[0].headers["authorization"] == "Bearer mine"
    with ChatServer(in_turn("好")) as server:
        asyncio.run(_once(replace(endpoint(server), key_env=None)))
    assert "authorization" not in server.requests[0].headers


async def _once(to: Endpoint) -> str:
    async with ChatClient(to) as client:
        return (await client.complete(ASKED, max_tokens=4)).text


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("localhost:8000/v1#m", "'localhost:8000/v1' without http://"),
        ("model", "'model' without http://"),
        ("", "'' without http://"),
        ("ftp://127.0.0.1/v1#m", "without http://"),
        ("http:///v1#m", "without http://"),
        ("http://127.0.0.1:99999/v1#m", "port below 65536"),
        ("http://127.0.0.1:http/v1#m", "no address"),
        ("http://[::1/v1#m", "no address"),
        ("http://127.0.0.1:8000/v1", "without a model"),
        ("http://127.0.0.1:8000/v1# ", "without a model"),
        ("http://127.0.0.1:8000/v1/chat/completions#m", "leave out /chat/completions"),
        (f"http://user:{KEY}@127.0.0.1/v1#m", "credentials"),
        (f"user:{KEY}@127.0.0.1/v1#m", "an endpoint without http://"),
        (f"http://127.0.0.1/v1?key={KEY}#m", "credentials or a query"),
        (f"127.0.0.1/v1?key={KEY}", "query"),
        ("http://example.invalid/v1#m", "no OPENAI_API_KEY in the environment"),
        ("https://localhost.example.invalid/v1#m", "no OPENAI_API_KEY in the environment"),
    ],
)
def test_a_wrong_spec_is_refused(spec, named):
    with pytest.raises(UserError) as refused:
        parse_endpoint(spec)
    assert named in str(refused.value)
    assert KEY not in str(refused.value)


def test_what_a_spec_means(monkeypatch):
    assert parse_endpoint("http://localhost:8000/v1/#org/name:tag#2") == Endpoint("http://localhost:8000/v1", "org/name:tag#2")
    assert parse_endpoint("http://[::1]:8000/v1#m").url == "http://[::1]:8000/v1"
    monkeypatch.setenv("MY_KEY", KEY)
    remote = parse_endpoint("https://example.invalid/v1#m", "MY_KEY", concurrency=64)
    assert (remote.url, remote.key_env, remote.concurrency) == ("https://example.invalid/v1", "MY_KEY", 64)
    assert KEY not in repr(remote)


@pytest.mark.parametrize("name", [KEY, "hf_" + "a" * 20, ""])
def test_a_key_in_the_place_of_the_variables_name_is_not_repeated(name):
    with pytest.raises(UserError) as refused:
        parse_endpoint("http://127.0.0.1:8000/v1#m", name)
    assert "name of an environment variable" in str(refused.value)
    assert not name or name not in str(refused.value)


@pytest.mark.parametrize("key", ["密钥密钥", "two words", "a\nb"])
def test_a_key_that_no_header_can_hold_is_refused(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError) as refused:
        parse_endpoint("http://127.0.0.1:8000/v1#m")
    assert "in OPENAI_API_KEY" in str(refused.value)
    assert key not in str(refused.value)


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"timeout": 0}, {"retries": -1}, {"backoff": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UserError):
        parse_endpoint("http://127.0.0.1:8000/v1#m", **wrong)


def test_a_proxy_is_used_for_other_machines_only(monkeypatch):
    """The scripted server stands in for the proxy: it is asked for the whole address."""
    monkeypatch.setenv("MY_KEY", "mine")
    with ChatServer(in_turn("好")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        assert asyncio.run(_once(parse_endpoint("http://example.invalid/v1#m", "MY_KEY"))) == "好"
        assert [request.target for request in proxy.requests] == ["http://example.invalid/v1/chat/completions"]
        with ChatServer(in_turn("近")) as server:
            assert asyncio.run(_once(endpoint(server))) == "近"
        assert len(proxy.requests) == 1
    monkeypatch.setenv("http_proxy", f"nonsense://u:{KEY}@127.0.0.1")
    with pytest.raises(UserError, match="a proxy that cannot be used"):
        ChatClient(parse_endpoint("http://example.invalid/v1#m", "MY_KEY"))


def test_nothing_of_the_environment_but_the_key_is_sent(monkeypatch):
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, KEY)
    _, _, server = answered("好")
    assert KEY not in str(server.requests)


def test_azures_version_is_the_one_query_and_its_key_has_a_header_of_its_own(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    deployment = "https://x.openai.azure.com/openai/deployments/d"
    azure = parse_endpoint(f"{deployment}/?api-version=2024-10-21#d")
    assert azure.url == f"{deployment}?api-version=2024-10-21"
    assert call_address(azure) == f"{deployment}/chat/completions?api-version=2024-10-21"
    headers = request_headers(azure, KEY)
    assert headers["api-key"] == KEY and "Authorization" not in headers
    for url in ("https://api.example/v1", "http://127.0.0.1:1/v1"):
        headers = request_headers(parse_endpoint(f"{url}#m"), KEY)
        assert headers["Authorization"] == f"Bearer {KEY}" and "api-key" not in headers
    for query in ("key=1", "api-version=1&key=2", "api-version=", "api-version=a%26key"):
        with pytest.raises(UserError, match="a query"):
            parse_endpoint(f"{deployment}?{query}#d")
