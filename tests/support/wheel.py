"""The project's wheel, built offline from its files and unpacked."""

import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from support.commands import run
from support.paths import ROOT


def unpacked_wheel(folder: Path) -> Path:
    """A folder below `folder` in which the wheel lies as pip unpacks it; it is built by the setuptools that is here."""
    pytest.importorskip("setuptools", minversion="77")
    source, ignored = folder / "source", shutil.ignore_patterns("__pycache__")
    for name in ("medllm_hf", "recipes", "dataset_cards"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "push_to_hub.py"):
        shutil.copy(ROOT / name, source)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = run(sys.executable, "-c", build, str(folder), cwd=source)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"
