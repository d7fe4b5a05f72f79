"""Commands as a user types them, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path


def run(
    *command: str, cwd: Path | None = None, stdin: str = "", timeout: float = 600, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """The finished `command`, with `env` added to the environment; `medllm` is the program of this virtual environment."""
    if command[0] == "medllm":
        command = (sys.executable, "-m", "medllm_hf", *command[1:])
    elif command[0] == "trl":
        command = (str(Path(sys.executable).with_name("trl")), *command[1:])
    environment = {"OMP_NUM_THREADS": str(os.cpu_count()), **os.environ, "PYTHONIOENCODING": "utf-8", **(env or {})}
    return subprocess.run(
        command, cwd=cwd, input=stdin, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=timeout
    )


def one_line_error(done: subprocess.CompletedProcess) -> str:
    """The message of a command that refused: exit 2, one line on stderr, no traceback."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]
