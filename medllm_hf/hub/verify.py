"""Every figure of a published model, done again from the raw outputs that lie beside it, and what else lies there."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from huggingface_hub import HfApi, RepoFile
from huggingface_hub.errors import SafetensorsParsingError

from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.folder import combined_hash
from medllm_hf.evaluation.verification.findings import DECLARED, DIFFERENT, UNEXAMINED, UNKNOWN, Finding, Known, Rerun
from medllm_hf.folders import read_text, sha256
from medllm_hf.hub.behaviour_files import behaviour_findings
from medllm_hf.hub.card_figures import card_findings
from medllm_hf.hub.claims import claim
from medllm_hf.hub.inventory import files_in, inventory
from medllm_hf.hub.runs import place, repository_hash, verify_runs
from medllm_hf.pretrained import check_known, check_name, refusing_hub_errors, snapshot

# Card and evidence, and what the hash of the prompts needs: no weights.
FETCHED = (
    "README.md",
    "eval/**",
    "eval-base/**",
    ".eval_results/*",
    "datasets/*",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "LICENSE*",
)


# Of the parts of a manifest, what is derived or compared; the rest is the publisher's word.
_PARTS: dict[str, tuple[str, ...]] = {
    "model": ("weights_sha256", "files_sha256"),
    "doctor": ("weights_sha256", "files_sha256"),
    "data": ("sha256", "n", "name", "split", "files", "examples", "left_out"),
    "settings": (
        *("mode", "score", "normalization", "shots", "shuffle_options", "circular", "chat_template", "enable_thinking"),
        *("reply_prefix", "prompt_sha256", "finish"),
    ),
    "rubric": ("sha256", "name", "version", "language", "criteria", "scale"),
}
# What other findings tell, or what nobody could be deceived by.
_TOLD = ("schema", "kind", "ended", "systems", "patient_gate")


@dataclass(frozen=True)
class Published:
    """A published model.

    Attributes:
        folder: Card and evidence; of a model on the Hub not all its files.
        weights: The hash of its weights.
        files: The paths of all its files.
        odd: What was found on its place that is no file of its own.
        commit: That of a model on the Hub.
        stored: Of a model on the Hub, how many numbers of each type its weights have, by their headers.
    """

    folder: Path
    weights: str
    files: tuple[str, ...]
    odd: tuple[Finding, ...] = ()
    commit: str | None = None
    stored: Mapping[str, int] | None = None


def find_published(repository: str, revision: str | None = None, weights: bool = False) -> Published:
    """The model in a repository folder or on the Hub.

    Args:
        weights: whether those on the Hub are fetched; else their hash is made from the hashes that it lists.

    Raises:
        UserError: see `local` and `remote`.
    """
    return local(Path(repository), revision) if Path(repository).is_dir() else remote(repository, revision, weights)


def verify_published(published: Published, known: dict[str, Path], rerun: Rerun | None = None) -> Iterator[Finding]:
    """Yields what is derived of a published model, then what is declared, then what nobody looked at.

    Args:
        known: see `known_files`.
        rerun: the answers that are computed again; the weights of a model on the Hub are fetched for it.
    """
    runs: list[dict] = []
    whole = Known(published.weights, published.folder, known, rerun)
    yield from verify_runs(published.folder, whole, runs)
    yield from card_findings(published.folder, runs, published.stored)
    if not runs:
        yield Finding("eval/", UNKNOWN, "no run from which figures follow")
    yield from declarations(runs)
    yield from behaviour_findings(published.folder, published.stored)
    yield from template_findings(published.folder, runs)
    yield from published.odd
    told = frozenset(whole.behaviour if any(_hashed(run) for run in runs if "of_base" not in run) else ())
    yield from inventory(published.files, None if published.commit else published.folder, told)


def declarations(runs: list[dict]) -> Iterator[Finding]:
    """Yields a finding for what each run's manifest says that no output can show."""
    for run in runs:
        manifest, figure = run["manifest"], f"{place(run)}/manifest.json"
        model = manifest.get("model")
        for what, name in (("", run["name"]), (" model.id", model.get("id") if isinstance(model, dict) else None)):
            if isinstance(name, str) and (said := claim(name.replace("_", " ").replace("-", " "))):
                yield Finding(f"{place(run)}{what}", DECLARED, f"{said}, or what may be read as one, in the name {name}")
        if str(manifest.get("started", "")) > str(manifest.get("ended", "")):
            yield Finding(figure, DIFFERENT, f"ended {manifest['ended']}, before it started {manifest['started']}")
        if max(str(manifest.get("started", "")), str(manifest.get("ended", ""))) > _tomorrow():
            yield Finding(figure, DIFFERENT, f"started {manifest.get('started')} and ended {manifest['ended']}, in the future")
        parts = {key: value for key, value in manifest.items() if key not in (*_PARTS, *_TOLD)}
        for part, derived in _PARTS.items():
            inner = manifest.get(part)
            if isinstance(inner, dict) and (rest := {key: value for key, value in inner.items() if key not in derived}):
                parts[part] = rest
        for key, value in parts.items():
            yield Finding(f"{figure} {key}", DECLARED, json.dumps(value, ensure_ascii=False, sort_keys=True))


