"""Where questions come from: plain files, folders, archives and the Hub; every input that is refused."""

import json
import os
import re
import subprocess
import sys
import zipfile

import pytest
from support.hub_on_disk import start_hub
from support.published import item, write_array, write_cmb, write_csv, write_lines

from medllm_hf.data.benchmarks.catalogue import BENCHMARKS
from medllm_hf.data.benchmarks.read import MALFORMED, load_benchmark
from medllm_hf.data.benchmarks.rows import needs_picture
from medllm_hf.data.mcq import answer_letters, chance_level, item_from_row, lettered_lines, load_items
from medllm_hf.errors import UserError


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("B", "B"),
        ("abd", "ABD"),
        ("A,B", "AB"),
        ("A、C和D", "ACD"),
        ("ＡＢ", "AB"),
        (" c ", "C"),
        ("(E)", "E"),
        (["A", "b"], "AB"),
        (["AB", "C"], "ABC"),
        ("DB", "DB"),
    ],
)
def test_answers_as_sources_write_them(answer, letters):
    assert answer_letters(answer) == letters


@pytest.mark.parametrize("answer", [None, 1, 0, "", "1", "Z", "AA", "答案A", {"A": 1}, [1], [["A"]], [], True])
def test_answers_that_are_none(answer):
    with pytest.raises(ValueError, match="answer"):
        item_from_row({"question": "q", "options": {"A": "甲", "B": "乙"}, "answer": answer})


@pytest.mark.parametrize(
    "row",
    [
        {"options": {"A": "甲", "B": "乙", "C": "丙"}},
        {"options": {"a": "甲", "Ｂ": " 乙 ", "c": "丙", "D": None}},
        {"options": ["甲", "乙", "丙"]},
        {"options": [{"label": "A", "text": "甲"}, {"label": "B", "text": "乙"}, {"label": "C", "text": "丙"}]},
        {"options": [{"key": "A", "value": "甲"}, {"key": "B", "value": "乙"}, {"key": "C", "value": "丙"}]},
        {"options": "A 甲\nB. 乙\nC、丙"},
        {"options": '{"A": "甲", "B": "乙", "C": "丙"}'},
        {"A": "甲", "B": "乙", "C": "丙", "D": ""},
    ],
)
def test_options_as_sources_write_them(row):
    assert item_from_row({"id": 1, "question": "q", "answer": "C", **row}) == item("1", "q", "甲乙丙", "C")


@pytest.mark.parametrize(
    "options",
    [
        *(
            None,
            5,
            [],
            ["甲"],
            [["甲"], ["乙"]],
            [1, 2],
            {"A": "甲", "B": " "},
            {"A": "甲", "a": "乙"},
            {"A": "甲", "BC": "乙"},
        ),
        *({"A": "甲", "": "乙"}, {"A": "甲", "1": "乙"}, "没有字母", ["x"] * 27, [{"label": "A", "text": "甲"}] * 2),
        *([{"text": "甲"}, {"text": "乙"}], {"A": "甲", "B": "\ud800"}, "[" * 100000),
    ],
)
def test_options_that_are_none(options):
    with pytest.raises(ValueError, match="option"):
        item_from_row({"question": "q", "options": options, "answer": "A"})


def test_option_lines_keep_their_order_and_their_letters():
    text = "A 甲\n  第二行\nB B超\nC\nＤ：丁\ne) 戊\nF 己\nH 辛"
    expected = {"A": "甲\n  第二行", "B": "B超", "C": "", "D": "丁", "E": "戊", "F": "己\nH 辛"}
    assert lettered_lines(text) == expected
    assert len(lettered_lines("\n".join(f"{chr(65 + i)} {i}" for i in range(26)))) == 26


PICTURES = [
    "如图所示",
    "见下图",
    "附图为",
    "右图中的器械",
    "题图",
    "A.jpg",
    "<img src=x>",
    "the x-ray shown",
    "Identify the image",
]
OTHERS = [
    "心电图示窦性心律",
    "可见图形红斑",
    "以下图形",
    "B超提示",
    "脑电图",
    "body image",
    "to figure out",
    "a picture of health",
]


