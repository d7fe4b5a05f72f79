"""How far honest computations of an exam part, and which altered ones `verify --rerun` then finds: --model, on this CPU.

    python benchmarks/rerun.py --model FOLDER --questions FILE --out DIR [--items N] [--replies N] [--precisions …]

Runs are made by `medllm eval mcq`: honest ones in each precision with other batches and other kernels (switches of torch,
oneDNN and MKL), and runs of other weights (every matrix moved by 0.3% or 3% of its spread), by another template and by another
prompt. They are kept in DIR, and those that are there are not made again. Then each answer is computed again as `verify` does,
and every published run is tested in 5,000 draws of 60 answers, with replacement: as it is, and edited. Of edits of single
answers 5% of the answers are edited, of the others all. Written replies, of the first --replies questions, are judged as they
are and edited. The last lines say, one a target: NAME value=… target=… met|missed. Exit 1 if any is missed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from medllm_hf.cli import main
from medllm_hf.evaluation.exams.derive import StoredRun, stored_run
from medllm_hf.evaluation.exams.outputs import PRESENT
from medllm_hf.evaluation.exams.prompts import Prompts
from medllm_hf.evaluation.exams.thoughts import default_thinking
from medllm_hf.evaluation.exams.weights import load_network
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.verification.power import (
    ALARMS,
    ALTERED,
    FEW,
    LEAST,
    WIDER,
    Apart,
    bound_of,
    caught,
    chance,
    check_items,
    systematic,
)
from medllm_hf.evaluation.verification.reply_check import compare_replies
from medllm_hf.evaluation.verification.rerun import approached, compare, compute_again, in_float32
from medllm_hf.pretrained import load_tokenizer

DRAWN, RESAMPLES = 60, 5000
ERRORS = 4  # standard errors of a share that is drawn
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
# MKL, which multiplies in float32, is turned by neither of the others.
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
# Honest ways to compute: flags, environment, share of the items.
WAYS: dict[str, tuple[list[str], dict[str, str], float]] = {
    "usual": ([], {}, 1.0),
    "batches": (["--batch-tokens", "300"], {}, 1.0),
    "avx2": ([], AVX2, 0.25),
    "plain": ([], PLAIN, 0.25),
}
# Models that are not the published one: by how much each matrix is moved, in parts of its spread, and what its template adds.
OTHERS: dict[str, tuple[float, str]] = {
    "moved0.3%": (0.003, ""),
    "moved3%": (0.03, ""),
    "template": (0.0, "{{ '请回答。' }}"),
}
WRITTEN = ["--mode", "reply", "--max-new-tokens", "32"]


@dataclass(frozen=True)
class Bench:
    """What is run on what; `out` keeps the runs."""

    model: Path
    questions: Path
    out: Path
    items: int
    replies: int

    def run(self, name: str, model: Path, dtype: str, items: int, flags: Sequence[str], env: dict[str, str]) -> StoredRun:
        """The run of that name, made by the command line if it is not there."""
        folder = self.out / name
        if not (folder / "metrics.json").is_file():
            words = ["--model", model, "--data", self.questions, "--limit", items, "--out", folder, "--dtype", dtype, *flags]
            command = ["eval", "mcq", *map(str, words)]
            if env:  # it is read when torch is loaded
                subprocess.run(
                    [sys.executable, "-m", "medllm_hf", *command],
                    env={**os.environ, **env},
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
            else:
                with redirect_stdout(StringIO()):
                    assert main(command) == 0
        return stored_run(str(folder), read_run(folder))

    def other(self, name: str) -> Path:
        """The model with other weights or another template."""
        folder, (moved, words) = self.out / f"model-{name}", OTHERS[name]
        if not folder.is_dir():
            made = shutil.copytree(self.model, self.out / "making", dirs_exist_ok=True)
            weights = load_file(made / "model.safetensors")
            torch.manual_seed(0)
            for key, one in weights.items() if moved else ():
                weights[key] = (one.float() + moved * one.float().std() * torch.randn(one.shape)).to(one.dtype)
            save_file(weights, made / "model.safetensors", {"format": "pt"})
            template = made / "chat_template.jinja"
            template.write_text(words + template.read_text(encoding="utf-8"), encoding="utf-8")
            made.rename(folder)
        return folder

    def prompts(self, stored: StoredRun) -> Prompts:
        """How the published model's tokenizer makes the prompts of a run."""
        tokenizer, settings = load_tokenizer(self.model), stored.manifest["settings"]
        mode = "reply" if settings["mode"] != "likelihood" else "likelihood"
        told = settings["chat_template"], mode, settings.get("enable_thinking", default_thinking(tokenizer, mode))
        return Prompts(tokenizer, {}, settings["score"], *told)


