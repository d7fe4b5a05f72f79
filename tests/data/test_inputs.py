"""Input files of every kind, broken ones too, folders, globs and datasets of a Hub on loopback."""

import csv
import gzip
import json
import os
import pickle
import tracemalloc

import pyarrow
import pytest
from pyarrow import parquet
from support.commands import one_line_error, run
from support.hub_on_disk import start_hub
from support.paths import OFFLINE

from medllm_hf.data import files
from medllm_hf.data import row_readers as kinds
from medllm_hf.data.commands.build import build
from medllm_hf.data.commands.check import check
from medllm_hf.data.files import BadRow, file_rows, input_files, parsed
from medllm_hf.errors import UserError
from tests.data.test_formats import GOOD, OPTIONS, TWO_ROUNDS, reading, write_lines

ROWS = [
    {"id": "a", "messages": GOOD},
    {"id": "b", "messages": TWO_ROUNDS},
    {"id": "c", "messages": [*GOOD, {"role": "user", "content": '"谢谢"，\\[{\n再见'}, GOOD[1]]},
]


def write_csv(path, rows, columns, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def write_kind(path, rows):
    """Writes rows as the kind that the name of `path` says; an array for `.json`."""
    plain = path.with_name(path.name.removesuffix(".gz"))
    if plain.suffix in (".jsonl", ".ndjson"):
        write_lines(plain, rows)
    elif plain.suffix == ".json":
        plain.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    elif plain.suffix in (".csv", ".tsv"):
        texts = [{"id": row["id"], "messages": json.dumps(row["messages"], ensure_ascii=False)} for row in rows]
        write_csv(plain, texts, ["id", "messages"], "\t" if plain.suffix == ".tsv" else ",")
    elif plain.suffix == ".xlsx":
        book = pytest.importorskip("openpyxl").Workbook(write_only=True)
        sheet = book.create_sheet()
        for cells in [["id", "messages"], *([row["id"], json.dumps(row["messages"], ensure_ascii=False)] for row in rows)]:
            sheet.append(cells)
        book.save(plain)
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), plain)
    if path != plain:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return str(path)


def raws(path):
    """(number, parsed row) of a file, (number, reason) of what cannot be read."""
    found = []
    for number, raw in file_rows(path):
        try:
            found.append((number, parsed(raw)))
        except BadRow as error:
            found.append((number, error.reason))
    return found


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_every_kind_gives_the_same_rows(suffix, tmp_path):
    path = write_kind(tmp_path / f"a.b{suffix}", ROWS)
    loud = (tmp_path / "A").with_suffix(suffix.upper())
    loud.write_bytes((tmp_path / f"a.b{suffix}").read_bytes())
    for file, source in ((path, "a.b"), (str(loud), "A")):
        rows, repaired, rejected = reading([file])
        assert rows == [{"id": row["id"], "source": source, "messages": row["messages"]} for row in ROWS]
        assert repaired + rejected == []


def test_lines_in_a_json_file_and_lists_as_rows(tmp_path):
    lists = [["问：头痛两天", "答：发热吗？"]] * 2
    for path in (write_lines(tmp_path / "a.json", ROWS), write_lines(tmp_path / "b.json", lists)):
        assert [number for number, _ in raws(input_files([path])[0])] == list(range(1, len(reading([path])[0]) + 1))
    (tmp_path / "c.json").write_text(json.dumps(lists), encoding="utf-8")
    assert reading([str(tmp_path / "c.json")])[0] == [{**row, "source": "c"} for row in reading([path])[0]]
    assert [row["messages"] for row in reading([path])[0]] == [GOOD, GOOD]


