"""How a chat request failed, by the status, headers and words of the server, and what to change in the next one."""

import json
import re
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from medllm_hf.endpoints.address import API_VERSION, is_azure

RETRIED_STATUS = (408, 409, 429)
# What a server answers before it does any work. Any other failure may have been billed: a gateway that says 500, 502 or 504
# may have had the work done behind it.
FREE_STATUS = (503, 529)
# Wrong key, no money left, no permission, no such model: what the next request would meet as well.
FATAL_STATUS = (401, 402, 403, 404, 405)
# By which a server says that it does not take a request as it is.
_INVALID_STATUS = (400, 422)
# A spent budget answers 429 or 400 at some providers, and no wait ends it.
_SPENT = ("insufficient_quota", "Arrearage", "1113")
LONGEST_RETRY_AFTER = 120.0
# What some servers refuse, in the order in which fields are left out when a complaint names several.
OPTIONAL_FIELDS = ("response_format", "seed", "top_p", "stop", "temperature")
# What is left out, turned or renamed without a change of what is asked; see `without`.
FORMAL_FIELDS = ("max_tokens", "stream", "stream_options", "system")
# By this field servers take variables of the chat template. A run without it would be another run, so it is never left out.
THINKING = "chat_template_kwargs"
STREAM_OPTIONS = {"include_usage": True}

_NO_SYSTEM = re.compile(
    r"\bsystem[ _'\"]{0,3}(?:role|message|prompt|instruction)|roles?\b[^.]{0,80}\bsystem\b|\bsystem\b[^.]{0,40}not support"
    r"|roles must alternate|developer instruction|only user(?:,| and) assistant",
    re.I,
)
_ONLY_STREAM = re.compile(
    r"\bonly\b[^.]{0,30}\bstream|\bstream(?:ing)?\b[^.]{0,30}\b(?:only|required|must)\b|non-?stream|非流式"
    r"|\bstream\W{0,3}(?:to|=|is)\W{0,3}(?:be )?(?:true|false)|[仅只]支持流式",
    re.I,
)
_NO_STREAM = re.compile(
    r"\bstream(?:ing)?\b[^.]{0,40}(?:\bnot\b|n't|unsupported)|unsupported[^.]{0,20}\bstream|不支持流式", re.I
)
_SCHEMA = re.compile(r"schema|grammar|structured|guided|response.?format", re.I)
# A refusal of what is said in a request, in whatever form.
_OF_WORDS = re.compile(
    r"context|too long|length|\btokens?\b|filter|polic(?:y|ies)|safety|inappropriate|sensitive|敏感|违规", re.I
)
# A refusal in the place of a reply whose limit of tokens the reasoning has used up.
_USED_UP = re.compile(r"(?:max_tokens|max_completion_tokens|output limit|output tokens)\b[^.]{0,60}\breached", re.I)
_WRONG_PATH = re.compile(r"unexpected endpoint|invalid url|cannot post|no route|page not found", re.I)


@dataclass(frozen=True)
class Failure:
    """How one request failed.

    Attributes:
        status: None where no whole answer came.
        reason: In the server's words, which may hold anything: `one_line` makes them fit for a message.
        again: Whether the same request can fare better later.
        after: The fewest seconds to wait before that.
        field: What to leave out in the next request; see `without`.
        fatal: Whether every other request would fail too.
        billed: The tokens that it has cost, prompt and reply; None where nobody knows.
        remedy: What to do, "" where the reason says it.
        connected: Whether the request has reached the address.
    """

    status: int | None
    reason: str
    again: bool
    after: float = 0.0
    field: str | None = None
    fatal: bool = False
    billed: tuple[int, int] | None = (0, 0)
    remedy: str = ""
    connected: bool = True


def refusal(response: httpx2.Response, answer: object, sent: dict, extra: Collection[str] = ()) -> Failure:
    """The failure that a status other than 2xx tells.

    Args:
        answer: the JSON value of the body, None where it is none.
        extra: the names of fields that the user has added.
    """
    status = response.status_code
    error = _error(answer)
    spent = bool({str(error.get("code")), str(error.get("type"))} & set(_SPENT))
    reason = str(error.get("message") or response.text or response.reason_phrase)
    if status in _INVALID_STATUS:
        if THINKING in sent and THINKING not in extra and THINKING in response.text:
            return Failure(status, f"it takes no {THINKING}, leave out enable-thinking: {reason}", again=False, fatal=True)
        for name in extra:
            if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", reason):
                return Failure(status, reason, again=False, fatal=True, remedy=f"leave {name} out of --extra-body")
    field = None if spent else _refused_field(status, str(error.get("param")), reason, sent)
    return Failure(
        status,
        reason,
        again=not spent and (status in RETRIED_STATUS or status >= 500),
        after=_retry_after(response.headers),
        field=field,
        fatal=spent or status in FATAL_STATUS or 300 <= status < 400,
        billed=(0, 0) if status in FREE_STATUS or (status < 500 and status != 408) else None,
    )


def is_wrong_path(reason: str) -> bool:
    """Whether a server that answers with status 200 says that it takes no requests at this address."""
    return bool(_WRONG_PATH.search(reason)) or _is_page(reason)


