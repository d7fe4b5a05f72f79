"""LoRA adapter + base → full weights, streaming: the model is never loaded."""

import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from medllm_hf.checkpoint.shards import DTYPES, ShardWriter, shard_tensors, tensors
from medllm_hf.checkpoint.source import local_checkpoint
from medllm_hf.errors import UserError
from medllm_hf.folders import check_free, new_folder, read_json, write_json

PREFIX = "base_model.model."
# Settings that change the arithmetic in ways this merge does not compute, with the values that leave it alone.
UNSUPPORTED = {"use_dora": (False, None), "fan_in_fan_out": (False, None), "bias": ("none",), "layer_replication": (None,)}


@dataclass
class Adapter:
    """A LoRA: `pairs` module → {"A": (r, in), "B": (out, r)}; `whole` tensor name → trained copy of a base tensor."""

    config: dict
    pairs: dict[str, dict[str, torch.Tensor]]
    whole: dict[str, torch.Tensor]

    def scaling(self, module: str) -> float:
        """The factor of B·A for `module`: alpha / r, or alpha / sqrt(r) with rslora, patterns first."""
        rank = _by_pattern(self.config.get("rank_pattern"), module, self.config["r"])
        alpha = _by_pattern(self.config.get("alpha_pattern"), module, self.config["lora_alpha"])
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)


def _by_pattern(patterns: dict | None, module: str, default: float) -> float:
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def read_adapter(folder: Path) -> Adapter:
    """The adapter in `folder`.

    Raises:
        UserError: not a LoRA that this merge computes exactly.
    """
    config = read_json(folder / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise UserError(f"a {config.get('peft_type')} adapter", "LORA", "merge it with peft itself")
    for key, harmless in UNSUPPORTED.items():
        if config.get(key, harmless[0]) not in harmless:
            raise UserError(f"{key}={config[key]} in {folder.name}", f"{key}={harmless[0]}", "merge it with peft itself")
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise UserError(f"no adapter_model.safetensors in {folder}", "a saved LoRA adapter", "check the path")
    adapter = Adapter(config, {}, {})
    for name, tensor in shard_tensors(file):
        name = name.removeprefix(PREFIX)
        if lora := re.fullmatch(r"(.+)\.lora_([AB])\.weight", name):
            adapter.pairs.setdefault(lora[1], {})[lora[2]] = tensor
        elif "lora_" in name:
            raise UserError(f"{name} in {folder.name}", "lora_A and lora_B of linear layers", "merge it with peft itself")
        else:
            adapter.whole[name] = tensor
    return adapter


def merged(adapter: Adapter, base: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every base (name, tensor) with the adapter's part in it: W + scaling·B·A in float32, still float32 where changed.

    Raises:
        UserError: a part of the adapter belongs to no base tensor, or shapes differ.
    """
    left = set(adapter.pairs) | set(adapter.whole)
    for name, tensor in tensors(base):
        module = name.removesuffix(".weight")
        if name in adapter.whole:
            tensor = _same_shape(name, tensor, adapter.whole[name])
            left.discard(name)
        if module in adapter.pairs:
            pair = adapter.pairs[module]
            delta = (pair["B"].float() @ pair["A"].float()) * adapter.scaling(module)
            tensor = tensor.float() + _same_shape(name, tensor, delta)
            left.discard(module)
        yield name, tensor
    if left:
        raise UserError(
            f"{min(left)} in the adapter and not in {base}", "an adapter of this base", "name its own base with --base"
        )


def _same_shape(name: str, tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    if tensor.shape != other.shape:
        raise UserError(
            f"{tuple(other.shape)} for {name} in the adapter", f"{tuple(tensor.shape)}", "name its own base with --base"
        )
    return other


def merge(adapter: str, dst: str, base: str | None = None, dtype: str = "auto", overwrite: bool = False) -> None:
    """Writes base + adapter to the folder `dst`, with the base's tokenizer, template and generation config.

    Raises:
        UserError: see `read_adapter` and `merged`.
    """
    check_free(dst, overwrite)
    lora = read_adapter(local_checkpoint(adapter))
    base_name = base or lora.config.get("base_model_name_or_path")
    if not base_name:
        raise UserError("no base_model_name_or_path in the adapter", "a base", "name it with --base")
    base_folder = local_checkpoint(base_name)
    with new_folder(dst, overwrite) as out:
        writer, dtypes = ShardWriter(out), set()
        base_dtypes = {name: tensor.dtype for name, tensor in tensors(base_folder)}
        for name, tensor in merged(lora, base_folder):
            tensor = tensor.to(base_dtypes[name] if dtype == "auto" else DTYPES[dtype])
            dtypes.add(str(tensor.dtype).removeprefix("torch."))
            writer.add(name, tensor)
        writer.close()
        _copy_companions(base_folder, out, min(dtypes))
        write_json(
            out / "provenance.json", {"made_by": "medllm merge", "base": Path(base_name).name, "adapter": Path(adapter).name}
        )
    print(f"merged {adapter} onto {base_name} into {dst}: {len(lora.pairs)} layers changed, {len(lora.whole)} tensors replaced")


def _copy_companions(base: Path, out: Path, dtype: str) -> None:
    """Everything beside the weights is the base's; the config says the dtype that was written."""
    for file in sorted(base.iterdir()):
        if file.suffix in (".json", ".jinja") and not file.name.endswith(".index.json") and file.name != "provenance.json":
            shutil.copyfile(file, out / file.name)
    config = read_json(out / "config.json")
    write_json(out / "config.json", {**config, "dtype": dtype})
