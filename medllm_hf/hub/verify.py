"""Every figure of a published model, done again from the raw outputs that lie beside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from huggingface_hub import HfApi, RepoFile

from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.folder import combined_hash
from medllm_hf.evaluation.verification.findings import UNKNOWN, Finding, Known
from medllm_hf.folders import sha256
from medllm_hf.hub.card_figures import card_findings
from medllm_hf.hub.runs import repository_hash, verify_runs
from medllm_hf.pretrained import check_known, check_name, refusing_hub_errors, snapshot

# Card and evidence, and what the hash of the prompts needs: no weights.
FETCHED = ("README.md", "eval/**", ".eval_results/*", "datasets/*", "*.json", "*.jinja", "tokenizer.model", "LICENSE*")


@dataclass(frozen=True)
class Published:
    """A published model: card and evidence in `folder`, the hash of its `weights`, and the `commit` of one from the Hub."""

    folder: Path
    weights: str
    commit: str | None = None


def find_published(repository: str, revision: str | None = None) -> Published:
    """The model in a repository folder or on the Hub, whose weights are not fetched: their hash is made from those it lists.

    Raises:
        UserError: see `local` and `remote`.
    """
    return local(Path(repository), revision) if Path(repository).is_dir() else remote(repository, revision)


def verify_published(published: Published, known: dict[str, Path]) -> Iterator[Finding]:
    """Yields each figure and hash of a published model as confirmed, different or not derivable.

    Args:
        known: see `known_files`.
    """
    runs: list[dict] = []
    yield from verify_runs(published.folder, Known(published.weights, published.folder, known), runs)
    yield from card_findings(published.folder, runs)
    if not runs:
        yield Finding("eval/", UNKNOWN, "no run from which figures follow")


def known_files(data: list[str]) -> dict[str, Path]:
    """SHA-256 → path of the questions and cases that come with the project, and of the files `data`.

    Raises:
        UserError: no such file.
    """
    return {sha256(path): path for path in _data_files(data)}


def _data_files(named: list[str]) -> Iterator[Path]:
    yield from sorted(Path(str(files("medllm_hf") / "data" / "sample")).iterdir())
    for name in named:
        if not Path(name).is_file():
            raise UserError(f"no file {name}", "a file of questions or cases", "check --data")
        yield Path(name)


def local(folder: Path, revision: str | None) -> Published:
    """The published model in a repository folder.

    Raises:
        UserError: a revision, which a folder does not have, or no weights.
    """
    if revision is not None:
        raise UserError("--revision with a folder", "a Hub id", "leave it out")
    check_known(folder)
    return Published(folder, repository_hash(folder))


def remote(name: str, revision: str | None) -> Published:
    """A folder with card and evidence of a Hub repository, and the hash of its weights by the hashes that the Hub lists.

    Raises:
        UserError: no folder and no repository of that name that can be had, or none with safetensors.
    """
    check_name(name, "a repository folder")
    with refusing_hub_errors(name, "a published model"):
        commit = HfApi().repo_info(name, revision=revision).sha
        tree = list(HfApi().list_repo_tree(name, revision=commit))
        shards = [file for file in tree if isinstance(file, RepoFile) and file.path.endswith(".safetensors")]
        # What is too small for LFS is listed by another hash, so it is fetched.
        small = [file.path for file in shards if not file.lfs]
        folder, _ = snapshot(name, commit, [*FETCHED, *small], "a repository folder")
    if not shards:
        raise UserError(f"no .safetensors in {name}", "a published model", "check the name")
    check_known(folder)
    hashes = {file.path: file.lfs.sha256 if file.lfs else sha256(folder / file.path) for file in shards}
    return Published(folder, combined_hash(hashes), commit)
