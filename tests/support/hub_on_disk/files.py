"""Reading a repository: its description, its tree, and its files with ranges and ETags."""

import hashlib
import re
from pathlib import Path, PurePosixPath

import yaml
from support.hub_on_disk.server import Answer, Request
from support.hub_on_disk.store import File, Refused, Store


def info(store: Store, kind: str, name: str, revision: str) -> dict:
    """The description of a repository at a revision."""
    commit = store.resolve(kind, name, revision)
    record, settings = store.record(kind, name, commit), store.settings(kind, name)
    found = {
        **{"_id": "0" * 24, "id": name, "author": name.split("/")[0], "sha": commit, "private": settings["private"]},
        **{"lastModified": record["date"], "createdAt": record["date"], "gated": False, "disabled": False, "tags": []},
        **{"downloads": 0, "likes": 0, "siblings": [{"rfilename": path} for path in record["files"]]},
        "cardData": card_data(store, kind, name, commit),
    }
    return found | ({"modelId": name} if kind == "models" else {}) | ({"sdk": settings["sdk"]} if kind == "spaces" else {})


def card_data(store: Store, kind: str, name: str, commit: str) -> dict:
    if "README.md" not in store.files(kind, name, commit):
        return {}
    text = store.read(kind, name, "README.md", commit).decode("utf-8", "replace")
    found = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    return yaml.safe_load(found[1]) if found else {}


def file_entry(path: str, file: File) -> dict:
    entry = {"type": "file", "path": path, "size": file.size, "oid": file.oid}
    if file.sha256:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return entry


def folder_entry(path: str, commit: str) -> dict:
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(f"{commit}:{path}".encode()).hexdigest()}


def tree(store: Store, kind: str, name: str, revision: str, below: str, recursive: bool, expand: bool) -> list[dict]:
    """The files and folders below a folder."""
    commit = store.resolve(kind, name, revision)
    record = store.record(kind, name, commit)
    entries = {}
    for path, file in store.files(kind, name, commit).items():
        if below and not path.startswith(f"{below}/"):
            continue
        folders = [str(parent) for parent in PurePosixPath(path).parents][:-1]
        inside = [folder for folder in folders if len(folder) > len(below)]
        for folder in inside:
            if recursive or folder == inside[-1]:
                entries[folder] = folder_entry(folder, commit)
        if recursive or not inside:
            entries[path] = file_entry(path, file)
    if below and not entries:
        raise Refused(404, f"{below} does not exist on {revision!r}", "EntryNotFound")
    last = {"lastCommit": {"id": commit, "title": record["title"], "date": record["date"]}} if expand else {}
    return [entry | last for _, entry in sorted(entries.items())]


def paths_info(store: Store, kind: str, name: str, revision: str, paths: list[str]) -> list[dict]:
    """The files and folders of these paths; what is not there is left out."""
    commit = store.resolve(kind, name, revision)
    files = store.files(kind, name, commit)
    found = [file_entry(path, files[path]) for path in paths if path in files]
    folders = [path for path in paths if any(known.startswith(f"{path}/") for known in files)]
    return found + [folder_entry(path, commit) for path in folders]


def resolve(store: Store, request: Request, kind: str, name: str, revision: str, path: str) -> Answer:
    """The content of a file; what LFS holds is elsewhere, and its hash and size are said beforehand."""
    commit = store.resolve(kind, name, revision)
    files = store.files(kind, name, commit)
    if path not in files:
        raise Refused(404, f"{path} does not exist on {revision!r}", "EntryNotFound")
    file = files[path]
    if not file.sha256:
        headers = {"ETag": f'"{file.oid}"', "X-Repo-Commit": commit}
        return send_range(request, store.content(kind, name, file.oid), headers)
    linked = {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    # The clients take another host as the storage behind the Hub, and send it no token.
    place = f"http://localhost:{request.headers['host'].rpartition(':')[2]}/lfs/{kind}/{name}/{file.sha256}"
    headers = {"X-Repo-Commit": commit, "ETag": f'"{file.oid}"', **linked, "Location": place}
    return Answer(None, 302, headers)


def send_range(request: Request, source: Path, headers: dict[str, str]) -> Answer:
    """A file, or the bytes of it that were asked for."""
    size = source.stat().st_size
    headers = {**headers, "Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if not asked or not any(asked.groups()):
        return Answer(source=source, headers=headers)
    first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
    last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
    if first > last:
        raise Refused(416, f"bytes */{size}")
    return Answer(None, 206, {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}, source, first, last)
