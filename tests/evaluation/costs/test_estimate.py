"""`--dry-run`: what a run would cost is a bound, is exact where the bound is reached, and touches nothing."""

import json
import math
import random
import re
from pathlib import Path

import pytest
from support.billing import Bill, full, limit, rule, some, write_prices
from support.chat_server import Behaviour, ChatServer, completion
from support.consulting import case, judging, on_inventions, reply, write_cases
from support.judged_runs import dialogue, honest, write
from support.paths import SAMPLE

from medllm_hf.cli import main
from medllm_hf.evaluation.consultations.patient import END
from medllm_hf.evaluation.costs.estimate import DOCTOR, PATIENT, Length, verdict
from medllm_hf.evaluation.runs.folder import read_run

ROW = re.compile(r"^(\w+), (at most|about): ([\d,]+) calls, ([\d,]+) \+ ([\d,]+) tokens(?:, ([\d.,e-]+) USD)?$", re.M)
FEW = ("--doctor-max-new-tokens", "120", "--patient-max-new-tokens", "16")
ASKED = "例003号家属，他头痛，怎么办？"


@pytest.fixture
def four(tmp_path) -> str:
    rows = [case(1), case(2), case(3, first_question=ASKED), case(4, group="内科")]
    return write_cases(tmp_path / "cases.jsonl", rows)


def expected(capsys, *words: str) -> dict[str, dict[str, tuple]]:
    """Role → "at most" and "about" → (calls, tokens of prompts, of replies, amount), as the dry run prints them."""
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0
    found: dict[str, dict[str, tuple]] = {}
    for role, name, *figures in ROW.findall(capsys.readouterr().out):
        numbers = [float(figure.replace(",", "")) if figure else None for figure in figures]
        found.setdefault(role, {})[name] = tuple(numbers)
    return found


def sides(server: ChatServer, cases: str, out: Path) -> list[str]:
    models = ("--doctor", server.url + "#doctor-model", "--patient", server.url + "#patient-model")
    return ["eval", "consult", "--cases", cases, *models, "--judge", server.url + "#judge-model", "--out", str(out), *FEW]


def test_the_most_is_exact_when_every_reply_is_at_its_limit(four, tmp_path, capsys, monkeypatch):
    bill = Bill(full)
    with ChatServer(bill) as server:
        words = [*sides(server, four, tmp_path / "run"), "--prices", write_prices(tmp_path)]
        asked_again = expected(capsys, *words)
        for name in ("AGAIN", "USUALLY_AGAIN"):
            monkeypatch.setattr(f"medllm_hf.evaluation.consultations.run.{name}", 0)
        said = expected(capsys, *words)
        assert server.requests == [] and not (tmp_path / "run").exists()
        assert main(words) == 1, "a judge without a verdict gives no headline"
    calls = {role: sum(one.body["model"] == f"{role}-model" for one in server.requests) for role in said}
    for role, row in said.items():
        assert row["at most"][:3] == (calls[role], *bill.tokens[f"{role}-model"]), role
        assert row["about"][0] <= calls[role] and row["about"][1] < row["at most"][1] and row["about"][2] < row["at most"][2]
    assert calls == {"patient": 4 + 11, "doctor": 12, "judge": 3 * (4 + 4 + 2 + 4)}
    assert sum(row["at most"][3] for row in said.values()) == pytest.approx(bill.total(), abs=2e-4)
    # A patient may be asked twice again for each of its turns, but not for the canaries; nobody else may.
    assert asked_again["patient"]["at most"][0] == 4 + 3 * 11
    assert {role: asked_again[role] for role in ("doctor", "judge")} == {role: said[role] for role in ("doctor", "judge")}


def script_auto(body: dict) -> str:
    """A patient that leaves early now and then, and a judge that is not always clear."""
    if body["model"] == "judge-model":
        return judging(body) if "例001号" not in str(body) else "没有结论"
    return f"再见。\n{END}" if body["messages"][0]["role"] == "system" and len(body["messages"]) > 4 else reply(body)


@pytest.mark.parametrize(
    "words", [["--turns", "1"], ["--turns", "5"], ["--turns", "auto", "--max-turns", "4"], ["--doctor-max-new-tokens", "400"]]
)
def test_a_run_costs_no_more_than_the_most(four, tmp_path, capsys, words):
    bill = Bill(script_auto, counts=some(random.Random(1)))
    with ChatServer(bill) as server:
        words = [*sides(server, four, tmp_path / "run"), *words]
        said = expected(capsys, *words)
        assert main(words) == 1, "a judge that is not always clear gives no headline"
    for role, row in said.items():
        spent = bill.tokens[f"{role}-model"]
        calls = sum(one.body["model"] == f"{role}-model" for one in server.requests)
        assert 0 < calls <= row["at most"][0] and 0 < spent[0] <= row["at most"][1] and 0 < spent[1] <= row["at most"][2]


