"""20,000 rows of junk in files of every kind: nothing raises, and accepted + repaired + rejected = read = written."""

import csv
import gzip
import io
import json
import pickle
import random
from collections import Counter

import pyarrow
import pytest
from pyarrow import parquet

from medllm_hf.control_tokens import CONTROL_TOKENS
from medllm_hf.data.commands.check import check
from medllm_hf.data.dialogues import Policy, examine
from medllm_hf.data.files import SUFFIXES, file_rows
from medllm_hf.errors import UserError
from tests.data.test_formats import PUBLISHED

QUICK = (".jsonl", ".csv", ".parquet")
# A workbook holds what a table does, and no broken rows.
KINDS = [pytest.param(one, marks=[pytest.mark.slow] * (one not in QUICK)) for one in SUFFIXES if one != ".xlsx"]
ROWS, USUAL = 20_000, Policy()
TURN = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
DATASET = pyarrow.schema([("id", pyarrow.string()), ("source", pyarrow.string()), ("messages", pyarrow.list_(TURN))])
GOOD = [row for rows, _ in PUBLISHED.values() for row, _, _ in rows]
DIALOGUES = [messages for rows, _ in PUBLISHED.values() for _, _, messages in rows]
USER = {"role": "user", "content": "还有"}
LONG = {"messages": [{"role": "user", "content": "长" * 300_000}, {"role": "assistant", "content": "x"}]}


def struct(*names):
    return pyarrow.struct([(name, pyarrow.string()) for name in names])


def inferred(name: str) -> pyarrow.DataType:
    """The type of a column by the values in the rows; of several kinds of them it is text."""
    try:
        return pyarrow.infer_type([row[name] for row in GOOD if isinstance(row, dict) and row.get(name) is not None])
    except pyarrow.ArrowInvalid:
        return pyarrow.string()


