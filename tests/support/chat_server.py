"""A scripted OpenAI-style server on loopback: a function decides what each request meets, and every request is recorded."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from medllm_hf.endpoints.client import PREFLIGHT

REASONS = {200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 429: "Too Many Requests"}


@dataclass(frozen=True)
class Behaviour:
    """What one request meets: `delay` seconds, then `status`, `headers` and `body` (an object is sent as JSON).

    `cut` closes the connection in the middle of the answer, and `trickle` sends it byte by byte, one every `trickle` seconds.
    """

    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: bool = False
    trickle: float = 0.0


@dataclass(frozen=True)
class Request:
    """One request as it came: `target` is the path (or the whole address, asked of a proxy), `arrived` a monotonic time."""

    target: str
    headers: dict[str, str]
    body: dict
    arrived: float


def completion(
    content: object = "好的", finish: str | None = "stop", usage: tuple[int, int] | None = (7, 3), **message
) -> dict:
    """A chat completion as servers send it; `message` adds fields to the message, usage None leaves the counts out."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    answer = {"id": "c", "object": "chat.completion", "created": 0, "model": "scripted", "choices": [choice]}
    if usage:
        answer["usage"] = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True), total_tokens=sum(usage))
    return answer


class ChatServer:
    """Answers chat requests by `script` while the `with` block runs.

    `script` takes the request's JSON body and returns the reply's text, a whole answer (dict) or a `Behaviour`; it is called
    for one request at a time. `in_turn(...)` makes one from a list.

    The short question by which an endpoint is checked before a run is answered beside the script and not among `requests`,
    unless the script wants `all_requests`: then it takes each as a whole `Request`.

    Attributes:
        url: The base to give to a client.
        requests: All requests so far, in the order of arrival.
        preflights: The short questions so far.
        most_at_once: The greatest number of requests that waited for their answer at the same time.
    """

    def __init__(self, script: Callable[..., "str | dict | Behaviour"], all_requests: bool = False):
        self.script, self._all = script, all_requests
        self.requests: list[Request] = []
        self.preflights: list[Request] = []
        self.most_at_once = 0
        self._open = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "ChatServer":
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(self, *_) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one connection's requests until either side closes it."""
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the server closes
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; whether the connection stays open."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if value}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        request = Request(first.split(" ")[1], headers, body, time.monotonic())
        if body["messages"] == PREFLIGHT and not self._all:
            self.preflights.append(request)
            return await self._send(writer, Behaviour(body=completion("好", usage=(0, 0))))
        self.requests.append(request)
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            meets = self.script(request if self._all else body)
            if isinstance(meets, str):
                meets = completion(meets)
            if isinstance(meets, dict):
                meets = Behaviour(body=meets)
            with suppress(TimeoutError):
                async with asyncio.timeout(meets.delay):
                    await reader.read(1)
                    raise ConnectionResetError  # the client sends nothing before its answer: it has gone
        finally:
            self._open -= 1
        return await self._send(writer, meets)

    async def _send(self, writer: asyncio.StreamWriter, meets: Behaviour) -> bool:
        body = meets.body if isinstance(meets.body, bytes) else json.dumps(meets.body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **meets.headers}
        lines = [f"HTTP/1.1 {meets.status} {REASONS.get(meets.status, 'Status')}", *(f"{k}: {v}" for k, v in headers.items())]
        data = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        if meets.cut:
            data = data[: len(data) - len(body) // 2]
        for part in (data[i : i + 1] for i in range(len(data))) if meets.trickle else [data]:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(meets.trickle)
        return not meets.cut


def in_turn(*answers: "str | dict | Behaviour") -> Callable[[dict], "str | dict | Behaviour"]:
    """A script that gives the answers one after another, and the last one for ever."""
    rest = list(answers)
    return lambda _: rest.pop(0) if len(rest) > 1 else rest[0]
