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
from medllm_hf.data.build import question_set
from medllm_hf.data.commands.check import check
from medllm_hf.data.dialogues import Policy, examine
from medllm_hf.data.files import file_rows
from medllm_hf.data.mcq import chance_level, load_items, read_question_file
from medllm_hf.data.pictures import needs_picture
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.prompts import overview, read_questions
from tests.data.test_formats import reading


def positions(*answers, **more):
    return [{"question": f"第{i}题", "choices": ["甲", "乙", "丙"], "answer": a, **more} for i, a in enumerate(answers)]


def test_positions_count_from_where_the_file_does(tmp_path):
    """Some first option is right in a file that counts from 0, some last one in a file that counts from 1."""
    for name, answers, letters in (("zero", (1, 2, 0), "BCA"), ("one", (1, 2, 3), "ABC"), ("texts", ("1", "0"), "BA")):
        write_lines(tmp_path / f"{name}.jsonl", positions(*answers))
        items = load_items(str(tmp_path / f"{name}.jsonl"))
        assert "".join(letter for item in items for letter in item.answer) == letters
        rows = [examine(tmp_path / f"{name}.jsonl", 1, row, "auto", Policy())[0] for row in positions(*answers)]
        assert [row["messages"][1]["content"] for row in rows] == ["答案：" + "甲乙丙"["ABC".index(one)] for one in letters]
    neither = "line 1: answer . is a position"
    for answers, said in (((1, 2), neither), ((0, 3), neither), ((*[0] * 20, 3), "line 21: answer 3 does not name")):
        write_lines(tmp_path / "bad.jsonl", positions(*answers))
        with pytest.raises(UserError, match=said):
            load_items(str(tmp_path / "bad.jsonl"))
    write_lines(tmp_path / "digits.jsonl", [{"question": "几个", "options": ["1", "2"], "answer": a} for a in ("1", "0")])
    with pytest.raises(UserError, match="an option's text and another's position"):
        load_items(str(tmp_path / "digits.jsonl"))


def test_one_answer_that_is_missing_does_not_shift_the_others(tmp_path):
    """A 0 that stands for no answer, in a file that counts from 1."""
    write_lines(tmp_path / "one.jsonl", positions(0, *[1, 2, 3] * 20))
    accepted, _, rejected = reading([str(tmp_path / "one.jsonl")])
    assert {row["messages"][1]["content"] for row in accepted[:3]} == {"答案：甲", "答案：乙", "答案：丙"}
    assert (len(accepted), [problem.line for problem in rejected]) == (60, [1])


def test_positions_in_an_archive_and_in_another_encoding(tmp_path):
    lines = "題目,A,B,答案\n第一題,甲型,乙型,0\n第二題,甲型,乙型,1\n".encode("big5")
    (tmp_path / "a.csv").write_bytes(lines)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", lines.decode("big5"))
    policy = Policy(encoding="big5")
    rows = [examine(tmp_path / "a.csv", line, raw, "auto", policy)[0] for line, raw in file_rows(tmp_path / "a.csv", "big5")]
    for found in (rows, reading([str(tmp_path / "a.zip")])[0]):
        assert [row["messages"][1]["content"] for row in found] == ["答案：甲型", "答案：乙型"]


def test_held_out_questions_in_an_archive(tmp_path):
    (tmp_path / "q.jsonl").write_bytes(json.dumps(positions("A")[0], ensure_ascii=False).encode("gb18030"))
    with zipfile.ZipFile(tmp_path / "q.zip", "w") as archive:
        archive.write(tmp_path / "q.jsonl", "in/q.jsonl")
    assert question_set(str(tmp_path / "q.zip/in/q.jsonl")).items == question_set(str(tmp_path / "q.jsonl")).items
    with pytest.raises(UserError, match=r"name one, q\.zip/NAME"):
        question_set(str(tmp_path / "q.zip"))


ABC = {"A": "甲", "B": "乙", "C": "丙"}
PUBLISHED = {
    "cmexam": {"Question": "选丙", "Options": "A 甲\nB 乙\nC 丙", "Answer": "C", "Clinical Department": "内科"},
    "cmb": {"id": 4, "exam_class": "内科", "question": "选丙", "question_type": "单项选择题", "answer": "C",
            "option": {**ABC, "D": ""}},
    "mlec-qa": {"qid": "4", "qtype": "A1型题", "qtext": "选丙", "qimage": "", "options": ABC,
                "answer": "C", "subject": "内科"},
    "medqa": {"question": "选丙", "options": ABC, "answer": "丙", "answer_idx": "C",
              "meta_info": "内科"},
    "ceval": {"id": 4, "question": "选丙", **ABC, "answer": "C", "explanation": "略", "subject": "内科"},
    "cmmlu": {"": "4", "Question": "选丙", **ABC, "Answer": "C", "subject": "内科"},
    "cnmleqa": {"id": "4", "question": "选丙", "opa": "甲", "opb": "乙", "opc": "丙", "answer": "opc",
                "question_type": "知识问答", "subject": "内科"},
    "parenthesised": {"question": "选丙", "options": "(A) 甲\n(B) 乙\n(C) 丙", "answer": "(C)", "subject": "内科"},
    "chinese": {"题目": "选丙", "选项": ABC, "答案": "C", "题型": "单选题", "科目": "内科"},
}  # fmt: skip


