"""Chromium for tests of pages, driven through its own pipe: no driver package and no port are needed."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """A page that is open in Chromium."""

    def __init__(self, commands, answers):
        self._commands, self._answers, self._sent = commands, answers, 0
        self.events: list[dict] = []
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable", session=self._session)

    def open(self, file: Path) -> None:
        """Opens a file and waits until it is loaded."""
        self._ask("Page.navigate", {"url": file.resolve().as_uri()}, self._session)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def run(self, script: str) -> object:
        """What the value of `script`, which runs in the page, is."""
        asked = {"expression": script, "returnByValue": True, "awaitPromise": True}
        answer = self._ask("Runtime.evaluate", asked, self._session)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self) -> list[dict]:
        """What went wrong in the page: exceptions, and requests or scripts that its policy forbade."""
        return [event for event in self.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]

    def _ask(self, method: str, parameters: dict | None = None, session: str | None = None) -> dict:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters or {}}
        self._commands.write(json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        self._commands.flush()
        while "id" not in (answer := self._read()):
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> dict:
        text = bytearray()
        while (letter := self._answers.read(1)) != b"\0":
            assert letter, "Chromium has ended"
            text += letter
        return json.loads(text)


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Yields a page of a Chromium of its own; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    (read, commands), (answers, write) = os.pipe(), os.pipe()
    # Chromium reads its pipe as 3 and writes to it as 4; from above, neither is overwritten by the other.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, write)]
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    started = subprocess.Popen(
        [CHROMIUM, *flags],
        pass_fds=(3, 4),
        preexec_fn=lambda: [os.dup2(end, number) for number, end in enumerate(ends, start=3)],
        stderr=subprocess.DEVNULL,
    )
    for end in (read, write, *ends):
        os.close(end)
    try:
        with os.fdopen(commands, "wb") as out, os.fdopen(answers, "rb") as back:
            yield Page(out, back)
    finally:
        started.terminate()
        started.wait(20)
