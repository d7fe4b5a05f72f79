"""The client of every server that takes OpenAI-style chat requests: a provider, vLLM, or `transformers serve` on loopback."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypedDict, TypeVar, Unpack

import httpx2

from medllm_hf.endpoints.address import Endpoint, call_address, on_this_machine, read_key, request_headers
from medllm_hf.endpoints.answer_reader import AnswerReader, Delta, TooLong
from medllm_hf.endpoints.extra_body import extra_fields, secrets_in
from medllm_hf.endpoints.patience import GONE_WAIT, Patience
from medllm_hf.endpoints.refusals import THINKING, Failure, address_advice, unreachable, without
from medllm_hf.endpoints.response import billed, counted, is_all_reasoning, one_line, read, read_stream, said, thought
from medllm_hf.errors import UserError

Key = TypeVar("Key")
Item = TypeVar("Item")

LONGEST_BACKOFF = 30.0
# Seconds until a connection stands. The system's own limit for an address that swallows all it is sent is minutes.
CONNECT_SECONDS = 10.0
# What asks an endpoint whether it can be used, and the most tokens of its reply.
PREFLIGHT = [{"role": "user", "content": "你好"}]
PREFLIGHT_TOKENS = 64
LIMIT_FLAG = "--max-new-tokens"


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
    stream_options: dict | None


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
        text: The content; "" where the server gave none (an empty reply, a refusal, or reasoning only). Reasoning that stands
            in it has one form, `<think>…</think>`.
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

    @property
    def used_up(self) -> bool:
        """Whether the limit of tokens has cut the reply before its first word, as reasoning does, shown or hidden."""
        return is_all_reasoning(self.text, self.finish)


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
        remedy: What to do; "" where the reason says it.
        thinking: Whether a streamed request failed since the server takes no variables of the chat template.
    """

    def __init__(self, endpoint: Endpoint, failure: Failure, key: str = "", repeated: int = 0):
        secrets = [key, *secrets_in(endpoint.extra_body)]
        reason = one_line(failure.reason, secrets) + (f" (after {repeated + 1} requests)" if repeated else "")
        self.status, self.reason, self.fatal = failure.status, reason, failure.fatal
        self.remedy = failure.remedy or address_advice(endpoint.url, failure)
        self.thinking = THINKING in failure.reason and THINKING not in endpoint.extra_body
        self.text = (f"status {self.status}, {reason}" if self.status else reason) + (f"; {self.remedy}" if self.remedy else "")
        super().__init__(f"{endpoint.model} at {endpoint.url}: {self.text}")

    def told(self, expected: str, do: str, then: str = "") -> UserError:
        """The same as the user's mistake: the remedy, or what else to `do`, and then what to do after it."""
        do = f"{self.remedy or do}{then}"
        return UserError(str(self).rstrip().removesuffix(f"; {self.remedy}"), expected, do)


def used_up(endpoint: Endpoint, limit: int | None, flag: str) -> EndpointError:
    """What is said of an endpoint whose reasoning leaves no token for its reply; `limit` is None where the server's holds."""
    reason = f"all {limit or 'the'} tokens of the reply went into reasoning, and none into an answer"
    return EndpointError(endpoint, Failure(None, reason, again=False, fatal=True, remedy=f"raise {flag}"))


def request_body(
    endpoint: Endpoint, messages: Sequence[dict], max_tokens: int | None, **fields: Unpack[RequestFields]
) -> dict[str, object]:
    """The body of a chat request; fields that are None are not in it, and those of the user stand beside ours."""
    body = {"model": endpoint.model, "messages": list(messages), "max_tokens": max_tokens, **fields}
    extra = extra_fields(endpoint.extra_body)
    if endpoint.enable_thinking is not None:
        variables = extra.get(THINKING) if isinstance(extra.get(THINKING), dict) else {}
        body[THINKING] = {**(variables or {}), "enable_thinking": endpoint.enable_thinking}
    return {**extra, **{name: value for name, value in body.items() if value is not None}}


