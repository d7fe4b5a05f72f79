"""Questions typed at a terminal, with line editing and a history, or a question a line from a pipe."""

import os
import sys
from pathlib import Path
from types import ModuleType

from medllm_hf.errors import first_line

HISTORY_LENGTH = 1000
# A line of this mark alone begins a question of several lines, and ends it.
BLOCK = '"""'


def history_file() -> Path:
    """Where the typed lines of earlier conversations are kept."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "medllm" / "chat_history"


class LineEditor:
    """Reads questions. At a terminal they may be edited and recalled, and have several lines.

    There a question has several lines when it is pasted so, when it stands between two lines of `BLOCK`, or when a line
    ends with a backslash. From a pipe, each line is a question.
    """

    def __init__(self, interactive: bool, prompt: str):
        self.interactive = interactive
        self._prompt = prompt if interactive else ""
        self._readline: ModuleType | None = None
        if interactive:
            self._set_up()

    def _set_up(self) -> None:
        try:
            import readline
        except ImportError:  # a Python built without it still reads lines
            return
        self._readline = readline
        readline.set_history_length(HISTORY_LENGTH)
        # Python turns it off; terminals that know nothing would show its marks.
        if os.environ.get("TERM", "dumb") != "dumb" and "libedit" not in (readline.__doc__ or ""):
            readline.parse_and_bind("set enable-bracketed-paste on")
        try:
            readline.read_history_file(history_file())
        except FileNotFoundError:
            pass
        except OSError as error:
            print(f"history not read: {first_line(error)}", file=sys.stderr)

    def read(self) -> str:
        """The next question, without blanks around it.

        Raises:
            EOFError: the input has ended.
            KeyboardInterrupt: Ctrl-C.
        """
        line = self._line(self._prompt)
        if not self.interactive:
            return line.strip()
        if line.strip() == BLOCK:
            lines = []
            while (line := self._line("… ")).strip() != BLOCK:
                lines.append(line)
            return "\n".join(lines).strip()
        while line.endswith("\\"):
            line = line[:-1] + "\n" + self._line("… ")
        return line.strip()

    def _line(self, prompt: str) -> str:
        if self.interactive and not sys.stdout.isatty():
            # `input` would write the prompt among the answers.
            print(prompt, end="", file=sys.stderr, flush=True)
            prompt = ""
        return input(prompt)

    def close(self) -> None:
        """Keeps the typed lines for the next time, readable by the user alone: they may tell of somebody's health."""
        if self._readline is None:
            return
        path = history_file()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            path.chmod(0o600)
            self._readline.write_history_file(path)
        except OSError as error:
            print(f"history not kept: {first_line(error)}", file=sys.stderr)
