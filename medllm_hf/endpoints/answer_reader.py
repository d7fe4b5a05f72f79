"""The body of a server's answer as its bytes come: one JSON object or an event stream, whatever was asked for, to a limit."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

# Bytes of an object, of one event, and of the text that a stream adds up to; the longest replies have a hundredth of it.
LONGEST = 8_000_000
# The names that servers give to what a model thinks, where it does not stand in the content.
REASONING_FIELDS = ("reasoning_content", "reasoning")


class TooLong(ValueError):
    """An answer beyond `LONGEST`."""

    def __init__(self) -> None:
        super().__init__(f"an answer of more than {LONGEST // 1_000_000} MB")


# How the lines of an event stream begin, and where they are looked for.
EVENT_SIGNS, LONGEST_HEAD = (b"data:", b"event:", b"id:", b":"), 1 << 16


@dataclass(frozen=True)
class Delta:
    """The next part of a streamed answer: its text, why the model stopped ("" while it goes on), and what it thinks."""

    text: str
    finish: str
    reasoning: str = ""


class Unpacker:
    """The bytes of an answer without its Content-Encoding.

    Raises:
        ValueError: an encoding that was not asked for.
    """

    def __init__(self, encoding: str):
        if encoding.strip().lower() not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ValueError(f"an answer packed as {encoding[:20]}")
        packed = encoding.strip().lower() not in ("", "identity")
        # 47: zlib or gzip, whichever the bytes say.
        self._zlib = zlib.decompressobj(47) if packed else None

    def unpack(self, block: bytes) -> Iterator[bytes]:
        """Yields what a block unpacks to, in parts of bounded size.

        Raises:
            ValueError: it is damaged.
        """
        if self._zlib is None:
            yield block
            return
        while block:
            try:
                part = self._zlib.decompress(block, LONGEST)
            except zlib.error as error:
                raise ValueError(f"an answer that cannot be unpacked ({error})") from error
            if not part:
                return
            yield part
            block = self._zlib.unconsumed_tail


class AnswerReader:
    """Reads an answer from its bytes, `feed` by `feed`, and then `end`.

    Args:
        encoding: the answer's Content-Encoding.
        plain: keep the bytes as they are, since a refusal is read as a whole.

    Attributes:
        whole: The bytes of an answer that is no event stream, as far as they came.
        streamed: Whether it is an event stream.
        done: Whether an event has said that the answer is complete.
        model, usage: As the events say, the last word counts.
    """

    def __init__(self, encoding: str = "", plain: bool = False):
        self.whole = bytearray()
        self.streamed = False
        self.done = False
        self.model: str | None = None
        self.usage: object = None
        self._unpacker = Unpacker(encoding)
        self._begun = plain
        self._length = 0

    def feed(self, block: bytes) -> Iterator[Delta]:
        """Yields the parts of an event stream that a block completes.

        Lines are split at line feeds alone: other separators may stand in the JSON.

        Raises:
            ValueError, RecursionError: an event says that something went wrong, or cannot be understood; or it is too long.
        """
        for part in self._unpacker.unpack(block):
            self.whole += part
            if not self._begun:
                head = bytes(self.whole[:LONGEST_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n"))
                # The first bytes may be too few to tell: a server may send one at a time.
                self._begun = bool(head) and not any(sign != head and sign.startswith(head) for sign in EVENT_SIGNS)
                self.streamed = self._begun and head.startswith(EVENT_SIGNS)
            if self.streamed and b"\n" in self.whole:
                *lines, self.whole = self.whole.split(b"\n")
                for line in lines:
                    yield from self._event(line)
            if len(self.whole) > LONGEST:
                raise TooLong

    def end(self) -> Iterator[Delta]:
        """Yields the last event of a stream, if no line end has closed it.

        Raises:
            ValueError, RecursionError: see `feed`.
        """
        yield from self._event(self.whole)

    def _event(self, line: bytearray) -> Iterator[Delta]:
        data = line.removeprefix(b"\xef\xbb\xbf")
        if not data.startswith(b"data:"):
            return
        if data[5:].strip() == b"[DONE]":
            self.done = True
        elif data[5:].strip():
            yield self._delta(json.loads(data[5:]))

    def _delta(self, event: dict) -> Delta:
        try:
            error, choice = event.get("error"), (event.get("choices") or [{}])[0]
            self.model, self.usage = event.get("model") or self.model, event.get("usage") or self.usage
            if not error:
                delta = delta_of(choice)
                self.done = self.done or bool(delta.finish)
                self._length += len(delta.text) + len(delta.reasoning)
                if self._length > LONGEST:
                    raise TooLong
                return delta
            reason = error["message"] if isinstance(error, dict) else error
        except (AttributeError, KeyError, TypeError):
            reason = "an event that is no chat answer"
        raise ValueError(str(reason))


def delta_of(choice: dict) -> Delta:
    """What a choice says, whole or in part.

    Raises:
        AttributeError, TypeError: it is none.
    """
    message = choice.get("delta") or choice.get("message") or {}
    thought = next((message[name] for name in REASONING_FIELDS if message.get(name)), "")
    text = content_text(message.get("content"))
    return Delta(text or str(message.get("refusal") or ""), str(choice.get("finish_reason") or ""), content_text(thought))


def content_text(content: object) -> str:
    """The text of a message's content, which may be null or a list of parts.

    Parts that are no text, such as those that tell what the model thinks, are left out.

    Raises:
        TypeError: it is no text.
    """
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content if part.get("type") == "text")
    if not isinstance(content, str | None):
        raise TypeError("content that is no text")
    return content or ""
