"""The verb `demo`: the whole journey on the bundled sample, each stage the very command that a user would type."""

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from medllm_hf.errors import UserError
from medllm_hf.folders import check_free, project_file

NEEDED = ("trl", "peft", "accelerate", "datasets", "evaluate", "matplotlib")
# One of the training questions: so small a model answers little else.
QUESTION = "常听人说糖尿病三多一少，到底是指什么？"
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class Stage:
    """One command; `title` is what the screen says, `stdin` what is typed into it."""

    title: str
    command: list[str]
    stdin: str = ""


class StageFailed(Exception):
    """A stage ended with an exit code other than 0; the text says which and where its log is."""


def demo(out: str, overwrite: bool = False) -> int:
    """Runs the journey into the folder `out`; returns the exit code.

    Raises:
        UserError: a package or program that training or evaluation needs is missing, or `out` is not free.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"no package {', '.join(missing)}", "the extras train and eval", "pip install 'medllm_hf[train,eval]'")
    if not _trl().is_file():
        raise UserError(f"no program {_trl()}", "trl beside Python", "install medllm_hf and trl in one virtual environment")
    check_free(out, overwrite)
    folder = Path(out).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "logs").mkdir(parents=True)
    planned = stages(folder)
    begun = time.monotonic()
    try:
        for number, stage in enumerate(planned, start=1):
            print(f"{number:>2}/{len(planned)} {stage.title:<42}", end="", flush=True)
            started = time.monotonic()
            last = run_stage(stage, folder, number)
            print(f"{time.monotonic() - started:6.1f} s  {last}", flush=True)
    except StageFailed as failure:
        print(f"failed\n{failure}", file=sys.stderr)
        return 1
    print(summary(folder, time.monotonic() - begun))
    return 0


def _trl() -> Path:
    """The program `trl` of this very Python; another on the PATH may belong to another one."""
    return Path(sys.executable).with_name("trl")


def stages(folder: Path) -> list[Stage]:
    """The commands of the journey, in order, all writing below `folder`."""
    sample = Path(str(files("medllm_hf"))) / "data" / "sample"
    tool = [sys.executable, "-m", "medllm_hf"]
    trl = [str(_trl()), "sft", "--config"]

    def at(name: str) -> str:
        return str(folder / name)

    def train(recipe: str, target: str) -> list[str]:
        data = ["--model_name_or_path", at("base"), "--dataset_name", at("dataset"), "--output_dir", at(target)]
        return [*trl, str(project_file(f"recipes/tiny/{recipe}.yaml")), *data]

    def measure(model: str, run: str) -> list[str]:
        return [*tool, "eval", "mcq", "--model", at(model), "--data", questions, "--score", "text", "--out", at(run)]

    inputs = [str(sample / name) for name in ("dialogues.jsonl", "questions_train.jsonl")]
    questions = str(sample / "questions_test.jsonl")
    dataset = [*tool, "data", "build", *inputs, "--out", at("dataset"), "--license", "apache-2.0", "--test-fraction", "0"]
    runs = [at("runs/before"), at("runs/full"), at("runs/lora")]
    shown = ["--base-run", at("runs/before"), "--samples", "--dataset", f"your-name/medllm-dialogues={at('dataset')}"]
    publish = [sys.executable, "-m", "push_to_hub", "model", at("full"), "--repo-id", "your-name/medllm-tiny"]
    return [
        Stage("random base in Baichuan2's layout", [*tool, "tiny-base", at("baichuan")]),
        Stage("convert to Llama layout", [*tool, "convert", at("baichuan"), at("base")]),
        Stage("build the dataset", [*dataset, "--benchmarks", questions, "--on-overlap", "refuse"]),
        Stage("exam before training", measure("base", "runs/before")),
        Stage("full-parameter training (trl sft)", train("sft_full", "full")),
        Stage("exam after full training", measure("full", "runs/full")),
        Stage("LoRA training (trl sft)", train("sft_lora", "lora")),
        Stage("merge the LoRA", [*tool, "merge", at("lora"), at("lora-merged")]),
        Stage("exam after LoRA training", measure("lora-merged", "runs/lora")),
        Stage("report", [*tool, "report", *runs, "--out", at("report")]),
        Stage(
            "publish, dry run",
            [
                *publish,
                "--license",
                "apache-2.0",
                "--eval-run",
                at("runs/full"),
                *shown,
                "--out",
                at("repository"),
                "--dry-run",
            ],
        ),
        Stage("ask the published model", [*tool, "chat", at("repository"), "--seed", "42"], stdin=QUESTION + "\n"),
    ]


def run_stage(stage: Stage, folder: Path, number: int) -> str:
    """Runs one stage, keeps its output under logs/ and returns the last line that it printed.

    Raises:
        StageFailed: with the end of the output.
    """
    log = folder / "logs" / f"{number:02d}.log"
    done = subprocess.run(
        stage.command,
        input=stage.stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment(folder),
    )
    log.write_text(f"$ {shlex.join(stage.command)}\n{done.stdout}\n{done.stderr}", encoding="utf-8")
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise StageFailed(f"`{shlex.join(stage.command)}` ended with {done.returncode}; its log is {log}\n{tail}")
    lines = done.stdout.strip().splitlines() or [""]
    return lines[-1].replace(f"{folder}/", "")


def environment(folder: Path) -> dict[str, str]:
    """The environment of the stages: offline, caches below `folder`, all cores used."""
    settings = dict.fromkeys(OFFLINE, "1") | {"HF_HOME": str(folder / "cache"), "PYTHONIOENCODING": "utf-8"}
    # accelerate's launcher chooses one thread unless told; glibc gives memory back so eagerly that a small model
    # spends half of its time asking for it again.
    threads = {"OMP_NUM_THREADS": str(os.cpu_count())}
    malloc = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}
    return threads | malloc | dict(os.environ) | settings


def summary(folder: Path, seconds: float) -> str:
    """What was measured, where everything is, and what to try next."""
    results = json.loads((folder / "report" / "results.json").read_text(encoding="utf-8"))["results"]
    lines = ["", f"done in {seconds:.0f} s. Accuracy on held-out questions:"]
    for row in results:
        interval = f"{100 * row['interval_low']:.1f} to {100 * row['interval_high']:.1f}"
        lines.append(f"  {row['run']:<8}{100 * row['accuracy']:5.1f}%  (n={row['n']}, 95% interval {interval})")
    places = (("report", "report/report.md"), ("repository", "repository/"), ("dataset", "dataset/"), ("logs", "logs/"))
    lines += [f"  {name:<12}{folder / place}" for name, place in places]
    return "\n".join([*lines, "Next, talk to it:", f"  medllm chat {shlex.quote(str(folder / 'repository'))}"])
