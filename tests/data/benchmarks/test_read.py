"""The benchmarks: three rows of our own in each published layout, the exact questions out, and an account of the others."""

import csv
import hashlib
import zipfile
from fractions import Fraction

import pytest
from support.published import ENGLISH_SINGLE, MULTI, SINGLE, item, write_array, write_cmb, write_csv, write_lines, write_parquet

from medllm_hf.data.benchmarks.catalogue import CEVAL_SUBJECTS, CMMLU_SUBJECTS
from medllm_hf.data.benchmarks.read import IMAGE, IN_TEST, MALFORMED, LeftOut, load_benchmark
from medllm_hf.errors import UserError


@pytest.mark.parametrize("subset", ["Clinic", "CWM", "PublicHealth", "Stomatology", "TCM"])
def test_mlec_qa(tmp_path, subset):
    options = {"A": "一", "B": "二", "C": "三", "D": "四", "E": "五"}
    rows = [
        {"qid": "q1", "qtype": "A1型题", "qtext": "  数到几（　　）。 ", "qimage": "", "options": options, "answer": "C"},
        {"qid": "q2", "qtype": "A2型题", "qtext": "看片", "qimage": "images/7.png", "options": options, "answer": "A"},
        {"qid": "q3", "qtype": "B1型题", "qtext": "选几", "options": options, "answer": "F"},
    ]
    write_array(tmp_path / f"{subset}_test.json", rows)
    write_array(tmp_path / f"{subset}_dev.json", [{**rows[0], "answer": ["d"]}])
    name = f"mlec-qa/{subset.lower()}"
    read = load_benchmark(name, str(tmp_path))
    assert read.items == (item("q1", "数到几（　　）。", "一二三四五", "C", subset),)
    assert read.items[0].prompt(options=True) == f"{SINGLE}\n数到几（　　）。\nA. 一\nB. 二\nC. 三\nD. 四\nE. 五"
    assert read.listed == (
        LeftOut(f"{subset}_test.json", 2, IMAGE, "qimage is 'images/7.png'"),
        LeftOut(f"{subset}_test.json", 3, MALFORMED, "answer 'F' does not name options A, B, C, D, E"),
    )
    assert (read.read, read.left_out, read.chance) == (3, {IMAGE: 1, MALFORMED: 1}, 0.2)
    assert load_benchmark(name, str(tmp_path), split="dev").items[0].answer == {"D"}


def test_cmexam(tmp_path):
    rows = [
        {
            "Question": "哪项检查首选",
            "Options": "A B超\nB CT\nC 查D-二聚体\nD 二聚体",
            "Answer": "A",
            "Clinical Department": "外科",
        },
        {"Question": "哪几项", "Options": "A 甲\nB 乙\nC 丙\nD 丁\nE 戊", "Answer": "ACE", "Clinical Department": "内科"},
        {"Question": "没有答案", "Options": "A 甲\nB 乙", "Answer": "", "Clinical Department": ""},
    ]
    write_csv(tmp_path / "data" / "test_with_annotations.csv", rows)
    write_csv(tmp_path / "data" / "val.csv", [{k: row[k] for k in ("Question", "Options", "Answer")} for row in rows[:1]])
    read = load_benchmark("cmexam", str(tmp_path))
    assert read.items == (
        item("test_with_annotations-2", "哪项检查首选", ["B超", "CT", "查D-二聚体", "二聚体"], "A", "外科"),
        item("test_with_annotations-6", "哪几项", "甲乙丙丁戊", "ACE", "内科", "multi"),
    )
    assert read.items[1].prompt(options=True) == f"{MULTI}\n哪几项\nA. 甲\nB. 乙\nC. 丙\nD. 丁\nE. 戊"
    assert [(row.line, row.kind) for row in read.listed] == [(11, MALFORMED)]
    assert read.chance == float((Fraction(1, 4) + Fraction(1, 31)) / 2)
    assert load_benchmark("cmexam", str(tmp_path), "dev").items[0].subject == ""


