"""Chromium for tests of pages, driven through its own pipe: no driver package and no port are needed."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run", "--disable-sync"),
    *("--disable-quic", "--disable-background-networking", "--disable-component-update"),
    # Pages behind other pages are drawn as well: who waits there for the next frame would wait for ever.
    *("--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding", "--disable-background-timer-throttling"),
)
# Seconds after which a test fails that waits for a result or for the loading of a page.
PATIENCE = 120
# Virtual key codes of the keys that tests press.
KEYS = {"Enter": 13, "Escape": 27, "Tab": 9}


class Connection:
    """The pipe to a Chromium, which all its pages share."""

    def __init__(self, commands, answers):
        self._commands, self._answers, self._sent, self._rest = commands, answers, 0, b""
        self.pages: dict[str | None, Page] = {}

    def ask(self, method: str, parameters: dict | None = None, session: str | None = None) -> dict:
        """The result of a command; events that come meanwhile go to their pages."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters or {}}
        self._commands.write(json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        self._commands.flush()
        end = time.monotonic() + PATIENCE
        while (answer := self.read(end)).get("id") != self._sent:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def read(self, end: float) -> dict:
        """The next message, before `end` on the monotonic clock."""
        while b"\0" not in self._rest:
            left = max(0, end - time.monotonic())
            assert select.select([self._answers], [], [], left)[0], f"Chromium did not answer in {PATIENCE} s"
            part = self._answers.read(2**20)
            assert part, "Chromium has ended"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(text)
        page = self.pages.get(message.get("sessionId"))
        if page and "method" in message:
            page.events.append(message)
        return message


class Page:
    """A page that is open in Chromium, in a context of its own: it shares no storage with other pages.

    Attributes:
        events: What the page told of itself: requests, errors, its loading.
    """

    def __init__(self, connection: Connection, locale: str = "en-US", size: tuple[int, int] = (1200, 800)):
        self.connection, self.events = connection, []
        self._context = connection.ask("Target.createBrowserContext")["browserContextId"]
        opened = {"url": "about:blank", "browserContextId": self._context}
        self._target = connection.ask("Target.createTarget", opened)["targetId"]
        attached = connection.ask("Target.attachToTarget", {"targetId": self._target, "flatten": True})
        self._session = attached["sessionId"]
        connection.pages[self._session] = self
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.ask(f"{domain}.enable")
        self.ask("Emulation.setFocusEmulationEnabled", {"enabled": True})
        agent = self.run("navigator.userAgent")
        self.ask("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": locale})
        self.resize(*size)

    def ask(self, method: str, parameters: dict | None = None) -> dict:
        """The result of a command to this page."""
        return self.connection.ask(method, parameters, self._session)

    def another(self, locale: str = "en-US", size: tuple[int, int] = (1200, 800)) -> "Page":
        """A page of the same Chromium that shares nothing with this one."""
        return Page(self.connection, locale, size)

    def close(self) -> None:
        """Closes the page and forgets what it stored."""
        self.connection.ask("Target.disposeBrowserContext", {"browserContextId": self._context})

    def open(self, address: Path | str) -> None:
        """Opens a file or an address and waits until it is loaded."""
        self._load("Page.navigate", {"url": address if isinstance(address, str) else address.resolve().as_uri()})

    def reload(self) -> None:
        """Loads the page again."""
        self._load("Page.reload")

    def _load(self, method: str, parameters: dict | None = None) -> None:
        """Gives a command and waits until the page that it loads is there."""
        loaded, end = len(self._loads()), time.monotonic() + PATIENCE
        self.ask(method, parameters)
        while len(self._loads()) == loaded:
            self.connection.read(end)

    def _loads(self) -> list[dict]:
        return [event for event in self.events if event["method"] == "Page.loadEventFired"]

    def run(self, script: str) -> object:
        """What the value of `script`, which runs in the page, is."""
        answer = self.ask("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str, seconds: float = 40) -> object:
        """The value of `script` once it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"never {script}: {self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def complaints(self) -> list[dict]:
        """What went wrong in the page: exceptions, and requests or scripts that its policy forbade."""
        return [event for event in self.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]

    def requests(self) -> list[str]:
        """The addresses that the page asked for, over HTTP and web sockets."""
        sent = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return sent + [e["params"]["url"] for e in self.events if e["method"] == "Network.webSocketCreated"]

    def resize(self, width: int, height: int) -> None:
        """Gives the page a size; below 500 wide it is a phone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.ask("Emulation.setDeviceMetricsOverride", metrics)

    def click(self, find: str) -> None:
        """Clicks the element that the script `find` gives, with the mouse, once it is there."""
        self.until(f"!!({find})")
        place = self.run(
            f"(async () => {{ const e = {find}; e.scrollIntoView({{block: 'center'}});"
            " await new Promise(requestAnimationFrame);"
            " const r = e.getBoundingClientRect(); return {x: r.x + r.width / 2, y: r.y + r.height / 2}; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", {"type": kind, **place, "button": "left", "clickCount": 1})

    def type(self, text: str) -> None:
        """Types into the element that has the focus."""
        self.ask("Input.insertText", {"text": text})

    def press(self, key: str, modifiers: int = 0) -> None:
        """Presses a key; 2 as `modifiers` is Ctrl."""
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": modifiers}
        letters = {"text": "\r"} if key == "Enter" else {}
        self.ask("Input.dispatchKeyEvent", {"type": "keyDown", **pressed, **letters})
        self.ask("Input.dispatchKeyEvent", {"type": "keyUp", **pressed})

    def upload(self, find: str, *files: Path) -> None:
        """Chooses files in the field that the script `find` gives."""
        found = self.ask("Runtime.evaluate", {"expression": find})["result"]["objectId"]
        self.ask("DOM.setFileInputFiles", {"files": [str(file) for file in files], "objectId": found})

    def downloads(self, folder: Path) -> None:
        """Lets what is downloaded from now on go to `folder`."""
        allowed = {"behavior": "allow", "downloadPath": str(folder), "browserContextId": self._context}
        self.connection.ask("Browser.setDownloadBehavior", allowed)

    def picture(self, file: Path) -> None:
        """Writes what is to be seen to a PNG file."""
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Yields a page of a Chromium of its own; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    (read, commands), (answers, write) = os.pipe(), os.pipe()
    # Chromium reads its pipe as 3 and writes to it as 4; from above, neither is overwritten by the other.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, write)]
    started = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(3, 4),
        preexec_fn=lambda: [os.dup2(end, number) for number, end in enumerate(ends, start=3)],
        stderr=subprocess.DEVNULL,
    )
    for end in (read, write, *ends):
        os.close(end)
    try:
        with os.fdopen(commands, "wb") as out, os.fdopen(answers, "rb", buffering=0) as back:
            yield Page(Connection(out, back))
    finally:
        started.terminate()
        started.wait(20)