def test_rows_are_numbered_as_an_editor_shows_them(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"x": 1}\r\n\n  \n{"x": 2}\n{x\n\xff\n{"x": 3}')
    assert [number for number, _ in file_rows(tmp_path / "a.jsonl")] == [1, 4, 5, 6, 7]
    found = raws(tmp_path / "a.jsonl")
    assert (found[0], found[-1]) == ((1, {"x": 1}), (7, {"x": 3}))
    assert "not JSON" in found[2][1] and "not UTF-8" in found[3][1]
    (tmp_path / "a.csv").write_bytes(
        b'\xef\xbb\xbfid,text\r\n1,"two\nlines"\r\n\r\n2,x\r\n3\r\n4,x,y\r\n5,"a"b\r\n6,"x\r\n7,y\r\n'
    )
    assert raws(tmp_path / "a.csv") == [
        *((2, {"id": "1", "text": "two\nlines"}), (5, {"id": "2", "text": "x"})),
        *((6, "1 cells under 2 columns"), (7, "3 cells under 2 columns")),
        *((8, "not CSV (',' expected after '\"')"),),
        (9, "a quote that opens on line 9 is never closed: the 2 lines 9 to 10 are not read; close it, or write it twice"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quote_that_is_never_closed_is_told_with_its_line(end, tmp_path):
    """And how many lines it takes along: to the end, or to the next quote, behind which the rows are read again."""
    rows = [f"{i},咳嗽{i}天,多喝水" for i in range(10)]
    rows[2] = '2,"发热' + end + '两天",退热'
    rows[5] = '5,"夜里咳,得厉害,止咳'
    text = end.join(["id,ask,answer", *rows, ""])
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    found = raws(tmp_path / "a.csv")
    assert [number for number, _ in found] == [2, 3, 4, 6, 7, 8]
    lost = "the 5 lines 8 to 12 are not read; close it, or write it twice"
    assert found[-1][1] == f"a quote that opens on line 8 is never closed: {lost}"
    (tmp_path / "b.csv").write_text(text.replace("8,咳", '8,"咳') + "10,a,b" + end, encoding="utf-8", newline="")
    found = raws(tmp_path / "b.csv")
    assert [number for number, _ in found] == [2, 3, 4, 6, 7, 8, 12, 13]
    assert found[5][1].startswith("a quote that opens on line 8 is not closed before line 11: the 4 lines 8 to 11 are not")
    # A cell over two lines stands before the quote.
    (tmp_path / "c.csv").write_text(f'a,b,c{end}"x{end}y","z,1{end}2,3,4{end}', encoding="utf-8", newline="")
    assert raws(tmp_path / "c.csv")[0][1].startswith("a quote that opens on line 3 is never closed: the 3 lines 2 to 4")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("门诊问答,\nask,answer\n咳嗽,多喝水\n", {"ask": "咳嗽", "answer": "多喝水"}),
        ("sep=;\nask;answer\n咳嗽;多喝水\n", {"ask": "咳嗽", "answer": "多喝水"}),
        ("# exported\n\nask,answer\n咳嗽,多喝水\n", {"ask": "咳嗽", "answer": "多喝水"}),
        ("\n,\nask,answer\n咳嗽,多喝水\n", {"ask": "咳嗽", "answer": "多喝水"}),
        (",text\n0,咳嗽\n1,头痛\n", {"": "0", "text": "咳嗽"}),
        ("text,\n咳嗽,\n头痛,\n", {"text": "咳嗽", "": ""}),
        ("text\n咳嗽\n头痛\n", {"text": "咳嗽"}),
        ("#,ask\n1,咳嗽\n", {"#": "1", "ask": "咳嗽"}),
    ],
)
def test_what_stands_above_the_names_of_the_columns(text, first, tmp_path):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert raws(tmp_path / "a.csv")[0][1] == first


def test_csv_of_other_formats(tmp_path):
    table = [{"instruction": "没有", "input": "", "output": "多休息。", "history": '[["头痛两天", "发热吗？"]]'}]
    assert reading([write_csv(tmp_path / "a.csv", table, list(table[0]))])[0][0]["messages"] == TWO_ROUNDS
    table = [{"id": "1", "question": "解热药是", "options": json.dumps(OPTIONS), "answer": "A"}]
    assert reading([write_csv(tmp_path / "b.csv", table, list(table[0]))])[0][0]["messages"][1]["content"] == "答案：阿司匹林"
    (tmp_path / "c.csv").write_bytes("instruction,output\n你好,好\n问题,你好\n".encode() + b"\xc4\xe3\xff,x\n")
    assert "Unicode" in reading([str(tmp_path / "c.csv")])[2][0].reason


def test_lines_of_json_that_end_as_on_an_old_macintosh(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"x": 1}\r{"x": "2\\r"}\r\r{"x": 3}\r')
    assert [row["x"] for _, row in raws(tmp_path / "a.jsonl")] == [1, "2\r", 3]


def test_csv_written_by_hand_with_a_space_before_the_quotes(tmp_path):
    (tmp_path / "a.csv").write_text('question, answer\n头痛两天, "多喝水, 多休息"\n"咳嗽, 有痰", 去看医生\n', encoding="utf-8")
    accepted, _, rejected = reading([str(tmp_path / "a.csv")])
    assert [[turn["content"] for turn in row["messages"]] for row in accepted] == [
        ["头痛两天", "多喝水, 多休息"],
        ["咳嗽, 有痰", "去看医生"],
    ]
    assert rejected == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[]", []),
        (' \n[ {"x": "]}\\"" } , 2 ,"]", [[]] ] \n', [{"x": ']}"'}, 2, "]", [[]]]),
        ('[{"x": 1}, {x}, {"x": 2} {}, {"x": 3}]', [{"x": 1}, "not JSON", "not JSON", {"x": 3}]),
        ("[{]", ["the file ends"]),
        ("[1,,2,]", [1, "nothing before", 2, "nothing before"]),
        ('[{"x": 1}, {"x": "2}, {"x": 3}]', [{"x": 1}, "the file ends"]),
        ('[{"x": 1}, ', [{"x": 1}, "the file ends"]),
        ('[{"x": 1}]\n{"x": 2}', [{"x": 1}, "text after the end"]),
        ('[{"x": 1}, NaN}, 2]', [{"x": 1}, "not JSON", 2]),
        ("", []),
    ],
)
def test_arrays_broken_and_whole(text, found, tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text(text.replace("[{]", '[{"x": 1]'), encoding="utf-8")
    for chunk in (2**20, 7):
        monkeypatch.setattr(kinds, "CHUNK", chunk)
        got = raws(tmp_path / "a.json")
        assert [number for number, _ in got] == list(range(1, len(found) + 1))
        for (_, row), expected in zip(got, found, strict=True):
            assert row == expected or (isinstance(row, str) and isinstance(expected, str) and expected in row)


def test_a_broken_tail_is_one_bad_row(tmp_path):
    rows = [{"id": str(i), "messages": [GOOD[0], {"role": "assistant", "content": os.urandom(500).hex()}]} for i in range(900)]
    for suffix in (".jsonl.gz", ".json.gz", ".csv.gz"):
        path = tmp_path / f"a{suffix}"
        write_kind(path, rows)
        path.write_bytes(path.read_bytes()[:-9000])
        whole, _, rejected = reading([str(path)])
        assert 100 < len(whole) < 900
        assert [problem.field for problem in rejected] == ["file"]
        assert "the rest cannot be read" in rejected[0].reason
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=100)
    data = bytearray(path.read_bytes())
    offset = parquet.ParquetFile(path).metadata.row_group(5).column(0).data_page_offset
    data[offset : offset + 20_000] = b"\xff" * 20_000
    path.write_bytes(data)
    whole, _, rejected = reading([str(path)])
    assert (len(whole), [(problem.line, problem.field) for problem in rejected]) == (500, [(501, "file")])
    assert "400 of 900 rows" in rejected[0].reason


