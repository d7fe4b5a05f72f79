"""How scores, differences and names are written in the report of judge runs."""

MOST_NAMED = 20


def score(value: float | None) -> str:
    """4.846 → "4.85", None → "–"."""
    return "–" if value is None else f"{value:.2f}"


def words(name: str) -> str:
    """The name of a criterion as it is read."""
    return name.replace("_", " ")


def listed(names: list[str]) -> str:
    """The names, the first of them where there are many."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more, which results.json names" if more > 0 else "")


def signed(value: float | None) -> str:
    """0.046 → "+0.05", None → "–"."""
    # The zero added makes a -0.0 a 0.0.
    return "–" if value is None else f"{round(value, 2) + 0.0:+.2f}"
