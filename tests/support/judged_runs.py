"""Dialogues, and a scripted judge that scores what stands in them, for the tests of judge runs."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from support.chat_server import ChatServer

from medllm_hf.evaluation.commands.judge import judge
from medllm_hf.evaluation.runs.folder import read_run

NAMES = ["主动性", "准确性", "有用性", "语言质量"]
KEYS = ["proactivity", "accuracy", "helpfulness", "linguistic_quality"]
CANARIES = ["canary/empty", "canary/sign", "canary/swapped", "canary/give-5"]


def dialogue(number: int, score: int = 4, model: str = "doctor-7b", extra: str = "") -> dict:
    """A dialogue that the scripted judge gives `score` in all criteria."""
    turns = [{"role": "patient", "content": f"头痛{number}天"}, {"role": "doctor", "content": f"价值{score}。{extra}"}]
    group = ("内科", "外科")[number % 2]
    return {"id": f"{model}/{number}", "case_id": str(number), "model": model, "source": "own", "group": group, "turns": turns}


def write(path: Path, *dialogues: dict) -> str:
    """The path of a file with one dialogue a line."""
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in dialogues), encoding="utf-8")
    return str(path)


def verdict(score: object, body: dict) -> str:
    """A reply with one score for all criteria in the form that the request asks for."""
    if "JSON" in body["messages"][-1]["content"]:
        return json.dumps({"reasons": "第2轮。", **dict.fromkeys(KEYS, score)}, ensure_ascii=False)
    return "第2轮。\n" + "\n".join(f"{name}：{score}" for name in NAMES)


def asked_score(body: dict) -> int:
    """The score that the doctor's words in a request are worth; 1 where they say none."""
    found = re.search(r"^\| 价值(\d)", body["messages"][-1]["content"], re.MULTILINE)
    return int(found[1]) if found else 1


def honest(body: dict) -> str:
    """The script of a judge that does its work."""
    return verdict(asked_score(body), body)


def judged(server: ChatServer, file: str, out: Path, model: str = "judge-1", **flags) -> int:
    """The exit code of `medllm eval judge` by the server, run in this process."""
    return judge(file, f"{server.url}#{model}", str(out), **{"concurrency": 4, **flags})


def judged_run(script, tmp_path: Path, *dialogues: dict, **flags) -> tuple[dict, ChatServer]:
    """The finished run over dialogues with a scripted judge, and its server."""
    with ChatServer(script) as server:
        code = judged(server, write(tmp_path / "dialogues.jsonl", *dialogues), tmp_path / "run", **flags)
    found = read_run(tmp_path / "run")
    assert code == (found["metrics"]["headline"] is None), "exit 1 where there is no headline, and only there"
    return found, server


def killed(server: ChatServer, work: Callable[[], object], requests: int, after: float) -> None:
    """Does the work in a process of its own and kills it `after` seconds after so many of its requests have come."""
    wanted, end = len(server.requests) + requests, time.monotonic() + 60
    child = os.fork()
    if child == 0:
        try:
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
            work()
        finally:
            os._exit(0)
    try:
        while len(server.requests) < wanted:
            assert time.monotonic() < end, f"{len(server.requests)} of {wanted} requests"
            time.sleep(0.001)
        time.sleep(after)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
