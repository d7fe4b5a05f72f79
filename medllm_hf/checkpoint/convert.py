"""Baichuan2 → Llama layout: equal logits, no remote code."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig

from medllm_hf import __version__
from medllm_hf.checkpoint.shards import DTYPES, ShardWriter, shard_files, tensors
from medllm_hf.checkpoint.source import local_checkpoint
from medllm_hf.checkpoint.tokenizer import convert_tokenizer, save_tokenizer
from medllm_hf.errors import UserError
from medllm_hf.folders import check_free, new_folder, read_json, sha256, write_json

ROWS_AT_ONCE = 8192


def normalised_rows(weight: torch.Tensor) -> torch.Tensor:
    """`weight` (vocab, hidden) with rows of L2 norm 1, computed in float32 and cast back; Baichuan2's NormHead.

    Rows are taken in blocks, so the float32 copy stays small.
    """
    blocks = [torch.nn.functional.normalize(block.float()).to(weight.dtype) for block in weight.split(ROWS_AT_ONCE)]
    return torch.cat(blocks)


def plain(weight: torch.Tensor) -> torch.Tensor:
    """`weight` as it is; the head of Baichuan-7B."""
    return weight


@dataclass(frozen=True)
class Layout:
    """A source layout. `names`: source pattern → target patterns, None = drop; several targets = equal parts of dim 0."""

    names: dict[str, tuple[str, ...] | None]
    head: Callable[[torch.Tensor], torch.Tensor]


_LAYER = "model.layers.{}."
_BAICHUAN_NAMES: dict[str, tuple[str, ...] | None] = {
    "model.embed_tokens.weight": ("model.embed_tokens.weight",),
    "model.norm.weight": ("model.norm.weight",),
    "lm_head.weight": ("lm_head.weight",),
    _LAYER + "self_attn.W_pack.weight": tuple(_LAYER + f"self_attn.{part}_proj.weight" for part in "qkv"),
    _LAYER + "self_attn.rotary_emb.inv_freq": None,
    **{
        _LAYER + name: (_LAYER + name,)
        for name in (
            "self_attn.o_proj.weight",
            "mlp.gate_proj.weight",
            "mlp.up_proj.weight",
            "mlp.down_proj.weight",
            "input_layernorm.weight",
            "post_attention_layernorm.weight",
        )
    },
}
# The architecture's spelling is what tells the two apart: Baichuan-7B (vocabulary 64,000) has a plain head.
LAYOUTS = {
    "BaichuanForCausalLM": Layout(_BAICHUAN_NAMES, normalised_rows),
    "BaiChuanForCausalLM": Layout(_BAICHUAN_NAMES, plain),
}


def find_layout(config: dict) -> Layout:
    """The layout of a source `config.json`.

    Raises:
        UserError: another architecture, or the 13B, which uses ALiBi although its config does not say so.
    """
    architecture = (config.get("architectures") or ["none named"])[0]
    if config.get("model_type") != "baichuan" or architecture not in LAYOUTS:
        raise UserError(
            f"architecture {architecture} of model_type {config.get('model_type')}",
            " or ".join(LAYOUTS),
            "convert a Baichuan-7B or Baichuan2-7B checkpoint; others load in transformers as they are",
        )
    if config.get("hidden_size") == 5120 or config.get("num_attention_heads") == 40:
        raise UserError(
            "a 13B shape (hidden 5120, 40 heads)",
            "a 7B",
            "the 13B models use ALiBi positions, which the Llama layout cannot hold",
        )
    return LAYOUTS[architecture]


def mapped(layout: Layout, name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """The target (name, tensor) pairs of one source tensor; none for a tensor dropped by name.

    Raises:
        UserError: a name that the layout does not know.
    """
    layer = re.match(r"model\.layers\.(\d+)\.", name)
    pattern = name if layer is None else _LAYER + name[layer.end() :]
    if pattern not in layout.names:
        raise UserError(f"unknown tensor {name}", "the tensors of a Baichuan 7B", "check that the checkpoint is what it says")
    targets = layout.names[pattern]
    if targets is None:
        return
    if pattern == "lm_head.weight":
        tensor = layout.head(tensor)
    for target, part in zip(targets, tensor.chunk(len(targets)), strict=True):
        yield (target if layer is None else target.format(layer[1])), part


def llama_config(config: dict, dtype: str) -> LlamaConfig:
    """The Llama config with the same shapes; Baichuan 7B has rotary positions with base 10,000 and no biases."""
    try:
        same = {
            key: config[key]
            for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        }
        positions = config.get("max_position_embeddings") or config["model_max_length"]
    except KeyError as error:
        raise UserError(f"no {error} in config.json", "a Baichuan config", "fetch the file again") from error
    return LlamaConfig(
        **same,
        num_key_value_heads=config["num_attention_heads"],
        max_position_embeddings=positions,
        hidden_act=config.get("hidden_act", "silu"),
        rms_norm_eps=config.get("rms_norm_eps", 1e-6),
        initializer_range=config.get("initializer_range", 0.02),
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
        dtype=dtype,
    )


def generation_config(folder: Path) -> GenerationConfig:
    """The source's generation config with its sampling, without the role ids that only the remote code read."""
    path = folder / "generation_config.json"
    settings = read_json(path) if path.exists() else {}
    for key in ("user_token_id", "assistant_token_id", "transformers_version", "_from_model_config"):
        settings.pop(key, None)
    return GenerationConfig(**{**settings, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})


