"""Files with one turn, or one round, in each row: which rows are one dialogue, who speaks, and what is refused."""

import json

import pytest

from medllm_hf.data.columns import parse_names
from medllm_hf.data.commands.check import check
from medllm_hf.data.dialogues import Policy, dialogue_rows, examine
from medllm_hf.data.row_readers import LARGEST_ROW
from tests.data.test_formats import GOOD, TWO_ROUNDS, write_lines

TALK = [("0", "therapist", "您好"), ("1", "client", "头痛"), ("2", "client", "两天"), ("3", "therapist", "发热吗？")]
SAID = [{"role": "user", "content": "头痛\n两天"}, {"role": "assistant", "content": "发热吗？"}]


def table(path, rows, header="transcript_id,utterance_id,interlocutor,utterance_text"):
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def read(path, columns=None, roles=None):
    """The dialogues of a file, and (line, field, reason) of what was repaired or rejected."""
    policy = Policy(names=parse_names(columns, roles))
    found = [(line, *examine(path, line, raw, "auto", policy)) for line, raw in dialogue_rows(path, "auto", policy)]
    problems = [(line, problem.field, problem.reason) for line, _, problem in found if problem]
    return [row for _, row, _ in found if row], problems


def test_the_turns_of_a_dialogue_are_joined_in_the_order_of_the_file(tmp_path):
    rows = [(name, *turn) for name in ("7", "3") for turn in TALK]
    found, problems = read(table(tmp_path / "a.csv", rows))
    assert [(row["id"], row["messages"], row["source"]) for row in found] == [("7", SAID, "a"), ("3", SAID, "a")]
    said = "what was said before the first question was left out; what one side said in several turns was joined"
    assert problems == [(2, "turns", said), (6, "turns", said)]


@pytest.mark.parametrize(
    ("dialogue", "role", "content", "user", "assistant"),
    [
        ("dialogue_id", "role", "content", "user", "assistant"),
        ("conversation_id", "speaker", "text", "Patient", "Doctor"),
        ("session", "sender", "message", "患者", "医生"),
        ("对话编号", "角色", "内容", "来访者", "咨询师"),
        ("conv_id", "author", "utterance", "client", "counselor"),
        ("id", "speaker", "text", "speaker", "listener"),
        ("visit", "from", "value", "usr", "sys"),
    ],
)
def test_names_of_the_columns_and_of_the_roles(dialogue, role, content, user, assistant, tmp_path):
    texts = [turn["content"] for turn in TWO_ROUNDS]
    rows = [{dialogue: n, role: (user, assistant)[i % 2], content: text} for n in "甲乙" for i, text in enumerate(texts)]
    for name, text in (("a.jsonl", "\n".join(map(json.dumps, rows))), ("a.json", json.dumps(rows))):
        (tmp_path / name).write_text(text, encoding="utf-8")
        found, problems = read(tmp_path / name)
        assert [row["messages"] for row in found] == [TWO_ROUNDS] * 2 and not problems


def test_columns_and_roles_that_the_user_names(tmp_path, capsys):
    path = table(
        tmp_path / "a.csv", [(n, who, text) for n in "12" for who, text in (("P1", "头痛两天"), ("D1", "发热吗？"))], "a,b,c"
    )
    columns, roles = "dialogue=a,role=b,content=c", "user=P1,assistant=d1"
    assert [row["messages"] for row in read(path, columns, roles)[0]] == [GOOD] * 2
    assert check([path], columns=columns) == 1
    assert "nobody in the column b (P1, D1) is known; say who they are with --roles" in capsys.readouterr().out
    one = write_lines(tmp_path / "one.jsonl", [{"who": "patient", "says": "头痛两天"}, {"who": "doctor", "says": "发热吗？"}])
    assert check([one], columns="role=who,content=says") == 0
    assert "the file one dialogue" in capsys.readouterr().out


