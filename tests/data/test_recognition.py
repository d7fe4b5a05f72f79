"""What a file is, by its content: encodings, forms of JSON, tables, archives and workbooks; and what is no data file."""

import codecs
import gzip
import io
import json
import tracemalloc
import warnings
import zipfile

import pytest
from support.commands import one_line_error, run

from medllm_hf.data import archives
from medllm_hf.data.build import build
from medllm_hf.data.commands.check import check
from medllm_hf.data.files import file_rows, input_files, parsed
from medllm_hf.data.recognition import recognise
from medllm_hf.errors import UserError
from tests.data.test_formats import TWO_ROUNDS, reading

PAIRS = [{"ask": f"第{i}天头痛，怎么办", "answer": f"先休息{i}天；再来看看"} for i in range(3)]
TABLE = "ask,answer\n" + "".join(f"{row['ask']},{row['answer']}\n" for row in PAIRS)


def rows_of(path, encoding=None):
    return [parsed(raw) for _, raw in file_rows(path, encoding)]


def written(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (TABLE.encode(), "UTF-8"),
        (codecs.BOM_UTF8 + TABLE.encode(), "UTF-8 with a byte order mark"),
        (TABLE.encode("gb18030"), "GB18030"),
        (TABLE.encode("utf-16"), "UTF-16 with a byte order mark"),
        (codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"), "UTF-16 with a byte order mark"),
        (TABLE.replace("，怎么办", "").encode("utf-16-le"), "UTF-16"),
        (TABLE.encode("utf-32"), "UTF-32 with a byte order mark"),
    ],
)
def test_encodings_of_a_table_and_of_json(data, said, tmp_path):
    assert str(recognise(written(tmp_path / "a.csv", data))) == f"a table separated by commas, {said}"
    assert [row["answer"] for row in rows_of(tmp_path / "a.csv")] == [row["answer"] for row in PAIRS]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in PAIRS)
    name = "gb18030" if said == "GB18030" else "utf-16" if "16" in said else "utf-32" if "32" in said else "utf-8-sig"
    assert rows_of(written(tmp_path / "a.jsonl", text.encode(name))) == PAIRS
    assert rows_of(written(tmp_path / "a.json.gz", gzip.compress(json.dumps(PAIRS, ensure_ascii=False).encode(name)))) == PAIRS


def test_an_encoding_that_the_user_names(tmp_path, refused):
    path = written(tmp_path / "a.csv", "ask,answer\n頭痛,請休息\n".encode("big5"))
    assert rows_of(path, "big5") == [{"ask": "頭痛", "answer": "請休息"}]
    assert check([str(path)], encoding="big5") == 0
    for name in ("klingon", "base64", "a\0", "idna", "punycode", "undefined", "unicode_escape"):
        assert "--encoding" in refused("data", "check", str(path), "--encoding", name.replace("\0", " "))


@pytest.mark.parametrize(
    ("asked", "answer", "encoding"),
    [
        ("請問醫生，我頭痛三天了，還發燒，要緊嗎？", "建議您儘快到內科門診檢查血壓。", "big5"),
        ("三日前から頭が痛くて熱もあります。", "水分をとって、内科を受診してください。", "shift_jis"),
        ("三日前から頭が痛くて熱もあります。", "水分をとって、内科を受診してください。", "euc_jp"),
        ("사흘 전부터 머리가 아프고 열이 납니다. 병원에 가야 할까요?", "물을 많이 드시고 내과에 가 보세요.", "euc_kr"),
        ("У меня третий день болит голова, что делать?", "Измерьте давление и приходите на приём.", "cp1251"),
        ("Depuis trois jours, j'ai mal à la tête.", "Reposez-vous et consultez le médecin.", "cp1252"),
        ("ฉันปวดหัวมาสามวันแล้ว", "ดื่มน้ำมากๆ และไปพบแพทย์", "tis_620"),
    ],
)
def test_other_encodings_are_not_taken_for_gb18030(asked, answer, encoding, tmp_path, refused):
    text = "".join(json.dumps({"ask": f"{asked}{i}", "answer": answer}, ensure_ascii=False) + "\n" for i in range(20))
    table = f'ask,answer\n"{asked}","{answer}"\n'
    for name, content in (("a.jsonl", text), ("a.csv", table)):
        path = str(written(tmp_path / name, content.encode(encoding)))
        assert "--encoding" in refused("data", "check", path)
        assert check([path], encoding=encoding) == 0
    if encoding == "big5":  # traditional Chinese in GB18030 is read
        assert check([str(written(tmp_path / "b.jsonl", text.encode("gb18030")))]) == 0


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(
    "text",
    [
        "问题,回答\n一周来一直头痛,刀豆一般无毒。一一检查一下血压\n" * 40,
        "ask,answer\nThree days of headache,Please rest.\n",
        "問題,回答\n頭痛三天了怎麼辦,請到內科門診檢查\n",
    ],
)
def test_wide_encodings_without_a_mark(text, encoding, tmp_path):
    """Signs such as 一 and 刀 have a zero where those of ASCII have none."""
    path = written(tmp_path / "a.csv", text.encode(encoding))
    assert recognise(path).encoding == encoding
    assert [list(row.values()) for row in rows_of(path)] == [line.split(",") for line in text.splitlines()[1:]]


