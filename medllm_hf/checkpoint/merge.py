"""LoRA adapter + base → full weights, streaming: the model is never loaded."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from medllm_hf import __version__
from medllm_hf.checkpoint.adapter import Adapter, Delta, read_adapter
from medllm_hf.checkpoint.settings import DtypeOrSame, MergeSettings
from medllm_hf.checkpoint.shards import DTYPES, ShardWriter, blocks, check_finite, dtype_name, one_thread, tensors
from medllm_hf.checkpoint.tied import HEADS, Ties, resolve_ties, untie
from medllm_hf.checkpoint.training_record import RECORD, RECORDS, training_record
from medllm_hf.errors import UserError
from medllm_hf.folders import check_apart, check_free, new_folder, read_json, read_text, sha256, write_json, write_text
from medllm_hf.pretrained import WITH_PICKLES, check_known, check_weights, load_tokenizer, snapshot
from medllm_hf.templates.template_checks import check_chat_template
from medllm_hf.weight_files import ADAPTER, ADAPTER_WEIGHTS, read_provenance, weight_files

_LORA_SETTINGS = ("r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules", "modules_to_save")
TOKENIZER, SETTINGS, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"


def merge(
    adapter: str, dst: str, base: str | None = None, dtype: DtypeOrSame = MergeSettings.dtype, overwrite: bool = False
) -> str:
    """Writes base + adapter to the folder `dst`: W + scaling·B·A in float32, cast once; returns a line on what was written.

    Tokenizer and generation config are the base's, chat template and end token those that the adapter was trained with, where
    its folder has a tokenizer, and `training.json` tells of the adapter's training (see `training_record`). An adapter that was
    trained over a quantised base (QLoRA) goes onto the full-precision weights, and one that changes only one of two tied
    tensors unties them, which `provenance.json` says.

    Raises:
        UserError: see `read_adapter`, `check_base` and `check_weights`; also no room on the disk.
    """
    check_apart(dst, [adapter, base])
    check_free(dst, overwrite)
    folder, _ = snapshot(adapter)
    lora = read_adapter(folder)
    base_name, base_folder, commit = find_base(lora, base, folder)
    check_apart(dst, [folder, folder / ADAPTER_WEIGHTS, base_folder, *weight_files(base_folder)])
    digest = sha256(folder / ADAPTER_WEIGHTS)
    earlier = check_base(base_folder, digest)
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors(base_folder)}
    ties = resolve_ties(lora, set(shapes), read_json(base_folder / "config.json"))
    check_weights(base_folder, {name: shape for name, (shape, _) in shapes.items()})
    shapes = {target: shapes[name] for name in shapes for target in ties.targets(name)}
    check_fit(lora, shapes, base_folder)
    template = own_template(folder, base_folder)
    plan = {name: (shape, own if dtype == "auto" else DTYPES[dtype]) for name, (shape, own) in shapes.items()}
    with new_folder(dst, overwrite) as out, one_thread():
        _write_weights(base_folder, lora, ties, plan, out)
        _copy_companions(base_folder, out, dtype_name(next(iter(plan.values()))[1]), ties)
        if template is not None:
            _take_template(folder, template, out)
        provenance = {
            "made_by": "medllm merge",
            "base": base_name if commit else base_folder.name,
            **({"base_commit": commit} if commit else {}),
            "base_weights": f"{dtype_name(next(iter(shapes.values()))[1])}, not quantised",
            "adapters": [*earlier, {"name": Path(adapter).name, "sha256": digest, **lora_settings(folder)}],
            "arithmetic": "float32",
            **ties.record(),
            **({"chat_template": "the adapter's"} if template is not None else {}),
            "versions": {"medllm_hf": __version__, "torch": torch.__version__},
        }
        write_json(out / "provenance.json", provenance)
        if record := training_record(folder):
            write_json(out / RECORD, record)
    parted = ", embeddings and head untied" if ties.parted else ""
    changes = f"{len(lora.deltas)} tensors changed, {len(lora.whole)} replaced{parted}"
    return f"merged {adapter} onto {base_name} into {dst}: {changes}"


def lora_settings(adapter: Path) -> dict:
    """What a LoRA's adapter_config.json says of its size and of what it changes."""
    config = read_json(adapter / ADAPTER)
    named = {name: config.get(name) for name in _LORA_SETTINGS}
    return {name: sorted(value) if isinstance(value, list) else value for name, value in named.items() if value is not None}


def find_base(lora: Adapter, base: str | None, adapter: Path) -> tuple[str, Path, str | None]:
    """The name of the base, `base` or what the adapter was trained on, its folder, and its commit where it is from the Hub.

    Raises:
        UserError: there is none, it needs foreign code, or it is in Baichuan's own layout.
    """
    name = base or (lora.base and _named_base(lora.base, adapter))
    if not name:
        raise UserError("no base_model_name_or_path in the adapter", "a base", "name it with --base")
    folder, commit = snapshot(name, None if base else lora.revision, patterns=WITH_PICKLES)
    if lora.original_layout and read_json(folder / "config.json").get("model_type") == "baichuan":
        do = "run `medllm convert` on it, and name what that writes with --base"
        raise UserError(f"{name} in Baichuan's own layout", "the converted base", do)
    check_known(folder)
    return name, folder, commit


