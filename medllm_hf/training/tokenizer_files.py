"""What a saved tokenizer leaves out of the folder that it came from."""

import shutil
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from medllm_hf.folders import read_json, write_json

SENTENCEPIECE, SETTINGS = "tokenizer.model", "tokenizer_config.json"
# What tells other programs which tokens stand for themselves in text, and what is put before a text.
KEPT = ("add_prefix_space", "add_bos_token", "add_eos_token", "added_tokens_decoder")


def keep_tokenizer_files(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Puts beside a fast tokenizer that was saved in `folder` the sentencepiece model that it came with, and its settings.

    transformers needs neither and saves neither. llama.cpp's converter reads them, and without them gives other ids, silently.
    """
    source = Path(getattr(tokenizer, "vocab_file", None) or Path(tokenizer.name_or_path or "none") / SENTENCEPIECE)
    if source.name != SENTENCEPIECE or not source.is_file() or not (folder / SETTINGS).is_file():
        return
    if not (folder / SENTENCEPIECE).exists():
        shutil.copyfile(source, folder / SENTENCEPIECE)
    before = read_json(source.parent / SETTINGS) if (source.parent / SETTINGS).is_file() else {}
    kept = {key: before[key] for key in KEPT if key in before}
    if "added_tokens_decoder" in kept:  # as it is now: training may have added tokens
        kept["added_tokens_decoder"] = {str(i): token.__getstate__() for i, token in tokenizer.added_tokens_decoder.items()}
    write_json(folder / SETTINGS, {**kept, **read_json(folder / SETTINGS)})
