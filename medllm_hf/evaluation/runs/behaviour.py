"""What makes a model behave as it does beside its weights: the files of its config, tokenizer, template and generation."""

from pathlib import Path

from medllm_hf.folders import LARGEST, sha256
from medllm_hf.weight_files import ADAPTER, INDEX_FILE, WEIGHTS_FILE

# Those that transformers reads of a checkpoint folder; a published model has them by the same names.
BEHAVIOUR = (
    *("config.json", "generation_config.json", INDEX_FILE, ADAPTER),
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"),
)


def behaviour_hashes(folder: Path) -> dict[str, str]:
    """Name → hex SHA-256 of each of these files that a checkpoint folder has.

    An index that is not read is none of them, and neither is a file that no reader here would take, by its size.
    """
    whole = (folder / WEIGHTS_FILE).is_file()
    there = [name for name in BEHAVIOUR if (folder / name).is_file() and not (whole and name == INDEX_FILE)]
    return {name: sha256(folder / name) for name in there if (folder / name).stat().st_size <= LARGEST}
