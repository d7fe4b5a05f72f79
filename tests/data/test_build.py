"""Dataset folders: every row accounted for, nothing personal left, near-duplicates on one side, ids unique."""

import json
import random

import pytest
from datasets import load_dataset
from pyarrow import parquet
from support.commands import one_line_error, run
from support.made import (
    EMAIL,
    MOBILE,
    STEM,
    bytes_of,
    families,
    jaccard,
    messy,
    problems,
    read_back,
    row,
    rows_of,
    shingles,
    sides,
    text_of,
    write,
)

from medllm_hf.data import build as build_module
from medllm_hf.data.build import build, question_set, short_names
from medllm_hf.data.card import screen_lines
from medllm_hf.errors import UserError
from medllm_hf.folders import sha256


def test_every_row_is_accounted_for(tmp_path):
    rows, held_out = messy(tmp_path)
    summary = build([rows], str(tmp_path / "out"), "mit", near_duplicates="drop", benchmarks=[held_out])
    listed = problems(tmp_path / "out")
    places = [(problem["verdict"], problem["line"], problem["field"]) for problem in listed]
    assert places == [
        ("rejected", 41, "row"),
        ("rejected", 42, "dialogue"),
        ("repaired", 43, "turns"),
        ("masked", 46, "turns"),
        ("masked", 48, "id"),
        ("masked", 48, "source"),
        ("exact duplicate", 43, "dialogue"),
        ("exact duplicate", 44, "dialogue"),
        ("overlap", 47, "dialogue"),
        ("near-duplicate", 45, "dialogue"),
    ]
    assert {problem["file"] for problem in listed} == {"messy.jsonl"}
    reasons = {(problem["verdict"], problem["line"]): problem["reason"] for problem in listed}
    assert reasons["exact duplicate", 44] == "the same as messy.jsonl:2"
    assert reasons["near-duplicate", 45] == "much the same as messy.jsonl:3"
    assert reasons["overlap", 47].startswith("held_out.jsonl q7 with 0 edits in turn 0") and STEM in reasons["overlap", 47]
    assert len(rows_of(tmp_path / "out")) == 48 - 2 - 2 - 1 - 1
    screen = "\n".join(screen_lines(summary, "out"))
    assert "read 48: accepted 45, repaired 1, rejected 2" in screen
    assert "2 exact duplicates, 1 with held-out questions, 1 near-duplicates" in screen
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for line in ("| read | 48 |", "| left out: rejected | 2 |", "| left out: exact duplicates | 2 |", "| written | 42 |"):
        assert line in card


def test_the_screen_says_when_no_held_out_questions_were_looked_for(tmp_path):
    rows, held_out = messy(tmp_path)
    without = build([rows], str(tmp_path / "without"), "mit")
    assert "held-out questions not looked for (--benchmarks)" in screen_lines(without, "out")[-2]
    screened = build([rows], str(tmp_path / "with"), "mit", benchmarks=[held_out])
    assert "held-out questions in 1" in screen_lines(screened, "out")[-2]


def test_no_personal_data_is_left_in_any_file(tmp_path):
    build([messy(tmp_path)[0]], str(tmp_path / "out"), "mit")
    written = {row["id"]: row for row in rows_of(tmp_path / "out")}
    texts = [turn["content"] for row in written.values() for turn in row["messages"]]
    assert "我的手机号是［手机号］，邮箱 ［邮箱］" in texts
    assert "由［手机号］提供" in {row["source"] for row in written.values()}
    pages = bytes_of(tmp_path / "out")
    assert "我的手机号是［手机号］" in pages["screening.md"].decode()
    shown = "\n".join(
        [json.dumps(list(written.values())), *(pages[name].decode() for name in pages if name.endswith(("md", "jsonl")))]
    )
    assert MOBILE not in shown and EMAIL not in shown


def test_rejections_are_told_by_reason_with_an_example_each(tmp_path):
    rows = [row("头痛两天", "请休息")] + [{"messages": [{"role": "user", "content": "在吗"}]}] * 3 + [{"messages": "甲"}]
    rows.append(row("腹泻三天了怎么办", "多喝水"))
    path = write(tmp_path / "rows.jsonl", rows)
    done = run("medllm", "data", "build", path, "--out", "out", "--license", "mit", cwd=tmp_path)
    reasons = ["3, such as rows.jsonl:2 dialogue: no answer by the assistant", "1, such as rows.jsonl:5 messages: a text that"]
    assert all(f"rejected {line}" in done.stdout for line in reasons) and "left out: 4 rejected" in done.stdout
    for page in ("README.md", "screening.md"):
        assert all(f"- {line}" in (tmp_path / "out" / page).read_text(encoding="utf-8") for line in reasons)
    bad = write(tmp_path / "bad.jsonl", rows[1:4])
    with pytest.raises(UserError, match=r"no usable dialogue \(3, such as bad.jsonl:1 dialogue: no answer"):
        build([bad], str(tmp_path / "no"), "mit")


