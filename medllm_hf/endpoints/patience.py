"""When an endpoint that has answered is given up: it cannot be reached any more, or nothing that it sends can be used."""

import logging
import time

from medllm_hf.endpoints.refusals import RETRIED_STATUS, Failure

# Seconds for which an endpoint that has answered may be out of reach, and between two requests meanwhile.
GONE_SECONDS, GONE_WAIT = 15.0, 1.0
# Calls in a row that have failed with all their repetitions, after which a greeting shows whether it is the endpoint.
LOST_CALLS = 3

_LOG = logging.getLogger(__name__)


class Patience:
    """What the calls of one client have met last; `name` is what the endpoint is called in what is told."""

    def __init__(self, name: str):
        self._name = name
        self._gone_since: float | None = None
        self._lost = 0
        self._replied = self._told = False

    def saw(self, failure: Failure | None) -> None:
        """Takes note of how one request has ended; None for a reply."""
        if failure is None:
            self._lost, self._replied = 0, True
        if failure is None or failure.connected:
            self._gone_since = None
        elif failure.again and self._gone_since is None:
            self._gone_since = time.monotonic()
            _LOG.warning("medllm: %s cannot be reached any more; it is asked again for %g s", self._name, GONE_SECONDS)

    def is_over(self) -> bool:
        """Whether the endpoint has been out of reach for too long."""
        return self._gone_since is not None and time.monotonic() - self._gone_since >= GONE_SECONDS

    def doubts(self, failure: Failure) -> bool:
        """Whether so many calls in a row are lost, this one by `failure`, that the endpoint itself is to be asked."""
        # Who is asked to slow down has an endpoint that works.
        if not failure.again or failure.status in RETRIED_STATUS:
            return False
        self._lost += 1
        if self._replied and not self._told:
            self._told = True
            _LOG.warning("medllm: %s has sent nothing that can be used for one question; the next is asked", self._name)
        if self._lost < LOST_CALLS:
            return False
        self._lost = 0
        return True