# The columns of all formats, as Parquet types them; CSV has the same. What no line here types is typed by its values.
COLUMNS = {
    **{name: inferred(name) for row in GOOD if isinstance(row, dict) for name in row},
    **dict.fromkeys(("id", "source", "system", "instruction", "input", "output", "question", "answer"), pyarrow.string()),
    **dict.fromkeys(("ask", "query", "Question", "Response", "system_prompt", "问题", "回答"), pyarrow.string()),
    **{"messages": pyarrow.list_(struct("role", "content")), "conversation": pyarrow.list_(struct("role", "content"))},
    **{"conversations": pyarrow.list_(struct("from", "value")), "data": pyarrow.list_(pyarrow.string())},
    **{"options": struct("A", "B", "C"), "history": pyarrow.list_(pyarrow.list_(pyarrow.string())), "_id": pyarrow.int64()},
}
DEEP = [b'{"messages": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", b'{"data":' * 20_000 + b"1" + b"}" * 20_000]
RAW = [
    b'{"messages": [], "messages": {"a": 1}, "messages": null}',
    b'{"id": ' + b"9" * 5_000 + b', "messages": []}',
    b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
    b'{"messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
    *(b'"\x00"', b"{x}", b"nul", b"[1 2]", b"{}}", b"\xf0\x9f", b"-", b"'messages'", b"\x00"),
]


def junk(rng, depth=0):
    """A value of any type, nested a little."""
    leaves = [None, True, 0, -1, 10**30, 1.5, float("nan"), float("inf"), "", " \n", "\x00", "\ud800", "\u2028", "user", "x"]
    leaves += ["头痛" * rng.choice([1, 1, 9, 2_000]), rng.choice(CONTROL_TOKENS), '{"role": "user"}', "[[", "问：", [], {}]
    if depth > 3 or rng.random() < 0.6:
        return rng.choice(leaves)
    names = ["role", "content", "from", "value", "human", "assistant", "messages", "conversation", "id", "\udfff", "", "A"]
    if rng.random() < 0.5:
        return [junk(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(names): junk(rng, depth + 1) for _ in range(rng.randrange(4))}


def changed(rng, value):
    """A copy of `value` in which one place, however deep, is replaced, left out, doubled or put elsewhere."""
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        change = rng.randrange(5)
        if change == 0:
            return {name: old for name, old in value.items() if name != key}
        if change == 1:
            return {**value, rng.choice(list(COLUMNS)): junk(rng)}
        return {**value, key: changed(rng, value[key]) if change > 2 else junk(rng)}
    if isinstance(value, list) and value:
        at = rng.randrange(len(value))
        middle = rng.choice([[], [value[at]] * 2, [junk(rng)], [changed(rng, value[at])], [changed(rng, value[at])]])
        return value[:at] + middle + value[at + 1 :]
    return junk(rng)


def fuzzed(seed):
    """20,000 rows, each a value or the bytes of one, with the verdict where it is known."""
    rng = random.Random(seed)
    rows = [(GOOD[0], "accepted"), *[(LONG, "accepted")] * 9, *[(deep, "rejected") for deep in DEEP] * 9]
    while len(rows) < ROWS:
        row, choice = rng.choice(GOOD), rng.random()
        if choice < 0.1:
            rows.append((row, "accepted"))
        elif choice < 0.2:
            rows.append(({"messages": [*rng.choice(DIALOGUES), USER]}, "repaired"))
        elif choice < 0.3:
            rows.append((rng.choice(RAW), "rejected"))
        elif choice < 0.35:
            rows.append((junk(rng), None))
        else:
            for _ in range(rng.randrange(1, 4)):
                row = changed(rng, row)
            rows.append((row, None))
    return rows


def as_json(row):
    """The bytes of a row; half of a surrogate pair stays escaped."""
    return row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=True).encode()


def as_csv(rows, delimiter):
    """A table of the columns of all formats; values that are no texts are JSON, rows that are no objects are ragged."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(COLUMNS)
    for row, _ in rows:
        if isinstance(row, dict):
            cells = [row.get(name, "") for name in COLUMNS]
            writer.writerow([cell if isinstance(cell, str) else json.dumps(cell) if cell is not None else "" for cell in cells])
        else:
            writer.writerow([as_json(row).decode("latin-1")] * 2)
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_arrow(rows):
    """A table of typed columns; a value of another type is missing, and the source of some rows is not UTF-8."""
    columns = {}
    for name, kind in COLUMNS.items():
        cells = []
        for row, _ in rows:
            try:
                cells.append(pyarrow.scalar(row[name], type=kind).as_py() if isinstance(row, dict) and name in row else None)
            except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
                cells.append(None)
        columns[name] = pyarrow.array(cells, type=kind)
    sources = pyarrow.array([b"\xff\xfe" if isinstance(row, bytes) else b"x" for row, _ in rows], type=pyarrow.binary())
    return pyarrow.table({**columns, "source": sources.view(pyarrow.string())})


def write(folder, suffix, rows):
    """Writes the rows as a file of the kind; returns its path."""
    path, data = folder / f"rows{suffix}", b""
    if suffix == ".parquet":
        parquet.write_table(as_arrow(rows), path)
        return path
    if ".jsonl" in suffix or ".ndjson" in suffix:
        data = b"\n".join(as_json(row) for row, _ in rows)
    elif ".json" in suffix:
        data = b"[" + b",".join(as_json(row) for row, _ in rows) + b"]"
    else:
        data = as_csv(rows, "\t" if ".tsv" in suffix else ",")
    path.write_bytes(gzip.compress(data, 1) if suffix.endswith(".gz") else data)
    return path


@pytest.fixture(scope="module")
def rows():
    return fuzzed(seed=4)


def test_the_rows_are_varied(rows):
    known = Counter(verdict for _, verdict in rows)
    assert all(known[verdict] > 1_500 for verdict in ("accepted", "repaired", "rejected"))
    assert known[None] > 12_000


@pytest.mark.parametrize("suffix", KINDS)
def test_every_row_is_accounted_for(suffix, rows, tmp_path, capsys):
    path = write(tmp_path, suffix, rows)
    found = [(line, *examine(path, line, raw, "auto", USUAL)) for line, raw in file_rows(path)]
    assert len(found) == ROWS
    assert sorted({line for line, _, _ in found}) == [line for line, _, _ in found]
    verdicts = ["accepted" if problem is None else "repaired" if row else "rejected" for _, row, problem in found]
    if suffix != ".parquet":  # which cannot hold every row as it is
        for (row, expected), verdict in zip(rows, verdicts, strict=True):
            if expected and (isinstance(row, dict) or "json" in suffix):
                assert verdict == expected, row
    whole = [row for _, row, _ in found if row]
    for row in whole:
        roles = [turn["role"] for turn in row["messages"] if turn["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) and roles
        assert all(turn["content"].strip() for turn in row["messages"])
    table = pyarrow.Table.from_pylist(whole, schema=DATASET)
    assert table.num_rows > 2_000 and table.nbytes > 9 * 900_000
    assert pickle.loads(pickle.dumps(found)) == found
    counts = Counter(verdicts)
    assert all(counts[verdict] > 1_000 for verdict in ("accepted", "repaired", "rejected"))
    assert check([str(path)], list_file=str(tmp_path / "problems.jsonl")) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"read {ROWS}: " + ", ".join(f"{name} {counts[name]}" for name in ("accepted", "repaired", "rejected"))
    assert (tmp_path / "problems.jsonl").read_bytes().count(b"\n") == counts["repaired"] + counts["rejected"]


@pytest.mark.parametrize("suffix", KINDS)
def test_damaged_files_are_read_or_refused(suffix, tmp_path):
    """Bytes changed, cut out, doubled and cut off: whole files may be refused, in one line; nothing else is raised."""
    rng, refused = random.Random(5), 0
    data = write(tmp_path, suffix, [(row, None) for row in GOOD * 3]).read_bytes()
    path = tmp_path / f"damaged{suffix}"
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 1, 3, 30])):
            at, size = rng.randrange(len(damaged) + 1), rng.randrange(20)
            damaged[at : at + size] = rng.choice(
                [b"", rng.randbytes(size), rng.randbytes(1), damaged[at : at + size] * 2, b'"']
            )
        path.write_bytes(damaged[: rng.choice([None, None, rng.randrange(len(damaged))])])
        try:
            for line, raw in file_rows(path):
                row, problem = examine(path, line, raw, "auto", USUAL)
                assert (row is None) <= (problem is not None)
        except UserError as error:
            assert path.name in str(error)
            refused += 1
    assert refused <= {".jsonl": 0, ".json": 0, ".csv": 150}.get(suffix, 299)
