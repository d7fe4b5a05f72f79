"""Dialogues that hold a held-out question: found by character n-grams, decided by edit distance and evidence.

A question is found in a dialogue when some stretch of it becomes the question's stem by a few edits (letters added, left
out or exchanged; punctuation, white space, width and case do not count, and neither does the order of the options):
none below 6 letters, 1 below 8, 2 below 15, then a fifth of the letters. That alone would let stock phrases count, so the
stem must also hold evidence. Exam phrases (下列, 正确的是, 患者, 男, 35岁, 临床表现 …) are none, and a letter that is not
Chinese is a third of one. A stem counts by itself with 10 letters of evidence and 1 more for each edit. One without an exam
phrase may be the name of a disease: it needs 20, or an end that asks (多见于, 宜选用 …) and is found too. With less a stem
counts only beside half of the options or, where it has an exam phrase or such an end and no edits, the right answer: with
them it must come to 9 letters and 1 for each edit, and itself have 3 for each edit unless all options are there. Stems below
4 letters are not looked for.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from medllm_hf.data.mcq import McqItem
from medllm_hf.data.screening.near_duplicates import Letters, grams, letters, normal

SEED = 3
SHORTEST = 4
# n-grams of more stems than this are looked up only for stems that have few others.
COMMON, FEW = 24, 8
# In thirds of a Chinese letter: enough; without an exam phrase; with options; more for each edit; of the stem for each edit.
ENOUGH, ENOUGH_OF_A_NAME, ENOUGH_WITH_OPTIONS, FOR_AN_EDIT, OWN_FOR_AN_EDIT = 30, 60, 27, 3, 9
STOCK = re.compile(
    "下列|以下|关于|有关|患者|病人|男性?|女性?|(?<![0-9])[0-9]+岁|哪一?[项种个些]|什么|多少|叙述|说法|描述|表述|论述|[不最]?正确|错误"
    "|[不最]?可能|不?属于|不?包括|不?符合|除外|诊断|[应宜]?首[选先]|为?明确|进行|进一步|处理|措施|检查|治疗方法|临床表现"
    "|主要表现|症状|并发症|病因|原因|特点|因素|[的是为有应该]"
    "|whichofthefollowing|which|whatis|what|statements?|correct|incorrect|true|false|except|regarding|about|patient|yearold|(?:is|are)"
)
ASKING_END = re.compile(
    "(?:见于|好发于|生于|适?用于|位于|[低少高大多]于|[宜可首]?选用?|可见到?|引起|[所可]致|导致|出现|提示|[又还]能|治?宜|证属|禁[忌用]"
    "|何种|分泌|常用|存在|易损伤|显示)$"
)
_TABLE_BITS, _PRESENT_BITS = 22, 13


@dataclass(frozen=True)
class Hit:
    """Question `question` of an index, found in text `text` at the letters from `begin` to `end` with `edits` edits."""

    text: int
    question: int
    edits: int
    begin: int
    end: int


@dataclass(frozen=True)
class Index:
    """Questions by the n-grams of their stems.

    `stems` holds each distinct stem once; `asked[s]` are the numbers of its questions. The n-gram `grams[g]` is looked up for
    the stems `posts[starts[g]:starts[g + 1]]`, and `table` says which leading bits such n-grams have. `needed[s]` of them
    make stem s a candidate. All its n-grams, by their leading bits, are `places[firsts[s]:firsts[s + 1]]`, of which
    a text must hold `whole[s]`.
    """

    questions: list[tuple[str, McqItem]]
    stems: Letters
    asked: list[list[int]]
    allowed: np.ndarray
    grams: np.ndarray
    starts: np.ndarray
    posts: np.ndarray
    table: np.ndarray
    needed: np.ndarray
    places: np.ndarray
    firsts: np.ndarray
    whole: np.ndarray
    unsearched: int


def allowed_edits(length: int) -> int:
    """How many edits a stem of `length` letters may have."""
    return max(2, length // 5) if length >= 8 else int(length >= 6)


@lru_cache(maxsize=4096)
def evidence(text: str) -> int:
    """The letters of a text that are evidence: Chinese ones count 3, others 1, exam phrases nothing."""
    return sum(3 if "\u3400" <= letter <= "\u9fff" else 1 for letter in STOCK.sub("", text))


@lru_cache(maxsize=4096)
def letters_of(text: str) -> str:
    """The letters of one text, as they are compared."""
    return _decoded(letters(normal([text])).codes)


def _decoded(codes: np.ndarray) -> str:
    return codes.tobytes().decode("utf-32-le", "surrogatepass")


def index(questions: list[tuple[str, McqItem]]) -> Index:
    """The searchable index of (file, question) pairs."""
    every = letters(normal([item.question for _, item in questions]))
    asked: dict[str, list[int]] = defaultdict(list)
    for i in range(len(questions)):
        asked[_decoded(every.text(i))].append(i)
    unsearched = sum(len(numbers) for stem, numbers in asked.items() if len(stem) < SHORTEST)
    asked = {stem: numbers for stem, numbers in asked.items() if len(stem) >= SHORTEST}
    codes = [every.text(numbers[0]) for numbers in asked.values()]
    lengths = np.array([len(part) for part in codes], dtype=np.int64)
    stems = Letters(np.concatenate([*codes, np.empty(0, np.uint32)]), np.concatenate([[0], np.cumsum(lengths)]))
    allowed = np.array([allowed_edits(length) for length in lengths], dtype=np.int64)
    hashes, positions = grams(stems, SEED)
    stem = np.searchsorted(stems.offsets, positions, side="right") - 1
    chosen = _seeds(hashes, stem)
    distinct, starts = np.unique(hashes[chosen], return_index=True)
    table = np.zeros(1 << _TABLE_BITS, dtype=bool)
    table[_leading(distinct, _TABLE_BITS)] = True
    return Index(
        questions=questions,
        stems=stems,
        asked=list(asked.values()),
        allowed=allowed,
        grams=distinct,
        starts=np.append(starts, len(chosen)),
        posts=stem[chosen],
        table=table,
        needed=np.where(lengths < 10, 1, np.maximum(2, -(-np.bincount(stem[chosen], minlength=len(lengths)) // 4))),
        places=_leading(hashes, _PRESENT_BITS),
        firsts=np.searchsorted(stem, np.arange(len(lengths) + 1)),
        # An edit changes at most SEED n-grams.
        whole=np.maximum(1, lengths - SEED + 1 - SEED * allowed),
        unsearched=unsearched,
    )


def _leading(hashes: np.ndarray, bits: int) -> np.ndarray:
    return (hashes >> np.uint64(64 - bits)).astype(np.int32)


def _seeds(hashes: np.ndarray, stem: np.ndarray) -> np.ndarray:
    """Which n-grams are looked up, in the order of their hashes: the rare ones, and the rarest of each stem."""
    _, kind, count = np.unique(hashes, return_inverse=True, return_counts=True)
    by_rarity = np.lexsort((count[kind], stem))
    rank = np.empty(len(hashes), dtype=np.int64)
    rank[by_rarity] = np.arange(len(hashes)) - np.searchsorted(stem, stem)
    chosen = np.flatnonzero((count[kind] <= COMMON) | (rank < FEW))
    return chosen[np.argsort(hashes[chosen], kind="stable")]


def search(index: Index, texts: Letters) -> list[Hit]:
    """The questions found in the texts, at most one of each distinct stem in a text; see the top of this module."""
    hits = []
    for text, stem in _candidates(index, texts):
        pattern = index.stems.text(stem).tolist()
        edits, end = fewest_edits(pattern, texts.text(text).tolist())
        if edits <= index.allowed[stem]:
            begin = max(end - len(pattern), 0)
            question = _question(index, stem, edits, _decoded(texts.text(text)), slice(begin, end + edits))
            if question is not None:
                hits.append(Hit(text, question, edits, begin, end))
    return hits


def _candidates(index: Index, texts: Letters) -> list[tuple[int, int]]:
    """(text, stem) where a text holds so many n-grams of a stem that it may hold the stem."""
    hashes, positions = grams(texts, SEED)
    text = np.searchsorted(texts.offsets, positions, side="right") - 1
    present = np.zeros((len(texts), 1 << _PRESENT_BITS), dtype=bool)
    present[text, _leading(hashes, _PRESENT_BITS)] = True
    known = index.table[_leading(hashes, _TABLE_BITS)]
    hashes, text = hashes[known], text[known]
    gram = np.searchsorted(index.grams, hashes)
    known = index.grams[np.minimum(gram, len(index.grams) - 1)] == hashes
    text, gram = np.divmod(np.unique(text[known] * len(index.grams) + gram[known]), len(index.grams))
    posts, count = _ranges(index.starts, gram)
    pair, together = np.unique(np.repeat(text, count) * len(index.stems) + index.posts[posts], return_counts=True)
    text, stem = np.divmod(pair, len(index.stems))
    enough = together >= index.needed[stem]
    text, stem = text[enough], stem[enough]
    places, count = _ranges(index.firsts, stem)
    found = np.cumsum(np.append(0, present[np.repeat(text, count), index.places[places]]))
    ends = np.cumsum(count)
    enough = found[ends] - found[ends - count] >= index.whole[stem]
    return list(zip(text[enough].tolist(), stem[enough].tolist(), strict=True))


def _ranges(starts: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers in all ranges `starts[c]:starts[c + 1]` of the chosen ones, one after the other, and their lengths."""
    count = starts[chosen + 1] - starts[chosen]
    return np.repeat(starts[chosen] - np.cumsum(count) + count, count) + np.arange(count.sum()), count


