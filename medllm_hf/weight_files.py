"""Which files of a checkpoint hold its weights: those that transformers reads, in its order, whatever lies beside them."""

import re
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from medllm_hf.errors import UserError
from medllm_hf.folders import read_json

# Source: transformers' modeling_utils, `_get_resolved_checkpoint_files`; an index names the files of its weights.
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
PREFERRED = (WEIGHTS_FILE, INDEX_FILE, "pytorch_model.bin", "pytorch_model.bin.index.json")
INDEX = ".index.json"
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Source: transformers' distributed/checkpoint.py, `is_sharded_checkpoint`.
_PARTS_OF_RANKS = re.compile(r"shard-[0-9]{5}-model-[0-9]{5}-of-[0-9]{5}\.safetensors")
_GLOBS = ("*.safetensors", "*.bin", "pytorch_model*.bin")


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
    named = read("config.json").get("transformers_weights") if "config.json" in names else None
    first = named or next((name for name in PREFERRED if name in names), None)
    if first is None:
        raise UserError(f"no weights in {where}", " or ".join(PREFERRED), "check the path")
    if named and not str(named).endswith((".safetensors", f".safetensors{INDEX}")):
        raise UserError(f"transformers_weights {named!r} in {where}", "a safetensors file or its index", "correct config.json")
    if not _is_inside(first) or first not in names:
        raise UserError(f"transformers_weights {first!r} in {where}", "a file of the folder", "do not use this checkpoint")
    return _indexed(read(first), first, where) if first.endswith(INDEX) else [first]


def _indexed(index: dict, name: str, where: str) -> list[str]:
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"no weight_map in {name} of {where}", "tensor names and their files", "fetch the file again")
    for file in weight_map.values():
        if not _is_inside(file):
            raise UserError(f"{file!r} in {name} of {where}", "file names inside the folder", "do not use this checkpoint")
    return sorted(set(weight_map.values()))


def _is_inside(name: object) -> bool:
    return isinstance(name, str) and bool(name) and Path(name).name == name


def narrow(patterns: Sequence[str], name: str, revision: str | None = None) -> list[str]:
    """`patterns` of files to fetch from a Hub repository, with those for any weights made names of the weights that are read.

    An adapter's own weights stay. Where the Hub cannot be asked, the names are those in the cache.
    """
    globs = [pattern for pattern in patterns if pattern in _GLOBS]
    if not globs:
        return list(patterns)
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The first is what all errors of the client are, which is httpx or, from huggingface_hub 2 on, httpx2.
    failures = (HfHubHTTPError.__bases__[0], HFValidationError, OSError)
    try:
        info = HfApi().repo_info(name, revision=revision)
        names = {file.rfilename for file in info.siblings or ()}
        read = lambda file: read_json(Path(hf_hub_download(name, file, revision=info.sha)))  # noqa: E731
        chosen = _chosen(names, read, name)
    except failures:
        try:
            folder = Path(snapshot_download(name, revision=revision, allow_patterns="config.json", local_files_only=True))
        except failures:  # told by whoever fetches
            return list(patterns)
        chosen = _chosen({path.name for path in folder.iterdir()}, lambda file: read_json(folder / file), name)
    weights = [file for file in (*chosen, ADAPTER_WEIGHTS) if any(fnmatchcase(file, glob) for glob in globs)]
    return [*(pattern for pattern in patterns if pattern not in globs), *weights]


def _chosen(names: Collection[str], read: Callable[[str], dict], where: str) -> list[str]:
    """The chosen weights, or none where what is wrong will be told by what reads the folder."""
    try:
        return choose(set(names) - {ADAPTER}, read, where)
    except UserError:
        return []