def test_a_text_that_is_mostly_utf_8_is_not_refused(tmp_path):
    """Three English lines in ten with a quote of Windows: they alone are rejected, and are told."""
    lines = [json.dumps({"ask": f"Headache {i}", "answer": "Rest."}).encode() for i in range(10)]
    lines[2:5] = [line.replace(b"Rest.", b"Don\x92t worry.") for line in lines[2:5]]
    path = str(written(tmp_path / "a.jsonl", b"\n".join(lines)))
    accepted, _, rejected = reading([path])
    assert (len(accepted), len(rejected)) == (7, 3) and "--encoding names another" in rejected[0].reason
    assert check([path], encoding="cp1252") == 0
    rows = "".join(f"Headache {i},Rest.\n" for i in range(9)).encode() + b"Cough,Don\x92t worry.\n"
    rejected = reading([str(written(tmp_path / "b.csv", b"ask,answer\n" + rows))])[2]
    assert [problem.reason for problem in rejected] == ["text that is not valid Unicode; --encoding may name another"]


def test_a_damaged_file_stays_what_most_of_it_is(tmp_path):
    data = TABLE.encode().replace("头".encode(), b"\xc4\xe3", 1)
    assert "UTF-8" in str(recognise(written(tmp_path / "a.csv", data)))
    half = "ask,answer\n头痛,请休息\n".encode("utf-16") + b"\x00"
    found = reading([str(written(tmp_path / "b.csv", half))])
    assert len(found[0]) == 1 and "the rest cannot be read" in found[2][0].reason


TURNS = [{"role": "user", "content": "头痛"}, {"role": "assistant", "content": "多久了？"}]


@pytest.mark.parametrize(
    ("name", "value", "indent", "form", "count"),
    [
        ("array.jsonl", PAIRS, None, "a JSON array", 3),
        ("array.jsonl", PAIRS, 1, "a JSON array", 3),
        ("nested.json", [TURNS] * 3, 1, "a JSON array", 3),
        ("pairs.json", [{"messages": TURNS}] * 2, 2, "a JSON array", 2),
        ("turns.json", TURNS, 1, "one dialogue as a JSON array", 1),
        ("turns.json", TURNS, None, "one dialogue as a JSON array", 1),
        ("marked.json", ["病人：头痛", "医生：多久了？"], 1, "one dialogue as a JSON array", 1),
        ("row.json", {"id": "1", "messages": TURNS}, 2, "JSON objects", 1),
        ("row.json", {"conversation": [{"human": "头痛", "assistant": "多久了？"}]}, 2, "JSON objects", 1),
        ("row.json", {"instruction": "头痛", "input": "", "output": "多久了？"}, 4, "JSON objects", 1),
        (
            "held.json",
            {"version": "1", "info": {"n": [1]}, "rows": PAIRS, "more": PAIRS},
            1,
            "lists of rows in a JSON object",
            6,
        ),
        ("held.json", {"data": [{"question": "头痛", "answer": "多久了？"}] * 2}, 1, "lists of rows in a JSON object", 2),
        ("held.json", {"data": [{"问题": "头痛", "回答": "多久了？"}] * 2}, 1, "lists of rows in a JSON object", 2),
        ("held.json", {"train": [{"messages": TURNS}], "note": "x]"}, None, "lists of rows in a JSON object", 1),
        ("named.json", {"10": {"dialogue": TURNS}, "11": {"dialogue": TURNS}}, 1, "a JSON object of rows", 2),
    ],
)
def test_forms_of_json(name, value, indent, form, count, tmp_path, monkeypatch):
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    for chunk in (2**20, 16):
        monkeypatch.setattr("medllm_hf.data.row_readers.CHUNK", chunk)
        path = written(tmp_path / name, text)
        assert str(recognise(path)) == f"{form}, UTF-8"
        accepted, repaired, rejected = reading([str(path)])
        assert (len(accepted), repaired, rejected) == (count, [], [])


