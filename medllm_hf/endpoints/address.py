"""Addresses of chat models, `URL#MODEL`: how they are read, which are on this machine, and the keys that open them."""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx2

from medllm_hf.errors import UserError

EXPECTED = "http://HOST:PORT/v1#MODEL"
KEY_ENV = "OPENAI_API_KEY"
# The one query that an address may carry: Azure refuses a request without it.
API_VERSION = "api-version"
# Where a key goes into a header of its own, and a Bearer token would be taken for another kind of login.
_AZURE = re.compile(r"\.azure(?:-api)?\.(?:com|net|us|cn)$")


@dataclass(frozen=True)
class Endpoint:
    """Where a chat model answers. It holds no secret, so it may stand in a manifest.

    Attributes:
        url: The base that `/chat/completions` is added to, such as `http://127.0.0.1:8000/v1`.
        key_env: The environment variable that holds the key; None sends no key.
        timeout: Seconds for one whole request, from the first byte sent to the last byte received; for an answer that is
            streamed, the longest silence.
        retries: How often a request is repeated after a passing failure; one for a stream never is.
        concurrency: The most requests under way at once.
        backoff: Seconds before the first repetition. They double each time, up to `LONGEST_BACKOFF`.
        enable_thinking: What the server is to tell the model's chat template; None tells it nothing.
        extra_body: More fields of each request, as `read_extra_body` gives them; "" for none.
    """

    url: str
    model: str
    key_env: str | None = KEY_ENV
    timeout: float = 300.0
    retries: int = 6
    concurrency: int = 8
    backoff: float = 0.5
    enable_thinking: bool | None = None
    extra_body: str = ""


class AddressError(UserError):
    """What is wrong with `URL#MODEL`. It repeats nothing that may be a secret.

    Attributes:
        flaw: "address" for none at all, "secret" for credentials or a query, "host" where there is none, "port" for a wrong
            port or scheme, "call" for the address of one call, "model" where none is named.
    """

    def __init__(self, flaw: Literal["address", "secret", "host", "port", "call", "model"], found: str, do: str):
        super().__init__(found, EXPECTED, do)
        self.flaw = flaw


def names_endpoint(spec: str) -> bool:
    """Whether `FOLDER|HUB_ID|URL#MODEL` is the last of these, however flawed."""
    return ("#" in spec or "://" in spec) and not Path(spec).is_dir()


def split_address(spec: str) -> tuple[str, str]:
    """The base address and the model of `http://HOST:PORT/v1#MODEL`; `?api-version=…` may stand at the address's end.

    Raises:
        AddressError: it is no such thing.
    """
    address, _, model = spec.partition("#")
    do = "give the endpoint so, with the key in an environment variable"
    shown = "an endpoint" if set("@?") & set(address) else f"endpoint {address!r}"
    try:
        url = httpx2.URL(address)
    except httpx2.InvalidURL as error:
        raise AddressError("address", f"{shown} that is no address", do) from error
    version = re.fullmatch(rf"{API_VERSION}=[\w.-]+", url.query.decode("ascii"))
    if url.userinfo or (url.query and not version):
        raise AddressError("secret", "credentials or a query in an endpoint's address", do)
    if url.scheme not in ("http", "https") or not url.host or not 0 < (url.port or 80) < 65536:
        flaw: Literal["host", "port"] = "port" if url.host else "host"
        raise AddressError(flaw, f"{shown} without http:// or https://, a host and a port below 65536", do)
    if url.path.rstrip("/").endswith("/completions"):
        raise AddressError("call", f"{shown}, which is the address of one call", "leave out /chat/completions")
    if not model.strip():
        raise AddressError("model", f"{shown} without a model", "add # and the name that the server gives the model")
    base = str(url.copy_with(query=None)).rstrip("/")
    return f"{base}?{version[0]}" if version else base, model.strip()


def call_address(endpoint: Endpoint) -> str:
    """Where the endpoint takes chat requests."""
    base, mark, query = endpoint.url.partition("?")
    return f"{base}/chat/completions{mark}{query}"


def is_azure(url: str) -> bool:
    """Whether an address is one of Azure's, by its host or its query."""
    return f"?{API_VERSION}=" in url or bool(_AZURE.search(httpx2.URL(url).host))


def request_headers(endpoint: Endpoint, key: str) -> dict[str, str]:
    """The headers of each request; "" sends no key.

    Only what can be unpacked within a limit is asked for.
    """
    opened = {"api-key": key} if is_azure(endpoint.url) else {"Authorization": f"Bearer {key}"}
    return {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"} | (opened if key else {})


def parse_endpoint(
    spec: str,
    key_env: str = KEY_ENV,
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
    url, model = split_address(spec)
    if timeout <= 0 or retries < 0 or concurrency < 1 or backoff <= 0:
        found = f"timeout {timeout}, retries {retries}, concurrency {concurrency}, backoff {backoff}"
        raise UserError(found, "retries of 0 or more and the others above 0", "change them")
    endpoint = Endpoint(url, model, key_env, timeout, retries, concurrency, backoff)
    read_key(endpoint)
    return endpoint


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine as it sees itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def on_this_machine(url: str) -> bool:
    """Whether an address is on loopback: no key is needed there, and no proxy is asked."""
    return is_loopback(httpx2.URL(url).host)


def read_key(endpoint: Endpoint, do: str = "export {name} or name another variable") -> str:
    """The endpoint's key, "" where none is needed and none is set.

    Args:
        do: what to do where it is missing.

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
    if not key and not on_this_machine(endpoint.url):
        raise UserError(f"no {name} in the environment", f"the key of {endpoint.url}", do.format(name=name))
    if not re.fullmatch("[!-~]*", key):
        raise UserError(f"blanks or characters beyond ASCII in {name}", "a key", "copy it again from the provider")
    return key
