"""Commands as a user types them, in a process of their own."""

import json
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


# A program run up to its first word on standard output, which then tells that word and which libraries are loaded.
_FIRST_WORD = """
import json, os, runpy, sys
class First:
    encoding, errors = "utf-8", "replace"
    def write(self, text):
        os.write(1, json.dumps([text, sorted({"torch", "transformers"} & set(sys.modules))]).encode())
        os._exit(0)
    def flush(self): pass
    def isatty(self): return False
sys.stdout = First()
if sys.argv[1] == "medllm":
    sys.argv[:2] = ["medllm"]
    runpy.run_module("medllm_hf", run_name="__main__")
else:
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def first_word(*command: str) -> tuple[str, list[str]]:
    """What a verb of `medllm`, or a script, says first on standard output; which of torch and transformers it has by then."""
    done = run(sys.executable, "-c", _FIRST_WORD, *command)
    assert done.stdout, (done.returncode, done.stderr)
    text, loaded = json.loads(done.stdout)
    return text, loaded
