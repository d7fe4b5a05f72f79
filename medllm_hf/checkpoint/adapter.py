"""A LoRA adapter on disk, read into what each base tensor has to be given."""

import math
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import regex
import torch

from medllm_hf.checkpoint.shards import shard_tensors
from medllm_hf.errors import UserError
from medllm_hf.folders import read_json

PREFIX = "base_model.model."
# Settings of peft's LoraConfig that the merge computes, or that have no part in it.
COMPUTED = {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "modules_to_save", "ensure_weight_tying"}
NO_PART = {
    *("peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout", "runtime_config"),
    *("megatron_core", "megatron_config", "qalora_group_size", "eva_config"),
}
# Starts that leave the base as it was; the others (pissa, olora, loftq, corda, ...) train against changed base weights.
HARMLESS_STARTS = (True, False, None, "gaussian", "eva")

_LARGEST_RANK = 10**6
_PATTERN_SECONDS, _LONGEST_PATTERN = 2.0, 500


@dataclass(frozen=True)
class Delta:
    """A change of `scaling` · `b` @ `a`, with `a` (rank, in) and `b` (out, rank); transposed for an embedding."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the tensor that it changes."""
        shape = (self.b.shape[0], self.a.shape[1])
        return shape[::-1] if self.transposed else shape

    def is_transpose_of(self, other: "Delta") -> bool:
        """Whether this is the same change by the same numbers, one written for a linear layer and one for an embedding."""
        same = self.transposed != other.transposed and self.scaling == other.scaling
        return same and torch.equal(self.a, other.b.T) and torch.equal(self.b, other.a.T)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows `start` to `stop` of the change, in float32, as a tensor of the caller's own."""
        a, b = self.a.float(), self.b.float()
        product = (b @ a[:, start:stop]).T if self.transposed else b[start:stop] @ a
        return product.mul_(self.scaling)


@dataclass
class Adapter:
    """What a LoRA does: `deltas` tensor name → change; `whole` tensor name → trained copy that replaces the base's.

    `original_layout` says that it was trained on Baichuan's own layout, as its `W_pack` tells. `in_place` names those of
    `whole` that peft loads into the base's own tensor, so that what is tied to it follows; the others (`modules_to_save`)
    are copies beside it.
    """

    base: str | None
    revision: str | None = None
    original_layout: bool = False
    deltas: dict[str, Delta] = field(default_factory=dict)
    whole: dict[str, torch.Tensor] = field(default_factory=dict)
    in_place: set[str] = field(default_factory=set)


def read_adapter(folder: Path) -> Adapter:
    """The adapter in `folder`. A `W_pack` of Baichuan's original layout becomes thirds for q, k and v.

    Raises:
        UserError: not a LoRA that the merge computes exactly; the setting is named.
    """
    config = read_json(folder / "adapter_config.json")
    _check_config(config)
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise UserError(f"no adapter_model.safetensors in {folder}", "a saved LoRA adapter", "check the path")
    adapter = Adapter(config.get("base_model_name_or_path"), config.get("revision"))
    halves: dict[str, dict[str, torch.Tensor]] = {}
    transposed: dict[str, bool] = {}
    copies = tuple(config.get("modules_to_save") or ())
    for saved_name, tensor in shard_tensors(file):
        # Adapters are small: they are copied out of the file, whose pages are released.
        name, tensor = saved_name.removeprefix(PREFIX).replace(".base_layer.", "."), tensor.clone()
        if lora := re.fullmatch(r"(.+)\.lora_(embedding_)?([AB])(?:\.weight)?", name):
            transposed.setdefault(lora[1], bool(lora[2]))
            halves.setdefault(lora[1], {})[lora[3]] = tensor
        elif "lora_" in name:
            raise UserError(
                f"{name} in {folder.name}", "lora_A and lora_B of linear and embedding layers", "merge it with peft itself"
            )
        else:
            adapter.whole[name] = tensor
            if ".base_layer." in saved_name or not name.rpartition(".")[0].endswith(copies):
                adapter.in_place.add(name)
    deadline = time.monotonic() + _PATTERN_SECONDS
    for module, half in halves.items():
        if half.keys() != {"A", "B"}:
            raise UserError(f"half a LoRA for {module} in {folder.name}", "lora_A and lora_B", "save the adapter again")
        _check_halves(module, half)
        change = Delta(half["A"], half["B"], scaling(config, module, deadline), transposed[module])
        _add(adapter, module, change)
    return adapter