def test_words_that_point_at_a_picture():
    assert [words for words in PICTURES + OTHERS if needs_picture(words)] == PICTURES


def test_plain_files(tmp_path):
    rows = [
        {"question": "一", "options": ["甲", "乙"], "answer": "A"},
        {"id": "x", "question": "二", "options": ["甲", "乙"], "answer": "AB"},
    ]
    expected = [item("1", "一", "甲乙", "A"), item("x", "二", "甲乙", "AB", kind="multi")]
    write_lines(tmp_path / "q.jsonl", rows)
    write_array(tmp_path / "q.json", rows)
    assert load_items(str(tmp_path / "q.jsonl")) == load_items(str(tmp_path / "q.json")) == expected
    table = [{"id": "", "question": "一", "A": "甲", "B": "乙", "C": "", "answer": "a", "subject": "内科", "kind": "multi"}]
    write_csv(tmp_path / "q.csv", table)
    assert load_items(str(tmp_path / "q.csv")) == [item("2", "一", "甲乙", "A", "内科", "multi")]
    write_csv(tmp_path / "q.csv", [{"question": "一", "options": "A 甲\nB 乙", "answer": "B"}])
    assert load_items(str(tmp_path / "q.csv")) == [item("2", "一", "甲乙", "B")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"question": "q"}', "line 1: options"),
        ('[{"question": "q", "options": ["a", "b"], "answer": "A"}, 5]', "line 2: the row is a int"),
        ('{"question": "q", "options": ["a", "b"], "answer": "A"}\n\n{broken', "line 3: not JSON"),
        ('{"id": [1], "question": "q", "options": ["a", "b"], "answer": "A"}', "id is a list"),
        ('{"kind": ["multi"], "question": "q", "options": ["a", "b"], "answer": "A"}', "kind"),
        ("", "no questions"),
        ("[]", "no questions"),
    ],
)
def test_plain_files_that_are_refused(tmp_path, content, said):
    (tmp_path / "q.json").write_text(content)
    with pytest.raises(UserError, match=said):
        load_items(str(tmp_path / "q.json"))


def test_chance_is_exact():
    items = [
        item("1", "q", "甲乙丙", "A"),
        item("2", "q", "甲乙", "AB", kind="multi"),
        item("3", "q", "甲乙丙", "B", kind="multi"),
    ]
    assert chance_level(items) == (1 / 3 + 1 / 3 + 1 / 7) / 3


def test_cmb_needs_its_answers_and_names_their_version_by_hash(tmp_path):
    write_cmb(tmp_path)
    before = load_benchmark("cmb", str(tmp_path)).files["CMB-test-choice-answer.json"]
    write_array(tmp_path / "CMB-test-choice-answer.json", [{"id": 1, "answer": "A"}])
    read = load_benchmark("cmb", str(tmp_path))
    assert (read.items[0].answer, len(read.items), read.left_out) == ({"A"}, 1, {MALFORMED: 5})
    assert read.files["CMB-test-choice-answer.json"] != before
    (tmp_path / "CMB-test-choice-answer.json").write_text('[{"id": 1}]')
    with pytest.raises(UserError, match="row 1 without id and answer"):
        load_benchmark("cmb", str(tmp_path))
    (tmp_path / "CMB-test-choice-answer.json").unlink()
    with pytest.raises(UserError, match="published apart from the questions"):
        load_benchmark("cmb", str(tmp_path))


def test_cmb_archive_as_in_its_repository(tmp_path):
    write_cmb(tmp_path / "tree")
    with zipfile.ZipFile(tmp_path / "CMB.zip", "w") as archive:
        for file in (tmp_path / "tree" / "CMB-Exam").rglob("*.json"):
            archive.write(file, f"CMB/{file.relative_to(tmp_path / 'tree')}")
    (tmp_path / "tree" / "CMB-test-choice-answer.json").rename(tmp_path / "CMB-test-choice-answer.json")
    read = load_benchmark("cmb", str(tmp_path / "CMB.zip"))
    assert [one.id for one in read.items] == ["1", "2", "3"]
    assert set(read.files) == {"CMB.zip", "CMB-test-choice-answer.json"}
    assert read.listed[0].file == "CMB.zip/CMB/CMB-Exam/CMB-test/CMB-test-choice-question-merge.json"
    (tmp_path / "CMB.zip").write_bytes(b"PK broken")
    with pytest.raises(UserError, match="cannot be unpacked"):
        load_benchmark("cmb", str(tmp_path / "CMB.zip"))


