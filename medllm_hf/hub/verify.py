"""The verb `verify`: every figure of a published model, done again from the raw outputs that lie beside it."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from huggingface_hub import HfApi

from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.folder import combined_hash
from medllm_hf.evaluation.verification.findings import CONFIRMED, DIFFERENT, UNKNOWN, Finding, Known
from medllm_hf.folders import sha256
from medllm_hf.hub.card_figures import card_findings
from medllm_hf.hub.runs import repository_hash, verify_runs
from medllm_hf.pretrained import check_known, check_name, refusing_hub_errors, snapshot

# Card and evidence, and what the hash of the prompts needs: no weights.
FETCHED = ("README.md", "eval/**", ".eval_results/*", "datasets/*", "*.json", "*.jinja", "tokenizer.model", "LICENSE*")


def verify(repository: str, revision: str | None = None, data: list[str] | None = None) -> int:
    """Prints each figure and hash of a repository, once it is done again, as confirmed, different or not derivable.

    The exit code is 0 when there are figures and all are confirmed, else 1. Weights on the Hub are not fetched: their hash is
    made from those that the Hub lists.

    Args:
        repository: a repository folder, or a Hub id.
        revision: branch, tag or commit of the Hub repository.
        data: files of questions or cases, beside those that come with the project, for hashes that need them.

    Raises:
        UserError: no such folder or repository, nothing published in it, or no such file of data.
    """
    known = {sha256(path): path for path in _data_files(data or [])}
    folder, weights = local(Path(repository), revision) if Path(repository).is_dir() else remote(repository, revision)
    counts = dict.fromkeys((CONFIRMED, DIFFERENT, UNKNOWN), 0)
    for one in _findings(folder, Known(weights, folder, known)):
        print(one.line, flush=True)
        counts[one.state] += 1
    print(f"{repository}: {', '.join(f'{count} {state}' for state, count in counts.items())}")
    return 0 if counts[CONFIRMED] == sum(counts.values()) else 1


def _findings(folder: Path, known: Known) -> Iterator[Finding]:
    """Yields the findings on the runs and then on the card, each as soon as it is made."""
    runs: list[dict] = []
    yield from verify_runs(folder, known, runs)
    yield from card_findings(folder, runs)
    if not runs:
        yield Finding("eval/", UNKNOWN, "no run from which figures follow")


def _data_files(named: list[str]) -> Iterator[Path]:
    for path in sorted((files("medllm_hf") / "data" / "sample").iterdir()):
        yield Path(str(path))
    for name in named:
        if not Path(name).is_file():
            raise UserError(f"no file {name}", "a file of questions or cases", "check --data")
        yield Path(name)


def local(folder: Path, revision: str | None) -> tuple[Path, str]:
    """A repository folder, and the hash of its weights.

    Raises:
        UserError: a revision, which a folder does not have, or no weights.
    """
    if revision is not None:
        raise UserError("--revision with a folder", "a Hub id", "leave it out")
    check_known(folder)
    return folder, repository_hash(folder)


def remote(name: str, revision: str | None) -> tuple[Path, str]:
    """A folder with card and evidence of a Hub repository, and the hash of its weights by the hashes that the Hub lists.

    Raises:
        UserError: no folder and no repository of that name that can be had, or none with safetensors.
    """
    check_name(name, "a repository folder")
    with refusing_hub_errors(name, "a published model"):
        commit = HfApi().repo_info(name, revision=revision).sha
        tree = list(HfApi().list_repo_tree(name, revision=commit))
        shards = [file for file in tree if file.path.endswith(".safetensors")]
        # What is too small for LFS is listed by another hash, so it is fetched.
        small = [file.path for file in shards if not file.lfs]
        folder, _ = snapshot(name, commit, [*FETCHED, *small], "a repository folder")
    if not shards:
        raise UserError(f"no .safetensors in {name}", "a published model", "check the name")
    check_known(folder)
    print(f"{name} at commit {commit}")
    return folder, combined_hash({file.path: file.lfs.sha256 if file.lfs else sha256(folder / file.path) for file in shards})
