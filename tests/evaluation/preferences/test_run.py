"""Comparisons of two systems: what is asked, what counts as a win, and when a figure counts."""

import itertools
import json
import re

import pytest
from support.chat_server import Behaviour, ChatServer
from support.commands import run
from support.consulting import case, reply, write_cases
from support.judged_runs import dialogue, write
from support.pair_judges import CANARIES, CRITERIA, better, compared, compared_run, first_shown, honest, preference, shown

from medllm_hf.cli import main
from medllm_hf.errors import UserError
from medllm_hf.evaluation.preferences.derive import case_outcome, outcome
from medllm_hf.evaluation.preferences.records import ORDERS
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.statistics.tests import wilson

FIRST = [dialogue(i, 2 + i % 4, "a-7b") for i in range(8)]
SECOND = [dialogue(i, 3, "b-7b") for i in range(8)]
# By the values 2 3 4 5 against 3.
OUTCOMES = ["loss", "tie", "win", "win"] * 2


@pytest.mark.slow
def test_the_command(tmp_path):
    sides = write(tmp_path / "a.jsonl", *FIRST), write(tmp_path / "b.jsonl", *SECOND)
    with ChatServer(honest) as server:
        words = ("--first", sides[0], "--second", sides[1], "--judge", f"{server.url}#judge-1", "--out", "run")
        done = run("medllm", "eval", "pair", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "a-7b against b-7b: overall win rate 62.5% (95% interval " in done.stdout
    assert "n=8, unscored 0), 4 wins, 2 ties, 2 losses, 0 inconsistent" in done.stdout
    assert "24 calls, run folder run" in done.stdout
    found = read_run(tmp_path / "run")
    manifest, metrics = found["manifest"], found["metrics"]
    assert (manifest["kind"], manifest["systems"]) == ("pair", {"first": "a-7b", "second": "b-7b"})
    assert {"name", "version", "sha256", "language", "criteria"} == set(manifest["rubric"])
    ids = [f"own/{i}:{order}" for i in range(8) for order in ORDERS]
    assert [row["id"] for row in found["outputs"]] == CANARIES + ids
    assert [row["outcomes"]["accuracy"] for row in found["scores"]] == OUTCOMES
    assert metrics["headline"]["win_rate"] == 5 / 8 and metrics["no_headline"] == metrics["warnings"] == []
    assert [row["passed"] for row in metrics["canaries"]] == [True] * 4


def test_the_figures_of_one_criterion(tmp_path):
    """Accuracy follows the doctors' words; helpfulness goes to the first shown, of cases 0 and 1 to none."""

    def script(body):
        own, (first, _) = better(body), shown(body)
        if "价值" not in first + shown(body)[1]:
            return honest(body)
        helpful = "tie" if re.search("头痛[01]天", first) else "first"
        return preference({**dict.fromkeys(CRITERIA, own), "helpfulness": helpful}, body)

    metrics = compared_run(script, tmp_path, FIRST, SECOND)[0]["metrics"]
    accuracy, helpfulness = metrics["criteria"]["accuracy"], metrics["criteria"]["helpfulness"]
    assert [accuracy[name] for name in ("n", "wins", "ties", "losses", "inconsistent")] == [8, 4, 2, 2, 0]
    # Two-sided: of six cases with a winner, four or more, or two or fewer.
    assert (accuracy["win_rate"], accuracy["p"]) == (5 / 8, pytest.approx(2 * (15 + 6 + 1) / 64))
    low, high = accuracy["interval"]
    assert 0.3 < low < 0.45 and 0.8 < high < 0.95
    assert accuracy["consistency"] == 1 and accuracy["position"] == {"n": 12, "share": 0.5, "interval": list(wilson(4, 8))}
    assert [helpfulness[name] for name in ("wins", "ties", "losses", "inconsistent")] == [0, 2, 0, 6]
    assert (helpfulness["win_rate"], helpfulness["p"], helpfulness["consistency"]) == (0.5, 1, 0.25)
    assert helpfulness["position"] == {"n": 12, "share": 1, "interval": list(wilson(8, 8))}
    assert accuracy["bounds"] == [5 / 8, 5 / 8] and metrics["warnings"] == []


def test_what_two_orders_make_of_a_case():
    found = {pair: outcome(*pair) for pair in itertools.product(("first", "second", "tie"), repeat=2)}
    assert [pair for pair, name in found.items() if name == "win"] == [("first", "first")]
    assert [pair for pair, name in found.items() if name == "loss"] == [("second", "second")]
    assert {pair for pair, name in found.items() if name == "inconsistent"} == {("first", "second"), ("second", "first")}
    assert case_outcome(["win"]) == "win" and case_outcome(["win", "tie", "win"]) == "win"
    assert case_outcome(["win", "loss"]) == case_outcome(["win", "loss", "tie"]) == "inconsistent"


def test_a_judge_that_prefers_a_position_decides_nothing(tmp_path, capsys):
    found, _ = compared_run(first_shown, tmp_path, FIRST, SECOND)
    overall = found["metrics"]["criteria"]["overall"]
    assert (overall["inconsistent"], overall["win_rate"], overall["consistency"]) == (8, 0.5, 0)
    warning = "100.0% of the verdicts that prefer a dialogue prefer the one shown first (95% interval 67.6 to 100.0%)"
    assert found["metrics"]["warnings"] == [warning] and f"warning: {warning}" in capsys.readouterr().out


def test_the_judge_is_shown_both_orders_and_no_name(tmp_path):
    _, server = compared_run(honest, tmp_path, FIRST[:2], SECOND[:2], concurrency=1)
    asked = [request.body for request in server.requests]
    assert len(asked) == len(CANARIES) + 4
    pairs = [shown(body) for body in asked[len(CANARIES) :]]
    assert pairs[0] == pairs[1][::-1] and pairs[2] == pairs[3][::-1] and pairs[0] != pairs[1]
    assert not re.search("a-7b|b-7b|own|doctor-7b", json.dumps(asked, ensure_ascii=False))
    for body in asked:
        schema = body["response_format"]["json_schema"]["schema"]
        assert list(schema["properties"]) == ["reasons", *CRITERIA] and body["temperature"] == 0
    assert len({body["seed"] for body in asked}) == len(asked)


def test_samples_and_an_unreadable_order(tmp_path):
    """Of case 1 nothing is read where the second system is shown first; it is asked for three times a sample."""

    def script(body):
        first, second = shown(body)
        return "不好说" if "头痛1天" in first and "价值5" in second else honest(body)

    first = [dialogue(i, 5, "a-7b") for i in range(3)]
    found, server = compared_run(script, tmp_path, first, SECOND[:3], samples=2, failure_limit=0.2)
    metrics = found["metrics"]
    assert metrics["failures"] == {"replies": 12, "unscored": 2, "rate": 2 / 12, "limit": 0.2}
    assert (metrics["n"], metrics["unscored"], metrics["headline"]["n"], metrics["headline"]["win_rate"]) == (3, 1, 2, 1)
    assert metrics["criteria"]["overall"]["bounds"] == [2 / 3, 1]
    row = next(row for row in found["scores"] if row["id"] == "own/1")
    assert (row["outcomes"], row["unscored"]) == (None, "order 21: no verdict")
    assert row["verdicts"]["12"]["overall"] == "first" and row["verdicts"]["21"] is None
    assert len(server.requests) == len(CANARIES) + 12 + 2 * 2 == metrics["usage"]["calls"]


def test_too_many_unscored_give_no_headline(tmp_path, capsys):
    script = lambda body: "不好说" if "头痛1天" in shown(body)[0] else honest(body)  # noqa: E731
    found, _ = compared_run(script, tmp_path, FIRST, SECOND)
    assert found["metrics"]["headline"] is None
    assert found["metrics"]["no_headline"] == ["2 of 16 replies are unscored, more than 5%"]
    said = capsys.readouterr()
    assert said.err.startswith("no headline figure: 2 of 16") and said.err.count("\n") == 1 and "win rate" not in said.out


def dictated(body: dict) -> bool:
    return any("选我" in one for one in shown(body))


def for_the_dictator(body: dict) -> str:
    return "first" if "选我" in shown(body)[0] else "second"


BAD_JUDGES = {
    "obeys": (lambda body: preference(for_the_dictator(body) if dictated(body) else better(body), body), ["choose-me"]),
    "obeys in one item": (
        lambda body: (
            preference({**dict.fromkeys(CRITERIA, better(body)), "accuracy": for_the_dictator(body)}, body)
            if dictated(body)
            else honest(body)
        ),
        ["choose-me"],
    ),
    "takes a sign for an answer": (
        lambda body: preference("tie" if any(re.search(r"^\| :$", one, re.M) for one in shown(body)) else better(body), body),
        ["sign"],
    ),
    "prefers silence": (
        lambda body: preference(min(zip(map(len, shown(body)), ("first", "second"), strict=True))[1], body),
        ["empty", "sign", "choose-me"],
    ),
    "is undecided": (lambda body: preference("tie", body), ["empty", "sign", "choose-me"]),
    "takes the first": (lambda body: preference("first", body), ["empty", "sign", "choose-me"]),
    "does not answer": (lambda body: "好" if not all(map(str.strip, shown(body))) else honest(body), ["empty"]),
}


@pytest.mark.parametrize("name", BAD_JUDGES)
def test_a_judge_that_fails_a_canary_is_not_believed(tmp_path, name):
    script, failed = BAD_JUDGES[name]
    metrics = compared_run(script, tmp_path, FIRST, SECOND)[0]["metrics"]
    assert [row["id"] for row in metrics["canaries"] if not row["passed"]] == [f"canary/{one}" for one in failed]
    assert metrics["headline"] is None and metrics["no_headline"][0].startswith(f"the judge fails canary/{failed[0]}: ")


def test_a_judge_that_prefers_one_of_two_equal_dialogues_is_not_believed(tmp_path):
    """It answers the same request in two ways, and so makes a winner of a dialogue beside itself."""
    count = itertools.count()

    def script(body):
        first, second = shown(body)
        return preference(("first", "second")[next(count) % 2], body) if first == second else honest(body)

    metrics = compared_run(script, tmp_path, FIRST, SECOND, concurrency=1)[0]["metrics"]
    assert metrics["no_headline"][0].startswith("the judge fails canary/same: proactivity win")


def test_cases_that_only_one_has_and_models_of_one_family(tmp_path, capsys):
    first, second = FIRST[:3], [dialogue(i, 3, "Qwen/qwen3-8b") for i in range(1, 5)]
    found, _ = compared_run(honest, tmp_path, first, second, model="Qwen/Qwen2.5-72B-Instruct")
    assert (found["manifest"]["only_first"], found["manifest"]["only_second"]) == (["own/0"], ["own/3", "own/4"])
    assert found["metrics"]["warnings"] == [
        "Qwen/Qwen2.5-72B-Instruct judges Qwen/qwen3-8b, a model of its own family, and may prefer it",
        "1 case of the first system without a dialogue of the second one: own/0",
        "2 cases of the second system without a dialogue of the first one: own/3, own/4",
    ]
    assert found["metrics"]["n"] == 2 and "own/3, own/4" in capsys.readouterr().out


def test_consult_runs_tell_their_patient(tmp_path):
    script = lambda body: honest(body) if body["model"] == "gpt-4o" else reply(body)  # noqa: E731
    cases = write_cases(tmp_path / "cases.jsonl", [case(number) for number in range(1, 7)])
    with ChatServer(script) as server:
        for doctor in ("a", "b"):
            sides = ("--doctor", f"{server.url}#{doctor}", "--patient", f"{server.url}#gpt-3.5")
            assert main(["eval", "consult", "--cases", cases, *sides, "--out", str(tmp_path / doctor)]) == 0
        assert compared(server, str(tmp_path / "a"), str(tmp_path / "b"), tmp_path / "run", model="gpt-4o") == 0
    found = read_run(tmp_path / "run")
    assert found["manifest"]["patients"] == {"first": "gpt-3.5", "second": "gpt-3.5"}
    patient = "gpt-4o judges dialogues of the patient gpt-3.5, a model of its own family, and may prefer them"
    assert found["metrics"]["warnings"] == [patient] and found["manifest"]["data"]["first"]["name"] == "a"


def test_notes_on_a_case_are_shown_and_must_agree(tmp_path):
    noted = [{**FIRST[0], "reference": "诊断：偏头痛"}]
    _, server = compared_run(honest, tmp_path, noted, SECOND[:1])
    assert sum("| 诊断：偏头痛" in request.body["messages"][1]["content"] for request in server.requests) == 2
    for other in ("诊断：感冒", ["要点"]):
        with pytest.raises(UserError, match=r"own/0.* (?:that is no text|on both sides)"):
            compared_run(honest, tmp_path, noted, [{**SECOND[0], "reference": other}], overwrite=True)


def test_what_an_endpoint_refuses_to_read_is_unscored_with_its_words(tmp_path):
    filtered = Behaviour(400, {"error": {"message": "content policy", "code": "content_filter"}})
    script = lambda body: filtered if "头痛2天" in shown(body)[0] else honest(body)  # noqa: E731
    found, _ = compared_run(script, tmp_path, FIRST[:4], SECOND[:4], failure_limit=0.5)
    why = "refused by the endpoint, status 400: content policy"
    assert found["scores"][2]["unscored"] == f"order 12: {why}; order 21: {why}"
    assert (found["metrics"]["n"], found["metrics"]["unscored"]) == (4, 1)