def test_rows_of_a_dialogue_that_stand_apart_are_refused(tmp_path):
    path = table(tmp_path / "a.csv", [("1", *TALK[1]), ("2", *TALK[1]), ("1", *TALK[3]), ("1", *TALK[3])])
    found, [(line, field, reason)] = read(path)
    assert (found, line, field) == ([], 2, "file")
    assert "row 4 goes on with transcript_id '1' after rows of others; sort the rows by it" in reason


def test_turns_out_of_order_or_without_a_dialogue_are_no_dialogue(tmp_path):
    rows = [
        ("1", *TALK[3]),
        ("1", *TALK[1]),
        ("2", *TALK[1]),
        ("2", *TALK[3]),
        ("", *TALK[1]),
        ("3", *TALK[1]),
        ("3", *TALK[3]),
    ]
    found, problems = read(table(tmp_path / "a.csv", rows))
    assert [row["id"] for row in found] == []
    assert "utterance_id 1 after 3; sort" in problems[0][2]
    assert [field for _, field, _ in problems] == ["dialogue", "transcript_id", "dialogue", "dialogue"]


def test_a_row_that_cannot_be_read_spoils_its_neighbours_alone(tmp_path):
    lines = [{"dialogue_id": n, "role": turn["role"], "text": turn["content"]} for n in "1234" for turn in GOOD]
    texts = [json.dumps(line) for line in lines]
    (tmp_path / "a.jsonl").write_text("\n".join([*texts[:4], "{broken", *texts[4:]]), encoding="utf-8")
    found, problems = read(tmp_path / "a.jsonl")
    assert [row["id"] for row in found] == ["1", "4"]
    assert [line for line, _, _ in problems] == [5, 3, 6]


def test_a_turn_that_stands_twice_is_taken_once(tmp_path):
    rows = [("1", *turn) for turn in TALK[1:] for _ in range(2)]
    found, problems = read(table(tmp_path / "a.csv", rows))
    assert [row["messages"] for row in found] == [SAID]
    assert problems[0][2].startswith("a turn that stands in several rows was taken once; what one side")


def test_turns_without_roles_go_by_their_places(tmp_path, capsys):
    rows = [(name, str(i + 1), turn["content"]) for name in "ab" for i, turn in enumerate(TWO_ROUNDS)]
    path = table(tmp_path / "a.csv", rows, "conv_id,utterance_idx,utterance")
    found, problems = read(path)
    assert [row["messages"] for row in found] == [TWO_ROUNDS] * 2
    assert {reason for _, _, reason in problems} == {"texts without roles were taken as user and assistant by turns"}
    assert check([path]) == 0
    assert (
        "one turn in each row, user and assistant by turns, content in utterance, dialogues by conv_id"
        in capsys.readouterr().out
    )


def test_rounds_of_a_dialogue_are_joined(tmp_path):
    rounds = [("a", "1", "头痛两天", "发热吗？"), ("a", "2", "没有", "多休息。"), ("b", "1", "头痛两天", "发热吗？")]
    found, problems = read(table(tmp_path / "a.csv", rounds, "conversation_id,turn,patient,doctor"))
    assert ([row["messages"] for row in found], problems) == ([TWO_ROUNDS, GOOD], [])
    # Two answers to one question are no dialogue.
    found, _ = read(table(tmp_path / "b.csv", rounds, "question_id,votes,patient,doctor"))
    assert [row["messages"] for row in found] == [GOOD, TWO_ROUNDS[2:], GOOD]


def test_a_dialogue_without_end_is_refused_in_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("medllm_hf.data.transcripts.LARGEST_ROW", 2_000)
    assert LARGEST_ROW > 2_000
    rows = [("1", str(i), ("client", "therapist")[i % 2], f"第{i}句") for i in range(500)]
    found, problems = read(table(tmp_path / "a.csv", rows))
    assert found == [] and "does not tell dialogues apart" in problems[0][2]
