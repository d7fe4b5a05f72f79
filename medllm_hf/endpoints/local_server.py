"""A local checkpoint behind an OpenAI-style address on loopback, by `transformers serve`."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from medllm_hf.endpoints.address import Endpoint
from medllm_hf.errors import UserError
from medllm_hf.pretrained import check_served

START_SECONDS = 900.0
# A request that the deadline cuts goes on in the server and delays the next one, so the deadline is far away.
REQUEST_SECONDS = 3600.0
LOG_END = 300

# The program `transformers serve`, which ends with its parent however that ends: only the parent holds the other end of its
# standard input open. `-P` keeps the checkpoint's folder out of the places that Python imports from.
SERVER = (
    sys.executable,
    "-P",
    "-c",
    "import os, threading\n"
    "threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()\n"
    "from transformers.cli.transformers import app\n"
    "app()",
    "serve",
)


@contextmanager
def served(path: Path | str, start_seconds: float = START_SECONDS) -> Iterator[Endpoint]:
    """Yields the endpoint of the checkpoint folder `path`, which a child process serves until the block ends.

    The server takes the dtype from the weights and the fastest device that it finds, needs no network, and listens on a port
    that the system gives it. It computes one reply after another, hence one request at a time, and a seed fixes what is
    sampled. At temperature 0 its replies are those of `model.generate(do_sample=False)`, `repetition_penalty` and the like
    of the checkpoint's generation_config.json included. It ignores `response_format` without saying so.

    Raises:
        UserError: `path` is no checkpoint with a chat template, what serving needs is not installed, or the server does not
            answer within `start_seconds`; the end of its log is told.
    """
    path = Path(path).resolve()
    _check(path)
    with TemporaryDirectory(prefix="medllm-serve-") as name:
        folder, log = Path(name) / "models", Path(name) / "log"
        folder.mkdir()
        # The server takes requests for the very name it was given, and reads `@` and `:` in it as marks of its own. A link
        # makes the name short, free of those, and the same wherever the checkpoint lies.
        model = re.sub("[@:]", "_", path.name)
        (folder / model).symlink_to(path, target_is_directory=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*SERVER, "--host", "127.0.0.1", "--port", "0", "--", model],
                cwd=folder,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield Endpoint(f"{_address(process, log, start_seconds)}/v1", model, None, REQUEST_SECONDS, concurrency=1)
        finally:
            # The whole group, at once: there is nothing that it would have to finish.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin:
                process.stdin.close()


def _check(path: Path) -> None:
    """Check that the server could start.

    Raises:
        UserError: it could not, or would fail at the first request.
    """
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        raise UserError("no server beside transformers", "fastapi and uvicorn", "`pip install 'transformers[serving]'`")
    if not (path / "config.json").is_file():
        raise UserError(f"no config.json in {path}", "a checkpoint folder", "check the path")
    check_served(path)


def _address(process: subprocess.Popen, log: Path, seconds: float) -> str:
    """The address of the server as soon as it answers there.

    It is read from the log, since only the server knows the port that the system gave it.

    Raises:
        UserError: the server has ended, or does not answer within `seconds`.
    """
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text("utf-8", "replace"))
        if found and _answers(found[1]):
            return found[1]
        time.sleep(0.1)
    ended = process.poll() is not None
    state = f"`transformers serve` ended with code {process.returncode}" if ended else f"no answer within {seconds:g} s"
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    told = " | ".join(line for line in lines if line)[-LOG_END:]
    raise UserError(f"{state}, log: {told}", "a server for the checkpoint", "check the folder, the memory and the versions")


def _answers(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/health", trust_env=False).is_success
    except httpx2.RequestError:
        return False
