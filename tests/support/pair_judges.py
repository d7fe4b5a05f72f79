"""Scripted judges that compare two dialogues, and comparisons that they make, for the tests of `eval pair`."""

import json
import re
from pathlib import Path

from support.chat_server import ChatServer
from support.judged_runs import KEYS, NAMES, write

from medllm_hf.evaluation.commands.pair import pair
from medllm_hf.evaluation.runs.folder import read_run

CRITERIA = [*KEYS, "overall"]
LABELS = [*NAMES, "总体"]
WORDS = {"first": "第一段", "second": "第二段", "tie": "持平"}
CANARIES = [f"canary/{name}:{order}" for name in ("same", "empty", "sign", "choose-me") for order in ("12", "21")]


def shown(body: dict) -> list[str]:
    """What stands in the fence of the first dialogue and in that of the second."""
    text = body["messages"][1]["content"]
    return [
        re.search(rf"=== 开始 {name} \w+ ===\n(.*?)=== 结束 {name}", text, re.DOTALL)[1]
        for name in ("第一段对话", "第二段对话")
    ]


def worth(fenced: str) -> int:
    """What the doctor's words are worth to an honest judge; of the canaries only the real one sends the patient to hospital."""
    found = re.search(r"^\| 价值(\d)", fenced, re.MULTILINE)
    return int(found[1]) if found else 5 * ("拨打120" in fenced)


def preference(side: object, body: dict) -> str:
    """A reply that prefers one side, or by criterion, in the form that the request asks for."""
    sides = side if isinstance(side, dict) else dict.fromkeys(CRITERIA, side)
    if "JSON" in body["messages"][1]["content"]:
        return json.dumps({"reasons": "见第2轮。", **sides}, ensure_ascii=False)
    return "见第2轮。\n" + "\n".join(f"{label}：{WORDS[sides[key]]}" for label, key in zip(LABELS, CRITERIA, strict=True))


def better(body: dict) -> str:
    """The side that is worth more."""
    first, second = map(worth, shown(body))
    return "tie" if first == second else "first" if first > second else "second"


def honest(body: dict) -> str:
    """The script of a judge that does its work."""
    return preference(better(body), body)


def first_shown(body: dict) -> str:
    """The script of a judge that sees through the canaries and otherwise prefers what it reads first."""
    return preference("first" if any("价值" in one for one in shown(body)) else better(body), body)


def compared(server: ChatServer, first: str, second: str, out: Path, model: str = "judge-1", **flags) -> int:
    """The exit code of `medllm eval pair` by the server, run in this process."""
    return pair(first, second, f"{server.url}#{model}", str(out), **{"concurrency": 4, **flags})


def compared_run(script, tmp_path: Path, first: list[dict], second: list[dict], **flags) -> tuple[dict, ChatServer]:
    """The finished comparison of two lists of dialogues with a scripted judge, and its server."""
    sides = write(tmp_path / "first.jsonl", *first), write(tmp_path / "second.jsonl", *second)
    with ChatServer(script) as server:
        code = compared(server, *sides, tmp_path / "pair", **flags)
    found = read_run(tmp_path / "pair")
    assert code == (found["metrics"]["headline"] is None), "exit 1 where there is no headline, and only there"
    return found, server
