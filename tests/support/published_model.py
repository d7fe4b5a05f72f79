"""A tiny model published with two exams and a judged consultation, for the tests of cards, checks and verification."""

import json
from pathlib import Path

from support.chat_server import ChatServer
from support.consulting import case, consult, reply, write_cases
from support.judged_runs import write
from support.pair_judges import compared, honest
from support.paths import SAMPLE

from medllm_hf.evaluation.commands.judge import judge
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.evaluation.runs.behaviour import behaviour_hashes
from medllm_hf.evaluation.runs.folder import weights_hash
from medllm_hf.folders import read_json, write_json
from medllm_hf.hub.publish import publish_model

SCORES = ("Proactivity: 4", "Accuracy: 3", "Helpfulness: 5", "Linguistic Quality: 4")


def exams(model: Path, folder: Path) -> list[Path]:
    """Runs on eight questions: by the texts of the answers, and by letters with all rotations."""
    lines = (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()[:8]
    (folder / "eight.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    mcq(str(model), str(folder / "eight.jsonl"), str(folder / "exam"), score="text")
    mcq(str(model), str(folder / "eight.jsonl"), str(folder / "circular"), circular=True)
    return [folder / "exam", folder / "circular"]


def consultation(model: Path, folder: Path, verdict: str = "\n".join(SCORES), shown: bool = False) -> Path:
    """A judged consult run whose doctor is scripted; its manifest says that the model's weights were the doctor.

    Args:
        shown: whether the judge is shown the cases.
    """
    cases = [case(1, group="内科", diagnosis="偏头痛"), case(2, group="外科")]

    def script(body: dict) -> str:
        if body["model"] != "judge-model":
            return reply(body)
        canary = not any(mark in json.dumps(body, ensure_ascii=False) for mark in ("例001号", "例002号"))
        return verdict.replace("4", "1").replace("3", "1").replace("5", "1") if canary else verdict

    with ChatServer(script) as server:
        assert consult(server, write_cases(folder / "cases.jsonl", cases), folder / "talk") == 0
        # The digest of the doctor's weights is not part of what the judge reads.
        manifest = read_json(folder / "talk" / "manifest.json")
        hashes = {"weights_sha256": weights_hash(model), "files_sha256": behaviour_hashes(model)}
        manifest["doctor"] = {"id": manifest["doctor"]["id"], **hashes}
        write_json(folder / "talk" / "manifest.json", manifest)
        told = str(folder / "cases.jsonl") if shown else None
        code = judge(str(folder / "talk"), server.url + "#judge-model", str(folder / "talk" / "judge"), cases=told)
        assert code == (read_json(folder / "talk" / "judge" / "metrics.json")["headline"] is None)
    return folder / "talk"


def comparison(folder: Path) -> Path:
    """The consultations of `consultation` compared with another system's, which wins the second case and ties the first."""
    rows = [json.loads(line) for line in (folder / "talk" / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()]
    other = [{**row, "id": f"other/{row['case_id']}", "model": "other-7b"} for row in rows]
    other[1]["turns"] = [*other[1]["turns"][:-1], {"role": "doctor", "content": "价值3。"}]
    with ChatServer(honest) as server:
        sides = str(folder / "talk"), write(folder / "other.jsonl", *other)
        assert compared(server, *sides, folder / "pair", model="pair-judge") == 0
    return folder / "pair"


def publish(model: Path, out: Path, runs=(), license: str = "apache-2.0", base_model: str | None = None, **more) -> Path:
    """The repository folder of a model."""
    publish_model(str(model), "org/tiny-7b", list(map(str, runs)), license, base_model, str(out), False, **more)
    return out
