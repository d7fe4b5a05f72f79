"""How far honest computations of an exam part, and how many altered answers a rerun then finds.

    python benchmarks/rerun.py RUN RUN … [--replies RUN … --model FOLDER] [--resamples N]

The runs are of one model and the same questions, letters scored, computed in different ways: other batches, kernels, threads.
The first of each precision is taken for what a verifier computes, the others for what was published; a run of another precision
is shown beside them. Replies are judged on the weights of --model. For every published run, items are drawn 5,000 times, half
of them each time, as they are and with 5% of them altered in two ways: the best two answers moved towards each other until they
change places (the least that changes an answer, by which the power is reckoned), and exchanged.
The last lines say, one a target: NAME value=… target=… met|missed. Exit 1 if any is missed.
"""

import argparse
import random
import sys
from collections import defaultdict
from math import ceil, sqrt
from pathlib import Path

from medllm_hf.evaluation.exams.derive import StoredRun, stored_run
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.verification.power import ALTERED, ItemCheck, caught
from medllm_hf.evaluation.verification.rerun import TOLERANCE, compare

ERRORS = 4  # standard errors of a share that is drawn


def read(folder: str) -> StoredRun:
    return stored_run(folder, read_run(Path(folder)))


def paired(verifier: StoredRun, published: StoredRun) -> list[tuple]:
    """(question, published log-probabilities, those computed again) of each question that both have."""
    again = {(row["id"], row["rotation"]): row["logprobs"] for row in verifier.outputs}
    rows = {(row["id"], row["rotation"]): row["logprobs"] for row in published.outputs}
    return [(one, rows[one.key], again[one.key]) for one in verifier.questions if one.key in rows]


def largest(pairs: list[tuple]) -> float:
    return max(abs(theirs[name] - ours[name]) for _, theirs, ours in pairs for name in ours)


def best_two(values: dict) -> tuple[str, str]:
    best, second = sorted(values, key=values.__getitem__)[:-3:-1]
    return best, second


def approached(values: dict) -> dict:
    best, second = best_two(values)
    middle = (values[best] + values[second]) / 2
    return {**values, best: middle - 1e-6, second: middle + 1e-6}


def exchanged(values: dict) -> dict:
    best, second = best_two(values)
    return {**values, best: values[second], second: values[best]}


def check(pairs: list[tuple], tolerance: float, change=dict) -> list[ItemCheck]:
    return [
        compare(one, {"logprobs": change(theirs)}, {"logprobs": ours, "lengths": dict.fromkeys(ours, 1)}, "none", tolerance)
        for one, theirs, ours in pairs
    ]


def resample(pairs: list[tuple], tolerance: float, resamples: int) -> dict[str, float]:
    """Shares of the draws in which something is refuted, and the power that is told."""
    honest = check(pairs, tolerance)
    forged = {change.__name__: check(pairs, tolerance, change) for change in (approached, exchanged)}
    rng, total = random.Random(0), len(pairs)
    drawn, altered = total // 2, ceil(ALTERED * total)
    found: dict[str, float] = defaultdict(float)
    for _ in range(resamples):
        wrong, sample = set(rng.sample(range(total), altered)), rng.sample(range(total), drawn)
        found["alarms"] += any(honest[i].refuted for i in sample) / resamples
        for name, checks in forged.items():
            found[name] += any((checks if i in wrong else honest)[i].refuted for i in sample) / resamples
    seen = sum(one.seen for one in honest) / total
    return {**found, "seen": seen, "told": caught(drawn, total, altered, seen)}


def judge_replies(folders: list[str], model: str) -> dict[str, list[ItemCheck]]:
    """What comes of each written reply of the runs, by the precision they were computed in."""
    from medllm_hf.evaluation.exams.outputs import PRESENT
    from medllm_hf.evaluation.exams.prompts import Prompts
    from medllm_hf.evaluation.exams.weights import load_network
    from medllm_hf.evaluation.verification.reply_check import check_replies
    from medllm_hf.pretrained import load_tokenizer

    found: dict[str, list[ItemCheck]] = defaultdict(list)
    tokenizer = load_tokenizer(model)
    for folder in sorted(folders, key=lambda name: read(name).manifest["settings"]["dtype"]):
        run = read(folder)
        settings = run.manifest["settings"]
        dtype = settings["dtype"]
        network = load_network(Path(model), "cpu", dtype)
        rows = {(row["id"], row["rotation"]): row for row in run.outputs}
        drawn = [(one, rows[one.key]) for one in run.questions if one.key in rows]
        told = settings["chat_template"], "reply", settings.get("enable_thinking")
        prompts = Prompts(tokenizer, {}, settings["score"], *told)
        checks = list(check_replies(network, prompts, drawn, settings["max_new_tokens"], PRESENT, TOLERANCE[dtype]))
        parts, seen = max(one.parts for one in checks), sum(one.seen for one in checks) / len(checks)
        print(
            f"{folder}: {len(checks)} replies in {dtype}, at most {parts:.3f} of the tolerance, altered letter seen {seen:.3f}"
        )
        found[dtype] += checks
    return found


def main() -> int:
    """Compares the runs, draws, and prints the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--replies", nargs="*", default=[])
    parser.add_argument("--model")
    parser.add_argument("--resamples", type=int, default=5000)
    words = parser.parse_args()
    targets: dict[str, tuple[float, float]] = {}  # name → value, the most that it may be
    verifiers: dict[str, StoredRun] = {}
    for folder in words.runs:
        run = read(folder)
        dtype = run.manifest["settings"]["dtype"]
        for other, verifier in verifiers.items():
            pairs = paired(verifier, run)
            print(f"{folder} beside the first {other}: {len(pairs)} items, {largest(pairs):.6f} nats apart at most")
        if (verifier := verifiers.setdefault(dtype, run)) is run:
            continue
        pairs = paired(verifier, run)
        shares = resample(pairs, TOLERANCE[dtype], words.resamples)
        print("  " + ", ".join(f"{name} {value:.4f}" for name, value in shares.items()))
        error = ERRORS * sqrt(shares["told"] * (1 - shares["told"]) / words.resamples)
        name = Path(folder).name
        targets[f"{name}_of_the_tolerance"] = (largest(pairs) / TOLERANCE[dtype], 0.5)
        targets[f"{name}_false_alarms"] = (shares["alarms"], 0.01)
        targets[f"{name}_caught_off_told"] = (abs(shares["approached"] - shares["told"]), max(error, 0.001))
    for dtype, checks in (judge_replies(words.replies, words.model) if words.replies else {}).items():
        targets[f"{dtype}_replies_of_the_tolerance"] = (max(one.parts for one in checks), 0.5)
    for name, (value, most) in targets.items():
        print(f"{name} value={value:.4f} target={most:.4f} {'met' if value <= most else 'missed'}")
    return int(any(value > most for value, most in targets.values()))


if __name__ == "__main__":
    sys.exit(main())
