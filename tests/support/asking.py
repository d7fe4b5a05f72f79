"""Calls of the chat client to a scripted server, for the tests of both."""

import asyncio

from support.chat_server import ChatServer, in_turn

from medllm_hf.endpoints.address import Endpoint, parse_endpoint
from medllm_hf.endpoints.client import ChatClient

ASKED = [{"role": "user", "content": "头痛两天，怎么办？"}]


def endpoint(server: ChatServer, **settings) -> Endpoint:
    """The server as an endpoint that waits only a little between repetitions."""
    return parse_endpoint(server.url + "#scripted", **{"timeout": 20, "retries": 3, "backoff": 0.01} | settings)


def ask(server: ChatServer, times: int = 1, settings: dict | None = None, **options):
    """The replies (or the errors) of `times` calls at once, and the client that made them."""

    async def work():
        async with ChatClient(endpoint(server, **settings or {})) as client:
            calls = [client.complete(ASKED, **{"max_tokens": 16} | options) for _ in range(times)]
            return await asyncio.gather(*calls, return_exceptions=True), client

    return asyncio.run(work())


def answered(*behaviours, settings: dict | None = None, **options):
    """What one call brings when the server behaves so, one request after another: reply or error, client, server."""
    with ChatServer(in_turn(*behaviours)) as server:
        (outcome,), client = ask(server, settings=settings, **options)
        return outcome, client, server