def test_what_is_refused(tmp_path):
    for call, said in [
        (("nothing",), "no benchmark nothing"),
        (("cmexam", str(tmp_path), "all"), "no split all"),
        (("cmexam", str(tmp_path / "none")), "nothing at"),
        (("cmexam", str(tmp_path)), "no test_with_annotations.csv or test.json"),
        (("mlec-qa/tcm",), "mlec-qa.md"),
    ]:
        with pytest.raises(UserError, match=said):
            load_benchmark(*call)
    write_array(tmp_path / "a" / "Clinic_test.json", [{"qid": "1"}])
    with pytest.raises(UserError, match="no usable question.*the first of 1: a/Clinic_test.json 1: question is not a text"):
        load_benchmark("mlec-qa/clinic", str(tmp_path))
    write_array(tmp_path / "b" / "Clinic_test.json", [])
    with pytest.raises(UserError, match="Clinic_test.json and .*one Clinic_test.json"):
        load_benchmark("mlec-qa/clinic", str(tmp_path))


HUB = """
import json, sys
from medllm_hf.data.benchmarks.read import load_benchmark
from medllm_hf.errors import UserError
try:
    read = load_benchmark(sys.argv[1], split=sys.argv[2], revision=sys.argv[3] if len(sys.argv) > 3 else None)
    print(json.dumps([[one.id for one in read.items], read.hub, read.revision, sorted(read.files)]))
except UserError as error:
    print(json.dumps(str(error)))
"""


def test_the_pinned_copy_on_the_hub(tmp_path):
    """The unmodified client against a Hub on loopback: only the wanted files, at the pinned revision; then offline."""
    repo = tmp_path / "repo"
    write_cmb(repo)
    (repo / "CMB-test-choice-answer.json").unlink()
    write_lines(repo / "CMB-Exam" / "CMB-train" / "CMB-train-merge.json", [{"large": True}])
    pinned = BENCHMARKS["cmb"]
    (tmp_path / "empty").mkdir()
    hub = start_hub(tmp_path / "hub")
    for revision, folder in ((pinned.revision, repo), ("other", tmp_path / "empty")):
        hub.store.put("datasets", pinned.hub, folder, revision)

    def load(*words, offline="0"):
        environment = {**os.environ, **hub.environment(tmp_path / "home", token=None), "HF_HUB_OFFLINE": offline}
        done = subprocess.run([sys.executable, "-c", HUB, *words], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    try:
        ids, repository, commit, files = load("cmb", "dev")
        assert (ids, repository, files) == (["1"], "FreedomIntelligence/CMB", ["CMB-Exam/CMB-val/CMB-val-merge.json"])
        assert commit == pinned.revision
        assert [path for _, path in hub.requests if "resolve" in path and "CMB-val-merge.json" not in path] == []
        assert "CMB-test-choice-answer.json" in load("cmb", "test")
        assert "CMB-val-merge.json" in load("cmb", "dev", "other")
        assert "no Hub dataset" in load("cmb", "dev", "gone")
        assert "no Hub dataset" in load("cmexam", "test")
    finally:
        hub.close()
    assert load("cmb", "dev", offline="1") == [ids, repository, commit, files]
    assert "no Hub dataset" in load("medmcqa", "test", offline="1")


def test_names_and_pins_of_the_benchmarks():
    for name, benchmark in BENCHMARKS.items():
        assert re.fullmatch(r"[a-z0-9-]+(?:/[a-z0-9-]+)?", name)
        assert {"dev", "test"} <= set(benchmark.splits)
        assert (benchmark.hub is None) == (benchmark.revision is None)
        assert benchmark.revision is None or re.fullmatch("[0-9a-f]{40}", benchmark.revision)
