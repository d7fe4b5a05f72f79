"""Files of a dataset on the Hub, or of its copy in the cache where the Hub cannot be asked."""

from collections.abc import Sequence
from pathlib import Path

from medllm_hf.errors import UserError, first_line


def fetch_dataset(name: str, revision: str | None, patterns: Sequence[str], found: str, expected: str, do: str) -> Path:
    """The folder of the files of a dataset that match `patterns`; the last three are what a refusal says.

    Raises:
        UserError: neither the Hub nor the cache has it.
    """
    # Local files need none of this, and importing it takes a third of a second.
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The first is what all errors of the client are, which is httpx or, from huggingface_hub 2 on, httpx2.
    failures: tuple[type[Exception], ...] = (HfHubHTTPError.__bases__[0], HFValidationError, OSError)
    unreached: Exception | None = None
    try:
        # Asked once: for a pinned commit the download asks six times in 23 seconds, and tells of each.
        HfApi().dataset_info(name, revision=revision)
    except failures as error:
        unreached = error
    try:
        return Path(
            snapshot_download(
                name, repo_type="dataset", revision=revision, allow_patterns=[*patterns], local_files_only=unreached is not None
            )
        )
    except failures as error:
        raise UserError(f"{found} ({first_line(unreached or error)})", expected, do) from error
