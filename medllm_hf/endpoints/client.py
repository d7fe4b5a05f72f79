"""The client of every server that takes OpenAI-style chat requests: a provider, vLLM, or `transformers serve` on loopback."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Protocol, TypedDict, TypeVar, Unpack

import httpx2

from medllm_hf.endpoints.address import Endpoint, on_this_machine, read_key
from medllm_hf.endpoints.response import (
    FATAL_STATUS,
    THINKING,
    Delta,
    Failure,
    billed,
    counted,
    deltas,
    one_line,
    read,
    said,
    thought,
    whole_characters,
    without,
)
from medllm_hf.errors import UserError

Key = TypeVar("Key")
Item = TypeVar("Item")

LONGEST_BACKOFF = 30.0
# Seconds between two looks at whether a streamed answer is to stop.
LOOK = 0.05
# What a server can make go wrong in a stream: brackets without end are a RecursionError, a lacking decoder an ImportError.
FAULTS = (httpx2.HTTPError, httpx2.InvalidURL, ImportError, ValueError, RecursionError)


class RequestFields(TypedDict, total=False):
    """Fields of a chat request by their names in it; those that are None are not sent."""

    temperature: float | None
    top_p: float | None
    top_k: int | None
    repetition_penalty: float | None
    seed: int | None
    stop: Sequence[str] | None
    response_format: dict | None
    stream: bool | None


class RequestAccount(Protocol):
    """Reckons requests: each is opened before it is sent and closed after."""

    async def open(self, body: Mapping) -> int | None:
        """The number of the request `body`; None when it may not be sent."""

    def close(self, number: int, counted: tuple[int, int] | None) -> None:
        """Ends a request whose prompt and reply the server has counted so; None where nobody knows."""


@dataclass(frozen=True)
class Reply:
    """One answer of a chat model.

    Attributes:
        text: The content; "" where the server gave none (an empty reply, a refusal, or reasoning only).
        finish: The server's `finish_reason`: "stop", "length", "content_filter" or another; "refusal" where it gave a
            refusal in the place of content, "" where it gave no reason.
        prompt_tokens, completion_tokens: As the server counted them, None where it did not.
        model: What the server says that it ran.
        seconds: From the first request to this reply, repetitions and waits included.
        retries: Requests before the one that brought this reply.
        thought: What the server gave of the model's reasoning in a field of its own; it is no part of `text`.
    """

    text: str
    finish: str
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str
    seconds: float
    retries: int
    thought: str = ""


@dataclass
class Usage:
    """What a client has spent so far. `requests - retries` is the number of calls of `complete` that were sent.

    Attributes:
        requests: HTTP requests sent.
        retries: Those of them that repeated an earlier one, after a failure or without a field.
        prompt_tokens, completion_tokens: Sums over all answers that carry counts.
        unknown: Replies without counts.
    """

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unknown: int = 0


class EndpointError(Exception):
    """A request that failed for good. Its text is one line without the key.

    Attributes:
        status: The last HTTP status; None where no whole reply came.
        reason: One line.
        fatal: Whether every other request of the run would fail too: wrong key, no permission, no such model, no money
            left, a redirection, or an address that never answered.
        text: Status and reason.
        thinking: Whether a streamed request failed since the server takes no variables of the chat template.
    """

    def __init__(self, endpoint: Endpoint, status: int | None, reason: str, fatal: bool, thinking: bool = False):
        self.text = f"status {status}, {reason}" if status else reason
        super().__init__(f"{endpoint.model} at {endpoint.url}: {self.text}")
        self.status, self.reason, self.fatal, self.thinking = status, reason, fatal, thinking


def request_body(
    endpoint: Endpoint, messages: Sequence[dict], max_tokens: int | None, **fields: Unpack[RequestFields]
) -> dict[str, object]:
    """The body of a chat request; fields that are None are not in it."""
    body = {"model": endpoint.model, "messages": list(messages), "max_tokens": max_tokens, **fields}
    if endpoint.enable_thinking is not None:
        body[THINKING] = {"enable_thinking": endpoint.enable_thinking}
    return {name: value for name, value in body.items() if value is not None}


def _headers(key: str) -> dict[str, str]:
    return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


def _address(endpoint: Endpoint) -> str:
    return f"{endpoint.url}/chat/completions"


class ChatClient:
    """Answers from one endpoint: `async with ChatClient(endpoint) as client: reply = await client.complete(...)`.

    Attributes:
        usage: Requests and tokens so far.
        dropped: Fields that the server refused by name and that are left out since a request without them was answered.
            "max_tokens" among them means that `max_completion_tokens` is sent in its place.

    Raises:
        UserError: the key is missing, or the environment names a proxy that cannot be used.
    """

    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint
        self.usage = Usage()
        self.dropped: set[str] = set()
        self._key = read_key(endpoint)
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._answered = False
        try:
            self._http = httpx2.AsyncClient(
                headers=_headers(self._key),
                # The deadline stands around each request: these time-outs would start anew with every byte.
                timeout=None,
                # The slots bound the connections; a second bound in the pool could only wait.
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=endpoint.concurrency),
                trust_env=not on_this_machine(endpoint.url),
            )
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise UserError("a proxy that cannot be used", "an http:// proxy", "check HTTPS_PROXY and ALL_PROXY") from error

    async def __aenter__(self) -> "ChatClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def complete(
        self,
        messages: Sequence[dict],
        *,
        max_tokens: int,
        account: RequestAccount | None = None,
        **fields: Unpack[RequestFields],
    ) -> Reply:
        """The model's reply to `messages`, at temperature 0 where `fields` say nothing; `account` reckons each request.

        Repeated after 408, 409, 429, 5xx, a failed or cut connection, a time-out, and an answer without a readable choice:
        after the back-off, or after the server's Retry-After where that is longer, up to `LONGEST_RETRY_AFTER` seconds,
        and then up to half as long again, by chance. The wait keeps its slot, so a server in trouble gets fewer requests.

        Raises:
            EndpointError: another status, the repetitions are used up, or the account's budget is reached.
        """
        asked: RequestFields = {"temperature": 0.0, **fields}
        body = request_body(self.endpoint, messages, max_tokens, **asked)
        async with self._slots:
            began = time.monotonic()
            left_out: set[str] = set()
            failures = repeated = 0
            while True:
                answer = await self._answer(without(body, self.dropped | left_out), account)
                if not isinstance(answer, Failure):
                    self.dropped |= left_out
                    return self._reply(answer, time.monotonic() - began, repeated)
                if answer.field:
                    left_out.add(answer.field)
                elif answer.again and failures < self.endpoint.retries:
                    await asyncio.sleep(self._wait(failures, answer.after))
                    failures += 1
                else:
                    raise self._error(answer, repeated)
                repeated += 1
                self.usage.retries += 1

    async def _answer(self, body: dict, account: RequestAccount | None) -> dict | Failure:
        """What comes of one request, which the account allows."""
        if account is None:
            return await self._request(body)
        number = await account.open(body)
        if number is None:
            return Failure(None, "the budget is reached", again=False)
        answer = await self._request(body)
        account.close(number, billed(answer))
        return answer

    async def _request(self, body: dict) -> dict | Failure:
        self.usage.requests += 1
        try:
            async with asyncio.timeout(self.endpoint.timeout):
                response = await self._http.post(_address(self.endpoint), content=json.dumps(body))
        except TimeoutError:
            return Failure(None, f"no whole answer within {self.endpoint.timeout:g} s", again=True, billed=None)
        except httpx2.RequestError as error:
            nobody = isinstance(error, httpx2.ConnectError) and not self._answered
            # Without a connection nothing was sent.
            spent = (0, 0) if isinstance(error, httpx2.ConnectError) else None
            return Failure(None, f"{type(error).__name__} {error}", again=True, fatal=nobody, billed=spent)
        self._answered = True
        return read(response, body)

    def _wait(self, failures: int, after: float) -> float:
        """Seconds before the next request: never fewer than the server asked for, and not the same for all."""
        return max(after, min(LONGEST_BACKOFF, self.endpoint.backoff * 2**failures)) * random.uniform(1, 1.5)

    def _error(self, failure: Failure, repeated: int) -> EndpointError:
        reason = one_line(failure.reason, self._key) + (f" (after {repeated + 1} requests)" if repeated else "")
        return EndpointError(self.endpoint, failure.status, reason, failure.fatal)

    def _reply(self, answer: dict, seconds: float, repeated: int) -> Reply:
        text, finish = said(answer)
        prompt, completion = counted(answer) or (None, None)
        self.usage.prompt_tokens += prompt or 0
        self.usage.completion_tokens += completion or 0
        self.usage.unknown += prompt is None
        model = answer.get("model") or self.endpoint.model
        return Reply(text, finish, prompt, completion, model, seconds, repeated, thought(answer))


def stream_chat(endpoint: Endpoint, key: str, body: dict[str, object], stopping: Event) -> Iterator[Delta]:
    """Yields what the server sends for one request, as it comes; soon after `stopping` is set, no more.

    The last one says why the model stopped. The request is sent once: what goes wrong in an answer that somebody reads is
    for him to see, and so is a field that the server does not take.

    Args:
        key: what `read_key` says.

    Raises:
        EndpointError: no connection, the server refuses, or it sends something else.
    """
    events: SimpleQueue[Delta | EndpointError | None] = SimpleQueue()
    left = Event()
    Thread(target=_fetch, args=(endpoint, key, body, events, left), daemon=True).start()
    half, finish = "", "stop"
    try:
        while not stopping.is_set():
            try:
                event = events.get(timeout=LOOK)
            except Empty:
                continue
            if event is None:
                yield Delta("\ufffd" if half else "", finish)
                return
            if isinstance(event, EndpointError):
                raise event
            finish = event.finish or finish
            text, half = whole_characters(half + event.text)
            yield Delta(text, event.finish)
    finally:
        left.set()


def _fetch(
    endpoint: Endpoint, key: str, body: dict[str, object], events: "SimpleQueue[Delta | EndpointError | None]", left: Event
) -> None:
    """Puts what the server sends into `events`, then None; or what went wrong. Runs in a thread of its own."""
    try:
        with (
            httpx2.Client(headers=_headers(key), timeout=endpoint.timeout, trust_env=not on_this_machine(endpoint.url)) as http,
            http.stream("POST", _address(endpoint), content=json.dumps(body)) as response,
        ):
            if not response.is_success:
                text = response.read().decode("utf-8", "replace")
                events.put(_stream_error(endpoint, key, text, response.status_code))
                return
            for delta in deltas(response.iter_bytes()):
                events.put(delta)
                if left.is_set():
                    return
        events.put(None)
    except FAULTS as error:
        text = f"{type(error).__name__} {error}" if isinstance(error, httpx2.HTTPError) else str(error)
        events.put(_stream_error(endpoint, key, text, None))


def _stream_error(endpoint: Endpoint, key: str, text: str, status: int | None) -> EndpointError:
    before = f"status {status}," if status else ""
    reason = one_line(f"{before} {text}", key).removeprefix(before).strip()
    return EndpointError(endpoint, status, reason, status in FATAL_STATUS, thinking=THINKING in text)


async def ask_all(
    items: Mapping[Key, Item], ask: Callable[[Key, Item], Awaitable[None]], at_once: int
) -> dict[Key, EndpointError]:
    """Has `ask` ask for every item, in their order and at most `at_once` at a time; returns the failures.

    Raises:
        EndpointError: one that every other request would meet too; the rest are not asked.
    """
    failed: dict[Key, EndpointError] = {}
    waiting = iter(items.items())

    async def work() -> None:
        for key, item in waiting:
            try:
                await ask(key, item)
            except EndpointError as error:
                if error.fatal:
                    raise
                failed[key] = error

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except BaseExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
    return failed
