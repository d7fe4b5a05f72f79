"""What a built folder says of itself: the card, screening.md and the picture."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
from support.made import STEM, families, messy, read_back, row, rows_of, write

from medllm_hf.data.benchmarks.read import check_card
from medllm_hf.data.build import build
from medllm_hf.data.card import histogram
from medllm_hf.folders import sha256


def test_the_card_is_valid_and_tells_what_was_done(tmp_path):
    rows, held_out = messy(tmp_path)
    inputs = [rows, write(tmp_path / "many.jsonl", families(random.Random(6), 300))]
    build(inputs, str(tmp_path / "out"), "cc-by-4.0", benchmarks=[held_out])
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    data = check_card(text).to_dict()
    assert (data["license"], data["language"], data["task_categories"]) == ("cc-by-4.0", ["zh"], ["text-generation"])
    assert data["size_categories"] == ["1K<n<10K"] and "medical" in data["tags"]
    files = data["configs"][0]["data_files"]
    written = {path.name.split("-")[0]: path for path in (tmp_path / "out" / "data").iterdir()}
    assert [(one["split"], one["path"]) for one in files] == [
        (name, f"data/{written[name].name}") for name in ("train", "test")
    ]
    assert all(path.stem == f"{name}-{sha256(path)[:16]}" for name, path in written.items())
    for path in map(Path, inputs):
        assert f"- `{path.name}`: `{sha256(path)}`" in text
    assert f"Looked for the 1 questions of held_out.jsonl (`{sha256(Path(held_out))}`)" in text
    assert "Not looked for: names of people, postal addresses, and record, visit and order numbers." in text
    sources = Counter(one["source"] for one in rows_of(tmp_path / "out"))
    shown = sorted(sources.items(), key=lambda source: (-source[1], source[0]))
    assert all(f"| {name} | {count} |" in text for name, count in shown[:50])
    assert f"| {len(shown) - 50} others | {sum(count for _, count in shown[50:])} |" in text
    for name, part in read_back(tmp_path / "out").items():
        turns = [turn["content"] for one in part for turn in one["messages"]]
        assert f"| {name} | {len(part)} | {len(turns)} | {sum(map(len, turns))} |" in text
    assert str(tmp_path) not in text + (tmp_path / "out" / "screening.md").read_text(encoding="utf-8")


def test_the_card_says_which_held_out_questions_were_not_looked_for(tmp_path):
    rows = [row(f"头痛{n}天了怎么办", "请休息，多喝水", source="b") for n in "一二三"]
    question = {"question": STEM, "options": ["甲", "乙"], "answer": "A"}
    bank = write(tmp_path / "q.jsonl", [question, {**question, "image": "7.png"}])
    build([write(tmp_path / "rows.jsonl", rows)], str(tmp_path / "out"), "other", benchmarks=[bank])
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "Looked for the 1 questions of q.jsonl" in text and "; not for the others there: 1 needs an image." in text


def test_third_party_text_cannot_break_the_pages(tmp_path):
    nasty = "![x](http://example.com/x.png) <img src=x> | a\n# title {braces} `code`"
    asked = nasty.replace("![", "[").replace(".png", "").replace("<img", "<object")  # else it needs the picture
    question = {"id": nasty, "question": STEM + asked, "options": {"A": asked, "B": "乙"}, "answer": "A", "subject": nasty}
    rows = [row(STEM + nasty, "好", source=nasty), row("头痛两天了", "请休息", source="b")]
    bank = write(tmp_path / "q.jsonl", [question])
    build([write(tmp_path / "rows.jsonl", rows)], str(tmp_path / "out"), "mit", benchmarks=[bank], on_overlap="keep")
    for name in ("README.md", "screening.md"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "<img" not in text and "![x]" not in text and "\n# title" not in text
        assert "{braces}" in text
    assert check_card((tmp_path / "out" / "README.md").read_text(encoding="utf-8")).license == "mit"


def test_lengths_are_drawn_the_same_each_time(tmp_path):
    lengths = np.array([5, 50, 500, 5000])
    for name in "ab":
        histogram(lengths, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
