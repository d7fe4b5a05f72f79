"""The loop of every run over an endpoint: all are asked in order, a failure is one item's, a fatal one ends the rest."""

import asyncio

import pytest

from medllm_hf.endpoints.address import Endpoint
from medllm_hf.endpoints.client import EndpointError, ask_all
from medllm_hf.endpoints.refusals import Failure

WHERE = Endpoint("http://127.0.0.1:1/v1", "m")


def run(behaviour: dict[int, EndpointError | None], at_once: int) -> tuple[dict[int, EndpointError], list[int], int]:
    """The failures of asking for the keys of `behaviour`, in which order they began, and how many were under way at most."""
    begun: list[int] = []
    under_way = most = 0

    async def ask(key: int, error: EndpointError | None) -> None:
        nonlocal under_way, most
        begun.append(key)
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        if error:
            raise error

    return asyncio.run(ask_all(behaviour, ask, at_once)), begun, most


@pytest.mark.parametrize("at_once", [1, 3, 20])
def test_all_are_asked_in_order_and_failures_come_back(at_once):
    refused = EndpointError(WHERE, Failure(400, "too long", again=False))
    failed, begun, most = run({key: refused if key % 4 == 0 else None for key in range(10)}, at_once)
    assert (failed, begun, most) == ({0: refused, 4: refused, 8: refused}, list(range(10)), min(at_once, 10))


def test_a_fatal_failure_ends_the_rest():
    fatal = EndpointError(WHERE, Failure(401, "no such key", again=False, fatal=True))
    begun: list[int] = []

    async def ask(key: int, error: EndpointError | None) -> None:
        begun.append(key)
        if error:
            raise error
        await asyncio.sleep(60)

    with pytest.raises(EndpointError) as raised:
        asyncio.run(ask_all({1: None, 2: fatal, 3: None}, ask, 2))
    assert raised.value is fatal and begun == [1, 2], "what was under way is cancelled, and nothing else is begun"


def test_what_is_no_failure_of_an_endpoint_is_raised_as_it_is():
    async def ask(key: int, item: None) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        asyncio.run(ask_all({1: None, 2: None}, ask, 2))


def test_nothing_to_ask():
    assert run({}, 4) == ({}, [], 0)
