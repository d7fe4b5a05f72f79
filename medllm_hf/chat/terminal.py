"""The verb `chat`: a conversation in the terminal, or a question a line when input is piped."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Unpack

from medllm_hf.chat.line_editor import LineEditor
from medllm_hf.chat.session import ChatSession
from medllm_hf.chat.settings import SessionFields
from medllm_hf.errors import UserError

DISCLAIMER = "本模型的回答不能代替医生的诊断。The answers do not replace a doctor's diagnosis."
HELP = {
    "clear": "begin a new conversation",
    "undo": "take back the last question and its answer",
    "retry": "answer the last question again",
    "stream": "show answers as they are written, or only when they are complete",
    "save FILE": "write the conversation to FILE as JSON; a name with blanks in it: /save FILE",
    "help": "this list",
    "exit": "leave; so do end of file (Ctrl-D) and Ctrl-C at the prompt, twice",
}
COMMANDS = tuple(entry.split()[0] for entry in HELP)
LINES = 'Several lines: paste them, end a line with \\, or put them between two lines of """. Ctrl-C stops an answer.'
ENDS = {
    "turn": "it began to write your next question",
    "limit": "at the limit of tokens for an answer",
    "context": "at the end of the model's context",
    "stopped": "by you",
}
# What a terminal would take as a command of the model's: all control characters but tab and line feed.
UNSEEN = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])


def chat(model: str, seed: int | None = None, system: str | None = None, **options: Unpack[SessionFields]) -> int:
    """Answers questions from standard input until `exit` or its end; `HELP` lists the commands.

    `options` are those of `ChatSession.from_pretrained`.

    Returns the exit code: 1 when the lines came from a pipe and one of them could not be carried out.

    Raises:
        UserError: the model cannot be had or gives no answer; a setting is out of range.
    """
    session = ChatSession.from_pretrained(model, seed=seed, **options)
    session.check()
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    terminal = Terminal(session, system)
    try:
        terminal.run()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the answers has left. The interpreter would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(terminal.failed and not sys.stdin.isatty())


class Terminal:
    """A session at the terminal: answers go to standard output, everything else to standard error.

    Attributes:
        failed: Whether any line could not be carried out.
    """

    def __init__(self, session: ChatSession, system: str | None):
        self.session, self._system = session, system
        self._streaming, self.failed = True, False
        # Whether the last thing that happened was a Ctrl-C.
        self._interrupted = False
        self._saved: set[Path] = set()
        colour = os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")
        self._dim = ("\x1b[2m", "\x1b[0m") if colour and sys.stderr.isatty() else ("", "")
        shown = colour and sys.stdout.isatty()
        # The marks tell readline which letters take no room.
        self._editor = LineEditor(sys.stdin.isatty(), "\x01\x1b[1;32m\x02> \x01\x1b[0m\x02" if shown else "> ")
        self._begin()

    def _begin(self) -> None:
        self.session.reset()
        if self._system:
            self.session.messages = [{"role": "system", "content": self._system}]

    def run(self) -> None:
        """Returns when the user leaves.

        Raises:
            BrokenPipeError: nobody reads the answers any more.
        """
        self._say(DISCLAIMER, " · ".join(HELP))
        note = ""
        try:
            while True:
                # A Ctrl-C may come at any place, not only while a line is read.
                try:
                    if note:
                        self._say(note)
                    note = ""
                    if self._turn():
                        return
                except KeyboardInterrupt:
                    if self._interrupted:
                        self._say("")
                        return
                    self._interrupted, note = True, "\n(Ctrl-C again, or exit, to leave)"
        finally:
            self._editor.close()

    def _turn(self) -> bool:
        """Reads one line and carries it out; whether the user leaves."""
        try:
            line = self._editor.read()
        except EOFError:
            if self._editor.interactive:
                self._say("")
            return True
        self._interrupted = False
        return bool(line) and self._do(line)

    def _do(self, line: str) -> bool:
        """Carries out one line; whether it was `exit`."""
        word, _, rest = line.removeprefix("/").partition(" ")
        # `save` in a sentence is no command, and neither is any other word with more words after it.
        wanted = word == "save" if line.startswith("/") else word == "save" and len(rest.split()) == 1
        if word in COMMANDS and (wanted or not rest):
            if word == "exit":
                return True
            self._guarded(lambda: self._command(word, rest.strip()))
        elif line.startswith("/"):
            self._say(f"no command {line}; help lists them")
        else:
            self._guarded(lambda: self._answer(self.session.stream(line)))
        return False

    def _guarded(self, action: Callable[[], None]) -> None:
        """Carries out `action`; what goes wrong is one line, and the conversation goes on."""
        try:
            action()
        except UserError as error:
            self.failed = True
            self._say(f"medllm: {error}")

    def _command(self, word: str, rest: str) -> None:
        if word == "clear":
            self._begin()
            self._say("new conversation")
        elif word == "undo":
            self._say(f"taken back: {self.session.undo()}")
        elif word == "retry":
            self._answer(self.session.retry())
        elif word == "stream":
            self._streaming = not self._streaming
            self._say(f"streaming is {'on' if self._streaming else 'off'}")
        elif word == "save":
            self._save(rest)
        else:
            self._say(*(f"{entry:<10}{what}" for entry, what in HELP.items()), LINES)

    def _save(self, name: str) -> None:
        if not name:
            raise UserError("no file", "save FILE", "name the file")
        path = Path(name).expanduser()
        if path.exists() and path not in self._saved:
            raise UserError(f"{path}, which exists", "a new file", "choose another name")
        self.session.save(path)
        self._saved.add(path)
        self._say(f"saved {len(self.session.messages)} messages to {path}")

    def _answer(self, pieces: Iterator[str]) -> None:
        """Prints an answer; Ctrl-C ends it."""
        try:
            with stopped_by_interrupt(self.session):
                for piece in pieces if self._streaming else ["".join(pieces)]:
                    # Among the answers of a pipe every character counts.
                    print(piece.translate(UNSEEN) if sys.stdout.isatty() else piece, end="", flush=True)
        except KeyboardInterrupt:
            pass  # the second one, which did not wait for the token
        print(flush=True)
        self._interrupted = self.session.stopped == "stopped"
        if self.session.dropped:
            self._say(f"[the {self.session.dropped} oldest messages did not fit the context and were left out]")
        if (stopped := str(self.session.stopped)) != "eos":
            self._say(f"[stopped: {ENDS.get(stopped, stopped)}]")

    def _say(self, *lines: str) -> None:
        for line in lines:
            print(f"{self._dim[0]}{line.translate(UNSEEN)}{self._dim[1]}", file=sys.stderr, flush=True)


@contextmanager
def stopped_by_interrupt(session: ChatSession) -> Iterator[None]:
    """Makes the first Ctrl-C in the block stop the session's answer, and lets a second one interrupt the program."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        session.stop()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
