"""Training runs in processes that are forked ready-made, since importing everything takes longer than a small run."""

import gc
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from support.paths import ROOT, SAMPLE

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["deepspeed.runtime.zero.muon.original_muon", "medllm_hf.training.run", "trl.scripts.sft"])
# A float32 run whose every step is logged; the caller says how long it is.
PLAIN = {
    "dtype": "float32",
    "bf16": False,
    "gradient_checkpointing": False,
    "max_length": 512,
    "per_device_train_batch_size": 4,
    "learning_rate": 0.001,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}


def words(model: Path, data: Path, out: Path, **options: object) -> list[str]:
    """The arguments of a run with the `options` added to `PLAIN`."""
    named = {"model_name_or_path": model, "dataset_name": data, "output_dir": out, **PLAIN, **options}
    return [word for key, value in named.items() for word in (f"--{key}", str(value))]


def write_dialogues(folder: Path, train: int, test: int = 0) -> Path:
    """A new dataset folder with the first bundled dialogues."""
    lines = (SAMPLE / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()[: train + test]
    rows = [json.dumps({"messages": json.loads(line)["conversation"]}, ensure_ascii=False) + "\n" for line in lines]
    folder.mkdir(parents=True)
    for name, part in (("train", rows[:train]), ("test", rows[train:])):
        if part:
            (folder / f"{name}.jsonl").write_text("".join(part), encoding="utf-8")
    return folder


def zero(stage: int, folder: Path) -> Path:
    """The project's DeepSpeed config of a ZeRO stage, which there also takes an optimizer that DeepSpeed has not tested."""
    config = json.loads((ROOT / "recipes" / "deepspeed" / f"zero{stage}.json").read_text(encoding="utf-8"))
    file = folder / f"zero{stage}.json"
    file.write_text(json.dumps({**config, "zero_allow_untested_optimizer": True}), encoding="utf-8")
    return file


def steps(checkpoint: Path, *names: str) -> list[tuple]:
    """What a checkpoint's state says of each step under `names`, with the step first."""
    history = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return [(entry["step"], *(entry[name] for name in names)) for entry in history if "loss" in entry]


def dies_at(place: str, call: int) -> None:
    """Makes this process kill itself at the `call`-th call of `place`, which is "module:name" or "module:class.name"."""
    module, path = place.split(":")
    *outer, name = path.split(".")
    holder = importlib.import_module(module)
    for part in outer:
        holder = getattr(holder, part)
    real, calls = getattr(holder, name), []

    def counted(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(holder, name, counted)


def rank(program: str, arguments: list[str], environment: dict[str, str], log: str, death: tuple[str, int] | None) -> None:
    """One rank: what a launcher does, and then `medllm sft` or the script behind `trl sft`."""
    import torch

    screen = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(screen, 1)
    os.dup2(screen, 2)
    gc.freeze()  # what was imported would be copied by the first collection
    os.environ.update(environment)
    torch.set_num_threads(1)
    if death:
        dies_at(*death)
    if program == "trl":
        sys.argv = ["sft.py", *arguments]
        runpy.run_module("trl.scripts.sft", run_name="__main__")
    else:
        from medllm_hf.cli import main

        sys.exit(main(["sft", *arguments]))


@dataclass(frozen=True)
class Run:
    """The processes of one run, one a rank, and what each of them prints."""

    processes: list
    logs: list[Path]

    def kill(self) -> None:
        """SIGKILL to every rank."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def wait(self, seconds: float) -> list[int]:
        """The exit codes; ranks that are not done after `seconds`, or once another has failed, are killed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(process.is_alive() for process in self.processes):
            if any(process.exitcode for process in self.processes):
                time.sleep(1)
                break
            time.sleep(0.01)
        self.kill()
        return [process.exitcode for process in self.processes]

    def text(self) -> str:
        """What all ranks printed."""
        return "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in self.logs)


def start(logs: Path, *arguments: str, ranks: int = 1, program: str = "medllm", death: tuple[str, int] | None = None) -> Run:
    """A run that has begun: one process without a launcher, or `ranks` with the variables that torchrun sets.

    Args:
        logs: folder for what the ranks print.
        death: place and call at which the last rank kills itself, see `dies_at`.
    """
    logs.mkdir(parents=True, exist_ok=True)
    environments = [{}]
    if ranks > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environments = [{**shared, "RANK": str(i), "LOCAL_RANK": str(i)} for i in range(ranks)]
    files = [logs / f"rank{i}.log" for i in range(ranks)]
    deaths = [None] * (ranks - 1) + [death]
    processes = [
        FORKS.Process(target=rank, args=(program, list(arguments), environment, str(file), end), daemon=True)
        for environment, file, end in zip(environments, files, deaths, strict=True)
    ]
    for process in processes:
        process.start()
    return Run(processes, files)


def finished(logs: Path, *arguments: str, ranks: int = 1, program: str = "medllm", seconds: float = 180) -> Run:
    """A run that ended well within `seconds`."""
    run = start(logs, *arguments, ranks=ranks, program=program)
    codes = run.wait(seconds)
    assert codes == [0] * ranks, (codes, run.text()[-4000:])
    return run
