"""The model that is examined: its folder, its tokenizer and its network."""

from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from medllm_hf.errors import UserError, first_line
from medllm_hf.weight_files import narrow

_WANTED = ("*.json", "*.safetensors", "tokenizer.model", "*.jinja")


def model_folder(name: str) -> tuple[Path, str | None]:
    """The folder `name` and None, or the local snapshot of the Hub repository `name` and its revision (a commit).

    Raises:
        UserError: neither a folder nor a repository that can be had.
    """
    if Path(name).is_dir():
        return Path(name), None
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise UserError(f"no folder {name}", "a checkpoint folder or a Hub id ORG/NAME", "check the path")
    # Local folders need none of this, and importing it takes a third of a second.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=narrow(_WANTED, name)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        do = "check the name, the network and HF_TOKEN"
        found = f"no folder and no Hub repository {name} ({first_line(error)})"
        raise UserError(found, "a checkpoint folder or a Hub id", do) from error
    return folder, folder.name


def load_tokenizer(folder: Path, chat: bool = True) -> transformers.PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder.

    Raises:
        UserError: it cannot be loaded, or has no template where `chat` wants one.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise _unfit(folder, error) from error
    if chat and not tokenizer.chat_template:
        do = "add a chat_template.jinja to the folder, or use --no-chat-template"
        raise UserError(f"no chat template in {folder}", "a chat model", do)
    return tokenizer


def load_network(folder: Path) -> transformers.PreTrainedModel:
    """The model of a checkpoint folder in evaluation mode, on the GPU if there is one.

    Raises:
        UserError: it cannot be loaded.
    """
    try:
        network = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    except (OSError, ValueError) as error:
        raise _unfit(folder, error) from error
    return network.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def device_name() -> str:
    """What the model computes on: "cpu", or the GPU's name."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _unfit(folder: Path, error: Exception) -> UserError:
    return UserError(f"{folder}: {first_line(error)}", "a checkpoint that transformers loads", "check the folder")
