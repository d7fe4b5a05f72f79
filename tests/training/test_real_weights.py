"""Real chat models: the curve of stock `trl sft`, and the same model after the merge. MEDLLM_REAL names their folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from support.paths import OFFLINE, ROOT, SAMPLE
from transformers import AutoModelForCausalLM, AutoTokenizer

from medllm_hf.chat import ChatSession

REAL = os.environ.get("MEDLLM_REAL")
STEPS, LENGTH = 6, 160
RECIPE = ROOT / "recipes" / "qwen3-0.6b" / "lora.yaml"
# Set so that both sides see the same batches and no dropout; the rest is the recipe's.
SETTINGS = {
    "max_steps": STEPS, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "warmup_steps": 2,
    "lora_dropout": 0, "max_length": LENGTH, "train_sampling_strategy": "sequential", "assistant_only_loss": "false",
    "use_cpu": "true", "dataset_num_proc": 1, "logging_steps": 1, "eval_strategy": "no", "save_steps": STEPS,
    "report_to": "none",
}  # fmt: skip
# Largest difference of a step's loss in nats. float32 keeps 24 bits and only the order of sums differs; bfloat16 keeps 8.
BOUNDS = {"float32": 1e-4, "bfloat16": 0.03}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL, reason="MEDLLM_REAL names no folder with real models"),
]


@pytest.fixture(scope="module", params=["qwen-0.5b", "smollm2-135m"])
def base(request) -> Path:
    folder = Path(REAL or "") / request.param
    if not (folder / "tokenizer_config.json").exists():
        pytest.skip(f"no {folder}")
    return folder


@pytest.fixture(scope="module")
def dataset(base, tmp_path_factory) -> Path:
    """Dialogues of the sample with ids and labels made by hand, which both sides take as they are."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    lines = (SAMPLE / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()[: 2 * STEPS]
    rows = []
    for messages in (json.loads(line)["conversation"] for line in lines):
        ids = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
        labels = [-100] * len(ids)
        for i in (i for i, message in enumerate(messages) if message["role"] == "assistant"):
            prompt = tokenizer.apply_chat_template(messages[:i], add_generation_prompt=True, return_dict=True)["input_ids"]
            end = len(tokenizer.apply_chat_template(messages[: i + 1], return_dict=True)["input_ids"])
            labels[len(prompt) : end] = ids[len(prompt) : end]
        rows.append({"input_ids": ids[:LENGTH], "labels": labels[:LENGTH]})
    folder = tmp_path_factory.mktemp("ready")
    Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    return folder


def run(module: str, base: Path, dataset: Path, out: Path, dtype: str) -> list[float]:
    """The losses of every step of `python -m module` by the LoRA recipe."""
    settings = SETTINGS | {"model_name_or_path": base, "dataset_name": dataset, "output_dir": out, "dtype": dtype}
    settings["bf16"] = str(dtype == "bfloat16").lower()
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    environment = os.environ | OFFLINE | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", *module.split(), "--config", str(RECIPE), *options]
    process = subprocess.run(command, env=environment, cwd=out.parent, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    state = json.loads((out / f"checkpoint-{STEPS}" / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


@pytest.fixture(scope="module")
def trained(base, dataset, tmp_path_factory) -> Path:
    """Our adapter, trained in float32."""
    out = tmp_path_factory.mktemp("ours") / "adapter"
    out.with_suffix(".json").write_text(json.dumps(run("medllm_hf sft", base, dataset, out, "float32")), encoding="utf-8")
    return out


@pytest.mark.parametrize("dtype", BOUNDS)
def test_the_loss_curve_is_that_of_trl_sft(dtype, base, dataset, trained, tmp_path):
    if dtype == "float32":
        own = json.loads(trained.with_suffix(".json").read_text(encoding="utf-8"))
    else:
        own = run("medllm_hf sft", base, dataset, tmp_path / "ours", dtype)
    stock = run("trl.scripts.sft", base, dataset, tmp_path / "stock", dtype)
    apart = max(abs(a - b) for a, b in zip(own, stock, strict=True))
    print(f"{base.name}, {dtype}: ours {own}, stock {stock}, at most {apart:.1e} apart")
    assert len(own) == STEPS
    assert apart <= BOUNDS[dtype]


def test_the_merged_model_answers_as_the_adapter_does(base, trained, tmp_path):
    merged = tmp_path / "merged"
    command = [sys.executable, "-m", "medllm_hf", "merge", str(trained), str(merged), "--base", str(base), "--dtype", "float32"]
    subprocess.run(command, env=os.environ | OFFLINE | {"PYTHONPATH": str(ROOT)}, check=True)
    tokenizer = AutoTokenizer.from_pretrained(merged)
    before = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    before.load_adapter(str(trained))
    after = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    ids = tokenizer("高血压患者日常要注意什么？", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        apart = (before(input_ids=ids).logits - after(input_ids=ids).logits).abs().max().item()
    print(f"{base.name}: logits at most {apart:.1e} apart after the merge")
    assert apart <= 1e-3
    answers = []
    for model in (before, after):
        session = ChatSession(model, tokenizer, temperature=0.0, max_new_tokens=24)
        answers.append("".join(session.stream("感冒了能不能喝咖啡？")))
    print(f"{base.name}: {answers[1]!r}")
    assert answers[0] == answers[1]