def expected_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor that transformers expects for `config`; nothing is allocated."""
    with torch.device("meta"):
        return {name: tuple(t.shape) for name, t in AutoModelForCausalLM.from_config(config).state_dict().items()}


def convert(
    src: str, dst: str, template: str = "medllm", dtype: str = "auto", revision: str | None = None, overwrite: bool = False
) -> None:
    """Writes `src` (a folder or a Hub id) in Llama layout to the folder `dst`.

    Raises:
        UserError: see `find_layout`, `mapped`, `local_checkpoint`; also a wrong shape, a missing tensor, a weight that
            is not finite, or a tokenizer of another vocabulary size.
    """
    check_free(dst, overwrite)
    source = local_checkpoint(src, revision)
    source_config = read_json(source / "config.json")
    layout = find_layout(source_config)
    files = shard_files(source)
    source_dtype = str(next(tensors(source))[1].dtype).removeprefix("torch.")
    config = llama_config(source_config, source_dtype if dtype == "auto" else dtype)
    tokenizer = convert_tokenizer(source, template, source_config.get("model_max_length") or config.max_position_embeddings)
    if len(tokenizer) != config.vocab_size:
        raise UserError(
            f"a tokenizer of {len(tokenizer)} tokens for a vocabulary of {config.vocab_size}",
            "equal sizes",
            "use the tokenizer.model that belongs to these weights",
        )
    with new_folder(dst, overwrite) as out:
        _write_weights(source, layout, config, out)
        config.save_pretrained(out)
        generation_config(source).save_pretrained(out)
        save_tokenizer(tokenizer, out)
        write_json(out / "provenance.json", _provenance(src, revision, files, template, config))
    print(f"converted {src} to {dst}: {config.num_hidden_layers} layers, {config.dtype}, template {template}")


def _write_weights(source: Path, layout: Layout, config: LlamaConfig, out: Path) -> None:
    expected = expected_shapes(config)
    dtype = DTYPES[str(config.dtype).removeprefix("torch.")]
    writer = ShardWriter(out)
    for source_name, source_tensor in tensors(source):
        if not torch.isfinite(source_tensor).all():
            raise UserError(f"NaN or infinity in {source_name}", "finite weights", "fetch the checkpoint again")
        for name, tensor in mapped(layout, source_name, source_tensor):
            if expected.pop(name, None) != tuple(tensor.shape):
                raise UserError(
                    f"{source_name} of shape {tuple(source_tensor.shape)}", "the shapes of config.json", "check the source"
                )
            writer.add(name, tensor.to(dtype))
    if expected:
        raise UserError(
            f"no tensor for {min(expected)} ({len(expected)} missing)", "every tensor of the config", "fetch the missing shard"
        )
    writer.close()


def _provenance(src: str, revision: str | None, files: list[Path], template: str, config: LlamaConfig) -> dict:
    return {
        "made_by": "medllm convert",
        "source": Path(src).name if Path(src).exists() else src,
        "revision": revision,
        "source_sha256": {file.name: sha256(file) for file in files},
        "template": template,
        "dtype": str(config.dtype).removeprefix("torch."),
        "versions": {"medllm_hf": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }
