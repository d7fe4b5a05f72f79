"""The line of questions before the model: first come, first answered, and one conversation never sees another."""

import sys
import time
import traceback
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from threading import Condition, Thread

from medllm_hf.chat.sampling import SamplingParams
from medllm_hf.chat.session import ChatSession
from medllm_hf.errors import UserError

# Conversations whose keys and values stay in memory. Those of a 7B model take up to 2 GB each at 4,096 tokens.
KEPT = 4
# Seconds without a connection to a visitor's page after which his question leaves the line.
PATIENCE = 5.0
# Seconds between two looks at who has gone.
LOOK = 1.0


@dataclass(eq=False)
class Job:
    """One answer on its way. A page asks and reads it, a worker of the line writes it.

    Attributes:
        session: Of the conversation; nobody else uses it until the job is `done`.
        before: The history that the question follows.
        question: What is asked.
        sampling: The changes of the model's settings.
        present: Says whether the visitor's page is connected.
        text: The answer so far.
        after: The history with question and answer; None when there is no answer.
        error: What went wrong, "" when it is no mistake of the user's.
        seen: When the visitor's page was last connected, on the monotonic clock.
        done: Whether everything above is final.
    """

    session: ChatSession
    before: list[dict]
    question: str
    sampling: SamplingParams
    present: Callable[[], bool]
    text: str = ""
    after: list[dict] | None = None
    error: str | None = None
    seen: float = 0.0
    stopping: bool = False
    done: bool = False


class Line:
    """Answers the questions of all visitors in the order in which they came.

    Attributes:
        session: The loaded model, which the conversations share.
        system: The system message with which conversations begin.
    """

    def __init__(self, session: ChatSession, system: str | None = None, seed: int | None = None):
        self.session, self.system, self._seed = session, system or "", seed
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._recent: list[weakref.ref[ChatSession]] = []
        self._changed = Condition()
        self._closed = False
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(session.backend.at_once)]
        for thread in [*self._threads, Thread(target=self._watch, daemon=True)]:
            thread.start()

    def new_session(self) -> ChatSession:
        """A session for one more conversation."""
        return self.session.fork(self._seed)

    def submit(self, job: Job) -> None:
        """Puts a job at the end of the line."""
        job.seen = time.monotonic()
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()

    def place(self, job: Job) -> int:
        """How many places a job is from its answer: 1 is the next, 0 is being answered or done."""
        with self._changed:
            return self._waiting.index(job) + 1 if job in self._waiting else 0

    def stop(self, job: Job) -> None:
        """Ends a job soon, with the answer as far as it came."""
        with self._changed:
            job.stopping = True
            if job in self._waiting:
                self._waiting.remove(job)
                job.done = True
        job.session.stop()

    def close(self) -> None:
        """Ends all jobs and waits for the workers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            jobs = [*self._waiting, *self._running]
        for job in jobs:
            self.stop(job)
        for thread in self._threads:
            thread.join()

    def _watch(self) -> None:
        """Stops the jobs of visitors who have gone."""
        while not self._closed:
            time.sleep(LOOK)
            with self._changed:
                jobs = [*self._waiting, *self._running]
            for job in jobs:
                if job.present():
                    job.seen = time.monotonic()
                elif time.monotonic() - job.seen > PATIENCE:
                    self.stop(job)

    def _work(self) -> None:
        while job := self._next():
            self._answer(job)
            with self._changed:
                self._running.remove(job)
            # While this thread waits, nothing of the visitor's may stay.
            del job

    def _next(self) -> Job | None:
        """The first job of the line, once there is one; None when the line is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            self._running.append(self._waiting.pop(0))
            return self._running[-1]

    def _answer(self, job: Job) -> None:
        session = job.session
        session.messages = job.before
        try:
            self._make_room(session)
            pieces = session.stream(job.question, **asdict(job.sampling))
            # `stream` forgets a stop that came before it.
            if job.stopping:
                session.stop()
            for piece in pieces:
                job.text += piece
            job.after = session.messages if session.messages is not job.before else None
        except UserError as error:
            job.error = str(error)
            # What the other conversations keep may be what was in the way.
            self._release(0)
        except Exception:
            # One answer that fails must not end the server for everybody else.
            traceback.print_exc(file=sys.stderr)
            job.error = ""
            self._release(0)
        job.done = True

    def _make_room(self, session: ChatSession) -> None:
        """Makes `session` the latest one and frees what the oldest ones keep."""
        with self._changed:
            self._recent = [kept for kept in self._recent if kept() not in (None, session)] + [weakref.ref(session)]
        self._release(KEPT)

    def _release(self, count: int) -> None:
        """Frees what all but the latest `count` conversations keep."""
        with self._changed:
            old, self._recent = self._recent[: max(0, len(self._recent) - count)], self._recent[-count:] if count else []
        for kept in old:
            if session := kept():
                session.release()
