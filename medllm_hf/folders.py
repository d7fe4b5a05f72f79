"""Output folders that are either whole or absent."""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from medllm_hf.errors import UserError, first_line, kind_of, unreadable
from medllm_hf.own_folders import foreign_file

# What a disk answers that is full or read-only, and a place that cannot be had or given another name.
_NO_ROOM = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG),
    *(errno.EBUSY, errno.EXDEV, errno.EIO, errno.EILSEQ, errno.EISDIR, errno.ENOENT, errno.ELOOP),
)
# In the folder that is worked in: what says that it is ours, what is being made, and what it replaces.
MARK, NEW, OLD = ".medllm_hf", "new", "old"
# Bytes of a file that is read whole; tokenizers have tens of millions.
LARGEST = 1 << 28
# Of the folders that this process holds.
_HANDLES: set[int] = set()


@contextmanager
def new_folder(path: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """Yields a folder that takes the name `path` when the block ends well, and is removed when it fails.

    It lies in the hidden `.NAME.partial` beside `path`, which a killed process leaves and the next run removes. Where `path`
    is a link to a folder, that folder is written.

    Raises:
        UserError: `path` exists and is not an empty folder, and `overwrite` is false; it cannot be written; the disk is
            full; another process is writing it; or `.NAME.partial` is the user's own.
    """
    check_free(path, overwrite)
    path = Path(os.path.realpath(path))
    work = path.parent / f".{path.name}.partial"
    with writing(path, work):
        _claim(work)
        with held(work):
            try:
                _put_back(work, path)
                empty(work)
                (work / MARK).touch()
                (work / NEW).mkdir()
                yield work / NEW
                replace_folder(work, path)
            except BaseException:
                _put_back(work, path)
                shutil.rmtree(work, ignore_errors=True)
                raise


def _claim(work: Path) -> None:
    """Makes the folder `work`, or takes it when it is empty or left by a killed process of ours."""
    work.parent.mkdir(parents=True, exist_ok=True)
    try:
        work.mkdir()
    except FileExistsError as error:
        left = work.is_dir() and not work.is_symlink() and ((work / MARK).is_file() or not any(work.iterdir()))
        if not left:
            found = f"{work}, which this program has not made"
            raise UserError(found, "that name free", "move it away or choose another output folder") from error


def _put_back(work: Path, path: Path) -> None:
    """Gives a folder its name again from which `replace_folder` had taken it when it was cut off."""
    if (work / OLD).exists() and not path.exists():
        (work / OLD).rename(path)


def replace_folder(work: Path, target: Path) -> None:
    """Gives `NEW` in `work` the name `target`; what stood there is removed after, with `work`: nothing shows a mixture."""
    if target.exists():
        target.rename(work / OLD)
    (work / NEW).rename(target)
    shutil.rmtree(work, ignore_errors=True)


@contextmanager
def new_file(path: Path | str) -> Iterator[TextIO]:
    """Yields a text file that takes the name `path` when the block ends well, and is removed when it fails.

    Where `path` is a link, what it points to is written.

    Raises:
        UserError: it cannot be written, or the disk is full.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    with writing(path, partial):
        try:
            with partial.open("x", encoding="utf-8", errors="backslashreplace") as file:
                yield file
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, work: Path | None = None) -> Iterator[None]:
    """Makes a place that cannot be written, or has become full, a mistake that the user is told.

    `work` is what is written before it is called `path`. A file elsewhere that cannot be read is told as such.

    Raises:
        UserError: `path` cannot be written; the disk is full; an input cannot be read.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        place = work or path
        file = Path(os.path.abspath(os.fsdecode(error.filename))) if isinstance(error.filename, str | bytes) else place
        if not (file.is_relative_to(place) or file.is_relative_to(path) or place.is_relative_to(file)):
            raise unreadable(error) from error
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
        UserError: it exists and is not an empty folder, and `overwrite` is false or files of the user's own are in it; it
            holds the current or home folder; or a link on the way leads nowhere.
    """
    asked = Path(os.path.abspath(path))
    for one in (asked, *asked.parents):
        if os.path.islink(one) and not os.path.exists(one):
            raise UserError(f"{path} by the link {one}, which leads nowhere", "a folder", "choose another output folder")
    path = Path(os.path.realpath(path))
    check_unicode(path)
    if os.path.isdir(path) and not any(path.iterdir()):
        return
    if overwrite and (Path.cwd().is_relative_to(path) or Path.home().is_relative_to(path)):
        raise UserError(f"the current or the home folder in {path}", "a folder of its own", "choose another output folder")
    if os.path.exists(path) and not path.is_dir():
        raise UserError(f"a file at {path}", "a folder that is new or empty", "choose another output folder")
    if os.path.exists(path):
        if name := foreign_file(path):
            found = f"files in {path} that this program has not written, such as {name}"
            raise UserError(found, "a folder that is new or empty", "choose another folder, since --overwrite keeps to its own")
        if not overwrite:
            raise UserError(f"files in {path}", "a folder that is new or empty", "add --overwrite or choose another")


def check_unicode(path: Path | str) -> None:
    """Check that a path can be given to libraries that know names in UTF-8 alone.

    Raises:
        UserError: it has other bytes.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"the name {path}, which is not UTF-8", "a name in UTF-8", "rename it or choose another") from error


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


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8 to a temporary name and renames it, so that no reader sees half a file.

    What is no Unicode, as a name of other bytes, is written by its escapes, which JSON reads back as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    temporary.replace(path)


