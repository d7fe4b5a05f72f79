"""An answer that somebody reads while it is written."""

import json
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread

import httpx2

from medllm_hf.endpoints.address import Endpoint, call_address, on_this_machine, request_headers
from medllm_hf.endpoints.answer_reader import AnswerReader, Delta
from medllm_hf.endpoints.client import CLIENT_FAULTS, EndpointError, client_error, timeouts
from medllm_hf.endpoints.extra_body import extra_fields
from medllm_hf.endpoints.reasoning import CLOSE, OPEN, ReasoningForm
from medllm_hf.endpoints.refusals import FORMAL_FIELDS, Failure, unreachable, without
from medllm_hf.endpoints.response import as_delta, read, whole_characters
from medllm_hf.errors import UserError

# Seconds between two looks at whether a streamed answer is to stop.
LOOK = 0.05
Events = SimpleQueue[Delta | EndpointError | UserError | None]


def stream_chat(
    endpoint: Endpoint, key: str, body: dict[str, object], stopping: Event, dropped: set[str] | None = None
) -> Iterator[Delta]:
    """Yields what the server sends for one request, as it comes; soon after `stopping` is set, no more.

    The last one says why the model stopped. What the model thinks stands before the answer as `<think>…</think>`. The request
    is sent once: what goes wrong in an answer that somebody reads is for him to see, and so is a setting that the server does
    not take. Only `FORMAL_FIELDS` are left out, and the request repeated.

    Args:
        key: what `read_key` says.
        dropped: the fields that are left out; those that this server refuses are added.

    Raises:
        EndpointError: no connection, the server refuses, or it sends something else.
        UserError: the environment names a proxy or certificates that cannot be used.
    """
    events: Events = SimpleQueue()
    left = Event()
    left_out = set() if dropped is None else dropped
    Thread(target=_fetch, args=(endpoint, key, body, left_out, events, left), daemon=True).start()
    form, half, finish = _Written(), "", "stop"
    try:
        while not stopping.is_set():
            try:
                event = events.get(timeout=LOOK)
            except Empty:
                continue
            if event is None:
                yield Delta(form.end() + ("\ufffd" if half else ""), finish)
                return
            if isinstance(event, Exception):
                raise event
            finish = event.finish or finish
            text, half = whole_characters(half + event.text)
            yield Delta(form.feed(text, whole_characters(event.reasoning)[0]), event.finish)
    finally:
        left.set()


class _Written:
    """Puts the reasoning of both kinds, in the text and in a field of its own, into the one form."""

    def __init__(self) -> None:
        self._form = ReasoningForm()
        self._thinking = False

    def feed(self, text: str, reasoning: str) -> str:
        said = ""
        if reasoning and not self._thinking:
            said, self._thinking = f"{OPEN}\n", True
        said += reasoning
        if text and self._thinking:
            said, self._thinking = f"{said}\n{CLOSE}\n\n", False
        return said + self._form.feed(text)

    def end(self) -> str:
        return self._form.end()


def _fetch(endpoint: Endpoint, key: str, body: dict[str, object], dropped: set[str], events: Events, left: Event) -> None:
    """Puts what the server sends into `events`, then None; or what went wrong. Runs in a thread of its own."""
    try:
        http = httpx2.Client(
            headers=request_headers(endpoint, key),
            timeout=timeouts(endpoint.timeout),
            trust_env=not on_this_machine(endpoint.url),
        )
    except CLIENT_FAULTS as error:
        events.put(client_error(error))
        return
    left_out: set[str] = set()
    with http:
        while True:
            failure = _request(http, endpoint, without(body, dropped | left_out), events, left)
            if failure is None:
                dropped |= left_out
                events.put(None)
                return
            if failure.field not in FORMAL_FIELDS or failure.field in dropped | left_out:
                events.put(EndpointError(endpoint, failure, key))
                return
            left_out.add(failure.field)


def _request(http: httpx2.Client, endpoint: Endpoint, body: dict, events: Events, left: Event) -> Failure | None:
    """Puts the parts of one answer into `events`; why there is none, None where it has come."""
    try:
        with http.stream("POST", call_address(endpoint), content=json.dumps(body)) as response:
            reader = AnswerReader(response.headers.get("Content-Encoding", ""), plain=not response.is_success)
            for block in response.iter_raw():
                for delta in reader.feed(block):
                    events.put(delta)
                if left.is_set():
                    return None
            if reader.streamed:
                for delta in reader.end():
                    events.put(delta)
                return None
            whole = httpx2.Response(response.status_code, content=bytes(reader.whole))
    except httpx2.RequestError as error:
        return unreachable(error, answered=True)
    # Brackets without end are a RecursionError.
    except (ValueError, RecursionError) as error:
        return Failure(None, str(error), again=False)
    answer = read(whole, body, tuple(extra_fields(endpoint.extra_body)))
    if isinstance(answer, Failure):
        return answer
    events.put(as_delta(answer))
    return None
