"""The verb `data build`: dialogue files → dataset folder."""

from typing import Any

from medllm_hf.data.build import build as write_dataset
from medllm_hf.data.card import screen_lines
from medllm_hf.data.files import unread_files


def build(inputs: list[str], out: str, **flags: Any) -> None:
    """Writes the dataset folder and says what became of the rows.

    Args:
        flags: the other arguments of the function of the same name in `data.build`.

    Raises:
        UserError: see there.
    """
    summary = write_dataset(inputs, out, **flags)
    print("\n".join([*unread_files(inputs), *screen_lines(summary, out)]))
