"""Dialogues made up for the tests of screening and building, and what a built folder holds."""

import importlib.util
import json
import random
from pathlib import Path

from pyarrow import parquet
from support.paths import ROOT

from medllm_hf.data.screening.near_duplicates import GRAM

MOBILE, EMAIL = "13812345678", "zhang.san@example.com"
STEM = "诊断急性心肌梗死特异性最高的血清标志物是"
LETTERS = [chr(code) for code in range(0x4E00, 0x4E00 + 1500)]


def generator():
    """The benchmark's generator of dialogues and questions."""
    spec = importlib.util.spec_from_file_location("data_benchmark", ROOT / "benchmarks" / "data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shingles(text: str) -> set[str]:
    return {text[i : i + GRAM] for i in range(len(text) - GRAM + 1)}


def jaccard(one: set[str], two: set[str]) -> float:
    return len(one & two) / len(one | two)


def text_of(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(LETTERS, k=length))


def edited(rng: random.Random, text: str, edits: int) -> str:
    """`text` with letters exchanged, put in or left out."""
    letters = list(text)
    for _ in range(edits):
        place = rng.randrange(len(letters))
        kind = rng.choice(("exchange", "insert", "delete"))
        if kind == "insert":
            letters.insert(place, rng.choice(LETTERS))
        elif kind == "delete":
            del letters[place]
        else:
            letters[place] = rng.choice(LETTERS)
    return "".join(letters)


def row(asked: str, answered: str, **more) -> dict:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}], **more}


def families(rng: random.Random, count: int) -> list[dict]:
    """Dialogues, each with one to four lightly edited copies, in mixed order; `source` names the family."""
    rows = []
    for i in range(count):
        text = text_of(rng, rng.randint(80, 300))
        for edits in [0, *(rng.randint(1, 2) for _ in range(rng.randint(1, 4)))]:
            rows.append(row("请问", edited(rng, text, edits), source=f"f{i}"))
    rng.shuffle(rows)
    return rows


def write(path: Path, rows: list) -> str:
    """Writes rows as JSON lines, a text as it is; returns the path."""
    lines = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def read_back(folder: Path) -> dict[str, list[dict]]:
    """The rows of each split of a built folder."""
    return {file.stem.partition("-")[0]: parquet.read_table(file).to_pylist() for file in sorted((folder / "data").iterdir())}


def rows_of(folder: Path) -> list[dict]:
    return [row for part in read_back(folder).values() for row in part]


def problems(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "problems.jsonl").read_text(encoding="utf-8").splitlines()]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def sides(folder: Path) -> dict[str, set[str]]:
    """For each source the splits in which it has rows."""
    found: dict[str, set[str]] = {}
    for name, part in read_back(folder).items():
        for one in part:
            found.setdefault(one["source"], set()).add(name)
    return found


def messy(folder: Path) -> tuple[str, str]:
    """A file with rows of every fate, and one with the held-out question of one of them."""
    rng = random.Random(3)
    good = [row(text_of(rng, 60), text_of(rng, 200), id=f"g{i}", source="made") for i in range(40)]
    near = row(good[2]["messages"][0]["content"], edited(rng, good[2]["messages"][1]["content"], 2))
    held_out = {"id": "q7", "question": STEM, "options": {"A": "心肌肌钙蛋白", "B": "乳酸脱氢酶"}, "answer": "A"}
    rows = [
        *good,
        "{broken",
        {"messages": []},
        {"messages": [*good[0]["messages"], {"role": "user", "content": "还有"}]},  # then an exact duplicate
        good[1],
        near,
        row(f"我的手机号是{MOBILE}，邮箱 {EMAIL}", "好的，稍后给您回电话。"),
        row(f"想请教一下，{STEM}什么？", "是心肌肌钙蛋白。"),
        row("发热三天，" + text_of(rng, 30), "请测体温。", id=MOBILE, source=f"由{MOBILE}提供"),
    ]
    return write(folder / "messy.jsonl", rows), write(folder / "held_out.jsonl", [held_out])