@pytest.mark.parametrize(
    ("name", "data", "named"),
    [
        ("a.jsonl.gz", b'{"x": 1}', "gzip"),
        ("a.jsonl.gz", gzip.compress(b"x" * 100, mtime=0)[:12], "cannot be read"),
        ("a.parquet", b"PAR1" + b"x" * 50, "cannot be read"),
        ("a.csv", b"x,x\n1,2\n", "two columns x"),
        ("a.csv", b"\x00\x01\x02,\xff\n", "which is no text"),
        ("a.csv", b"\x01\x02,\x03\n", "without column names"),
        ("a.csv", b'"x\n1,2\n', "without column names"),
        ("a.txt", b"x", "convert it"),
        ("a.ods", b"PK\x03\x04" + b"\0" * 26 + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "OpenDocument"),
        ("a.arrow", b"\xff\xff\xff\xff" + b"\0" * 60, "a stream of Arrow"),
        ("a.csv", "ask,answer\n头痛,休息\n咳嗽,喝水\n".encode("hz"), "--encoding"),
        ("a.jsonl", '{"ask": "頭痛", "answer": "休息"}\n'.encode("iso2022_jp"), "--encoding"),
    ],
)
def test_files_that_cannot_be_read(name, data, named, tmp_path, refused):
    (tmp_path / name).write_bytes(data)
    message = refused("data", "check", str(tmp_path / name))
    assert named in message and name in message


