"""Which attention computes flattened rows: chosen from device, type of numbers and what is installed, or the user's own."""

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from transformers.integrations.hub_kernels import is_kernel

from medllm_hf.errors import UserError
from medllm_hf.training.attention import NAME, VARLEN

FLEX = "flex_attention"
# Name → the package that brings it.
FLASH = {"flash_attention_2": "flash-attn", "flash_attention_3": "flash-attn-3", "flash_attention_4": "flash-attn-4"}
# Name → the compute capabilities of NVIDIA devices that it runs on: from, and below.
CAPABILITIES = {
    "flash_attention_2": ((8, 0), (99, 0)),
    "flash_attention_3": ((9, 0), (10, 0)),
    "flash_attention_4": ((9, 0), (99, 0)),
    VARLEN: ((8, 0), (99, 0)),
    FLEX: ((7, 0), (99, 0)),
}
HALF = ("bfloat16", "float16")
WORDS = {
    NAME: "a loop over the samples, each by torch's own kernel",
    VARLEN: "torch's variable-length kernel",
    FLEX: "flex attention with a block mask",
    "sdpa": "torch's kernel with a quadratic mask",
    "eager": "matrix products with a quadratic mask",
}


@dataclass(frozen=True)
class Machine:
    """What the choice depends on.

    `capability` is CUDA's, None elsewhere; `dtype` is what the attention is computed in; `installed` holds names of `FLASH`,
    VARLEN and FLEX; `kernels` are the ids of hub kernels that are here already.
    """

    device: str
    dtype: str = "float32"
    capability: tuple[int, int] | None = None
    installed: frozenset[str] = field(default_factory=frozenset)
    kernels: frozenset[str] = field(default_factory=frozenset)


def choose(wish: str | None, machine: Machine) -> str:
    """The attention implementation for flattened rows: the user's wish, or the fastest that is exact here.

    On CUDA that is flash-attention where its package is installed, then torch's own variable-length kernel, then flex
    attention; the loop over samples everywhere else.

    Raises:
        UserError: a wish that is not installed, does not run here, or lets samples see each other.
    """
    if wish is not None:
        check_wish(wish, machine)
        return wish
    for name in ("flash_attention_3", "flash_attention_2", VARLEN, FLEX):
        if obstacle(name, machine) is None:
            return name
    return NAME


def obstacle(name: str, machine: Machine) -> str | None:
    """Why a fused kernel does not run on `machine`; None when it does."""
    least, below = CAPABILITIES[name]
    if machine.device != "cuda":
        return f"no CUDA device for {name}"
    if name not in machine.installed:
        return f"{name}, which is not installed"
    if machine.capability is None or not least <= machine.capability < below:
        return f"a device of compute capability {'.'.join(map(str, machine.capability or ()))} for {name}"
    if name != FLEX and machine.dtype not in HALF:
        return f"{name} in {machine.dtype}"
    return None


def check_wish(wish: str, machine: Machine) -> None:
    """Check that the user's implementation runs on `machine` and keeps the samples of a flattened row apart.

    Raises:
        UserError: it does not.
    """
    known = (NAME, VARLEN, FLEX, *FLASH, "sdpa", "eager")
    do = f"leave --attn_implementation out, which takes {choose(None, machine)} here"
    if is_kernel(wish):
        name, _, function = wish.partition(":")
        name = name.partition("@")[0].strip()
        if machine.device != "cuda":
            raise UserError(f"no CUDA device for the kernel {name}", "one", do)
        if name not in machine.kernels:
            raise UserError(f"a kernel {name} that is not on this machine", "one fetched before", f"fetch it first, or {do}")
        if function:
            found = f"--attn_implementation {wish}, a function of which nobody knows whether it keeps samples apart"
            raise UserError(found, f"{name}, whose variable-length function does", do)
        return
    if wish not in known:
        raise UserError(f"--attn_implementation {wish}", f"one of {', '.join(known)}, which keep samples apart", do)
    if wish in CAPABILITIES and (missing := obstacle(wish, machine)):
        raise UserError(missing, "CUDA, bfloat16 or float16, and the package", do)


def describe(name: str) -> str:
    """`name` and what it is, for the training report."""
    return f"{name} ({WORDS.get(name, 'variable-length')})"


def this_machine(device: torch.device, dtype: str) -> Machine:
    """What `choose` has to know of `device`, which computes in `dtype`."""
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    fused = {name for name, package in FLASH.items() if _has(package)}
    if find_spec("torch.nn.attention.varlen") and not torch.version.hip:
        from torch.nn.attention.varlen import varlen_attn

        # The first versions knew neither windows nor fewer key-value heads.
        if {"window_size", "enable_gqa", "scale"} <= set(signature(varlen_attn).parameters):
            fused.add(VARLEN)
    if find_spec("triton"):
        fused.add(FLEX)
    return Machine(device.type, dtype, capability, frozenset(fused), frozenset(_local_kernels()))


def _has(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def _local_kernels() -> list[str]:
    folders = [folder for kind in ("models", "kernels") for folder in Path(HF_HUB_CACHE).glob(f"{kind}--*--*/snapshots/*")]
    return ["/".join(folder.parent.parent.name.split("--")[1:]) for folder in folders]
