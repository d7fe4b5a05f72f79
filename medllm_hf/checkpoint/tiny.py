"""A small random checkpoint in Baichuan2's own layout, for the demo and the tests."""

import io
import json
from importlib.resources import files
from pathlib import Path

import sentencepiece
import torch

from medllm_hf.folders import new_folder, write_json

# 86 + 107 names after <unk>, <s>, </s> put <reserved_106> at 195 and <reserved_107> at 196, as in Baichuan2.
USER_SYMBOLS = [f"<extra_{i}>" for i in range(86)] + [f"<reserved_{i}>" for i in range(200)]
SHARD_BYTES = 1_000_000


def tiny_base(dst: str, layers: int = 2, hidden: int = 256, seed: int = 42, overwrite: bool = False) -> None:
    """Writes a random Baichuan2 checkpoint (no code files) whose tokenizer is trained on the bundled sample."""
    with new_folder(dst, overwrite) as out:
        model = train_tokenizer(sample_texts())
        (out / "tokenizer.model").write_bytes(model)
        vocabulary = sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size()
        config = _config(vocabulary, layers, hidden)
        write_json(out / "config.json", config)
        write_json(out / "generation_config.json", GENERATION)
        _write_shards(random_weights(config, seed), out)
    print(f"wrote {dst}: {layers} layers of width {hidden}, vocabulary {vocabulary}, in Baichuan2's layout")


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


def train_tokenizer(texts: list[str], vocabulary: int = 4000) -> bytes:
    """A serialized sentencepiece model with Baichuan2's settings and reserved ids."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary,
        hard_vocab_limit=False,
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


def _config(vocabulary: int, layers: int, hidden: int) -> dict:
    return {
        "architectures": ["BaichuanForCausalLM"],
        "model_type": "baichuan",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": hidden * 43 // 16,  # Baichuan2-7B's own ratio, 11008 / 4096
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, hidden // 64),
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "initializer_range": 0.02,
        "max_position_embeddings": 1024,
        "model_max_length": 1024,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "tokenizer_class": "BaichuanTokenizer",
    }


def random_weights(config: dict, seed: int) -> dict[str, torch.Tensor]:
    """Normal weights of the config's spread in Baichuan2's names: packed `W_pack` and an unnormalised NormHead."""
    generator = torch.Generator().manual_seed(seed)
    hidden, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * config["initializer_range"]

    weights = {"model.embed_tokens.weight": normal(vocabulary, hidden)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        weights[layer + "self_attn.W_pack.weight"] = normal(3 * hidden, hidden)
        weights[layer + "self_attn.o_proj.weight"] = normal(hidden, hidden)
        weights[layer + "mlp.gate_proj.weight"] = normal(inner, hidden)
        weights[layer + "mlp.up_proj.weight"] = normal(inner, hidden)
        weights[layer + "mlp.down_proj.weight"] = normal(hidden, inner)
        weights[layer + "input_layernorm.weight"] = torch.ones(hidden)
        weights[layer + "post_attention_layernorm.weight"] = torch.ones(hidden)
    weights["model.norm.weight"] = torch.ones(hidden)
    weights["lm_head.weight"] = normal(vocabulary, hidden)
    return weights


def _write_shards(weights: dict[str, torch.Tensor], out: Path) -> None:
    shards: list[dict[str, torch.Tensor]] = [{}]
    for name, tensor in weights.items():
        if shards[-1] and sum(t.nbytes for t in shards[-1].values()) + tensor.nbytes > SHARD_BYTES:
            shards.append({})
        shards[-1][name] = tensor
    weight_map = {}
    for i, shard in enumerate(shards):
        name = f"pytorch_model-{i + 1:05d}-of-{len(shards):05d}.bin"
        torch.save(shard, out / name)
        weight_map.update(dict.fromkeys(shard, name))
    total = sum(t.nbytes for t in weights.values())
    write_json(out / "pytorch_model.bin.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
