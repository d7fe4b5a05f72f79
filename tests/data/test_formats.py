"""Formats of dialogues: three rows in, exact messages out, a bad row that is named; policies; the report of `data check`."""

import json
from pathlib import Path

import pytest
from support.commands import run

from medllm_hf.data.check import SHOWN
from medllm_hf.data.commands.check import check
from medllm_hf.data.dialogues import MOST_REASONS, Policy, Rejections, dialogue, examine
from medllm_hf.data.files import BadRow, file_rows, input_files
from medllm_hf.data.formats import FORMATS
from medllm_hf.errors import UserError

USER, ANSWER = {"role": "user", "content": "头痛两天"}, {"role": "assistant", "content": "发热吗？"}
GOOD = [USER, ANSWER]
TWO_ROUNDS = [*GOOD, {"role": "user", "content": "没有"}, {"role": "assistant", "content": "多休息。"}]
SYSTEM = {"role": "system", "content": "你是医生"}
USUAL = Policy()
OPTIONS = {"A": "阿司匹林", "B": "青霉素", "C": "胰岛素"}
LINES = "A. 阿司匹林\nB. 青霉素\nC. 胰岛素"


def from_value(turns, names):
    return [{"from": names.get(turn["role"], turn["role"]), "value": turn["content"]} for turn in turns]


