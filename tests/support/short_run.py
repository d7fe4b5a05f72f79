"""A training run of a few steps on a tiny model: its questions, its dataset of two sources, and the command."""

import json
from pathlib import Path

from support.paths import SAMPLE
from support.ranks import finished

from medllm_hf.data.exam_prompts import REPLY_PREFIX
from medllm_hf.data.mcq import McqItem, load_items

# One name that is neither ASCII nor safe in a Markdown table.
EXAM, CONSULTATION = "exam", "问诊|<b>"
STOCK = {
    "dtype": "float32",
    "bf16": "False",
    "gradient_checkpointing": "False",
    "learning_rate": "0.001",
    "warmup_steps": "4",
    "max_length": "512",
    "per_device_train_batch_size": "8",
    "logging_steps": "1",
    "report_to": "none",
}


def write_questions(path: Path) -> list[McqItem]:
    """Eight single-answer questions of the sample whose answer is not A, also written to `path`."""
    source = SAMPLE / "questions_train.jsonl"
    chosen = [item for item in load_items(str(source)) if item.kind == "single" and "A" not in item.answer][:8]
    names = {item.id for item in chosen}
    lines = [line for line in source.read_text(encoding="utf-8").splitlines() if json.loads(line)["id"] in names]
    path.write_text("\n".join(lines), encoding="utf-8")
    return chosen


def write_dataset(folder: Path, items: list[McqItem]) -> dict[str, list[dict]]:
    """Two splits in `folder`, also returned: every question answered with A, which is wrong, and as many consultations.

    In the test split the answer is B, since no dialogue may be in both.
    """
    lines = (SAMPLE / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()[: 2 * len(items)]
    consultations = [{"source": CONSULTATION, "messages": json.loads(line)["conversation"][:2]} for line in lines]
    exam = [
        {
            "source": EXAM,
            "messages": [
                {"role": "user", "content": item.prompt(options=True)},
                {"role": "assistant", "content": REPLY_PREFIX["zh"] + letter},
            ],
        }
        for letter in "AB"
        for item in items
    ]
    count = len(items)
    splits = {"train": exam[:count] + consultations[:count], "test": exam[count:][:3] + consultations[count:][:5]}
    folder.mkdir()
    for name, rows in splits.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return splits


def sft(base: Path, data: Path, out: Path, ranks: int = 1, **options: object) -> str:
    """What a finished `medllm sft` with the `options` added to `STOCK` printed; its logs lie beside `out`."""
    named = {"model_name_or_path": base, "dataset_name": data, "output_dir": out, **STOCK, **options}
    words = [word for key, value in named.items() for word in (f"--{key}", *str(value).split())]
    return finished(out.with_name(out.name + "-logs"), *words, ranks=ranks, seconds=300).text()
