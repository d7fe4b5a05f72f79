"""Writes question files as their publishers lay them out, with rows of our own."""

import csv
import json

import pyarrow
from pyarrow import parquet

from medllm_hf.data.mcq import McqItem

SINGLE = "请回答下面的单项选择题，只写出正确选项的字母。"
ENGLISH_SINGLE = "Answer the following multiple-choice question. One option is right: write only its letter."
MULTI = "请回答下面的多项选择题，写出所有正确选项的字母。"


def item(name, question, texts, answer, subject="", kind="single", language="zh"):
    return McqItem(name, question, dict(zip("ABCDEFG", texts, strict=False)), frozenset(answer), subject, kind, language)


def write_array(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def cmb_rows():
    base = {"exam_type": "医师考试", "exam_class": "执业医师", "exam_subject": "口腔", "question_type": "单项选择题"}
    five = {"A": "甲", "B": "乙", "C": "丙", "D": "丁", "E": ""}
    return [
        {**base, "id": 1, "question": "选一", "option": five},
        {**base, "id": 2, "question": "选几", "option": {**five, "E": "戊", "F": "己"}, "question_type": "多项选择题"},
        {**base, "id": 3, "question": "只有一个对", "option": five, "question_type": "多项选择题"},
        {**base, "id": 4, "question": "如图所示的是", "option": five},
        {**base, "id": 5, "question": "答案是空选项", "option": five},
        {**base, "id": 6, "question": "没有答案", "option": five},
    ]


def write_cmb(folder):
    write_array(folder / "CMB-Exam" / "CMB-test" / "CMB-test-choice-question-merge.json", cmb_rows())
    write_array(folder / "CMB-Exam" / "CMB-val" / "CMB-val-merge.json", [{**cmb_rows()[0], "answer": "B", "explanation": "略"}])
    answers = [{"id": i, "answer": a} for i, a in zip((5, 4, 3, 2, 1), ("E", "A", "C", "FB", "D"), strict=True)]
    write_array(folder / "CMB-test-choice-answer.json", answers)
