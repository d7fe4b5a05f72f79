"""A converted checkpoint as a GGUF file, by what llama.cpp's own converter writes for a Llama with `tokenizer.model`."""

import json
from pathlib import Path

import numpy
import torch
from sentencepiece import SentencePieceProcessor

from medllm_hf.checkpoint.shards import tensors

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def write_gguf(folder: Path, file: Path) -> Path:
    """Writes the float32 weights and the tokenizer of a Llama checkpoint folder; returns the file."""
    import gguf

    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(file, "llama")
    heads = config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, folder, config["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in tensors(folder):
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # llama.cpp rotates neighbours, not halves
            tensor = tensor.reshape(heads, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
        data = tensor.to(torch.float32).contiguous().numpy().astype(numpy.float32)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer, folder: Path, size: int) -> None:
    """The tokens of `tokenizer.model`, then what `tokenizer_config.json` says about them."""
    import gguf

    model = SentencePieceProcessor(str(folder / "tokenizer.model"))
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokens, scores = [f"[PAD{i}]".encode() for i in range(size)], [-10000.0] * size
    kinds = [UNUSED] * size
    for i in range(model.vocab_size()):
        tokens[i], scores[i], kinds[i] = model.id_to_piece(i).encode(), model.get_score(i), NORMAL
        for told, kind in (
            (model.is_unknown, UNKNOWN),
            (model.is_control, CONTROL),
            (model.is_unused, UNUSED),
            (model.is_byte, BYTE),
        ):
            if told(i):
                kinds[i] = kind
                break
    for i, token in settings.get("added_tokens_decoder", {}).items():
        kind = CONTROL if token["special"] else USER_DEFINED
        text = token["content"] if token["special"] else token["content"].replace("▁", " ")
        tokens[int(i)], scores[int(i)], kinds[int(i)] = text.encode(), -1000.0, kind
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    gguf.SpecialVocab(folder, n_vocab=size).add_to_gguf(writer, quiet=True)
    if "add_prefix_space" in settings:
        writer.add_add_space_prefix(settings["add_prefix_space"])