def exchanged(values: dict, answer: str) -> dict:
    """The best two log-probabilities, one in the place of the other."""
    second, best = sorted(values, key=values.__getitem__)[-2:]
    return {**values, best: values[second], second: values[best]}


def corrected(values: dict, answer: str) -> dict:
    """The right answer and the best one moved until they meet; where these are one, the least."""
    best = max(values, key=values.__getitem__)
    if best == answer:
        return least(values, answer)
    middle = (values[best] + values[answer]) / 2
    return {**values, best: middle, answer: middle}


def least(values: dict, answer: str) -> dict:
    """The least that changes what is chosen."""
    return approached(values, dict.fromkeys(values, 1))


def sharpened(values: dict, answer: str) -> dict:
    """Log-probabilities as a model a tenth surer of itself would have them: nothing else is chosen."""
    normal = torch.tensor([1.1 * value for value in values.values()]).logsumexp(0).item()
    return {name: 1.1 * value - normal for name, value in values.items()}


def nudged(values: dict, answer: str) -> dict:
    """The right answer raised by 0.05 nats, in every item."""
    return {**values, answer: values[answer] + 0.05}


# Edits of single answers, and those of all.
SINGLE = (least, exchanged, corrected)
WHOLE = (sharpened, nudged)
Again = dict[tuple, tuple[dict, dict]]


def computed_again(bench: Bench, usual: StoredRun, dtype: str) -> Again:
    """What `verify` computes for each question of a run; kept beside the runs."""
    kept = bench.out / f"{dtype}-again.json"
    if not kept.is_file():
        network = load_network(bench.model, "cpu", dtype)
        questions = usual.questions[: bench.items]
        kept.write_text(json.dumps(compute_again(network, bench.prompts(usual), questions)), encoding="utf-8")
    return {one.key: tuple(pair) for one, pair in zip(usual.questions, json.loads(kept.read_text("utf-8")), strict=False)}


def apart(stored: StoredRun, again: Again, edit: Callable[[dict, str], dict] | None = None) -> list[Apart]:
    """How far the answers of a run lie from the exact ones, edited where an edit is given."""
    rows = {(row["id"], row["rotation"]): row["logprobs"] for row in stored.outputs}
    found = []
    for one in stored.questions:
        if one.key not in again:
            continue
        (answer,) = one.item.answer
        values = edit(rows[one.key], answer) if edit else rows[one.key]
        found.append(compare(one, {"logprobs": values}, *again[one.key], "none"))
    return found


def refuted(found: Sequence[Apart]) -> bool:
    return any(one.refuted for one in check_items(found)) or systematic(found) > 0


