"""A judge behind an OpenAI-style address, asked one request at a time with the standard library."""

import ipaddress
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

TIMEOUT, RETRIES, MAX_TOKENS = 300, 5, 2048
# Seconds; a server that asks for more waiting gets this.
LONGEST_RETRY_AFTER = 120


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key is sent to the address that was given, and to no other."""

    def redirect_request(self, *_: object) -> None:
        return None


def endpoint_judge(description: dict) -> Callable[[list[dict]], str]:
    """A function from chat messages to the reply of the model that `description` names: {"url", "model", "key_env"}.

    Raises:
        ValueError: fields missing or unknown, or no key in the environment.
    """
    if not {"url", "model"} <= set(description) <= {"url", "model", "key_env"}:
        raise ValueError(f'llm_judge: judge has the fields {sorted(description)}; give {{"url", "model", "key_env"}}')
    name = description.get("key_env")
    if name and not os.environ.get(name):
        raise ValueError(f"llm_judge: no {name} in the environment; export the judge's key")
    headers = {"Content-Type": "application/json"}
    if name:
        headers["Authorization"] = f"Bearer {os.environ[name].strip()}"
    address = description["url"].rstrip("/") + "/chat/completions"
    proxies = [urllib.request.ProxyHandler({})] if _on_loopback(address) else []
    opener = urllib.request.build_opener(_NoRedirect(), *proxies)

    def ask(messages: list[dict]) -> str:
        body = {"model": description["model"], "messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0}
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        for attempt in range(RETRIES + 1):
            wait = min(30, 2**attempt)
            try:
                with opener.open(request, timeout=TIMEOUT) as answer:
                    return json.load(answer)["choices"][0]["message"].get("content") or ""
            except urllib.error.HTTPError as error:
                if attempt == RETRIES or (error.code not in (408, 409, 429) and error.code < 500):
                    raise RuntimeError(f"llm_judge: {description['model']} answers with status {error.code}") from None
                asked = error.headers.get("Retry-After", "")
                wait = max(wait, min(LONGEST_RETRY_AFTER, float(asked) if asked.isdecimal() else 0))
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                if attempt == RETRIES:
                    raise RuntimeError(f"llm_judge: {description['model']} gives no answer ({type(error).__name__})") from None
            time.sleep(wait)
        raise AssertionError

    return ask


def _on_loopback(address: str) -> bool:
    host = urllib.parse.urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
