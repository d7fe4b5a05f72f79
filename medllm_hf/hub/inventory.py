"""What lies in a published model beside its figures: what is the publisher's word, and what nobody looks at."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from medllm_hf.evaluation.runs.behaviour import BEHAVIOUR
from medllm_hf.evaluation.verification.findings import DECLARED, UNEXAMINED, Finding
from medllm_hf.hub.checks import PICKLED, is_pickle
from medllm_hf.hub.repository import links_within
from medllm_hf.hub.runs import DIALOGUES, RUN_FILES

# Files of which this many are named; a folder that has more is hardly a model's.
_NAMED, _MOST = 20, 20_000
_WORDS = {
    "provenance.json": "how the weights were made, in the publisher's words",
    "training.json": "a training record, in the publisher's words",
    "samples.json": "sample dialogues, in the publisher's words",
    "LICENSE": "a licence",
    "datasets": "the card of a dataset, as the publisher had it",
}
_CODE = (
    *(
        ".py",
        ".pyc",
        ".pyd",
        ".pyw",
        ".pyx",
        ".ipynb",
        ".whl",
        ".egg",
        ".so",
        ".dll",
        ".dylib",
        ".exe",
        ".com",
        ".msi",
        ".wasm",
    ),
    *(".sh", ".bash", ".zsh", ".fish", ".csh", ".bat", ".cmd", ".ps1", ".vbs", ".js", ".mjs", ".cjs", ".ts", ".jar", ".class"),
    *(
        ".rb",
        ".pl",
        ".pm",
        ".php",
        ".lua",
        ".tcl",
        ".r",
        ".jl",
        ".scpt",
        ".applescript",
        ".desktop",
        ".c",
        ".cc",
        ".cpp",
        ".cu",
    ),
    *(".go", ".rs", ".java", ".swift", ".llamafile"),
)
# How programs begin: of Linux, Windows and macOS (which has three kinds, one of them Java's too), WebAssembly and scripts.
_PROGRAMS = (
    *(b"\x7fELF", b"MZ", b"\xfe\xed\xfa", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"),
    *(b"\0asm", b"#!"),
)
_OF_GIT = (".gitattributes", ".gitignore")


def inventory(paths: Iterable[str], folder: Path | None, told: frozenset[str]) -> Iterator[Finding]:
    """Yields a finding for each file from which no figure is derived.

    Args:
        paths: the files of a repository, by their paths in it.
        folder: where they lie, for a look at their first bytes; None where they are only listed.
        told: those of which a run's manifest has the hash.
    """
    other: list[str] = []
    for path in sorted(paths):
        name = path.rpartition("/")[2]
        if is_evidence(path) or path in told:
            continue
        if name.lower().endswith(PICKLED) or (folder and is_pickle(folder / path)):
            yield Finding(path, UNEXAMINED, "a pickle, which can run code when it is read", alarm=True)
        elif name.lower().endswith(_CODE) or (folder and _is_program(folder / path)):
            yield Finding(path, UNEXAMINED, "code", alarm=True)
        elif path in BEHAVIOUR:
            yield Finding(path, DECLARED, "no run has its hash: it may be another than the outputs were made with")
        elif words := "what git does with the files" if path in _OF_GIT else _words(path):
            yield Finding(path, DECLARED, words)
        else:
            other.append(path)
    for path in other[:_NAMED]:
        yield Finding(path, UNEXAMINED, "nothing is derived from it")
    if len(other) > _NAMED:
        yield Finding(f"{len(other) - _NAMED} more files", UNEXAMINED, "nothing is derived from them")


def _is_program(path: Path) -> bool:
    """Whether the first bytes of a file are those of a program."""
    with path.open("rb") as file:
        return file.read(4).startswith(_PROGRAMS)


def is_evidence(path: str) -> bool:
    """Whether figures are derived from a file, or its hash is compared: card, weights, entries and the files of runs."""
    match path.split("/"):
        case [name]:
            return name == "README.md" or name.endswith(".safetensors")
        case [".eval_results", name]:
            return name.endswith(".yaml")
        case ["eval" | "eval-base", _, name] | ["eval", _, "judge", name]:
            return name in (*RUN_FILES, DIALOGUES)
    return False


def is_published(path: str) -> bool:
    """Whether a file is one that a push writes into a repository folder, by its path there."""
    return is_evidence(path) or path in BEHAVIOUR or _words(path) is not None


def _words(path: str) -> str | None:
    first, _, rest = path.partition("/")
    if first == "datasets" and rest.endswith(".md") and "/" not in rest:
        return _WORDS["datasets"]
    if not rest and first.startswith("LICENSE"):
        return _WORDS["LICENSE"]
    return _WORDS.get(path)


def files_in(folder: Path) -> tuple[list[str], list[Finding]]:
    """The regular files of a folder by their paths in it, and a finding for whatever else stands there; no link is followed.

    A link to a file of the folder itself, or of the cache of the Hub's library that the folder is in, is a file.
    """
    files: list[str] = []
    odd: list[Finding] = []
    root = folder.resolve()
    left = [""]
    while left and len(files) + len(odd) < _MOST:
        inner = left.pop()
        try:
            entries = sorted(os.scandir(root / inner), key=lambda one: one.name)
        except OSError as error:  # no right to look into it, or a path of too many folders
            odd.append(Finding(inner[:200], UNEXAMINED, f"a folder that cannot be read ({error.strerror})", alarm=True))
            continue
        for entry in entries:
            path = f"{inner}/{entry.name}" if inner else entry.name
            if entry.is_dir(follow_symlinks=False):
                left.append(path)
            elif entry.is_symlink():
                if links_within(Path(entry.path), root):
                    files.append(path)
                else:
                    odd.append(Finding(path, UNEXAMINED, f"a link to {os.readlink(entry.path)}, not followed", alarm=True))
            elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                files.append(path)
            else:
                odd.append(Finding(path, UNEXAMINED, "a pipe or a device", alarm=True))
    if left:
        odd.append(Finding(left[-1] or ".", UNEXAMINED, f"more than {_MOST:,} files; the rest was not listed", alarm=True))
    return files, odd
