"""A running `medllm web`, and visitors who use its page in Chromium as people do."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.browser import Page

FIELD = "document.querySelector('textarea[data-testid=stChatInputTextArea]:not(:disabled)')"
# A click into a page that is being drawn anew may be lost.
RESTS = (
    "(data => data.testConnectionState === 'CONNECTED' && data.testScriptState === 'notRunning')"
    "(document.querySelector('.stApp').dataset)"
)
SAID = "[...document.querySelectorAll('.medllm-said')].map(e => e.textContent)"


def button(label: str, inside: str = "document") -> str:
    """A script that finds the button of a label; an icon may follow it."""
    return f"[...{inside}.querySelectorAll('button')].find(b => b.innerText.trim().split('\\n')[0] === {label!r})"


class Server:
    """`medllm web` with the given words, at a free port; leaving the block kills it."""

    def __init__(self, *words: str, port: int = 0):
        if find_spec("streamlit") is None:
            pytest.skip("no Streamlit: it is the extra `web`")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "medllm_hf", "web", *words, "--port", str(port)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert select.select([self.process.stdout], [], [], 120)[0], "no line from medllm web"
        self.line = self.process.stdout.readline()
        assert self.line.startswith("http"), self.process.stderr.read()
        self.url = self.line.split()[0]
        self.port = int(self.url.rpartition(":")[2])

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.communicate()

    def interrupt(self) -> tuple[int, str]:
        """Presses Ctrl-C; the exit code, and what was written to standard error."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60), self.process.stderr.read()


class Visitor:
    """A person at the page, in a browser context of his own."""

    def __init__(self, chromium: Page, server: Server, locale: str = "en-US", size: tuple[int, int] = (1200, 800)):
        self.page, self.server = chromium.another(locale, size), server
        self.page.open(server.url)
        self.ready()

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_) -> None:
        asked = self.page.requests()
        self.page.close()
        own = (self.server.url + "/", self.server.url.replace("http", "ws") + "/", "data:", "blob:")
        assert [url for url in asked if not url.startswith(own)] == []

    def ready(self) -> None:
        """Returns when a question can be typed, and what the tab kept is there."""
        self.page.until(f"sessionStorage.medllm && !!{FIELD} && {RESTS}")

    def type(self, question: str) -> None:
        """Sends a question without waiting for its answer."""
        self.click(FIELD)
        self.page.type(question)
        self.page.until(f"{FIELD}.value === {question!r}")
        self.page.press("Enter")
        self.page.until(f"{FIELD}?.value !== {question!r}")

    def ask(self, question: str) -> str:
        """The answer to a question."""
        before = len(self.said())
        self.type(question)
        self.answered(before + 2)
        return self.said()[-1]

    def answered(self, count: int) -> None:
        """Returns when so many messages are shown and none is being written."""
        self.page.until(f"{SAID}.length === {count} && {RESTS} && !!{button('Retry')} && !{button('Stop')}")

    def said(self) -> list[str]:
        """All messages that are shown."""
        return self.page.run(SAID)

    def press(self, label: str) -> None:
        """Presses the button of a label, "Stop" also while the page changes."""
        if label == "Stop":
            self.page.click(button(label))
        else:
            self.click(button(label))

    def click(self, find: str) -> None:
        """Clicks the element that the script `find` gives, when the page is at rest."""
        self.page.until(f"!!{find} && {RESTS}")
        self.page.click(find)

    def shows(self, messages: list[str]) -> None:
        """Returns once these are the messages."""
        self.page.until(f"JSON.stringify({SAID}) === JSON.stringify({json.dumps(messages)}) && {RESTS}")

    def sees(self, text: str, seconds: float = 60) -> None:
        """Returns once the page shows `text`."""
        self.page.until(f"document.body.innerText.includes({text!r})", seconds)

    def open_list(self) -> None:
        """Opens the list of conversations, which a phone hides."""
        self.click("document.querySelector('[data-testid=stExpandSidebarButton]')")
        self.page.until("document.querySelector('.stSidebar').getBoundingClientRect().x >= 0")
        time.sleep(0.4)  # it slides in

    def set(self, label: str, value: str) -> None:
        """Fills in a number of the settings, which are open."""
        field = f"[...document.querySelectorAll('input')].find(e => e.ariaLabel === {label!r})"
        self.click(field)
        self.page.run(f"{field}.select()")
        self.page.type(value)
        self.page.press("Enter")
        self.page.until(f"Number({field}.value) === {float(value)} && {RESTS}")

    def download(self, label: str, folder: Path) -> str:
        """The text of the file that a button of the exports gives."""
        folder.mkdir()
        self.page.downloads(folder)
        self.press("Export")
        end = time.monotonic() + 60
        while not self.page.run(f"!!{button(label)}"):
            # What was pressed while the page was drawn anew was lost.
            assert time.monotonic() < end, "no exports"
            time.sleep(2)
            if not self.page.run(f"!!{button(label)}"):
                self.press("Export")
        self.press(label)
        end = time.monotonic() + 60
        while not (files := [file for file in folder.iterdir() if file.suffix in (".json", ".jsonl", ".md")]):
            assert time.monotonic() < end, "no download"
            self.page.run("0")
            time.sleep(0.05)
        self.page.press("Escape")
        return files[0].read_text(encoding="utf-8")