def _tomorrow() -> str:
    """A day from now, in UTC: clocks differ by less."""
    return (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def template_findings(folder: Path, runs: list[dict]) -> Iterator[Finding]:
    """Yields a finding where exams took one way through a template that has others: it may say something else to others."""
    if not any(run["manifest"].get("settings", {}).get("chat_template") for run in runs if run["manifest"]["kind"] == "mcq"):
        return
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        try:
            ways = len(re.findall(r"\{%[-+]?\s{0,9}(?:el)?if\b", read_text(folder / name)))
        except UserError:
            continue
        if ways:
            why = f"{ways} conditions, of which exams try one way: not other words, roles, turns, tools or dates"
            yield Finding(f"{name} conditions", UNEXAMINED, why)


def _hashed(run: dict) -> bool:
    """Whether a run's manifest has the hashes of the files that are read beside the weights."""
    return any(run["manifest"].get(side, {}).get("files_sha256") for side in ("model", "doctor"))


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
    files, odd = files_in(folder)
    return Published(folder, repository_hash(folder), tuple(files), (*odd, *_unusable(folder)))


def remote(name: str, revision: str | None, weights: bool = False) -> Published:
    """A folder with card and evidence of a Hub repository, and the hash of its weights by the hashes that the Hub lists.

    Raises:
        UserError: no folder and no repository of that name that can be had, or none with safetensors.
    """
    check_name(name, "a repository folder")
    with refusing_hub_errors(name, "a published model"):
        commit = HfApi().repo_info(name, revision=revision).sha
        tree = [one for one in HfApi().list_repo_tree(name, revision=commit, recursive=True) if isinstance(one, RepoFile)]
        shards = [file for file in tree if "/" not in file.path and file.path.endswith(".safetensors")]
        # What is too small for LFS is listed by another hash, so it is fetched.
        small = [file.path for file in shards if weights or not file.lfs]
        folder, _ = snapshot(name, commit, [*FETCHED, *small], "a repository folder")
    if not shards:
        raise UserError(f"no .safetensors in {name}", "a published model", "check the name")
    stored = _stored_numbers(name, [file.path for file in shards], commit)
    hashes = {file.path: file.lfs.sha256 if file.lfs else sha256(folder / file.path) for file in shards}
    return Published(folder, combined_hash(hashes), tuple(file.path for file in tree), (*_unusable(folder),), commit, stored)


def _unusable(folder: Path) -> Iterator[Finding]:
    """Yields a finding where the model cannot be loaded without code of its own, or its files cannot be read."""
    try:
        check_known(folder)
    except UserError as error:
        yield Finding("model", DIFFERENT, f"cannot be loaded: {error}")


def _stored_numbers(name: str, shards: Sequence[str], commit: str | None) -> Mapping[str, int]:
    """How many numbers of each type the weights of a Hub repository have, by their headers, which alone are fetched.

    Raises:
        UserError: they cannot be had, or one is damaged.
    """
    found: Counter[str] = Counter()
    with refusing_hub_errors(name, "a published model"):
        for shard in shards:
            try:
                header = HfApi().parse_safetensors_file_metadata(name, shard, revision=commit)
            except SafetensorsParsingError as error:
                raise UserError(f"damaged {shard} in {name}", "a whole safetensors file", "do not use this model") from error
            found.update(header.parameter_count)
    return found
