"""Where a checkpoint comes from: a local folder or the Hub."""

import logging
from pathlib import Path

from medllm_hf.errors import UserError, first_line
from medllm_hf.weight_files import narrow

WANTED = ("*.json", "*.safetensors", "*.bin", "tokenizer.model", "*.jinja")


def local_checkpoint(name: str, revision: str | None = None) -> Path:
    """The folder `name`, or the local snapshot of the Hub repository `name`; code files are never fetched.

    Raises:
        UserError: neither a folder nor a repository that can be had.
    """
    if Path(name).is_dir():
        return Path(name)
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise UserError(f"no folder {name}", "a checkpoint folder or a Hub id ORG/NAME", "check the path")
    # A local folder needs none of this, and importing it takes a third of a second.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # A repository without a checkpoint is told in our own line, by what reads the folder.
    logging.getLogger("huggingface_hub._snapshot_download").setLevel(logging.ERROR)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=narrow(WANTED, name, revision)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"no folder and no Hub repository {name} ({first_line(error)})",
            "a checkpoint folder or a Hub id",
            "check the name, the network and HF_TOKEN",
        ) from error
