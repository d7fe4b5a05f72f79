"""The HTTP side: one request in, one answer out; connections that are cut and answers that are refused on request."""

import json
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from support.hub_on_disk.store import Refused, Store


@dataclass(frozen=True)
class Request:
    """What a client asks; the body of a PUT lies in the file `upload`."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    upload: Path | None
    token: str | None

    def json(self) -> dict:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What goes back; `source` is a file of which `first` to `last` is sent."""

    value: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    source: Path | None = None
    first: int = 0
    last: int = -1


@dataclass
class Hub:
    """A running Hub.

    tokens: token → "read" or "write".
    part: uploads above this many bytes are asked for in parts of it.
    requests: (method, path) of everything asked, in order.
    given: path → how many bytes of files were answered.
    interfere: called with method and path of each request; "cut" ends the connection in the middle of the request, "lost"
        after it was obeyed but before it is answered, a refusal is answered.
    """

    store: Store
    tokens: dict[str, str]
    part: int
    server: ThreadingHTTPServer
    requests: list[tuple[str, str]] = field(default_factory=list)
    given: Counter[str] = field(default_factory=Counter)
    interfere: Callable[[str, str], str | Refused | None] = lambda method, path: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def sent(self) -> list[str]:
        """The paths to which content was sent: LFS, in one piece or parts, and commits."""
        return [path for method, path in self.requests if method == "PUT" or (method == "POST" and "/commit/" in path)]

    def environment(self, home: Path, token: str | None = "hf_write") -> dict[str, str]:
        """The environment of a client of this Hub whose caches lie in `home`."""
        online = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "TRANSFORMERS_OFFLINE"), "0")
        here = {"HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        return {**online, **here, "HF_TOKEN": token or ""}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def start_hub(root: Path, part: int = 2**20, regular_limit: int = 10 * 2**20) -> Hub:
    """A Hub on a free port of 127.0.0.1 that keeps its state in `root`; "hf_write" and "hf_read" are its tokens."""
    from support.hub_on_disk.api import answer

    root.mkdir(parents=True, exist_ok=True)

    class Handler(_Handler):
        def decide(self, request: Request) -> Answer:
            return answer(hub, request)

        def hub(self) -> Hub:
            return hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    hub = Hub(Store(root, regular_limit), {"hf_write": "write", "hf_read": "read"}, part, server)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do(self) -> None:
        hub = self.hub()
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        hub.requests.append((self.command, path))
        fault = hub.interfere(self.command, path)
        try:
            if fault == "cut":
                self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
                self.close_connection = True
                return
            try:
                reply = self.obey(parts.path, parse_qs(parts.query), fault)
            except Refused as error:
                headers = {"X-Error-Message": str(error), **({"X-Error-Code": error.code} if error.code else {})}
                reply = Answer({"error": str(error)}, error.status, headers)
            if fault == "lost":
                self.close_connection = True
                return
            self.send(reply)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client is gone

    do_GET = do_HEAD = do_POST = do_PUT = do

    def obey(self, path: str, query: dict[str, list[str]], fault: str | Refused | None) -> Answer:
        """The answer to the request whose head has been read; its body is read whatever the answer."""
        with tempfile.TemporaryDirectory(dir=self.hub().store.root, prefix=".upload") as folder:
            body, upload = b"", None
            if self.command == "PUT":
                upload = Path(folder) / "body"
                with upload.open("wb") as file:
                    file.writelines(self.blocks())
            else:
                body = b"".join(self.blocks())
            if isinstance(fault, Refused):
                raise fault
            token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
            headers = {name.lower(): value for name, value in self.headers.items()}
            return self.decide(Request(self.command, path, query, headers, body, upload, token))

    def blocks(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.whole(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            yield self.whole(min(left, 2**16))
            left -= min(left, 2**16)

    def whole(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionResetError("the client stopped in the middle")
        return data

    def send(self, reply: Answer) -> None:
        data = b"" if reply.value is None else json.dumps(reply.value).encode()
        last = reply.last if reply.last >= 0 else (reply.source.stat().st_size - 1 if reply.source else -1)
        length = last - reply.first + 1 if reply.source else len(data)
        kind = "application/octet-stream" if reply.source else "application/json"
        self.send_response(reply.status)
        for name, value in {"Content-Type": kind, **reply.headers, "Content-Length": str(length)}.items():
            self.send_header(name, value.encode("ascii", "replace").decode())
        self.end_headers()
        if self.command == "HEAD":
            return
        if reply.source is None:
            self.wfile.write(data)
            return
        with reply.source.open("rb") as file:
            file.seek(reply.first)
            while length:
                block = file.read(min(length, 2**20))
                self.wfile.write(block)
                self.hub().given[unquote(urlsplit(self.path).path)] += len(block)
                length -= len(block)