def _named_base(name: str, adapter: Path) -> str:
    """The base that an adapter names: a folder, for a relative name one beside the adapter too, or a Hub id.

    Training writes the name as it was given there, mostly relative to the folder that holds the adapter's own.

    Raises:
        UserError: it can only be meant as a folder, and is none of those.
    """
    path = Path(name)
    plain = name.startswith((".", "~")) or path.is_absolute() or name.count("/") != 1
    beside = [] if path.is_absolute() else [adapter.absolute().parent / name, adapter.absolute() / name]
    # Where it may be a Hub id as well, the current folder comes first, as for transformers.
    tried = [*beside, path] if plain else [path, *beside]
    for one in tried:
        if os.path.isdir(one):
            return os.path.normpath(one)
    if plain:
        places = ", ".join(dict.fromkeys(os.path.normpath(os.path.abspath(one)) for one in tried))
        raise UserError(f"no folder {name}, the adapter's base (tried {places})", "the base there", "name it with --base")
    return name


def _write_weights(base: Path, lora: Adapter, ties: Ties, plan: dict, out: Path) -> None:
    writer = ShardWriter(out, plan)
    for source_name, tensor in tensors(base):
        for name in ties.targets(source_name):
            whole, own = lora.whole.get(name, tensor), plan[name][1]
            writer.write(name, (check_finite(name, block, own) for block in changed(whole, lora.deltas.get(name))))
    writer.close()


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
    earlier = read_provenance(base).get("adapters", [])
    if any(adapter.get("sha256") == digest for adapter in earlier):
        raise UserError(f"this adapter merged into {base} already", "a base without it", "use the base that it was trained on")
    return earlier


def check_fit(lora: Adapter, shapes: dict[str, tuple], base: Path) -> None:
    """Check that every part of the adapter has a base tensor of its shape.

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
        if shapes[name][0] != shape and len(shape) == 2 and name.split(".")[-2:][0] in (*HEADS, "lm_head", "embed_out"):
            raise _resized(name, shape, shapes[name][0])
        if shapes[name][0] != shape:
            raise UserError(f"{shape} for {name} in the adapter", f"{shapes[name][0]}", "name its own base with --base")


def _resized(name: str, shape: tuple[int, ...], base_shape: tuple[int, ...]) -> UserError:
    """The refusal of an adapter that was trained after tokens had been added to the base."""
    rows = shape[0]
    do = (
        f"resize the base first (model.resize_token_embeddings({rows})), save it with the tokenizer of the training and name it"
    )
    return UserError(f"{rows} rows for {name} in the adapter", f"the base's vocabulary of {base_shape[0]}", f"{do} with --base")


def _copy_companions(base: Path, out: Path, dtype: str, ties: Ties) -> None:
    """Everything beside the weights is the base's; the config says the dtype that was written, and what is tied."""
    for file in sorted(base.iterdir()):
        if (
            (file.suffix in (".json", ".jinja", ".model", ".tiktoken") or file.name in ("merges.txt", "vocab.txt"))
            and not file.name.endswith(".index.json")
            and file.name not in ("provenance.json", *RECORDS)
        ):
            shutil.copyfile(file, out / file.name)
    config = read_json(out / "config.json")
    config.pop("transformers_weights", None)  # names the base's own file
    config.update({key: dtype for key in ("dtype", "torch_dtype") if key in config or key == "dtype"})
    write_json(out / "config.json", untie(config) if ties.parted else config)


def own_template(adapter: Path, base: Path) -> str | None:
    """The chat template of a tokenizer in the adapter's folder, for the tokens of the base; None where it has none.

    Raises:
        UserError: a tokenizer with other tokens, or a template that fails.
    """
    template = _template(adapter)
    if not (adapter / TOKENIZER).is_file() or not (base / TOKENIZER).is_file() or template is None:
        return None
    if _vocabulary(adapter) != _vocabulary(base):
        found = f"a tokenizer in {adapter} with other tokens than that of {base}"
        raise UserError(found, "an adapter of this base", "name its own base with --base")
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = template
    check_chat_template(tokenizer, adapter)
    return template


def _vocabulary(folder: Path) -> tuple:
    tokenizer = read_json(folder / TOKENIZER)
    added, model = tokenizer.get("added_tokens") or [], tokenizer.get("model") or {}
    if not (isinstance(model, dict) and isinstance(added, list) and all(isinstance(token, dict) for token in added)):
        raise UserError(f"model or added_tokens of another kind in {folder / TOKENIZER}", "a fast tokenizer", "fetch it again")
    return model.get("vocab"), [(token.get("id"), token.get("content")) for token in added]


def _template(folder: Path) -> str | None:
    """The chat template of a folder, which stands in a file of its own or, in older ones, among the tokenizer's settings."""
    if (folder / TEMPLATE).is_file():
        return read_text(folder / TEMPLATE)
    settings = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    template = settings.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _take_template(adapter: Path, template: str, out: Path) -> None:
    """Writes the adapter's chat template and, where it is another one, its end token into the merged folder."""
    write_text(out / TEMPLATE, template)
    settings = read_json(out / SETTINGS) if (out / SETTINGS).is_file() else {}
    settings.pop("chat_template", None)
    trained = read_json(adapter / SETTINGS).get("eos_token") if (adapter / SETTINGS).is_file() else None
    end = trained.get("content") if isinstance(trained, dict) else trained
    before = settings.get("eos_token")
    ids = {content: id for id, content in _vocabulary(out)[1]}
    if end in ids and end != (before.get("content") if isinstance(before, dict) else before):
        settings["eos_token"] = end
        for name in ("config.json", "generation_config.json"):
            values = read_json(out / name) if (out / name).is_file() else {}
            known = values.get("eos_token_id")
            known = known if isinstance(known, list) else [] if known is None else [known]
            several = name == "generation_config.json" and known
            write_json(out / name, {**values, "eos_token_id": [ids[end], *known] if several else ids[end]})
    write_json(out / SETTINGS, settings)