def share(honest: Sequence[Apart], forged: Sequence[Apart], altered: float, drawn: int = DRAWN) -> float:
    """The share of draws that are `refuted`, where so large a part of the answers is forged; all draws at once."""
    rng = np.random.default_rng(0)
    places = rng.integers(len(honest), size=(RESAMPLES, drawn))
    published = np.array([[one.published for one in rows] for rows in (honest, forged)])
    own = np.array([one.own for one in honest])[places]
    values = published[(rng.random(places.shape) < altered).astype(int), places]
    gross = (values > np.maximum(LEAST, WIDER * own.max(1) * (1 + FEW / drawn))[:, None]).any(1)
    further = (values > np.maximum(LEAST, WIDER * own)).sum(1)
    fewest = next(count for count in range(drawn // 2 + 1, drawn + 2) if chance(count, drawn) < ALARMS)
    return float((gross | (further >= fewest)).mean())


def letters(bench: Bench, dtype: str, targets: dict[str, tuple[float, float, float]]) -> None:
    """Prints what comes of every run in which letters were compared."""
    runs = {
        way: bench.run(f"{dtype}-{way}", bench.model, dtype, int(part * bench.items), flags, env)
        for way, (flags, env, part) in WAYS.items()
    }
    again = computed_again(bench, runs["usual"], dtype)
    for way, stored in runs.items():
        honest = apart(stored, again)
        bound, seen = bound_of(honest), sum(one.seen for one in check_items(honest)) / len(honest)
        further, own = max(one.published for one in honest), max(one.own for one in honest)
        print(f"{dtype} {way}: n={len(honest)}, furthest {further:.6f} (own rounding {own:.6f}, tolerance {bound:.4f})")
        alarms = {drawn: share(honest, honest, 0, drawn) for drawn in (1, 6, DRAWN, 200)}
        print(f"  false alarms by N: {', '.join(f'{drawn}: {value:.4f}' for drawn, value in alarms.items())}")
        targets[f"{dtype}_{way}_false_alarms"] = (max(alarms.values()), 0.0, 0.01)
        told = caught(DRAWN, 10**6, int(ALTERED * 10**6), seen)
        shares = {edit.__name__: share(honest, apart(stored, again, edit), ALTERED) for edit in SINGLE}
        shares |= {edit.__name__: share(honest, apart(stored, again, edit), 1.0) for edit in WHOLE}
        print(f"  least alteration seen in {seen:.3f}, told {told:.4f}; " + _said(shares))
        error = max(0.02, ERRORS * sqrt(told * (1 - told) / RESAMPLES))
        # The power is told by the tolerance of all items; that of the items of a draw is no wider.
        targets[f"{dtype}_{way}_caught"] = (min(shares[edit.__name__] for edit in SINGLE), told - error, 1.0)
    shares = {}
    for name in OTHERS:
        forged = bench.run(f"{dtype}-{name}", bench.other(name), dtype, bench.items // 2, [], {})
        shares[name] = share(apart(forged, again), apart(forged, again), 1.0)
    plain = bench.run(f"{dtype}-no-template", bench.model, dtype, bench.items // 2, ["--no-chat-template"], {})
    shares["other prompt"] = share(apart(plain, again), apart(plain, again), 1.0)
    print(f"  {dtype} refuted: " + _said(shares))
    for name, value in shares.items():
        if name != "moved0.3%":  # shown, not promised
            targets[f"{dtype}_{name}"] = (value, 0.99, 1.0)


def _said(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in shares.items())


def other_letter(row: Any) -> Any:
    """A reply with its last letter changed, where it has one."""
    places = [i for i, sign in enumerate(row["reply"]) if sign in "ABCDE"]
    if not places:
        return row
    at = places[-1]
    letter = "A" if row["reply"][at] != "A" else "B"
    return {**row, "reply": row["reply"][:at] + letter + row["reply"][at + 1 :]}


def cut(row: Any) -> Any:
    """The first half of a reply, as if it had ended there."""
    return {**row, "reply": row["reply"][: len(row["reply"]) // 2], "finish": "stop"}


def replies(bench: Bench, dtype: str, targets: dict[str, tuple[float, float, float]]) -> None:
    """Prints what comes of written replies."""
    names = {
        "usual": (bench.model, []),
        "one by one": (bench.model, ["--batch-size", "1"]),
        "moved3%": (bench.other("moved3%"), []),
    }
    network = load_network(bench.model, "cpu", dtype)
    for name, (model, flags) in names.items():
        stored = bench.run(f"{dtype}-replies-{name.replace(' ', '-')}", model, dtype, bench.replies, [*WRITTEN, *flags], {})
        rows = {(row["id"], row["rotation"]): row for row in stored.outputs}
        for edit in (dict, other_letter, cut) if name == "usual" else (dict,):
            edited: Any = [(one, edit(rows[one.key])) for one in stored.questions]
            drawn = [(one, row) for one, row in edited if edit is dict or row != rows[one.key]]
            new = stored.manifest["settings"]["max_new_tokens"]
            found = compare_replies(network, bench.prompts(stored), drawn, new, PRESENT, in_float32(network))
            checks, honest = check_items(found), edit is dict and name != "moved3%"
            wrong = sum(one.refuted for one in checks)
            seen, furthest = sum(one.seen for one in checks) / len(checks), max(one.published for one in found)
            said = f"{dtype} replies {name}{'' if edit is dict else ', ' + edit.__name__}: {wrong} of {len(found)} refuted"
            print(f"{said}, tolerance {bound_of(found):.4f}, furthest {furthest:.4f}, altered letter seen in {seen:.3f}")
            key = f"{dtype}_replies_{name}_{edit.__name__}".replace(" ", "_")
            if honest or edit is not dict:  # other weights may write the same
                targets[key] = (float(refuted(found)), float(not honest), float(not honest))
            if honest and dtype == "float32":
                targets[f"{key}_logits_below"] = (max(one.published for one in found), 0.0, 0.0005)


def compare_all() -> int:
    """Makes the runs, draws, and prints the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--items", type=int, default=80)
    parser.add_argument("--replies", type=int, default=20)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16", "float16"])
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(words.model, words.questions, words.out, words.items, words.replies)
    targets: dict[str, tuple[float, float, float]] = {}  # name → value, the least and the most that it may be
    for dtype in words.precisions:
        letters(bench, dtype, targets)
        if bench.replies:
            replies(bench, dtype, targets)
    met = {name: low <= value <= high for name, (value, low, high) in targets.items()}
    for name, (value, low, high) in targets.items():
        print(f"{name} value={value:.4f} target={low:.4f}..{high:.4f} {'met' if met[name] else 'missed'}")
    return int(not all(met.values()))


if __name__ == "__main__":
    sys.exit(compare_all())
