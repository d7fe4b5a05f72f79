"""Where a model computes and in which precision: device, type of the weights, quantisation; how each of them is refused.

What loads torch is imported where it is needed: names are to be checked before the seconds that this takes.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, get_args

from medllm_hf.errors import UserError, first_line

if TYPE_CHECKING:
    import torch

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantization = Literal["4bit", "8bit"]
DTYPES: tuple[str, ...] = get_args(Dtype)
QUANTIZATIONS: tuple[str, ...] = get_args(Quantization)
# As the weights have it.
DTYPE: Dtype = "auto"
_DEVICES = "cpu, cuda or cuda:N"


def check_names(device: str | None, dtype: str, quantization: str | None) -> None:
    """Check what can be known of these without torch.

    Raises:
        UserError: no name of a device; no such type or quantisation; a quantisation on a CPU, or without bitsandbytes.
    """
    if device is not None and not re.fullmatch(r"[a-z]+(:[0-9]{1,4})?", device):
        raise UserError(f"device {device!r}", _DEVICES, "choose one that is there")
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r}", ", ".join(DTYPES), "choose one of them")
    if quantization is None:
        return
    if quantization not in QUANTIZATIONS:
        raise UserError(f"quantization {quantization!r}", ", ".join(QUANTIZATIONS), "choose one of them")
    if device is not None and not device.startswith("cuda"):
        raise _needs_gpu(quantization, device)
    for package in ("bitsandbytes", "accelerate"):
        if find_spec(package) is None:
            raise UserError(f"no package {package}", "it for quantization", f"pip install {package}")


def choose_device(name: str | None) -> str:
    """The device `name`, or where none is named a GPU if there is one; a rank of a launcher has the GPU of its number.

    Raises:
        UserError: it is not there, or several ranks would share one GPU.
    """
    import torch

    rank = os.environ.get("LOCAL_RANK") if int(os.environ.get("WORLD_SIZE") or 1) > 1 else None
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if rank is not None and name.startswith("cuda:"):
        raise UserError(f"device {name!r} for several ranks", "cuda, of which each rank takes its own", "leave the number out")
    if rank is not None and name == "cuda":
        name = f"cuda:{rank}"
    try:
        torch.zeros(1, device=name).cpu()  # the device "meta" holds no numbers, and fails at this
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device {name!r} ({first_line(error)})", _DEVICES, "choose one that is there") from error
    return name


def torch_dtype(name: str) -> "str | torch.dtype":
    """The type of weights of this name; "auto" is that of the checkpoint."""
    import torch

    return name if name == "auto" else getattr(torch, name)


def loading_options(device: str, dtype: str, quantization: str | None) -> dict[str, Any]:
    """What `from_pretrained` is given; a quantised model comes to lie on the device by itself, another is to be moved there.

    Raises:
        UserError: see `check_names`.
    """
    check_names(device, dtype, quantization)
    options: dict[str, Any] = {"dtype": torch_dtype(dtype)}
    if quantization is None:
        return options
    if not device.startswith("cuda"):
        raise _needs_gpu(quantization, device)
    import torch
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        made = BitsAndBytesConfig(load_in_8bit=True)
    else:  # the values of the QLoRA paper (arXiv 2305.14314)
        made = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    return options | {"quantization_config": made, "device_map": {"": device}}


def _needs_gpu(quantization: str, device: str) -> UserError:
    return UserError(f"quantization {quantization} on {device}", "a GPU", "leave the quantization out, or use --dtype bfloat16")


@contextmanager
def refuse_lack_of_memory(do: str) -> Iterator[None]:
    """Makes a lack of memory a mistake that the user is told, with what to do about it.

    Raises:
        UserError: the block ran out of memory.
    """
    from safetensors import SafetensorError

    from medllm_hf.pretrained import lacks_memory

    try:
        yield
    except (RuntimeError, MemoryError, OSError, SafetensorError) as error:
        if not lacks_memory(error):
            raise
        raise UserError("not enough memory", "room for the model and what it reads", do) from error
