"""What is looked at before a question is asked, and before the seconds that importing torch takes."""

import os
from importlib.util import find_spec
from pathlib import Path

from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.settings import Settings
from medllm_hf.folders import read_json
from medllm_hf.pretrained import check_name
from medllm_hf.templates.template_checks import ADD_TEMPLATE
from medllm_hf.weight_files import ADAPTER, check_regular

# What examining a local model imports; what an installation lacks is told now, and not after the weights are loaded.
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "tqdm", "jinja2", "regex")

# Where a chat template may stand beside the tokenizer's settings; an adapter takes its base's.
_TEMPLATES = {"chat_template.jinja", "chat_template.json", "additional_chat_templates"}


def check_ready(settings: Settings, out: str) -> None:
    """Check model, packages and the place of the run folder.

    Raises:
        UserError: the first of these that would stop the exam later.
    """
    check_packages(PACKAGES if settings.url is None else ("tqdm",))
    if settings.model is not None:
        _check_model(settings.model, settings.chat_template)
    check_writable(Path(out))


def check_packages(names: tuple[str, ...]) -> None:
    """Check that packages are installed, without importing them.

    Raises:
        UserError: one is not.
    """
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"no package {name}", "all that medllm_hf needs", "pip install 'medllm_hf[eval]'")


def _check_model(name: str, chat: bool) -> None:
    folder = Path(name)
    if not folder.is_dir():
        check_name(name)
        return
    check_regular(folder)
    files = {path.name for path in folder.iterdir()}
    if not files & {"config.json", ADAPTER}:
        raise UserError(f"no config.json in {name}", "a model", "check the path")
    if chat and ADAPTER not in files and not files & _TEMPLATES and not _in_settings(folder):
        raise UserError(f"no chat template in {name}", "a model for chat", f"{ADD_TEMPLATE}, or use --no-chat-template")


def _in_settings(folder: Path) -> bool:
    """Whether a template stands among the tokenizer's settings, as older checkpoints have it."""
    file = folder / "tokenizer_config.json"
    return file.is_file() and bool(read_json(file).get("chat_template"))


def check_writable(out: Path) -> None:
    """Check that a run folder, or several below it, may be begun at `out`, or gone on with.

    Raises:
        UserError: a file is in the way, or there is no right to write.
    """
    there = next(one for one in (out.absolute(), *out.absolute().parents) if one.exists())
    if not there.is_dir():
        raise UserError(f"a file at {there}", "a folder", "choose another output folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"no right to write in {there}", "a place to write", "choose another output folder")
