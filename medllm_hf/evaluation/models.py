"""The model that is examined: its folder, its tokenizer and its network."""

from pathlib import Path

import torch
import transformers

from medllm_hf import pretrained
from medllm_hf.templates.template_checks import ADD_TEMPLATE, check_chat_template


def load_tokenizer(folder: Path, chat: bool = True) -> transformers.PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder.

    Raises:
        UserError: it cannot be loaded, or has no template where `chat` wants one.
    """
    tokenizer = pretrained.load_tokenizer(folder)
    if chat:
        check_chat_template(tokenizer, folder, f"{ADD_TEMPLATE}, or use --no-chat-template")
    return tokenizer


def load_network(folder: Path) -> transformers.PreTrainedModel:
    """The model of a checkpoint folder in evaluation mode, on the GPU if there is one.

    Raises:
        UserError: it cannot be loaded.
    """
    network = pretrained.load_model(folder, dtype="auto")
    return network.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def device_name() -> str:
    """What the model computes on: "cpu", or the GPU's name."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