def _check_halves(module: str, half: dict[str, torch.Tensor]) -> None:
    a, b = half["A"], half["B"]
    thirds = not module.endswith(".W_pack") or (len(b) % 3 == 0 if b.dim() else False)
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1] or not thirds:
        found = f"lora_A {tuple(a.shape)} and lora_B {tuple(b.shape)} for {module}"
        raise UserError(found, "matrices whose product changes a weight", "save the adapter again")


def _check_config(config: dict) -> None:
    if config.get("peft_type") != "LORA":
        raise UserError(f"a {config.get('peft_type')} adapter", "LORA", "merge it with peft itself")
    if config.get("bias", "none") != "none":
        raise UserError(f"bias={config['bias']!r} in the adapter", "bias='none'", "merge it with peft itself")
    start = config.get("init_lora_weights", True)
    if start not in HARMLESS_STARTS:
        do = "convert it with peft's path_initial_model_for_weight_conversion, then merge"
        raise UserError(f"init_lora_weights={start!r} in the adapter", "an adapter of the untouched base", do)
    for key, value in config.items():
        if value and key not in COMPUTED | NO_PART | {"bias", "init_lora_weights"}:
            raise UserError(f"{key}={value!r} in the adapter", f"no {key}", "merge it with peft itself")
    _check_rank(config.get("r"), "r")
    _check_alpha(config.get("lora_alpha"), "lora_alpha")
    for key, check in (("rank_pattern", _check_rank), ("alpha_pattern", _check_alpha)):
        patterns = config.get(key) or {}
        if not isinstance(patterns, dict):
            raise _wrong(key, patterns, "names of modules and a number for each")
        for pattern, value in patterns.items():
            check(value, f"{key} {pattern!r}:")
    for key in ("base_model_name_or_path", "revision"):
        if not isinstance(config.get(key) or "", str):
            raise _wrong(key, config[key], "a text")
    if not isinstance(config.get("use_rslora") or False, bool):
        raise _wrong("use_rslora", config["use_rslora"], "true or false")
    copies = config.get("modules_to_save") or []
    if not isinstance(copies, list) or not all(isinstance(one, str) and one for one in copies):
        raise _wrong("modules_to_save", copies, "a list of names")


def _check_rank(value: object, name: str) -> None:
    if type(value) is not int or not 1 <= value <= _LARGEST_RANK:
        raise _wrong(name, value, f"a whole number from 1 to {_LARGEST_RANK:,}")


def _check_alpha(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LARGEST_RANK:
        raise _wrong(name, value, f"a number above 0, at most {_LARGEST_RANK:,}")


def _wrong(name: str, value: object, expected: str) -> UserError:
    return UserError(f"{name} {value!r} in adapter_config.json", expected, "save the adapter again")


def scaling(config: dict, module: str, deadline: float = math.inf) -> float:
    """The factor of B·A for `module`: alpha / r, or alpha / sqrt(r) with rslora; patterns go before the general values.

    Raises:
        UserError: a pattern that is no regular expression, or one that takes beyond `deadline` of `time.monotonic`.

    Source: peft's `get_pattern_key` and `LoraLayer.update_layer`.
    """
    rank = _by_pattern(config.get("rank_pattern") or {}, module, config["r"], deadline)
    alpha = _by_pattern(config.get("alpha_pattern") or {}, module, config["lora_alpha"], deadline)
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: dict, module: str, default: float, deadline: float) -> float:
    for pattern, value in patterns.items():
        try:
            left = min(max(deadline - time.monotonic(), 0.001), _PATTERN_SECONDS)
            # This module has a limit of time, which re has not; a foreign pattern may take any.
            if len(pattern) > _LONGEST_PATTERN:
                raise TimeoutError
            if regex.match(rf"(.*\.)?({pattern})$", module, timeout=left):
                return value
        except (TimeoutError, regex.error, RecursionError, MemoryError, OverflowError) as error:
            expected = "names of modules, or regular expressions that are quick"
            raise UserError(f"the pattern {pattern!r} in adapter_config.json", expected, "write the names out") from error
    return default


def _add(adapter: Adapter, module: str, delta: Delta) -> None:
    if not module.endswith(".W_pack"):
        adapter.deltas[f"{module}.weight"] = delta
        return
    adapter.original_layout = True
    for part, rows in zip("qkv", delta.b.chunk(3), strict=True):
        name = module.removesuffix("W_pack") + f"{part}_proj.weight"
        adapter.deltas[name] = Delta(delta.a, rows, delta.scaling)
