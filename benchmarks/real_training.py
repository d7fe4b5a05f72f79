"""Real tokens a second of LoRA on a real model: `trl sft` in the ways its users run it, and `medllm sft`; part of training.py.

    python benchmarks/training.py --model FOLDER [--dialogues FILE] [--rounds N] [--count N] [--all]

Each way is a process of its own that trains one epoch over the same dialogues with the same ids and labels by the settings of
recipes/qwen3-0.6b/lora.yaml (rank 16 on all linear layers, dropout 0.05, bfloat16, batches of 8), after its first batch was
trained on once to warm it up. The ways are a ladder: each mends one thing more, so the factors between them name the causes.
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

LENGTH = 1024
TARGET = 1.5
FEW = {"micro": 2, "checkpointing": False, "huge_pages": True}
# Way → what differs from `trl sft` as it comes. `once` is measured in the first round only, `more` only with --all.
WAYS: dict[str, dict] = {
    "stock": {"once": True},
    "stock, length-grouped": {"once": True, "more": True, "grouped": True},
    "stock, padding-free": {"once": True, "more": True, "padding_free": True},
    "stock, packed": {"once": True, "packing": True},
    "stock + huge pages": {"once": True, "more": True, "huge_pages": True},
    "stock + huge pages, no checkpointing": FEW,
    "the same, length-grouped": FEW | {"grouped": True},
    "the same, length-grouped, without autocast": FEW | {"grouped": True, "autocast": False, "more": True},
    "the same, padding-free": FEW | {"grouped": True, "padding_free": True},
    "the same, packed": FEW | {"packing": True, "micro": 1},
    "the same, length-grouped, transformers' Trainer": FEW | {"grouped": True, "side": "trainer"},
    "medllm, checkpointing": {"side": "ours", "grouped": True, "huge_pages": True, "once": True},
    "medllm, LoRA as PEFT has it": FEW | {"side": "ours", "grouped": True, "fused": False, "more": True},
    "medllm": FEW | {"side": "ours", "grouped": True},
}


def settings_of(way: dict, work: str):
    """The SFTConfig of a way."""
    from trl import SFTConfig

    micro = way.get("micro", 8)
    settings = SFTConfig(
        output_dir=work, num_train_epochs=1, per_device_train_batch_size=micro, gradient_accumulation_steps=8 // micro,
        learning_rate=2e-4, lr_scheduler_type="constant", weight_decay=0.0, bf16=way.get("autocast", True), use_cpu=True,
        seed=42, report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True,
        gradient_checkpointing=way.get("checkpointing", True),
        train_sampling_strategy="group_by_length" if way.get("grouped") else "random", packing=way.get("packing", False),
        padding_free=way.get("padding_free", False), max_length=None if way.get("padding_free") else LENGTH,
    )  # fmt: skip
    settings.model_init_kwargs = {"dtype": "bfloat16"}
    return settings


def trainer_of(way: dict, model: str, rows, sources: list[str], tokenizer, work: str):
    """The trainer of a way, ready to train."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer, TrainingArguments
    from trl import SFTTrainer

    from medllm_hf.training import attention, trainer

    settings = settings_of(way, work)
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapter = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=modules, task_type="CAUSAL_LM")
    if way.get("side") == "ours":
        if not way.get("fused", True):
            trainer.fuse = lambda model: 0
        attention.register()
        trainer.flatten(settings)
        settings.model_init_kwargs["attn_implementation"] = attention.NAME
        parts = {"train_dataset": rows, "processing_class": tokenizer, "sources": sources, "peft_config": adapter}
        return trainer.ExactTrainer(model, settings, **parts)
    rows = rows.remove_columns("source")
    if way.get("side") == "trainer":
        names = {name for name in TrainingArguments.__dataclass_fields__ if TrainingArguments.__dataclass_fields__[name].init}
        values = {name: value for name, value in vars(settings).items() if name in names and not name.startswith("_")}
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype="bfloat16", trust_remote_code=False)
        arguments = TrainingArguments(**values)
        return Trainer(get_peft_model(loaded, adapter), arguments, DataCollatorForSeq2Seq(tokenizer, padding=True), rows)
    return SFTTrainer(model, settings, train_dataset=rows, processing_class=tokenizer, peft_config=adapter)


