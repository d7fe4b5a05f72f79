"""Finds the files of a benchmark: in a folder or an archive laid out as its publisher does, or in a pinned copy on the Hub."""

import zipfile
import zlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from medllm_hf.data.hub_datasets import fetch_dataset
from medllm_hf.errors import UserError, first_line


@dataclass(frozen=True)
class Part:
    """A file to read: `shown` names it in reports, `origin` is the file that was published (an archive, perhaps)."""

    path: Path
    shown: str
    origin: Path


def hub_folder(repository: str, revision: str, wanted: tuple[str, ...]) -> Path:
    """The folder of the wanted files of a Hub dataset, fetched, or from the cache without a network.

    Raises:
        UserError: it cannot be fetched, or has none of the files.
    """
    names = [name for entry in wanted for name in entry.split("|")]
    folder = fetch_dataset(
        repository,
        revision,
        [pattern for name in names for pattern in (name, f"*/{name}")],
        f"no Hub dataset {repository} at {revision}",
        "a dataset that can be fetched",
        "check the revision, the network and HF_TOKEN, or give the path of the published files",
    )
    if not folder.is_dir():
        raise UserError(
            f"none of {', '.join(names)} in {repository} at {revision}", "the published files", "check the revision"
        )
    return folder


def find(root: Path, wanted: tuple[str, ...], archive: str | None, scratch: Path) -> list[Part]:
    """The wanted files under the absolute path `root`; those of a zip file are unpacked into `scratch`.

    An entry of `wanted` is a file name as it ends a path, with wildcards; "a|b" is the first of a and b that is there. A
    `root` that is a file is itself what is wanted, or the archive of it.

    Raises:
        UserError: a wanted file is missing or there are several of one name, or the archive is broken.
    """
    if root.is_file():
        return _from_archive(root, wanted, scratch) if root.suffix.lower() == ".zip" else [Part(root, root.name, root)]
    if not root.is_dir():
        raise UserError(f"nothing at {root}", "the published files of the benchmark", "check the path")
    found = [matching(root, entry) for entry in wanted]
    packed = [] if all(found) or archive is None else matching(root, archive)
    if packed:
        return _from_archive(packed[0], wanted, scratch)
    return [Part(file, str(file.relative_to(root)), file) for file in _complete(found, wanted, root)]


def matching(root: Path, entry: str) -> list[Path]:
    """The files under `root` that an entry of `wanted` names, in order; several only where it has a wildcard.

    Raises:
        UserError: the name stands in several folders.
    """
    files = sorted(file for file in root.rglob("*") if file.is_file())
    for name in entry.split("|"):
        found = [file for file in files if fnmatchcase(file.as_posix(), f"*/{name}")]
        if len({file.parent for file in found}) > 1:
            places = " and ".join(str(file) for file in found[:2])
            raise UserError(f"{places}", f"one {name}", "give the path of the folder or file that is meant")
        if found:
            return found
    return []


def _from_archive(file: Path, wanted: tuple[str, ...], scratch: Path) -> list[Part]:
    names = [name for entry in wanted for name in entry.split("|")]
    try:
        with zipfile.ZipFile(file) as archive:
            inside = [one for one in archive.namelist() if any(fnmatchcase(f"/{one}", f"*/{name}") for name in names)]
            archive.extractall(scratch, inside)
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{file} that cannot be unpacked ({first_line(error)})", "a zip file", "fetch it again") from error
    found = _complete([matching(scratch, entry) for entry in wanted], wanted, file)
    return [Part(one, f"{file.name}/{one.relative_to(scratch)}", file) for one in found]


def _complete(found: list[list[Path]], wanted: tuple[str, ...], place: Path) -> list[Path]:
    missing = [entry.replace("|", " or ") for entry, files in zip(wanted, found, strict=True) if not files]
    if missing:
        raise UserError(f"no {missing[0]} in {place}", "the files as they are published", "check the path or the split")
    return [file for files in found for file in files]