@pytest.mark.parametrize(
    "words", [[], ["--samples", "3"], ["--rubric", "safety", "--language", "en"], ["--rubric", "checklist"]]
)
def test_a_judge_costs_no_more_than_the_most(tmp_path, capsys, words):
    rng, points = random.Random(2), [{"point": "问发热", "weight": 2}, "问外伤"]
    own = {"reference": points} if "checklist" in words else {"reference": "患者有高血压。"}
    file = write(tmp_path / "d.jsonl", *({**dialogue(i, extra="多喝水\n" * i), **own} for i in range(4)))

    def script(body):
        if "response_format" in body and words == []:
            return Behaviour(400, {"error": {"param": "response_format"}})
        return honest(body) if rng.random() < 0.5 else "没有结论"

    bill = Bill(script)
    with ChatServer(bill) as server:
        words = ["eval", "judge", "--dialogues", file, "--judge", server.url + "#judge-model", *words]
        words += ["--out", str(tmp_path / "run"), "--failure-limit", "1"]
        (row,) = expected(capsys, *words).values()
        assert main(words) == (read_run(tmp_path / "run")["metrics"]["headline"] is None)
    answered = [one for one in server.requests if words != [] or "response_format" not in one.body]
    assert 0 < len(answered) <= row["at most"][0]
    assert bill.tokens["judge-model"][0] <= row["at most"][1] and bill.tokens["judge-model"][1] <= row["at most"][2]


def test_what_is_left_of_a_run_and_its_own_ratio(four, tmp_path, capsys):
    """A server that counts half a token a character; the second case fails at the doctor's second turn."""
    broken = True

    def script(body):
        if broken and "例002号" in str(body) and body["model"] == "doctor-model" and len(body["messages"]) == 3:
            return Behaviour(418, {"error": {"message": "not now"}})
        prompt = sum(len(message["content"]) for message in body["messages"]) // 2
        return completion(judging(body), usage=(prompt, 7))

    out = tmp_path / "run"
    with ChatServer(script) as server:
        words = sides(server, four, out)
        whole = expected(capsys, *words)
        assert main(words) == 1
        files = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
        left = expected(capsys, *words)
        assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == files, "nothing was written"
        asked, broken = len(server.requests), False
        assert main(words) == 0
    rest = [one.body for one in server.requests[asked:]]
    calls = {role: [body for body in rest if body["model"] == f"{role}-model"] for role in left}
    assert (
        left["patient"]["about"][0] == len(calls["patient"]) == 1
        and left["patient"]["at most"][0] == 3
        and left["doctor"]["at most"][0] == 2
    )
    assert left["judge"]["at most"][0] == whole["judge"]["at most"][0] == 3 * (8 + 6)
    for role in ("patient", "doctor"):
        prompts = sum(sum(len(message["content"]) for message in body["messages"]) / 2 for body in calls[role])
        assert left[role]["about"][2] == 7 * len(calls[role])
        assert left[role]["about"][1] == pytest.approx(prompts, rel=0.05)
    over = expected(capsys, *words)
    assert {row["at most"][0] for row in over.values()} == {0}


def test_a_dry_run_says_what_is_spent_and_whether_the_budget_is_enough(four, tmp_path, capsys):
    with ChatServer(Bill(full)) as server:
        words = [*sides(server, four, tmp_path / "run")[: -len(FEW)], *FEW, "--prices", write_prices(tmp_path)]
        assert main([*words, "--budget", "0.05"]) == 1
        asked = len(server.requests)
        for budget, said in (("0.1", "does not cover"), ("9", "covers")):
            capsys.readouterr()
            assert main([*words, "--budget", budget, "--dry-run"]) == 0
            text = capsys.readouterr().out
            assert f"USD {said} what is spent" in text and "the run folder has spent 0.0" in text
        assert len(server.requests) == asked


