"""`medllm eval mcq` in the ranks of a launch, each a process of its own with the variables that torchrun sets."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from support.paths import OFFLINE, ROOT

# Kills itself as it hands over, or writes, its answer of this number.
DYING = """
import os, signal, sys
from medllm_hf.evaluation.exams import ranks
from medllm_hf.evaluation.runs.folder import RunFolder
from medllm_hf.cli import main
count = 0
def counted(real):
    def call(*args):
        global count
        count += 1
        if count == {call}:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)
    return call
{place} = counted({place})
sys.exit(main(sys.argv[1:]))
"""
PLACES = {0: "RunFolder.append", 1: "ranks.Peer.send"}


def start_ranks(words: list[str], size: int, death: tuple[int, int] | None = None) -> list[subprocess.Popen]:
    """The processes of `medllm` with these words, which write to pipes.

    Args:
        death: the rank that kills itself, and at which of its answers.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, **OFFLINE, "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = []
    for rank in range(size):
        command = [sys.executable, "-m", "medllm_hf", *words]
        if death and death[0] == rank:
            command = [sys.executable, "-c", DYING.format(place=PLACES[rank], call=death[1]), *words]
        own = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        started.append(subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return started


def run_ranks(words: list[str], size: int, death: tuple[int, int] | None = None) -> list[tuple[int, str, str]]:
    """(exit code, standard output, standard error) of each rank, all of which end by themselves within two minutes."""
    processes = start_ranks(words, size, death)
    try:
        said = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, out, err) for process, (out, err) in zip(processes, said, strict=True)]


def results(out: Path) -> dict[str, bytes]:
    """The files of a finished run that follow from the questions and the model."""
    return {name: (out / name).read_bytes() for name in ("outputs.jsonl", "scores.jsonl", "metrics.json")}


KILLED = -signal.SIGKILL
