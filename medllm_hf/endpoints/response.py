"""What an OpenAI-style server's answer to a chat request says: a choice, or how the request failed."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

RETRIED_STATUS = (408, 409, 429)
# What a server answers before it does any work. Any other failure may have been billed: a gateway that says 500, 502 or 504
# may have had the work done behind it.
FREE_STATUS = (503, 529)
# Wrong key, no money left, no permission, no such model: what the next request would meet as well.
FATAL_STATUS = (401, 402, 403, 404)
LONGEST_RETRY_AFTER = 120.0
# What some servers refuse with 400 or 422, in the order in which fields are left out when a complaint names several.
OPTIONAL_FIELDS = ("response_format", "seed", "top_p", "stop", "temperature")
# By this field servers take variables of the chat template. A run without it would be another run, so it is never left out.
THINKING = "chat_template_kwargs"
# The fields in which servers give a model's thoughts apart from its answer.
REASONING = ("reasoning_content", "reasoning")
REASON_LENGTH = 200


@dataclass(frozen=True)
class Failure:
    """How one request failed.

    Attributes:
        status: None where no whole answer came.
        reason: In the server's words, which may hold anything: `one_line` makes them fit for a message.
        again: Whether the same request can fare better later.
        after: The fewest seconds to wait before that.
        field: The field to leave out in the next request.
        fatal: Whether every other request would fail too.
        billed: The tokens that it has cost, prompt and reply; None where nobody knows.
    """

    status: int | None
    reason: str
    again: bool
    after: float = 0.0
    field: str | None = None
    fatal: bool = False
    billed: tuple[int, int] | None = (0, 0)


@dataclass(frozen=True)
class Delta:
    """The next part of a streamed answer: its text, and why the model stopped, "" while it goes on."""

    text: str
    finish: str


def read(response: httpx2.Response, sent: dict) -> dict | Failure:
    """The answer to the request body `sent`, whose first choice `said` can read; or the failure."""
    try:
        answer = json.loads(response.content)
    except (ValueError, RecursionError):
        answer = None
    if not response.is_success:
        return _refusal(response, answer, sent)
    if answer is None:
        return Failure(response.status_code, f"an answer that is not JSON: {response.text}", again=True, billed=None)
    try:
        said(answer)
    except (KeyError, IndexError, TypeError, AttributeError):
        return Failure(response.status_code, f"an answer without a choice: {response.text}", again=True, billed=counted(answer))
    return answer


def said(answer: dict) -> tuple[str, str]:
    """The text of an answer's first choice, "" where it has none, and why the model stopped, "" where it does not say."""
    choice = answer["choices"][0]
    content = choice["message"].get("content") or ""
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content if part.get("type") == "text")
    refused = not content and choice["message"].get("refusal")
    # A server that cuts between tokens may send half of a pair of surrogates.
    return _utf8(content), "refusal" if refused else str(choice.get("finish_reason") or "")


def thought(answer: dict) -> str:
    """What an answer's first choice says in a field of its own of how the model came to it; "" where it says nothing."""
    message = answer["choices"][0]["message"]
    said_apart = (message.get(name) for name in REASONING)
    return _utf8(next((text for text in said_apart if isinstance(text, str) and text), ""))


def counted(answer: object) -> tuple[int, int] | None:
    """The tokens of the prompt and of the reply as the server counted them; None where it did not."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    # A bool is an int too.
    if type(prompt) is not int or type(completion) is not int or min(prompt, completion) < 0:
        return None
    return prompt, completion


def deltas(blocks: Iterable[bytes]) -> Iterator[Delta]:
    """Yields the parts of an answer from the bytes of an event stream, or of the one object of a server that does not stream.

    Lines are split at line feeds alone: other separators may stand in the JSON.

    Raises:
        ValueError, RecursionError: an event says that something went wrong, or cannot be understood.
    """
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                yield _delta(json.loads(line[5:]))
    if rest.strip() and not rest.startswith(b"data: [DONE]"):
        yield _delta(json.loads(rest.removeprefix(b"data:")))


def _delta(event: dict) -> Delta:
    try:
        error, choice = event.get("error"), (event.get("choices") or [{}])[0]
        if not error:
            said = choice.get("delta") or choice.get("message") or {}
            return Delta(str(said.get("content") or said.get("refusal") or ""), str(choice.get("finish_reason") or ""))
        reason = error["message"] if isinstance(error, dict) else error
    except (AttributeError, KeyError, TypeError):
        reason = "an event that is no chat answer"
    raise ValueError(str(reason))


def whole_characters(text: str) -> tuple[str, str]:
    """The whole characters of `text`, and the half of a pair of surrogates at its end, whose other half may come next."""
    half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
    return _utf8(text.removesuffix(half)), half


def _utf8(text: str) -> str:
    """`text` as it can be written as UTF-8, which has no halves of pairs of surrogates."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def billed(answer: dict | Failure) -> tuple[int, int] | None:
    """The tokens that one request has cost; None where nobody knows."""
    return answer.billed if isinstance(answer, Failure) else counted(answer)


def without(body: dict, fields: set[str]) -> dict:
    """A request body without `fields`; the limit on tokens changes its name instead, since no request goes without one."""
    body = {name: value for name, value in body.items() if name not in fields - {"max_tokens"}}
    if "max_tokens" in fields:
        body["max_completion_tokens"] = body.pop("max_tokens")
    return body


def one_line(text: str, key: str) -> str:
    """The beginning of `text` on one line, without control characters and without the key."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (text.replace(key, "***") if key else text)[:REASON_LENGTH]


def _refusal(response: httpx2.Response, answer: object, sent: dict) -> Failure:
    """The failure that a status other than 2xx tells."""
    status = response.status_code
    error = answer.get("error") if isinstance(answer, dict) else None
    error = error if isinstance(error, dict) else {}
    # A spent budget answers 429 at some providers, and no wait ends it.
    spent = "insufficient_quota" in (error.get("code"), error.get("type"))
    reason = str(error.get("message") or response.text or response.reason_phrase)
    if status in (400, 422) and THINKING in sent and (THINKING in str(error.get("param")) or THINKING in response.text):
        return Failure(status, f"it takes no {THINKING}, leave out enable-thinking: {reason}", again=False, fatal=True)
    return Failure(
        status,
        reason,
        again=not spent and (status in RETRIED_STATUS or status >= 500),
        after=_retry_after(response.headers),
        field=_refused_field(str(error.get("param")), response.text, sent) if status in (400, 422) else None,
        fatal=spent or status in FATAL_STATUS or 300 <= status < 400,
        billed=(0, 0) if status in FREE_STATUS or (status < 500 and status != 408) else None,
    )


def _refused_field(param: str, text: str, sent: dict) -> str | None:
    """The field of the request that a complaint names and that can be left out."""
    if "max_tokens" in sent and "max_completion_tokens" in text:
        return "max_tokens"
    fields = [name for name in OPTIONAL_FIELDS if name in sent]
    named = [name for name in fields if param.split(".")[0] == name]
    named += [name for name in fields if re.search(rf"(?<![a-z_]){name}(?![a-z_])", text)]
    return named[0] if named else None


def _retry_after(headers: Mapping[str, str]) -> float:
    """The seconds that a Retry-After header asks for, at most `LONGEST_RETRY_AFTER`; 0 without a readable one."""
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            # Against the server's own clock, which need not agree with ours.
            now = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
            seconds = (parsedate_to_datetime(value) - now).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(LONGEST_RETRY_AFTER, max(0.0, seconds))
