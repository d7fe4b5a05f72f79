"""Baichuan 7B → Llama layout: equal logits, no remote code."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from medllm_hf import __version__
from medllm_hf.checkpoint.settings import ConvertSettings, DtypeOrSame, Template
from medllm_hf.checkpoint.shards import DTYPES, ShardWriter, blocks, check_finite, dtype_name, one_thread, tensors
from medllm_hf.checkpoint.tokenizer import fast_tokenizer, read_sentencepiece, save_tokenizer
from medllm_hf.errors import UserError
from medllm_hf.folders import check_apart, check_free, new_folder, read_json, sha256, write_json
from medllm_hf.pretrained import WITH_PICKLES, snapshot
from medllm_hf.weight_files import weight_files

# The most that a config may say; beyond them no model is, and the plan of the tensors alone would take all memory.
LARGEST = {
    **{"vocab_size": 10**7, "hidden_size": 10**6, "intermediate_size": 10**7},
    **{"num_hidden_layers": 10**4, "num_attention_heads": 10**4},
}
# No row of a trained, unnormalised head comes this near to norm 1 by chance, let alone all; rounding to bfloat16 stays nearer.
NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Layout:
    """A source layout. `names`: source pattern → target patterns, None = drop; several targets = equal parts of dim 0.

    `norm_head` says that the head's rows are L2-normalised at inference (Baichuan2's NormHead).
    """

    names: dict[str, tuple[str, ...] | None]
    norm_head: bool


_LAYER = "model.layers.{}."
_SAME = (
    "self_attn.o_proj.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "mlp.down_proj.weight",
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
)
_NAMES: dict[str, tuple[str, ...] | None] = {
    "model.embed_tokens.weight": ("model.embed_tokens.weight",),
    "model.norm.weight": ("model.norm.weight",),
    "lm_head.weight": ("lm_head.weight",),
    _LAYER + "self_attn.W_pack.weight": tuple(_LAYER + f"self_attn.{part}_proj.weight" for part in "qkv"),
    _LAYER + "self_attn.rotary_emb.inv_freq": None,
    **{_LAYER + name: (_LAYER + name,) for name in _SAME},
}
LAYOUTS = {"baichuan2": Layout(_NAMES, norm_head=True), "baichuan": Layout(_NAMES, norm_head=False)}


def find_layout(config: dict) -> Layout:
    """The layout of a source `config.json`; Baichuan-7B (vocabulary 64,000) is the one with a plain head.

    Raises:
        UserError: another architecture, or the 13B, which uses ALiBi although its config does not say so.
    """
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else "none named"
    if config.get("model_type") != "baichuan" or architecture.lower() != "baichuanforcausallm":
        raise UserError(
            f"architecture {architecture} of model_type {config.get('model_type')}",
            "BaichuanForCausalLM",
            "convert a Baichuan-7B or Baichuan2-7B checkpoint; others load in transformers as they are",
        )
    if config.get("hidden_size") == 5120 or config.get("num_attention_heads") == 40:
        raise UserError(
            "a 13B shape (hidden 5120, 40 heads)",
            "a 7B",
            "the 13B models use ALiBi positions, which the Llama layout cannot hold",
        )
    plain = config.get("vocab_size") == 64_000 or architecture == "BaiChuanForCausalLM"
    return LAYOUTS["baichuan" if plain else "baichuan2"]


def targets(layout: Layout, name: str) -> tuple[str, ...]:
    """The target names of one source tensor; none for a tensor dropped by name.

    Raises:
        UserError: a name that the layout does not know.
    """
    layer = re.match(r"model\.layers\.(\d+)\.", name)
    pattern = name if layer is None else _LAYER + name[layer.end() :]
    if pattern not in layout.names:
        raise UserError(f"unknown tensor {name}", "the tensors of a Baichuan 7B", "check that the checkpoint is what it says")
    return tuple(target.format(layer[1] if layer else "") for target in layout.names[pattern] or ())


def normalised_head(weight: torch.Tensor) -> Iterator[torch.Tensor]:
    """Blocks of `weight` (vocab, hidden) with rows of L2 norm 1, computed in float32.

    A head whose rows all have norm 1 or 0 already, as the original code leaves it after its first evaluation, is handed
    on as it is, so converting before and after gives the same weights.
    """
    if all(_unit_rows(block) for block in blocks(weight)):
        return blocks(weight)
    return (torch.nn.functional.normalize(block.float()) for block in blocks(weight))


def _unit_rows(block: torch.Tensor) -> bool:
    norms = block.float().norm(dim=1)
    return bool((((norms - 1).abs() < NORM_TOLERANCE) | (norms == 0)).all())


def llama_config(config: dict, dtype: str) -> dict:
    """The Llama `config.json` with the same shapes; Baichuan 7B has rotary positions with base 10,000 and no biases."""
    shapes = {key: _size(config, key, most) for key, most in LARGEST.items()}
    heads, hidden = shapes["num_attention_heads"], shapes["hidden_size"]
    if hidden % heads:
        raise _wrong("hidden_size", hidden, f"a multiple of num_attention_heads {heads}")
    positions = _size(config, "max_position_embeddings" if config.get("max_position_embeddings") else "model_max_length", 10**9)
    kept = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "initializer_range": 0.02}
    kept = {key: config.get(key, default) for key, default in kept.items()}
    if not isinstance(kept["hidden_act"], str):
        raise _wrong("hidden_act", kept["hidden_act"], "the name of a function")
    for key in ("rms_norm_eps", "initializer_range"):
        value = kept[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise _wrong(key, value, "a number from 0 to 1")
    return {
        **shapes,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_key_value_heads": shapes["num_attention_heads"],
        "head_dim": shapes["hidden_size"] // shapes["num_attention_heads"],
        "max_position_embeddings": positions,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "rope_theta": 10000.0,
        **kept,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "dtype": dtype,
        "torch_dtype": dtype,
        "use_cache": True,
    }


def _size(config: dict, key: str, most: int) -> int:
    value = config.get(key)
    if type(value) is not int or not 1 <= value <= most:
        raise _wrong(key, value, f"a whole number from 1 to {most:,}")
    return value


def _wrong(key: str, value: object, expected: str) -> UserError:
    return UserError(f"{key} {value!r} in config.json", expected, "fetch the file again")


def generation_config(folder: Path) -> dict:
    """The source's generation config with its sampling, without the role ids that only the remote code read."""
    path = folder / "generation_config.json"
    settings = read_json(path) if path.exists() else {}
    for key in ("user_token_id", "assistant_token_id", "transformers_version", "_from_model_config"):
        settings.pop(key, None)
    return {**settings, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def expected_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of a Llama `config`, in the order of the layers."""
    hidden, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    layer = {
        **{f"self_attn.{part}_proj.weight": (hidden, hidden) for part in "qkvo"},
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for i in range(config["num_hidden_layers"]):
        shapes.update({_LAYER.format(i) + name: shape for name, shape in layer.items()})
    return {**shapes, "model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}


def convert(
    src: str,
    dst: str,
    template: Template = ConvertSettings.template,
    dtype: DtypeOrSame = ConvertSettings.dtype,
    revision: str | None = None,
    overwrite: bool = False,
) -> str:
    """Writes `src` (a folder or a Hub id) in Llama layout to the folder `dst`; returns a line on what was written.

    Raises:
        UserError: see `find_layout`, `targets`, `snapshot`; also a wrong shape, a missing tensor, a weight that is
            not finite, a tokenizer of another vocabulary size, or no room on the disk.
    """
    check_apart(dst, [src])
    check_free(dst, overwrite)
    source, _ = snapshot(src, revision, WITH_PICKLES)
    source_config = read_json(source / "config.json")
    layout = find_layout(source_config)
    files = weight_files(source)
    check_apart(dst, [source, *files])
    config = llama_config(source_config, dtype_name(next(tensors(source))[1].dtype) if dtype == "auto" else dtype)
    if config["dtype"] not in DTYPES:
        raise UserError(f"weights of {config['dtype']}", ", ".join(DTYPES), "use the unquantised checkpoint")
    max_length = source_config.get("model_max_length") and _size(source_config, "model_max_length", 10**9)
    sentencepiece = read_sentencepiece(source)
    if (tokens := len(sentencepiece.pieces)) != config["vocab_size"]:
        found = f"a tokenizer of {tokens} tokens for a vocabulary of {config['vocab_size']}"
        raise UserError(found, "equal sizes", "use the tokenizer.model that belongs to these weights")
    with new_folder(dst, overwrite) as out, ThreadPoolExecutor() as pool, one_thread():
        # Both go on beside the weights, whose writing leaves a core free.
        hashes = pool.map(sha256, files)
        tokenizer = pool.submit(fast_tokenizer, sentencepiece)
        _write_weights(source, layout, config, out)
        write_json(out / "config.json", config)
        write_json(out / "generation_config.json", generation_config(source))
        max_length = max_length or config["max_position_embeddings"]
        save_tokenizer(tokenizer.result(), source, out, template, max_length)
        provenance = {
            "made_by": "medllm convert",
            "source": source.name if Path(src).is_dir() else src,
            "revision": revision,
            "source_sha256": dict(zip([file.name for file in files], hashes, strict=True)),
            "template": template,
            "dtype": config["dtype"],
            "versions": {"medllm_hf": __version__, **{name: version(name) for name in ("torch", "tokenizers")}},
        }
        write_json(out / "provenance.json", provenance)
    return f"converted {src} to {dst}: {config['num_hidden_layers']} layers, {config['dtype']}, template {template}"


def _write_weights(source: Path, layout: Layout, config: dict, out: Path) -> None:
    dtype = DTYPES[config["dtype"]]
    expected = expected_shapes(config)
    writer = ShardWriter(out, {name: (shape, dtype) for name, shape in expected.items()})
    for source_name, source_tensor in tensors(source):
        names = targets(layout, source_name)
        # A number alone, which has no parts, is of a wrong shape whatever it is for.
        parts = source_tensor.chunk(len(names)) if names and source_tensor.dim() else (source_tensor,) * len(names)
        for name, tensor in zip(names, parts, strict=True):
            if expected.pop(name, None) != tuple(tensor.shape):
                found = f"{source_name} of shape {tuple(source_tensor.shape)}, once too often or not of the config's shape"
                raise UserError(found, "the tensors of config.json", "check the source")
            values = normalised_head(tensor) if name == "lm_head.weight" and layout.norm_head else blocks(tensor)
            writer.write(name, (check_finite(source_name, block, dtype) for block in values))
    if expected:
        found = f"no tensor for {min(expected)} ({len(expected)} missing)"
        raise UserError(found, "every tensor of the config", "fetch the missing shard")
    writer.close()
