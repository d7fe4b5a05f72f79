"""The ranks of one exam that a launcher has begun: the first one alone writes and prints, and hears what the others answer.

The launcher's own store tells the others where the first one listens. Its lines of JSON are all that goes between them, so
that this works on any device, and a rank that dies is known at once by its closed connection.
"""

import json
import os
import secrets
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from datetime import timedelta
from functools import cache
from types import FrameType
from typing import Any, NoReturn, cast

from medllm_hf.errors import UserError, first_line
from medllm_hf.evaluation.exams.batching import Share
from medllm_hf.evaluation.runs.folder import first_difference

# Seconds until all ranks have begun.
PATIENCE = 600
AGAIN = "what was answered is kept; run the same command again to go on"
_STOP, _GO, _ENDED = "stop", "go", "ended"

Answers = Iterator[tuple[int, dict]]  # places among the questions, and what the output says


class RankLostError(Exception):
    """Another rank has ended, and so the run cannot; the text is one line, or nothing where the first rank says why."""


def share_of_launcher() -> Share:
    """The rank of this process by the variables that torchrun and accelerate set.

    Raises:
        UserError: numbers that cannot be.
    """
    rank, size = (os.environ.get(name) or default for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise UserError(f"RANK={rank} and WORLD_SIZE={size}", "those of a launcher", "unset them, or use torchrun")
    return Share(int(rank), int(size))


class Peer:
    """One connection, of lines of JSON."""

    def __init__(self, line: socket.socket):
        self.socket, self._read = line, b""

    def send(self, message: object) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def received(self) -> list:
        """The whole messages of what has come; waits for the first bytes.

        Raises:
            ConnectionError: the other side is gone.
        """
        if not (new := self.socket.recv(1 << 20)):
            raise ConnectionResetError
        *lines, self._read = (self._read + new).split(b"\n")
        return [json.loads(line) for line in lines]


class Ranks:
    """The ranks that have met: the first one has a connection to each of the others, and these have one to it."""

    def __init__(self, share: Share, peers: list[Peer]):
        self.share, self._peers = share, peers
        self._waiting: list[list] = []

    @property
    def is_first(self) -> bool:
        return self.share.rank == 0

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first rank goes through the block before all others, so that what it refuses is told once."""
        if not self.is_first:
            self.await_first(_GO)
        yield
        if self.is_first:
            self.tell([_GO, None])

    def tell(self, message: list) -> None:
        """Sends (what, content) to all the others."""
        for number, peer in enumerate(self._peers, start=1):
            try:
                peer.send(message)
            except OSError as error:
                raise self._lost(number) from error

    def await_first(self, what: str) -> object:
        """The content of the first rank's next message, which is to be `what`.

        Raises:
            RankLostError: it has ended, with or without a word.
        """
        while not self._waiting:
            try:
                self._waiting += self._peers[0].received()
            except OSError as error:
                raise self._lost(0) from error
        said, content = self._waiting.pop(0)
        if said != what:
            raise RankLostError("")
        return content

    def begin(self, wanted: set[int], manifest: dict) -> None:
        """The first rank says which questions are to be answered, none if there is nothing to do, and what its run is."""
        self.tell([_GO, [sorted(wanted), manifest]])

    def asked(self, manifest: dict) -> set[int]:
        """The questions to be answered, as the first rank says to another, whose own run is to be the same.

        Raises:
            UserError: it is another, as on machines with other files or devices.
        """
        wanted, first = cast("tuple[list[int], dict]", self.await_first(_GO))
        if difference := first_difference(manifest, first):
            name, own, there = difference
            found = f"{name} {own} on rank {self.share.rank}, where the first rank has {there}"
            raise UserError(found, "the same files and devices for all ranks", "give each machine the same")
        return set(wanted)

    def gathered(self, own: Answers) -> Answers:
        """Yields the first rank's `own` answers, and between them those of the others as they come.

        Raises:
            RankLostError: another has ended before it had answered.
        """
        lacking = dict(enumerate(self._peers, start=1))
        for answer in own:
            yield answer
            yield from self._heard(lacking, 0)
        while lacking:
            yield from self._heard(lacking, None)

    def _heard(self, lacking: dict[int, Peer], seconds: float | None) -> Answers:
        numbers = {peer.socket: number for number, peer in lacking.items()}
        for line in select.select(list(numbers), [], [], seconds)[0] if numbers else ():
            number = numbers[line]
            try:
                messages = lacking[number].received()
            except OSError as error:
                raise self._lost(number) from error
            for message in messages:
                if message == _ENDED:
                    del lacking[number]
                else:
                    yield message[0], message[1]

    def hand_over(self, own: Answers) -> None:
        """Sends the answers of this rank, which is not the first, as they are made.

        Raises:
            RankLostError: the first one has ended.
        """
        try:
            for answer in own:
                self._peers[0].send(answer)
            self._peers[0].send(_ENDED)
        except OSError as error:
            raise self._lost(0) from error

    def end(self) -> None:
        """Lets the others go on after the first rank has written the run."""
        self.tell([_ENDED, None])

    def await_end(self) -> None:
        """Waits for `end`."""
        self.await_first(_ENDED)

    def _lost(self, number: int) -> RankLostError:
        return RankLostError(f"found rank {number} of {self.share.size} gone; expected it to answer its questions; {AGAIN}")


@cache
def meet() -> Ranks:
    """The ranks of this launch, each of which calls this once it has nothing to refuse; without a launcher there is one.

    Raises:
        UserError: the others are not there.
    """
    share = share_of_launcher()
    if share.size == 1:
        return Ranks(share, [])
    from torch.distributed import PrefixStore, rendezvous  # which takes seconds

    try:
        store = PrefixStore("medllm_hf", next(iter(rendezvous("env://", timeout=timedelta(seconds=PATIENCE))))[0])
        return Ranks(share, _listened(store, share.size) if share.rank == 0 else [_called(store, share.rank)])
    except (RuntimeError, OSError, ValueError) as error:
        found = f"{share.size} ranks that do not meet ({first_line(error)})"
        raise UserError(found, "all of them at MASTER_ADDR and MASTER_PORT", "begin them with torchrun") from error


def _listened(store: Any, size: int) -> list[Peer]:
    """The connections of the others, by their numbers."""
    family = socket.getaddrinfo(os.environ["MASTER_ADDR"], None)[0][0]
    key, peers = secrets.token_hex(16), dict[int, Peer]()
    with socket.create_server(("", 0), family=family) as server:
        server.settimeout(PATIENCE)
        store.set("first", f"{server.getsockname()[1]} {key}")
        while len(peers) < size - 1:
            line, _ = server.accept()
            line.settimeout(PATIENCE)
            with line.makefile("rb", buffering=0) as file:
                number, _, given = file.readline(100).decode(errors="replace").strip().partition(" ")
            if secrets.compare_digest(given, key) and number.isdecimal():
                line.settimeout(None)
                peers[int(number)] = Peer(line)
            else:
                line.close()
    return [peers[number] for number in sorted(peers)]


def _called(store: Any, rank: int) -> Peer:
    """The connection to the first rank."""
    port, key = store.get("first").decode().split()
    line = socket.create_connection((os.environ["MASTER_ADDR"], int(port)), timeout=PATIENCE)
    line.settimeout(None)
    line.sendall(f"{rank} {key}\n".encode())
    return Peer(line)


@contextmanager
def launched() -> Iterator[None]:
    """Around what all ranks of a launch do: the others print nothing, and hear it when the first one fails.

    Raises:
        RankLostError: another rank has ended; a launcher says so by SIGTERM.
    """
    share = share_of_launcher()
    if share.size == 1:
        yield
        return
    before = signal.signal(signal.SIGTERM, _stopped)
    with open(os.devnull, "w", encoding="utf-8") as nothing:
        try:
            with redirect_stdout(nothing) if share.rank else nullcontext():
                yield
        except BaseException:
            if share.rank == 0 and meet.cache_info().currsize:
                with suppress(RankLostError):
                    meet().tell([_STOP, None])
            raise
        finally:
            signal.signal(signal.SIGTERM, before)


def _stopped(number: int, frame: FrameType | None) -> NoReturn:
    raise RankLostError(f"found this rank stopped by its launcher; expected all ranks to answer their questions; {AGAIN}")
