"""A judge run that is killed, or whose endpoint fails, goes on: every reply once, the same figures."""

import json
import random
from collections import Counter
from functools import partial
from pathlib import Path

import evaluate  # noqa: F401, since every child would import it anew
import pytest
from support.chat_server import Behaviour, ChatServer, completion
from support.commands import one_line_error, run
from support.judged_runs import CANARIES, dialogue, honest, judged, killed, write

from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.folder import read_run

DIALOGUES = [dialogue(i, 2 + i % 4) for i in range(20)]
NAMES = {(name, 0) for name in CANARIES} | {(one["id"], sample) for one in DIALOGUES for sample in (0, 1)}
SETTINGS = {"samples": 2, "concurrency": 4}


def slowly(body: dict) -> Behaviour:
    return Behaviour(body=completion(honest(body)), delay=0.01)


def names(out: Path) -> list[tuple]:
    lines = (out / "outputs.jsonl").read_bytes().split(b"\n")[:-1]
    return [(row["id"], row["sample"]) for row in map(json.loads, lines)]


def comparable(out: Path) -> tuple:
    """What must be the same however often a run was begun: replies, scores and figures, not the times."""
    found = read_run(out)
    outputs = [{name: value for name, value in row.items() if name not in ("seconds", "retries")} for row in found["outputs"]]
    return outputs, found["scores"], found["metrics"]


def test_killed_at_twenty_random_moments(tmp_path):
    file, moments, midway = write(tmp_path / "d.jsonl", *DIALOGUES), random.Random(1), 0
    with ChatServer(slowly) as server:
        assert judged(server, file, tmp_path / "whole", **SETTINGS) == 0
        spent = len(server.requests)
        assert spent == len(NAMES)
        for number in range(5):
            out, before = tmp_path / str(number), len(server.requests)
            for _ in range(4):
                work = partial(judged, server, file, out, **SETTINGS)
                killed(server, work, moments.randint(1, 10), moments.uniform(0, 0.02))
                done = names(out) if (out / "outputs.jsonl").exists() else []
                assert len(done) == len(set(done))
                midway += 0 < len(done) < len(NAMES)
            assert judged(server, file, out, **SETTINGS) == 0
            assert set(names(out)) == NAMES and len(names(out)) == len(NAMES)
            assert comparable(out) == comparable(tmp_path / "whole")
            # Of the requests under way at a kill, one for each worker at most is spent twice.
            assert len(server.requests) - before <= spent + 4 * SETTINGS["concurrency"]
    assert midway >= 15, "the kills came too early or too late to prove anything"


def test_nothing_is_lost_or_asked_twice_when_the_endpoint_fails_now_and_then(tmp_path):
    file, count = write(tmp_path / "d.jsonl", *DIALOGUES), Counter()

    def script(body):
        count["all"] += 1
        if count["all"] % 7 == 0:
            return Behaviour(429, {}, {"Retry-After": "0"})
        if count["all"] % 11 == 0:
            return Behaviour(500, b"oops")
        if count["all"] % 13 == 0:
            return Behaviour(body=completion(honest(body)), cut=True)
        return honest(body)

    with ChatServer(script) as server:
        assert judged(server, file, tmp_path / "run", **SETTINGS) == 0
        found = read_run(tmp_path / "run")
        assert {(row["id"], row["sample"]) for row in found["outputs"]} == NAMES
        usage = found["metrics"]["usage"]
        assert usage["calls"] == len(NAMES) and usage["repeated_requests"] > 5
        assert len(server.requests) == usage["calls"] + usage["repeated_requests"]


def test_replies_that_fail_for_good_are_left_for_the_next_run(tmp_path, capsys, monkeypatch):
    file, broken = write(tmp_path / "d.jsonl", *DIALOGUES), True
    monkeypatch.setattr("medllm_hf.evaluation.models.parse_endpoint", no_patience)

    def script(body):
        return Behaviour(503, b"overloaded") if broken and "头痛7天" in body["messages"][1]["content"] else honest(body)

    with ChatServer(script) as server:
        assert judged(server, file, tmp_path / "run", **SETTINGS) == 1
        said = capsys.readouterr().err
        assert "2 replies of the judge are missing, the first is doctor-7b/7 sample 0" in said and "status 503" in said
        with pytest.raises(UserError, match="an unfinished run"):
            read_run(tmp_path / "run")
        broken, before = False, len(server.requests)
        assert judged(server, file, tmp_path / "run", **SETTINGS) == 0
        assert len(server.requests) == before + 2
        assert judged(server, file, tmp_path / "run", **SETTINGS) == 0
        assert len(server.requests) == before + 2, "a finished run asks nothing"
    assert [row["scores"]["accuracy"] for row in read_run(tmp_path / "run")["scores"]][::2] == [2, 3, 4, 5] * 5


