"""Servers as they are: one mode for every way in which real ones differ from the plain protocol, in words of our own."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass

from support.chat_server import Behaviour, Request, completion

# What the model thinks in every mode that thinks; no verdict, letter or word of a patient.
THOUGHTS = "先把已知的情况理一理。"
Answer = str | dict | Behaviour
Honest = Callable[[dict], str]


@dataclass(frozen=True)
class Quirk:
    """One mode of a server.

    Attributes:
        answers: The request and what an honest model says to it → what this server answers.
        remedy: What the one line must name, where the server cannot be used; "" where it can.
        flags: What the command is given besides.
        path: What stands in the place of `/v1` in its address.
        dropped: What is left out or changed for it.
    """

    answers: Callable[[Request, Honest], Answer]
    remedy: str = ""
    flags: tuple[str, ...] = ()
    path: str = "/v1"
    dropped: str = ""


def refused(message: str, status: int = 400, **fields) -> Behaviour:
    """A refusal in the layout of most servers."""
    return Behaviour(status, {"error": {"message": message, "type": "invalid_request_error", **fields}})


def events(text: str, usage: bool = True, field: str = "content") -> Behaviour:
    """A whole answer as an event stream, in pieces of two characters."""
    pieces = [{field: text[i : i + 2]} for i in range(0, len(text), 2)]
    rows: list[dict] = [{"choices": [{"index": 0, "delta": one, "finish_reason": None}]} for one in [{"content": ""}, *pieces]]
    rows.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage:
        rows.append({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
    lines = [f"data: {json.dumps(row, ensure_ascii=False)}\n\n" for row in [*rows]]
    return Behaviour(body="".join([*lines, "data: [DONE]\n\n"]).encode(), headers={"Content-Type": "text/event-stream"})


def _written(form: str) -> Quirk:
    """A server that leaves the reasoning in the text: `form` has {thoughts} and {answer}."""

    def answers(request: Request, honest: Honest) -> Answer:
        text = form.replace("{thoughts}", THOUGHTS).replace("{answer}", honest(request.body))
        return events(text) if request.body.get("stream") else text

    return Quirk(answers)


def _in_field(name: str) -> Quirk:
    def answers(request: Request, honest: Honest) -> Answer:
        if not request.body.get("stream"):
            return completion(honest(request.body), **{name: THOUGHTS})
        thoughts, text = events(THOUGHTS, field=name).body, events(honest(request.body)).body
        assert isinstance(thoughts, bytes) and isinstance(text, bytes)
        return Behaviour(body=thoughts[: thoughts.index(b'data: {"choices": [{"index": 0, "delta": {}')] + text)

    return Quirk(answers)


def _refusing(refuses: Callable[[dict], bool], refusal: Behaviour, **fields) -> Quirk:
    """A server that gives `refusal` to the requests that it does not take."""

    def answers(request: Request, honest: Honest) -> Answer:
        if refuses(request.body):
            return refusal
        return events(honest(request.body)) if request.body.get("stream") else honest(request.body)

    return Quirk(answers, **fields)


def _always(answer: Answer, remedy: str, **fields) -> Quirk:
    return Quirk(lambda request, honest: answer, remedy, **fields)


def _azure(request: Request, honest: Honest) -> Answer:
    if request.target != "/openai/deployments/m/chat/completions?api-version=2024-10-21":
        return refused("Resource not found", 404, code="404")
    if "authorization" in request.headers or request.headers.get("api-key") != "sk-quirk-7":
        return refused("Access denied due to a wrong key", 401, code="401")
    return honest(request.body)


def _packed(request: Request, honest: Honest) -> Answer:
    body = gzip.compress(json.dumps(completion(honest(request.body))).encode())
    return Behaviour(body=body, headers={"Content-Encoding": "gzip"})


def _bomb() -> Behaviour:
    """Sixty megabytes of blanks in as many kilobytes."""
    return Behaviour(body=gzip.compress(b" " * 60_000_000, 6), headers={"Content-Encoding": "gzip"})


def _unversioned(request: Request, honest: Honest) -> Answer:
    return Behaviour(404, b"404 page not found", headers={"Content-Type": "text/plain"})


def has_system(body: dict) -> bool:
    return any(message["role"] == "system" for message in body["messages"])


EFFORT = ("--extra-body", '{"reasoning_effort": "low", "vendor_token": "sk-quirk-9"}')
USED_UP = completion(None, "length", reasoning_content=THOUGHTS)
QUIRKS: dict[str, Quirk] = {
    # Reasoning
    "thoughts without a beginning": _written("{thoughts}\n</think>\n\n{answer}"),
    "think": _written("<think>\n{thoughts}\n</think>\n\n{answer}"),
    "seed:think": _written("<seed:think>{thoughts}</seed:think>{answer}"),
    "THINK in brackets": _written("[THINK]{thoughts}[/THINK]{answer}"),
    "channels": _written(
        "<|channel|>analysis<|message|>{thoughts}<|end|><|start|>assistant<|channel|>final<|message|>{answer}<|return|>"
    ),
    "channels, the answer bare": _written("<|channel|>analysis<|message|>{thoughts}<|end|>{answer}"),
    "channels without their marks": _written("analysis{thoughts}assistantfinal{answer}"),
    "reasoning_content": _in_field("reasoning_content"),
    "reasoning": _in_field("reasoning"),
    "reasoning alone": _always(USED_UP, "raise --(judge-|patient-|doctor-)?max-new-tokens"),
    "open reasoning alone": _always(completion(f"<think>\n{THOUGHTS}", "length"), "raise --(patient-)?max-new-tokens"),
    "hidden reasoning alone": _always(
        refused("The reply is not complete: the limit max_tokens was reached."), "raise --(patient-)?max-new-tokens"
    ),
    # Streams
    "only streams": _refusing(
        lambda body: not body.get("stream"), refused("the model only works in stream mode, turn on stream"), dropped="stream"
    ),
    "thinks in streams only": _refusing(
        lambda body: not body.get("stream"), refused("enable_thinking must be false for non-streaming calls"), dropped="stream"
    ),
    "streams whatever is asked": Quirk(lambda request, honest: events(honest(request.body))),
    "never streams": Quirk(
        lambda request, honest: Behaviour(body=json.dumps(completion(honest(request.body)), indent=2).encode())
    ),
    "refuses streams": _refusing(
        lambda body: bool(body.get("stream")), refused("'stream' is not supported with true for the model", param="stream")
    ),
    "no stream_options": _refusing(
        lambda body: "stream_options" in body or not body.get("stream"),
        refused("extra field stream_options; stream must be true"),
        dropped="stream",
    ),
    # Fields
    "no system role": _refusing(
        has_system, Behaviour(400, {"object": "error", "message": "System role not supported", "code": 400}), dropped="system"
    ),
    "no system role, by a crash": _refusing(
        has_system, Behaviour(500, {"message": "template: the roles must alternate user, assistant"}), dropped="system"
    ),
    "no schema": _refusing(
        lambda body: "response_format" in body,
        Behaviour(400, {"error": "'response_format.type' must be 'text'"}),
        dropped="response_format",
    ),
    "no schema, in other words": _refusing(
        lambda body: "response_format" in body, refused("this type is unavailable now"), dropped="response_format"
    ),
    "no schema, by a crash": _refusing(
        lambda body: "response_format" in body, refused("failed to parse the grammar", 500), dropped="response_format"
    ),
    "max_completion_tokens": _refusing(
        lambda body: "max_tokens" in body,
        refused("'max_tokens' is unsupported here, use 'max_completion_tokens'", param="max_tokens"),
        dropped="max_tokens",
    ),
    "no temperature": _refusing(
        lambda body: "temperature" in body, refused("only the default", param="temperature"), dropped="temperature"
    ),
    "extra fields": _refusing(
        lambda body: body.get("reasoning_effort") != "low", refused("reasoning_effort is missing"), flags=EFFORT
    ),
    "no extra fields": _refusing(
        lambda body: "reasoning_effort" in body,
        refused("unknown argument: reasoning_effort, sent with sk-quirk-9"),
        remedy="leave reasoning_effort out of --extra-body",
        flags=EFFORT,
    ),
    # Addresses
    "Azure": Quirk(_azure, path="/openai/deployments/m?api-version=2024-10-21"),
    "no /v1": Quirk(_unversioned, remedy=r"add /v1 \(http://127.0.0.1:\d+/v1\)", path=""),
    "no /v1, and status 200": _always(
        {"error": "Unexpected endpoint or method. (POST /chat/completions)"}, r"add /v1 \(http://127.0.0.1:\d+/v1\)", path=""
    ),
    "a page for people": _always(
        Behaviour(body=b"<!doctype html><html><body>hello", headers={"Content-Type": "text/html"}), "add /v1 .*/api/v1",
        path="/api",
    ),
    "no such model": _always(refused("the model m does not exist", 404), "the model m does not exist"),
    "wrong key": _always(refused("no such key", 401), "no such key"),
    # Sizes
    "packed": Quirk(_packed),
    "a packed bomb": _always(_bomb(), "more than 8 MB"),
}  # fmt: skip