def test_parquet_keeps_to_the_columns_that_matter(tmp_path):
    times = pyarrow.array([2**62], type=pyarrow.timestamp("us"))  # no Python date is that late
    broken = pyarrow.Array.from_buffers(pyarrow.string(), 1, pyarrow.array([b"\xff"]).buffers())
    table = pyarrow.Table.from_pylist(ROWS[:1]).append_column("time", times)
    parquet.write_table(table, tmp_path / "a.parquet")
    parquet.write_table(pyarrow.concat_tables([table, table.set_column(0, "id", broken)]), tmp_path / "b.parquet")
    assert [row["messages"] for row in reading([str(tmp_path / "a.parquet")])[0]] == [GOOD]
    rows, _, rejected = reading([str(tmp_path / "b.parquet")])
    assert (len(rows), [problem.line for problem in rejected]) == (1, [2])


def test_long_rows_do_not_take_the_file_along(tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "LARGEST_ROW", 500)
    monkeypatch.setattr(kinds, "CHUNK", 100)
    long = {"x": "长" * 300}
    write_lines(tmp_path / "a.jsonl", [{"x": 1}, long, {"x": 2}])
    assert raws(tmp_path / "a.jsonl") == [(1, {"x": 1}), (2, "longer than 500 bytes"), (3, {"x": 2})]
    (tmp_path / "a.json").write_text(json.dumps([{"x": 1}, {"x": "长" * 50}, long, {"x": 2}]), encoding="utf-8")
    assert [number for number, _ in raws(tmp_path / "a.json")] == [1, 2, 3]
    assert "the rest is not read" in raws(tmp_path / "a.json")[2][1]
    write_csv(tmp_path / "a.csv", [{"x": 1}, {"x": "long" * 300}, {"x": 2}], ["x"])
    assert [number for number, row in raws(tmp_path / "a.csv") if isinstance(row, dict)] == [2, 4]


@pytest.mark.parametrize(
    "suffix", [pytest.param(one, marks=[pytest.mark.slow] * one.endswith(".gz")) for one in files.SUFFIXES]
)
def test_files_are_not_held_in_memory(suffix, tmp_path):
    rows = [
        {"id": str(i), "messages": [GOOD[0], {"role": "assistant", "content": os.urandom(1500).hex()}]} for i in range(9000)
    ]
    path = tmp_path / f"a{suffix}"
    write_kind(path, rows)
    del rows
    arrow, number = 0, 0
    tracemalloc.start()
    for number, _ in file_rows(path):  # noqa: B007
        arrow = max(arrow, pyarrow.total_allocated_bytes())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number >= 9000
    assert max(peak, arrow) < 12 * 2**20  # of 27 MiB


def test_bad_rows_reach_worker_processes():
    copy = pickle.loads(pickle.dumps(BadRow("turn 1", "\x1b", fatal=True)))
    assert (copy.where, copy.reason, copy.fatal) == ("turn 1", r"\x1b", True)


