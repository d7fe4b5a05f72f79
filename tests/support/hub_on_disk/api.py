"""What the clients ask a Hub for: one function a question, found by method and path."""

import base64
import json
import re
from collections.abc import Callable
from urllib.parse import parse_qs, unquote

import yaml
from support.hub_on_disk import lfs
from support.hub_on_disk.files import info, paths_info, resolve, tree
from support.hub_on_disk.server import Answer, Hub, Request
from support.hub_on_disk.store import Refused

KINDS = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}
NAME = "([^/]+/[^/]+)"
API = f"/api/(models|datasets|spaces)/{NAME}"
PREFIX = f"/(?:(datasets|spaces)/)?{NAME}"

# Of the token's user; the second is the one that the README writes.
ORGANISATIONS = ("org", "your-name")


def answer(hub: Hub, request: Request) -> Answer:
    """The answer to a request.

    Raises:
        Refused: nothing of this name, or no right to it.
    """
    if request.token is not None and request.token not in hub.tokens:
        raise Refused(401, "Invalid credentials in Authorization header")
    for method, pattern, question in QUESTIONS:
        match = re.fullmatch(pattern, request.path)
        if match and request.method in method:
            return question(hub, request, *(unquote(part or "") for part in match.groups()))
    raise Refused(404, f"no such page: {request.method} {request.path}")


def whoami(hub: Hub, request: Request) -> Answer:
    if request.token is None:
        raise Refused(401, "Invalid username or password.")
    orgs = [{"type": "org", "name": name, "roleInOrg": "write"} for name in ORGANISATIONS]
    role = hub.tokens[request.token]
    return Answer({"type": "user", "name": "user", "orgs": orgs, "auth": {"accessToken": {"role": role}}})


def create(hub: Hub, request: Request) -> Answer:
    """A new repository of the user or of one of `ORGANISATIONS`."""
    writing(hub, request)
    asked = request.json()
    kind, owner = f"{asked.get('type') or 'model'}s", asked.get("organization") or "user"
    name = f"{owner}/{asked['name']}"
    if owner not in ("user", *ORGANISATIONS):
        raise Refused(403, f"You don't have the rights to create a {kind[:-1]} under the namespace {owner!r}")
    if kind == "spaces" and not asked.get("sdk"):
        raise Refused(400, "sdk is missing")
    url = f"{hub.url}/{KINDS[kind]}{name}"
    with hub.store.lock:
        if hub.store.settings(kind, name) is not None:
            return Answer({"error": f"You already created this {kind[:-1]} repo: {name}", "url": url}, 409)
        hub.store.create(kind, name, asked.get("visibility") == "private", asked.get("sdk"))
    return Answer({"url": url, "name": name})


def validate_yaml(hub: Hub, request: Request) -> Answer:
    """Whether the metadata of a card can be read; a licence must be one word."""
    found = re.match(r"---\n(.*?)\n---", request.json()["content"], re.DOTALL)
    errors, warnings = [], []
    try:
        metadata = yaml.safe_load(found[1]) if found else None
        if metadata is None:
            warnings.append({"message": "empty or missing yaml metadata in repo card"})
        elif not isinstance(metadata, dict):
            errors.append({"message": "metadata must be an object"})
        elif not isinstance(metadata.get("license", ""), str | list):
            errors.append({"message": '"license" must be a string'})
    except yaml.YAMLError as error:
        errors.append({"message": f"YAML Metadata Error: {error}"})
    return Answer({"errors": errors, "warnings": warnings}, 400 if errors else 200)


def about(hub: Hub, request: Request, kind: str, name: str, revision: str = "main") -> Answer:
    readable(hub, request, kind, name)
    return Answer(info(hub.store, kind, name, revision))


def refs(hub: Hub, request: Request, kind: str, name: str) -> Answer:
    readable(hub, request, kind, name)
    branches = [
        {"name": ref, "ref": f"refs/heads/{ref}", "targetCommit": commit} for ref, commit in hub.store.refs(kind, name).items()
    ]
    return Answer({"branches": branches, "tags": [], "converts": []})


