"""Real tokens per second of `medllm sft`'s trainer against a padded stock Trainer loop with full logits.

    python benchmarks/training.py [--dialogues FILE] [--rounds N] [--model FOLDER [--count N] [--all]]

Both sides train the same random model (8 layers of width 256, vocabulary 8,000, bfloat16) on the same dialogues in the same
random order with the same labels and optimizer, in turn, in one process; their losses must agree at every step. Without
--dialogues the bundled sample is used. Then rows of 256 to 4,096 tokens are packed with short samples, and the cost of a
token must not depend on the row. The last lines say, one a target: NAME value=… target=… met|missed. Exit 1 if any is
missed. On a GPU a model of the 7B's widths is timed too; without one that is said. With --model a real model is trained
instead, beside the ways in which users run `trl sft`: see real_training.py.
"""

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from datasets import Dataset, disable_progress_bars
from real_training import compare
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from trl import SFTConfig

from medllm_hf.checkpoint.convert import convert
from medllm_hf.checkpoint.tiny import tiny_base
from medllm_hf.data.dialogues import Policy, examine
from medllm_hf.data.files import file_rows
from medllm_hf.training import attention
from medllm_hf.training.prepare import Prepared, prepare
from medllm_hf.training.trainer import ExactTrainer, flatten

SAMPLE = Path(__file__).resolve().parent.parent / "medllm_hf" / "data" / "sample" / "dialogues.jsonl"
VOCABULARY = 8000
SMALL = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 8, "num_attention_heads": 4}
SEVEN_B = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 4, "num_attention_heads": 32}
LOOP = {
    "num_train_epochs": 1, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "optim": "adamw_torch", "weight_decay": 0.0,
    "report_to": "none", "save_strategy": "no", "logging_steps": 1, "bf16": False, "gradient_checkpointing": False, "seed": 1,
    "disable_tqdm": True,
}  # fmt: skip
ROWS = (256, 512, 1024, 2048, 4096)


def model(implementation: str, shape: dict, device: str = "cpu") -> LlamaForCausalLM:
    """A random model in bfloat16, the same for both sides."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=VOCABULARY, pad_token_id=0, attn_implementation=implementation, **shape)
    return LlamaForCausalLM._from_config(config, dtype=torch.bfloat16).to(device)


def read_dialogues(path: Path) -> list[list[dict]]:
    """The messages of every usable row of a dialogue file."""
    rows = (examine(path, line, raw, "auto", Policy())[0] for line, raw in file_rows(path))
    return [row["messages"] for row in rows if row]


def stock(prepared: Prepared, tokenizer, batch: int, work: Path, shape: dict) -> tuple[float, list[float]]:
    """Seconds and losses of the padded loop; transformers computes the logits of every place."""
    arguments = TrainingArguments(output_dir=str(work), per_device_train_batch_size=batch, **LOOP)
    rows = prepared.dataset.remove_columns("source")
    collator = DataCollatorForSeq2Seq(tokenizer, padding=True)
    return timed(Trainer(model("sdpa", shape), arguments, collator, rows))


def ours(prepared: Prepared, tokenizer, batch: int, work: Path, shape: dict) -> tuple[float, list[float]]:
    """Seconds and losses of our trainer with the same settings."""
    settings = SFTConfig(
        output_dir=str(work), per_device_train_batch_size=batch, max_length=2048, shuffle_dataset=False, **LOOP
    )
    flatten(settings)
    network = model(attention.NAME, shape)
    rows = prepared.dataset
    return timed(ExactTrainer(network, settings, train_dataset=rows, processing_class=tokenizer, sources=prepared.sources))


def timed(trainer: Trainer) -> tuple[float, list[float]]:
    """Wall seconds of `train()` and the loss of every step."""
    started = time.monotonic()
    trainer.train()
    return time.monotonic() - started, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def compared(prepared: Prepared, tokenizer, batch: int, rounds: int, work: Path) -> float:
    """The median over the rounds of our real tokens per second over the stock loop's.

    Raises:
        SystemExit: the two sides do not compute the same losses.
    """
    ratios = []
    for _ in range(rounds):
        slow, losses = stock(prepared, tokenizer, batch, work, SMALL)
        fast, own = ours(prepared, tokenizer, batch, work, SMALL)
        apart = max(abs(a - b) for a, b in zip(losses, own, strict=True))
        if apart > 0.01:  # bfloat16 keeps 8 bits
            sys.exit(f"losses {apart} apart")
        ratios.append(slow / fast)
        rates = f"padded {prepared.tokens / slow:.0f}, ours {prepared.tokens / fast:.0f} real tokens/s"
        print(f"batch {batch}: {rates}, losses at most {apart:.1e} apart", flush=True)
    return statistics.median(ratios)


def row_costs(rounds: int) -> dict[int, float]:
    """Row length → median seconds a token, forward and backward, of rows filled with samples of 64 to 128 tokens.

    A step holds as many rows as make 4,096 tokens, which the trainer lays into one, so that what a step costs beside its
    tokens is the same for all lengths.
    """
    network, generator = model(attention.NAME, SMALL), torch.Generator().manual_seed(0)
    costs: dict[int, list[float]] = {length: [] for length in ROWS}
    for turn in range(5 * rounds + 1):
        for length in ROWS:
            sizes = [size for _ in range(max(ROWS) // length) for size in filled(length, generator)]
            started = time.monotonic()
            run_row(network, sizes, generator)
            if turn:  # the first one warms up
                costs[length].append((time.monotonic() - started) / max(ROWS))
    return {length: statistics.median(values) for length, values in costs.items()}


def filled(length: int, generator: torch.Generator) -> list[int]:
    """Sizes of 64 to 128 that make `length` together."""
    sizes: list[int] = []
    while (left := length - sum(sizes)) > 0:
        size = int(torch.randint(64, 129, (), generator=generator))
        sizes.append(size if left - size >= 64 else min(left, 128))
    return sizes


def run_row(network, sizes: list[int], generator: torch.Generator) -> None:
    """One forward and backward over a row of samples of `sizes`; every second place is trained."""
    ids = torch.randint(0, VOCABULARY, (1, sum(sizes)), generator=generator)
    positions = torch.cat([torch.arange(size) for size in sizes])[None]
    places = torch.arange(0, ids.shape[1] - 1, 2)
    logits = network(ids, position_ids=positions, use_cache=False, logits_to_keep=places).logits[0].float()
    torch.nn.functional.cross_entropy(logits, ids[0, places + 1]).backward()
    network.zero_grad()


def gpu_figures() -> str:
    """Tokens per second and model FLOPs of 4 layers of the 7B's widths on a GPU, or that there is none."""
    if not torch.cuda.is_available():
        return "7B widths on a GPU: not measured, there is none here"
    network = model("sdpa", SEVEN_B, "cuda")
    ids = torch.randint(0, VOCABULARY, (4, 2048), device="cuda")
    for turn in range(12):
        if turn == 2:
            torch.cuda.synchronize()
            started = time.monotonic()
        network(ids, labels=ids, use_cache=False).loss.backward()
        network.zero_grad()
    torch.cuda.synchronize()
    rate = 10 * ids.numel() / (time.monotonic() - started)
    flops = rate * (6 * sum(weight.numel() for weight in network.parameters()) + 12 * 4 * 4096 * 2048)
    return f"7B widths, 4 layers, {torch.cuda.get_device_name()}: {rate:.0f} tokens/s, {flops / 1e12:.1f} model TFLOP/s"


