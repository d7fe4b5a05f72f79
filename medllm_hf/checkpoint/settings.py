"""What the verbs on checkpoints let a user choose, and the defaults; nothing that takes long to import."""

from dataclasses import dataclass
from typing import Literal

Dtype = Literal["float32", "bfloat16", "float16"]
# As the checkpoint that is read has it.
DtypeOrSame = Literal["auto", "float32", "bfloat16", "float16"]
Template = Literal["medllm", "baichuan2"]


@dataclass(frozen=True)
class TinyBaseSettings:
    """The sizes of a random checkpoint: `hidden` is the width, `vocab` the number of tokens."""

    layers: int = 2
    hidden: int = 256
    vocab: int = 4000
    dtype: Dtype = "float32"
    seed: int = 42


@dataclass(frozen=True)
class ConvertSettings:
    """What is written: the chat template that is stamped in, and the dtype of the weights."""

    template: Template = "medllm"
    dtype: DtypeOrSame = "auto"


@dataclass(frozen=True)
class MergeSettings:
    """The dtype of the merged weights."""

    dtype: DtypeOrSame = ConvertSettings.dtype
