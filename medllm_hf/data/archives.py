"""Files in zip archives, by paths such as `talks.zip/2023/a.csv`: never unpacked as a whole, and within limits."""

import io
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO

from medllm_hf.errors import UserError, first_line

# Archives in archives, files in one archive, bytes in one archive, and how many times smaller an archive may be than what
# is in it: JSON is packed to a tenth, and deflate makes a thousandth of nothing but zeros.
DEPTH, ENTRIES, UNPACKED, RATIO = 3, 10_000, 50 * 2**30, 200
# Where an inner archive is kept while it is read: in memory up to this size.
_IN_MEMORY = 8 * 2**20
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)


def archive_of(path: Path) -> Path | None:
    """The file on the disk that a path into an archive goes through, None where there is none."""
    return None if path.exists() else next((parent for parent in path.parents if parent.is_file()), None)


def entries(file: Path) -> list[Path]:
    """The paths of all files in an archive and in the archives in it, sorted; those of hidden names are left out.

    Raises:
        UserError: it cannot be read, is encrypted, goes beyond a limit, or has two files of one path.
    """
    with file.open("rb") as stream:
        found = sorted(_entries(stream, file, 1))
    for one, next_one in pairwise(found):
        if one == next_one:
            raise UserError(f"two files {one}", "one of each name in an archive", "unpack it, or pack it again")
    return found


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Yields the stream of a file, or of an entry of an archive.

    Raises:
        UserError: no such entry, or an archive that cannot be read.
    """
    archive = archive_of(path)
    if archive is None:
        with path.open("rb") as stream:
            yield stream
        return
    with archive.open("rb") as stream, _inside(stream, archive, path.relative_to(archive).as_posix()) as entry:
        yield entry


@contextmanager
def on_disk(path: Path) -> Iterator[Path]:
    """Yields the path of a file on the disk; of an entry of an archive that of a temporary copy."""
    if archive_of(path) is None:
        yield path
        return
    with opened(path) as stream, tempfile.NamedTemporaryFile(suffix=path.suffix) as copy:
        _copy(stream, copy)
        yield Path(copy.name)


def check_growth(infos: Iterable[zipfile.ZipInfo], where: Path, do: str) -> None:
    """Check that the files of an archive are not too large, nor too much larger than they are packed.

    Raises:
        UserError: they are, and what to `do`.
    """
    size, packed = (sum(sizes) for sizes in zip((0, 0), *((info.file_size, info.compress_size) for info in infos), strict=True))
    if size > UNPACKED or size > max(packed, 2**20) * RATIO:
        found = f"{where} that grows from {packed:,} to {size:,} bytes"
        raise UserError(found, f"at most {RATIO} times and {UNPACKED:,}", do)


def _entries(stream: IO[bytes], where: Path, depth: int) -> list[Path]:
    with _archive(stream, where) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        if len(infos) > ENTRIES:
            raise UserError(f"{where} of {len(infos):,} files", f"at most {ENTRIES:,} in an archive", "unpack it")
        check_growth(infos, where, "unpack it")
        found = []
        for info in infos:
            name = _name(info)
            if any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts):
                continue
            if not name.lower().endswith(".zip"):
                found.append(where / name)
            elif depth == DEPTH:
                raise UserError(f"archives in archives, {where / name}", f"at most {DEPTH} of them", "unpack it")
            else:
                with _entry(archive, info, where / name) as inner, _seekable(inner) as copy:
                    found += _entries(copy, where / name, depth + 1)
    return found


@contextmanager
def _inside(stream: IO[bytes], where: Path, name: str) -> Iterator[IO[bytes]]:
    with _archive(stream, where) as archive:
        for info in archive.infolist():
            own = _name(info)
            if info.is_dir():
                continue
            if own == name:
                with _entry(archive, info, where / name) as entry:
                    yield entry
                return
            if name.startswith(own + "/") and own.lower().endswith(".zip"):
                rest = name[len(own) + 1 :]
                with (
                    _entry(archive, info, where / own) as inner,
                    _seekable(inner) as copy,
                    _inside(copy, where / own, rest) as entry,
                ):
                    yield entry
                return
    raise UserError(f"no {name} in {where}", "a file of the archive", "check the path")


def _archive(stream: IO[bytes], where: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(stream)
    except (*_BROKEN, OSError) as error:
        raise UserError(f"{where} that cannot be read ({first_line(error)})", "a whole archive", "fetch it again") from error


@contextmanager
def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: Path) -> Iterator[IO[bytes]]:
    if info.flag_bits & 1:
        raise UserError(f"{where}, which is encrypted", "an archive without a password", "unpack it")
    try:
        entry = archive.open(info)
    except _BROKEN as error:
        raise UserError(f"{where} that cannot be read ({first_line(error)})", "a whole archive", "fetch it again") from error
    with entry:
        yield io.BufferedReader(_Unpacked(entry, info.file_size))


class _Unpacked(io.RawIOBase):
    """An entry of an archive, of which what is broken, or longer than it says, is an OSError as in any file."""

    def __init__(self, entry: IO[bytes], size: int):
        self.entry, self.left = entry, size

    def readable(self) -> bool:
        return True

    # The type of any buffer has a name from Python 3.12 on.
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            data = self.entry.read(len(buffer))
        except _BROKEN as error:
            raise OSError(first_line(error)) from error
        self.left -= len(data)
        if self.left < 0:
            raise OSError("more bytes than the archive says")
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _seekable(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
        _copy(stream, copy)
        yield copy


def _copy(stream: IO[bytes], copy: IO[bytes]) -> None:
    try:
        while block := stream.read(2**20):
            copy.write(block)
    except OSError as error:
        raise UserError(f"an archive that cannot be read ({first_line(error)})", "a whole one", "fetch it again") from error
    copy.flush()
    copy.seek(0)


def _name(info: zipfile.ZipInfo) -> str:
    """The name of an entry as it is shown; Chinese Windows writes names in GBK and does not say so."""
    name = info.filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("gb18030")
        except UnicodeError:
            name = info.filename
    parts = [part for part in PurePosixPath(name).parts if part not in ("..", "/")]
    shown = "/".join(parts) or "_"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown)
