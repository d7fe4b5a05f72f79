"""Whether a folder is one that this program has made, which alone `--overwrite` replaces: a user's own files stay."""

import os
import re
from pathlib import Path

# Files that together tell a folder as one of ours, and a text that stands in the first of them.
_MARKS = (
    (("manifest.json",), '"kind"'),
    (("provenance.json",), '"medllm '),
    (("agreement.json", "agreement.md"), "{"),
    (("results.json", "report.md"), "{"),
    (("screening.md", "problems.jsonl"), ""),
    (("README.md",), "medllm_hf"),
    (("training.json", "training_report.md"), "{"),
    (("resume.json",), '"run"'),
    (("logs/01.log",), "medllm_hf"),
)
# What stands at the top of a checkpoint, or of a run or training that was cut off before it had its mark.
_NAMES = re.compile(
    r"manifest\.json|(outputs|scores|spending)\.jsonl|metrics\.json|medllm_runs\.jsonl|README\.md|LICENSE.*|\.git(attributes|ignore)|\.DS_Store|\..+\.tmp"
    r"|.+\.safetensors(\.index\.json)?|pytorch_model.*\.bin(\.index\.json)?|(config|generation_config|provenance)\.json"
    r"|adapter_(config\.json|model\.bin)|(tokenizer|special_tokens|added_tokens|vocab|preprocessor).*|merges\.txt|chat_template.*"
    r"|(trainer_state|resume|training|\w+_results)\.json|training_args\.bin|(optimizer|scheduler|scaler|rng_state.*)\.(pt|pth|bin)"
    r"|events\.out\..+|\d\d\.log|checkpoint-\d+\.unfinished"
)
_CHECKPOINT = re.compile(r"checkpoint-\d+|global_step\d+")


def foreign_file(folder: Path) -> str | None:
    """The first file of a folder that this program would not have written, by its path in it; None where there is none.

    In a folder with the mark of a run, a checkpoint, a dataset or a report nothing is looked at.
    """
    if any(_has_mark(folder, files, text) for files, text in _MARKS):
        return None
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.is_symlink():
            if not _CHECKPOINT.fullmatch(child.name) and (found := foreign_file(child)):
                return f"{child.name}{os.sep}{found}"
        elif not _NAMES.fullmatch(child.name):
            return child.name
    return None


def _has_mark(folder: Path, files: tuple[str, ...], text: str) -> bool:
    try:
        return all((folder / name).is_file() for name in files) and text.encode() in (folder / files[0]).read_bytes()
    except OSError:
        return False
