"""DISC's published dialogues and scores beside a judge and a doctor of one's own."""

import json
import re

import pytest
from support.chat_server import ChatServer
from support.judged_runs import verdict

from medllm_hf.cli import main
from medllm_hf.evaluation.consultations.cases import Case
from medllm_hf.evaluation.consultations.gate import turn_faults
from medllm_hf.folders import read_json

SYSTEM = "gpt-4"
KEYS = {
    "Proactivity": "proactivity",
    "Accuracy": "accuracy",
    "Helpfulness": "helpfulness",
    "Linguistic Quality": "linguistic_quality",
}


def published(disc, system: str = SYSTEM) -> list[dict]:
    return json.loads((disc / "eval" / "dialogues" / f"{system}_cmb-clin.json").read_text(encoding="utf-8"))


def given(disc) -> dict[str, dict[str, float]]:
    """The published scores of the system by the last words of the doctor, line by line."""
    file = disc / "eval" / "gpt4_scores" / "cmb-clin" / f"result_{SYSTEM}_cmb-clin.jsonl"
    rows = {row["id"]: row["scores"] for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
    return {
        one["conversation"][-1]["content"].strip().splitlines()[0]: {
            key: float(re.search(rf"{name}: *([\d.]+)", rows[one["id"]])[1]) for name, key in KEYS.items()
        }
        for one in published(disc)
    }


def judged(disc, tmp_path, url: str) -> str:
    """The run of a judge on the published dialogues of the system, blind and in English, as `--protocol disc` judges."""
    out = str(tmp_path / "judged")
    file = str(disc / "eval" / "dialogues" / f"{SYSTEM}_cmb-clin.json")
    words = ["--judge", f"{url}#judge", "--rubric", "disc-medllm-plain", "--language", "en", "--out", out]
    assert main(["eval", "judge", "--dialogues", file, *words]) == 0
    return out


@pytest.mark.slow
def test_a_judge_beside_the_published_scores(disc, tmp_path):
    """One that gives what GPT-4 gave agrees in full; one that gives a point less is found to, criterion by criterion."""
    scores = given(disc)
    source = disc / "eval"
    there = ["--scores", str(source / "gpt4_scores" / "cmb-clin"), "--dialogues", str(source / "dialogues")]
    assert main(["eval", "import", *there, "--out", str(tmp_path / "published")]) == 0
    for less in (0, 1):

        def repeat(body, less=less):
            words = body["messages"][-1]["content"]
            own = next((one for line, one in scores.items() if f"| {line}" in words), dict.fromkeys(KEYS.values(), 1 + less))
            lowered = {key: max(1, value - less * (key == "accuracy")) for key, value in own.items()}
            return json.dumps({"reasons": "seen", **lowered})

        folder = tmp_path / str(less)
        with ChatServer(repeat) as server:
            run = judged(disc, folder, server.url)
        assert main(["eval", "agree", run, str(tmp_path / "published"), "--out", str(folder / "agreement")]) == 0
        (row,) = read_json(folder / "agreement" / "agreement.json")["judges"]
        assert {one["n"] for one in row["criteria"].values()} == {73}
        bias = {key: one["difference"] for key, one in row["criteria"].items()}
        assert bias["accuracy"] == pytest.approx(-less, abs=0.05) and bias["helpfulness"] == 0
        assert row["criteria"]["proactivity"]["kappa"] == 1


@pytest.mark.slow
def test_own_consultations_by_disc_s_protocol_stand_beside_the_published_ones(disc, tmp_path):
    """One judge, one table: the same 73 cases, paired."""

    def script(body):
        if body["model"] == "judge":
            return verdict(4 if "我建议" in body["messages"][-1]["content"] else 2, body)
        return "您还需要做什么检查？" if body["model"] == "doctor" else "没有别的不舒服。那我应该怎么治疗呢？"

    with ChatServer(script) as server:
        sides = [f"--{role}={server.url}#{role}" for role in ("doctor", "patient", "judge")]
        cases = str(disc / "eval" / "samples" / "CMB-cases.json")
        out = str(tmp_path / "own")
        assert main(["eval", "consult", "--cases", cases, *sides, "--protocol", "disc", "--out", out]) == 0
        run = judged(disc, tmp_path, server.url)
    assert main(["report", out, run, "--out", str(tmp_path / "report")]) == 0
    (one,) = read_json(tmp_path / "report" / "results.json")["sets"]
    assert (one["shown"], one["rubric"]["name"], one["rubric"]["language"]) == ("nothing", "disc-medllm-plain", "en")
    assert [row["name"] for row in one["systems"]] == ["doctor", SYSTEM]
    (pair,) = one["comparisons"]
    assert pair["n"] == 73 and pair["unpaired_first"] == pair["unpaired_second"] == 0


@pytest.mark.slow
def test_the_gate_takes_nearly_all_that_disc_s_patients_said(disc):
    """What the README says of them: three rounds each, a question in most turns, and what the gate would stop."""
    turns = stopped = asking = 0
    files = sorted((disc / "eval" / "dialogues").glob("*.json"))
    for one in (row for file in files for row in json.loads(file.read_text(encoding="utf-8"))):
        talk = one["conversation"]
        assert len(talk) == 6
        case = Case(one["id"], "", "", talk[0]["content"])
        for place in (2, 4):
            words = talk[place]["content"]
            turns += 1
            asking += bool(re.search("[？?]|吗", words))
            stopped += bool(set(turn_faults(case, talk[:place], words, ended=False, may_end=False)) - {"not_in_case"})
    assert (turns, round(asking / turns, 2)) == (3768, 0.91)
    assert stopped / turns < 0.01
