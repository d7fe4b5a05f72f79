"""Hashing and planning a push of 4 GB, beside `sha256sum` on the same files.

    python benchmarks/publish.py [--work DIR] [--gigabytes N]

The folder holds one file of random bytes and three small ones. Our side is a process that hashes them and compares them with a
tree that has other content under two of the names: what push_to_hub.py does before it asks. Its start and imports count. Both
sides read from the page cache, in turn, three times; the median counts. Peak memory is the system's account of our process. The
last lines say, one a target: NAME value=… target=… met|missed. Exit 1 if any is missed. Needs 4 GB of disk, and of memory for
the cache.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS, BLOCK = 3, 2**24
PLAN = """
import sys
from huggingface_hub import RepoFile
from medllm_hf.hub.plan import RemoteState, make_plan, plan_lines
from medllm_hf.hub.repository import repository

folder = repository("model", sys.argv[1], "org/model")
known = {"type": "file", "path": "config.json", "oid": "b080fbbd4e7ba3c6ec66d3e4a2f4ec8c2ecf8b0f", "size": 100}
large = {**known, "path": "model.safetensors", "size": int(sys.argv[2]), "lfs": {"oid": "0" * 64, "size": 0, "pointerSize": 0}}
there = RemoteState("0" * 40, True, {entry["path"]: RepoFile(**entry) for entry in (known, large)})
print("\\n".join(plan_lines(make_plan(folder, True, there))))
"""


def write_folder(folder: Path, size: int) -> list[Path]:
    """The files of a model whose weights are `size` random bytes; no hole and no repetition that a disk could leave out."""
    for name in ("README.md", "config.json", "tokenizer.json"):
        (folder / name).write_bytes(os.urandom(100))
    with (folder / "model.safetensors").open("wb") as file:
        for start in range(0, size, BLOCK):
            file.write(os.urandom(min(BLOCK, size - start)))
    return sorted(folder.iterdir())


def measured(command: list[str]) -> tuple[float, float, str]:
    """Wall seconds, peak memory in MB (10^6 bytes) and the output of one finished command."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed")
    return time.monotonic() - started, usage.ru_maxrss * 1024 / 1e6, output


def main() -> int:
    """Runs both sides in turn and prints the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="folder for 4 GB of files (default: a temporary one)")
    parser.add_argument("--gigabytes", type=float, default=4.0)
    options = parser.parse_args()
    size = int(options.gigabytes * 1e9)
    seconds: dict[str, list[float]] = {"sha256sum": [], "plan": []}
    peak = 0.0
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        files = write_folder(Path(folder), size)
        os.sync()
        commands = {
            "sha256sum": ["sha256sum", *map(str, files)],
            "plan": [sys.executable, "-c", PLAN, folder, str(size)],
        }
        measured(commands["sha256sum"])  # fills the cache
        for _ in range(ROUNDS):
            for name, command in commands.items():
                taken, memory, output = measured(command)
                seconds[name].append(taken)
                peak = max(peak, memory) if name == "plan" else peak
        print(output, end="")
    for name, taken in seconds.items():
        print(f"{name}: {' '.join(f'{one:.2f}' for one in taken)} s, {size / 1e9 / statistics.median(taken):.2f} GB/s")
    print(f"{os.cpu_count()} cores")
    speed = statistics.median(seconds["sha256sum"]) / statistics.median(seconds["plan"])
    print(f"speed_of_sha256sum value={speed:.2f} target=0.80 {'met' if speed >= 0.8 else 'missed'}")
    print(f"peak_mb value={peak:.0f} target=500 {'met' if peak <= 500 else 'missed'}")
    return int(speed < 0.8 or peak > 500)


if __name__ == "__main__":
    sys.exit(main())
