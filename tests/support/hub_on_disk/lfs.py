"""The LFS protocol: batch, upload in one piece or in parts, completion, verification, download."""

import hashlib
import re
import shutil
from math import ceil
from pathlib import Path

from support.hub_on_disk.files import send_range
from support.hub_on_disk.server import Answer, Hub, Request
from support.hub_on_disk.store import Refused


def batch(hub: Hub, request: Request, kind: str, name: str) -> Answer:
    """How each object is to be sent; one that is there has no actions."""
    objects = []
    for asked in request.json()["objects"]:
        oid, size = asked["oid"], asked["size"]
        there = hub.store.content(kind, name, oid)
        entry = {"oid": oid, "size": size}
        if not (there.exists() and there.stat().st_size == size):
            place = f"{hub.url}/lfs/{kind}/{name}/{oid}"
            upload = {"href": place}
            if size > hub.part:
                numbers = range(1, ceil(size / hub.part) + 1)
                parts = {str(number): f"{place}/{number}" for number in numbers}
                upload = {"href": f"{place}/complete", "header": {"chunk_size": str(hub.part), **parts}}
            entry["actions"] = {"upload": upload, "verify": {"href": f"{place}/verify"}}
        objects.append(entry)
    return Answer({"transfer": "basic", "objects": objects})


def parts_folder(hub: Hub, kind: str, name: str, oid: str) -> Path:
    return hub.store.folder(kind, name) / "parts" / oid


def whole(hub: Hub, request: Request, kind: str, name: str, oid: str) -> Answer:
    hub.store.keep_large(kind, name, oid, request.upload)
    return Answer(headers={"ETag": f'"{oid}"'})


def part(hub: Hub, request: Request, kind: str, name: str, oid: str, number: str) -> Answer:
    folder = parts_folder(hub, kind, name, oid)
    folder.mkdir(parents=True, exist_ok=True)
    with request.upload.open("rb") as file:
        etag = hashlib.file_digest(file, "md5").hexdigest()
    shutil.move(request.upload, folder / f"{number}-{etag}")
    return Answer(headers={"ETag": f'"{etag}"'})


def complete(hub: Hub, request: Request, kind: str, name: str, oid: str) -> Answer:
    """Puts the parts together that the client names by number and ETag."""
    folder = parts_folder(hub, kind, name, oid)
    joined = folder / "joined"
    with joined.open("wb") as file:
        for asked in request.json()["parts"]:
            path = folder / f"{asked['partNumber']}-{asked['etag'].strip(chr(34))}"
            if not path.exists():
                raise Refused(400, f"part {asked['partNumber']} was not sent")
            file.write(path.read_bytes())
    hub.store.keep_large(kind, name, oid, joined)
    shutil.rmtree(folder)
    return Answer({"success": True})


def verify(hub: Hub, request: Request, kind: str, name: str, oid: str) -> Answer:
    there = hub.store.content(kind, name, oid)
    if not there.exists() or there.stat().st_size != request.json()["size"]:
        raise Refused(404, "object not found")
    return Answer({})


def download(hub: Hub, request: Request, kind: str, name: str, oid: str) -> Answer:
    """Content by its hash; like a signed address, it asks for no token."""
    if not re.fullmatch("[0-9a-f]{64}", oid) or not hub.store.content(kind, name, oid).exists():
        raise Refused(404, "object not found")
    return send_range(request, hub.store.content(kind, name, oid), {"ETag": f'"{oid}"'})
