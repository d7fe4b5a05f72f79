"""Work on foreign files that could go on for ever, in a child process with an end to its time and memory."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from medllm_hf.errors import UserError

Result = TypeVar("Result")
# What a process may take beside what it had: the libraries that read a tokenizer, and the prompts.
MEMORY = 3 << 30
# Of a machine that does much else at once, a process gets a part; one that waits for ever uses no time of its cores.
_WAITING = 10


def bounded(what: str, work: Callable[[], Result], seconds: float, memory: int = MEMORY) -> Result:
    """What `work` gives, done in a forked process that is ended after `seconds` of a core, or at `memory` more bytes.

    Only Linux forks safely with all that was loaded; elsewhere it is done here, without an end.

    Args:
        what: whose files are read, for the refusal.

    Raises:
        UserError: it took too long or too much, or what `work` raises.
    """
    if not sys.platform.startswith("linux"):
        return work()
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    child = fork.Process(target=_send, args=(there, work, seconds, memory), daemon=True)
    child.start()
    there.close()
    try:
        if not here.poll(_WAITING * seconds):
            raise _too_long(what, seconds)
        done, result = here.recv()
    except EOFError as error:
        child.join()
        if child.exitcode == -signal.SIGXCPU:
            raise _too_long(what, seconds) from error
        found = f"{what} that ends the process that reads it (code {child.exitcode})"
        raise UserError(found, "files of a model", "look at its template and tokenizer") from error
    finally:
        child.kill()
        child.join()
        here.close()
    if not done:
        raise result
    return result


def _too_long(what: str, seconds: float) -> UserError:
    return UserError(f"{what} that takes more than {seconds:.0f} s", "files of a model", "look at its template and tokenizer")


def _send(pipe: Connection, work: Callable[[], object], seconds: float, memory: int) -> None:
    import resource

    # Its threads were not forked; without them the library of tokenizers would wait, or warn.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with open("/proc/self/statm", encoding="ascii") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, mapped + memory))
    # Seconds that the parent had used count too.
    used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + int(seconds) + 1, used + int(seconds) + 2))
    try:
        pipe.send((True, work()))
    except (UserError, OSError) as error:
        pipe.send((False, error))
    except MemoryError:
        pipe.send((False, UserError("files that take all memory", "files of a model", "look at its template and tokenizer")))