def fewest_edits(pattern: list[int], text: list[int]) -> tuple[int, int]:
    """The least edit distance of `pattern` to any stretch of `text`, and where the first such stretch ends.

    Source: Myers, A fast bit-vector algorithm for approximate string matching, J. ACM 46 (1999).
    """
    masks: dict[int, int] = {}
    for i, code in enumerate(pattern):
        masks[code] = masks.get(code, 0) | 1 << i
    full, top = (1 << len(pattern)) - 1, 1 << (len(pattern) - 1)
    plus, minus, distance = full, 0, len(pattern)
    fewest, end = distance, 0
    for place, code in enumerate(text, start=1):
        equal = masks.get(code, 0)
        vertical = equal | minus
        horizontal = (((equal & plus) + plus) ^ plus) | equal
        up = minus | (full & ~(horizontal | plus))
        down = plus & horizontal
        if up & top:
            distance += 1
        elif down & top:
            distance -= 1
            if distance < fewest:
                fewest, end = distance, place
        up, down = up << 1, down << 1
        plus = full & (down | ~(vertical | up))
        minus = full & up & vertical
    return fewest, end


def counts_alone(stem: str, edits: int = 0, found: str | None = None) -> bool:
    """Whether a stem that was found as `found`, by default as it is, is evidence enough without options."""
    own, end = evidence(stem), ASKING_END.search(stem)
    asks = STOCK.search(stem) or (end and end[0] in (stem if found is None else found))
    return own >= ENOUGH + FOR_AN_EDIT * edits and (own >= ENOUGH_OF_A_NAME or bool(asks))


def _question(index: Index, stem: int, edits: int, text: str, place: slice) -> int | None:
    """The question of a stem, found at `place`, whose options are found best in the text; None where evidence is too little."""
    asked = _decoded(index.stems.text(stem))
    options = [(_options_evidence(index.questions[number][1], text), -number) for number in index.asked[stem]]
    (share, extra), number = max(options)
    if counts_alone(asked, edits, text[place]):
        return -number
    own = evidence(asked)
    asks = STOCK.search(asked) or (not edits and ASKING_END.search(asked))
    enough = own + extra >= ENOUGH_WITH_OPTIONS + FOR_AN_EDIT * edits and (share == 1 or own >= OWN_FOR_AN_EDIT * edits)
    return -number if enough and (share >= 0.5 or (extra and asks)) else None


def _options_evidence(item: McqItem, text: str) -> tuple[float, int]:
    """The share of the options that stand in the text, and their evidence; below a half, that of the right answer or 0."""
    parts = {letter: letters_of(option) for letter, option in item.options.items()}
    found = {letter for letter, part in parts.items() if part and part in text}
    counted = found if 2 * len(found) >= len(parts) else item.answer if item.answer <= found else frozenset()
    return len(found) / len(parts), sum(evidence(parts[letter]) for letter in counted)
