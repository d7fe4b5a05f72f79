"""A key of a row that is hardly another than one which is read: it is refused, since it would be silently left out."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from medllm_hf.data.files import BadRow

# From here two names of a field are alike: diagnose and diagnosis, fact and facts, alias and aliases.
_ALIKE = 0.82


def check_keys(row: Mapping, known: Sequence[str], place: str = "row") -> None:
    """Check that no key of a row is nearly one of the `known` that the row lacks; others are free.

    Raises:
        BadRow: one is.
    """
    lacking = [name for name in known if name not in row]
    for key in row:
        if key in known or not isinstance(key, str):
            continue
        if near := get_close_matches("_".join(key.lower().replace("-", " ").split()), lacking, 1, _ALIKE):
            raise BadRow(place, f"the key {key!r}, which is not read; write {near[0]!r}, or another name for something else")
