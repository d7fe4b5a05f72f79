"""`medllm eval consult --judge`: the dialogues and their scores by one command."""

import json

import pytest
from support.chat_server import Behaviour, ChatServer
from support.consulting import case, consult, judging, lines, write_cases


@pytest.fixture
def two(tmp_path) -> str:
    return write_cases(tmp_path / "cases.jsonl", [case(1, group="内科"), case(2, group="外科")])


def test_the_dialogues_are_judged_in_a_run_folder_of_their_own(two, tmp_path, capsys):
    out = tmp_path / "run"
    with ChatServer(judging) as server:
        judge = ("--judge", server.url + "#judge-model", "--seed", "3")
        assert consult(server, two, out, *judge) == 0
        asked = len(server.requests)
        assert consult(server, two, out, *judge) == 0
        assert len(server.requests) == asked
    manifest = json.loads((out / "judge" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["kind"], manifest["judge"]["id"], manifest["data"]["n"]) == ("judge", "judge-model", 2)
    assert manifest["settings"]["seed"] == 3
    scores = lines(out / "judge" / "scores.jsonl")
    assert [row["id"] for row in scores] == [row["id"] for row in lines(out / "dialogues.jsonl")]
    assert [row["group"] for row in scores] == ["内科", "外科"]
    assert all(set(row["scores"].values()) == {1} for row in scores)
    assert str(out / "judge") in capsys.readouterr().out


def test_a_judge_that_fails_costs_no_dialogue(two, tmp_path, capsys):
    broken = True

    def script(body):
        at_fault = broken and body["model"] == "judge-model" and "例002号" in str(body)
        return Behaviour(418, {"error": {"message": "not now"}}) if at_fault else judging(body)

    with ChatServer(script) as server:
        judge = ("--judge", server.url + "#judge-model")
        assert consult(server, two, tmp_path / "run", *judge) == 1
        assert "replies of the judge are missing" in capsys.readouterr().err
        asked, broken = len(server.requests), False
        assert consult(server, two, tmp_path / "run", *judge) == 0
        assert {one.body["model"] for one in server.requests[asked:]} == {"judge-model"}
        assert len(server.requests) == asked + 2, "its score, and what its patient makes up"
    assert len(lines(tmp_path / "run" / "judge" / "scores.jsonl")) == 2
