"""Where the project, its sample and what is shared beside it lie, and what keeps libraries offline."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
GOLDEN = SHARED / "golden" / "baichuan2-tiny"
DISC = SHARED / "data" / "disc-medllm"
SAMPLE = ROOT / "medllm_hf" / "data" / "sample"
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
