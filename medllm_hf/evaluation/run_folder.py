"""The run folder: manifest.json, outputs.jsonl, scores.jsonl, metrics.json. The last is derivable from the others."""

import hashlib
import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from medllm_hf import __version__
from medllm_hf.errors import UserError
from medllm_hf.folders import sha256, write_text

PACKAGES = ("torch", "transformers", "evaluate", "datasets", "peft", "trl")


def weights_hash(folder: Path) -> str:
    """One SHA-256 over the names and hashes of a checkpoint's safetensors files, as the manifest records it."""
    lines = [f"{sha256(file)}  {file.name}" for file in sorted(folder.glob("*.safetensors"))]
    if not lines:
        raise UserError(f"no .safetensors in {folder}", "a converted or trained checkpoint", "run `medllm convert` first")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def environment() -> dict:
    """Versions and hardware for a manifest; no host name, no user name, no path."""
    versions = {"medllm_hf": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"versions": versions, "hardware": {"machine": platform.machine(), "cores": os.cpu_count()}}


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Writes one JSON object a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows))


def read_run(folder: Path | str) -> dict:
    """A finished run: `{"folder", "manifest", "outputs", "scores", "metrics"}`.

    Raises:
        UserError: not a run folder, or not a finished one.
    """
    folder = Path(folder)
    run: dict = {"folder": folder}
    try:
        for name in ("manifest", "metrics"):
            run[name] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("outputs", "scores"):
            run[name] = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise UserError(
            f"no {Path(error.filename).name} in {folder}", "a finished run folder", "run `medllm eval` again"
        ) from error
    except ValueError as error:
        raise UserError(f"damaged run folder {folder} ({error})", "JSON files", "run `medllm eval` again") from error
    return run