def timeouts(read: float | None) -> httpx2.Timeout:
    """The time-outs of a client of ours: for the connection always, and for `read` seconds of silence."""
    return httpx2.Timeout(read, connect=CONNECT_SECONDS)


def client_error(error: Exception) -> UserError:
    """The refusal of an environment by which no client can be made: its certificates, or its proxy."""
    if isinstance(error, OSError):
        found = f"certificates that cannot be read ({error})"
        return UserError(found, "a file of certificates in SSL_CERT_FILE", "correct or unset SSL_CERT_FILE and SSL_CERT_DIR")
    return UserError("a proxy that cannot be used", "an http:// proxy", "check HTTPS_PROXY and ALL_PROXY")


# What making a client of httpx raises: a lacking file or one without certificates is an OSError.
CLIENT_FAULTS = (ImportError, ValueError, OSError, httpx2.InvalidURL)


class ChatClient:
    """Answers from one endpoint: `async with ChatClient(endpoint) as client: reply = await client.complete(...)`.

    Attributes:
        usage: Requests and tokens so far.
        dropped: Fields that the server refused and that are left out since a request without them was answered; four of
            them are changed instead, see `without`.
        worded: Whether a reply has had a word. Who goes on with a run may say so.

    Raises:
        UserError: the key is missing, or the environment names a proxy or certificates that cannot be used.
    """

    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint
        self.usage = Usage()
        self.dropped: set[str] = set()
        self._key = read_key(endpoint)
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._extra = tuple(extra_fields(endpoint.extra_body))
        self._patience = Patience(f"{endpoint.model} at {endpoint.url}")
        self.worded = self._answered = self._formed = False
        try:
            self._http = httpx2.AsyncClient(
                headers=request_headers(endpoint, self._key),
                # The deadline stands around each request: a time-out of reading would start anew with every byte.
                timeout=timeouts(None),
                # The slots bound the connections; a second bound in the pool could only wait.
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=endpoint.concurrency),
                trust_env=not on_this_machine(endpoint.url),
            )
        except CLIENT_FAULTS as error:
            raise client_error(error) from error

    async def __aenter__(self) -> "ChatClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def complete(
        self,
        messages: Sequence[dict],
        *,
        max_tokens: int,
        limit_flag: str = LIMIT_FLAG,
        account: RequestAccount | None = None,
        **fields: Unpack[RequestFields],
    ) -> Reply:
        """The model's reply to `messages`, at temperature 0 where `fields` say nothing; `account` reckons each request.

        `limit_flag` names the option that sets `max_tokens`, for who has to raise it.

        Repeated after 408, 409, 429, 5xx, a failed or cut connection, a time-out, and an answer without a readable choice:
        after the back-off, or after the server's Retry-After where that is longer, up to `LONGEST_RETRY_AFTER` seconds,
        and then up to half as long again, by chance. The wait keeps its slot, so a server in trouble gets fewer requests.
        An endpoint that can no longer be reached is asked for `GONE_SECONDS`, whatever the repetitions.

        Raises:
            EndpointError: another status, the repetitions are used up, or the account's budget is reached; or reasoning has
                used up this reply, and no reply before has had a word.
        """
        asked: RequestFields = {"temperature": 0.0, **fields}
        body = request_body(self.endpoint, messages, max_tokens, **asked)
        async with self._slots:
            began = time.monotonic()
            left_out: set[str] = set()
            failures = repeated = 0
            while True:
                # Another call may find out meanwhile what the server does not take.
                leaving = self.dropped | left_out
                answer = await self._answer(without(body, leaving), account)
                if not isinstance(answer, Failure):
                    self.dropped |= left_out
                    self._formed |= "response_format" in body and "response_format" not in self.dropped
                    reply = self._reply(answer, time.monotonic() - began, repeated)
                    self.worded |= not reply.used_up
                    if not self.worded and messages is not PREFLIGHT:
                        raise used_up(self.endpoint, max_tokens, limit_flag)
                    return reply
                if answer.field and answer.field not in leaving and not self._takes(answer.field):
                    left_out.add(answer.field)
                elif answer.again and (failures < self.endpoint.retries if answer.connected else not self._patience.is_over()):
                    await asyncio.sleep(self._wait(failures, answer.after) if answer.connected else GONE_WAIT)
                    failures += answer.connected
                else:
                    raise EndpointError(self.endpoint, await self._given_up(answer, account), self._key, repeated)
                repeated += 1
                self.usage.retries += 1

    async def preflight(self, account: RequestAccount | None = None) -> None:
        """Asks one short question and learns which fields the server takes.

        Raises:
            EndpointError: no answer, which is fatal: nothing else would be answered.
        """
        worded = self.worded
        try:
            await self.complete(PREFLIGHT, max_tokens=PREFLIGHT_TOKENS, account=account)
        except EndpointError as error:
            error.fatal = True
            raise
        # A greeting says nothing of how long the model thinks about a question.
        self.worded = worded

    async def _given_up(self, failure: Failure, account: RequestAccount | None) -> Failure:
        """The failure of a call after its last request, fatal where the endpoint answers nothing else either."""
        if not failure.connected:
            return replace(failure, fatal=True)
        if self._patience.doubts(failure):
            greeting = without(request_body(self.endpoint, PREFLIGHT, PREFLIGHT_TOKENS, temperature=0.0), self.dropped)
            return replace(failure, fatal=isinstance(await self._answer(greeting, account), Failure))
        return failure

    def _takes(self, field: str) -> bool:
        """Whether the server has taken a field before, so that a complaint is about something else."""
        return field == "response_format" and self._formed

    async def _answer(self, body: dict, account: RequestAccount | None) -> dict | Failure:
        """What comes of one request, which the account allows."""
        number = await account.open(body) if account else 0
        if number is None:
            return Failure(None, "the budget is reached", again=False)
        answer = await self._request(body)
        self._patience.saw(answer if isinstance(answer, Failure) else None)
        if account:
            account.close(number, billed(answer))
        return answer

    async def _request(self, body: dict) -> dict | Failure:
        self.usage.requests += 1
        try:
            async with asyncio.timeout(self.endpoint.timeout):
                return await self._exchange(body)
        except TimeoutError:
            return Failure(None, f"no whole answer within {self.endpoint.timeout:g} s", again=True, billed=None)
        except httpx2.RequestError as error:
            return unreachable(error, self._answered)

    async def _exchange(self, body: dict) -> dict | Failure:
        """What one request brings; only the bytes of an answer are read that we have room for."""
        async with self._http.stream("POST", call_address(self.endpoint), content=json.dumps(body)) as response:
            deltas: list[Delta] = []
            try:
                reader = AnswerReader(response.headers.get("Content-Encoding", ""), plain=not response.is_success)
                async for block in response.aiter_raw():
                    deltas += reader.feed(block)
                if reader.streamed:
                    deltas += reader.end()
            except (ValueError, RecursionError) as error:
                return Failure(None, str(error), again=not isinstance(error, TooLong), billed=None)
        self._answered = True
        if reader.streamed:
            return read_stream(reader, deltas)
        headers = {name: value for name, value in response.headers.items() if name.lower() != "content-encoding"}
        return read(httpx2.Response(response.status_code, headers=headers, content=bytes(reader.whole)), body, self._extra)

    def _wait(self, failures: int, after: float) -> float:
        """Seconds before the next request: never fewer than the server asked for, and not the same for all."""
        return max(after, min(LONGEST_BACKOFF, self.endpoint.backoff * 2**failures)) * random.uniform(1, 1.5)

    def _reply(self, answer: dict, seconds: float, repeated: int) -> Reply:
        text, finish = said(answer)
        prompt, completion = counted(answer) or (None, None)
        self.usage.prompt_tokens += prompt or 0
        self.usage.completion_tokens += completion or 0
        self.usage.unknown += prompt is None
        model = answer.get("model") or self.endpoint.model
        return Reply(text, finish, prompt, completion, model, seconds, repeated, thought(answer))


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
    return {key: failed[key] for key in items if key in failed}  # in the order of the items, not of the answers
