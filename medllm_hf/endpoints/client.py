"""A chat client for every server that takes OpenAI-style requests: a provider, vLLM, or `transformers serve` on loopback."""

import asyncio
import ipaddress
import json
import os
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2

from medllm_hf.endpoints.response import THINKING, Failure, billed, counted, one_line, read, said, without
from medllm_hf.errors import UserError

if TYPE_CHECKING:
    from medllm_hf.evaluation.costs.ledger import Account

LONGEST_BACKOFF = 30.0


@dataclass(frozen=True)
class Endpoint:
    """Where a chat model answers. It holds no secret, so it may stand in a manifest.

    Attributes:
        url: The base that `/chat/completions` is added to, such as `http://127.0.0.1:8000/v1`.
        key_env: The environment variable that holds the key; None sends no key.
        timeout: Seconds for one whole request, from the first byte sent to the last byte received.
        retries: How often a request is repeated after a passing failure.
        concurrency: The most requests under way at once.
        backoff: Seconds before the first repetition. They double each time, up to `LONGEST_BACKOFF`.
        enable_thinking: What the server is to tell the model's chat template; None tells it nothing.
    """

    url: str
    model: str
    key_env: str | None = "OPENAI_API_KEY"
    timeout: float = 300.0
    retries: int = 6
    concurrency: int = 8
    backoff: float = 0.5
    enable_thinking: bool | None = None


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
    """

    text: str
    finish: str
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str
    seconds: float
    retries: int


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
    """

    def __init__(self, endpoint: Endpoint, status: int | None, reason: str, fatal: bool):
        super().__init__(f"{endpoint.model} at {endpoint.url}: {f'status {status}, ' if status else ''}{reason}")
        self.status, self.reason, self.fatal = status, reason, fatal


def parse_endpoint(
    spec: str,
    key_env: str = "OPENAI_API_KEY",
    *,
    timeout: float = Endpoint.timeout,
    retries: int = Endpoint.retries,
    concurrency: int = Endpoint.concurrency,
    backoff: float = Endpoint.backoff,
) -> Endpoint:
    """The endpoint that `http://HOST:PORT/v1#MODEL` names; the attributes of `Endpoint` say what the settings mean.

    Raises:
        UserError: no such address; credentials or a query in it; no key for an address beyond this machine; or a setting
            out of range. The text repeats nothing that may be a secret.
    """
    address, _, model = spec.partition("#")
    expected, do = "http://HOST:PORT/v1#MODEL", "give the endpoint so, with the key in an environment variable"
    shown = "an endpoint" if set("@?") & set(address) else f"endpoint {address!r}"
    try:
        url = httpx2.URL(address)
    except httpx2.InvalidURL as error:
        raise UserError(f"{shown} that is no address", expected, do) from error
    if url.userinfo or url.query:
        raise UserError("credentials or a query in an endpoint's address", expected, do)
    if url.scheme not in ("http", "https") or not url.host or not 0 < (url.port or 80) < 65536:
        raise UserError(f"{shown} without http:// or https://, a host and a port below 65536", expected, do)
    if url.path.rstrip("/").endswith("/completions"):
        raise UserError(f"{shown}, which is the address of one call", expected, "leave out /chat/completions")
    if not model.strip():
        raise UserError(f"{shown} without a model", expected, "add # and the name that the server gives the model")
    if timeout <= 0 or retries < 0 or concurrency < 1 or backoff <= 0:
        found = f"timeout {timeout}, retries {retries}, concurrency {concurrency}, backoff {backoff}"
        raise UserError(found, "retries of 0 or more and the others above 0", "change them")
    endpoint = Endpoint(str(url).rstrip("/"), model.strip(), key_env, timeout, retries, concurrency, backoff)
    _key(endpoint)
    return endpoint


def _on_loopback(url: str) -> bool:
    host = httpx2.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(endpoint: Endpoint) -> str:
    """The endpoint's key, "" where none is needed and none is set.

    Raises:
        UserError: no key for an address beyond this machine, or one that no provider gives out.
    """
    name = endpoint.key_env
    if name is None:
        return ""
    # A key given by mistake in the place of the name would end up in messages and manifests.
    if not re.fullmatch("[A-Z_][A-Z0-9_]*", name):
        expected = "the name of an environment variable in capitals"
        raise UserError("something else as the name of the key's variable", expected, "export the key and name the variable")
    key = os.environ.get(name, "").strip()
    if not key and not _on_loopback(endpoint.url):
        do = f"export {name} or name another variable"
        raise UserError(f"no {name} in the environment", f"the key of {endpoint.url}", do)
    if not re.fullmatch("[!-~]*", key):
        raise UserError(f"blanks or characters beyond ASCII in {name}", "a key", "copy it again from the provider")
    return key


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
        self._key = _key(endpoint)
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._answered = False
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        try:
            self._http = httpx2.AsyncClient(
                headers=headers,
                # The deadline stands around each request: these time-outs would start anew with every byte.
                timeout=None,
                # The slots bound the connections; a second bound in the pool could only wait.
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=endpoint.concurrency),
                trust_env=not _on_loopback(endpoint.url),
            )
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise UserError("a proxy that cannot be used", "an http:// proxy", "check HTTPS_PROXY and ALL_PROXY") from error

    async def __aenter__(self) -> "ChatClient":
        return self

    async def __aexit__(self, *_) -> None:
        await self._http.aclose()

    async def complete(
        self,
        messages: Sequence[dict],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        top_p: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] | None = None,
        response_format: dict | None = None,
        account: "Account | None" = None,
    ) -> Reply:
        """The model's reply to `messages`; fields that are None are not sent. Each request is reckoned by `account`.

        Repeated after 408, 409, 429, 5xx, a failed or cut connection, a time-out, and an answer without a readable choice:
        after the back-off, or after the server's Retry-After where that is longer, up to `LONGEST_RETRY_AFTER` seconds,
        and then up to half as long again, by chance. The wait keeps its slot, so a server in trouble gets fewer requests.

        Raises:
            EndpointError: another status, the repetitions are used up, or the account's budget is reached.
        """
        options = {"response_format": response_format, "seed": seed, "top_p": top_p, "stop": stop, "temperature": temperature}
        body = {"model": self.endpoint.model, "messages": list(messages), "max_tokens": max_tokens}
        body |= {name: value for name, value in options.items() if value is not None}
        if self.endpoint.enable_thinking is not None:
            body[THINKING] = {"enable_thinking": self.endpoint.enable_thinking}
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

    async def _answer(self, body: dict, account: "Account | None") -> dict | Failure:
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
                response = await self._http.post(f"{self.endpoint.url}/chat/completions", content=json.dumps(body))
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
        return Reply(text, finish, prompt, completion, answer.get("model") or self.endpoint.model, seconds, repeated)
