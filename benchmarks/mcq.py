"""Exam items per second and memory of our likelihoods against lm-evaluation-harness, on the same prompts and model.

    python benchmarks/mcq.py [--items N] [--rounds N] [--dtype float32|bfloat16]

The model is a random Llama of 33 million weights (8 layers of width 512, vocabulary 8,000); the prompts are bundled questions
as chat turns, letters are scored, five-shot (at least 600 tokens of examples) and zero-shot. Each side runs in a process of
its own with the same threads and allocator settings; the harness gets the fastest of several batch sizes. Start and loading
are not timed, tokenising is. Both sides must choose the same letters. The last lines say, one a target:
NAME value=… target=… met|missed. Exit 1 if any is missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from medllm_hf.checkpoint.convert import convert
from medllm_hf.checkpoint.tiny import tiny_base
from medllm_hf.data.mcq import McqItem, load_items
from medllm_hf.evaluation.exams.likelihood import Question, log_probabilities

SAMPLE = Path(__file__).resolve().parent.parent / "medllm_hf" / "data" / "sample"
SHAPE = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8}
LEAST_SHOT_TOKENS = 600
BATCHES = (1, 2, 4, 8, 16, 32)
# Freed memory stays with the process: this keeps the host of a virtual machine out of both sides' times.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(2**34), "MALLOC_MMAP_THRESHOLD_": str(2**34)}
QUIET = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "LOGLEVEL": "ERROR"}
REST = 5  # seconds before each process


def prepared(folder: Path, dtype: str) -> None:
    """Writes the model and its tokenizer to `folder`, and the prompts for 0, 1, 5 and 10 shots to `prompts.json`."""
    tiny_base(str(folder / "source"), layers=1, hidden=64, vocab=3000)
    convert(str(folder / "source"), str(folder / "model"))
    torch.manual_seed(0)
    # A wider spread than usual: a model that holds all letters for equally likely would show no wrong choice.
    config = LlamaConfig(vocab_size=8000, max_position_embeddings=4096, initializer_range=0.05, pad_token_id=0, **SHAPE)
    LlamaForCausalLM._from_config(config, dtype=getattr(torch, dtype)).save_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    items = [item for name in ("test", "train") for item in load_items(str(SAMPLE / f"questions_{name}.jsonl"))]
    items = [item for item in items if item.kind == "single"]
    items.sort(key=lambda item: len(tokenizer(item.prompt(options=True))["input_ids"]))
    items, examples = items[:-10], items[-10:][::-1]
    items.sort(key=lambda item: item.id)
    prompts = {shots: [[text(tokenizer, item, examples[:shots]), *item.options] for item in items] for shots in (0, 1, 5, 10)}
    lengths = {shots: statistics.mean(len(tokenizer(one[0])["input_ids"]) for one in rows) for shots, rows in prompts.items()}
    print("mean tokens of a prompt by shots:", {shots: round(length) for shots, length in lengths.items()}, flush=True)
    if lengths[5] - lengths[0] < LEAST_SHOT_TOKENS:
        sys.exit(f"five examples of {lengths[5] - lengths[0]:.0f} tokens")
    (folder / "prompts.json").write_text(json.dumps(prompts))


def text(tokenizer, item: McqItem, examples: list[McqItem]) -> str:
    """The prompt as it is tokenised, up to the letter."""
    turns = []
    for one in examples:
        answer = {"role": "assistant", "content": "答案：" + "".join(sorted(one.answer))}
        turns += [{"role": "user", "content": one.prompt(options=True)}, answer]
    turns.append({"role": "user", "content": item.prompt(options=True)})
    return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) + "答案："


class Ours:
    """A function prompts → log-probabilities of each one's letters, by our code."""

    def __init__(self, folder: Path):
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._network = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()

    def __call__(self, rows: list[list[str]], batch: int) -> list[list[float]]:
        questions = []
        for start, *letters in rows:
            ids = self._tokenizer([start, *(start + letter for letter in letters)], add_special_tokens=False)["input_ids"]
            questions.append(Question(ids[0], ids[1:]))
        return [values for _, values in sorted(log_probabilities(self._network, questions))]


class Harness:
    """The same by lm-evaluation-harness."""

    def __init__(self, folder: Path):
        from lm_eval.models.huggingface import HFLM

        self._model = HFLM(pretrained=str(folder), device="cpu", dtype="auto", batch_size=1, max_length=4096)

    def __call__(self, rows: list[list[str]], batch: int) -> list[list[float]]:
        from lm_eval.api.instance import Instance

        self._model.batch_size_per_gpu = batch
        pairs = [(start, letter) for start, *letters in rows for letter in letters]
        requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
        values = iter(value for value, _ in self._model.loglikelihood(requests, disable_tqdm=True))
        return [[next(values) for _ in row[1:]] for row in rows]