def test_near_duplicates_that_are_kept_are_listed(tmp_path):
    text = text_of(random.Random(3), 400)
    rows = [row(text, "请休息"), row("腹泻三天了怎么办", "多喝水"), row(text + "谢谢", "请休息")]
    path = write(tmp_path / "rows.jsonl", rows)
    for choice, verdict in (("group", "near-duplicate, kept"), ("drop", "near-duplicate")):
        build([path], str(tmp_path / choice), "mit", near_duplicates=choice)
        (problem,) = problems(tmp_path / choice)
        assert (problem["verdict"], problem["line"]) == (verdict, 3) and "rows.jsonl:1" in problem["reason"]
    assert len(rows_of(tmp_path / "group")) == 3 and len(rows_of(tmp_path / "drop")) == 2


def test_personal_data_dropped_or_refused(tmp_path):
    build([messy(tmp_path)[0]], str(tmp_path / "out"), "mit", on_personal_data="drop")
    assert ("personal data", 46) in {(problem["verdict"], problem["line"]) for problem in problems(tmp_path / "out")}
    assert not any("手机号" in turn["content"] for row in rows_of(tmp_path / "out") for turn in row["messages"])
    with pytest.raises(UserError, match=r"personal data \(email 1, mobile 1\) in .*messy\.jsonl:46"):
        build([messy(tmp_path)[0]], str(tmp_path / "no"), "mit", on_personal_data="refuse")
    assert not (tmp_path / "no").exists() and not list(tmp_path.glob(".no*"))


def test_overlap_kept_or_refused_and_shown_beside_its_twin(tmp_path):
    rows, held_out = messy(tmp_path)
    build([rows], str(tmp_path / "out"), "mit", benchmarks=[held_out], on_overlap="keep")
    assert any(STEM in row["messages"][0]["content"] for row in rows_of(tmp_path / "out"))
    page = (tmp_path / "out" / "screening.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if "q7" in line]
    for shown in (
        "messy.jsonl:47 turn 0",
        f"想请教一下，{STEM}什么？",
        f"{STEM} A. 心肌肌钙蛋白 B. 乳酸脱氢酶",
        "held_out.jsonl q7",
    ):
        assert shown in line
    with pytest.raises(UserError, match=r"1 dialogues, first held_out\.jsonl q7 in .*messy\.jsonl:47"):
        build([rows], str(tmp_path / "no"), "mit", benchmarks=[held_out], on_overlap="refuse")
    assert not (tmp_path / "no").exists()


def test_no_near_duplicates_on_two_sides(tmp_path):
    rows = families(random.Random(1), 150)
    build([write(tmp_path / "rows.jsonl", rows)], str(tmp_path / "out"), "mit", test_fraction=0.3)
    parts = read_back(tmp_path / "out")
    train, test = ([shingles("".join(turn["content"] for turn in one["messages"])) for one in parts[name]] for name in parts)
    assert len(train) + len(test) == len(rows) and min(len(train), len(test)) > 60
    assert max(jaccard(one, two) for one in train for two in test) < 0.8
    assert all(len(found) == 1 for found in sides(tmp_path / "out").values())
    build([str(tmp_path / "rows.jsonl")], str(tmp_path / "off"), "mit", test_fraction=0.3, near_duplicates="off")
    assert any(len(found) == 2 for found in sides(tmp_path / "off").values())


def test_rows_stay_on_their_side_when_others_come(tmp_path):
    rng = random.Random(2)
    rows = families(rng, 60)
    others = families(rng, 60)
    build([write(tmp_path / "a.jsonl", rows)], str(tmp_path / "a"), "mit", test_fraction=0.3)
    mixed = rows + [{**one, "source": "other"} for one in others]
    rng.shuffle(mixed)
    build([write(tmp_path / "b.jsonl", mixed)], str(tmp_path / "b"), "mit", test_fraction=0.3)
    before, after = sides(tmp_path / "a"), sides(tmp_path / "b")
    assert {name: after[name] for name in before} == before
    build([str(tmp_path / "a.jsonl")], str(tmp_path / "c"), "mit", test_fraction=0.3, seed=7)
    assert sides(tmp_path / "c") != before


def test_a_common_system_turn_makes_nothing_alike(tmp_path):
    rng = random.Random(9)
    system = {"role": "system", "content": text_of(rng, 3000)}
    rows = [row(text_of(rng, 20), text_of(rng, 60)) for _ in range(10)]
    rows = [{"messages": [system, *one["messages"]]} for one in rows] + [row("？", "！"), row("？！", "…")]
    build([write(tmp_path / "rows.jsonl", rows)], str(tmp_path / "out"), "mit", near_duplicates="drop")
    assert len(rows_of(tmp_path / "out")) == 12


def test_ids_become_unique(tmp_path):
    rng = random.Random(5)
    ids = ["x", "x", "x-2", "x", "y", "x-2", "x"]
    rows = [row(text_of(rng, 20), text_of(rng, 60), id=name) for name in ids]
    build([write(tmp_path / "rows.jsonl", rows)], str(tmp_path / "out"), "mit", test_fraction=0)
    assert [one["id"] for one in rows_of(tmp_path / "out")] == ["x", "x-3", "x-2", "x-4", "y", "x-2-2", "x-5"]


def test_row_groups_have_one_size(tmp_path, monkeypatch):
    monkeypatch.setattr("medllm_hf.data.splits.ROW_GROUP", 64)
    rng = random.Random(12)
    write(tmp_path / "rows.jsonl", [row(text_of(rng, 20), text_of(rng, 40), id=str(i)) for i in range(150)])
    monkeypatch.setattr(build_module, "CHUNK_ROWS", 50)
    build([str(tmp_path / "rows.jsonl")], str(tmp_path / "out"), "mit", test_fraction=0)
    metadata = parquet.ParquetFile(next((tmp_path / "out" / "data").iterdir())).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [64, 64, 22]
    assert [one["id"] for one in rows_of(tmp_path / "out")] == [str(i) for i in range(150)]


def test_load_dataset_takes_the_data_files_only(tmp_path):
    build([messy(tmp_path)[0]], str(tmp_path / "out"), "mit", test_fraction=0.2)
    dataset = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: part.num_rows for name, part in dataset.items()} == {
        name: len(part) for name, part in read_back(tmp_path / "out").items()
    }
    assert dataset["train"].column_names == ["id", "source", "messages"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "--license"),
        (["--license", "my licence: free"], "--license"),
        (["--license", "apache2"], "apache-2.0?"),
        (["--license", "Apache License 2.0"], "apache-2.0?"),
        (["--license", "cc-by-nc-4"], "cc-by-nc-4.0?"),
        (["--license", "proprietary"], "repositories-licenses"),
        (["--license", "mit", "--test-fraction", "1"], "--test-fraction"),
        (["--license", "mit", "--test-fraction", "0.9999"], "test split"),
        (["--license", "mit", "--benchmarks", "nothing-there"], "nothing-there"),
        (["--license", "mit", "--near-duplicates", "maybe"], "maybe"),
        (["--license", "mit", "--format", "pdf"], "pdf"),
    ],
)
def test_what_is_refused(words, named, tmp_path, refused):
    path = write(tmp_path / "rows.jsonl", [row("头痛", "多久了？")])
    assert named in refused("data", "build", path, "--out", str(tmp_path / "out"), *words)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_when_nothing_is_left_nothing_is_written(tmp_path):
    rows = [row(STEM, "是心肌肌钙蛋白。")]
    bank = write(tmp_path / "q.jsonl", [{"id": "1", "question": STEM, "options": {"A": "甲", "B": "乙"}, "answer": "A"}])
    for inputs in (
        write(tmp_path / "a.jsonl", rows),
        write(tmp_path / "b.jsonl", ["{", "[]"]),
        write(tmp_path / "c.jsonl", []),
    ):
        with pytest.raises(UserError, match=r"no (usable dialogue|rows)"):
            build([inputs], str(tmp_path / "out"), "mit", benchmarks=[bank])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl", "c.jsonl", "q.jsonl"]


