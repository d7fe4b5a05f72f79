"""Repositories on disk: content by its hash, commits as JSON, and references that are renamed into place.

ROOT/models/ORG/NAME/repository.json    visibility and SDK
                     content/HASH       SHA-256 of what came by LFS, git's SHA-1 of what came in a commit
                     commits/ID.json    parent, title, date, {path: File}
                     refs/main          the id of a commit
"""

import fnmatch
import hashlib
import json
import os
import re
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

# What the Hub itself puts into a new repository, shortened to what this project publishes.
ATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in ("*.safetensors", "*.bin", "*.model", "*.parquet", "*.pt", "*.npz", "*.zip", "*.gz")
)


class Refused(Exception):
    """An answer that is an error; `code` is the Hub's X-Error-Code."""

    def __init__(self, status: int, message: str, code: str = ""):
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class File:
    """A file of a commit. `oid` is git's: of the content, or of the pointer when `sha256` says that LFS holds the content."""

    oid: str
    size: int
    sha256: str = ""

    @property
    def content(self) -> str:
        return self.sha256 or self.oid

    @property
    def pointer_size(self) -> int:
        return len(pointer(self.sha256, self.size))


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)


class Store:
    """The repositories below `root`; `kind` is "models", "datasets" or "spaces"."""

    def __init__(self, root: Path, regular_limit: int = 10 * 2**20):
        self.root, self.regular_limit, self.lock = root, regular_limit, threading.RLock()

    def folder(self, kind: str, name: str) -> Path:
        return self.root / kind / name

    def settings(self, kind: str, name: str) -> dict | None:
        """What `create` was told, or None where there is no repository."""
        path = self.folder(kind, name) / "repository.json"
        return json.loads(path.read_text()) if path.exists() else None

    def create(self, kind: str, name: str, private: bool = False, sdk: str | None = None) -> None:
        with self.lock:
            write(self.folder(kind, name) / "repository.json", json.dumps({"private": private, "sdk": sdk}).encode())
            self.commit(kind, name, "initial commit", {".gitattributes": self.keep(kind, name, ATTRIBUTES.encode())})

    def content(self, kind: str, name: str, hash: str) -> Path:
        return self.folder(kind, name) / "content" / hash

    def keep(self, kind: str, name: str, data: bytes) -> File:
        """Stores content that came in a commit."""
        file = File(git_hash(data), len(data))
        write(self.content(kind, name, file.oid), data)
        return file

    def keep_large(self, kind: str, name: str, sha256: str, source: Path) -> None:
        """Stores content that came by LFS; half of it, or something else, is refused."""
        with source.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise Refused(400, f"content with SHA-256 {found} sent as {sha256}")
        self.content(kind, name, sha256).parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, self.content(kind, name, sha256))

    def large(self, kind: str, name: str, sha256: str, size: int) -> File:
        """The file of LFS content that is there."""
        path = self.content(kind, name, sha256)
        if not path.exists() or path.stat().st_size != size:
            raise Refused(400, f"LFS content {sha256} is not there")
        return File(git_hash(pointer(sha256, size)), size, sha256)

    def commit(
        self,
        kind: str,
        name: str,
        title: str,
        changes: dict[str, File | None],
        parent: str | None = None,
        revision: str = "main",
        id: str | None = None,
    ) -> str:
        """Adds a commit to a branch in one step and returns its id; None takes a file (or, with `/`, a folder) out."""
        with self.lock:
            head = self.resolve(kind, name, revision) if self.has(kind, name, revision) else None
            if parent and head != parent:
                raise Refused(412, f"A commit has happened since. Please refresh and try again: {head} is not {parent}")
            files = self.files(kind, name, head) if head else {}
            for path, file in changes.items():
                gone = [known for known in files if known == path or (path.endswith("/") and known.startswith(path))]
                if file is None and not gone:
                    raise Refused(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
                files = {known: old for known, old in files.items() if known not in gone}
                if file:
                    files[path] = file
            record = {"parent": head, "title": title, "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")}
            record["files"] = {path: asdict(file) for path, file in sorted(files.items())}
            text = json.dumps(record).encode()
            commit = id or hashlib.sha1(text).hexdigest()
            write(self.folder(kind, name) / "commits" / f"{commit}.json", text)
            if id is None:
                self.point(kind, name, revision, commit)
            return commit

    def point(self, kind: str, name: str, revision: str, commit: str) -> None:
        """Lets a branch or tag name a commit."""
        write(self.folder(kind, name) / "refs" / quote(revision, safe=""), commit.encode())

    def refs(self, kind: str, name: str) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted((self.folder(kind, name) / "refs").iterdir())}

    def has(self, kind: str, name: str, revision: str) -> bool:
        """Whether a branch, tag or commit of this name is there."""
        folder = self.folder(kind, name)
        return (folder / "refs" / quote(revision, safe="")).exists() or (folder / "commits" / f"{revision}.json").exists()

    def resolve(self, kind: str, name: str, revision: str) -> str:
        """The commit that a branch, tag or commit id names."""
        if not self.has(kind, name, revision):
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        reference = self.folder(kind, name) / "refs" / quote(revision, safe="")
        return reference.read_text() if reference.exists() else revision

    def record(self, kind: str, name: str, commit: str) -> dict:
        return json.loads((self.folder(kind, name) / "commits" / f"{commit}.json").read_text())

    def files(self, kind: str, name: str, revision: str = "main") -> dict[str, File]:
        """The files of a revision by their paths."""
        commit = self.resolve(kind, name, revision)
        return {path: File(**file) for path, file in self.record(kind, name, commit)["files"].items()}

    def read(self, kind: str, name: str, path: str, revision: str = "main") -> bytes:
        return self.content(kind, name, self.files(kind, name, revision)[path].content).read_bytes()

    def takes_lfs(self, kind: str, name: str, path: str, size: int, sample: bytes) -> bool:
        """Whether a file of this name, size and beginning goes to LFS."""
        attributes = self.read(kind, name, ".gitattributes").decode()
        patterns = re.findall(r"^(\S+) .*filter=lfs", attributes, re.MULTILINE)
        named = any(fnmatch.fnmatch(path.rpartition("/")[2], pattern) for pattern in patterns)
        return named or size > self.regular_limit or b"\0" in sample

    def put(self, kind: str, name: str, folder: Path, revision: str = "main", private: bool = False) -> str:
        """Makes a revision that holds the files of `folder` alone, as if somebody had pushed them; returns its commit.

        A revision that looks like a commit id becomes the id of that commit.
        """
        if self.settings(kind, name) is None:
            self.create(kind, name, private, "gradio" if kind == "spaces" else None)
        changes = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                file = self.keep(kind, name, data)
                if self.takes_lfs(kind, name, path.name, len(data), data[:512]):
                    sha256 = hashlib.sha256(data).hexdigest()
                    write(self.content(kind, name, sha256), data)
                    file = self.large(kind, name, sha256, len(data))
                changes[str(path.relative_to(folder))] = file
        before = self.files(kind, name, revision) if self.has(kind, name, revision) else {}
        gone = dict.fromkeys(path for path in before if path not in changes and path != ".gitattributes")
        id = revision if re.fullmatch("[0-9a-f]{40}", revision) else None
        return self.commit(kind, name, "files put", {**gone, **changes}, revision=revision, id=id)