@pytest.mark.parametrize("layout", PUBLISHED)
def test_published_layouts_are_known_by_their_columns(tmp_path, layout, capsys):
    """Whatever the file is called: as questions, as held-out questions, and as dialogues."""
    row = PUBLISHED[layout]
    write_lines(tmp_path / "whatever.jsonl", [row])
    name = str(row.get("id") or row.get("qid") or "1")
    expected = item(name, "选丙", "甲乙丙", "C", "内科")
    path = str(tmp_path / "whatever.jsonl")
    assert load_items(path) == [expected]
    assert question_set(path).items == (expected,)
    dialogue, problem = examine(tmp_path / "whatever.jsonl", 1, json.dumps(row).encode(), "auto", Policy())
    assert problem is None and [turn["content"] for turn in dialogue["messages"]] == ["选丙", "答案：丙"]
    assert check([path]) == 0 and "accepted 1" in capsys.readouterr().out


def test_questions_with_a_picture_are_left_out_and_counted(tmp_path):
    row = PUBLISHED["mlec-qa"]
    write_lines(tmp_path / "q.jsonl", [row, {**row, "qid": "5", "qimage": "images/5.png"}])
    read = read_question_file(str(tmp_path / "q.jsonl"))
    assert ([one.id for one in read.items], read.with_picture) == (["4"], 1)
    questions = read_questions(str(tmp_path / "q.jsonl"))
    assert overview(questions) == "q.jsonl: 1 question (1 single), left out: 1 needs an image"
    write_lines(tmp_path / "q.jsonl", [{**row, "qimage": "images/5.png"}])
    with pytest.raises(UserError, match="no questions in .* but 1 with a picture"):
        load_items(str(tmp_path / "q.jsonl"))


def test_medmcqa_under_any_name(tmp_path):
    """Its positions count from 0 on the Hub and from 1 in the original release; `choice_type` says nothing."""
    texts = {"opa": "one", "opb": "two", "opc": "three", "opd": "four"}
    for first in (0, 1):
        rows = [{"id": str(i), "question": f"Q{i}?", **texts, "cop": i + first, "choice_type": "multi"} for i in range(4)]
        write_lines(tmp_path / f"m{first}.jsonl", rows)
        items = load_items(str(tmp_path / f"m{first}.jsonl"))
        assert [(one.answer, one.kind, one.language) for one in items] == [({a}, "single", "en") for a in "ABCD"]


PICTURES = [
    *(
        "左侧箭头所指的是（图）",
        "（图）患者的诊断是",
        "判断(图2)中的波形",
        "The structure marked with an arrow",
        "seen in Figure A",
    ),
    *("A smear (fig. 3) is obtained", "the cell labelled by the white arrow", "as shown in image B"),
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
    *("试图（图谋）", "a figure a doctor remembers", "broken arrow sign", "the arrow sign on MRI", "wounded by an arrow"),
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
        ('{"question": "q"}', "line 1: answer is not among"),
        ('{"question": "q"}\n{}\n[]', r"line 1: answer.*\(3 of 3 lines are no questions, this is the first\)"),
        ('[{"question": "q", "options": ["a", "b"], "answer": "A"}, 5]', "line 2: the row is a number"),
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
        assert done.returncode == 0 and "Retrying" not in done.stderr, done.stderr
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
    for offline in ("1", "0"):  # or where nobody answers
        assert load("cmb", "dev", offline=offline) == [ids, repository, commit, files]
    assert "refused" in load("cmexam", "test")
    assert "no Hub dataset" in load("medmcqa", "test", offline="1")


def test_names_and_pins_of_the_benchmarks():
    for name, benchmark in BENCHMARKS.items():
        assert re.fullmatch(r"[a-z0-9-]+(?:/[a-z0-9-]+)?", name)
        assert {"dev", "test"} <= set(benchmark.splits)
        assert (benchmark.hub is None) == (benchmark.revision is None)
        assert benchmark.revision is None or re.fullmatch("[0-9a-f]{40}", benchmark.revision)


def test_a_question_file_in_an_encoding_that_is_named(tmp_path):
    """The name is for texts in which none is found: a file in UTF-8 beside it is read as UTF-8."""
    row = {"question": "첫 번째 약은 무엇입니까?", "options": ["약 하나", "약 둘"], "answer": "B"}
    text = "\n".join(json.dumps({**row, "id": str(i)}, ensure_ascii=False) for i in range(3))
    (tmp_path / "q.jsonl").write_bytes(text.encode("euc_kr"))
    (tmp_path / "utf8.jsonl").write_text(text, encoding="utf-8")
    for name in ("q.jsonl", "utf8.jsonl"):
        items = question_set(str(tmp_path / name), "euc_kr").items
        assert (len(items), items[0].question) == (3, row["question"])
    with pytest.raises(UserError, match="--encoding"):
        question_set(str(tmp_path / "q.jsonl"))


def test_the_words_around_the_questions_of_a_file_are_of_one_language(tmp_path):
    rows = [{"question": f"Which is number {i}?", "options": ["one", "two"], "answer": "A"} for i in range(3)]
    rows.append({"question": "这是哪个", "options": ["甲", "乙"], "answer": "A"})
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert {item.reply_prefix for item in load_items(str(tmp_path / "q.jsonl"))} == {"Answer: "}
    rows[3]["language"] = "zh"
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert [item.language for item in load_items(str(tmp_path / "q.jsonl"))] == ["en", "en", "en", "zh"]