def test_folders_globs_and_names(tmp_path, monkeypatch):
    for name in (
        "b/x.jsonl",
        "b/deep/y.json",
        "b/.hidden/z.jsonl",
        "b/.z.csv",
        "b/dataset_infos.json",
        "b/notes.txt",
        "a.jsonl",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_lines(tmp_path / name, ROWS[:1])
    monkeypatch.chdir(tmp_path)

    def names(*inputs):
        return [str(file) for file in input_files(list(inputs))]

    assert names("b") == ["b/deep/y.json", "b/x.jsonl"]
    assert names("b/x.jsonl", "b", "./b/../b/x.jsonl") == ["b/x.jsonl", "b/deep/y.json"]
    assert names("*.jsonl", "b/**/*") == ["a.jsonl", "b/dataset_infos.json", "b/deep/y.json", "b/x.jsonl"]
    assert names("b/dataset_infos.json") == ["b/dataset_infos.json"]
    write_lines(tmp_path / "[1].jsonl", ROWS[:1])
    assert names("[1].jsonl") == ["[1].jsonl"]  # a file before a pattern
    (tmp_path / "empty").mkdir()
    for name in ("empty", "*.parquet", "none.jsonl", "b/none.jsonl", "./none", "none/none/none"):
        with pytest.raises(UserError, match="none|parquet|empty"):
            input_files([name])


def test_files_in_a_folder_that_are_not_read_are_told(tmp_path, capsys):
    for name in ("rows/a.jsonl", "rows/old.xls", "rows/more/b.jsonl.zst", "rows/.cache/c.arrow", "rows/notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_lines(tmp_path / name, ROWS[:1])
    told = f"2 files of other kinds not read, such as {tmp_path}/rows/more/b.jsonl.zst; name it to see why"
    assert check([str(tmp_path / "rows")]) == 0
    assert told in capsys.readouterr().out
    build([str(tmp_path / "rows")], str(tmp_path / "out"), license="mit")
    assert told in capsys.readouterr().out
    assert check([str(tmp_path / "rows" / "a.jsonl")]) == 0
    assert "not read" not in capsys.readouterr().out


def test_a_dataset_of_the_hub_at_a_revision(tmp_path):
    """The unmodified client against a Hub on loopback: the revision asked for, data files only, then offline from the cache."""
    (tmp_path / "v1" / "data").mkdir(parents=True)
    write_kind(tmp_path / "v1" / "data" / "train.parquet", ROWS[:2])
    write_kind(tmp_path / "v1" / "more.jsonl.gz", ROWS[2:])
    (tmp_path / "v1" / "load.py").write_text("raise SystemExit('remote code was run')")
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "README.md").write_text("nothing yet")
    hub = start_hub(tmp_path / "hub")
    for revision in ("v1", "main"):
        hub.store.put("datasets", "org/med", tmp_path / revision, revision)
    online = hub.environment(tmp_path / "home", token=None)
    command = ("medllm", "data", "check", "org/med", "--revision", "v1")
    try:
        done = run(*command, env=online)
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "read 3: accepted 3, repaired 0, rejected 0"), done.stderr
        assert not [path for _, path in hub.requests if path.endswith(".py")]
        assert "no data files in org/med" in one_line_error(run(*command[:-2], env=online))
        assert "org/none" in one_line_error(run("medllm", "data", "check", "org/none", env=online))
        assert "v2" in one_line_error(run(*command[:-1], "v2", env=online))
    finally:
        hub.close()
    offline = {**online, **OFFLINE}
    assert run(*command, env=offline).stdout == done.stdout
    assert "org/none" in one_line_error(run("medllm", "data", "check", "org/none", env=offline))


def test_a_bad_file_in_a_folder_stops_no_check_of_the_others(tmp_path, capsys):
    write_lines(tmp_path / "a.jsonl", [{"messages": GOOD}])
    (tmp_path / "b.json").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (tmp_path / "c.csv").write_bytes(b"%PDF-1.7\n")
    (tmp_path / "d.zip").write_bytes(b"PK\x03\x04broken")
    write_lines(tmp_path / "e.jsonl", [{"messages": GOOD}])
    assert check([str(tmp_path)]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "read 2: accepted 2, repaired 0, rejected 0"
    bad = [line for line in shown if line.startswith("not read: ")]
    assert [name for name in ("b.json", "c.csv", "d.zip") if name in "\n".join(bad)] == ["b.json", "c.csv", "d.zip"]
    assert len(bad) == 3 and "git lfs pull" in bad[0]
    with pytest.raises(
        UserError, match=r"3 of 5 files that cannot be read: .*b.json, a Git LFS.*c.csv, a PDF.*d.zip"
    ) as caught:
        build([str(tmp_path)], str(tmp_path.parent / "out"), license="mit")
    assert "\n" not in str(caught.value) and not (tmp_path.parent / "out").exists()
    with pytest.raises(UserError, match="c.csv, a PDF"):  # a file alone is refused as it is
        check([str(tmp_path / "c.csv")])
    with pytest.raises(UserError, match="c.csv, a PDF"):
        build([str(tmp_path / "a.jsonl"), str(tmp_path / "c.csv")], str(tmp_path.parent / "out"), license="mit")
