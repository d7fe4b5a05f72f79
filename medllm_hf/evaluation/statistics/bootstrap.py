"""The bootstrap over cases, all figures on the same draws."""

import numpy

# Draws, made in blocks that fit into memory.
BLOCKS, BLOCK = 10, 200


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
