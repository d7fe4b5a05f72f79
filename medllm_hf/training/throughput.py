"""What a finished run did per second: tokens, model FLOPs, their share of the device's peak, and memory."""

import platform
import resource
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import BatchSampler
from transformers import PreTrainedConfig

if TYPE_CHECKING:
    from medllm_hf.training.trainer import ExactTrainer

# Dense bf16 FLOPs per second at full clocks, by the name that CUDA gives the device. Where NVIDIA prints the figure with
# sparsity, half of it. Source: NVIDIA's data sheets of A100, H100, H200 and L40S; appendix of its Ada white paper for the 4090.
PEAKS = {
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA GeForce RTX 4090": 165.2e12,
}
# Batches that are built again to count their padding.
BATCHES = 200


def parameter_numbers(model: torch.nn.Module) -> tuple[int, int]:
    """How many parameters a forward uses, and how many of them are trained; whole also where ranks share them.

    A module that PEFT trains whole stands beside its frozen original, which no forward uses.
    """
    total = trained = 0
    for name, parameter in model.named_parameters():
        if ".original_module." in name:
            continue
        number = getattr(parameter, "ds_numel", parameter.numel())
        if type(parameter).__name__ == "Params4bit":
            number *= 2 * parameter.element_size()
        total += number
        trained += number if parameter.requires_grad else 0
    return total, trained


def attended_length(dataset: Dataset) -> float:
    """The length of the sample that a token stands in, mean over all tokens: Σ length² / Σ length."""
    tokens = squares = 0
    for batch in dataset.select_columns(["input_ids"]).with_format("arrow").iter(10_000):
        lengths = np.asarray(batch["input_ids"].combine_chunks().value_lengths(), dtype=np.int64)
        tokens += int(lengths.sum())
        squares += int((lengths**2).sum())
    return squares / tokens


def flops_per_token(config: PreTrainedConfig, parameters: int, trained: int, length: float) -> float:
    """Model FLOPs of one trained token: forward and backward, nothing recomputed.

    4 x parameters + 2 x trained parameters + 12 x layers x width of the attention x length of the sample. When all are
    trained, that is PaLM's 6 x parameters + 12 x layers x heads x head size x length; a frozen parameter has no gradient.

    Source: PaLM, appendix B, https://arxiv.org/abs/2204.02311
    """
    text = config.get_text_config()
    heads = text.num_attention_heads
    width = heads * (getattr(text, "head_dim", None) or text.hidden_size // heads)
    return 4 * parameters + 2 * trained + 12 * text.num_hidden_layers * width * length


def real_token_share(trainer: "ExactTrainer") -> float:
    """Real tokens over places, in batches that the trainer's own sampler and collator build: all, or the first `BATCHES`."""
    batches: Iterable = trainer._get_train_sampler() or ()
    if trainer.args.train_sampling_strategy != "batch_rebalance":  # whose sampler hands out batches itself
        batches = BatchSampler(batches, trainer.args.per_device_train_batch_size, drop_last=False)
    real = places = 0
    for batch in islice(batches, BATCHES):
        rows = [trainer.train_dataset[i] for i in batch]
        real += sum(len(row["input_ids"]) for row in rows)
        places += torch.as_tensor(trainer.data_collator(rows)["input_ids"]).numel()
    return real / places


def device_name() -> str:
    """The name of the device that this rank trained on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def peak_memory() -> int:
    """The most bytes that this rank held at once: tensors on its GPU, or without one all memory of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # bytes there, KiB on Linux