def read_bytes(path: Path | str, most: int = LARGEST) -> bytes:
    """What stands in a file.

    Raises:
        UserError: no such file; no right to read it; a folder, a pipe or a device; or more than `most` bytes.
    """
    if (size := check_file(path)) > most:
        raise UserError(f"{path} of {size:,} bytes", f"at most {most:,}", "check that it is the right file")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise unreadable(error, path) from error


def check_file(path: Path | str) -> int:
    """The bytes of a file that may be opened without waiting for anybody.

    Raises:
        UserError: no such file; a folder, a pipe or a device.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # a NUL in a name is the latter
        raise unreadable(error, path) from error
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"a folder at {path}", "a file", "check the path")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"a pipe or a device at {path}", "a file", "write it to a file first")
    return status.st_size


def read_text(path: Path | str, most: int = LARGEST) -> str:
    """The text of a file in UTF-8.

    Raises:
        UserError: see `read_bytes`; also another encoding.
    """
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} that is not UTF-8 ({error.reason} at byte {error.start})", "text in UTF-8", "convert it"
        ) from error


def unique_keys(pairs: list[tuple[str, object]]) -> dict:
    """The object of these pairs, for `json.loads`: readers differ in which of two values of one key they take.

    A key is one object however many lines have it: of long files they are the most part.

    Raises:
        ValueError: a key twice.
    """
    found = {sys.intern(name): value for name, value in pairs}
    if len(found) < len(pairs):
        raise ValueError(f"the key {Counter(name for name, _ in pairs).most_common(1)[0][0]!r} twice")
    return found


def read_json(path: Path, most: int = LARGEST, names: bool = False) -> dict:
    """The object in a JSON file. `names` allows texts that are no Unicode, as names of files may be, and refuses a key twice.

    Raises:
        UserError: no such file, or none that can be read, or not a JSON object.
    """
    if not os.path.lexists(path) and os.path.isdir(path.parent):
        raise UserError(f"no {path.name} in {path.parent}", "that file there", "check the path")
    try:
        value = json.loads(text := read_bytes(path, most).decode("utf-8"), object_pairs_hook=unique_keys if names else None)
    except (ValueError, RecursionError) as error:  # one of them says that a number has too many digits
        raise UserError(f"{path} that is not JSON ({first_line(error)})", "a JSON object", "fetch the file again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holding {kind_of(value)}", "a JSON object", "fetch the file again")
    if not names and "\\ud" in text.lower() and _lacks_unicode(value):
        raise UserError(f"{path} with half a character (a lone surrogate)", "Unicode text", "fetch the file again")
    return value


def _lacks_unicode(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def write_json(path: Path, value: dict) -> None:
    """Writes `value` as indented UTF-8 JSON with sorted keys, so equal values give equal bytes."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n")


def sha256(path: Path, told: Callable[[int], object] | None = None) -> str:
    """The hex SHA-256 of a file; `told` is called with the bytes of each block that was read."""
    check_file(path)
    with path.open("rb") as file:
        if told is None:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest, block = hashlib.sha256(), memoryview(bytearray(1 << 22))
        while size := file.readinto(block):
            digest.update(block[:size])
            told(size)
    return digest.hexdigest()


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
