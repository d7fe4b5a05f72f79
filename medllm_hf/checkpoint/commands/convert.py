"""The verb `convert`: Baichuan 7B checkpoint → Llama layout."""

from typing import Any

from medllm_hf.checkpoint.convert import convert as write_converted


def convert(src: str, dst: str, **flags: Any) -> None:
    """Converts the checkpoint and says what was written.

    Args:
        flags: the other arguments of the function of the same name in `checkpoint.convert`.

    Raises:
        UserError: see there.
    """
    print(write_converted(src, dst, **flags))
