"""Letters of many texts at once → keys of exact duplicates, MinHash signatures and clusters of near-duplicates."""

import hashlib
import os
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
from rensa import RMinHash

GRAM = 4
SLOTS = 256
# 42 bands of 6 slots: two texts that share 80% of their n-grams meet in at least one band with probability 0.99999, two
# that share 30% with probability 0.03.
BANDS, BAND_SLOTS = 42, 6
# The estimated Jaccard similarity of the n-gram sets from which two dialogues are near-duplicates.
SIMILAR = 0.8
# From which two dialogues must not be on two sides: three standard deviations of the estimate below.
ONE_SIDE = 0.72
# With how many of the rows that share a band a row is compared; bounds the work on texts from one template.
NEIGHBOURS = 32
# Lone surrogates: no valid text holds them, and normalising leaves them alone.
ROLE_MARKS = {"system": "\ud800", "user": "\ud801", "assistant": "\ud802"}
END = "\ud803"
_BLOCK = 16_384


@dataclass(frozen=True)
class Letters:
    """Texts as code points: text i is `codes[offsets[i]:offsets[i + 1]]`."""

    codes: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def text(self, i: int) -> np.ndarray:
        """The code points of text i."""
        return self.codes[self.offsets[i] : self.offsets[i + 1]]


@cache
def _is_space() -> np.ndarray:
    """(65537,) bool: white space and invisible characters; the last entry stands for all code points above."""
    return np.array([unicodedata.category(chr(code))[0] == "Z" or _invisible(code) for code in range(65_536)] + [False])


@cache
def _is_letter() -> np.ndarray:
    """(65537,) bool: neither space nor punctuation. Role marks count as letters."""
    marks = {ord(mark) for mark in (*ROLE_MARKS.values(), END)}
    return np.array([code in marks or unicodedata.category(chr(code))[0] not in "ZCP" for code in range(65_536)] + [True])


def _invisible(code: int) -> bool:
    return unicodedata.category(chr(code)) in ("Cc", "Cf")


def normal(texts: list[str]) -> Letters:
    """The texts in NFKC and one case, without white space."""
    joined = unicodedata.normalize("NFKC", "".join([text + END for text in texts])).casefold()
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return _kept(codes, ~_is_space()[np.minimum(codes, 65_536)])


def letters(texts: Letters) -> Letters:
    """`texts` without punctuation."""
    codes = np.insert(texts.codes, texts.offsets[1:], ord(END))
    return _kept(codes, _is_letter()[np.minimum(codes, 65_536)])


def _kept(codes: np.ndarray, keep: np.ndarray) -> Letters:
    """The chosen code points of texts that each end in END, without the ENDs."""
    codes = codes[keep]
    ends = np.flatnonzero(codes == ord(END))
    offsets = np.concatenate([[0], ends - np.arange(len(ends))])
    return Letters(np.delete(codes, ends), offsets)


def marked(messages: list[dict]) -> str:
    """The text of a dialogue with a mark of the role before each turn."""
    return "".join([ROLE_MARKS[turn["role"]] + turn["content"] for turn in messages])


def exact_keys(texts: Letters) -> np.ndarray:
    """(texts, 2) uint64: equal for texts that differ only in white space, width and case."""
    digests = [hashlib.blake2b(texts.text(i).data, digest_size=16).digest() for i in range(len(texts))]
    return np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(-1, 2)


def mixed(values: np.ndarray) -> np.ndarray:
    """uint64 values spread over all 64 bits, one to one."""
    values = (values ^ (values >> np.uint64(31))) * np.uint64(0x7FB5D329728EA185)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x81DADEF4BC2DD44D)
    return values ^ (values >> np.uint64(33))


