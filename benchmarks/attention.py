"""Every attention for flattened rows on this machine: equal to the loop over samples, and how fast at the 7B's widths.

    python benchmarks/attention.py

One script of at most ten minutes on a GPU. Equality: values and gradients of each implementation in bfloat16 against the loop
in float32, over rows of several lengths, with as many and with fewer key-value heads, with a sliding window; changing one
sample must leave the others bit by bit. Speed: forward and backward of one layer's attention at the 7B's widths. The last
lines say, one a target: NAME value=… target=… met|missed; exit 1 if any is missed. Without a GPU only what runs on a CPU is
compared, the values alone for flex attention, which has no backward there; that is said, and the exit code is 0.
"""

import sys
import time
from itertools import accumulate

import torch
import transformers
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, LlamaConfig

from medllm_hf.training import attention
from medllm_hf.training.attention_choice import FLASH, FLEX, Machine, choose, obstacle, this_machine

LENGTHS = ((7, 1, 13, 5), (128, 128, 128), (1, 1000, 37, 511, 513), (2048,), (300, 1700, 48, 900, 1148))
HEADS = ((32, 32), (32, 8), (14, 2))
WINDOWS = (None, 100)
WIDTH = 128
# Of the largest value: bfloat16 keeps 8 bits.
BOUND = 0.02
TIMED = ((512,) * 16, (64, 1900, 130, 800, 2048, 300, 1000, 1950), (4096, 4096))


class Layer(nn.Module):
    """What an attention function asks of the layer that calls it."""

    is_causal, layer_idx, training = True, 0, False

    def __init__(self, name: str, heads: tuple[int, int], window: int | None):
        super().__init__()
        self.config = LlamaConfig(num_attention_heads=heads[0], num_key_value_heads=heads[1], sliding_window=window)
        self.config._attn_implementation = name
        self.num_key_value_groups = heads[0] // heads[1]


def compute(name: str, tensors: list[torch.Tensor], sizes: tuple[int, ...], window: int | None) -> torch.Tensor:
    """Attention over one row (1, tokens, heads, width) as a model with this implementation computes it."""
    query, key, _ = tensors
    total, device = sum(sizes), query.device
    positions = torch.cat([torch.arange(size, device=device) for size in sizes])[None]
    edges = torch.tensor([0, *accumulate(sizes)], dtype=torch.int32, device=device)
    samples = torch.repeat_interleave(torch.arange(len(sizes), device=device), torch.tensor(sizes, device=device))
    heads = (query.shape[1], key.shape[1])

    def seen(_batch, _head, at, other):
        near = at - other < (window or total)
        return (samples[at] == samples[other]) & (other <= at) & near

    config = Layer(name, heads, window).config
    shape = {"batch_size": 1, "q_length": total, "kv_length": total, "device": device, "dtype": query.dtype}
    mask = AttentionMaskInterface()[name](**shape, mask_function=seen, config=config, allow_is_causal_skip=False)
    boundaries = {"cu_seq_lens_q": edges, "cu_seq_lens_k": edges, "max_length_q": max(sizes), "max_length_k": max(sizes)}
    options = {"position_ids": positions, "sliding_window": window, "scaling": WIDTH**-0.5, **boundaries}
    return AttentionInterface()[name](Layer(name, heads, window), *tensors, mask, dropout=0.0, **options)[0]


def random_row(sizes: tuple[int, ...], heads: tuple[int, int], device: str) -> list[torch.Tensor]:
    """Query, key and value (1, heads, tokens, width) in bfloat16."""
    generator = torch.Generator().manual_seed(sum(sizes))
    shapes = [(1, number, sum(sizes), WIDTH) for number in (heads[0], heads[1], heads[1])]
    return [torch.randn(shape, generator=generator).bfloat16().to(device) for shape in shapes]


def apart(name: str, sizes: tuple[int, ...], heads: tuple[int, int], window: int | None, device: str, backward: bool) -> float:
    """The largest difference from the loop in float32, of values and gradients, over the largest value of each."""
    results = []
    for implementation, dtype in ((attention.NAME, torch.float32), (name, torch.bfloat16)):
        tensors = [tensor.to(dtype, copy=True).requires_grad_(backward) for tensor in random_row(sizes, heads, device)]
        out = compute(implementation, tensors, sizes, window)
        if backward:
            pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
            (out * pull.to(device, dtype)).sum().backward()
        results.append([out.detach(), *(tensor.grad for tensor in tensors if backward)])
    return max(((a.float() - b.float()).abs().max() / a.abs().max()).item() for a, b in zip(*results, strict=True))


@torch.no_grad()
def leak(name: str, sizes: tuple[int, ...], device: str) -> float:
    """The largest change in the other samples when the first one changes."""
    tensors = random_row(sizes, (32, 8), device)
    before = compute(name, tensors, sizes, None)
    after = compute(
        name,
        [torch.cat([tensor[:, :, : sizes[0]].flip(1) + 1, tensor[:, :, sizes[0] :]], 2) for tensor in tensors],
        sizes,
        None,
    )
    return (after - before)[:, sizes[0] :].abs().max().item()


def milliseconds(name: str, sizes: tuple[int, ...]) -> float:
    """Median milliseconds of one layer's forward and backward on the GPU."""
    tensors = [tensor.requires_grad_() for tensor in random_row(sizes, (32, 32), "cuda")]
    times = []
    for turn in range(13):
        torch.cuda.synchronize()
        started = time.monotonic()
        compute(name, tensors, sizes, None).sum().backward()
        torch.cuda.synchronize()
        if turn > 2:
            times.append(1e3 * (time.monotonic() - started))
    return sorted(times)[len(times) // 2]


def main() -> int:
    """Compares what runs here, times it on a GPU, and prints the targets."""
    attention.register()
    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    machine = this_machine(torch.device(device), "bfloat16") if gpu else Machine("cpu", "bfloat16")
    fused = [name for name in (*FLASH, attention.VARLEN, FLEX) if obstacle(name, machine) is None]
    names = [attention.NAME, *fused] if gpu else [attention.NAME, FLEX]
    targets = []
    for name in names:
        backward = gpu or name != FLEX
        cases = [(sizes, heads, window) for sizes in LENGTHS for heads in HEADS for window in WINDOWS]
        cases = cases if gpu else cases[:4]
        worst = max(apart(name, *case, device, backward) for case in cases)
        leaked = max(leak(name, sizes, device) for sizes in LENGTHS[: 3 if gpu else 1] if len(sizes) > 1)
        print(
            f"{name}: {len(cases)} cases, at most {worst:.1e} from the loop in float32, other samples changed by {leaked}",
            flush=True,
        )
        targets += [(f"equal_{name}", worst, f"<={BOUND}", worst <= BOUND), (f"leak_{name}", leaked, "==0", leaked == 0)]
    if gpu:
        rates = {name: [milliseconds(name, sizes) for sizes in TIMED] for name in [*names, "sdpa"]}
        for name, row in rates.items():
            print(f"{name}: " + ", ".join(f"{value:.2f} ms for {sizes}" for value, sizes in zip(row, TIMED, strict=True)))
        faster = min(a / b for a, b in zip(rates[attention.NAME], rates[choose(None, machine)], strict=True))
        targets.append((f"loop_over_{choose(None, machine)}", faster, ">=1", faster >= 1))
        print(torch.cuda.get_device_name(), end=", ")
    else:
        print("not run on a GPU: there is none here")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    for name, value, target, met in targets:
        print(f"{name} value={value:.2g} target={target} {'met' if met else 'missed'}")
    return int(not all(met for *_, met in targets))


if __name__ == "__main__":
    sys.exit(main())
