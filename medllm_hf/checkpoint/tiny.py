"""A small random checkpoint in Baichuan2's own layout, for the demo and the tests."""

import io
import json
import math
from importlib.resources import files
from pathlib import Path

import sentencepiece
import torch

# protobuf makes this class when it is imported, where no checker sees it.
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

from medllm_hf.checkpoint.settings import Dtype, TinyBaseSettings
from medllm_hf.checkpoint.shards import DTYPES, group_by_size
from medllm_hf.errors import UserError
from medllm_hf.folders import new_folder, write_json

# 86 + 107 names after <unk>, <s>, </s> put <reserved_106> at 195 and <reserved_107> at 196, as in Baichuan2.
USER_SYMBOLS = [f"<extra_{i}>" for i in range(86)] + [f"<reserved_{i}>" for i in range(200)]
# What the text of the sample yields at least, and the symbols, bytes and characters that a model of it needs.
SAMPLE_VOCABULARY, MIN_VOCABULARY = 4000, 3000
SHARDS = 3


def tiny_base(
    dst: str,
    layers: int = TinyBaseSettings.layers,
    hidden: int = TinyBaseSettings.hidden,
    vocab: int = TinyBaseSettings.vocab,
    dtype: Dtype = TinyBaseSettings.dtype,
    seed: int = TinyBaseSettings.seed,
    overwrite: bool = False,
) -> str:
    """Writes a random Baichuan2 checkpoint (no code files) whose tokenizer is trained on the bundled sample; says so in a line.

    Args:
        hidden: width, a multiple of 64 (one attention head for each 64, or 32 heads at 4096 as in the 7B).
        vocab: tokens; more than the sample yields are filled up with unused ones.

    Raises:
        UserError: a size that cannot be built.
    """
    if layers < 1 or hidden < 64 or hidden % 64 or vocab < MIN_VOCABULARY:
        found = f"{layers} layers of width {hidden}, vocabulary {vocab}"
        raise UserError(found, f"a layer or more, a multiple of 64, {MIN_VOCABULARY} or more", "choose other sizes")
    with new_folder(dst, overwrite) as out:
        (out / "tokenizer.model").write_bytes(
            pad_vocabulary(train_tokenizer(sample_texts(), min(vocab, SAMPLE_VOCABULARY)), vocab)
        )
        config = _config(vocab, layers, hidden, dtype)
        write_json(out / "config.json", config)
        write_json(out / "generation_config.json", GENERATION)
        _write_shards(config, seed, out)
    return f"wrote {dst}: {layers} layers of width {hidden}, vocabulary {vocab}, in Baichuan2's layout"


def sample_texts() -> list[str]:
    """The text of the bundled dialogues and questions, in file order."""
    texts: list[str] = []
    sample = files("medllm_hf") / "data" / "sample"
    for line in (sample / "dialogues.jsonl").read_text(encoding="utf-8").splitlines():
        texts += [turn["content"] for turn in json.loads(line)["conversation"]]
    for line in (sample / "questions_train.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        texts += [row["question"], *row["options"].values()]
    return texts


def train_tokenizer(texts: list[str], vocabulary: int) -> bytes:
    """A serialized sentencepiece model with Baichuan2's settings and reserved ids."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary,
        character_coverage=0.9995,
        byte_fallback=True,
        add_dummy_prefix=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        user_defined_symbols=USER_SYMBOLS,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def pad_vocabulary(model: bytes, vocabulary: int) -> bytes:
    """The sentencepiece model with unused pieces at its end, so that it has `vocabulary` of them."""
    proto = ModelProto.FromString(model)
    for i in range(vocabulary - len(proto.pieces)):
        proto.pieces.add(piece=f"<unused_{i}>", score=0.0, type=ModelProto.SentencePiece.UNUSED)
    return proto.SerializeToString()


GENERATION = {
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "user_token_id": 195,
    "assistant_token_id": 196,
    "max_new_tokens": 256,
    "temperature": 0.3,
    "top_k": 5,
    "top_p": 0.85,
    "repetition_penalty": 1.05,
    "do_sample": True,
}


def _config(vocabulary: int, layers: int, hidden: int, dtype: str) -> dict:
    return {
        "architectures": ["BaichuanForCausalLM"],
        "model_type": "baichuan",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": hidden * 43 // 16,  # Baichuan2-7B's own ratio, 11008 / 4096
        "num_hidden_layers": layers,
        "num_attention_heads": 32 if hidden == 4096 else hidden // 64,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "initializer_range": 0.02,
        "max_position_embeddings": 1024,
        "model_max_length": 1024,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
        "tokenizer_class": "BaichuanTokenizer",
    }


def weight_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor in Baichuan2's names, with packed `W_pack`."""
    hidden, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    layer = {
        "self_attn.W_pack.weight": (3 * hidden, hidden),
        "self_attn.o_proj.weight": (hidden, hidden),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for i in range(config["num_hidden_layers"]):
        shapes.update({f"model.layers.{i}.{name}": shape for name, shape in layer.items()})
    return {**shapes, "model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}


def _write_shards(config: dict, seed: int, out: Path) -> None:
    """Normal weights of the config's spread (norms are ones), the head unnormalised, one shard in memory at a time."""
    shapes, dtype = weight_shapes(config), DTYPES[config["torch_dtype"]]
    generator = torch.Generator().manual_seed(seed)
    sizes = {name: math.prod(shape) * dtype.itemsize for name, shape in shapes.items()}
    groups = group_by_size(sizes, sum(sizes.values()) // SHARDS + 1)
    weight_map: dict[str, str] = {}
    for i, names in enumerate(groups):
        shard = {name: torch.ones(shapes[name], dtype=dtype) for name in names}
        for tensor in shard.values():
            if tensor.dim() == 2:
                tensor.normal_(0, config["initializer_range"], generator=generator)
        file = f"pytorch_model-{i + 1:05d}-of-{len(groups):05d}.bin"
        torch.save(shard, out / file)
        weight_map.update(dict.fromkeys(names, file))
    write_json(
        out / "pytorch_model.bin.index.json", {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
    )
