"""Exam items per second and memory of our likelihoods against lm-evaluation-harness, on the same prompts and model.

    python benchmarks/mcq.py [--items N] [--rounds N] [--dtype float32|bfloat16] [--model FOLDER --questions FILE]

The model is a random Llama of 33 million weights (8 layers of width 512, vocabulary 8,000); the prompts are bundled questions
as chat turns, letters are scored, five-shot (at least 600 tokens of examples) and zero-shot. With --model and --questions they
are a checkpoint and a question file of one's own. Each side runs in a process of its own with the same threads and allocator
settings, ours in the batches of `eval mcq`; the harness gets the fastest of several batch sizes. Start and loading are not
timed, tokenising is. Both sides must choose the same letters; in bfloat16, in which values are rounded, where the harness's
best two values differ by more than both sides' values do. Tokens are those that pass a model's embedding. The last lines
say, one a target:
NAME value=… target=… met|missed. Exit 1 if any is missed.
"""

import argparse
import json
import os
import random
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
from medllm_hf.evaluation.exams.batching import BatchLimits, tokens_for
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
    """Writes the random model and its tokenizer to `folder`, and its prompts."""
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
    write_prompts(folder, tokenizer, items, examples)


def given(folder: Path, model: Path, questions: str, items: int) -> None:
    """Links a checkpoint into `folder` and writes the prompts of a question file.

    They are drawn at random; the examples are long enough for LEAST_SHOT_TOKENS in five.
    """
    (folder / "model").symlink_to(model.resolve())
    tokenizer = AutoTokenizer.from_pretrained(model)
    found = [item for item in load_items(questions) if item.kind == "single"]
    random.Random(0).shuffle(found)  # so that half of the questions are as long as the other half
    least = LEAST_SHOT_TOKENS // 5
    examples = [item for item in found[items:] if len(tokenizer(item.prompt(options=True))["input_ids"]) >= least][-10:]
    if len(examples) < 10:
        sys.exit(f"{len(found)} questions with one answer in {questions}; {items} and ten more of {least} tokens are needed")
    write_prompts(folder, tokenizer, found[:items], examples)


def write_prompts(folder: Path, tokenizer, items: list[McqItem], examples: list[McqItem]) -> None:
    """Writes the prompts for 0, 1, 5 and 10 shots to `prompts.json`."""
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

    def __init__(self, folder: Path, dtype: str):
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self.network = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
        self._limits = BatchLimits(tokens_for("cpu", self.network.num_parameters()))

    def __call__(self, rows: list[list[str]], batch: int) -> list[list[float]]:
        questions = []
        for start, *letters in rows:
            ids = self._tokenizer([start, *(start + letter for letter in letters)], add_special_tokens=False)["input_ids"]
            questions.append(Question(ids[0], ids[1:]))
        return [values for _, values in sorted(log_probabilities(self.network, questions, self._limits))]


class Harness:
    """The same by lm-evaluation-harness."""

    def __init__(self, folder: Path, dtype: str):
        from lm_eval.models.huggingface import HFLM

        self._model = HFLM(pretrained=str(folder), device="cpu", dtype=dtype, batch_size=1, max_length=4096)
        self.network = self._model.model

    def __call__(self, rows: list[list[str]], batch: int) -> list[list[float]]:
        from lm_eval.api.instance import Instance

        self._model.batch_size_per_gpu = batch
        pairs = [(start, letter) for start, *letters in rows for letter in letters]
        requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
        values = iter(value for value, _ in self._model.loglikelihood(requests, disable_tqdm=True))
        return [[next(values) for _ in row[1:]] for row in rows]


def child(side: str, folder: Path, dtype: str, jobs: list[list[int]]) -> None:
    """Prints, as JSON, seconds, tokens and values of each job [shots, items, batch], and the process's peak memory in MB."""
    torch.set_num_threads(os.cpu_count())
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    prompts = json.loads((folder / "prompts.json").read_text())
    run = {"ours": Ours, "harness": Harness}[side](folder / "model", dtype)
    run(prompts["0"][-2:], 1)
    done, tokens = [], [0]

    def count(_module, inputs, _output) -> None:
        tokens[0] += inputs[0].numel()

    run.network.get_input_embeddings().register_forward_hook(count)
    for shots, items, batch in jobs:
        started, tokens[0] = time.monotonic(), 0
        values = run(prompts[str(shots)][:items], batch)
        done.append({"seconds": time.monotonic() - started, "tokens": tokens[0], "values": values})
    status = Path("/proc/self/status").read_text()
    print(json.dumps({"jobs": done, "peak": int(status.split("VmHWM:")[1].split()[0]) / 1e3}))


def measured(side: str, folder: Path, dtype: str, *jobs: tuple[int, int, int]) -> dict:
    """What `child` prints, from a fresh process after a rest."""
    time.sleep(REST)
    command = [sys.executable, __file__, "--child", side, str(folder), dtype, json.dumps(jobs)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **ALLOCATOR, **QUIET})
    return json.loads(done.stdout.splitlines()[-1])