# Format: three rows with their ids and messages, then a bad row with the field and the reason that are named.
PUBLISHED = {
    "disc": (
        [
            ({"_id": "01-1", "source": "meddial", "conversation": GOOD}, "01-1", GOOD),
            ({"_id": "01-2", "source": "meddial", "conversation": TWO_ROUNDS}, "01-2", TWO_ROUNDS),
            ({"_id": 3, "conversation": [SYSTEM, *GOOD]}, "3", [SYSTEM, *GOOD]),
        ],
        ({"conversation": [USER, {"role": "assistant"}]}, "conversation[1]", "not an object with the texts role and content"),
    ),
    "messages": (
        [
            ({"id": "a", "messages": GOOD}, "a", GOOD),
            ({"id": "b", "messages": [{**turn, "name": None} for turn in TWO_ROUNDS]}, "b", TWO_ROUNDS),
            ({"id": "c", "messages": GOOD, "system": "你是医生"}, "c", [SYSTEM, *GOOD]),
        ],
        (
            {"messages": [USER, {"role": "neighbour", "content": "x"}]},
            "turn 1",
            "role 'neighbour' where assistant was expected",
        ),
    ),
    "firefly": (
        [
            (
                {"conversation_id": 7, "category": "医疗", "conversation": [{"human": "头痛两天", "assistant": "发热吗？"}]},
                "7",
                GOOD,
            ),
            (
                {
                    "conversation_id": 8,
                    "conversation": [
                        {"human": "头痛两天", "assistant": "发热吗？"},
                        {"assistant": "多休息。", "human": "没有"},
                    ],
                },
                "8",
                TWO_ROUNDS,
            ),
            (
                {"conversation_id": 9, "system": "你是医生", "conversation": [{"human": "头痛两天", "assistant": "发热吗？"}]},
                "9",
                [SYSTEM, *GOOD],
            ),
        ],
        ({"conversation": [{"human": "头痛", "assistant": None}]}, "conversation[0].assistant", "nothing, not a text"),
    ),
    "sharegpt": (
        [
            ({"id": "x1", "conversations": from_value(GOOD, {"user": "human", "assistant": "gpt"})}, "x1", GOOD),
            ({"id": "x2", "conversations": from_value(TWO_ROUNDS, {})}, "x2", TWO_ROUNDS),
            (
                {"id": "x3", "conversations": from_value([SYSTEM, *GOOD], {"user": "human", "assistant": "gpt"})},
                "x3",
                [SYSTEM, *GOOD],
            ),
        ],
        ({"conversations": [{"from": "gpt", "value": "你好"}]}, "dialogue", "no answer by the assistant"),
    ),
    "alpaca": (
        [
            ({"id": "1", "instruction": "头痛两天", "input": "", "output": "发热吗？"}, "1", GOOD),
            (
                {"id": "2", "instruction": "没有", "output": "多休息。", "history": [["头痛两天", "发热吗？"]]},
                "2",
                TWO_ROUNDS,
            ),
            (
                {
                    "id": "3",
                    "system": "你是医生",
                    "instruction": "请回答",
                    "input": "头痛两天",
                    "output": "发热吗？",
                    "history": [],
                },
                "3",
                [SYSTEM, {"role": "user", "content": "请回答\n头痛两天"}, ANSWER],
            ),
        ],
        ({"instruction": "头痛", "output": "好", "history": [["只有问"]]}, "history[0]", "neither a turn nor a pair of texts"),
    ),
    "huatuo": (
        [
            ({"id": "h1", "data": ["问：头痛两天", "答：发热吗？"]}, "h1", GOOD),
            ({"id": "h2", "data": ["问:头痛两天", "答:发热吗？", "问：没有", "答:多休息。"]}, "h2", TWO_ROUNDS),
            (["问：头痛两天", "答：发热吗？"], None, GOOD),
        ],
        ({"data": ["问：头痛", "阿姨：好"]}, "data[1]", "not a text that begins with 问：, 答： or another role"),
    ),
    "pair": (
        [
            ({"id": "p1", "ask": "头痛两天", "answer": "发热吗？"}, "p1", GOOD),
            ({"id": "p2", "Question": "没有", "Response": "多休息。", "history": [["头痛两天", "发热吗？"]]}, "p2", TWO_ROUNDS),
            ({"id": "p3", "system_prompt": "你是医生", "问题": "头痛两天", "回答": "发热吗？"}, "p3", [SYSTEM, *GOOD]),
        ],
        ({"query": "头痛两天", "response": None}, "response", "nothing, not a text"),
    ),
    "mcq": (
        [
            (
                {"id": "q1", "question": "解热药是", "options": OPTIONS, "answer": "A"},
                "q1",
                [{"role": "user", "content": "解热药是"}, {"role": "assistant", "content": "答案：阿司匹林"}],
            ),
            (
                {"id": "q2", "question": "注射的有", "options": OPTIONS, "answer": "CB"},
                "q2",
                [{"role": "user", "content": "注射的有"}, {"role": "assistant", "content": "答案：青霉素、胰岛素"}],
            ),
            (
                {"id": 3, "question": "解热药是", "options": json.dumps(OPTIONS), "answer": "A"},
                "3",
                [{"role": "user", "content": "解热药是"}, {"role": "assistant", "content": "答案：阿司匹林"}],
            ),
        ],
        ({"question": "解热药是", "options": OPTIONS, "answer": "D"}, "question", "answer 'D'"),
    ),
}


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def reading(inputs, format="auto", policy=USUAL):
    """Rows, repaired and rejected of the inputs."""
    rows, repaired, rejected = [], [], []
    for file in input_files(inputs):
        for line, raw in file_rows(file):
            row, problem = examine(file, line, raw, format, policy)
            rows += [row] if row else []
            (repaired if row else rejected).extend([problem] if problem else [])
    return rows, repaired, rejected


def test_every_format_has_its_rows():
    assert set(PUBLISHED) == set(FORMATS)


@pytest.mark.parametrize("named", [True, False], ids=["named", "detected"])
@pytest.mark.parametrize("format", FORMATS)
def test_rows_in_messages_out(format, named, tmp_path):
    good, (bad, where, reason) = PUBLISHED[format]
    path = write_lines(tmp_path / "川.sft.jsonl", [row for row, _, _ in good] + [bad])
    rows, repaired, rejected = reading([path], format if named else "auto")
    assert [row["messages"] for row in rows] == [messages for _, _, messages in good]
    for row, (given, identity, _) in zip(rows, good, strict=True):
        assert list(row) == ["id", "source", "messages"]
        assert row["source"] == (given.get("source") if isinstance(given, dict) else None) or "川.sft"
        assert row["id"] == identity if identity else len(row["id"]) == 16
    assert repaired == []
    assert [(p.file, p.line, p.field) for p in rejected] == [(path, 4, where)]
    assert reason in rejected[0].reason