def main() -> int:
    """Prepares the dialogues, runs both sides and prints the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dialogues", type=Path, default=SAMPLE, help="dialogue file (default: the bundled sample)")
    parser.add_argument("--rounds", type=int, help="default: 3, of a real model 1")
    parser.add_argument("--count", type=int, default=8, help="with --model: so many of the dialogues (default: 8)")
    parser.add_argument("--model", metavar="FOLDER", help="a real model; the others are then not run")
    parser.add_argument(
        "--all", action="store_true", help="with --model: also the slow ways that say where each factor comes from"
    )
    options = parser.parse_args()
    if options.model:
        return compare(options.model, options.dialogues, options.rounds or 1, options.count, options.all)
    options.rounds = options.rounds or 3
    torch.set_num_threads(os.cpu_count())
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    disable_progress_bars()
    attention.register()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tiny_base(str(work / "source"), layers=1, hidden=64, vocab=VOCABULARY)
        convert(str(work / "source"), str(work / "base"))
        tokenizer = AutoTokenizer.from_pretrained(work / "base")
        prepared = prepare(Dataset.from_dict({"messages": read_dialogues(options.dialogues)}), tokenizer, 2048)
        print(f"{len(prepared.dataset)} dialogues, {prepared.tokens} tokens, {prepared.trained_tokens} trained", flush=True)
        speedups = {batch: compared(prepared, tokenizer, batch, options.rounds, work / "out") for batch in (8, 16)}
    costs = row_costs(options.rounds)
    for length, seconds in costs.items():
        print(f"rows of {length}: {1e6 * seconds:.0f} µs a token")
    print(gpu_figures())
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {os.cpu_count()} cores")
    spread = max(abs(cost / statistics.mean(costs.values()) - 1) for cost in costs.values())
    met = [speedups[8] >= 1.85, speedups[16] >= 2.15, spread <= 0.10]
    values = [
        ("speedup_batch_8", speedups[8], ">=1.85"),
        ("speedup_batch_16", speedups[16], ">=2.15"),
        ("row_cost_spread", spread, "<=0.10"),
    ]
    for (name, value, target), good in zip(values, met, strict=True):
        print(f"{name} value={value:.2f} target={target} {'met' if good else 'missed'}")
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
