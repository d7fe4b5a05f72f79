"""Streams a sharded checkpoint tensor by tensor, and writes safetensors shards block by block."""

import ctypes
import json
import mmap
import os
import pickle
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import torch
from safetensors import SafetensorError, safe_open

from medllm_hf.checkpoint.settings import Dtype
from medllm_hf.errors import UserError, first_line
from medllm_hf.folders import write_json
from medllm_hf.weight_files import INDEX_FILE, WEIGHTS_FILE, weight_files

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in get_args(Dtype)}
MAX_SHARD_BYTES = 5_000_000_000
# What is worked on at once, 8 MiB in float32, and what is written at once. Both were measured: blocks of 128 MiB and
# writes of 64 MiB took three times as long as these, in page faults and cache misses.
BLOCK_ELEMENTS = 1 << 21
WRITE_BYTES = 1 << 20
# Source: https://github.com/huggingface/safetensors#format
_FORMAT_NAMES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def dtype_name(dtype: torch.dtype) -> str:
    """torch.bfloat16 → "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every (name, tensor) of a checkpoint, one at a time, shard after shard; of a tensor in two shards, the later one.

    Tensors are mapped from the file, not copied; one that was yielded must not be used once the next is asked for.

    Raises:
        UserError: a shard is truncated, or a `.bin` holds more than tensors.
    """
    files = weight_files(folder)
    later: list[set[str]] = [set()]  # for each file, from the last to the first, the names in those after it
    for file in files[:0:-1]:
        later.append(later[-1] | {name for name, _ in shard_tensors(file)})
    for file, elsewhere in zip(files, reversed(later), strict=True):
        for name, tensor in shard_tensors(file):
            if name not in elsewhere:
                yield name, tensor