def child(side: str, folder: Path, jobs: list[list[int]]) -> None:
    """Prints, as JSON, seconds and values of each job [shots, items, batch], and the process's peak memory in MB."""
    torch.set_num_threads(os.cpu_count())
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    prompts = json.loads((folder / "prompts.json").read_text())
    run = {"ours": Ours, "harness": Harness}[side](folder / "model")
    run(prompts["0"][-2:], 1)
    done = []
    for shots, items, batch in jobs:
        started = time.monotonic()
        values = run(prompts[str(shots)][:items], batch)
        done.append({"seconds": time.monotonic() - started, "values": values})
    status = Path("/proc/self/status").read_text()
    print(json.dumps({"jobs": done, "peak": int(status.split("VmHWM:")[1].split()[0]) / 1e3}))


def measured(side: str, folder: Path, *jobs: tuple[int, int, int]) -> dict:
    """What `child` prints, from a fresh process after a rest."""
    time.sleep(REST)
    command = [sys.executable, __file__, "--child", side, str(folder), json.dumps(jobs)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **ALLOCATOR, **QUIET})
    return json.loads(done.stdout.splitlines()[-1])


def best_batches(folder: Path) -> dict[int, int]:
    """Shots → the batch size with which the harness is fastest."""
    tried = [(shots, 8 if shots else 32, batch) for shots in (0, 5) for batch in BATCHES if batch <= (8 if shots else 32)]
    rates: dict[int, dict[int, float]] = {0: {}, 5: {}}
    for (shots, items, batch), job in zip(tried, measured("harness", folder, *tried)["jobs"], strict=True):
        rates[shots][batch] = items / job["seconds"]
        print(f"harness, {shots} shots, batch {batch}: {rates[shots][batch]:.2f} items/s", flush=True)
    return {shots: max(found, key=found.get) for shots, found in rates.items()}


def compared(folder: Path, shots: int, items: int, batch: int, rounds: int) -> tuple[float, float]:
    """The medians over the rounds of our items per second, and of our memory, over the harness's.

    Raises:
        SystemExit: the sides choose different letters.
    """
    speedups, memory = [], []
    for _ in range(rounds):
        sides = {side: measured(side, folder, (shots, items, batch)) for side in ("harness", "ours")}
        values = {side: one["jobs"][0]["values"] for side, one in sides.items()}
        pairs = list(zip(values["harness"], values["ours"], strict=True))
        apart = max(abs(a - b) for one, two in pairs for a, b in zip(one, two, strict=True))
        chosen = [[max(range(len(row)), key=row.__getitem__) for row in one] for one in values.values()]
        if chosen[0] != chosen[1]:
            sys.exit(f"{sum(a != b for a, b in zip(*chosen, strict=True))} of {items} choices differ, values {apart:.1e} apart")
        seconds = {side: one["jobs"][0]["seconds"] for side, one in sides.items()}
        speedups.append(seconds["harness"] / seconds["ours"])
        memory.append(sides["ours"]["peak"] / sides["harness"]["peak"])
        figures = (f"{side} {items / seconds[side]:.2f} items/s, {sides[side]['peak']:.0f} MB" for side in sides)
        print(f"{shots} shots: {'; '.join(figures)}; same choices, values at most {apart:.1e} apart", flush=True)
    return statistics.median(speedups), statistics.median(memory)


def growth(folder: Path, items: int, rounds: int) -> tuple[float, float]:
    """The medians of our time for twice the items, and for twice the shots (ten over five)."""
    jobs = [(5, items // 2, 0), (5, items // 2 * 2, 0), (10, items // 2 * 2, 0)]
    seconds = [job["seconds"] for job in measured("ours", folder, *jobs * (rounds + 1))["jobs"]][len(jobs) :]
    half, whole, more = (statistics.median(seconds[i :: len(jobs)]) for i in range(len(jobs)))
    print(f"ours: {items // 2} items {half:.2f} s, {items // 2 * 2} items {whole:.2f} s, with ten shots {more:.2f} s")
    return whole / half, more / whole


def main() -> int:
    """Prepares model and prompts, runs both sides and prints the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]), json.loads(options.child[2]))
        return 0
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared(folder, options.dtype)
        batches = best_batches(folder)
        five, five_memory = compared(folder, 5, options.items, batches[5], options.rounds)
        zero, zero_memory = compared(folder, 0, options.items, batches[0], options.rounds)
        items_ratio, shots_ratio = growth(folder, options.items, options.rounds)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {os.cpu_count()} cores, {options.dtype}")
    values = [
        ("five_shot_speedup", five, ">=6", five >= 6),
        ("zero_shot_speedup", zero, ">=1.2", zero >= 1.2),
        ("memory_ratio", max(five_memory, zero_memory), "<=1.2", max(five_memory, zero_memory) <= 1.2),
        ("time_items_ratio", items_ratio, "<=2.3", items_ratio <= 2.3),
        ("time_shots_ratio", shots_ratio, "<2", shots_ratio < 2),
    ]
    for name, value, target, good in values:
        print(f"{name} value={value:.2f} target={target} {'met' if good else 'missed'}")
    return int(not all(good for *_, good in values))


if __name__ == "__main__":
    sys.exit(main())
