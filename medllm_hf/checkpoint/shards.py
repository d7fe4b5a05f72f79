"""Streams a sharded checkpoint tensor by tensor, and writes shards whose set is complete or absent."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from medllm_hf.errors import UserError, first_line
from medllm_hf.folders import read_json, write_json

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# One shard is what a writer holds in memory, so it is kept well below the 5 GB that the Hub's tools choose.
MAX_SHARD_BYTES = 1_000_000_000


def shard_files(folder: Path) -> list[Path]:
    """The weight files of a checkpoint in reading order, each one present.

    Raises:
        UserError: no weights, a missing shard, or an index that names a file outside the folder.
    """
    for name in INDEX_FILES:
        if (folder / name).exists():
            return _indexed_files(folder, name)
    for name in SINGLE_FILES:
        if (folder / name).exists():
            return [folder / name]
    raise UserError(f"no weights in {folder}", " or ".join(SINGLE_FILES + INDEX_FILES), "check the path")


def _indexed_files(folder: Path, index_name: str) -> list[Path]:
    weight_map = read_json(folder / index_name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"no weight_map in {folder / index_name}", "tensor names and their files", "fetch the file again")
    names = sorted(set(map(str, weight_map.values())))
    for name in names:
        if Path(name).name != name:
            raise UserError(f"{name!r} in {index_name}", "file names inside the folder", "do not use this checkpoint")
        if not (folder / name).is_file():
            raise UserError(f"no {name} in {folder}", f"every shard that {index_name} names", "fetch the missing shard")
    return [folder / name for name in names]


def tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every (name, tensor) of a checkpoint, one at a time, shard after shard; tensors are mapped, not copied.

    Raises:
        UserError: a shard is truncated, or a `.bin` holds more than tensors.
    """
    for file in shard_files(folder):
        yield from shard_tensors(file)


def shard_tensors(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every (name, tensor) of one weight file; see `tensors`."""
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, framework="pt") as shard:
                for name in shard.keys():
                    yield name, shard.get_tensor(name)
        except SafetensorError as error:
            raise UserError(f"damaged {file} ({error})", "a whole safetensors file", "fetch the file again") from error
        return
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"more than tensors in {file}", "plain weights", "do not use this file; it can run code") from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"damaged {file} ({first_line(error)})", "a whole .bin file", "fetch the file again") from error
    for name in list(state):
        if not isinstance(state[name], torch.Tensor):
            raise UserError(f"{name!r} in {file} is no tensor", "plain weights", "do not use this file")
        yield name, state.pop(name)


class ShardWriter:
    """Collects tensors into safetensors shards of at most `max_bytes`; `close` names the files and writes the index."""

    def __init__(self, folder: Path, max_bytes: int = MAX_SHARD_BYTES):
        self.folder, self.max_bytes = folder, max_bytes
        self.pending: dict[str, torch.Tensor] = {}
        self.shards: list[list[str]] = []
        self.total_bytes = 0

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Takes one tensor; writes a shard first when this one would not fit."""
        if self.pending and sum(t.nbytes for t in self.pending.values()) + tensor.nbytes > self.max_bytes:
            self._flush()
        self.pending[name] = tensor.contiguous()
        self.total_bytes += tensor.nbytes

    def _flush(self) -> None:
        save_file(self.pending, self.folder / f"part-{len(self.shards):05d}", metadata={"format": "pt"})
        self.shards.append(list(self.pending))
        self.pending = {}

    def close(self) -> None:
        """Writes the last shard, gives all their final names and writes the index (none for a single shard)."""
        if self.pending:
            self._flush()
        count, weight_map = len(self.shards), {}
        for i, names in enumerate(self.shards):
            name = "model.safetensors" if count == 1 else f"model-{i + 1:05d}-of-{count:05d}.safetensors"
            (self.folder / f"part-{i:05d}").rename(self.folder / name)
            weight_map.update(dict.fromkeys(names, name))
        if count > 1:
            index = {"metadata": {"total_size": self.total_bytes}, "weight_map": weight_map}
            write_json(self.folder / INDEX_FILES[0], index)
