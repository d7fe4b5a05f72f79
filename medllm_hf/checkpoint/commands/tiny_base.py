"""The verb `tiny-base`: a small random checkpoint in Baichuan2's own layout."""

from typing import Any

from medllm_hf.checkpoint.tiny import tiny_base as write_checkpoint


def tiny_base(dst: str, **flags: Any) -> None:
    """Writes the checkpoint and says what it is.

    Args:
        flags: the other arguments of the function of the same name in `checkpoint.tiny`.

    Raises:
        UserError: see there.
    """
    print(write_checkpoint(dst, **flags))