def measure(name: str, model: str, dialogues: Path, count: int) -> dict:
    """What one way did: real tokens, trained tokens, seconds, peak memory in GB and the mean loss."""
    way = WAYS[name]
    import torch
    import transformers
    from datasets import Dataset, disable_progress_bars
    from training import read_dialogues
    from transformers import AutoTokenizer

    from medllm_hf.training.prepare import count_tokens, prepare
    from medllm_hf.training.throughput import peak_memory

    torch.set_num_threads(os.cpu_count())
    transformers.logging.set_verbosity_error()
    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    prepared = prepare(Dataset.from_dict({"messages": read_dialogues(dialogues)}), tokenizer, LENGTH)
    rows = prepared.dataset
    rows = rows.select(range(0, len(rows), max(1, len(rows) // count))[:count])
    with tempfile.TemporaryDirectory() as work:
        trainer = trainer_of(way, model, rows, prepared.sources, tokenizer, work)
        seconds = timed(trainer)
    tokens, trained = count_tokens(rows)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    memory = peak_memory() / 1e9
    return {"tokens": tokens, "trained": trained, "seconds": seconds, "memory": memory, "loss": statistics.mean(losses)}


def timed(trainer) -> float:
    """Seconds of `train()` after its first batch was trained on once to warm up: memory is then there, kernels are chosen."""
    step, started = trainer.training_step, []

    def warmed(model, inputs, *rest):
        if not started:
            step(model, dict(inputs), *rest)
            model.zero_grad()
            started.append(time.monotonic())
        return step(model, inputs, *rest)

    trainer.training_step = warmed
    trainer.train()
    return time.monotonic() - started[0]


def compare(model: str, dialogues: Path, rounds: int, count: int, everything: bool) -> int:
    """Runs all ways in turn, prints the table and the targets; 1 if a target was missed."""
    results: dict[str, list[dict]] = {name: [] for name, way in WAYS.items() if everything or not way.get("more")}
    for turn in range(rounds):
        for name, seen in results.items():
            if turn and WAYS[name].get("once"):
                continue
            command = [sys.executable, __file__, name, "--model", model, "--dialogues", str(dialogues), "--count", str(count)]
            environment = os.environ | {"OMP_NUM_THREADS": str(os.cpu_count()), "PYTHONWARNINGS": "ignore"}
            environment["THP_MEM_ALLOC_ENABLE"] = "1" if WAYS[name].get("huge_pages") else "0"
            process = subprocess.run(command, env=environment, capture_output=True, text=True)
            if process.returncode:
                print(f"{name}: exit code {process.returncode}: {process.stderr.strip().splitlines()[-1:]}", flush=True)
                continue
            seen.append(json.loads(process.stdout.strip().splitlines()[-1]))
            last = seen[-1]
            rate = last["tokens"] / last["seconds"]
            print(f"{name}: {rate:.1f} real tokens/s, {last['memory']:.1f} GB, loss {last['loss']:.3f}", flush=True)
    rates = {name: statistics.median(r["tokens"] / r["seconds"] for r in seen) for name, seen in results.items() if seen}
    first = next(iter(rates.values()))
    some = next(seen[0] for seen in results.values() if seen)
    print(f"\n{some['tokens']} tokens, {some['trained']} of them trained, {rounds} rounds")
    print("| | real tokens a second | over the first | peak memory, GB |\n|---|---|---|---|")
    for name, rate in rates.items():
        memory = max(r["memory"] for r in results[name])
        print(f"| {name} | {rate:.1f} | {rate / first:.2f} | {memory:.1f} |")
    others = {name: rate for name, rate in rates.items() if not name.startswith("medllm")}
    stock = {name: rate for name, rate in others.items() if WAYS[name].get("side") != "trainer"}
    missed = 0
    for title, rivals, target in (("never_slower", others, 1.0), ("speedup_real", stock, TARGET)):
        best = max(rivals, key=rivals.get)
        ratio = rates["medllm"] / rivals[best]
        missed += ratio < target
        print(f"{title} value={ratio:.2f} target=>={target} {'met' if ratio >= target else 'missed'} (over: {best})")
    return int(missed > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="one way, in a process of its own")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--dialogues", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    print(json.dumps(measure(options.way, options.model, options.dialogues, options.count)))