def commits(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Answer:
    """The commits of a revision, the newest first."""
    readable(hub, request, kind, name)
    found, commit = [], hub.store.resolve(kind, name, revision)
    while commit:
        record = hub.store.record(kind, name, commit)
        found.append(
            {"id": commit, "title": record["title"], "message": "", "date": record["date"], "authors": [{"user": "user"}]}
        )
        commit = record["parent"]
    return Answer(found)


def listing(hub: Hub, request: Request, kind: str, name: str, revision: str, path: str = "") -> Answer:
    readable(hub, request, kind, name)
    flags = {flag: request.query.get(flag, ["false"])[0].lower() in ("true", "1") for flag in ("recursive", "expand")}
    return Answer(tree(hub.store, kind, name, revision, path, **flags))


def some_paths(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Answer:
    readable(hub, request, kind, name)
    if "json" in request.headers.get("content-type", ""):
        paths = request.json()["paths"]
    else:
        paths = parse_qs(request.body.decode()).get("paths", [])
    return Answer(paths_info(hub.store, kind, name, revision, paths))


def file(hub: Hub, request: Request, kind: str, name: str, revision: str, path: str) -> Answer:
    kind = kind or "models"
    readable(hub, request, kind, name)
    return resolve(hub.store, request, kind, name, revision, path)


def preupload(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Answer:
    """For each file how it has to be sent, and what is there under its name."""
    writable(hub, request, kind, name)
    there = hub.store.files(kind, name, revision)
    modes = []
    for asked in request.json()["files"]:
        path, sample = asked["path"], base64.b64decode(asked["sample"])
        large = hub.store.takes_lfs(kind, name, path, asked["size"], sample)
        mode = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        modes.append(mode | ({"oid": there[path].content} if path in there else {}))
    return Answer({"files": modes})


def commit(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Answer:
    """All changes of a commit at once, or none."""
    writable(hub, request, kind, name)
    header, changes = {}, {}
    for line in request.body.splitlines():
        operation = json.loads(line)
        key, value = operation["key"], operation["value"]
        if key == "header":
            header = value
        elif key == "file":
            data = base64.b64decode(value["content"])
            if hub.store.takes_lfs(kind, name, value["path"], len(data), data[:512]) and data:
                raise Refused(400, f"{value['path']} has to be sent by LFS")
            changes[value["path"]] = hub.store.keep(kind, name, data)
        elif key == "lfsFile":
            changes[value["path"]] = hub.store.large(kind, name, value["oid"], value["size"])
        elif key == "deletedFile":
            changes[value["path"]] = None
        elif key == "deletedFolder":
            changes[value["path"].rstrip("/") + "/"] = None
        else:
            raise Refused(400, f"unknown operation {key}")
    parent = header.get("parentCommit")
    id = hub.store.commit(kind, name, header["summary"], changes, parent, revision)
    return Answer({"success": True, "commitOid": id, "commitUrl": f"{hub.url}/{KINDS[kind]}{name}/commit/{id}"})


def readable(hub: Hub, request: Request, kind: str, name: str) -> dict:
    """What is set for a repository that the client may read; one that it may not read does not exist for it."""
    settings = hub.store.settings(kind, name)
    if settings is None or (settings["private"] and request.token is None):
        raise Refused(404 if request.token else 401, "Repository not found", "RepoNotFound")
    return settings


def writing(hub: Hub, request: Request) -> None:
    if request.token is None:
        raise Refused(401, "Invalid username or password.")
    if hub.tokens[request.token] != "write":
        raise Refused(403, "You don't have the required permissions to write with this token")


def writable(hub: Hub, request: Request, kind: str, name: str) -> None:
    readable(hub, request, kind, name)
    writing(hub, request)


def batch(hub: Hub, request: Request, kind: str, name: str) -> Answer:
    writable(hub, request, kind or "models", name)
    return lfs.batch(hub, request, kind or "models", name)


READ = ("GET", "HEAD")
QUESTIONS: tuple[tuple[tuple[str, ...], str, Callable[..., Answer]], ...] = (
    (READ, "/api/whoami-v2", whoami),
    (("POST",), "/api/repos/create", create),
    (("POST",), "/api/validate-yaml", validate_yaml),
    (READ, f"{API}/revision/([^/]+)", about),
    (READ, f"{API}/refs", refs),
    (READ, f"{API}/commits/([^/]+)", commits),
    (READ, f"{API}/tree/([^/]+)(?:/(.+))?", listing),
    (("POST",), f"{API}/paths-info/([^/]+)", some_paths),
    (("POST",), f"{API}/preupload/([^/]+)", preupload),
    (("POST",), f"{API}/commit/([^/]+)", commit),
    (READ, API, about),
    (("POST",), f"{PREFIX}[.]git/info/lfs/objects/batch", batch),
    (("PUT",), f"/lfs/([^/]+)/{NAME}/([0-9a-f]+)", lfs.whole),
    (("PUT",), f"/lfs/([^/]+)/{NAME}/([0-9a-f]+)/([0-9]+)", lfs.part),
    (("POST",), f"/lfs/([^/]+)/{NAME}/([0-9a-f]+)/complete", lfs.complete),
    (("POST",), f"/lfs/([^/]+)/{NAME}/([0-9a-f]+)/verify", lfs.verify),
    (READ, f"/lfs/([^/]+)/{NAME}/([0-9a-f]+)", lfs.download),
    (READ, f"{PREFIX}/resolve/([^/]+)/(.+)", file),
)
