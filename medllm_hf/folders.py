"""Output folders that are either whole or absent."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medllm_hf.errors import UserError

# What a full or read-only disk answers.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)
# Of the folders that this process holds.
_HANDLES: set[int] = set()


@contextmanager
def new_folder(path: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """Yields a folder beside `path` that takes its name when the block ends well, and is removed when it fails.

    A killed process leaves only the hidden `.NAME.partial`, which the next run removes.

    Raises:
        UserError: `path` exists and is not an empty folder, and `overwrite` is false; it cannot be written; the disk is
            full; or another process is writing it.
    """
    path = Path(os.path.abspath(path))
    check_free(path, overwrite)
    partial = path.parent / f".{path.name}.partial"
    with writing(path):
        partial.mkdir(parents=True, exist_ok=True)
        with held(partial):
            try:
                empty(partial)
                yield partial
                replace_folder(partial, path)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes a place that cannot be written, or has become full, a mistake that the user is told.

    Raises:
        UserError: `path` cannot be written; the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        do = "make room or choose another output folder"
        raise UserError(f"{error.strerror} while writing {path}", "a place to write", do) from error


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds a folder for this process alone, as far as the file system has locks.

    The system lets go of it however the process ends.

    Raises:
        UserError: another process holds it.
    """
    handle = os.open(path, os.O_RDONLY)
    _HANDLES.add(handle)
    try:
        # Whoever held it before may have renamed or removed it since it was opened here.
        if not _locked(handle, fcntl.LOCK_EX) or not (path.exists() and os.path.samestat(path.stat(), os.fstat(handle))):
            raise _held_by_another(path)
        yield
    finally:
        if handle in _HANDLES:
            _HANDLES.remove(handle)
            _locked(handle, fcntl.LOCK_UN)  # for a process that is being forked at this moment too
            os.close(handle)


def check_unheld(path: Path) -> None:
    """Check that no process holds the folder `path`; several may ask at once.

    Raises:
        UserError: one does.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        if not _locked(handle, fcntl.LOCK_SH):
            raise _held_by_another(path)
    finally:
        os.close(handle)


def _locked(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network's file system may have no locks for folders, and is written all the same
        return True
    return True


def _held_by_another(path: Path) -> UserError:
    return UserError(f"another process writing {path}", "one at a time", "wait for it or choose another folder")


def _let_go() -> None:
    """A forked process holds nothing: it may outlive the one that does."""
    for handle in _HANDLES:
        os.close(handle)
    _HANDLES.clear()


os.register_at_fork(after_in_child=_let_go)


def empty(folder: Path) -> None:
    """Removes everything in `folder`."""
    for child in folder.iterdir():
        shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()


def check_free(path: Path | str, overwrite: bool = False) -> None:
    """Check that `path` may be written.

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


def check_apart(out: Path | str, inputs: Iterable[Path | str | None], inside: bool = False) -> None:
    """Check that writing `out` replaces none of `inputs`, of which only what exists counts; links are followed.

    `inside` allows an `out` that lies in an input folder.

    Raises:
        UserError: `out` is an input, or holds one, or lies in one.
    """
    for name in inputs:
        if not name or not exists(Path(name)):
            continue
        holds, lies = _is_within(Path(name), Path(out)), _is_within(Path(out), Path(name))
        if holds or (lies and not inside):
            how = "is" if holds and lies else "holds" if holds else "lies in"
            raise UserError(f"an output {out} that {how} the input {name}", "an output of its own", "choose another output")


def _is_within(path: Path, folder: Path) -> bool:
    """Whether `path` is `folder` or lies in it, by whatever names."""
    path, folder = path.resolve(), folder.resolve()
    if not folder.exists():
        return path.is_relative_to(folder)
    return any(exists(one) and one.samefile(folder) for one in (path, *path.parents))


def exists(path: Path) -> bool:
    """Whether there is something at `path`, which may be no path at all."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        return False


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
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
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