def test_source_is_the_rows_own_or_the_file(tmp_path):
    rows, _, _ = reading(
        [write_lines(tmp_path / "a.b.jsonl", [{"messages": GOOD, "source": s} for s in ("own", " ", 1, None)])]
    )
    assert [row["source"] for row in rows] == ["own", "a.b", "a.b", "a.b"]


@pytest.mark.parametrize(
    ("row", "where", "reason"),
    [
        ({"messages": "x"}, "messages", "not JSON"),
        ({"messages": '"x"'}, "messages", "a text, not a list"),
        ({"messages": []}, "dialogue", "no answer"),
        ({"messages": [USER]}, "dialogue", "no answer"),
        ({"messages": [SYSTEM, USER]}, "dialogue", "no answer"),
        ({"messages": [USER, USER]}, "turn 1", "where assistant"),
        ({"messages": [*GOOD, SYSTEM]}, "turn 2", "where user"),
        ({"messages": [*GOOD, ANSWER]}, "turn 2", "where user"),
        ({"messages": [{"role": "doctor\u2028\x1b[2J", "content": "x"}, ANSWER]}, "turn 0", r"'doctor\u2028\x1b[2J'"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "messages[1]", "not a text"),
        ({"messages": [USER, {"role": "assistant", "content": [{"type": "text"}]}]}, "messages[1]", "not a text"),
        ({"messages": [{"role": "user", "content": " \n"}, ANSWER]}, "turn 0", "empty"),
        ({"messages": [{"role": "user", "content": "\ud800"}, ANSWER]}, "turn 0", "Unicode"),
        ({"messages": GOOD, "id": "\udfff"}, "id", "Unicode"),
        ({"messages": GOOD, "source": "\udfff"}, "source", "Unicode"),
        ({"messages": [SYSTEM, *GOOD], "system": "x"}, "system", "second"),
        ({"messages": GOOD, "system": 1}, "system", "a number, not a text"),
        ({"instruction": "x", "output": "y", "input": []}, "input", "a list"),
        (
            {"instruction": None, "question": "x", "options": {"\ud800": "1", "\n": "2"}, "answer": "A"},
            "question",
            r"\ud800, \n",
        ),
        ({"question": "x", "options": {"A": "1"}, "answer": "A"}, "question", "options"),
        ({"text": "x"}, "row", "no column"),
        ({"messages": None, "data": "", "conversation": ""}, "row", "no column"),
        ([1], "row", "a list, not an object"),
        ("问：", "row", "a text, not an object"),
    ],
)
def test_unusable_rows_are_named(row, where, reason):
    with pytest.raises(BadRow) as caught:
        dialogue(row, "auto", "x", USUAL)
    assert caught.value.where == where
    assert reason in caught.value.reason
    assert caught.value.reason.isprintable()


TRAILING = {"id": "t", "messages": [*GOOD, USER]}
CUT = "user turn without an answer was cut from the end"


def test_a_trailing_user_turn_is_cut_dropped_or_fatal(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"messages": GOOD}, TRAILING, TRAILING])
    rows, repaired, rejected = reading([path])
    assert ([len(row["messages"]) for row in rows], rejected) == ([2, 2, 2], [])
    assert [(p.line, p.reason, p.fatal) for p in repaired] == [(2, CUT, False), (3, CUT, False)]
    rows, repaired, rejected = reading([path], policy=Policy(trailing_user="drop"))
    assert (len(rows), repaired) == (1, [])
    assert [(p.line, p.field, p.fatal) for p in rejected] == [(2, "last turn", False), (3, "last turn", False)]
    with pytest.raises(UserError, match=r"a.jsonl:2 last turn: user turn without an answer"):
        check([path], trailing_user="fail")
    assert check([path], bad_row="fail") == 0