def test_forms_of_many_objects(tmp_path):
    lists = written(tmp_path / "a.jsonl", "".join(json.dumps(TURNS, ensure_ascii=False) + "\n" for _ in range(3)))
    assert len(reading([str(lists)])[0]) == 3
    spread = "\n".join(json.dumps({"messages": TURNS}, indent=1) for _ in range(3))
    assert len(reading([str(written(tmp_path / "b.json", spread))])[0]) == 3
    lines = written(tmp_path / "c.json", "{broken\n" + "".join(json.dumps(row) + "\n" for row in PAIRS))
    assert [len(part) for part in reading([str(lines)])] == [3, 0, 1]
    cut = json.dumps({"rows": PAIRS}, indent=1)[:-40]
    accepted, _, rejected = reading([str(written(tmp_path / "d.json", cut))])
    assert len(accepted) == 2 and "the file ends" in rejected[0].reason


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.tsv", TABLE.replace(",", "\t"), "tabs"),
        ("a.csv", TABLE.replace(",", "\t"), "tabs"),
        ("a.csv", TABLE.replace(",", ";"), "semicolons"),
        ("a.txt", TABLE, "commas"),
        ("a.tsv", TABLE.replace(",", "\t").replace("头痛", '"头痛'), "tabs"),
    ],
)
def test_tables_with_other_separators(name, text, said, tmp_path):
    path = written(tmp_path / name, text)
    assert said in str(recognise(path))
    assert [row["answer"] for row in rows_of(path)] == [row["answer"] for row in PAIRS]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.json", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("a.csv", b"%PDF-1.7\n", "a PDF"),
        ("a.jsonl", b"<!DOCTYPE html><html>", "a web page"),
        ("a.xlsx.txt", b"\xd0\xcf\x11\xe0" + b"x" * 50, "save it as .xlsx"),
        ("a.txt", "第一段话。\n第二段话。\n", "neither JSON nor a table"),
        ("a.data", b"Rar!\x1a\x07", "unpack it"),
        ("a.zip", b"PK\x03\x04broken", "cannot be read"),
        ("a.json", b"\n <!DocType html>\n<p>\n", "a web page"),
        ("a.json", b'<?xml version="1.0"?>\n<a>\n', "an XML file"),
        ("a.xlsx", b"x", "a.xlsx"),
    ],
)
def test_other_files_are_told_as_what_they_are(name, data, said, tmp_path, refused):
    assert said in refused("data", "check", str(written(tmp_path / name, data)))


def test_a_file_of_something_else_is_one_line(tmp_path, capsys):
    """Not one rejected row per line."""
    for name, text in (
        ("a.jsonl", "就是一段话\n" * 50),
        ("b.jsonl", "".join(json.dumps({"title_a": f"题{i}", "body_b": "正文很长很长"}) + "\n" for i in range(50))),
        ("c.csv", "名称,说明\n" + "阿司匹林,解热镇痛药物\n" * 50),
    ):
        assert check([str(written(tmp_path / name, text))]) == 1
        shown = capsys.readouterr().out
        assert "rejected 1" in shown and f"{name}:" in shown, shown
        assert "none of its first 50 rows is a dialogue" in shown
    assert "--columns user=名称,assistant=说明" in shown


