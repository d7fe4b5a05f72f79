"""Excel workbooks: sheets, titles, what cells show, and what is refused."""

import datetime
import io
import zipfile

import pytest

from medllm_hf.data import workbooks
from medllm_hf.data.files import file_rows
from medllm_hf.errors import UserError
from tests.data.test_formats import GOOD, reading
from tests.data.test_recognition import packed, written


def test_workbooks(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for title, head in (("甲", ["提问", "回答", None]), ("乙", ["ask", "answer", "n"])):
        sheet = book.create_sheet(title)
        for cells in ([], head, ["头痛两天", "发热吗？", 3.0], [None, None, None], [38, "先退热", None]):
            sheet.append(cells)
    book.save(tmp_path / "a.xlsx")
    assert [number for number, _ in file_rows(tmp_path / "a.xlsx")] == [3, 5, 8, 10]
    assert [row["messages"][0]["content"] for row in reading([str(tmp_path / "a.xlsx")])[0]] == ["头痛两天", "38"] * 2
    written(tmp_path / "a.zip", packed({"in.xlsx": (tmp_path / "a.xlsx").read_bytes()}))
    assert reading([str(tmp_path / "a.zip")])[0][0]["messages"] == GOOD


def test_odd_workbooks(tmp_path, refused):
    openpyxl = pytest.importorskip("openpyxl")

    def saved(name, rows, far=False):
        book = openpyxl.Workbook(write_only=False)
        for cells in rows:
            book.active.append(cells)
        if far:  # a mark in the last cell that a sheet has
            book.active.cell(2**20, 2**14, "x")
        book.save(tmp_path / "book.xlsx")
        return written(tmp_path / name, (tmp_path / "book.xlsx").read_bytes())

    good = [["ask", "answer"], ["头痛两天", "发热吗？"]]
    assert reading([str(saved("far.xlsx", good, far=True))])[0][0]["messages"] == GOOD
    assert reading([str(saved("titled.xlsx", [["门诊问答"], [], *good]))])[0][0]["messages"] == GOOD
    assert reading([str(saved("named.csv", good))])[0][0]["messages"] == GOOD
    accepted, _, rejected = reading([str(saved("faults.xlsx", [*good, ["头痛", "#N/A"], ["头痛"]]))])
    assert (len(accepted), [problem.reason for problem in rejected]) == (1, ["empty content"] * 2)
    rows = [["ask", "answer", "answer"], ["头痛两天", "发热吗？", "多休息。"]]
    assert "two columns answer" in refused("data", "check", str(saved("twice.xlsx", rows)))
    assert "two columns ask" in refused("data", "check", str(written(tmp_path / "twice.csv", "ask,ask,answer\n1,2,3\n")))


def test_workbooks_without_their_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(UserError, match=r"medllm_hf\[xlsx\]"):
        list(file_rows(written(tmp_path / "a.xlsx", packed({"[Content_Types].xml": "x"}))))


def test_cells_are_what_they_show(tmp_path):
    """An option of 5% is kept as 0.05, a day as a time at midnight."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["question", "a", "b", "c", "d", "e", "f"])
    book.active.append(["复发率是", 0.05, 0.125, 0.1 + 0.2, 7.0, datetime.datetime(2024, 5, 1), True])
    for column, shown in (("B", "0%"), ("C", "0.0%"), ("F", "yyyy/m/d")):
        book.active[f"{column}2"].number_format = shown
    book.active.append(["合并", "左", None])
    book.active.merge_cells("B3:C3")
    book.save(tmp_path / "a.xlsx")
    rows = [list(row.values()) for _, row in file_rows(tmp_path / "a.xlsx")]
    assert rows == [["复发率是", "5%", "12.5%", "0.3", "7", "2024-05-01", "TRUE"], ["合并", "左", "", "", "", "", ""]]


def grown(path, name, size):
    """The workbook at `path` with a part of `size` spaces more."""
    data = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(data, "a", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as part:
        for _ in range(size // 2**20):
            part.write(b" " * 2**20)
    return written(path.with_name("grown.xlsx"), data.getvalue())


def test_workbooks_have_limits(tmp_path, monkeypatch, refused):
    """Of a bomb nothing is unpacked; nor of one whose texts would all be held in memory."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for cells in (["ask", "answer"], ["头痛两天", "发热吗？"], ["咳嗽", "多喝水"]):
        book.active.append(cells)
    book.save(tmp_path / "a.xlsx")
    assert "at most 200 times" in refused("data", "check", str(grown(tmp_path / "a.xlsx", "xl/worksheets/sheet2.xml", 2**28)))
    monkeypatch.setattr(workbooks, "MOST_HELD", 2**20)
    with pytest.raises(UserError, match="texts of .* save it as CSV"):
        list(file_rows(grown(tmp_path / "a.xlsx", "xl/more.xml", 2**21)))
    monkeypatch.setattr(workbooks, "_MOST_CELLS", 5)
    with pytest.raises(UserError, match="5 cells in all"):
        list(file_rows(tmp_path / "a.xlsx"))
