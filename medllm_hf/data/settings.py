"""What decides over the rows of a dataset that is built, and the defaults; nothing that takes long to import."""

from dataclasses import dataclass
from typing import Literal

NearDuplicates = Literal["group", "drop", "off"]
OnPersonalData = Literal["mask", "drop", "refuse"]
OnOverlap = Literal["drop", "keep", "refuse"]


@dataclass(frozen=True)
class Options:
    """What decides over rows; see `build`."""

    license: str
    near_duplicates: NearDuplicates = "group"
    on_personal_data: OnPersonalData = "mask"
    on_overlap: OnOverlap = "drop"
    test_fraction: float = 0.05
    seed: int = 42
