"""A program in a real pseudo-terminal: type into it, wait for what its screen shows."""

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"
PASTE = ("\x1b[200~", "\x1b[201~")


class Screen:
    """`medllm` (or another program of Python) with the given words, on a terminal of its own; leaving the block ends it.

    `shown` is everything that it has written so far, and `until` has looked at the first `seen` characters of it.
    """

    def __init__(
        self, *words: str, state: Path, rows: int = 24, columns: int = 80, program=("-m", "medllm_hf"), **environment: str
    ):
        self.shown = ""
        self.seen = 0
        self._rest = b""
        self._terminal, inner = os.openpty()
        self.resize(rows, columns)
        settings = {**os.environ, "XDG_STATE_HOME": str(state), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment}
        if "NO_COLOR" not in environment:
            settings.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, *program, *words],
            stdin=inner, stdout=inner, stderr=inner, env=settings, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(inner)

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)

    def resize(self, rows: int, columns: int) -> None:
        """Gives the window another size, which the program is told by a signal."""
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Presses keys."""
        os.write(self._terminal, text.encode())

    def until(self, text: str, seconds: float = 120) -> str:
        """What is shown since the last call, up to and with `text`."""
        end = time.monotonic() + seconds
        while text not in self.shown[self.seen :]:
            assert time.monotonic() < end and self.read(end - time.monotonic()), f"no {text!r} in {self.shown!r}"
        start, self.seen = self.seen, self.shown.index(text, self.seen) + len(text)
        return self.shown[start : self.seen]

    def ended(self, seconds: float = 60) -> int:
        """The exit code, when the program has ended by itself."""
        end = time.monotonic() + seconds
        while self.read(end - time.monotonic()):
            pass
        return self.process.wait(max(1, end - time.monotonic()))

    def read(self, seconds: float) -> bool:
        """Takes what is written within so many seconds; whether anything was."""
        if not select.select([self._terminal], [], [], max(0, seconds))[0]:
            return False
        try:
            data = self._rest + os.read(self._terminal, 65536)
        except OSError:  # how Linux tells that the program has gone
            return False
        text = data.decode("utf-8", "ignore")
        self._rest = data[len(text.encode()) :]
        self.shown += text
        return True
