"""Whether stored figures are those that were derived."""

import math


def equal(derived: object, stored: object) -> bool:
    """Whether `stored` says what was derived, up to the last digits of a float. It may say more."""
    if isinstance(derived, dict):
        return isinstance(stored, dict) and all(key in stored and equal(derived[key], stored[key]) for key in derived)
    if isinstance(derived, list):
        return isinstance(stored, list) and len(derived) == len(stored) and all(map(equal, derived, stored))
    if isinstance(derived, float):
        return isinstance(stored, int | float) and math.isclose(derived, stored, rel_tol=1e-9, abs_tol=1e-12)
    return derived == stored
