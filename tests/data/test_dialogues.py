"""Dialogues and questions: the bundled sample, the real 163, and rows that cannot be used."""

import json
from pathlib import Path

import pytest
from datasets import load_dataset
from support.commands import one_line_error, run
from support.paths import SAMPLE

from medllm_hf.data.build import build
from medllm_hf.data.commands.check import check
from medllm_hf.data.mcq import item_from_row, load_items
from medllm_hf.errors import UserError

DIALOGUES, TRAIN, TEST = (str(SAMPLE / name) for name in ("dialogues.jsonl", "questions_train.jsonl", "questions_test.jsonl"))


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_sample_is_as_large_and_varied_as_promised():
    rows = [json.loads(line) for line in Path(DIALOGUES).read_text(encoding="utf-8").splitlines()]
    rounds = [len(row["conversation"]) // 2 for row in rows]
    assert len(rows) >= 120
    assert len({row["condition"] for row in rows}) >= 40
    assert len({row["department"] for row in rows}) >= 8
    assert min(rounds) == 1 and max(rounds) >= 3
    questions = load_items(TRAIN) + load_items(TEST)
    assert len(questions) >= 160
    assert sum(item.kind == "multi" for item in questions) >= 20
    assert all(item.subject for item in questions)


def test_held_out_questions_ask_the_same_facts_in_other_words():
    train, test = load_items(TRAIN), load_items(TEST)
    for seen, held_out in zip(train, test, strict=True):
        assert held_out.id.removeprefix("sample-test-") == seen.id.removeprefix("sample-train-")
        right = {held_out.options[letter] for letter in held_out.answer}
        assert right == {seen.options[letter] for letter in seen.answer}
        assert set(held_out.options.values()) & set(seen.options.values()) == right
    text = (SAMPLE / "dialogues.jsonl").read_text(encoding="utf-8") + "".join(item.question for item in train)
    assert [item.id for item in test if item.question in text] == []
    letters = [next(iter(item.answer)) for item in test if item.kind == "single"]
    assert all(10 <= letters.count(letter) <= 35 for letter in "ABCDE")


def test_sample_builds_and_loads(tmp_path):
    build([DIALOGUES, TRAIN], str(tmp_path / "dataset"), license="apache-2.0")
    dataset = load_dataset(str(tmp_path / "dataset"), cache_dir=str(tmp_path / "cache"))
    assert set(dataset) == {"train", "test"}
    assert sum(split.num_rows for split in dataset.values()) == 260
    assert dataset["train"].column_names == ["id", "source", "messages"]
    held_out = {item.question for item in load_items(TEST)}
    asked = {turn["content"] for split in dataset.values() for row in split for turn in row["messages"]}
    assert held_out & asked == set()


def test_same_input_and_seed_give_the_same_bytes(tmp_path):
    for name in "ab":
        build([DIALOGUES, TRAIN], str(tmp_path / name), license="mit", test_fraction=0.1, seed=7)
    files = [file.relative_to(tmp_path / "a") for file in sorted((tmp_path / "a").rglob("*")) if file.is_file()]
    assert len(files) == 6
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_real_dialogues(disc, tmp_path):
    source = str(disc / "disc_med_sft_163.jsonl")
    done = run("medllm", "data", "build", source, "--out", "dataset", "--license", "apache-2.0", cwd=tmp_path)
    assert "accepted 160, repaired 3, rejected 0" in done.stdout
    dataset = load_dataset(str(tmp_path / "dataset"), cache_dir=str(tmp_path / "cache"))
    assert all(row["messages"][-1]["role"] == "assistant" for split in dataset.values() for row in split)


@pytest.mark.slow
def test_real_dialogues_train(disc, tiny, tmp_path):
    """Stock `trl sft` on the dataset folder, for a few steps."""
    build([str(disc / "disc_med_sft_163.jsonl")], str(tmp_path / "dataset"), license="apache-2.0")
    recipe = SAMPLE.parents[2] / "recipes" / "tiny" / "sft_full.yaml"
    done = run(
        *("trl", "sft", "--config", str(recipe), "--model_name_or_path", str(tiny["base"])),
        *("--dataset_name", str(tmp_path / "dataset"), "--output_dir", str(tmp_path / "trained")),
        *("--max_steps", "4", "--logging_steps", "1"),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "trained" / "model.safetensors").exists()
    assert (tmp_path / "trained" / "chat_template.jinja").read_text() == (tiny["base"] / "chat_template.jinja").read_text()
    assert done.stdout.count("'loss'") >= 4


GOOD = [{"role": "user", "content": "头痛"}, {"role": "assistant", "content": "多久了？"}]


def test_every_row_read_is_accounted_for(tmp_path):
    rows = [
        {"conversation": GOOD},
        {"conversation": [*GOOD, GOOD[0]]},
        {"conversation": GOOD, "_id": "x"},
        {"conversation": None},
    ]
    build([write_rows(tmp_path / "rows.jsonl", rows)], str(tmp_path / "out"), license="mit", test_fraction=0)
    dataset = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert dataset["train"].num_rows == 1  # the three are exact duplicates after the cut


def test_nothing_usable_writes_nothing(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [{"x": 1}])
    assert "no usable dialogue" in one_line_error(
        run("medllm", "data", "build", path, "--out", "out", "--license", "mit", cwd=tmp_path)
    )
    assert not (tmp_path / "out").exists()


def test_question_prompts_to_the_byte():
    row = {"id": 1, "question": "选药", "options": {"A": "甲", "B": "乙", "C": "丙"}, "answer": "CA", "subject": "内科"}
    item = item_from_row(row)
    assert (item.kind, item.answer, item.option_text(item.answer)) == ("multi", frozenset("AC"), "甲、丙")
    assert item.prompt(options=False) == "选药"
    assert item.prompt(options=True) == "请回答下面的多项选择题，写出所有正确选项的字母。\n选药\nA. 甲\nB. 乙\nC. 丙"


def test_bad_questions_are_named_by_line(tmp_path):
    good = {"id": "1", "question": "q", "options": {"A": "1", "B": "2"}, "answer": "A"}
    with pytest.raises(UserError, match="line 2"):
        load_items(write_rows(tmp_path / "a.jsonl", [good, {**good, "id": "2", "answer": ""}]))
    with pytest.raises(UserError, match="twice"):
        load_items(write_rows(tmp_path / "b.jsonl", [good, good]))


def test_two_datasets_in_folders_of_one_name_are_not_taken_for_each_other(tmp_path):
    """The cache of `datasets` knows a local folder by its name and the names of its files."""
    for part, answer in (("a", "多久了？"), ("b", "哪里痛？")):
        rows = [{"messages": [{"role": "user", "content": "头痛"}, {"role": "assistant", "content": answer}]}]
        path = write_rows(tmp_path / f"{part}.jsonl", rows)
        build([path], str(tmp_path / part / "dataset"), "mit", test_fraction=0)
        loaded = load_dataset(str(tmp_path / part / "dataset"), cache_dir=str(tmp_path / "cache"))
        assert loaded["train"][0]["messages"][1]["content"] == answer


@pytest.mark.parametrize("said", ["NA", " n/a ", "nan", "NULL"])
def test_what_a_table_writes_for_nothing_is_no_answer(said, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    rows = [{"question": "求比值比", "answer": said}, {"question": "头痛怎么办？", "answer": "多休息。"}]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert check([str(path)]) == 1
    assert f"{said.strip()} in place of a text" in capsys.readouterr().out