def shard_tensors(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every (name, tensor) of one weight file; see `tensors`."""
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, framework="pt") as shard:
                for name in shard.keys():
                    tensor = shard.get_tensor(name)
                    _check_plain(name, tensor, file)
                    yield name, tensor
                    _release(tensor)
        except (SafetensorError, OSError) as error:
            raise UserError(f"damaged {file} ({first_line(error)})", "a whole safetensors file", "fetch it again") from error
        return
    state, mapped = _load_bin(file)
    for name in list(state):
        tensor = state.pop(name)
        _check_plain(name, tensor, file)
        tensor = tensor.detach().resolve_neg()  # parameters are tensors too
        yield name, tensor
        if mapped:
            _release(tensor)


def _load_bin(file: Path) -> tuple[dict, bool]:
    """The tensors of a `.bin` by name, and whether they are mapped; the old format that torch cannot map is read whole."""
    try:
        if file.stat().st_size == 0 or not file.is_file():
            raise EOFError("nothing in it, or no file")
        try:
            state, mapped = torch.load(file, map_location="cpu", weights_only=True, mmap=True), True
        except RuntimeError as error:
            if "mmap can only be used" not in str(error):
                raise
            state, mapped = torch.load(file, map_location="cpu", weights_only=True), False
    except pickle.UnpicklingError as error:
        raise UserError(f"more than tensors in {file}", "plain weights", "do not use this file; it can run code") from error
    except Exception as error:  # a foreign pickle has torch's own code fail at any place
        raise UserError(f"damaged {file} ({first_line(error)})", "a whole .bin file", "fetch it again") from error
    if not isinstance(state, dict):
        raise UserError(f"a {type(state).__name__} in {file}", "tensors by name", "do not use this file")
    return state, mapped


def _check_plain(name: object, tensor: object, file: Path) -> None:
    """Check that this is a tensor that safetensors can hold, and of no more numbers than the file has.

    Raises:
        UserError: otherwise.
    """
    if not isinstance(name, str) or not name.isprintable() or not name:
        raise UserError(f"a tensor named {name!r} in {file}", "names of parameters", "do not use this file")
    if not isinstance(tensor, torch.Tensor):
        raise UserError(f"{name!r} in {file} is no tensor", "plain weights", "do not use this file")
    plain = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_nested and tensor.device.type == "cpu"
    if not plain or tensor.dtype not in _FORMAT_NAMES:
        kind = (
            dtype_name(tensor.dtype) if plain else f"{tensor.layout}, {tensor.dtype} on {tensor.device}".replace("torch.", "")
        )
        raise UserError(f"{name!r} of {kind} in {file}", "plain weights", "use the unquantised checkpoint")
    if tensor.nbytes > file.stat().st_size:  # a view that repeats its numbers
        found = f"{name!r} of {tensor.nbytes:,} bytes in {file} of {file.stat().st_size:,}"
        raise UserError(found, "every number in the file", "do not use this file")


def _release(tensor: torch.Tensor) -> None:
    """Gives the pages of a mapped tensor back, so that a checkpoint that was read through does not count as memory in use."""
    if sys.platform != "linux":
        return
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch compute on one thread inside the block.

    Blocks are small, and torch's second thread waits busily between them: it took the core that writes and hashes, and a
    conversion of 4.9 GB went from 5 to 11 seconds.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def blocks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The rows of `tensor` in order, as many at a time as make `BLOCK_ELEMENTS`."""
    if not tensor.dim():
        return iter([tensor])
    return iter(tensor.split(max(1, BLOCK_ELEMENTS * len(tensor) // max(1, tensor.numel()))))


class ShardWriter:
    """Writes the tensors of a `plan` (name → (shape, dtype)) into safetensors shards, in any order, block by block.

    The plan fixes every offset, so nothing is held in memory and equal tensors give equal bytes.
    """

    def __init__(self, folder: Path, plan: dict[str, tuple[tuple[int, ...], torch.dtype]], max_bytes: int = MAX_SHARD_BYTES):
        self.folder = folder
        self.left = set(plan)
        self.sizes = {name: torch.empty(shape, dtype=dtype, device="meta").nbytes for name, (shape, dtype) in plan.items()}
        self.shards = group_by_size(self.sizes, max_bytes)
        self.places: dict[str, tuple[Path, int]] = {}
        for i, names in enumerate(self.shards):
            single = len(self.shards) == 1
            file = folder / (WEIGHTS_FILE if single else f"model-{i + 1:05d}-of-{len(self.shards):05d}.safetensors")
            self.places.update(self._begin(file, {name: plan[name] for name in names}))

    def _begin(self, file: Path, plan: dict[str, tuple[tuple[int, ...], torch.dtype]]) -> dict[str, tuple[Path, int]]:
        header: dict[str, dict[str, object]] = {"__metadata__": {"format": "pt"}}
        starts, offset = {}, 0
        for name, (shape, dtype) in plan.items():
            end = offset + self.sizes[name]
            header[name] = {"dtype": _FORMAT_NAMES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
            starts[name], offset = offset, end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file.write_bytes(len(text).to_bytes(8, "little") + text)
        return {name: (file, 8 + len(text) + start) for name, start in starts.items()}

    def write(self, name: str, parts: Iterable[torch.Tensor]) -> None:
        """Writes one tensor of the plan, given as consecutive blocks of its rows in the planned dtype.

        A block is written while the next one is computed; all are written when this returns.
        """
        file, start = self.places[name]
        offset, pending = start, None
        with file.open("r+b", buffering=0) as shard, ThreadPoolExecutor(1) as pool:
            for part in parts:
                data = part.contiguous().flatten().view(torch.uint8).numpy().data
                if pending:
                    pending.result()
                pending = pool.submit(_write_at, shard.fileno(), offset, data)
                offset += len(data)
            if pending:
                pending.result()
        if offset - start != self.sizes[name]:
            raise ValueError(f"{offset - start} bytes for {name}, planned {self.sizes[name]}")
        self.left.discard(name)

    def close(self) -> None:
        """Writes the index when there are several shards.

        Raises:
            ValueError: a planned tensor was not written.
        """
        if self.left:
            raise ValueError(f"{min(self.left)} was not written")
        if len(self.shards) > 1:
            weight_map = {name: file.name for name, (file, _) in self.places.items()}
            write_json(
                self.folder / INDEX_FILE, {"metadata": {"total_size": sum(self.sizes.values())}, "weight_map": weight_map}
            )


def _write_at(handle: int, offset: int, data: memoryview) -> None:
    while data:
        count = os.pwrite(handle, data[:WRITE_BYTES], offset)
        data, offset = data[count:], offset + count


def check_finite(name: str, block: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A block of the tensor `name` in `dtype`, all of it finite.

    Raises:
        UserError: it holds NaN or infinity, or does in `dtype`.
    """
    made = block.to(dtype)
    # One pass where isfinite().all() takes four; NaN wins both the minimum and the maximum.
    if made.is_floating_point() and made.numel() and not all(extreme.isfinite() for extreme in torch.aminmax(made)):
        if all(extreme.isfinite() for extreme in torch.aminmax(block)):
            raise UserError(
                f"{name} beyond what {dtype_name(dtype)} holds", "finite weights", "use --dtype bfloat16 or float32"
            )
        raise UserError(f"NaN or infinity in {name}", "finite weights", "fetch the checkpoint again")
    return made


def group_by_size(sizes: dict[str, int], max_bytes: int) -> list[list[str]]:
    """The names in order, in groups of at most `max_bytes`; a larger tensor stands alone."""
    groups: list[list[str]] = [[]]
    used = 0
    for name, size in sizes.items():
        if groups[-1] and used + size > max_bytes:
            groups.append([])
            used = 0
        groups[-1].append(name)
        used += size
    return groups