def test_a_bad_row_is_dropped_or_fatal(tmp_path, capsys):
    path = write_lines(tmp_path / "a.jsonl", [{"messages": GOOD}, {"messages": [USER]}, {"messages": GOOD}])
    assert check([path], trailing_user="fail") == 1  # nothing is left of it to cut, so it is a bad row
    assert "read 3: accepted 2, repaired 0, rejected 1" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"a.jsonl:2 dialogue: no answer"):
        check([path], bad_row="fail")
    (tmp_path / "b.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"b.jsonl:1 row: not JSON"):
        check([str(tmp_path / "b.jsonl")], bad_row="fail")


def test_several_repairs_are_one_repaired_row():
    row, repair = dialogue({"messages": [{"role": "system", "content": " "}, *GOOD, USER]}, "messages", "x", USUAL)
    assert (row["messages"], repair) == (GOOD, f"empty system turn was left out; {CUT}")


def test_control_tokens_are_kept_and_counted(tmp_path, capsys):
    turns = [{"role": "user", "content": "</s><reserved_107>头痛"}, ANSWER]
    path = write_lines(tmp_path / "a.jsonl", [{"messages": turns}, {"messages": GOOD}])
    assert reading([path])[0][0]["messages"] == turns
    assert check([path]) == 0
    assert "1 dialogues spell control tokens" in capsys.readouterr().out


def test_the_screen_shows_reasons_and_the_list_all(tmp_path, capsys):
    bad = [{"messages": [*GOOD, {"role": "user", "content": ""}, ANSWER]}, {"x": 1}, {"messages": "x"}]
    path = write_lines(tmp_path / "a.jsonl", [{"messages": GOOD}, *bad * 9, bad[0], TRAILING])
    assert check([path], list_file=str(tmp_path / "problems.jsonl")) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["read 30: accepted 1, repaired 1, rejected 28", "1 file read as JSON lines, UTF-8, turns in messages"]
    assert shown[2] == f"repaired 1, such as {path}:30 turns: {CUT}"
    assert shown[3] == f"rejected 10, such as {path}:2 turn 2: empty content"
    assert [line.partition(":")[0] for line in shown[4:]] == [f"rejected 9, such as {path}"] * 2
    listed = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [problem["line"] for problem in listed] == list(range(2, 31))
    assert listed[-1] == {"verdict": "repaired", "file": path, "line": 30, "field": "turns", "reason": CUT}
    with pytest.raises(UserError, match="choose another"):
        check([path], list_file=path)  # an input is not overwritten
    with pytest.raises(UserError, match="place to write"):
        check([path], list_file=str(tmp_path / "none" / "x"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl", "problems.jsonl"]


def test_many_reasons_are_cut_off(tmp_path, capsys):
    roles = [
        {"messages": [{"role": "甲乙丙丁戊己庚辛壬癸"[i // 10] + "abcdefghij"[i % 10], "content": "x"}]} for i in range(30)
    ]
    assert check([write_lines(tmp_path / "a.jsonl", roles)]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("rejected 1, such as") for line in shown) == SHOWN
    assert shown[-1] == "and 10 more reasons; `--list FILE` writes every row"
    many = Rejections()
    for i in range(2 * MOST_REASONS):
        many.add("x:1", "row", "".join(chr(ord("a") + int(digit)) for digit in str(i)))
    assert len(many.lines()) == MOST_REASONS + 1
    assert many.lines()[0].startswith(f"{MOST_REASONS}, such as x:1 row: ")


def test_an_empty_input_is_not_fine(tmp_path, capsys):
    for name, text in (("a.jsonl", ""), ("b.json", "[]"), ("c.csv", "question,answer\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert check([str(tmp_path / name)]) == 1
        assert capsys.readouterr().out.startswith("read 0: accepted 0, repaired 0, rejected 0\nno rows in the inputs")


def test_real_dialogues(disc):
    source = str(disc / "disc_med_sft_163.jsonl")
    rows, repaired, rejected = reading([source])
    assert (len(rows), rejected) == (163, [])
    assert [problem.line for problem in repaired] == [47, 84, 111]
    given = [json.loads(line) for line in Path(source).read_text(encoding="utf-8").splitlines()]
    for number, (row, published) in enumerate(zip(rows, given, strict=True), start=1):
        turns = published["conversation"]
        assert row == {
            "id": published["_id"],
            "source": "meddial",
            "messages": turns[:-1] if number in (47, 84, 111) else turns,
        }
    done = run("medllm", "data", "check", source)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("read 163: accepted 160, repaired 3, rejected 0\n")


def test_a_format_that_is_unknown(refused):
    assert "'xml'" in refused("data", "check", "x.jsonl", "--format", "xml")