def test_cmb(tmp_path):
    write_cmb(tmp_path)
    read = load_benchmark("cmb", str(tmp_path))
    assert read.items == (
        item("1", "选一", "甲乙丙丁", "D", "执业医师"),
        item("2", "选几", "甲乙丙丁戊己", "BF", "执业医师", "multi"),
        item("3", "只有一个对", "甲乙丙丁", "C", "执业医师", "multi"),
    )
    assert [(row.line, row.kind) for row in read.listed] == [(4, IMAGE), (5, MALFORMED), (6, MALFORMED)]
    assert "no answer with id 6" in read.listed[2].reason
    assert read.empty_options == 2
    assert read.items[1].prompt(options=True) == f"{MULTI}\n选几\nA. 甲\nB. 乙\nC. 丙\nD. 丁\nE. 戊\nF. 己"
    assert read.items[2].prompt(options=True) == f"{MULTI}\n只有一个对\nA. 甲\nB. 乙\nC. 丙\nD. 丁"
    assert read.chance == float((Fraction(1, 4) + Fraction(1, 63) + Fraction(1, 15)) / 3)
    answers = (tmp_path / "CMB-test-choice-answer.json").read_bytes()
    assert read.files["CMB-test-choice-answer.json"] == hashlib.sha256(answers).hexdigest()
    assert len(read.files) == 2
    assert load_benchmark("cmb", str(tmp_path), "dev").items[0].answer == {"B"}


def test_medqa_mainland(tmp_path):
    options = {"A": "甲", "B": "乙", "C": "丙", "D": "丁", "E": "戊"}
    rows = [
        {"question": "选戊", "options": options, "answer": "戊", "answer_idx": "E", "meta_info": "卫生法规"},
        {"question": "不合", "options": options, "answer": "甲", "answer_idx": "B", "meta_info": "内科"},
        {"question": "X线见下图", "options": options, "answer": "甲", "answer_idx": "A", "meta_info": "内科"},
    ]
    write_lines(tmp_path / "questions" / "Mainland" / "test.jsonl", rows)
    write_lines(tmp_path / "questions" / "US" / "test.jsonl", rows[:1])
    four = {**rows[0], "options": {k: options[k] for k in "ABCD"}, "answer": "甲", "answer_idx": "A"}
    write_lines(tmp_path / "questions" / "Mainland" / "4_options" / "test.jsonl", [four])
    read = load_benchmark("medqa-mainland", str(tmp_path))
    assert read.items == (item("test-1", "选戊", "甲乙丙丁戊", "E", "卫生法规"),)
    assert read.items[0].prompt(options=True) == f"{SINGLE}\n选戊\nA. 甲\nB. 乙\nC. 丙\nD. 丁\nE. 戊"
    assert read.listed == (
        LeftOut("questions/Mainland/test.jsonl", 2, MALFORMED, "answer is not the text of option B"),
        LeftOut("questions/Mainland/test.jsonl", 3, IMAGE, "the question points at a picture, '下图'"),
    )
    single_file = load_benchmark("medqa-mainland", str(tmp_path / "questions" / "Mainland" / "4_options" / "test.jsonl"))
    assert (len(single_file.items[0].options), single_file.chance) == (4, 0.25)


def ceval_row(number, question, answer):
    return {
        "id": number,
        "question": question,
        **dict(zip("ABCD", "甲乙丙丁", strict=True)),
        "answer": answer,
        "explanation": "",
    }


def test_ceval_medical(tmp_path):
    for subject in CEVAL_SUBJECTS:
        rows = [ceval_row(0, f"{subject}几", "D"), ceval_row(1, "附图中的是", "A"), ceval_row(2, "秘密", "")]
        write_parquet(tmp_path / subject / "test-00000-of-00001.parquet", rows)
        write_csv(tmp_path / "older" / "val" / f"{subject}_val.csv", rows[:1])
    write_parquet(tmp_path / "law" / "test-00000-of-00001.parquet", [ceval_row(0, "法律", "A")])
    read = load_benchmark("ceval-medical", str(tmp_path))
    assert read.items == tuple(item(f"{s}-0", f"{s}几", "甲乙丙丁", "D", s) for s in CEVAL_SUBJECTS)
    assert read.items[2].prompt(options=True) == f"{SINGLE}\nphysician几\nA. 甲\nB. 乙\nC. 丙\nD. 丁"
    assert (read.left_out, read.chance) == ({IMAGE: 3, MALFORMED: 3}, 0.25)
    assert [one.id for one in load_benchmark("ceval-medical", str(tmp_path), "val").items] == [one.id for one in read.items]
    (tmp_path / "physician" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match="no physician/test-"):
        load_benchmark("ceval-medical", str(tmp_path))


