"""`medllm eval pair` refuses on one line what it cannot compare, and goes on where it was stopped."""

import json
import random
import re
from collections import Counter
from functools import partial

import evaluate  # noqa: F401, since every child would import it anew
import pytest
from support.chat_server import Behaviour, ChatServer, completion
from support.judged_runs import dialogue, killed, write
from support.pair_judges import CANARIES, compared, honest

from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.pair import pair
from medllm_hf.evaluation.preferences.records import ORDERS
from medllm_hf.evaluation.runs.folder import read_run

FIRST = [dialogue(i, 2 + i % 4, "a-7b") for i in range(12)]
SECOND = [dialogue(i, 3, "b-7b") for i in range(12)]
NAMES = [(name, 0) for name in CANARIES] + [(f"own/{i}:{o}", s) for i in range(12) for o in ORDERS for s in (0, 1)]
SETTINGS = {"samples": 2, "concurrency": 4}
NOBODY = ("--judge", "http://127.0.0.1:9/v1#m")


@pytest.fixture
def sides(tmp_path):
    return write(tmp_path / "a.jsonl", *FIRST), write(tmp_path / "b.jsonl", *SECOND)


def names(out) -> list[tuple]:
    lines = (out / "outputs.jsonl").read_bytes().split(b"\n")[:-1] if (out / "outputs.jsonl").exists() else []
    return [(row["id"], row["sample"]) for row in map(json.loads, lines)]


def comparable(out) -> tuple:
    """What must be the same however often a run was begun: replies, scores and figures, not the times."""
    found = read_run(out)
    outputs = [{name: value for name, value in row.items() if name not in ("seconds", "retries")} for row in found["outputs"]]
    return outputs, found["scores"], found["metrics"]


def test_two_runs_have_one_result_and_a_finished_one_asks_nothing(tmp_path, sides):
    with ChatServer(honest) as server:
        for name in ("one", "two"):
            assert compared(server, *sides, tmp_path / name, **SETTINGS) == 0
        asked = len(server.requests)
        assert asked == 2 * len(NAMES)
        assert compared(server, *sides, tmp_path / "one", **SETTINGS) == 0
        assert len(server.requests) == asked
    assert comparable(tmp_path / "one") == comparable(tmp_path / "two")
    for name in ("scores.jsonl", "metrics.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_killed_at_random_moments(tmp_path, sides):
    moments, midway = random.Random(3), 0
    with ChatServer(lambda body: Behaviour(body=completion(honest(body)), delay=0.01)) as server:
        assert compared(server, *sides, tmp_path / "whole", **SETTINGS) == 0
        for number in range(3):
            out, before = tmp_path / str(number), len(server.requests)
            for _ in range(4):
                work = partial(compared, server, *sides, out, **SETTINGS)
                killed(server, work, moments.randint(1, 10), moments.uniform(0, 0.02))
                done = names(out)
                assert len(done) == len(set(done))
                midway += 0 < len(done) < len(NAMES)
            assert compared(server, *sides, out, **SETTINGS) == 0
            assert names(out) == NAMES and comparable(out) == comparable(tmp_path / "whole")
            assert len(server.requests) - before <= len(NAMES) + 4 * SETTINGS["concurrency"]
    assert midway >= 8, "the kills came too early or too late to prove anything"


def test_replies_that_fail_for_good_are_left_for_the_next_run(tmp_path, sides, capsys, monkeypatch):
    from medllm_hf.evaluation import models as parties

    patient = parties.parse_endpoint
    monkeypatch.setattr(parties, "parse_endpoint", lambda *args, **more: patient(*args, **more, retries=0))
    broken, count = True, Counter()

    def script(body):
        count["all"] += 1
        return Behaviour(503, b"overloaded") if broken and "头痛7天" in body["messages"][1]["content"] else honest(body)

    with ChatServer(script) as server:
        assert compared(server, *sides, tmp_path / "run", **SETTINGS) == 1
        assert "4 replies of the judge are missing, the first is own/7:12 sample 0" in capsys.readouterr().err
        with pytest.raises(UserError, match="an unfinished run"):
            read_run(tmp_path / "run")
        broken, before = False, count["all"]
        assert compared(server, *sides, tmp_path / "run", **SETTINGS) == 0
        assert count["all"] == before + 4


def test_a_run_of_other_settings_is_refused(tmp_path, sides):
    with ChatServer(honest) as server:
        assert compared(server, *sides, tmp_path / "run") == 0
        for flags, named in (
            ({"samples": 2}, "settings.samples"),
            ({"language": "en"}, "rubric.language"),
            ({"seed": 1}, "seed"),
        ):
            with pytest.raises(UserError, match=named):
                compared(server, *sides, tmp_path / "run", **flags)
        with pytest.raises(UserError, match=r"systems\.first"):
            compared(server, *sides[::-1], tmp_path / "run")


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ([*FIRST[:2], dialogue(0, 3, "c-7b")], SECOND, "2 systems in .*a.jsonl (a-7b, c-7b); expected one system for --first"),
        (FIRST, [SECOND[0], {**SECOND[0], "id": "again"}], "two dialogues on the case own/0 in .*b.jsonl: b-7b/0 and again"),
        (FIRST[:1], SECOND[1:], "no case of both systems (such as own/0 and own/1)"),
        (FIRST, [], "no dialogues in"),
    ],
)
def test_what_cannot_be_compared(first, second, named, tmp_path, refused):
    sides = ("--first", write(tmp_path / "a.jsonl", *first), "--second", write(tmp_path / "b.jsonl", *second))
    said = refused("eval", "pair", *sides, *NOBODY, "--out", str(tmp_path / "run"))
    assert re.search(named.replace("(", r"\(").replace(")", r"\)"), said), said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flags",
    [("--samples", "0"), ("--temperature", "-1"), ("--failure-limit", "2"), ("--max-new-tokens", "0"), ("--concurrency", "0")],
)
def test_settings_out_of_range_are_refused(flags, sides, tmp_path, refused):
    words = ("eval", "pair", "--first", sides[0], "--second", sides[1], *NOBODY, "--out", str(tmp_path / "run"))
    assert flags[0].strip("-") in refused(*words, *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_local_checkpoint_as_the_judge(tiny, tmp_path):
    """The tiny model writes nonsense, so nothing is scored, and the run says so."""
    sides = write(tmp_path / "a.jsonl", FIRST[0]), write(tmp_path / "b.jsonl", SECOND[0])
    assert pair(*sides, str(tiny["base"]), str(tmp_path / "run"), max_new_tokens=8) == 1
    found = read_run(tmp_path / "run")
    assert "weights_sha256" in found["manifest"]["judge"] and {row["form"] for row in found["outputs"]} == {"lines"}
    assert found["metrics"]["unscored"] == 1 and found["metrics"]["criteria"]["overall"]["win_rate"] is None
    assert found["metrics"]["headline"] is None and found["metrics"]["no_headline"][-1] == "no case is scored"