def best_batches(folder: Path, dtype: str) -> dict[int, int]:
    """Shots → the batch size with which the harness is fastest."""
    tried = [(shots, 8 if shots else 32, batch) for shots in (0, 5) for batch in BATCHES if batch <= (8 if shots else 32)]
    rates: dict[int, dict[int, float]] = {0: {}, 5: {}}
    for (shots, items, batch), job in zip(tried, measured("harness", folder, dtype, *tried)["jobs"], strict=True):
        rates[shots][batch] = items / job["seconds"]
        print(f"harness, {shots} shots, batch {batch}: {rates[shots][batch]:.2f} items/s", flush=True)
    return {shots: max(found, key=found.get) for shots, found in rates.items()}


def compared(folder: Path, dtype: str, job: tuple[int, int, int], rounds: int) -> tuple[float, float]:
    """The medians over the rounds of our items per second, and of our memory, over the harness's.

    Args:
        job: shots, items and the harness's batch size.

    Raises:
        SystemExit: the sides choose different letters.
    """
    shots, items, _ = job
    speedups, memory = [], []
    for _ in range(rounds):
        sides = {side: measured(side, folder, dtype, job) for side in ("harness", "ours")}
        values = {side: one["jobs"][0]["values"] for side, one in sides.items()}
        pairs = list(zip(values["harness"], values["ours"], strict=True))
        apart = max(abs(a - b) for one, two in pairs for a, b in zip(one, two, strict=True))
        chosen = [[max(range(len(row)), key=row.__getitem__) for row in one] for one in values.values()]
        differ = [row for row, *pair in zip(values["harness"], *chosen, strict=True) if len(set(pair)) > 1]
        rounding = 2 * apart if dtype == "bfloat16" else 0.0
        if wrong := [row for row in differ if sorted(row)[-1] - sorted(row)[-2] > rounding]:
            sys.exit(f"{len(wrong)} of {items} choices differ, values {apart:.1e} apart")
        seconds = {side: one["jobs"][0]["seconds"] for side, one in sides.items()}
        speedups.append(seconds["harness"] / seconds["ours"])
        memory.append(sides["ours"]["peak"] / sides["harness"]["peak"])
        figures = (f"{side} {items / seconds[side]:.2f} items/s, {sides[side]['peak']:.0f} MB" for side in sides)
        computed = [sides[side]["jobs"][0]["tokens"] for side in ("harness", "ours")]
        alike = f"{items - len(differ)} of {items} choices the same, values at most {apart:.1e} apart"
        print(f"{shots} shots: {'; '.join(figures)}; {alike}; tokens {computed[0]} and {computed[1]}, ", end="")
        print(f"ratio {computed[0] / computed[1]:.2f}", flush=True)
    return statistics.median(speedups), statistics.median(memory)


def growth(folder: Path, dtype: str, items: int, rounds: int) -> tuple[float, float]:
    """The medians of our time for twice the items, and for twice the shots (ten over five)."""
    jobs = [(5, items // 2, 0), (5, items // 2 * 2, 0), (10, items // 2 * 2, 0)]
    seconds = [job["seconds"] for job in measured("ours", folder, dtype, *jobs * (rounds + 1))["jobs"]][len(jobs) :]
    half, whole, more = (statistics.median(seconds[i :: len(jobs)]) for i in range(len(jobs)))
    print(f"ours: {items // 2} items {half:.2f} s, {items // 2 * 2} items {whole:.2f} s, with ten shots {more:.2f} s")
    return whole / half, more / whole


def main() -> int:
    """Prepares model and prompts, runs both sides and prints the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--model", type=Path, help="a checkpoint folder in place of the random one")
    parser.add_argument("--questions", help="its questions")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        side, place, dtype, jobs = options.child
        child(side, Path(place), dtype, json.loads(jobs))
        return 0
    if bool(options.model) != bool(options.questions):
        parser.error("--model and --questions go together")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dtype, items, rounds = options.dtype, options.items, options.rounds
        if options.model:
            given(folder, options.model, options.questions, items)
        else:
            prepared(folder, dtype)
        batches = best_batches(folder, dtype)
        five, five_memory = compared(folder, dtype, (5, items, batches[5]), rounds)
        zero, zero_memory = compared(folder, dtype, (0, items, batches[0]), rounds)
        items_ratio, shots_ratio = growth(folder, dtype, items, rounds)
    least_five, least_zero = (7, 1.5) if options.model else (6, 1.2)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {os.cpu_count()} cores, {options.dtype}")
    values = [
        ("five_shot_speedup", five, f">={least_five}", five >= least_five),
        ("zero_shot_speedup", zero, f">={least_zero}", zero >= least_zero),
        ("memory_ratio", max(five_memory, zero_memory), "<=1.2", max(five_memory, zero_memory) <= 1.2),
        ("time_items_ratio", items_ratio, "<=2.3", items_ratio <= 2.3),
        ("time_shots_ratio", shots_ratio, "<2", shots_ratio < 2),
    ]
    for name, value, target, good in values:
        print(f"{name} value={value:.2f} target={target} {'met' if good else 'missed'}")
    return int(not all(good for *_, good in values))


if __name__ == "__main__":
    sys.exit(main())
