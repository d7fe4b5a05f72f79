"""Exam runs made up for the tests of the report, in the format of the run folder."""

import json
import random
from pathlib import Path

from medllm_hf.evaluation.commands.report import report
from medllm_hf.evaluation.exams.derive import derive, read_questions_asked
from medllm_hf.evaluation.runs.folder import write_jsonl
from medllm_hf.folders import write_json
from medllm_hf.reporting.phrases import Language

SETTINGS = {
    **{"mode": "likelihood", "score": "letter", "normalization": "none", "shots": 0, "seed": 0},
    **{
        "shuffle_options": False,
        "circular": False,
        "chat_template": True,
        "reply_prefix": "答案：",
        "prompt_sha256": "ab" * 32,
    },
}
SUBJECTS = ("内科", "外科", "药理")


def question(rng: random.Random, number: int, subject: str | None = None, kind: str = "single", options: int = 0) -> dict:
    """A question with four or five options; its text and options name it, so that no two are equal."""
    labels = "ABCDE"[: options or rng.choice((4, 5))]
    answer = rng.choice(labels) if kind == "single" else "".join(sorted(rng.sample(labels, 2)))
    return {
        "id": f"q{number}",
        "question": f"第{number}题：下列哪一项正确？",
        "options": {label: f"选项文字{number}之{label}" for label in labels},
        "answer": answer,
        "subject": subject or SUBJECTS[number % len(SUBJECTS)],
        "kind": kind,
    }


def questions(count: int, seed: int = 0, **fixed) -> list[dict]:
    """`count` questions; keys are spread evenly by chance."""
    rng = random.Random(seed)
    return [question(rng, number, **fixed) for number in range(count)]


def shown(item: dict, order: str, rotation: int = 0) -> dict:
    """The row of scores.jsonl of an item shown in `order`, without a prediction."""
    labels = list(item["options"])
    return {
        "id": item["id"],
        "rotation": rotation,
        "order": order,
        "reference": "".join(sorted(label for label, own in zip(labels, order, strict=True) if own in item["answer"])),
        "group": item["subject"],
        "kind": item["kind"],
        "question": item["question"],
        "options": [{"label": label, "text": item["options"][own]} for label, own in zip(labels, order, strict=True)],
    }


def as_shown(items: list[dict], shuffle: int | None = None, circular: bool = False) -> list[dict]:
    """The rows of all items: in their own order, shuffled by a seed, or in all rotations."""
    rows = []
    for item in items:
        own = list(item["options"])
        if shuffle is not None:
            random.Random(f"{shuffle} {item['id']}").shuffle(own)
        for i in range(len(own) if circular else 1):
            rows.append(shown(item, "".join(own[i:] + own[:i]), i))
    return rows


def answered(rows: list[dict], answer) -> list[dict]:
    """The rows with what `answer(row)` predicts."""
    return [{**row, "prediction": answer(row)} for row in rows]


def run_folder(folder: Path, scores: list[dict], data: dict | None = None, model: str = "tiny", **settings) -> Path:
    """A finished run folder of `scores`, its metrics by the real metric."""
    folder.mkdir(parents=True)
    manifest = {
        "kind": "mcq",
        "model": {"id": model, "weights_sha256": "cd" * 32},
        "data": {"name": "exam.jsonl", "split": None, "sha256": "ef" * 32, "n": len({row["id"] for row in scores})}
        | (data or {}),
        "settings": SETTINGS | settings,
        "started": "2026-01-02T03:04:05Z",
        "ended": "2026-01-02T03:05:05Z",
        "versions": {},
        "hardware": {},
    }
    write_json(folder / "manifest.json", manifest)
    outputs = [output(row, manifest["settings"]["mode"]) for row in scores]
    write_jsonl(folder / "outputs.jsonl", outputs)
    write_jsonl(folder / "scores.jsonl", scores)
    write_json(folder / "metrics.json", derive(read_questions_asked(scores), outputs).metrics)
    return folder


def output(row: dict, mode: str) -> dict:
    """The raw output that a row's prediction follows from."""
    kept = {key: row[key] for key in ("id", "rotation", "order")}
    if mode != "likelihood":
        return kept | {"reply": row["prediction"], "finish": "stop"}
    letters = {option["label"] for option in row["options"]} | {row["prediction"]}
    return kept | {"logprobs": {letter: 0.0 if letter == row["prediction"] else -9.5 for letter in sorted(letters)}}


def right_with(probability: float, seed: int):
    """An answerer that is right with `probability` and else chooses any wrong option alike; single-answer questions only."""
    rng = random.Random(seed)

    def answer(row: dict) -> str:
        labels = [option["label"] for option in row["options"]]
        wrong = [label for label in labels if label != row["reference"]]
        return row["reference"] if rng.random() < probability else rng.choice(wrong)

    return answer


def two_runs(tmp_path: Path, **settings) -> tuple[Path, Path]:
    """A weak and a strong run on 90 questions, the second with other settings if wanted."""
    rows = as_shown(questions(90))
    weak = run_folder(tmp_path / "weak", answered(rows, right_with(0.3, 1)))
    return weak, run_folder(tmp_path / "strong", answered(rows, right_with(0.8, 2)), **settings)


def reported(tmp_path: Path, *folders: Path, out: str = "out", language: Language = "en") -> tuple[dict, str]:
    """The results and the text of the report over `folders`."""
    report([str(folder) for folder in folders], str(tmp_path / out), language)
    folder = tmp_path / out
    return json.loads((folder / "results.json").read_text(encoding="utf-8")), (folder / "report.md").read_text(encoding="utf-8")
