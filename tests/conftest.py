"""Fixtures. Tests are offline: sockets reach loopback only, here and (by the libraries' own switches) in subprocesses."""

import ipaddress
import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from support.commands import run
from support.paths import DISC, GOLDEN, OFFLINE

from medllm_hf.cli import main
from medllm_hf.pretrained import load_tokenizer

os.environ.update(OFFLINE)


def pytest_configure():
    """Closes the network for this process; a test that needs it fails and names the address."""
    connect = socket.socket.connect

    def loopback_only(self, address):
        host = address[0] if isinstance(address, tuple) else None
        if host is not None and host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise AssertionError(f"a test tried to reach {host}")
        return connect(self, address)

    socket.socket.connect = loopback_only


def pytest_collection_modifyitems(items):
    """The tests that read the journey come first, since it takes longest of all."""
    items.sort(key=lambda item: "journey" not in item.fixturenames)


@pytest.fixture
def refused(capsys, monkeypatch):
    """A function that runs `medllm` with the given words in this process and returns its one line of refusal."""

    def call(*words: str, cwd: Path | None = None) -> str:
        if cwd:
            monkeypatch.chdir(cwd)
        capsys.readouterr()
        try:
            code = main(list(words))
        except SystemExit as stop:  # argparse's own way
            code = stop.code
        lines = capsys.readouterr().err.strip().splitlines()
        assert (code, len(lines)) == (2, 1), (code, lines)
        return lines[0]

    return call


@pytest.fixture(scope="session")
def golden() -> Path:
    if not GOLDEN.is_dir():
        pytest.skip(f"no {GOLDEN}: the golden checkpoint is not part of the project")
    return GOLDEN


@pytest.fixture(scope="session")
def disc() -> Path:
    if not DISC.is_dir():
        pytest.skip(f"no {DISC}: the DISC-MedLLM data is not part of the project")
    return DISC


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> dict[str, Path]:
    """A tiny checkpoint in Baichuan2's layout ("source") and converted ("base")."""
    from medllm_hf.checkpoint.convert import convert
    from medllm_hf.checkpoint.tiny import tiny_base

    folder = tmp_path_factory.mktemp("tiny")
    tiny_base(str(folder / "source"), layers=2, hidden=64)
    convert(str(folder / "source"), str(folder / "base"))
    return {"source": folder / "source", "base": folder / "base"}


@pytest.fixture(scope="session")
def endless(tiny, tmp_path_factory) -> Path:
    """The tiny model without the tokens that end an answer, and with room for a long one; its own answers last a second."""
    base = Path(shutil.copytree(tiny["base"], tmp_path_factory.mktemp("endless") / "base"))
    ends = load_tokenizer(base).all_special_ids
    for name, change in (
        ("config.json", {"max_position_embeddings": 16_384}),
        ("generation_config.json", {"suppress_tokens": ends}),
    ):
        settings = json.loads((base / name).read_text(encoding="utf-8"))
        (base / name).write_text(json.dumps({**settings, **change}), encoding="utf-8")
    return base


@pytest.fixture(scope="session")
def journey(tmp_path_factory) -> tuple[Path, str]:
    """The folder and the screen of one `medllm demo`, run once for all tests that read it."""
    out = tmp_path_factory.mktemp("journey") / "out"
    # With one thread beside other tests it takes ten minutes.
    done = run("medllm", "demo", "--out", str(out), cwd=out.parent, timeout=2400)
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout
