"""The verb `data check`: what a build would accept, repair and reject, and why."""

from typing import Any

from medllm_hf.data.check import check as check_rows


def check(inputs: list[str], **flags: Any) -> int:
    """Says how many rows can be used and what is wrong with the first others; returns 1 if any is rejected or there are none.

    So does a file among several that cannot be read.

    Args:
        flags: the other arguments of the function of the same name in `data.check`.

    Raises:
        UserError: see there.
    """
    checked = check_rows(inputs, **flags)
    print("\n".join(checked.lines()))
    return 0 if checked.fine else 1
