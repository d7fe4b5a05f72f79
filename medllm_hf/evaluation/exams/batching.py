"""How the work of an exam is divided: into batches that suit the device, and among the ranks that a launcher has begun."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from medllm_hf.evaluation.exams.settings import BATCH_TOKENS

Part = TypeVar("Part")
# On a CPU so many tokens are computed at once that weights times tokens are about this many: some six seconds on two free
# cores, which is how often the bar moves and what a kill loses. More at once is a little faster.
CPU_WORK = 12 * 10**11
# Where replies are written, twice as many: they count at their longest, which few reach, and to write eight at once takes
# half as long again as to write one. A batch lasts as long as its longest reply, of which the bar tells every token.
WRITTEN_WORK = 2 * CPU_WORK
LEAST_TOKENS = 64


@dataclass(frozen=True)
class BatchLimits:
    """The most tokens and the most questions in one forward of a local model, unless one question has more."""

    tokens: int = BATCH_TOKENS
    questions: int = 2**31


USUAL = BatchLimits()


def tokens_for(device: str, weights: int, written: bool = False) -> int:
    """The tokens of one forward that suit a model of so many weights on a device.

    They follow from these alone, so that a run is begun and gone on with by the same ones.
    """
    work = WRITTEN_WORK if written else CPU_WORK
    return min(BATCH_TOKENS, max(LEAST_TOKENS, work // max(1, weights))) if device == "cpu" else BATCH_TOKENS


@dataclass(frozen=True)
class Share:
    """Rank number `rank`, from 0, of `size`. What each takes follows from the parts alone, so that nothing is agreed upon."""

    rank: int = 0
    size: int = 1

    def of(self, parts: Sequence[Part]) -> Sequence[Part]:
        """Every `size`-th of the parts."""
        return parts[self.rank :: self.size]

    def portions(self, portions: Sequence[Part]) -> Iterator[tuple[Part, bool]]:
        """Yields (portion, whether it is split) of those that this rank takes part in.

        Whole portions go round the ranks, since the ids of a portion have to be made before its batches are known; the last
        ones, which are fewer than the ranks, are split: every rank takes a part of their batches.
        """
        whole = len(portions) // self.size * self.size
        yield from ((portion, False) for portion in self.of(portions[:whole]))
        yield from ((portion, self.size > 1) for portion in portions[whole:])

    def takes(self, lacking: Collection[int], split: bool = True) -> Callable[[list[int]], bool]:
        """A function that says of each batch, in their order, whether it is computed here: one with `lacking` questions."""
        turns = count()
        return lambda batch: any(i in lacking for i in batch) and (not split or next(turns) % self.size == self.rank)


# No launcher, or one that has begun a single rank.
ALONE = Share()