def no_patience(*args, **settings):
    from medllm_hf.endpoints.address import parse_endpoint

    return parse_endpoint(*args, **settings, retries=0)


@pytest.mark.slow
def test_a_wrong_key_ends_the_run_at_once(tmp_path):
    file = write(tmp_path / "d.jsonl", *DIALOGUES)
    with ChatServer(lambda body: Behaviour(401, {"error": {"message": "no such key"}})) as server:
        words = ["medllm", "eval", "judge", "--dialogues", file, "--judge", f"{server.url}#j", "--out", "run"]
        said = one_line_error(run(*words, cwd=tmp_path))
        assert "no such key" in said and "0 of 24 replies are kept" in said and len(server.requests) == 1


def test_the_same_command_mends_a_finished_run_that_was_damaged(tmp_path):
    file, out = write(tmp_path / "d.jsonl", *DIALOGUES[:3]), tmp_path / "run"
    with ChatServer(honest) as server:
        assert judged(server, file, out) == 0
        whole, spent = comparable(out), len(server.requests)
        for name, more in (("outputs.jsonl", 1), ("scores.jsonl", 0), ("metrics.json", 0)):
            (out / name).write_bytes((out / name).read_bytes()[:-20])
            assert judged(server, file, out) == 0
            assert len(server.requests) == spent + more, "only what was lost is asked for again"
            assert comparable(out) == whole
            spent += more


def test_a_finished_run_that_was_edited_is_not_told_again(tmp_path):
    file, out = write(tmp_path / "d.jsonl", *DIALOGUES[:3]), tmp_path / "run"
    with ChatServer(honest) as server:
        assert judged(server, file, out) == 0
        for name, old in (("metrics.json", '"rate": '), ("scores.jsonl", '"scores": {"'), ("outputs.jsonl", '"sample": ')):
            whole = (out / name).read_text(encoding="utf-8")
            assert old in whole
            (out / name).write_text(whole.replace(old, old + ("x" if old[-1] == '"' else "7")), encoding="utf-8")
            with pytest.raises(UserError, match=f"{name} of .*--overwrite"):
                judged(server, file, out)
            (out / name).write_text(whole, encoding="utf-8")
        assert judged(server, file, out) == 0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"samples": 1}, "settings.samples"),
        ({"rubric": "safety"}, "rubric.name"),
        ({"rubric": "disc-medllm-plain"}, "rubric.name"),
        ({"language": "en"}, "rubric.language"),
        ({"temperature": 0.5}, "settings.temperature"),
        ({"seed": 1}, "settings.seed"),
        ({"failure_limit": 0.5}, "settings.failure_limit"),
        ({"max_new_tokens": 99}, "settings.max_new_tokens"),
        ({"model": "judge-2"}, "judge.id"),
    ],
)
def test_a_run_of_other_settings_is_refused(tmp_path, flags, named):
    file = write(tmp_path / "d.jsonl", dialogue(1))
    with ChatServer(honest) as server:
        assert judged(server, file, tmp_path / "run", samples=2) == 0
        with pytest.raises(UserError, match=f"found {named}"):
            judged(server, file, tmp_path / "run", **{"samples": 2} | flags)
        write(tmp_path / "d.jsonl", dialogue(1, 5))
        with pytest.raises(UserError, match=r"found data\.sha256"):
            judged(server, file, tmp_path / "run", samples=2)


def test_the_form_is_kept_when_a_run_goes_on(tmp_path):
    """An endpoint that refuses schemas is not asked for JSON in the second half."""
    file, broken = write(tmp_path / "d.jsonl", *DIALOGUES), True

    def script(body):
        if "response_format" in body:
            return Behaviour(400, {"error": {"param": "response_format"}})
        return Behaviour(401, {}) if broken and "头痛5天" in body["messages"][1]["content"] else honest(body)

    with ChatServer(script) as server:
        with pytest.raises(UserError):
            judged(server, file, tmp_path / "run", concurrency=1)
        broken, before = False, len(server.requests)
        assert judged(server, file, tmp_path / "run", concurrency=1) == 0
        assert not any("response_format" in request.body for request in server.requests[before:])
    assert {row["form"] for row in read_run(tmp_path / "run")["outputs"][1:]} == {"lines"}
