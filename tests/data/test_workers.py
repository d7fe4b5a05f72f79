"""The processes that screen: the same bytes however many, and a clean end however they end."""

import multiprocessing
import os
import random
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import one_line_error
from support.made import bytes_of, families, generator, messy, problems, write

from medllm_hf.data import build as build_module
from medllm_hf.data import workers
from medllm_hf.data.build import build
from medllm_hf.data.dialogues import Policy
from medllm_hf.data.screening.chunk import Settings
from medllm_hf.errors import UserError


@pytest.mark.slow
def test_same_bytes_whatever_the_number_of_processes(tmp_path, monkeypatch):
    rows, held_out = messy(tmp_path)
    inputs = [rows, write(tmp_path / "many.jsonl", families(random.Random(6), 400))]
    monkeypatch.setattr(build_module, "CHUNK_ROWS", 100)
    for cores in (1, 2, 3):
        monkeypatch.setattr(workers, "cores", lambda cores=cores: cores)
        build(inputs, str(tmp_path / f"out{cores}"), "mit", near_duplicates="drop", benchmarks=[held_out])
    monkeypatch.setattr(build_module, "CHUNK_ROWS", 37)
    build(inputs, str(tmp_path / "out4"), "mit", near_duplicates="drop", benchmarks=[held_out])
    first = bytes_of(tmp_path / "out1")
    assert [re.sub("-[0-9a-f]{16}", "", name) for name in sorted(first)] == [
        "README.md",
        "data/test.parquet",
        "data/train.parquet",
        "lengths.png",
        "problems.jsonl",
        "screening.md",
    ]
    assert len(problems(tmp_path / "out1")) > 400
    assert all(bytes_of(tmp_path / f"out{cores}") == first for cores in (2, 3, 4))


@pytest.fixture
def large(tmp_path):
    """A file that takes a while, though its chunks take little."""
    rng, make = random.Random(1), generator()
    return write(tmp_path / "large.jsonl", [{"conversation": make.conversation(rng)} for _ in range(12_000)])


def started(path, out, chunks=3):
    """A running build in a session of its own, once its processes are there and have written some chunks."""
    command = [sys.executable, "-m", "medllm_hf", "data", "build", path, "--out", str(out), "--license", "mit"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, start_new_session=True, **pipes)
    spill = out.parent / f".{out.name}.partial" / "new" / ".spill"
    while len(members(process.pid)) < 4 or len(list(spill.glob("*.arrow"))) < chunks:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    return process


