"""What a push would change: the files here by their hashes, beside those that the Hub has, without a download."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import RepoFile
from tqdm import tqdm

from medllm_hf.folders import sha256
from medllm_hf.hub.repository import Repository

# The Hub's own file; it says what goes to LFS.
KEPT = ".gitattributes"


@dataclass(frozen=True)
class RemoteState:
    """What the Hub has under a name: the commit of main, and its files by their paths."""

    commit: str
    private: bool
    files: dict[str, RepoFile]


@dataclass(frozen=True)
class Plan:
    """What a push does.

    Attributes:
        there: None for a repository that does not exist yet.
        hashes: path → SHA-256 of each file here.
        states: path → "new", "changed" or "same".
        removed: what is there and not here.
    """

    repository: Repository
    private: bool
    there: RemoteState | None
    hashes: dict[str, str]
    states: dict[str, str]
    removed: tuple[str, ...]

    @property
    def sent(self) -> list[str]:
        """The paths that have to be sent."""
        return [path for path, state in self.states.items() if state != "same"]


def make_plan(repository: Repository, private: bool, there: RemoteState | None) -> Plan:
    """The plan of pushing `repository`; each file is read once."""
    hashes = hash_files(repository.files)
    known = there.files if there else {}
    states = {}
    for path, file in repository.files.items():
        equal = path in known and is_same(file, hashes[path], known[path])
        states[path] = "same" if equal else "changed" if path in known else "new"
    removed = tuple(path for path in sorted(known) if path not in hashes and path != KEPT)
    return Plan(repository, private, there, hashes, states, removed)


def hash_files(files: dict[str, Path]) -> dict[str, str]:
    """The hex SHA-256 of each file, in the order of `files`; large ones are hashed side by side."""
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(
            total=sum(file.stat().st_size for file in files.values()), unit="B", unit_scale=True, desc="hash", disable=None
        ) as bar,
    ):

        def one(path: str) -> tuple[str, str]:
            return path, sha256(files[path], bar.update)

        found = dict(pool.map(one, sorted(files, key=lambda path: -files[path].stat().st_size)))
    return {path: found[path] for path in files}


def is_same(file: Path, digest: str, there: RepoFile) -> bool:
    """Whether the Hub's file has the content of this one: by SHA-256 where LFS holds it, else by git's hash of it."""
    if file.stat().st_size != there.size:
        return False
    return digest == there.lfs.sha256 if there.lfs else git_hash(file) == there.blob_id


def git_hash(file: Path) -> str:
    """The hex SHA-1 by which git knows the content of a file; read whole, so for what git holds itself."""
    data = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def plan_lines(plan: Plan) -> list[str]:
    """The plan as it is shown: target, visibility, each file with its size and what becomes of it, and the sums."""
    repository = plan.repository
    place = "" if repository.type == "model" else f"{repository.type}s/"
    made = "exists" if plan.there else "will be made"
    lines = [f"{repository.type} {place}{repository.name}, {'private' if plan.private else 'public'} ({made})"]
    for path, state in plan.states.items():
        lines.append(f"  {state:<8}{_size(repository.files[path]):>16,}  {path}")
    known = plan.there.files if plan.there else {}
    lines += [f"  {'removed':<8}{known[path].size:>16,}  {path}" for path in plan.removed]
    counts = {state: list(plan.states.values()).count(state) for state in ("new", "changed", "same")}
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    total = sum(_size(repository.files[path]) for path in plan.sent)
    lines.append(f"{said}, {len(plan.removed)} removed; {total:,} bytes to send")
    return lines


def _size(file: Path) -> int:
    return file.stat().st_size


def differences(plan: Plan, found: Iterable[RepoFile]) -> list[str]:
    """The paths whose content on the Hub is not the content here, and those that should not be there."""
    there = {file.path: file for file in found}
    files = plan.repository.files
    wrong = [path for path in files if path not in there or not is_same(files[path], plan.hashes[path], there[path])]
    return wrong + [path for path in sorted(there) if path not in files and path != KEPT]
