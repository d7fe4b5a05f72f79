"""Every regular expression of the package reads a text of hostile signs in one go, whatever of its own it is made of."""

import re
from collections import defaultdict
from time import process_time

import pytest
from support.patterns import ENDS, Found, all_patterns, attacks, read_through

from medllm_hf.evaluation.verification.bounded import bounded

# Signs of a text, and seconds of a core for a pattern, or for a package's: what goes over a text for each of its places takes
# more. Only the texts of a pattern that take longest when they are short are made long.
SHORT, LONG, SECONDS = 1_500, 200_000, 8
# Patterns that do, and why nothing comes of it.
BOUNDED: dict[str, str] = {
    "medllm_hf.data.marked_text _LLAMA": "it is given the text up to its last [/INST], so that each [INST] finds one",
}


def test_patterns_are_found_where_they_are_held_and_where_they_are_written():
    found = {one.where: one.calls for one in all_patterns().values()}
    assert len(found) > 300
    assert found["medllm_hf.hub.claims _FIGURE"] == {"search"}
    assert found["medllm_hf.data.row_readers _TO_SIGN"] == {"match"}
    assert any(where.startswith("medllm_hf.hub.cards:") for where in found)
    assert set(BOUNDED) <= set(found)


@pytest.mark.parametrize("pattern", ["(?:a+)+b", r"\s*\s*\d", "^\\W*x", "(?:a|和[^,]{1,6}?)*$"])
def test_a_pattern_that_goes_back_is_found_out(pattern):
    """The texts are made of the pattern: here of what it repeats twice over."""
    with pytest.raises(Exception, match="takes more than 1 s"):
        bounded("a pattern", lambda: read_all(pattern, re.M, Found("here", {"search"})), 1)


def test_a_pattern_that_goes_on_is_not():
    read_all("a+b", 0, Found("here", {"match"}))


def read_all(pattern: str | bytes, flags: int, found: Found, own: int = 400, signs: int = LONG) -> None:
    """Reads texts, `own` of them made of the pattern, and those that keep it busiest at full length."""
    one = re.compile(pattern, flags)

    def spent(attack: tuple[str, str], size: int) -> float:
        first, pump = attack
        begin = process_time()
        for end in ENDS:
            read_through(one, first + pump * (size // len(pump)) + end, found.calls)
        return process_time() - begin

    for attack in sorted(attacks(pattern, flags, own), key=lambda attack: spent(attack, SHORT))[-3:]:
        spent(attack, signs)


def packages() -> dict[str, list]:
    """The patterns of each package that is to read any text."""
    found = defaultdict(list)
    for key, one in all_patterns().items():
        if one.where not in BOUNDED:
            found[one.where.split(".")[1].split(" ")[0].split(":")[0]].append((*key, one))
    return found


def test_patterns_read_what_is_said_over_and_over():
    """Of every pattern a few texts; `test_each_pattern_reads_any_text_in_one_go` says which it is."""
    for name, held in packages().items():
        bounded(f"a pattern of {name}", lambda held=held: [read_all(*one, own=0, signs=40_000) for one in held], SECONDS)


@pytest.mark.slow
def test_each_pattern_reads_any_text_in_one_go():
    late = []
    for pattern, flags, one in (one for held in packages().values() for one in held):
        try:
            bounded(one.where, lambda pattern=pattern, flags=flags, one=one: read_all(pattern, flags, one), SECONDS)
        except Exception as error:
            late.append(f"{error} {pattern!r}")
    assert late == [], "\n".join(late)