def test_chunks_without_a_usable_row(tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "CHUNK_ROWS", 2)
    rows = ["{", "[]", row("头痛两天", "请休息"), "{"]
    build([write(tmp_path / "rows.jsonl", rows)], str(tmp_path / "out"), "mit")
    assert len(rows_of(tmp_path / "out")) == 1


def test_questions_of_a_benchmark_by_name_and_path(tmp_path):
    item = {"qid": "1", "qtype": "A1型题", "qtext": "题干", "options": {"A": "甲", "B": "乙"}, "answer": "A"}
    (tmp_path / "Clinic_test.json").write_text(json.dumps([item], ensure_ascii=False), encoding="utf-8")
    asked = question_set(f"mlec-qa/clinic={tmp_path}")
    assert (asked.name, [one.question for one in asked.items]) == ("mlec-qa/clinic", ["题干"])
    assert asked.origin == sha256(tmp_path / "Clinic_test.json")


def test_names_of_files_are_as_long_as_they_must_be(tmp_path):
    files = [tmp_path / name for name in ("a/x.jsonl", "b/x.jsonl", "c/y.jsonl")]
    assert short_names(files) == ["a/x.jsonl", "b/x.jsonl", "c/y.jsonl"]
    assert short_names(files[1:]) == ["x.jsonl", "y.jsonl"]


def test_the_installed_program_builds(tmp_path):
    path = write(tmp_path / "rows.jsonl", [row("头痛" + str(i), "多久了？") for i in range(3)])
    done = run("medllm", "data", "build", path, "--out", "out", "--license", "mit", cwd=tmp_path)
    assert done.returncode == 0 and "wrote out: train 3" in done.stdout, done.stderr
    assert "--overwrite" in one_line_error(
        run("medllm", "data", "build", path, "--out", "out", "--license", "mit", cwd=tmp_path)
    )