def test_a_dry_run_starts_no_server_for_a_checkpoint(tiny, four, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("medllm_hf.evaluation.models.served", None)
    model = str(tiny["base"])
    words = ["eval", "consult", "--cases", four, "--doctor", model, "--patient", model, "--judge", model, "--out"]
    said = expected(capsys, *words, str(tmp_path / "run"), *FEW, "--prices", write_prices(tmp_path))
    assert [row["at most"][0] for row in said.values()] == [4 + 3 * 11, 12, 24 + 3 * (2 + 4)]
    assert {row["at most"][3] for row in said.values()} == {None}, "what we serve ourselves costs nothing"
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_other_settings_or_over_files_is_refused(four, tmp_path, capsys, refused):
    with ChatServer(judging) as server:
        words = sides(server, four, tmp_path / "run")
        assert main(words) == 0
        assert "found settings.seed 1" in refused(*words, "--seed", "1", "--dry-run")
        assert expected(capsys, *words, "--seed", "1", "--overwrite")["doctor"]["at most"][0] == 12
        assert (tmp_path / "run" / "judge" / "metrics.json").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes").touch()
    assert "files and no manifest.json" in refused(*sides(server, four, tmp_path / "other"), "--dry-run")


def test_an_exam_at_an_endpoint(tmp_path, capsys):
    bill = Bill(lambda body: "答案：B")
    words = ["eval", "mcq", "--data", str(SAMPLE / "questions_test.jsonl"), "--out", str(tmp_path / "run")]
    with ChatServer(bill) as server:
        words += ["--url", server.url + "#scripted", "--max-new-tokens", "8", "--prices", write_prices(tmp_path)]
        (row,) = expected(capsys, *words).values()
        assert server.requests == [] and not (tmp_path / "run").exists()
        assert main(words) == 0
        (greeting,) = server.preflights
        prompts, replies = bill.tokens["scripted"]
        sent = len(server.requests) + 1, prompts + rule(greeting.body), replies + limit(greeting.body)
        assert row["at most"][:3] == sent
        assert bill.tokens["scripted"] == [sum(rule(one.body) for one in server.requests), 8 * len(server.requests)]
        assert {limit(one.body) for one in server.requests} == {8}
        assert expected(capsys, *words)["model"]["at most"] == (0, 0, 0, 0)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["prices"]["model"] == {"input": 1, "output": 2}


@pytest.mark.parametrize("limit", [20, 150, 1024])
def test_the_mean_of_replies_that_a_limit_cuts(limit):
    rng, length = random.Random(3), Length(145, 0.56)
    drawn = [min(limit, rng.lognormvariate(math.log(length.median), length.spread)) for _ in range(20_000)]
    assert length.mean(limit) == pytest.approx(sum(drawn) / len(drawn), rel=0.01)
    assert length.mean(limit) < limit and length.mean(limit) < length.mean()


def usual(rng: random.Random):
    """Counts of tokens as real runs have them: 0.7 a character, a doctor's replies of 145 in the median, a patient's of 28."""

    def counts(body: dict) -> tuple[int, int]:
        length = {"doctor-model": DOCTOR, "patient-model": PATIENT, "judge-model": verdict(1 if on_inventions(body) else 4)}[
            body["model"]
        ]
        tokens = round(rng.lognormvariate(math.log(length.median), length.spread))
        return round(0.7 * sum(len(message["content"]) for message in body["messages"])), min(limit(body), tokens)

    return counts


@pytest.mark.parametrize("doctor_limit", ["1024", "120"])
def test_a_run_of_usual_replies_costs_about_what_is_said(tmp_path, capsys, doctor_limit):
    """The words are as long as the counts say, since they come back in later prompts."""
    rng = random.Random(4)
    counts = usual(rng)

    def script(body: dict):
        if body["model"] == "judge-model":
            return completion(judging(body), usage=counts(body))
        prompt, tokens = counts(body)
        return completion(("疼" if body["model"] == "patient-model" else "嗯") * round(tokens / 0.7), usage=(prompt, tokens))

    cases = write_cases(tmp_path / "cases.jsonl", [case(i) for i in range(8)])
    with ChatServer(script) as server:
        models = ("--doctor", server.url + "#doctor-model", "--patient", server.url + "#patient-model")
        words = ["eval", "consult", "--cases", cases, *models, "--judge", server.url + "#judge-model", "--out"]
        words += [str(tmp_path / "run"), "--doctor-max-new-tokens", doctor_limit]
        said = expected(capsys, *words)
        main(words)
    usage = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["usage"]
    usage["judge"] = json.loads((tmp_path / "run" / "judge" / "metrics.json").read_text(encoding="utf-8"))["usage"]
    for role, row in said.items():
        for place, name in ((1, "prompt_tokens"), (2, "completion_tokens")):
            assert 1 / 1.5 < row["about"][place] / usage[role][name] < 1.5, (role, name)
