"""Personal data does not leave this machine unless somebody says so."""

import json

import pytest
from support.chat_server import ChatServer
from support.consulting import case, judging, write_cases
from support.judged_runs import dialogue, honest, write

from medllm_hf.cli import main
from medllm_hf.evaluation.models import ModelSpec, parse_model

NUMBER = "13812345678"
REMOTE = "https://judge.example/v1#m"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")


def refused(capsys) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and NUMBER not in lines[0] and "--allow-personal-data" in lines[0]
    return lines[0]


@pytest.mark.parametrize("where", ["description", "first_question"])
def test_a_case_with_a_telephone_number(where, tmp_path, capsys):
    rows = [{"id": "a", "description": "头痛。"}, {"id": "b", "description": "发热。"}]
    rows[1][where] = f"发热，电话{NUMBER}。"
    file = write_cases(tmp_path / "cases.jsonl", rows)
    with ChatServer(judging) as server:
        local = f"{server.url}#doctor-model"
        for sides in ((REMOTE, local), (local, REMOTE)):
            words = ["--doctor", sides[0], "--patient", sides[1], "--out", str(tmp_path / "run")]
            assert main(["eval", "consult", "--cases", file, *words]) == 2
            assert "personal data (mobile) in 1 rows" in (line := refused(capsys)) and "the first is b" in line
            assert main(["eval", "consult", "--cases", file, *words, "--allow-personal-data", "--dry-run"]) == 0
            capsys.readouterr()
        assert not server.requests and not server.preflights
    words = ["--doctor", REMOTE, "--patient", REMOTE, "--out", str(tmp_path / "run"), "--dry-run"]
    assert main(["eval", "consult", "--cases", write_cases(tmp_path / "c.jsonl", rows[:1]), *words]) == 0, "nothing to hide"


def test_a_case_with_a_telephone_number_that_a_remote_judge_would_be_shown(tmp_path, capsys):
    file = write_cases(
        tmp_path / "cases.jsonl", [{"id": "1", "description": "头痛。", "diagnosis": f"偏头痛，家属电话{NUMBER}"}]
    )
    with ChatServer(judging) as server:
        local = f"{server.url}#doctor-model"
        words = ["--doctor", local, "--patient", local, "--judge", REMOTE, "--out", str(tmp_path / "run")]
        assert main(["eval", "consult", "--cases", file, *words]) == 2
        refused(capsys)
        assert not server.requests and not server.preflights
        assert main(["eval", "consult", "--cases", file, *words, "--blind", "--dry-run"]) == 0
    rows = write(tmp_path / "d.jsonl", {**dialogue(1), "source": ""})
    words = ["--dialogues", rows, "--judge", REMOTE, "--out", str(tmp_path / "run")]
    capsys.readouterr()
    assert main(["eval", "judge", *words, "--cases", file]) == 2
    refused(capsys)
    assert main(["eval", "judge", *words, "--dry-run"]) == 0


@pytest.mark.parametrize("where", ["turn", "reference"])
def test_a_dialogue_with_a_telephone_number(where, tmp_path, capsys):
    row = dialogue(1, extra=f"请打{NUMBER}。" if where == "turn" else "")
    file = write(tmp_path / "d.jsonl", row if where == "turn" else {**row, "reference": f"家属电话{NUMBER}"})
    words = ["--judge", REMOTE, "--out", str(tmp_path / "run")]
    for command in (["eval", "judge", "--dialogues", file], ["eval", "pair", "--first", file, "--second", file]):
        assert main([*command, *words]) == 2
        refused(capsys)
        assert main([*command, *words, "--allow-personal-data", "--dry-run"]) == 0
        capsys.readouterr()
    with ChatServer(honest) as server:
        words = ["--judge", f"{server.url}#m", "--out", str(tmp_path / "here")]
        assert main(["eval", "judge", "--dialogues", file, *words]) == 0, "this machine may know"


def test_where_this_machine_ends(tmp_path):
    assert not ModelSpec({"id": "m"}, None, tmp_path).is_remote
    for url, remote in (("http://127.0.0.1:1/v1", False), ("http://[::1]:1/v1", False), ("https://a.example/v1", True)):
        assert parse_model(f"{url}#m", "OPENAI_API_KEY", concurrency=1, timeout=1).is_remote == remote


def test_a_system_message_for_the_doctor_alone(tmp_path):
    seen: list[dict] = []

    def script(body: dict) -> str:
        seen.append(body)
        return judging(body) if body["model"] == "patient-model" else "多喝水"

    with ChatServer(script) as server:
        words = ["--doctor", f"{server.url}#doctor-model", "--patient", f"{server.url}#patient-model", "--turns", "2"]
        file = write_cases(tmp_path / "cases.jsonl", [case(1)])
        command = ["eval", "consult", "--cases", file, *words, "--out", str(tmp_path / "run")]
        assert main([*command, "--doctor-system", "你是神经内科医生。"]) == 0
        doctor = [body["messages"] for body in seen if body["model"] == "doctor-model"]
        assert [turns[0] for turns in doctor] == [{"role": "system", "content": "你是神经内科医生。"}] * 2
        assert not any("神经内科" in str(body) for body in seen if body["model"] == "patient-model")
        manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["settings"]["doctor_system"] == "你是神经内科医生。"
        assert main(command) == 2, "a run without it is another run"


def test_a_judge_that_cannot_be_had_is_told_before_the_first_case(tmp_path, capsys):
    with ChatServer(judging) as server, ChatServer(judging) as gone:
        pass
    with ChatServer(judging) as server:
        words = ["--doctor", f"{server.url}#doctor-model", "--patient", f"{server.url}#patient-model"]
        command = ["eval", "consult", "--cases", write_cases(tmp_path / "cases.jsonl", [case(1)]), *words]
        assert main([*command, "--judge", f"{gone.url}#judge-model", "--out", str(tmp_path / "run")]) == 2
        assert not server.requests and not (tmp_path / "run").exists()
        assert "judge-model at" in capsys.readouterr().err


def test_the_instruction_of_a_remote_doctor_stays_too(tmp_path, capsys):
    file = write_cases(tmp_path / "cases.jsonl", [{"id": "a", "description": "头痛。"}])
    with ChatServer(judging) as server:
        words = ["eval", "consult", "--cases", file, "--patient", f"{server.url}#patient-model", "--out", str(tmp_path / "run")]
        words += ["--doctor-system", f"你是王医生，电话{NUMBER}。", "--doctor"]
        assert main([*words, REMOTE]) == 2
        assert "of --doctor-system" in refused(capsys) and not server.requests
        assert main([*words, REMOTE, "--allow-personal-data", "--dry-run"]) == 0
        assert main([*words, f"{server.url}#doctor-model", "--dry-run"]) == 0


def test_a_diagnosis_is_not_asked_for_where_no_case_has_one(tmp_path, capsys):
    file = write_cases(tmp_path / "cases.jsonl", [{"id": "a", "description": "头痛。"}])
    words = ["--doctor", REMOTE, "--patient", REMOTE, "--out", str(tmp_path / "run"), "--ask-diagnosis"]
    assert main(["eval", "consult", "--cases", file, *words]) == 2
    assert "--ask-diagnosis and no diagnosis of any of 1 cases" in capsys.readouterr().err
