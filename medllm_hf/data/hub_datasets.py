"""Files of a dataset on the Hub, or of its copy in the cache where the Hub cannot be asked."""

from collections.abc import Sequence
from pathlib import Path

from medllm_hf.errors import UserError, first_line, hub_failures


def fetch_dataset(name: str, revision: str | None, patterns: Sequence[str], found: str, expected: str, do: str) -> Path:
    """The folder of the files of a dataset that match `patterns`; the last three are what a refusal says.

    Raises:
        UserError: neither the Hub nor the cache has it.
    """
    # Local files need none of this, and importing it takes a third of a second.
    from huggingface_hub import HfApi, snapshot_download

    failures, unreached = hub_failures(), None
    try:
        # Asked once: for a pinned commit the download asks six times in 23 seconds, and tells of each.
        HfApi().dataset_info(name, revision=revision)
    except failures as error:
        unreached = first_line(error)
    try:
        return Path(
            snapshot_download(
                name, repo_type="dataset", revision=revision, allow_patterns=[*patterns], local_files_only=unreached is not None
            )
        )
    except failures as error:
        raise UserError(f"{found} ({unreached or first_line(error)})", expected, do) from error
