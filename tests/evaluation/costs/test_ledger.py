"""A budget is never exceeded: with many requests at once, servers in trouble, and processes that are killed."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time

import pytest
from support.asking import ASKED, endpoint
from support.billing import PRICES, Bill, limit, rule, some, write_prices
from support.chat_server import ChatServer
from support.consulting import case, consult, lines, write_cases
from support.judged_runs import dialogue, honest, write
from support.paths import SAMPLE

from medllm_hf.cli import main
from medllm_hf.endpoints.client import ChatClient, EndpointError
from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.ledger import Spending, prompt_bound, read_spending
from medllm_hf.evaluation.costs.prices import amount
from medllm_hf.evaluation.runs.folder import open_run

FAULTS = {"429": 0.1, "500": 0.05, "cut": 0.05, "time-out": 0.02}
FEW = ("--doctor-max-new-tokens", "64", "--patient-max-new-tokens", "32")


@pytest.fixture
def many(tmp_path) -> str:
    return write_cases(tmp_path / "cases.jsonl", [case(i) for i in range(30)])


def told(capsys) -> str:
    """The one line that a run that was stopped leaves on stderr."""
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_consult_with_64_requests_at_once_and_a_server_in_trouble(many, tmp_path, capsys, seed):
    """The budget grows from run to run until the work is done; what the server counted never exceeds it."""
    rng = random.Random(seed)
    bill = Bill(counts=some(rng), faults=FAULTS, seed=seed)
    words = ("--prices", write_prices(tmp_path), "--concurrency", "64", "--timeout", "0.5", *FEW)
    budget, stops, code = 0.02, 0, 1
    with ChatServer(bill) as server:
        while code:
            code = consult(
                server, many, tmp_path / "run", *words, "--budget", str(budget), "--judge", server.url + "#judge-model"
            )
            assert bill.total() <= budget
            if code:
                assert f"the budget of {budget:.4f} USD" in told(capsys)
                stops += 1
                budget = round(budget * 1.9, 4)
    assert stops >= 3 and {"429", "500", "cut", "time-out"} <= set(bill.met)
    assert len(lines(tmp_path / "run" / "judge" / "scores.jsonl")) == 30
    asked = [one.body["model"] for one in server.requests]
    cost = [
        json.loads((folder / "metrics.json").read_text())["cost"] for folder in (tmp_path / "run", tmp_path / "run" / "judge")
    ]
    assert sum(one["amount"] for one in cost) <= bill.total() <= sum(one["at_most"] for one in cost) + 1e-12
    assert set(asked) == {"doctor-model", "patient-model", "judge-model"}


def test_nothing_is_sent_that_may_not_fit_and_the_line_says_what_is_left(many, tmp_path, capsys):
    """Every reply costs its most. One call at a time, so exactly those are sent whose sum fits."""
    bill, costs = Bill(), []
    with ChatServer(bill) as server:
        words = (*FEW, "--prices", write_prices(tmp_path), "--concurrency", "1")
        assert consult(server, many, tmp_path / "whole", *words) == 0
        for request in server.requests:
            costs.append(amount(PRICES[request.body["model"]], rule(request.body), limit(request.body)))
        budget = float(sum(costs)) / 2
        before = bill.total()
        assert consult(server, many, tmp_path / "run", *words, "--budget", str(budget)) == 1
        spent = bill.total() - before
        assert budget - 2 * float(max(costs)) < spent <= budget, "two models, each of which waits for the other"
        line = told(capsys)
        assert f"the budget of {budget:.4f} USD, of which {spent:.4f} USD are spent" in line
        assert "of 30 dialogues are not over" in line and "run the same command with a higher --budget" in line
        assert not (tmp_path / "run" / "metrics.json").exists()
        there, asked = len(lines(tmp_path / "run" / "outputs.jsonl")), len(server.requests)
        assert consult(server, many, tmp_path / "run", *words, "--budget", str(budget)) == 1
        assert bill.total() - before <= budget, "the same budget again may fit a cheaper call, and no more"
        assert consult(server, many, tmp_path / "run", *words, "--budget", str(float(sum(costs)))) == 0
        assert len(server.requests) - asked == 4 + 30 * 6 - there
    assert (tmp_path / "run" / "dialogues.jsonl").read_bytes() == (tmp_path / "whole" / "dialogues.jsonl").read_bytes()


def test_a_budget_of_exactly_the_most_is_enough(tmp_path):
    """Seven judgements whose prices have no exact binary fraction, at the limit each."""
    prices = write_prices(tmp_path, {"judge-model": {"input": 0.1, "output": 0.7}})
    file, bill = write(tmp_path / "d.jsonl", *(dialogue(i) for i in range(3))), Bill(honest)
    words = ["eval", "judge", "--dialogues", file, "--max-new-tokens", "99", "--prices", prices]
    with ChatServer(bill) as server:
        words += ["--judge", server.url + "#judge-model"]
        assert main([*words, "--out", str(tmp_path / "whole")]) == 0
        tokens = bill.tokens["judge-model"]
        exact = (tokens[0] * 1 + tokens[1] * 7) / 10**7
        assert main([*words, "--out", str(tmp_path / "enough"), "--budget", repr(exact)]) == 0
        assert main([*words, "--out", str(tmp_path / "less"), "--budget", repr(exact - 1e-7)]) == 1


def test_a_judge_that_cannot_afford_its_first_canary(tmp_path, capsys):
    file = write(tmp_path / "d.jsonl", dialogue(1))
    words = ["eval", "judge", "--dialogues", file, "--out", str(tmp_path / "run"), "--prices", write_prices(tmp_path)]
    with ChatServer(Bill(honest)) as server:
        assert main([*words, "--judge", server.url + "#judge-model", "--budget", "0.0001"]) == 1
        assert server.requests == []
    assert "5 replies of the judge are missing; run the same command with a higher --budget" in told(capsys)


def test_the_judge_of_a_consult_has_what_the_dialogues_left(many, tmp_path, capsys):
    with ChatServer(Bill()) as server:
        words = (*FEW, "--prices", write_prices(tmp_path), "--judge", server.url + "#judge-model")
        assert consult(server, many, tmp_path / "run", *words, "--budget", "1000") == 0
        run, judge = (
            json.loads((tmp_path / "run" / name / "metrics.json").read_text())["cost"]["amount"] for name in ("", "judge")
        )
        assert run > judge / 10, "the judge alone would fit"
        budget = str(run + 0.9 * judge)
        capsys.readouterr()
        assert consult(server, many, tmp_path / "two", *words, "--budget", budget) == 1
        assert "replies of the judge are missing" in told(capsys)
        assert (tmp_path / "two" / "metrics.json").exists(), "the dialogues are over"
        asked = len(server.requests)
        assert consult(server, many, tmp_path / "two", *words, "--budget", budget) == 1
        assert len(server.requests) == asked
        assert consult(server, many, tmp_path / "two", *words, "--budget", "1000") == 0


def test_an_exam_stops_too(tmp_path, capsys):
    bill = Bill(lambda body: "答案：B")
    words = ["eval", "mcq", "--data", str(SAMPLE / "questions_test.jsonl"), "--out", str(tmp_path / "run")]
    with ChatServer(bill) as server:
        words += ["--url", server.url + "#scripted", "--prices", write_prices(tmp_path)]
        assert main([*words, "--budget", "0.02"]) == 1
        assert 0.01 < bill.total() <= 0.02
        count = len(lines(tmp_path / "run" / "outputs.jsonl"))
        assert f"{len(lines(SAMPLE / 'questions_test.jsonl')) - count} of" in told(capsys)
        assert main([*words, "--budget", "2"]) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["cost"]["amount"] == pytest.approx(bill.total())


def test_a_kill_loses_nothing_of_what_was_spent(many, tmp_path):
    """Killed nine times in the middle and begun again with the same budget, until it stops by itself."""
    rng, out, budget = random.Random(5), tmp_path / "run", 0.15
    bill = Bill(counts=some(rng), faults={"500": 0.05, "cut": 0.05}, delay=0.05)
    with ChatServer(bill) as server:
        words = [
            "eval",
            "consult",
            "--cases",
            many,
            "--doctor",
            server.url + "#doctor-model",
            "--patient",
            server.url + "#patient-model",
        ]
        words += [*FEW, "--out", str(out), "--prices", write_prices(tmp_path), "--budget", str(budget), "--concurrency", "32"]
        killed = 0
        for _ in range(9):
            process = subprocess.Popen(
                [sys.executable, "-m", "medllm_hf", *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
            before = len(server.requests)
            while len(server.requests) - before < rng.randint(5, 30) and process.poll() is None:
                time.sleep(0.002)
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.communicate()
            time.sleep(0.1)
            assert bill.total() <= budget
        counted, uncounted, *_ = read_spending(out / "spending.jsonl")
        assert killed >= 3 and len(uncounted) > 10, "the kills came too early or too late to prove anything"
        most = [amount(PRICES[role + "-model"], *tokens) for role, tokens in [*counted, *uncounted]]
        assert bill.total() <= float(sum(most)) <= budget
        assert main(words) == 1
        assert bill.total() <= budget


def test_a_torn_or_damaged_or_missing_record_of_spending(tmp_path):
    manifest = {"kind": "judge", "prices": {"currency": "USD", "judge": {"input": 1, "output": 1}}}
    file = tmp_path / "run" / "spending.jsonl"

    def spent(more: str = "") -> float:
        with open_run(tmp_path / "run", manifest) as run:
            if more:
                file.write_text(more, encoding="utf-8")
            with Spending(run) as spending:
                return float(spending.spent) * 1e6

    whole = '{"most": [5, 6], "request": 1, "role": "judge"}\n{"counted": [1, 2], "request": 1}\n'
    opened = whole + '{"most": [10, 20], "request": 2, "role": "judge"}\n'
    assert [spent(text) for text in (whole, opened, opened + '{"counted": [1, 2], "requ')] == [3, 33, 33]
    assert file.read_text(encoding="utf-8") == opened
    for damage in ('{"counted": [1, 2], "request": 9}\n', "[]\n", "no\n"):
        with pytest.raises(UserError, match="line 4 that is no spending"):
            spent(opened + damage)
    file.unlink()
    with open_run(tmp_path / "run", manifest) as run:
        run.append({"id": "a"})
        with pytest.raises(UserError, match=r"outputs and no spending\.jsonl"):
            Spending(run)


def test_the_bound_of_a_prompt_is_the_documented_one():
    body = {"messages": [{"role": "user", "content": "头痛 a"}, {"role": "user", "content": ""}], "response_format": {"a": "é"}}
    assert prompt_bound(body) == rule(body) == 512 + 32 + 8 + len('{"a": "\\u00e9"}')


def test_a_request_without_a_connection_is_not_reckoned(tmp_path):
    with ChatServer(lambda body: "好") as server:
        gone = endpoint(server, retries=2)

    async def work(spending: Spending) -> None:
        async with ChatClient(gone) as client:
            with pytest.raises(EndpointError, match="ConnectError"):
                await client.complete(ASKED, max_tokens=9, account=spending.account("judge"))

    manifest = {"kind": "judge", "prices": {"currency": "USD", "judge": {"input": 1, "output": 1}}}
    with open_run(tmp_path / "run", manifest) as run, Spending(run, budget=1) as spending:
        asyncio.run(work(spending))
        assert spending.spent == 0
    counted, uncounted, *_ = read_spending(tmp_path / "run" / "spending.jsonl")
    assert counted == [("judge", (0, 0))] and not uncounted


def test_who_waits_for_the_budget_may_do_so_in_one_loop_after_another(tmp_path):
    """As the canaries and then the dialogues of a consult, of which each stage has a loop of its own."""
    prices = {"currency": "USD", "doctor": {"input": 1, "output": 1}}

    async def one(spending: Spending) -> None:
        number = await spending.opened("doctor", (100, 100))
        assert number is not None
        await asyncio.sleep(0)
        spending.closed(number, (1, 1))

    async def some_at_once(spending: Spending) -> None:
        await asyncio.gather(*(one(spending) for _ in range(4)))

    with open_run(tmp_path / "run", {"kind": "x", "prices": prices}) as run, Spending(run, 0.0003) as spending:
        for _ in range(3):
            asyncio.run(some_at_once(spending))
        run.append({"id": "1"})
    assert len(lines(tmp_path / "run" / "spending.jsonl")) == 24
