"""Answers of a model behind an OpenAI-style address, as they are written."""

import ipaddress
import json
import os
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread

import httpx2

from medllm_hf.chat.sampling import Sampling
from medllm_hf.errors import UserError

KEY_ENV = "OPENAI_API_KEY"
# Seconds without a byte from the server, which may have a queue before the model.
SILENCE = 300.0
# Seconds between two looks at whether to stop.
LOOK = 0.05
REASON_LENGTH = 200
# By this field servers take variables of the chat template.
THINKING = "chat_template_kwargs"
FINISH = {"stop": "eos", "length": "limit"}
EXPECTED = "http://HOST:PORT/v1#MODEL"
# What a server can make go wrong: brackets without end are a RecursionError, a lacking decoder is an ImportError.
FAULTS = (httpx2.HTTPError, httpx2.InvalidURL, ImportError, ValueError, RecursionError)


class RemoteWriter:
    """Writes answers through the endpoint `http://HOST:PORT/v1#MODEL`; the key stands in the environment as `KEY_ENV`.

    Attributes:
        at_once: How many answers for different conversations are asked for at the same time.
        stopped, dropped: Of the last answer; see `ChatSession`. The server cuts no history, so `dropped` stays 0.

    Raises:
        UserError: no such address, credentials in it, or no key for an address beyond this machine.
    """

    at_once = 8

    def __init__(self, spec: str, seed: int | None = None):
        self.url, self.name = _parsed(spec)
        self.stopped: str | None = None
        self.dropped = 0
        self._spec, self._seed, self._answers = spec, seed, 0
        self._key = _key(self.url)

    def fork(self, seed: int | None) -> "RemoteWriter":
        """Another writer for the same endpoint."""
        return RemoteWriter(self._spec, seed)

    def release(self) -> None:
        """Frees nothing: what was read is kept by the server."""

    def forget(self) -> None:
        """Begins the seeds again."""
        self._answers = 0

    def write(self, messages: Sequence[dict], sampling: Sampling, stopping: Event) -> Iterator[str]:
        """Yields the answer to `messages` in pieces, and ends soon after `stopping` is set.

        Raises:
            UserError: no connection, or the server refuses; in its own words, without the key.
        """
        self.stopped = "stopped"
        body = self._body(messages, sampling)
        self._answers += 1
        events: SimpleQueue = SimpleQueue()
        left = Event()
        Thread(target=self._fetch, args=(body, events, left), daemon=True).start()
        half = ""
        try:
            while not stopping.is_set():
                try:
                    event = events.get(timeout=LOOK)
                except Empty:
                    continue
                if event is None:
                    self.stopped = "eos" if self.stopped == "stopped" else self.stopped
                    if half:
                        yield "\ufffd"
                    return
                try:
                    text, finish = _read(event)
                except FAULTS as error:
                    raise self._told(error) from error
                self.stopped = FINISH.get(finish, finish) if finish else self.stopped
                # A server that cuts between tokens may send half a pair of surrogates, and the other half next.
                text, half = half + text, ""
                if text and "\ud800" <= text[-1] <= "\udbff":
                    text, half = text[:-1], text[-1]
                if text := text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"):
                    yield text
        finally:
            left.set()

    def _body(self, messages: Sequence[dict], sampling: Sampling) -> dict:
        body = {"model": self.name, "messages": list(messages), "stream": True, "max_tokens": sampling.max_new_tokens}
        body |= {"temperature": 0.0 if sampling.sampled() is False else sampling.temperature, "top_p": sampling.top_p}
        body |= {"top_k": sampling.top_k, "repetition_penalty": sampling.repetition_penalty}
        if sampling.enable_thinking is not None:
            body[THINKING] = {"enable_thinking": sampling.enable_thinking}
        if self._seed is not None:
            body["seed"] = self._seed + self._answers
        return {name: value for name, value in body.items() if value is not None}

    def _fetch(self, body: dict, events: SimpleQueue, left: Event) -> None:
        """Puts the server's events into `events`, then None; or what went wrong. Runs in a thread of its own."""
        try:
            headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
            with (
                httpx2.Client(headers=headers, timeout=SILENCE, trust_env=not _on_loopback(self.url)) as client,
                client.stream("POST", f"{self.url}/chat/completions", content=json.dumps(body)) as response,
            ):
                if not response.is_success:
                    raise ValueError(f"status {response.status_code}, {response.read().decode('utf-8', 'replace')}")
                for event in _events(response):
                    events.put(event)
                    if left.is_set():
                        return
            events.put(None)
        except FAULTS as error:
            events.put(error)

    def _told(self, error: Exception) -> UserError:
        text = f"{type(error).__name__} {error}" if isinstance(error, httpx2.HTTPError) else str(error)
        text = text.replace(self._key, "***") if self._key else text
        refused = THINKING in text
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:REASON_LENGTH]
        if refused:
            expected = "one that takes it, as vLLM, SGLang, llama.cpp and `transformers serve` do"
            return UserError(f"a server that refuses {THINKING} ({text})", expected, "leave out enable_thinking")
        return UserError(f"{self.name} at {self.url}: {text}", "an answer", "check the address, the key and the settings")


def _events(response: httpx2.Response) -> Iterator[dict]:
    """The JSON objects of an event stream, or the one object of a server that does not stream.

    Lines are split at line feeds alone: other separators may stand in the JSON.
    """
    rest = b""
    for block in response.iter_bytes():
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                yield json.loads(line[5:])
    if rest.strip() and not rest.startswith(b"data: [DONE]"):
        yield json.loads(rest.removeprefix(b"data:"))


def _read(event: dict | Exception) -> tuple[str, str | None]:
    """The text of one event and why the model stopped, None while it goes on.

    Raises:
        ValueError: the event says that something went wrong, or cannot be understood.
        Exception: the event is one.
    """
    if isinstance(event, Exception):
        raise event
    try:
        error, choice = event.get("error"), (event.get("choices") or [{}])[0]
        if not error:
            said = choice.get("delta") or choice.get("message") or {}
            return str(said.get("content") or said.get("refusal") or ""), choice.get("finish_reason")
        reason = error["message"] if isinstance(error, dict) else error
    except (AttributeError, KeyError, TypeError):
        reason = "an event that is no chat answer"
    raise ValueError(str(reason))


def _parsed(spec: str) -> tuple[str, str]:
    address, _, model = spec.partition("#")
    do = f"give it so, with the key in {KEY_ENV}"
    try:
        url = httpx2.URL(address)
    except httpx2.InvalidURL as error:
        raise UserError("an endpoint that is no address", EXPECTED, do) from error
    if url.userinfo or url.query:
        raise UserError("credentials or a query in an endpoint's address", EXPECTED, do)
    if not url.host or not model.strip():
        raise UserError(f"endpoint {address!r} without a host or without #MODEL", EXPECTED, do)
    return str(url).rstrip("/"), model.strip()


def _on_loopback(url: str) -> bool:
    host = httpx2.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(url: str) -> str:
    key = os.environ.get(KEY_ENV, "").strip()
    if not key and not _on_loopback(url):
        raise UserError(f"no {KEY_ENV} in the environment", f"the key of {url}", f"export {KEY_ENV}")
    if not (key.isascii() and "".join(key.split()) == key):
        raise UserError(f"blanks or characters beyond ASCII in {KEY_ENV}", "a key", "copy it again from the provider")
    return key
