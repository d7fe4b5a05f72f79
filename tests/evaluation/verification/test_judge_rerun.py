"""A judge asked again: what it costs is said before, what comes of it is declared, and what was raised is different."""

import json
from pathlib import Path

import pytest
from support.chat_server import ChatServer
from support.judged_runs import dialogue, honest, judged, verdict, write
from support.published_model import SCORES, consultation, publish

from medllm_hf.cli import main
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.verification.findings import DECLARED, DIFFERENT, UNKNOWN, Known, Rerun
from medllm_hf.evaluation.verification.judge_rerun import judge_again
from medllm_hf.folders import read_json, write_json


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A judged run of ten dialogues, two replies each."""
    folder = tmp_path_factory.mktemp("judged")
    with ChatServer(honest) as server:
        file = write(folder / "ten.jsonl", *(dialogue(number, 2 + number % 3) for number in range(10)))
        assert judged(server, file, folder / "run", samples=2) == 0
    return folder / "run"


def again(folder: Path, script=honest, count=20, files=None, model="judge-1"):
    """The findings, and the requests that were sent."""
    with ChatServer(script) as server:
        known = Known("", folder, files or {}, Rerun(count, 0, f"{server.url}#{model}"))
        return list(judge_again("eval/x/judge", read_run(folder), known)), server.requests


def edited(folder: Path, to: Path, score: int) -> Path:
    """A copy of a run in which every reply to a dialogue gives one score."""
    for name in ("manifest.json", "scores.jsonl", "metrics.json"):
        (to / name).write_bytes((folder / name).read_bytes())
    rows = [json.loads(line) for line in (folder / "outputs.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        if not row["id"].startswith("canary/"):
            row["reply"] = verdict(score, {"messages": [{"content": "JSON"}]})
    (to / "outputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return to


def test_the_cost_is_said_and_the_same_judge_says_the_same(run):
    (cost, found), requests = again(run, count=7)
    assert cost.state == found.state == DECLARED and len(requests) == 7
    assert cost.why.startswith("7 verdicts are asked of judge-1: at most 21 calls, ") and "; about 7 calls, " in cost.why
    assert found.why.startswith("7 of 7 have a verdict both times, 7 the same one, mean ")
    assert found.why.endswith("(judge-1, published of judge-1); 0 were published higher and 0 lower")
    # What is asked is what the run asked, with its schema and seeds, and no canary.
    bodies = [one.body for one in requests]
    assert all("response_format" in body and "价值" in body["messages"][-1]["content"] for body in bodies)
    assert len({body["seed"] for body in bodies}) == 7


def test_verdicts_that_were_raised_are_different_and_those_of_a_noisy_judge_are_not(run, tmp_path):
    (_, found), _ = again(edited(run, tmp_path, 5))
    assert found.state == DIFFERENT and "mean 5.00 published and 2.90 now" in found.why
    assert found.why.endswith("20 were published higher and 0 lower, which is no chance")
    scores = iter([1, 5] * 10)
    (_, found), _ = again(run, lambda body: verdict(next(scores), body), model="another")
    assert found.state == DECLARED and "(another, published of judge-1); " in found.why
    (_, found), _ = again(run, lambda body: "no verdict")
    assert found.state == DECLARED and found.why.startswith("0 of 20 have a verdict both times, 0 the same one (judge-1")


def test_what_cannot_be_asked_again_says_so(run, tmp_path):
    def after(**fields):
        write_json(edited(run, tmp_path, 3) / "manifest.json", {**read_json(run / "manifest.json"), **fields})
        *_, found = again(tmp_path)[0]
        return found.state, found.why

    assert after(imported=True)[0] == DECLARED
    state, why = after(cases={"name": "c.jsonl", "sha256": "0" * 64, "n": 1})
    assert state == UNKNOWN and "c.jsonl is not at hand" in why and "--data" in why
    settings = read_json(run / "manifest.json")["settings"]
    assert after(settings={**settings, "temperature": -1.0})[0] == UNKNOWN
    with ChatServer(honest) as server:
        url = server.url
    *_, found = judge_again("eval/x/judge", read_run(run), Known("", run, {}, Rerun(2, 0, f"{url}#judge-1")))
    assert found.state == UNKNOWN and found.why.startswith("not rerun: ") and "leave out --judge" in found.why


def test_the_verb_asks_with_what_the_judge_was_told(tiny, tmp_path, capsys):
    talk = consultation(tiny["base"], tmp_path, shown=True)
    repository = str(publish(tiny["base"], tmp_path / "repository", [talk]))
    data = ["--data", str(tmp_path / "cases.jsonl")]
    assert main(["verify", repository, *data, "--judge", "x#y"]) == 2
    assert "--judge without --rerun" in capsys.readouterr().err
    with ChatServer(lambda body: "\n".join(SCORES)) as server:
        code = main(["verify", repository, *data, "--rerun", "5", "--judge", f"{server.url}#judge-model"])
        assert len(server.requests) == 2 and all(
            "偏头痛" in str(one.body) or "例002号" in str(one.body) for one in server.requests
        )
    lines = [line for line in capsys.readouterr().out.splitlines() if "judge/outputs.jsonl rerun" in line]
    assert code == 0 and len(lines) == 2 and "2 verdicts are asked of judge-model" in lines[0]
    assert "2 of 2 have a verdict both times, 2 the same one" in lines[1]
