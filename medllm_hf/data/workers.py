"""Chunks screened by several processes at once, their results in the order of the chunks."""

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue

from medllm_hf.data.screening.chunk import Screened, Settings, screen_chunk
from medllm_hf.errors import UserError

# One process reads the files for all others; more of them than this would wait for it.
MOST_WORKERS = 8
# Starting processes takes longer than screening fewer chunks than this.
FEWEST_CHUNKS = 5


@dataclass(frozen=True)
class Worker:
    """A process, and the pipe that it alone has the other end of: when it dies, however, the pipe ends."""

    process: BaseProcess
    pipe: Connection


class Killed(Exception):
    """A worker ended before it answered."""


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def screen_all(chunks: Iterator[list], settings: Settings) -> Generator[Screened, None, None]:
    """Yields what `screen_chunk` says of each chunk, in order. Close it to end the processes.

    Raises:
        UserError: a process was killed.
    """
    first = list(islice(chunks, FEWEST_CHUNKS))
    numbered = enumerate(chain(first, chunks))
    workers = min(cores(), MOST_WORKERS)
    if workers == 1 or len(first) < FEWEST_CHUNKS:
        for number, raws in numbered:
            yield screen_chunk(number, raws, settings)
        return
    started: list[Worker] = []
    idle: SimpleQueue[Worker] = SimpleQueue()
    # A thread for each process, which waits for it alone. `ProcessPoolExecutor` has one pipe for all: what is killed while it
    # writes there leaves half a result and a lock, and everybody waits for the rest.
    threads = ThreadPoolExecutor(workers)
    waiting: deque[Future] = deque()
    try:
        start(workers, started)
        handed = ForkingPickler.dumps(settings)
        for worker in started:
            threads.submit(_hand_over, worker, handed, idle)
        for number, raws in numbered:
            waiting.append(threads.submit(_screened, idle, number, raws))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except Killed as error:
        do = "free memory and run it again"
        raise UserError("a screening process that was killed", f"memory for {workers} of them", do) from error
    finally:
        # They own nothing that would have to be put in order; a thread that waits for one goes on then.
        for worker in started:
            worker.process.kill()
        threads.shutdown(cancel_futures=True)
        for worker in started:
            worker.process.join()


def start(number: int, started: list[Worker]) -> None:
    """Adds new processes to `started`; they never see Ctrl-C, which is for this one to answer."""
    # A process that is started afresh holds none of the locks that the threads of this one may hold, and no other's pipe.
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()  # the first process would start it, and that unblocks the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for _ in range(number):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            started.append(Worker(process, ours))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _hand_over(worker: Worker, settings: memoryview, idle: SimpleQueue) -> None:
    """Gives a worker its settings; not when it is started, where one that dies would keep all waiting if they are large."""
    try:
        with suppress(OSError):  # whoever asks it for something will find it dead
            worker.pipe.send_bytes(settings)
    finally:
        idle.put(worker)


def _screened(idle: SimpleQueue, number: int, raws: list) -> Screened:
    """What an idle worker says of a chunk.

    Raises:
        Killed: it died. Also whatever screening raised there.
    """
    worker = idle.get()
    try:
        worker.pipe.send((number, raws))
        answer = worker.pipe.recv()
    except (EOFError, OSError) as error:
        raise Killed from error
    finally:
        idle.put(worker)
    if isinstance(answer, Exception):
        raise answer
    return answer


def work(pipe: Connection) -> None:
    """Answers chunk after chunk, until the other end of the pipe is closed, by kill -9 too."""
    with suppress(EOFError, OSError):
        settings = pipe.recv()
        while True:
            number, raws = pipe.recv()
            answer: Screened | Exception
            try:
                answer = screen_chunk(number, raws, settings)
            except Exception as error:  # raised where it is waited for
                error.add_note(traceback.format_exc())
                answer = error
            pipe.send(answer)
