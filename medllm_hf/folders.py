"""Output folders that are either whole or absent."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medllm_hf.errors import UserError


@contextmanager
def new_folder(path: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """Yields a folder beside `path` that takes its name when the block ends well, and is removed when it fails.

    A killed process leaves only the hidden `.NAME.partial`, which the next run removes.

    Raises:
        UserError: `path` exists and is not an empty folder, and `overwrite` is false; or it cannot be written.
    """
    path = Path(os.path.abspath(path))
    check_free(path, overwrite)
    partial = path.parent / f".{path.name}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{path.parent}: {error.strerror}", "a place to write", "choose another output folder") from error
    try:
        yield partial
        replace_folder(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def check_free(path: Path | str, overwrite: bool = False) -> None:
    """Returns nothing when `path` may be written.

    Raises:
        UserError: it exists and is not an empty folder, and `overwrite` is false; or it holds the current or home folder.
    """
    path = Path(path).resolve()
    if path.is_dir() and not any(path.iterdir()):
        return
    if overwrite and (Path.cwd().is_relative_to(path) or Path.home().is_relative_to(path)):
        raise UserError(f"the current or the home folder in {path}", "a folder of its own", "choose another output folder")
    if path.exists() and not path.is_dir():
        raise UserError(f"a file at {path}", "a folder that is new or empty", "choose another output folder")
    if path.exists() and not overwrite:
        raise UserError(f"files in {path}", "a folder that is new or empty", "add --overwrite or choose another")


def replace_folder(source: Path, target: Path) -> None:
    """Gives `source` the name `target`; what stood there is removed after, so no moment shows a mixture."""
    old = target.parent / f".{target.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    source.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8 to a temporary name and renames it, so that no reader sees half a file."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> dict:
    """The object in a JSON file.

    Raises:
        UserError: no such file, or not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"no {path.name} in {path.parent}", "that file there", "check the path") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} that is not JSON ({error})", "a JSON object", "fetch the file again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holding a {type(value).__name__}", "a JSON object", "fetch the file again")
    return value


def write_json(path: Path, value: dict) -> None:
    """Writes `value` as indented UTF-8 JSON with sorted keys, so equal values give equal bytes."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n")


def sha256(path: Path) -> str:
    """The hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def project_file(name: str) -> Path:
    """The path of a file or folder of `recipes/` or `dataset_cards/`, in a checkout or where a wheel put it.

    Raises:
        UserError: it is in neither place.
    """
    checkout = Path(__file__).resolve().parent.parent / name
    installed = Path(sys.prefix) / "share" / "medllm_hf" / name
    for path in (checkout, installed):
        if path.exists():
            return path
    raise UserError(f"neither {checkout} nor {installed}", "the project's own files", "install medllm_hf again")
