"""How each benchmark is published: one pure function a layout, from a row as it stands in the file to a row of our own.

Every function takes the row and the path of its file and returns the fields of `mcq.item_from_row`; options may be empty
texts, which the caller leaves out. What is wrong with a row is a `ValueError` that says so.
"""

import re
from pathlib import Path
from reprlib import repr as shortened

from medllm_hf.data.exam_options import lettered_lines
from medllm_hf.data.pictures import NeedsImage


def mlec_qa(row: dict, file: Path) -> dict:
    """MLEC-QA: qid, qtype, qtext, qimage (path of an image or a table), options, answer; the subject is the subset.

    Source: https://github.com/Judenpech/MLEC-QA
    """
    image = row.get("qimage")
    if image and not (isinstance(image, str) and image.isspace()):
        raise NeedsImage(f"qimage is {shortened(image)}")
    subject = file.name.split("_")[0]
    return _plain(row.get("qid"), row.get("qtext"), row.get("options"), row.get("answer"), subject, "single")


def cmexam(row: dict, file: Path) -> dict:
    """CMExam: Question, Options (lines "A text", or a list of key and value in the Hub copy), Answer.

    No column tells single from multiple answers, so the number of right letters does. Only the test file has departments.

    Source: https://github.com/williamliujl/CMExam
    """
    options, answer, subject = row.get("Options"), row.get("Answer"), row.get("Clinical Department") or ""
    if isinstance(options, str):
        options = lettered_lines(options)
    return _plain(row.get("id"), row.get("Question"), options, answer, subject, None)


_CMB_KINDS = {"单项选择题": "single", "C型选择题": "single", "多项选择题": "multi"}


def cmb(row: dict, file: Path) -> dict:
    """CMB-Exam: exam_type, exam_class, exam_subject, question, answer, question_type, option; four options and an empty fifth.

    Source: https://github.com/FreedomIntelligence/CMB
    """
    kind = row.get("question_type")
    if not isinstance(kind, str) or kind not in _CMB_KINDS:
        raise ValueError(f"question_type is none of {', '.join(_CMB_KINDS)}")
    return _plain(
        row.get("id"), row.get("question"), row.get("option"), row.get("answer"), row.get("exam_class"), _CMB_KINDS[kind]
    )


def medqa(row: dict, file: Path) -> dict:
    """MedQA: question, options, answer (the text of the right option), answer_idx (its letter), meta_info.

    Source: https://github.com/jind11/MedQA
    """
    options, letter, answer = row.get("options"), row.get("answer_idx"), row.get("answer")
    if isinstance(options, dict) and isinstance(letter, str) and options.get(letter) != answer:
        raise ValueError(f"answer is not the text of option {letter[:9]}")
    return _plain(row.get("id"), row.get("question"), options, letter, row.get("meta_info"), "single")


def ceval(row: dict, file: Path) -> dict:
    """C-Eval: id (from 0 in each subject), question, A to D, answer; SUBJECT/SPLIT-*.parquet or SPLIT/SUBJECT_SPLIT.csv.

    Source: https://github.com/hkust-nlp/ceval
    """
    subject = file.parent.name if file.suffix == ".parquet" else file.stem.rpartition("_")[0]
    name = f"{subject}-{row['id']}" if isinstance(row.get("id"), int | str) else None
    return _plain(name, row.get("question"), _columns(row, "ABCD"), row.get("answer"), subject, "single")


def cmmlu(row: dict, file: Path) -> dict:
    """CMMLU: a column without a name (the position), Question, A to D, Answer; SPLIT/SUBJECT.csv.

    Source: https://github.com/haonan-li/CMMLU
    """
    name = f"{file.stem}-{row['']}" if row.get("") else None
    return _plain(name, row.get("Question"), _columns(row, "ABCD"), row.get("Answer"), file.stem, "single")


def medmcqa(row: dict, file: Path) -> dict:
    """MedMCQA: id, question, opa to opd, cop (the right option's position), subject_name.

    Positions begin at 0 in the Parquet files of the Hub, where -1 stands for a secret answer, and at 1 in the original
    JSON. `choice_type` says "multi" for many questions that have one right option, so every question is single.

    Source: https://github.com/medmcqa/medmcqa
    """
    position = row.get("cop")
    if isinstance(position, bool) or not isinstance(position, int):
        raise ValueError("cop is not a whole number")
    index = position - (file.suffix != ".parquet")
    if not 0 <= index < 4:
        raise ValueError(f"cop {position} is no option's position")
    options = {letter: row.get(f"op{letter.lower()}") for letter in "ABCD"}
    item = _plain(row.get("id"), row.get("question"), options, "ABCD"[index], row.get("subject_name"), "single")
    return {**item, "language": "en"}


def cnmleqa(row: dict, file: Path) -> dict:
    """CNMLEQA: id, question, opa to ope, answer (the right option's column, "opc"), question_type, year, source.

    Source: https://github.com/zonghui0228/CNMLEQA
    """
    answer = row.get("answer")
    if not isinstance(answer, str) or not re.fullmatch("op[a-e]", answer):
        raise ValueError("answer is none of opa to ope")
    options = {letter: row.get(f"op{letter.lower()}") for letter in "ABCDE"}
    return _plain(row.get("id"), row.get("question"), options, answer[-1], row.get("question_type"), "single")


def plain(row: dict, file: Path) -> dict:
    """The format of this project's own question files, for a benchmark that nobody publishes."""
    return row


def _columns(row: dict, letters: str) -> dict:
    return {letter: row.get(letter) for letter in letters}


def _plain(name: object, question: object, options: object, answer: object, subject: object, kind: str | None) -> dict:
    return {
        "id": name, "question": question, "options": options, "answer": answer, "subject": subject, "kind": kind,
        "language": "zh",
    }  # fmt: skip
