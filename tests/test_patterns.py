"""Every regular expression of the package reads a text of hostile signs in one go, whatever of its own it is made of."""

import re

import pytest
from support.patterns import ENDS, all_patterns, attacks, read_through

from medllm_hf.evaluation.verification.bounded import bounded

# Signs of a text, and seconds of a core for all texts of a pattern: what goes over a text for each of its places takes more.
LONG, SECONDS = 50_000, 10
# Patterns that do, and why nothing comes of it.
BOUNDED: dict[str, str] = {}


def test_patterns_are_found_where_they_are_held_and_where_they_are_written():
    found = {one.where: one.calls for one in all_patterns().values()}
    assert len(found) > 250
    assert found["medllm_hf.hub.claims _FIGURE"] == {"search"}
    assert any(where.startswith("medllm_hf.hub.cards:") for where in found)


def test_a_pattern_that_goes_back_is_found_out():
    """The texts are made of the pattern: here of what it repeats twice over."""
    assert ("", "a") in attacks("(?:a+)+b", 0)
    with pytest.raises(Exception, match="takes more than 1 s"):
        bounded("a pattern", lambda: read_all("(?:a+)+b", 0, {"search"}), 1)
    read_all("a+b", 0, {"match"})


def read_all(pattern: str | bytes, flags: int, calls: set[str]) -> None:
    for first, pump in attacks(pattern, flags):
        for end in ENDS:
            read_through(re.compile(pattern, flags), first + pump * (LONG // len(pump)) + end, calls)


@pytest.mark.slow
def test_each_pattern_reads_any_text_in_one_go():
    late = []
    for key, one in all_patterns().items():
        if one.where in BOUNDED:
            continue
        try:
            bounded(one.where, lambda key=key, one=one: read_all(*key, one.calls), SECONDS)
        except Exception as error:
            late.append(f"{error} {key[0]!r}")
    assert late == [], "\n".join(late)
