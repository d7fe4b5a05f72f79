"""LoRA adapter + base → full weights, streaming: the model is never loaded."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from medllm_hf import __version__
from medllm_hf.checkpoint.adapter import Adapter, Delta, read_adapter
from medllm_hf.checkpoint.shards import DTYPES, ShardWriter, blocks, dtype_name, one_thread, tensors
from medllm_hf.errors import UserError
from medllm_hf.folders import check_free, new_folder, read_json, sha256, write_json
from medllm_hf.pretrained import WITH_PICKLES, check_known, snapshot


def merge(adapter: str, dst: str, base: str | None = None, dtype: str = "auto", overwrite: bool = False) -> None:
    """Writes base + adapter to the folder `dst`: W + scaling·B·A in float32, cast once.

    Tokenizer, template and generation config are the base's. An adapter that was trained over a quantised base (QLoRA)
    goes onto the full-precision weights, which `provenance.json` says.

    Raises:
        UserError: see `read_adapter` and `check_base`; also no room on the disk.
    """
    check_free(dst, overwrite)
    folder, _ = snapshot(adapter)
    lora = read_adapter(folder)
    base_name = base or lora.base
    if not base_name:
        raise UserError("no base_model_name_or_path in the adapter", "a base", "name it with --base")
    base_folder, _ = snapshot(base_name, patterns=WITH_PICKLES)
    check_known(base_folder)
    digest = sha256(folder / "adapter_model.safetensors")
    earlier = check_base(base_folder, digest)
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors(base_folder)}
    check_fit(lora, shapes, base_folder)
    plan = {name: (shape, own if dtype == "auto" else DTYPES[dtype]) for name, (shape, own) in shapes.items()}
    with new_folder(dst, overwrite) as out, one_thread():
        writer = ShardWriter(out, plan)
        for name, tensor in tensors(base_folder):
            whole = lora.whole.get(name, tensor)
            writer.write(name, (block.to(plan[name][1]) for block in changed(whole, lora.deltas.get(name))))
        writer.close()
        _copy_companions(base_folder, out, dtype_name(next(iter(plan.values()))[1]))
        provenance = {
            "made_by": "medllm merge",
            "base": base_folder.name if Path(base_name).is_dir() else base_name,
            "base_weights": f"{dtype_name(next(iter(shapes.values()))[1])}, not quantised",
            "adapters": [*earlier, {"name": Path(adapter).name, "sha256": digest}],
            "arithmetic": "float32",
            "versions": {"medllm_hf": __version__, "torch": torch.__version__},
        }
        write_json(out / "provenance.json", provenance)
    print(f"merged {adapter} onto {base_name} into {dst}: {len(lora.deltas)} tensors changed, {len(lora.whole)} replaced")


def changed(tensor: torch.Tensor, delta: Delta | None) -> Iterator[torch.Tensor]:
    """Blocks of rows of `tensor`, plus those of `delta` in float32 when there is one."""
    start = 0
    for block in blocks(tensor):
        yield block if delta is None else delta.rows(start, start + len(block)).add_(block.float())
        start += len(block) if block.dim() else 1


def check_base(base: Path, digest: str) -> list[dict]:
    """The adapters that are in `base` already.

    Raises:
        UserError: the adapter with this SHA-256 is one of them, or the base is quantised.
    """
    if quantised := read_json(base / "config.json").get("quantization_config"):
        method = quantised.get("quant_method", "quantised") if isinstance(quantised, dict) else "quantised"
        raise UserError(f"a base in {method} weights", "full precision", "name the unquantised base with --base")
    path = base / "provenance.json"
    earlier = read_json(path).get("adapters", []) if path.exists() else []
    if any(adapter.get("sha256") == digest for adapter in earlier):
        raise UserError(f"this adapter merged into {base} already", "a base without it", "use the base that it was trained on")
    return earlier


def check_fit(lora: Adapter, shapes: dict[str, tuple], base: Path) -> None:
    """Returns nothing when every part of the adapter has a base tensor of its shape.

    Raises:
        UserError: otherwise; or a head that was trained before normalisation, which cannot be added after it.
    """
    if lora.original_layout and {"lm_head.weight"} & (set(lora.deltas) | set(lora.whole)):
        do = "merge it with the original code and convert the result"
        raise UserError("lm_head in an adapter of Baichuan's original layout", "an adapter without the head", do)
    wanted = {name: tuple(tensor.shape) for name, tensor in lora.whole.items()}
    wanted.update({name: delta.shape for name, delta in lora.deltas.items()})
    for name, shape in wanted.items():
        if name not in shapes:
            raise UserError(
                f"{name} in the adapter and not in {base}", "an adapter of this base", "name its own base with --base"
            )
        if shapes[name][0] != shape:
            raise UserError(f"{shape} for {name} in the adapter", f"{shapes[name][0]}", "name its own base with --base")


def _copy_companions(base: Path, out: Path, dtype: str) -> None:
    """Everything beside the weights is the base's; the config says the dtype that was written."""
    for file in sorted(base.iterdir()):
        if (
            file.suffix in (".json", ".jinja", ".model")
            and not file.name.endswith(".index.json")
            and file.name != "provenance.json"
        ):
            shutil.copyfile(file, out / file.name)
    config = read_json(out / "config.json")
    config.update({key: dtype for key in ("dtype", "torch_dtype") if key in config or key == "dtype"})
    write_json(out / "config.json", config)
