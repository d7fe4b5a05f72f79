"""The bootstrap over cases, all figures on the same draws."""

from collections.abc import Iterator

import numpy

# Draws by sums, and by cases one after another, made in blocks that fit into memory.
BLOCKS, BLOCK = 10, 200
CASE_BLOCKS, CASE_BLOCK = 20, 500


def drawn_cases(random: numpy.random.Generator, count: int) -> Iterator[numpy.ndarray]:
    """Blocks of draws of `count` of `count` cases with replacement, as places: (CASE_BLOCK, count) each.

    For figures that do not follow from sums over cases alone; `drawn_sums` has those that do.
    """
    for _ in range(CASE_BLOCKS):
        yield random.integers(0, count, (CASE_BLOCK, count))


def drawn_sums(table: numpy.ndarray, seed: int = 0) -> numpy.ndarray:
    """The sums of the columns of `table` (cases, columns) in each draw of as many cases with replacement: (draws, columns)."""
    count = len(table)
    random = numpy.random.default_rng(seed)
    return numpy.concatenate(
        [random.multinomial(count, numpy.full(count, 1 / count), size=BLOCK) @ table for _ in range(BLOCKS)]
    )


def interval(drawn: numpy.ndarray) -> list[float] | None:
    """The ends of the 95% percentile interval of a figure's drawn values; None where more than one draw in twenty gives none.

    A figure that a draw does not give, such as a share of nothing, is NaN there.
    """
    known = drawn[~numpy.isnan(drawn)]
    if len(known) < 0.95 * len(drawn):
        return None
    low, high = numpy.percentile(known, [2.5, 97.5])
    return [float(low), float(high)]


def quotient(above: numpy.ndarray, below: numpy.ndarray) -> numpy.ndarray:
    """`above` by `below`, NaN where that is 0."""
    above, below = numpy.broadcast_arrays(numpy.asarray(above, dtype=float), numpy.asarray(below, dtype=float))
    return numpy.divide(above, below, out=numpy.full(above.shape, numpy.nan), where=below != 0)