def test_every_question_has_an_id_of_its_own(tmp_path):
    """Files of one name in several folders, rows without ids, and an id that looks like a made one."""
    row = {name: value for name, value in ceval_row(0, "选丁", "D").items() if name != "id"}
    for subject in CEVAL_SUBJECTS:
        write_parquet(tmp_path / subject / "test-00000-of-00001.parquet", [row, row])
    names = [one.id for one in load_benchmark("ceval-medical", str(tmp_path)).items]
    folders = ("", *(f"{subject}-" for subject in CEVAL_SUBJECTS[1:]))
    assert names == [f"{folder}test-00000-of-00001-{number}" for folder in folders for number in (1, 2)]
    plain = {"question": "选乙", "options": ["甲", "乙"], "answer": "B"}
    write_lines(tmp_path / "2020.jsonl", [{**plain, "id": "2021-1"}, {**plain, "id": f"{tmp_path.name}-2021-1"}, plain])
    write_lines(tmp_path / "2021.jsonl", [plain, plain])
    names = [one.id for one in load_benchmark("neep306", str(tmp_path)).items]
    assert names == ["2021-1", f"{tmp_path.name}-2021-1", "2020-3", f"{tmp_path.name}-2021-1+", "2021-2"]


def test_cmmlu_medical_from_its_archive(tmp_path):
    rows = [
        ["0", "含逗号,的题", "甲", "乙", "丙", "丁", "B"],
        ["1", "少一格", "甲", "乙", "丙", "丁"],
        ["2", "如图", *"甲乙丙丁", "A"],
    ]
    with zipfile.ZipFile(tmp_path / "cmmlu_v1_0_1.zip", "w") as archive:
        for subject in (*CMMLU_SUBJECTS, "agronomy"):
            for split in ("dev", "test"):
                with (tmp_path / "one.csv").open("w", encoding="utf-8", newline="") as file:
                    csv.writer(file).writerows([["", "Question", "A", "B", "C", "D", "Answer"], *rows])
                archive.write(tmp_path / "one.csv", f"{split}/{subject}.csv")
    read = load_benchmark("cmmlu-medical", str(tmp_path))
    assert read.items == tuple(item(f"{s}-0", "含逗号,的题", "甲乙丙丁", "B", s) for s in CMMLU_SUBJECTS)
    assert read.items[6].prompt(options=True) == f"{SINGLE}\n含逗号,的题\nA. 甲\nB. 乙\nC. 丙\nD. 丁"
    assert read.left_out == {MALFORMED: 7, IMAGE: 7}
    assert read.listed[0] == LeftOut("cmmlu_v1_0_1.zip/test/anatomy.csv", 3, MALFORMED, "6 cells under 7 columns")
    assert list(read.files) == ["cmmlu_v1_0_1.zip"]
    assert load_benchmark("cmmlu-medical", str(tmp_path), "dev").items == read.items


def medmcqa_row(name, question, cop):
    texts = {"opa": "one", "opb": "2", "opc": "three", "opd": "four"}
    return {"id": name, "question": question, **texts, "cop": cop, "choice_type": "multi", "subject_name": "ENT", "exp": None}


