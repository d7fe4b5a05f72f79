"""An endpoint that dies in the middle of a run ends it soon, and one that fails some questions alone does not."""

import asyncio

import pytest
from support.asking import ASKED, endpoint
from support.chat_server import Behaviour, ChatServer

from medllm_hf.endpoints import client as client_module
from medllm_hf.endpoints import patience
from medllm_hf.endpoints.client import ChatClient, EndpointError, ask_all

NOTHING = Behaviour(body={"choices": []})


def run(server: ChatServer, script, questions: int, after=lambda n: None) -> tuple[list[int], object]:
    """Which of the questions were answered, one after another, and the failures, or the one that has ended the rest."""
    answered: list[int] = []

    async def work():
        async with ChatClient(endpoint(server, concurrency=1, retries=2)) as client:
            await client.preflight()
            server.script = script

            async def ask(key: int, _: None) -> None:
                await client.complete([{"role": "user", "content": str(key)}], max_tokens=8)
                answered.append(key)
                after(key)

            return await ask_all(dict.fromkeys(range(questions)), ask, 1)

    try:
        return answered, asyncio.run(work())
    except EndpointError as error:
        return answered, error


def asked(body: dict) -> str:
    return body["messages"][0]["content"]


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(patience, "GONE_SECONDS", 0.2)
    monkeypatch.setattr(client_module, "GONE_WAIT", 0.02)


def test_a_server_that_has_gone_ends_the_run_with_one_notice(hurried, caplog):
    with ChatServer(lambda body: "好") as server:

        def after(key: int) -> None:
            if key == 2:
                asyncio.run_coroutine_threadsafe(server._close(), server._loop).result()

        answered, error = run(server, lambda body: "好", 30, after)
    assert answered == [0, 1, 2]
    assert isinstance(error, EndpointError) and error.fatal and "ConnectError" in error.reason
    (notice,) = caplog.messages
    assert "cannot be reached any more" in notice and "\n" not in notice


def test_a_server_that_comes_back_is_gone_on_with(monkeypatch):
    monkeypatch.setattr(client_module, "GONE_WAIT", 0.02)
    with ChatServer(lambda body: "好") as server:

        async def work():
            async with ChatClient(endpoint(server, retries=0)) as client:
                await client.preflight()
                url, gone = client.endpoint, endpoint(server, retries=0)
                with ChatServer(lambda body: "x") as other:
                    closed = other.url
                client.endpoint = type(gone)(closed, gone.model, timeout=5, retries=0)
                asyncio.get_running_loop().call_later(0.2, setattr, client, "endpoint", url)
                return await client.complete(ASKED, max_tokens=8)

        reply = asyncio.run(work())
    assert reply.text == "好" and reply.retries > 0


@pytest.mark.parametrize("answer", [NOTHING, Behaviour(502, b"bad gateway"), Behaviour(body=b"no JSON")])
def test_an_endpoint_that_sends_nothing_of_use_any_more_ends_the_run(answer):
    with ChatServer(lambda _: "好", all_requests=True) as server:
        answered, error = run(server, lambda request: "好" if asked(request.body) < "5" else answer, 9)
    assert answered == [0, 1, 2, 3, 4]
    assert isinstance(error, EndpointError) and error.fatal
    # The preflight, five replies, three questions with two repetitions each, and a greeting.
    assert len(server.requests) == 1 + 5 + 3 * 3 + 1


@pytest.mark.parametrize("answer", [NOTHING, Behaviour(500)])
def test_questions_in_a_row_that_the_endpoint_alone_fails_are_left_out(answer):
    with ChatServer(lambda _: "好") as server:
        answered, failed = run(server, lambda body: answer if "2" <= asked(body) <= "6" else "好", 9)
    assert answered == [0, 1, 7, 8] and list(failed) == [2, 3, 4, 5, 6]
    assert len(server.preflights) == 2, "the first greeting and one after the third failure"


def test_an_endpoint_that_asks_to_slow_down_is_not_given_up():
    with ChatServer(lambda _: "好", all_requests=True) as server:
        answered, failed = run(server, lambda _: Behaviour(429), 5)
    assert answered == [] and list(failed) == [0, 1, 2, 3, 4]