def grams(texts: Letters, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(hash, position in `texts.codes`) of every n-gram of `size` letters, uint64 and int64; none crosses from text to text."""
    count = max(len(texts.codes) - size + 1, 0)
    hashes = np.zeros(count, dtype=np.uint64)
    for i in range(size):
        hashes = mixed(hashes ^ texts.codes[i : count + i])
    inside = np.ones(count, dtype=bool)
    for border in range(1, size):
        starts = texts.offsets[1:] - border
        inside[starts[(starts >= 0) & (starts < count)]] = False
    positions = np.flatnonzero(inside)
    return hashes[positions], positions


def signatures(texts: Letters) -> tuple[np.ndarray, np.ndarray]:
    """MinHash of the sets of character 4-grams: (texts, SLOTS) uint16 to compare and (texts, BANDS) uint32 to find pairs.

    Source: rensa, R-MinHash. 16 of 32 bits are kept: unequal slots look equal once in 65,536 times.
    """
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    hashes, positions = grams(texts, GRAM)
    borders = np.searchsorted(positions, texts.offsets).astype(np.uint64)
    rows = RMinHash.digest_matrix_from_flat_token_hashes(hashes, borders, SLOTS, 42).to_rows()
    slots = np.array(rows, dtype=np.uint32).reshape(-1, SLOTS)
    keys = np.zeros((len(slots), BANDS), dtype=np.uint64)
    for i in range(BAND_SLOTS):
        keys = mixed(keys ^ slots[:, i : BANDS * BAND_SLOTS : BAND_SLOTS])
    return slots.astype(np.uint16), (keys >> np.uint64(32)).astype(np.uint32)


def similarity(slots: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(pairs,) float32: the estimated Jaccard similarity of the rows `first` and `second` of the signatures."""
    shares = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), _BLOCK):
        block = slice(start, start + _BLOCK)
        shares[block] = (slots[first[block]] == slots[second[block]]).mean(axis=1)
    return shares


def clusters(slots: np.ndarray, bands: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, int]:
    """(all rows,) int64: for each row the first row of its cluster; and how many pairs that met in a band were not compared.

    Only `rows`, in ascending order, are compared, each with the NEIGHBOURS before it that share a band with it. Pairs whose
    estimated similarity is ONE_SIDE or more belong to one cluster, and so do the pairs of pairs: not every two rows of a
    cluster are alike.
    """
    labels = np.arange(len(slots))
    not_compared = 0
    for band in range(bands.shape[1]):
        keys = bands[rows, band]
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        equal = keys[1:] == keys[:-1]
        shared = np.zeros(len(keys), dtype=bool)
        shared[1:] |= equal
        shared[:-1] |= equal
        meeting, keys = rows[order[shared]], keys[shared]
        for step in range(1, NEIGHBOURS + 1):
            together = keys[step:] == keys[:-step]
            if not together.any():
                break
            first, second = meeting[:-step][together], meeting[step:][together]
            unknown = labels[first] != labels[second]
            first, second = first[unknown], second[unknown]
            alike = similarity(slots, first, second) >= ONE_SIDE
            _join(labels, first[alike], second[alike])
        beyond = np.unique(keys, return_counts=True)[1] - 1 - NEIGHBOURS
        not_compared += int((beyond * (beyond + 1) // 2)[beyond > 0].sum())
    return labels, not_compared


def _join(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    """Gives each pair, and all that hangs on it, the smaller label of the two."""
    while (differ := labels[first] != labels[second]).any():
        one, two = labels[first[differ]], labels[second[differ]]
        np.minimum.at(labels, np.maximum(one, two), np.minimum(one, two))
        while (labels[labels] != labels).any():
            labels[:] = labels[labels]


def repeated(slots: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row, the kept row that it repeats) for the `rows` to leave out so that of those alike in a cluster one stays.

    The first row of a cluster stays, of those not alike to it again the first, and so on; after NEIGHBOURS such rows all
    that are left stay.
    """
    rows = rows[np.argsort(labels[rows], kind="stable")]
    pairs = [np.empty((2, 0), dtype=np.int64)]
    for _ in range(NEIGHBOURS):
        if not len(rows):
            break
        groups = labels[rows]
        first = np.append(True, groups[1:] != groups[:-1])
        kept, others = rows[first][np.cumsum(first) - 1][~first], rows[~first]
        alike = similarity(slots, kept, others) >= SIMILAR
        pairs.append(np.stack([others[alike], kept[alike]]))
        rows = others[~alike]
    left_out, kept = np.concatenate(pairs, axis=1)
    order = np.argsort(left_out)
    return left_out[order], kept[order]


def first_of_equals(keys: np.ndarray) -> np.ndarray:
    """(rows,) int64: for each row of `keys` (rows, 2) the first row with an equal key."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: equal keys stay in row order
    new = np.ones(len(keys), dtype=bool)
    new[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    firsts = np.empty(len(keys), dtype=np.int64)
    firsts[order] = order[new][np.cumsum(new) - 1]
    return firsts
