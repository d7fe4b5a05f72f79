"""Cases and a scripted patient and doctor for the tests of consultations."""

import json
import re
from collections import Counter
from pathlib import Path

from support.chat_server import ChatServer

from medllm_hf.cli import main
from medllm_hf.evaluation.consultations.canaries import is_canary

# By this a request is recognised: the patient is told the case, and every word of the patient repeats its mark.
MARK = re.compile(r"例\d\d\d号")
SECRET = "隐情"
CRITERIA = ("Proactivity", "Accuracy", "Helpfulness", "Linguistic Quality")


def case(number: int, **fields) -> dict:
    """A case whose description holds its mark and what only the patient may know."""
    mark = f"例{number:03d}号"
    return {"id": f"{number:03d}", "case": f"{mark}病人，头痛{number}天。{SECRET}：夜里磨牙。", **fields}


def write_cases(path: Path, rows: list[dict]) -> str:
    """The file of `rows`, one a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def is_patient(body: dict) -> bool:
    """Whether a request asks for the patient's words."""
    return body["messages"][0]["role"] == "system"


def reply(body: dict) -> str:
    """The words that follow from a request: the side, the case's mark and the number of words before."""
    if not (found := MARK.search(json.dumps(body["messages"], ensure_ascii=False))):
        return "这个我不清楚。"  # a canary of the patient
    mark = found[0]
    if is_patient(body):
        return f"{mark}病人说第{in_words(len(body['messages']))}句"
    return f"医生答第{len(body['messages'])}句"


def in_words(number: int) -> str:
    """A number below twenty as a Chinese numeral: a patient that says a number in figures which its case lacks is stopped."""
    ten, one = divmod(number, 10)
    return "十" * ten + ("零一二三四五六七八九"[one] if one or not ten else "")


def on_inventions(body: dict) -> str | None:
    """The reply of a judge that finds nothing made up but in the canary; None where it is asked for something else."""
    question, talk = body["messages"][0]["content"], body["messages"][-1]["content"]
    if "编造" not in question and "made up" not in question:
        return None
    found = ["去年做过心脏搭桥手术"] if "搭桥" in talk else []
    return json.dumps({"invented": found}, ensure_ascii=False)


def judging(body: dict):
    """The patient and the doctor of every script, and a judge that gives one point for everything."""
    if body["model"] != "judge-model":
        return reply(body)
    if said := on_inventions(body):
        return said
    return "\n".join(f"{name}: 1" for name in CRITERIA)


def consult(server: ChatServer, cases: str, out: Path, *words: str) -> int:
    """The exit code of `medllm eval consult` with two models of one server."""
    sides = ("--doctor", server.url + "#doctor-model", "--patient", server.url + "#patient-model")
    return main(["eval", "consult", "--cases", cases, *sides, "--out", str(out), *words])


def lines(file: Path) -> list[dict]:
    """The rows of a file of JSON lines, all whole."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def turns_in(out: Path) -> list[dict]:
    """The outputs of a run but those on canaries."""
    return [row for row in lines(out / "outputs.jsonl") if not is_canary(row["case"])]


def times_asked(server: ChatServer) -> Counter[tuple[str, str]]:
    """How often each call was requested: by the case's mark and by the whole body; canaries have no mark."""
    bodies = (json.dumps(request.body, ensure_ascii=False, sort_keys=True) for request in server.requests)
    return Counter((mark[0], body) for body in bodies if (mark := MARK.search(body)))
