"""Tables that JSON holds by their columns are rows, and not one long dialogue."""

import json

import pytest

from medllm_hf.data.columnar import rows_of
from medllm_hf.data.commands.check import check
from medllm_hf.data.dialogues import Policy, dialogue_rows, examine, read_as

ASKS, SAYS = ["头痛", "发热", "咳嗽"], ["请休息", "多喝水", "别吸烟"]


def pairs(path):
    found = [examine(path, line, raw, "auto", Policy()) for line, raw in dialogue_rows(path, "auto", Policy())]
    assert [problem for _, problem in found if problem] == []
    return [tuple(turn["content"] for turn in row["messages"]) for row, _ in found]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "value",
    [
        {"question": ASKS, "answer": SAYS},
        {"id": [1, 2, 3], "question": ASKS, "answer": SAYS, "source": "网页"},
        {"question": dict(zip("012", ASKS, strict=True)), "answer": dict(zip("012", SAYS, strict=True))},
        {"columns": ["question", "answer"], "index": [0, 1, 2], "data": [list(row) for row in zip(ASKS, SAYS, strict=True)]},
        {"train": {"ask": ASKS[:2], "answer": SAYS[:2]}, "test": {"ask": {"9": ASKS[2]}, "answer": {"9": SAYS[2]}}},
        [{"instruction": "", "instances": [{"input": ask, "output": say} for ask, say in zip(ASKS, SAYS, strict=True)]}],
        {"role": ["user", "assistant"] * 3, "content": [text for row in zip(ASKS, SAYS, strict=True) for text in row],
         "session_id": [n for n in "abc" for _ in "xy"]},
    ],
)  # fmt: skip
def test_a_table_by_columns_is_its_rows(value, indent, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent), encoding="utf-8")
    assert pairs(path) == list(zip(ASKS, SAYS, strict=True))


def test_one_instance_is_a_row_with_what_stands_beside_it():
    row = {"instruction": "请选一项", "instances": {"input": "头痛？", "output": "休息"}}
    assert rows_of(row) == [{"instruction": "请选一项", "instances": None, "input": "头痛？", "output": "休息"}]


def test_a_table_by_columns_is_called_so(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"question": dict(enumerate(ASKS)), "answer": dict(enumerate(SAYS))}), encoding="utf-8")
    assert read_as(path, "auto", Policy()).startswith("a table by its columns in a JSON object, UTF-8, user in question")


@pytest.mark.slow
def test_a_large_table_by_columns_is_known_by_its_beginning(tmp_path):
    for name, table in (("a", list), ("b", lambda texts: {str(i): text for i, text in enumerate(texts)})):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"question": table(ASKS * 20_000), "answer": table(SAYS * 20_000)}), encoding="utf-8")
        assert len(pairs(path)) == 60_000


def test_rows_with_lists_stay_rows(tmp_path):
    for value in (
        {"question": ["一", "二"], "answer": ["三"]},
        {"question": ["一"], "answer": ["二"]},
        ["x"],
        {"columns": [], "data": []},
    ):
        assert rows_of(value) is None
    line = json.dumps({"question": ASKS, "answer": SAYS})
    (tmp_path / "a.jsonl").write_text(f"{line}\n{line}\n", encoding="utf-8")
    found = [examine(tmp_path, n, raw, "auto", Policy()) for n, raw in dialogue_rows(tmp_path / "a.jsonl", "auto", Policy())]
    assert [len(row["messages"]) for row, _ in found] == [6, 6]
    assert [problem.reason for _, problem in found] == ["as many answers as questions were taken as rounds"] * 2


def test_dialogues_without_roles_in_an_array_are_no_table(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([["头痛", "请休息"], ["发热", "多久了？", "两天", "多喝水"]]), encoding="utf-8")
    found = [examine(path, line, raw, "auto", Policy()) for line, raw in dialogue_rows(path, "auto", Policy())]
    assert [len(row["messages"]) for row, _ in found] == [2, 4]
    assert {problem.reason for _, problem in found} == {"texts without roles were taken as user and assistant by turns"}
    path.write_text(json.dumps([["头痛", "请休息", "多喝水"]] * 3), encoding="utf-8")  # it may be a question and two answers
    assert [
        row for line, raw in dialogue_rows(path, "auto", Policy()) for row in examine(path, line, raw, "auto", Policy())[:1]
    ] == [None]


def test_an_object_whose_names_are_questions(tmp_path, capsys):
    path = tmp_path / "faq.json"
    path.write_text(json.dumps({f"头痛{i}天怎么办？": "多休息。" for i in range(4)}), encoding="utf-8")
    assert check([str(path)]) == 0 and "read 4: accepted 4" in capsys.readouterr().out
    path.write_text(json.dumps({f"头痛{i}天": "多休息。" for i in range(4)}), encoding="utf-8")
    assert check([str(path)]) == 1
