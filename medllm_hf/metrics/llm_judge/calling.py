"""A judge behind an OpenAI-style address, asked one request at a time with the standard library."""

import ipaddress
import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator

TIMEOUT, RETRIES, MAX_TOKENS = 300, 5, 2048
# Seconds; a server that asks for more waiting gets this.
LONGEST_RETRY_AFTER = 120
# Bytes of an answer; nothing packed is asked for, so none grows beyond it.
LONGEST = 8_000_000


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key is sent to the address that was given, and to no other."""

    def redirect_request(self, *_: object) -> None:
        return None


def endpoint_judge(description: dict) -> Callable[[list[dict]], str]:
    """A function from chat messages to the reply of the model that `description` names: {"url", "model", "key_env"}.

    Raises:
        ValueError: fields missing or unknown, no key in the environment, or certificates that cannot be read.
    """
    if not {"url", "model"} <= set(description) <= {"url", "model", "key_env"}:
        raise ValueError(f'llm_judge: judge has the fields {sorted(description)}; give {{"url", "model", "key_env"}}')
    name = description.get("key_env")
    if name and not os.environ.get(name):
        raise ValueError(f"llm_judge: no {name} in the environment; export the judge's key")
    base, mark, query = description["url"].partition("?")
    address = f"{base.rstrip('/')}/chat/completions{mark}{query}"
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    if name:
        key = os.environ[name].strip()
        headers |= {"api-key": key} if query.startswith("api-version=") else {"Authorization": f"Bearer {key}"}
    opener = _opener(address)

    def ask(messages: list[dict]) -> str:
        body = {"model": description["model"], "messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0}
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        for attempt in range(RETRIES + 1):
            wait = min(30, 2**attempt)
            try:
                with opener.open(request, timeout=TIMEOUT) as answer:
                    return _text(answer.read(LONGEST + 1), description["model"])
            except urllib.error.HTTPError as error:
                if attempt == RETRIES or (error.code not in (408, 409, 429) and error.code < 500):
                    raise _refused(description, error.code) from None
                asked = error.headers.get("Retry-After", "")
                wait = max(wait, min(LONGEST_RETRY_AFTER, float(asked) if asked.isdecimal() else 0))
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                if attempt == RETRIES or _is_hopeless(error):
                    raise RuntimeError(f"llm_judge: {description['model']} gives no answer ({_why(error)})") from None
            time.sleep(wait)
        raise AssertionError

    return ask


def _opener(address: str) -> urllib.request.OpenerDirector:
    """What opens an address: no proxy on loopback, and no redirection anywhere."""
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if _on_loopback(address):
        handlers.append(urllib.request.ProxyHandler({}))
    elif address.startswith("https:"):
        try:
            # Python itself skips a file that is not there without a word.
            certificates = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or None)
        except OSError as error:
            raise ValueError(f"llm_judge: certificates that cannot be read ({error}); correct SSL_CERT_FILE") from None
        handlers.append(urllib.request.HTTPSHandler(context=certificates))
    return urllib.request.build_opener(*handlers)


def _text(body: bytes, model: str) -> str:
    """The reply in an answer; what a server has streamed unasked is put together.

    Raises:
        RuntimeError: it is too long, or has no word because reasoning has used it up.
        ValueError, LookupError, TypeError, AttributeError: it is no answer.
    """
    if len(body) > LONGEST:
        raise RuntimeError(f"llm_judge: {model} gives an answer of more than {LONGEST // 1_000_000} MB")
    if body.lstrip().startswith(b"data:"):
        said = [choice for event in _events(body) for choice in event.get("choices") or ()]
        text = "".join(choice.get("delta", {}).get("content") or "" for choice in said)
        finish = next((choice["finish_reason"] for choice in reversed(said) if choice.get("finish_reason")), None)
    else:
        choice = json.loads(body)["choices"][0]
        text, finish = choice["message"].get("content") or "", choice.get("finish_reason")
    if finish == "length" and not text.strip():
        do = f"raise MAX_TOKENS, or ask for less reasoning; now {MAX_TOKENS}"
        raise RuntimeError(f"llm_judge: {model} has spent its whole reply on reasoning; {do}")
    return text


def _events(body: bytes) -> Iterator[dict]:
    for line in body.split(b"\n"):
        if line.startswith(b"data:") and line[5:].strip() not in (b"", b"[DONE]"):
            yield json.loads(line[5:])


def _refused(description: dict, status: int) -> RuntimeError:
    advice = "; does its address lack /v1?" if status in (404, 405) and "/v1" not in description["url"] else ""
    return RuntimeError(f"llm_judge: {description['model']} answers with status {status}{advice}")


def _is_hopeless(error: Exception) -> bool:
    """Whether nobody listens, or the certificate is refused: no repetition mends that."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(reason, ConnectionRefusedError | ssl.SSLCertVerificationError)


def _why(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return f"{type(reason).__name__}: set SSL_CERT_FILE" if isinstance(reason, ssl.SSLError) else type(reason).__name__


def _on_loopback(address: str) -> bool:
    host = urllib.parse.urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
