"""Which files of a checkpoint hold its weights: those that transformers reads, in its order, whatever lies beside them."""

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from medllm_hf.errors import UserError, first_line
from medllm_hf.folders import check_file, check_unicode, read_json

# Source: transformers' modeling_utils, `_get_resolved_checkpoint_files`; an index names the files of its weights.
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
PREFERRED = (WEIGHTS_FILE, INDEX_FILE, "pytorch_model.bin", "pytorch_model.bin.index.json")
INDEX = ".index.json"
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What transformers, tokenizers and torch open in a checkpoint folder.
_READ = (".json", ".jinja", ".model", ".safetensors", ".bin", ".txt", ".tiktoken")
_LARGEST_PROVENANCE = 1 << 22
# Source: transformers' distributed/checkpoint.py, `is_sharded_checkpoint`.
_PARTS_OF_RANKS = re.compile(r"shard-[0-9]{5}-model-[0-9]{5}-of-[0-9]{5}\.safetensors")


def check_regular(folder: Path) -> Path:
    """The checkpoint folder itself, when all that a library may open in it are files: at a pipe it would wait for ever.

    Raises:
        UserError: a name that is not UTF-8; a pipe or device, a link to nothing, or a folder by the name of such a file.
    """
    check_unicode(folder)
    for path in folder.iterdir():
        if path.suffix in _READ and not path.is_file():
            check_file(path)
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a checkpoint folder in reading order, each one present.

    Raises:
        UserError: see `choose`; also a missing shard.
    """
    names = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
    chosen = choose(names, lambda name: read_json(folder / name), str(folder))
    for name in chosen:
        if name not in names:
            raise UserError(f"no {name} in {folder}", "every shard that its index names", "fetch the missing shard")
    return [folder / name for name in chosen]


def published_files(folder: Path) -> list[Path]:
    """The weight files of a checkpoint folder, and before them the index that names them, where there is one.

    Raises:
        UserError: see `weight_files`.
    """
    files = weight_files(folder)
    names = {path.name for path in folder.iterdir() if path.is_file()}
    first = _first(names, lambda name: read_json(folder / name), str(folder))
    return [folder / first, *files] if first.endswith(INDEX) else files


def header_shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor in safetensors files, by their headers alone.

    Raises:
        UserError: a file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
        except SafetensorError as error:
            raise UserError(f"damaged {file} ({first_line(error)})", "a whole safetensors file", "fetch it again") from error
    return shapes


def choose(names: Collection[str], read: Callable[[str], dict], where: str) -> list[str]:
    """Those of the files `names` that transformers reads weights from, in its order; `read` gives the object in a JSON file.

    Raises:
        UserError: no weights, an adapter that transformers would add to them, or an index that is none or names a file
            elsewhere.
    """
    if ADAPTER in names:
        do = "run `medllm merge` first, or move the adapter out of the folder"
        raise UserError(f"an adapter in {where}", "full weights alone", do)
    if any(map(_PARTS_OF_RANKS.fullmatch, names)):
        raise UserError(
            f"the parts of a distributed checkpoint in {where}", "whole weights", "save the model as one checkpoint"
        )
    first = _first(names, read, where)
    return _indexed(read(first), first, where) if first.endswith(INDEX) else [first]


def _first(names: Collection[str], read: Callable[[str], dict], where: str) -> str:
    """The file that transformers reads first: the weights themselves, or their index."""
    named = read("config.json").get("transformers_weights") if "config.json" in names else None
    first = named or next((name for name in PREFERRED if name in names), None)
    if first is None:
        raise UserError(f"no weights in {where}", " or ".join(PREFERRED), "check the path")
    if named and not str(named).endswith((".safetensors", f".safetensors{INDEX}")):
        raise UserError(f"transformers_weights {named!r} in {where}", "a safetensors file or its index", "correct config.json")
    if not _is_inside(first) or first not in names:
        raise UserError(f"transformers_weights {first!r} in {where}", "a file of the folder", "do not use this checkpoint")
    return first


def _indexed(index: dict, name: str, where: str) -> list[str]:
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"no weight_map in {name} of {where}", "tensor names and their files", "fetch the file again")
    for file in weight_map.values():
        if not _is_inside(file):
            raise UserError(f"{file!r} in {name} of {where}", "file names inside the folder", "do not use this checkpoint")
    return sorted(set(weight_map.values()))


def _is_inside(name: object) -> bool:
    return isinstance(name, str) and name.isprintable() and bool(name) and Path(name).name == name


def read_provenance(folder: Path) -> dict:
    """What the provenance.json of a checkpoint says of where its weights come from; nothing where there is none.

    Raises:
        UserError: it cannot be read, or says it in another way than this program does.
    """
    path = folder / "provenance.json"
    if not path.exists():
        return {}
    found = read_json(path, _LARGEST_PROVENANCE)
    for key in ("source", "base"):
        if not isinstance(found.get(key, ""), str):
            raise UserError(f"{key} {found[key]!r} in {path}", "a name", "mend or remove the file")
    adapters = found.get("adapters", [])
    if not isinstance(adapters, list) or not all(isinstance(one, dict) for one in adapters):
        raise UserError(f"adapters {adapters!r} in {path}", "a list of objects", "mend or remove the file")
    return found
