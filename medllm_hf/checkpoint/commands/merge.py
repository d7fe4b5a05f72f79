"""The verb `merge`: LoRA adapter + base → full weights."""

from typing import Any

from medllm_hf.checkpoint.merge import merge as write_merged


def merge(adapter: str, dst: str, **flags: Any) -> None:
    """Merges the adapter and says what was written.

    Args:
        flags: the other arguments of the function of the same name in `checkpoint.merge`.

    Raises:
        UserError: see there.
    """
    print(write_merged(adapter, dst, **flags))
