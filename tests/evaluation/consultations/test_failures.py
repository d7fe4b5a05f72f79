"""Consultations with a server in trouble, a key that must stay secret, and `kill -9`: nothing lost, nothing twice."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support.chat_server import Behaviour, ChatServer, completion
from support.consulting import MARK, case, consult, lines, reply, times_asked, write_cases

from medllm_hf.evaluation.consultations.canaries import is_canary

KEY = "sk-a-secret-0123456789"
DIALOGUES, TURNS = 24, 6


@pytest.fixture
def many(tmp_path) -> str:
    return write_cases(tmp_path / "cases.jsonl", [case(i) for i in range(DIALOGUES)])


def keys(out: Path) -> list[tuple[str, int]]:
    """The keys of the whole lines of outputs.jsonl that are on no canary."""
    whole = (out / "outputs.jsonl").read_bytes().split(b"\n")[:-1] if (out / "outputs.jsonl").exists() else []
    return [(row["case"], row["turn"]) for row in map(json.loads, whole) if not is_canary(row["case"])]


def test_no_call_is_lost_or_made_twice_by_a_server_in_trouble(many, tmp_path):
    """Every request is a call or the repetition after a fault, and every call is answered once."""
    rng, met, answered = random.Random(1), Counter(), Counter()

    def script(body):
        kinds = {"429": 0.05, "500": 0.03, "cut": 0.02, "time-out": 0.02}
        kind = rng.choices([*kinds, "none"], [*kinds.values(), 1 - sum(kinds.values())])[0]
        met[kind] += 1
        if kind == "none":
            answered[json.dumps(body, sort_keys=True)] += 1
            return reply(body)
        if kind in ("429", "500"):
            return Behaviour(int(kind), {"error": {"message": "busy"}}, {"Retry-After": "0"})
        return Behaviour(body=completion(reply(body)), cut=kind == "cut", delay=30 if kind == "time-out" else 0)

    with ChatServer(script) as server:
        assert consult(server, many, tmp_path / "run", "--concurrency", "16", "--timeout", "1") == 0
    assert min(met[kind] for kind in ("429", "500", "cut", "time-out")) > 0
    rows = lines(tmp_path / "run" / "outputs.jsonl")
    assert len(rows) - 4 == len(set(keys(tmp_path / "run"))) == DIALOGUES * TURNS, "four canaries"
    assert set(answered.values()) == {1} and len(answered) == len(rows)
    repeated = sum(row["retries"] for row in rows)
    assert len(server.requests) - repeated == len(rows)
    assert repeated == met.total() - met["none"]
    assert {len(one["turns"]) for one in lines(tmp_path / "run" / "dialogues.jsonl")} == {TURNS}
    usage = json.loads((tmp_path / "run" / "metrics.json").read_text())["usage"]
    assert sum(side["retries"] for side in usage.values()) == repeated


@pytest.mark.parametrize("outcome", ["refused", "failing", "good"])
def test_the_key_is_in_no_file_and_no_output(many, tmp_path, outcome):
    """All loggers tell everything, and the server repeats the key in what it says of a fault."""
    seen, keys = [], {"d": KEY, "p": KEY + "-2"}

    def script(body):
        seen.append(len(seen))
        status = {"refused": 403, "failing": 418 if seen[-1] % 5 == 4 else 200, "good": 500 if seen[-1] == 0 else 200}[outcome]
        own = keys[body["model"]]
        return reply(body) if status == 200 else Behaviour(status, {"error": {"message": f"your key {own} is at fault"}})

    with ChatServer(script) as server:
        words = ["eval", "consult", "--cases", many, "--doctor", server.url + "#d", "--patient", server.url + "#p"]
        words += ["--out", str(tmp_path / "run"), "--key-env", "CONSULT_KEY", "--patient-key-env", "PATIENT_KEY"]
        program = (
            f"import logging, sys\nlogging.basicConfig(level=1)\nfrom medllm_hf.cli import main\nsys.exit(main({words!r}))"
        )
        secret = {"CONSULT_KEY": KEY, "PATIENT_KEY": keys["p"], "PYTHONASYNCIODEBUG": "1"}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **secret})
        sent = {(one.body["model"], one.headers["authorization"]) for one in server.requests}
    assert done.returncode == {"refused": 2, "failing": 1, "good": 0}[outcome]
    assert sent <= {(model, f"Bearer {key}") for model, key in keys.items()} and sent
    assert "POST" in done.stderr, "debug logging is not on"
    if outcome != "good":
        assert "***" in done.stderr
    assert KEY[:10] not in done.stdout + done.stderr
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    # Of a run in which no call was answered nothing is left.
    written = {"cases.jsonl"} if outcome == "refused" else {"manifest.json", "outputs.jsonl"}
    assert written <= {file.name for file in files} and (tmp_path / "run").exists() == (outcome != "refused")
    assert not [file for file in files if KEY[:10].encode() in file.read_bytes()]


def start(server: ChatServer, cases: str, out: Path) -> subprocess.Popen:
    """The command as a process of its own."""
    words = ["eval", "consult", "--cases", cases, "--doctor", server.url + "#d", "--patient", server.url + "#p"]
    return subprocess.Popen(
        [sys.executable, "-m", "medllm_hf", *words, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def killed(server: ChatServer, cases: str, out: Path, after: int) -> None:
    """Runs the command and kills it after a number of requests."""
    process, before = start(server, cases, out), len(server.requests)
    while len(server.requests) - before < after and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def whole(server: ChatServer, cases: str, out: Path) -> None:
    process = start(server, cases, out)
    told = process.communicate()[1]
    assert process.returncode == 0, told


def slow(body):
    return Behaviour(body=completion(reply(body)), delay=0.02)


def check(server: ChatServer, out: Path, expected: bytes, kills: int) -> None:
    """The run is that of an undisturbed one, and each kill has cost an open dialogue one call at most."""
    assert (out / "dialogues.jsonl").read_bytes() == expected
    assert sorted(keys(out)) == [(f"{i:03d}", turn) for i in range(DIALOGUES) for turn in range(TURNS)]
    asked = times_asked(server)
    assert len(asked) == DIALOGUES * TURNS
    extra = Counter()
    for (mark, _), times in asked.items():
        extra[mark] += times - 1
    assert max(extra.values()) <= kills
    server.requests.clear()


def test_killed_twice_and_resumed(many, tmp_path):
    with ChatServer(slow) as server:
        whole(server, many, tmp_path / "undisturbed")
        expected = (tmp_path / "undisturbed" / "dialogues.jsonl").read_bytes()
        check(server, tmp_path / "undisturbed", expected, kills=0)
        out = tmp_path / "run"
        before = 0
        for after in (40, 50):
            killed(server, many, out, after)
            there = keys(out)
            assert before < len(there) == len(set(there)) < DIALOGUES * TURNS
            before = len(there)
            assert not (out / "metrics.json").exists()
        # What a kill within a write would leave behind.
        with (out / "outputs.jsonl").open("ab") as file:
            file.write(b'{"case": "000", "tu')
        whole(server, many, out)
        check(server, out, expected, kills=2)


@pytest.mark.slow
def test_killed_at_twenty_random_moments(many, tmp_path):
    with ChatServer(slow) as server:
        whole(server, many, tmp_path / "undisturbed")
        expected = (tmp_path / "undisturbed" / "dialogues.jsonl").read_bytes()
        server.requests.clear()
        rng, midway = random.Random(0), 0
        for number in range(20):
            out = tmp_path / str(number)
            killed(server, many, out, rng.randrange(2, DIALOGUES * TURNS))
            midway += 0 < len(keys(out)) < DIALOGUES * TURNS
            whole(server, many, out)
            check(server, out, expected, kills=1)
    assert midway >= 15, "the kills came too early or too late to prove anything"


def test_every_word_of_the_script_has_the_mark_it_is_counted_by():
    words = reply({"messages": [{"role": "system", "content": case(7)["case"]}]})
    assert re.findall(MARK, words) == ["例007号"]
