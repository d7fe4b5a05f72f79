"""Chunks screened by several processes at once, their results in the order of the chunks."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing.connection import wait

from medllm_hf.data.screening.chunk import Screened, Settings, screen_chunk
from medllm_hf.errors import UserError

# One process reads the files for all others; more of them than this would wait for it.
MOST_WORKERS = 8
# Starting processes takes longer than screening fewer chunks than this.
FEWEST_CHUNKS = 5

_settings: Settings


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def screen_all(chunks: Iterator[list], settings: Settings) -> Iterator[Screened]:
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
    # A process that is started afresh holds none of the locks that the threads of this one may hold at the moment.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(settings,))
    waiting: deque[Future] = deque()
    try:
        for number, raws in numbered:
            waiting.append(_submit(pool, number, raws))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        do = "free memory and run it again"
        raise UserError("a screening process that was killed", f"memory for {workers} of them", do) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, number: int, raws: list) -> Future:
    """Submits a chunk; a process started meanwhile never sees Ctrl-C, which is for this one to answer."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_screen, number, raws)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _begin(settings: Settings) -> None:
    global _settings
    _settings = settings
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent ends, even by kill -9."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _screen(number: int, raws: list) -> Screened:
    return screen_chunk(number, raws, _settings)
