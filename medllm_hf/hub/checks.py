"""What may not be published: secrets, pickles, personal data in the evidence, figures that the evidence does not give."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from pickletools import genops

from medllm_hf.data.screening.pii.masking import find
from medllm_hf.errors import UserError, first_line
from medllm_hf.evaluation.runs.behaviour import BEHAVIOUR
from medllm_hf.evaluation.verification.findings import DIFFERENT, Known
from medllm_hf.hub.card_figures import card_findings
from medllm_hf.hub.runs import rederived, repository_hash
from medllm_hf.hub.secret_patterns import kinds_of_secrets

PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".cloudpickle")
# Bytes in which an old pickle has named what it calls.
_FIRST = 1 << 16
# Files that people's words may stand in; what the card says of how its publisher is reached is meant to be read.
TEXTS = (".jsonl", ".json", ".parquet", ".md", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".html")
CONTACT = ("email",)
_MOST = 5


def check_repository(folder: Path) -> None:
    """Check that the repository folder of a model may be published.

    Raises:
        UserError: see `check_files` and `check_figures`.
    """
    check_files({path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()})
    check_figures(folder)


def check_files(files: dict[str, Path]) -> None:
    """Check that these files, by their paths in a repository, have nothing that may not be published.

    Raises:
        UserError: weights that can run code, a token or key, or personal data in evidence or a dataset; what was found is
            named by file and line and not shown.
    """
    if pickles := [name for name, path in files.items() if is_pickle(path)]:
        raise UserError(f"pickles, which can run code: {_listed(pickles)}", "safetensors alone", "convert or remove them")
    secrets = [f"{name} line {line}: {kind}" for name, path in files.items() for line, kind in secrets_in(path)]
    if secrets:
        raise UserError(_listed(secrets), "no secret in any file", "remove it, and withdraw it where it is valid")
    personal = [
        f"{name} line {line}: {kind}"
        for name, path in files.items()
        if name not in BEHAVIOUR and not name.startswith("LICENSE")  # lists of tokens, and the names of authors
        for line, kind in personal_in(path)
        if name != "README.md" or kind not in CONTACT
    ]
    if personal:
        raise UserError(f"personal data: {_listed(personal)}", "none in evidence or data", "mask or remove it")


def check_figures(folder: Path) -> None:
    """Check that the evidence contradicts no figure and gives each that the card has.

    Raises:
        UserError: the first figures that it does not give.
    """
    found, runs = rederived(folder, Known(repository_hash(folder), folder, {}))
    wrong = [one for one in found if one.state == DIFFERENT]
    wrong += [one for one in card_findings(folder, runs) if not one.passes]
    if wrong:
        told = _listed([f"{one.figure} ({one.why})" for one in wrong])
        raise UserError(told, "figures that follow from the raw outputs", "run `medllm eval` again")


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle or a PyTorch archive of one, by its name or its first bytes."""
    if path.suffix.lower() in PICKLED:
        return True
    with path.open("rb") as file:
        first = file.read(_FIRST)
    if first[8:9] == b"{" and path.suffix == ".safetensors":  # after the length of its header, which may look like anything
        return False
    return (
        bool(re.match(rb"\x80[\x02-\x05]", first))
        or (first.startswith(b"PK\x03\x04") and b"/data.pkl" in first[:64])
        or _is_old_pickle(first)
    )


def _is_old_pickle(first: bytes) -> bool:
    """Whether bytes are a pickle of protocol 0 or 1, which has no mark at its beginning, that imports something."""
    imports = False
    try:
        for code, value, _ in genops(first):
            if code.name in ("GLOBAL", "INST"):
                imports = True
                if not all(part.isidentifier() for part in re.split(r"[ .]", str(value))):
                    return False
    except ValueError:  # another kind of file, or a pickle that is longer
        return imports and len(first) == _FIRST
    return imports


def secrets_in(path: Path) -> Iterator[tuple[int, str]]:
    """Yields (line, kind) of each token or key in a file."""
    for number, text in lines_of(path):
        for kind in kinds_of_secrets(text):
            yield number, kind


def personal_in(path: Path) -> Iterator[tuple[int, str]]:
    """Yields (line, kind) of personal data in the texts of a file that holds any; hashes are not texts."""
    if path.suffix not in TEXTS:
        return
    for number, line in lines_of(path):
        for text in _texts(line) if path.suffix in (".jsonl", ".parquet") else [re.sub(r"\b[0-9a-f]{40,64}\b", "", line)]:
            for item in find(text):
                yield number, item.kind


def _texts(line: str) -> Iterator[str]:
    try:
        left = [json.loads(line)]
    except (ValueError, RecursionError):
        left = [line]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yields (number, text) of the lines of a file: of weights their header, of Parquet its rows as JSON."""
    if path.suffix == ".parquet":
        from pyarrow import ArrowException, parquet

        try:
            batches = parquet.ParquetFile(path).iter_batches()
            rows = (json.dumps(row, ensure_ascii=False, default=str) for batch in batches for row in batch.to_pylist())
            yield from enumerate(rows, start=1)
        except (ArrowException, OSError, ValueError, OverflowError) as error:
            raise UserError(f"damaged {path} ({first_line(error)})", "a whole Parquet file", "build it again") from error
        return
    with path.open("rb") as file:
        if path.suffix == ".safetensors":
            length = min(int.from_bytes(file.read(8), "little"), path.stat().st_size)
            yield 1, file.read(length).decode("utf-8", "replace")
            return
        for number, line in enumerate(file, start=1):
            yield number, line.decode("utf-8", "replace")


def _listed(what: list[str]) -> str:
    more = f" and {len(what) - _MOST} more" if len(what) > _MOST else ""
    return "; ".join(what[:_MOST]) + more
