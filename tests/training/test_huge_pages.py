"""`medllm sft` has torch put tensors into huge pages, where the system lets it."""

import subprocess
import sys
from pathlib import Path

import pytest

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PROGRAM = """
from medllm_hf.errors import UserError
from medllm_hf.training.sft import sft
try:
    sft(["--dataset_name", "x"])  # refused, after torch was imported
except UserError as error:
    assert "model_name_or_path" in str(error)
import torch
table = torch.ones(100_000_000)
print(next(line.split()[1] for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHugePages")))
"""


@pytest.mark.skipif(
    not SWITCH.exists() or "[madvise]" not in SWITCH.read_text(), reason="huge pages are not for the asking here"
)
def test_tensors_lie_in_huge_pages():
    """In kB, of a table of 400,000 kB."""
    process = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(process.stdout) > 300_000
