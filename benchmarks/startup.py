"""CPU seconds until a verb says its first word and until it ends, beside another checkout, and until it tells a wrong path.

    python benchmarks/startup.py OTHER_CHECKOUT [--times 5]

Each command runs in a process of its own, once in each checkout by turns; the first word is its first byte on stdout or
stderr, at which its CPU seconds (user and system) are read; then it runs to its end. Figures are medians. Linux only.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
SAMPLE = "medllm_hf/data/sample/questions_test.jsonl"
ABSENT, ADDRESS = "/nonexistent", "http://127.0.0.1:9/v1#m"
TOOL = ("-m", "medllm_hf")
MOST_SHARE, MOST_SECONDS = 0.6, 1.0
CLOCK = os.sysconf("SC_CLK_TCK")


def wrong_paths(out: str) -> dict[str, tuple[str, ...]]:
    """Verb → a command with a path that is not there."""
    exam = (*TOOL, "eval", "mcq", "--out", out)
    sides = ("--doctor", ADDRESS, "--patient", ADDRESS)
    push = ("--repo-id", "a/b", "--dry-run")
    return {
        "convert": (*TOOL, "convert", ABSENT, out),
        "merge": (*TOOL, "merge", ABSENT, out),
        "data check": (*TOOL, "data", "check", ABSENT),
        "data build": (*TOOL, "data", "build", ABSENT, "--out", out),
        "sft": (*TOOL, "sft", "--model_name_or_path", ABSENT),
        "sft recipe": (*TOOL, "sft", "--config", ABSENT),
        "eval mcq": (*exam, "--model", ABSENT, "--data", SAMPLE),
        "eval mcq data": (*exam, "--model", ABSENT, "--data", ABSENT),
        "eval consult": (*TOOL, "eval", "consult", "--cases", ABSENT, *sides, "--out", out),
        "eval judge": (*TOOL, "eval", "judge", "--dialogues", ABSENT, "--judge", ADDRESS, "--out", out),
        "eval pair": (*TOOL, "eval", "pair", "--first", ABSENT, "--second", ABSENT, "--judge", ADDRESS, "--out", out),
        "eval agree": (*TOOL, "eval", "agree", ABSENT, "--labels", ABSENT, "--out", out),
        "eval import": (*TOOL, "eval", "import", "--scores", ABSENT, "--out", out),
        "report": (*TOOL, "report", ABSENT, "--out", out),
        "verify": (*TOOL, "verify", ABSENT),
        "chat": (*TOOL, "chat", ABSENT),
        "web": (*TOOL, "web", ABSENT),
        "push model": ("push_to_hub.py", "model", ABSENT, "--license", "mit", *push),
        "push dataset": ("push_to_hub.py", "dataset", ABSENT, *push),
        "push metric": ("push_to_hub.py", "metric", ABSENT, *push),
    }


def make_inputs(checkout: Path, folder: Path) -> dict[str, tuple[str, ...]]:
    """Verb → a command that works, on a tiny model, its exam run, judged runs and repository, all below `folder`."""
    base, model, run, repository = (str(folder / name) for name in ("raw", "model", "run", "repository"))
    tool = (sys.executable, *TOOL)
    exam = ("eval", "mcq", "--model", model, "--data", SAMPLE, "--score", "text")
    push = ("push_to_hub.py", "model", model, "--repo-id", "a/tiny", "--license", "mit", "--eval-run", run, "--dry-run")
    for words in (
        (*tool, "tiny-base", base),
        (*tool, "convert", base, model),
        (*tool, *exam, "--out", run),
        (sys.executable, *push, "--out", repository),
    ):
        subprocess.run(words, cwd=checkout, env=environment(checkout), check=True, capture_output=True)
    out = str(folder / "out")
    return {
        # A finished run, which is told again: what is left is what every run does before its first question.
        "eval mcq": (*TOOL, *exam, "--out", run),
        "eval mcq --url": (*TOOL, "eval", "mcq", "--url", ADDRESS, "--data", SAMPLE, "--out", out, "--dry-run"),
        "report": (*TOOL, "report", run, "--out", str(folder / "report"), "--overwrite"),
        "verify": (*TOOL, "verify", repository),
        "push_to_hub": (*push, "--out", out, "--overwrite"),
    }


def environment(checkout: Path) -> dict[str, str]:
    """One thread, no network, the modules of `checkout`."""
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
    return {**os.environ, **offline, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def cpu_seconds(checkout: Path, command: tuple[str, ...]) -> tuple[float, float]:
    """The CPU seconds of a command until its first byte of output, and until it has ended."""
    process = subprocess.Popen(
        (sys.executable, *command),
        cwd=checkout,
        env=environment(checkout),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 1)
    # The process's own and its finished children's; one that has just ended is still there until it is waited for.
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    seconds = sum(map(int, fields[11:15])) / CLOCK
    process.stdout.read()
    _, process.returncode, usage = os.wait4(process.pid, 0)
    return seconds, usage.ru_utime + usage.ru_stime


def main() -> int:
    """Prints a line a command and then a line a target; returns 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    checkouts = (options.other.resolve(), HERE)
    results: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory() as place:
        works = make_inputs(HERE, Path(place))
        works["eval agree"] = wrong_paths(place + "/new")["eval agree"]
        for name, command in works.items():
            taken = [sum((cpu_seconds(checkout, command) for checkout in checkouts), ()) for _ in range(options.times)]
            before, before_end, now, now_end = (statistics.median(column) for column in zip(*taken, strict=True))
            print(f"{name:<14} {before:6.2f} s  {now:6.2f} s, to its end {before_end:6.2f} s  {now_end:6.2f} s", flush=True)
            results.append((f"first_word_{name.replace(' --', '_').replace(' ', '_')}", now / before, MOST_SHARE))
        slowest = 0.0
        for name, command in wrong_paths(place + "/new").items():
            seconds = statistics.median(cpu_seconds(HERE, command)[0] for _ in range(options.times))
            print(f"{name:<14} {seconds:6.2f} s to tell a wrong path", flush=True)
            slowest = max(slowest, seconds)
        results.append(("wrong_path_slowest_verb", slowest, MOST_SECONDS))
    for name, value, target in results:
        print(f"{name} value={value:.2f} target={target} {'met' if value <= target else 'missed'}")
    return int(any(value > target for _, value, target in results))


if __name__ == "__main__":
    sys.exit(main())
