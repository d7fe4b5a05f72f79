"""sentencepiece `tokenizer.model` → fast tokenizer with the same ids, special tokens and a chat template."""

import shutil
from importlib.resources import files
from pathlib import Path
from typing import get_args

from google.protobuf.message import DecodeError

# protobuf makes these classes when it is imported, where no checker sees them.
from sentencepiece.sentencepiece_model_pb2 import ModelProto, TrainerSpec  # type: ignore[attr-defined]
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from medllm_hf.checkpoint.settings import Template
from medllm_hf.errors import UserError, first_line
from medllm_hf.folders import read_bytes, write_json, write_text

SENTENCEPIECE = "tokenizer.model"
TEMPLATES: tuple[str, ...] = get_args(Template)
# Baichuan2's role marks; `user_token_id` 195 and `assistant_token_id` 196 of its generation config.
ROLE_TOKENS = ("<reserved_106>", "<reserved_107>")
_SPACE = "▁"
_Piece = ModelProto.SentencePiece


def chat_template(name: str) -> str:
    """The Jinja text of one of `TEMPLATES`; read as a file, which needs no import."""
    return (files("medllm_hf") / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


def read_sentencepiece(source: Path) -> ModelProto:
    """The sentencepiece model of a checkpoint folder.

    Raises:
        UserError: the file is missing, damaged, or another kind of model than Baichuan's.
    """
    path = source / SENTENCEPIECE
    if not path.is_file():
        raise UserError(f"no tokenizer.model in {source}", "the sentencepiece model of the checkpoint", "fetch it too")
    try:
        proto = ModelProto.FromString(read_bytes(path))
    except DecodeError as error:
        raise UserError(f"damaged {path} ({first_line(error)})", "a sentencepiece model", "fetch it again") from error
    spec, normalizer = proto.trainer_spec, proto.normalizer_spec
    plain = spec.model_type == TrainerSpec.BPE and spec.byte_fallback and normalizer.name == "identity"
    if not plain or normalizer.add_dummy_prefix or normalizer.remove_extra_whitespaces:
        found = f"a sentencepiece model of another kind in {path}"
        raise UserError(found, "BPE, byte fallback, no normalisation, no dummy prefix", "check that it is Baichuan's")
    return proto


def fast_tokenizer(proto: ModelProto) -> Tokenizer:
    """A tokenizer that gives sentencepiece's ids and adds no token by itself, from `tokenizer.model` alone.

    The special-token files beside it have no say: published ones set `single_word`, with which `</s>` right after a
    Chinese character is not recognised.
    """
    vocabulary = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=_merges(proto, vocabulary), fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    exact = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    # Each token is added once, in the order of the ids.
    for piece in proto.pieces:
        special = piece.type in (_Piece.CONTROL, _Piece.UNKNOWN) or piece.piece in ROLE_TOKENS
        if special or piece.type == _Piece.USER_DEFINED:
            tokenizer.add_tokens([AddedToken(piece.piece, special=special, **exact)])
    return tokenizer


def _merges(proto: ModelProto, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every pair of pieces that makes a piece, best score first, as sentencepiece's BPE prefers them."""
    normal = {piece.piece for piece in proto.pieces if piece.type == _Piece.NORMAL}
    pairs = []
    for piece in proto.pieces:
        text = piece.piece
        if piece.type == _Piece.NORMAL and len(text) > 1:
            halves = ((text[:i], text[i:]) for i in range(1, len(text)))
            pairs += [
                (-piece.score, vocabulary[text], left, right) for left, right in halves if left in normal and right in normal
            ]
    return [(left, right) for _, _, left, right in sorted(pairs)]


def save_tokenizer(tokenizer: Tokenizer, source: Path, folder: Path, template: str, max_length: int) -> None:
    """Writes tokenizer.json, its config and the chat template, in the names that transformers 4, 5 and vLLM all know.

    llama.cpp's converter reads `tokenizer.model` of the checkpoint `source` instead, which does not say which tokens stand
    for themselves in text, and else takes a space before each text and <s> at its start for granted.
    """
    tokenizer.save(str(folder / "tokenizer.json"))
    shutil.copyfile(source / SENTENCEPIECE, folder / SENTENCEPIECE)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<unk>",
        "additional_special_tokens": list(ROLE_TOKENS),
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "padding_side": "left",
        "add_prefix_space": False,
        "add_bos_token": False,
        "added_tokens_decoder": {str(i): _settings(token) for i, token in tokenizer.get_added_tokens_decoder().items()},
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_text(folder / "chat_template.jinja", chat_template(template))


def _settings(token: AddedToken) -> dict:
    flags = {name: getattr(token, name) for name in ("single_word", "lstrip", "rstrip", "normalized", "special")}
    return {"content": token.content, **flags}