def members(session):
    """The running processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def all_ended(session):
    until = time.monotonic() + 20
    while members(session) and time.monotonic() < until:
        time.sleep(0.05)
    return not members(session)


def finished(process):
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


needs_processes = pytest.mark.skipif(
    not Path("/proc/self/stat").exists() or workers.cores() < 2, reason="needs /proc and two cores"
)


@needs_processes
@pytest.mark.parametrize("chunks", [0, 3])
def test_ctrl_c_is_one_line_and_leaves_nothing(chunks, large, tmp_path):
    process = started(large, tmp_path / "out", chunks)
    time.sleep(0.3)  # at 0 chunks the others are importing by now
    os.killpg(process.pid, signal.SIGINT)
    done = finished(process)
    assert (done.returncode, done.stderr.strip()) == (1, "medllm: interrupted")
    assert all_ended(process.pid)
    assert [path.name for path in tmp_path.iterdir()] == ["large.jsonl"]


@needs_processes
def test_a_killed_worker_is_one_line_and_leaves_nothing(large, tmp_path):
    process = started(large, tmp_path / "out")
    os.kill(max(members(process.pid)), signal.SIGKILL)
    assert "a screening process that was killed" in one_line_error(finished(process))
    assert all_ended(process.pid)
    assert [path.name for path in tmp_path.iterdir()] == ["large.jsonl"]


class Deadly:
    """Kills the process that reads it from a pipe."""

    def __reduce__(self):
        return os.kill, (Killed(), signal.SIGKILL)


class Killed:
    """Becomes the number of the process that reads it."""

    def __reduce__(self):
        return os.getpid, ()


def half_a_result(pipe):
    """A worker that dies while it writes, with more written than a pipe holds and less than it announced."""
    pipe.recv(), pipe.recv()
    os.write(pipe.fileno(), struct.pack("!i", 10_000_000) + bytes(50_000))
    os.kill(os.getpid(), signal.SIGKILL)


def at_once(pipe):
    os.kill(os.getpid(), signal.SIGKILL)


def deaf(pipe):
    """A worker that dies without having read all of what it is sent."""
    os.read(pipe.fileno(), 100)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


def slowly():
    """Empty chunks without end, so that the other process cannot have done all of them."""
    while True:
        time.sleep(0.01)
        yield []


@needs_processes
@pytest.mark.parametrize("death", [half_a_result, at_once, deaf, "reading a chunk", "reading the settings"])
@pytest.mark.parametrize("others", [0, 1])
def test_no_death_of_a_worker_keeps_the_others_waiting(monkeypatch, tmp_path, death, others):
    """Whenever it comes: with one result half written and a lock held, a pool of one pipe waited for ever."""
    monkeypatch.setattr(workers, "cores", lambda: 2)
    settings = Settings([], "disc", Policy("drop", "drop"), "mask", False, None, tmp_path)
    chunks = [[]] * 6
    if callable(death):
        targets = iter([death, workers.work if others else death])
        real, chunks = workers.start, slowly()

        def start(number, started):
            for _ in range(number):
                monkeypatch.setattr(workers, "work", next(targets))
                real(1, started)

        monkeypatch.setattr(workers, "start", start)
        settings = replace(settings, files=[Path("x" * 3_000_000)])  # more than a pipe holds
    elif "chunk" in death:
        chunks = [[], [], [Deadly()] * (1 + others), [], [], []]
    else:
        settings = replace(settings, files=[Deadly()])
    threads = threading.active_count()
    told: list = []

    def build():
        try:
            told.extend(workers.screen_all(iter(chunks), settings))
        except UserError as error:
            told.append(error)

    builder = threading.Thread(target=build, daemon=True)
    builder.start()
    builder.join(60)
    assert not builder.is_alive()
    assert isinstance(told[-1], UserError) and "a screening process that was killed" in str(told[-1])
    assert threading.active_count() == threads and not multiprocessing.active_children()


@needs_processes
def test_what_screening_raises_in_a_worker_is_raised_here(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "cores", lambda: 2)
    settings = Settings([], "disc", Policy("drop", "drop"), "mask", False, None, tmp_path)
    results = workers.screen_all(iter([[], [], [], [], [], [(0, 1, {})]]), settings)
    with pytest.raises(IndexError) as caught:
        list(results)
    assert "screen_chunk" in caught.value.__notes__[0] and not multiprocessing.active_children()


@pytest.mark.slow
@needs_processes
@pytest.mark.parametrize("seed", range(6))
def test_a_worker_killed_at_any_moment_is_one_line(seed, large, tmp_path):
    rng = random.Random(seed)
    process = started(large, tmp_path / "out", chunks=0)
    time.sleep(rng.uniform(0, 2))
    if process.poll() is None and len(running := members(process.pid)) > 3:
        os.kill(rng.choice(sorted(running)[2:]), signal.SIGKILL)
    done = finished(process)
    assert done.returncode == 0 or "a screening process that was killed" in one_line_error(done)
    assert all_ended(process.pid)


@pytest.mark.slow
@needs_processes
def test_after_kill_9_no_process_and_no_folder_stays_and_the_next_run_is_whole(large, tmp_path):
    process = started(large, tmp_path / "out")
    os.kill(process.pid, signal.SIGKILL)
    finished(process)
    assert all_ended(process.pid)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.partial", "large.jsonl"]
    build([large], str(tmp_path / "out"), "mit")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.jsonl", "out"]
    build([large], str(tmp_path / "other"), "mit")
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "other")
