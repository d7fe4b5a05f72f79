"""Cases and a scripted writer of facts for the tests of `medllm eval cases`."""

import json
from pathlib import Path

from support.chat_server import ChatServer

from medllm_hf.cli import main

# Three cases of our own; the second names its diagnosis in its text, the third in a field.
DENGUE = "女，27岁。从雨林旅行回来后第三天起发热，最高39.4℃，已4天，眼眶后面疼，全身关节酸痛。没有咳嗽。青霉素过敏。"
GOUT = "男，51岁。昨夜饮酒后右脚大拇趾根部红肿，一碰就疼，6小时。有高血压8年，吃氨氯地平。曾诊断为痛风。"
ASTHMA = "男，9岁。换季后夜里喘，咳，持续2周，听诊两肺有哮鸣音。妈妈有鼻炎。"
CASES = [
    {"id": "a", "case": DENGUE},
    {"id": "b", "case": GOUT},
    {"id": "c", "case": ASTHMA, "diagnosis": "支气管哮喘"},
]


def fact(kind: str, text: str, *aliases: str) -> dict:
    """An entry of a writer's reply."""
    return {"kind": kind, "text": text, "aliases": list(aliases)}


FACTS = {
    "a": [
        fact("value", "最高39.4℃", "体温", "发烧"),
        fact("symptom", "发热", "发烧", "体温高"),
        fact("duration", "已4天", "多久"),
        fact("symptom", "眼眶后面疼", "眼睛后面疼"),
        fact("history", "青霉素过敏", "过敏"),
    ],
    "b": [
        fact("symptom", "红肿", "肿"),
        fact("duration", "6小时"),
        fact("history", "高血压8年", "血压高"),
        fact("diagnosis", "痛风", "尿酸高"),
    ],
    "c": [fact("symptom", "夜里喘", "喘"), fact("finding", "两肺有哮鸣音", "听诊"), fact("history", "妈妈有鼻炎", "家里人")],
}
POINTS = [
    {"kind": "harmful", "point": "劝患者不必就医"},
    {"kind": "must_ask", "point": "询问症状持续了多久"},
    {"kind": "refer", "point": "建议当天到医院就诊"},
]


def which(body: dict) -> str:
    """The id of the case that a request is about."""
    text = body["messages"][0]["content"]
    return next(row["id"] for row in CASES if row["case"] in text)


def wants_checklist(body: dict) -> bool:
    """Whether a request is for a checklist."""
    return "要点清单" in body["messages"][0]["content"]


def reply(body: dict) -> str:
    """What a good writer says."""
    if wants_checklist(body):
        return json.dumps({"checklist": POINTS}, ensure_ascii=False)
    return json.dumps({"facts": FACTS[which(body)]}, ensure_ascii=False)


def write(server: ChatServer, cases: str, out: Path, *words: str) -> int:
    """The exit code of `medllm eval cases` with a model of the server."""
    return main(["eval", "cases", cases, "--writer", server.url + "#writer-model", "--out", str(out), *words])


def written(out: Path) -> dict[str, dict]:
    """The cases in the file of a run, by their ids."""
    return {row["id"]: row for row in json.loads((out / "cases.json").read_text(encoding="utf-8"))}