def test_medmcqa_counts_positions_as_each_release_does(tmp_path):
    rows = [medmcqa_row("a", "Which one?", 1), medmcqa_row("b", "Hidden", -1), medmcqa_row("c", "Identify the image", 0)]
    write_parquet(tmp_path / "hub" / "data" / "validation-00000-of-00001.parquet", rows)
    write_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet", rows[:1])
    read = load_benchmark("medmcqa", str(tmp_path / "hub"))
    assert read.items == (item("a", "Which one?", ["one", "2", "three", "four"], "B", "ENT", language="en"),)
    assert read.items[0].prompt(options=True) == f"{ENGLISH_SINGLE}\nWhich one?\nA. one\nB. 2\nC. three\nD. four"
    assert [(row.line, row.kind) for row in read.listed] == [(2, MALFORMED), (3, IMAGE)]
    write_lines(tmp_path / "original" / "dev.json", [medmcqa_row("a", "Which one?", 1), medmcqa_row("d", "Zero", 0)])
    read = load_benchmark("medmcqa", str(tmp_path / "original"))
    assert (read.items[0].answer, read.left_out) == ({"A"}, {MALFORMED: 1})
    assert load_benchmark("medmcqa", str(tmp_path / "hub"), "dev").items[0].id == "a"


def cnmleqa_row(name, question, answer="opc"):
    texts = {f"op{letter}": text for letter, text in zip("abcde", "甲乙丙丁戊", strict=True)}
    return {"id": name, "question": question, **texts, "answer": answer, "question_type": "案例分析", "year": 2017}


def test_cnmleqa_examples_are_never_test_questions(tmp_path):
    test = [cnmleqa_row("u1", "第一题"), cnmleqa_row("u2", "第二题", "C"), cnmleqa_row("u3", "见附图，选")]
    rest = [cnmleqa_row("u1", "第一题（改）"), cnmleqa_row("u9", "第一题"), cnmleqa_row("u4", "第四题", "opa")]
    write_array(tmp_path / "CNMLEQA-3k.json", test)
    write_array(tmp_path / "CNMLEQA-10k.json", rest)
    read = load_benchmark("cnmleqa", str(tmp_path))
    assert read.items == (item("u1", "第一题", "甲乙丙丁戊", "C", "案例分析"),)
    assert read.items[0].prompt(options=True) == f"{SINGLE}\n第一题\nA. 甲\nB. 乙\nC. 丙\nD. 丁\nE. 戊"
    assert (read.left_out, read.chance) == ({MALFORMED: 1, IMAGE: 1}, 0.2)
    dev = load_benchmark("cnmleqa", str(tmp_path), "dev")
    assert (dev.items, dev.left_out) == ((item("u4", "第四题", "甲乙丙丁戊", "A", "案例分析"),), {IN_TEST: 2})
    (tmp_path / "CNMLEQA-3k.json").unlink()
    with pytest.raises(UserError, match="CNMLEQA-3k"):
        load_benchmark("cnmleqa", str(tmp_path), "dev")


def test_neep306(tmp_path):
    rows = [
        {"id": 1, "question": "选二", "options": {"A": "甲", "B": "乙"}, "answer": "b", "subject": "生理"},
        {"id": 2, "question": "选全部", "options": ["甲", "乙"], "answer": "A、B"},
        {"id": 3, "question": "右图是", "options": ["甲", "乙"], "answer": "A"},
    ]
    write_lines(tmp_path / "2020.jsonl", rows)
    write_csv(tmp_path / "2021.csv", [{"id": 1, "question": "选丙", "A": "甲", "B": "乙", "C": "丙", "D": "", "answer": "Ｃ"}])
    write_array(tmp_path / "2019.json", rows[:1])
    read = load_benchmark("neep306", str(tmp_path))
    assert read.items == (
        item("1", "选二", "甲乙", "B", "生理"),
        item("2", "选全部", "甲乙", "AB", kind="multi"),
        item("2021-2-1", "选丙", "甲乙丙", "C"),
    )
    assert (read.left_out, read.licence) == ({IMAGE: 1}, "unknown")
    assert read.items[1].prompt(options=True) == f"{MULTI}\n选全部\nA. 甲\nB. 乙"
    assert read.chance == float((Fraction(1, 2) + Fraction(1, 3) + Fraction(1, 3)) / 3)
    assert len(load_benchmark("neep306", str(tmp_path), "dev").items) == 1