def packed(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


def test_archives_stand_for_the_files_in_them(tmp_path, monkeypatch):
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in PAIRS)
    inner = packed({"deep/c.csv": TABLE, "d.jsonl.gz": gzip.compress(lines.encode())})
    files = {"a.jsonl": lines, "in/b.csv": TABLE.encode("gb18030"), "more.zip": inner, "__MACOSX/a.jsonl": "x", "notes.md": "x"}
    written(tmp_path / "talks.zip", packed(files))
    monkeypatch.chdir(tmp_path)
    names = ["talks.zip/a.jsonl", "talks.zip/in/b.csv", "talks.zip/more.zip/d.jsonl.gz", "talks.zip/more.zip/deep/c.csv"]
    assert sorted(map(str, input_files(["talks.zip"]))) == names == sorted(map(str, input_files(["."])))
    assert len(reading(["talks.zip"])[0]) == 12
    assert len(reading(["talks.zip/more.zip/deep/c.csv"])[0]) == 3
    assert {row["source"] for row in reading(["talks.zip"])[0]} == {"a", "b", "c", "d"}
    build(["talks.zip"], "out", "mit")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "(a table separated by commas, GB18030, user in ask, assistant in answer, in talks.zip)" in card
    for name in ("talks.zip/none.csv", "talks.zip/more.zip/none.csv"):
        with pytest.raises(UserError, match="none.csv"):
            reading([name])


def test_no_file_of_an_archive_hides_another(tmp_path):
    """Two of one name, or of one name once `..` is taken out of it; a folder may be called as archives are."""
    for number, name in enumerate(("a.csv", "../a.csv", "/a.csv")):
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr("a.csv", TABLE)
            archive.writestr(name, TABLE)
        with pytest.raises(UserError, match=r"two files .*a\.csv"):
            input_files([str(path)])
    folder = written(tmp_path / "folder.zip", packed({"in.zip/": b"", "in.zip/a.csv": TABLE}))
    assert len(reading([str(folder)])[0]) == 3


def test_archives_have_limits(tmp_path, monkeypatch):
    bomb = written(tmp_path / "bomb.zip", packed({"a.jsonl": b"0" * 2**28}))
    with pytest.raises(UserError, match="at most 200 times"):
        input_files([str(bomb)])
    monkeypatch.setattr(archives, "ENTRIES", 2)
    with pytest.raises(UserError, match="of 3 files"):
        input_files([str(written(tmp_path / "many.zip", packed({f"{i}.csv": "x" for i in range(3)})))])
    data = packed({"a.csv": TABLE})
    for i in range(4):
        data = packed({f"{i}.zip": data})
    with pytest.raises(UserError, match="archives in archives"):
        input_files([str(written(tmp_path / "deep.zip", data))])
    with pytest.raises(UserError, match="no data files"):
        input_files([str(written(tmp_path / "none.zip", packed({"a.md": "x"})))])


def test_damaged_archives_are_told(tmp_path):
    data = bytearray(
        packed({"a.jsonl": "".join(json.dumps({"ask": f"{i * 7919}", "answer": "x"}) + "\n" for i in range(3000))})
    )
    data[200:260] = b"\xff" * 60
    path = written(tmp_path / "a.zip", bytes(data))
    with pytest.raises(UserError, match="cannot be read"):
        list(file_rows(input_files([str(path)])[0]))
    assert "a.zip" in one_line_error(run("medllm", "data", "check", str(path)))


def test_a_large_object_is_not_held_in_memory(tmp_path):
    rows = [{"id": str(i), "messages": TWO_ROUNDS, "more": "长" * 500} for i in range(12_000)]
    path = written(tmp_path / "a.json", json.dumps({"rows": rows}, ensure_ascii=False, indent=1).encode("gb18030"))
    del rows
    tracemalloc.start()
    count = sum(1 for _ in file_rows(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 12_000 and peak < 12 * 2**20


def test_a_line_that_holds_a_list_is_a_row_in_a_file_of_lines(tmp_path):
    value = {"id": "1", "remarks": [{"by": "nurse"}, {"by": "doctor"}], "question": "头痛怎么办", "answer": "先休息。"}
    (tmp_path / "one.jsonl").write_text(json.dumps(value), encoding="utf-8")
    assert [parsed(raw) for _, raw in file_rows(tmp_path / "one.jsonl")] == [value]
    other = {"export": [{"question": "头痛怎么办", "answer": "先休息。"}] * 2, "by": "clinic"}
    (tmp_path / "all.json").write_text(json.dumps(other), encoding="utf-8")
    assert len(list(file_rows(tmp_path / "all.json"))) == 2


def test_the_bars_of_a_token_are_none_between_cells(tmp_path):
    """Of a table without names, too, it is told how its cells are separated."""
    path = tmp_path / "a.csv"
    path.write_text("".join(f"kind,text {i}<|endoftext|>\n" for i in range(9)), encoding="utf-8")
    assert str(recognise(path)) == "a table separated by commas, UTF-8"
