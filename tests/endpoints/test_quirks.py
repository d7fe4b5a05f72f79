"""Every quirk of real servers, by every verb that asks one: it works, or one line names the remedy."""

import io
import json
import re
import sys
from pathlib import Path

import pytest
from support import judged_runs
from support.chat_server import ChatServer
from support.consulting import case, is_patient, write_cases
from support.judged_runs import write
from support.quirks import QUIRKS, THOUGHTS, Quirk

from medllm_hf.cli import main
from medllm_hf.evaluation.consultations.canaries import patient_canaries
from medllm_hf.evaluation.runs.folder import read_run

QUESTION = {"id": "q", "question": "发热首选？", "options": {"A": "退热", "B": "手术"}, "answer": "A", "kind": "single"}
PATIENT, DOCTOR, CHAT = "我头痛两天了。", "请问发热吗？", "请多喝水。"
FACTS = json.dumps({"facts": [{"kind": "symptom", "text": "头痛", "aliases": ["头疼"]}]}, ensure_ascii=False)


def honest(body: dict) -> str:
    """The doctor of a consultation and of a chat, and its patient."""
    words = body["messages"][0]["content"]
    return PATIENT if is_patient(body) or "头痛" in words and len(words) > 100 else DOCTOR


def examine(url: str, tmp_path: Path, flags: tuple[str, ...]) -> int:
    file = tmp_path / "q.jsonl"
    file.write_text(json.dumps(QUESTION, ensure_ascii=False) + "\n", encoding="utf-8")
    return main(["eval", "mcq", "--url", url, "--data", str(file), "--out", str(tmp_path / "run"), *flags])


def judge(url: str, tmp_path: Path, flags: tuple[str, ...]) -> int:
    file = write(tmp_path / "d.jsonl", judged_runs.dialogue(1))
    return main(["eval", "judge", "--judge", url, "--dialogues", file, "--out", str(tmp_path / "run"), *flags])


def consult(url: str, tmp_path: Path, flags: tuple[str, ...]) -> int:
    cases = write_cases(tmp_path / "cases.jsonl", [case(1)])
    both = [flag.replace("--extra", f"--{role}-extra") for role in ("doctor", "patient") for flag in flags]
    command = ["eval", "consult", "--cases", cases, "--doctor", url, "--patient", url, "--turns", "1"]
    return main([*command, "--out", str(tmp_path / "run"), *both])


def extract(url: str, tmp_path: Path, flags: tuple[str, ...]) -> int:
    cases = write_cases(tmp_path / "cases.jsonl", [case(1)])
    return main(["eval", "cases", cases, "--writer", url, "--no-checklist", "--out", str(tmp_path / "run"), *flags])


def chat(url: str, tmp_path: Path, flags: tuple[str, ...]) -> int:
    return main(["chat", url, "--system", "你是医生。", "--max-new-tokens", "99", *flags])


# Verb → the command, and the words of an honest model.
VERBS = {
    "mcq": (examine, lambda body: "答案：A"),
    "judge": (judge, judged_runs.honest),
    "consult": (consult, honest),
    "cases": (extract, lambda body: FACTS),
    "chat": (chat, lambda body: CHAT),
}


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-quirk-7")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", QUIRKS)
def test_a_server_works_or_one_line_names_the_remedy(name, verb, tmp_path, monkeypatch, capsys, key):
    quirk, (command, words) = QUIRKS[name], VERBS[verb]
    monkeypatch.setattr(sys, "stdin", io.StringIO("头痛怎么办\n还要注意什么\n"))
    with ChatServer(lambda request: quirk.answers(request, words), all_requests=True) as server:
        code = command(f"{server.url.removesuffix('/v1')}{quirk.path}#m", tmp_path, quirk.flags)
    told = capsys.readouterr()
    assert "sk-quirk" not in told.out + told.err, "no secret is shown"
    if quirk.remedy:
        refuse(quirk, code, told.err, verb)
        # Beside the short question: both questions of the chat, the patient's canaries all at once, or the first call.
        most = {"chat": 3, "consult": 1 + len(patient_canaries([]))}.get(verb, 2)
        assert len(server.requests) <= most, "nothing is asked again and again"
        return
    assert code == 0, told.err
    {"mcq": check_exam, "judge": check_judge, "consult": check_consult, "cases": check_cases, "chat": check_chat}[verb](
        quirk,
        tmp_path,
        told.out,
        server,
    )


def refuse(quirk: Quirk, code: int, told: str, verb: str) -> None:
    lines = [line for line in told.splitlines() if line.startswith("medllm: ")]
    assert code in ((1, 2) if verb == "chat" else (2,)), told
    assert re.search(quirk.remedy, lines[0]), told
    assert "Traceback" not in told
    assert verb == "chat" or len(told.strip().splitlines()) == 1, told


def check_exam(quirk: Quirk, tmp_path: Path, out: str, server: ChatServer) -> None:
    run = read_run(tmp_path / "run")
    assert run["metrics"]["accuracy"] == 1
    check_extra(quirk, run["manifest"]["settings"].get("extra_body"))


def check_judge(quirk: Quirk, tmp_path: Path, out: str, server: ChatServer) -> None:
    run = read_run(tmp_path / "run")
    assert run["metrics"]["headline"]["doctor-7b"]["overall"] == 4
    assert {row["form"] for row in run["outputs"][1:]} == {"lines" if quirk.dropped == "response_format" else "json"}
    check_extra(quirk, run["manifest"]["settings"].get("extra_body"))


def check_consult(quirk: Quirk, tmp_path: Path, out: str, server: ChatServer) -> None:
    (dialogue,) = [json.loads(line) for line in (tmp_path / "run" / "dialogues.jsonl").read_text("utf-8").splitlines()]
    assert [turn["content"].strip() for turn in dialogue["turns"]] == [PATIENT, DOCTOR]
    dropped = {name for row in read_run(tmp_path / "run")["outputs"] for name in row.get("dropped", ())}
    assert dropped >= ({quirk.dropped} if quirk.dropped and quirk.dropped != "response_format" else set())
    settings = read_run(tmp_path / "run")["manifest"]["settings"]
    check_extra(quirk, settings.get("doctor_extra_body"))
    check_extra(quirk, settings.get("patient_extra_body"))


def check_cases(quirk: Quirk, tmp_path: Path, out: str, server: ChatServer) -> None:
    run = read_run(tmp_path / "run")
    assert run["metrics"]["facts"] == {"symptom": 1}
    assert [row["schema"] for row in run["outputs"]] == [quirk.dropped != "response_format"]
    check_extra(quirk, run["manifest"]["settings"].get("extra_body"))


def check_chat(quirk: Quirk, tmp_path: Path, out: str, server: ChatServer) -> None:
    assert out.count(CHAT) == 2
    assert not re.search(r"<\|", out)
    sent = json.dumps(server.requests[-1].body, ensure_ascii=False)
    assert CHAT in sent and THOUGHTS not in sent and "think>" not in sent, "the answer alone is sent again"
    assert "你是医生。" in sent, "a system message that is refused stands in the user's turn"


def check_extra(quirk: Quirk, recorded: object) -> None:
    assert recorded == ({"reasoning_effort": "low", "vendor_token": "***"} if quirk.flags else None)