def is_used_up(response: httpx2.Response) -> bool:
    """Whether a status says no more than that the reasoning has used up the reply's limit of tokens."""
    return response.status_code == 400 and bool(_USED_UP.search(response.text))


def unreachable(error: httpx2.RequestError, answered: bool) -> Failure:
    """The failure of a request without an answer.

    Args:
        answered: whether the address has answered another request.
    """
    reason = f"{type(error).__name__} {error}"
    unconnected = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError)
    # Without a connection nothing was sent.
    spent = (0, 0) if unconnected else None
    if is_certificate(error):
        do = "name the file with your network's certificate authority in SSL_CERT_FILE"
        return Failure(None, reason, again=False, fatal=True, billed=(0, 0), remedy=do)
    # Where nobody has ever answered, nobody will in half a minute.
    return Failure(
        None,
        reason,
        again=answered or not unconnected,
        fatal=unconnected and not answered,
        billed=spent,
        connected=not unconnected,
    )


def is_certificate(error: BaseException | None) -> bool:
    """Whether a certificate was refused, which no repetition mends."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def address_advice(url: str, failure: Failure) -> str:
    """What to change in an address that takes no chat requests, "" where it does or nothing is known."""
    base = url.partition("?")[0]
    wrong = failure.status in (404, 405) or is_wrong_path(failure.reason)
    if not wrong or re.search(r"\bmodel\b|模型", failure.reason, re.I):
        return ""
    versioned = re.search(r"/v\d+(?:[a-z]+\d*)?(?:/|$)", base)
    if is_azure(url) and API_VERSION not in url and not versioned:
        return f"add ?{API_VERSION}=… before #"
    return "" if versioned or is_azure(url) else f"add /v1 ({base}/v1)"


def _is_page(reason: str) -> bool:
    return bool(re.search(r"<(?:!doctype\s+html|html)\b", reason, re.I))


def without(body: dict, fields: Collection[str]) -> dict:
    """A request body without `fields`. Four of them are changed, so that the request still asks the same.

    "max_tokens", the limit, goes by its other name. "stream": the answer is asked for in the other way, whole or streamed.
    "stream_options" is left out. "system": what the system message says stands before the first words of the user.
    """
    kept = {name: value for name, value in body.items() if name not in set(fields) - {"max_tokens", "stream"}}
    if "max_tokens" in fields and "max_tokens" in kept:
        kept["max_completion_tokens"] = kept.pop("max_tokens")
    if "stream" in fields:
        kept.pop("stream_options", None)
        if not kept.pop("stream", False):
            kept |= {"stream": True} | ({} if "stream_options" in fields else {"stream_options": STREAM_OPTIONS})
    if "system" in fields:
        kept["messages"] = _folded(kept["messages"])
    return kept


def _folded(messages: list[dict]) -> list[dict]:
    """Messages without a system turn: its words stand before those of the first user turn."""
    words = [message["content"] for message in messages if message["role"] == "system"]
    rest = [message for message in messages if message["role"] != "system"]
    first = next((i for i, message in enumerate(rest) if message["role"] == "user"), None)
    if first is None:
        return [{"role": "user", "content": "\n\n".join(words)}, *rest] if words else rest
    joined = "\n\n".join([*words, rest[first]["content"]])
    return [*rest[:first], {**rest[first], "content": joined}, *rest[first + 1 :]]


def _error(answer: object) -> dict:
    """The object that tells what was wrong: under "error", which may be a text, or the whole answer, as vLLM has it."""
    if not isinstance(answer, dict):
        return {}
    error = answer.get("error", answer)
    if isinstance(error, dict):
        return {**error, "message": _told(error.get("message") or error.get("detail"))}
    return {"message": str(error)}


def _told(words: object) -> str:
    """What a complaint says; of a list as FastAPI makes it only the places and the reasons, since it repeats the request."""
    if isinstance(words, str | None):
        return words or ""
    if isinstance(words, list) and all(isinstance(one, dict) for one in words):
        words = [[one.get("loc"), one.get("msg")] for one in words]
    return json.dumps(words, ensure_ascii=False)


def _refused_field(status: int, param: str, text: str, sent: dict) -> str | None:
    """The field of the request that a complaint names and that can be left out or changed."""
    if status not in (*_INVALID_STATUS, 500, 501):
        return None
    if any(message["role"] == "system" for message in sent.get("messages", ())) and _NO_SYSTEM.search(text):
        return "system"
    if "response_format" in sent and _SCHEMA.search(text):
        return "response_format"
    if status not in _INVALID_STATUS:
        return None
    if "max_tokens" in sent and "max_completion_tokens" in text:
        return "max_tokens"
    if "stream_options" in sent and "stream_options" in text:
        return "stream_options"
    if param == "stream" or (_NO_STREAM if sent.get("stream") else _ONLY_STREAM).search(text):
        return "stream"
    fields = [name for name in OPTIONAL_FIELDS if name in sent]
    named = [name for name in fields if param.split(".")[0] == name]
    named += [name for name in fields if re.search(rf"(?<![a-z_]){name}(?![a-z_])", text)]
    if named or "response_format" not in sent or _OF_WORDS.search(text):
        return named[0] if named else None
    # A schema may be refused in any words: a request without it shows whether it was that.
    return "response_format"


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
