"""Prices: the file that holds them, and what a run has cost, in its metrics, on the screen and in the report."""

import json
from pathlib import Path

import pytest
from support.billing import PRICES, Bill, limit, rule, write_prices
from support.chat_server import Behaviour, ChatServer, completion
from support.consulting import case, consult, judging, lines, write_cases
from support.judged_runs import dialogue, honest, verdict, write
from support.paths import SAMPLE

from medllm_hf.cli import main
from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.prices import amount, money, read_prices, with_cost
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.verification.dialogues import consultations, judgements
from medllm_hf.evaluation.verification.findings import CONFIRMED, Known

ONE = {"m": {"input": 1, "output": 2.5}}
QUESTIONS = str(SAMPLE / "questions_test.jsonl")


@pytest.fixture
def two(tmp_path) -> str:
    return write_cases(tmp_path / "cases.jsonl", [case(1), case(2, first_question="例002号家属，他头痛，怎么办？")])


def test_a_file_of_prices(tmp_path):
    assert read_prices(write_prices(tmp_path, ONE, "CNY")) == ("CNY", ONE)
    assert amount({"input": 0.1, "output": 0.2}, 1, 1) * 10_000_000 == 3, "exact, unlike 0.1 + 0.2"
    assert [money(value, "USD") for value in (0, 1234.5, 0.00001234)] == ["0.0000 USD", "1,234.5000 USD", "1.2e-05 USD"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "not JSON"),
        pytest.param("[" * 100_000, "not JSON", id="brackets"),
        ("[]", "as the fields of"),
        ('{"models": {"m": {"input": 1, "output": 2}}}', "'models' as the fields"),
        ('{"currency": "USD", "models": {"m": {"input": 1, "output": 2}}, "per": 1}', "'per' as the fields"),
        ('{"currency": "", "models": {"m": {"input": 1, "output": 2}}}', "currency ''"),
        ('{"currency": 5, "models": {"m": {"input": 1, "output": 2}}}', "currency 5"),
        ('{"currency": "USD", "models": {}}', "no models"),
        ('{"currency": "USD", "models": {"m": {"input": 1}}}', "'input' as the fields of m"),
        ('{"currency": "USD", "models": {"m": {"input": 1, "output": 2, "cached": 0}}}', "'cached' as the fields of m"),
        ('{"currency": "USD", "models": {"m": {"input": -1, "output": 2}}}', "input -1 of m"),
        ('{"currency": "USD", "models": {"m": {"input": 1, "output": true}}}', "output True of m"),
        ('{"currency": "USD", "models": {"m": {"input": 1, "output": NaN}}}', "output nan of m"),
        ('{"currency": "USD", "models": {"m": {"input": "1", "output": 2}}}', "input '1' of m"),
        ('{"currency": "USD", "models": {"m": {"input": 1, "output": 2}, "m": {"input": 3, "output": 4}}}', "twice"),
    ],
)
def test_what_is_no_file_of_prices(tmp_path, text, named):
    path = tmp_path / "prices.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_prices(str(path))
    assert named in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--prices", "nowhere.json"], "no nowhere.json; expected a file of prices; write it as {"),
        (["--prices", "."], "a folder at ."),
        (["--budget", "1"], "--budget without --prices"),
        (["--prices", "prices.json", "--budget", "0"], "--budget 0"),
        (["--prices", "prices.json", "--budget", "nan"], "--budget: 'nan'"),
        (["--prices", "prices.json", "--doctor", "http://127.0.0.1:9/v1#other"], "no price of other in prices.json"),
        (["--prices", "prices.json", "--judge", "http://127.0.0.1:9/v1#other"], "one for the judge"),
    ],
)
def test_prices_and_budgets_that_are_refused_before_anything_is_asked(two, tmp_path, refused, words, named):
    write_prices(tmp_path)
    url = "http://127.0.0.1:9/v1"
    sides = ("--doctor", url + "#doctor-model", "--patient", url + "#patient-model", "--out", "run")
    assert named in refused("eval", "consult", "--cases", two, *sides, *words, cwd=tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["--prices", "p"], ["--dry-run"]])
def test_a_local_exam_costs_nothing(tiny, tmp_path, refused, words):
    assert f"{words[0]} without --url" in refused(
        "eval", "mcq", "--model", str(tiny["base"]), "--data", QUESTIONS, "--out", "run", *words
    )


def cost_of(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))["cost"]


def test_what_a_consult_and_its_judge_have_cost(two, tmp_path, capsys):
    bill, out = Bill(), tmp_path / "run"
    words = ("--prices", write_prices(tmp_path))
    with ChatServer(bill) as server:
        assert consult(server, two, out, *words, "--judge", server.url + "#judge-model") == 0
    printed = capsys.readouterr().out
    cost, judge = cost_of(out), cost_of(out / "judge")
    paid = {model: amount(PRICES[model], *tokens) for model, tokens in bill.tokens.items()}
    assert cost["roles"]["patient"] == {
        "amount": float(paid["patient-model"]),
        "at_most": float(paid["patient-model"]),
        "uncounted": 0,
    }
    assert cost["roles"]["doctor"]["amount"] == float(paid["doctor-model"])
    assert cost["currency"] == "USD" and cost["amount"] == float(paid["doctor-model"] + paid["patient-model"])
    assert judge["amount"] == float(paid["judge-model"])
    assert cost["amount"] + judge["amount"] == pytest.approx(bill.total())
    shares = f"(doctor {money(paid['doctor-model'], 'USD')}, patient {money(paid['patient-model'], 'USD')})"
    assert f"{money(cost['amount'], 'USD')} {shares}" in printed and f"calls, {money(judge['amount'], 'USD')}, run" in printed
    run = read_run(out)
    assert run["manifest"]["prices"] == {
        "currency": "USD",
        "patient": PRICES["patient-model"],
        "doctor": PRICES["doctor-model"],
    }
    # Whoever has the manifest and the outputs finds the cost again.
    assert with_cost({"usage": run["metrics"]["usage"]}, run["manifest"])["cost"] == cost
    assert main(["report", str(out), "--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert f"Cost of the dialogues in run: {money(cost['amount'], 'USD')} {shares}." in text
    assert f"Cost of the judge in run: {money(judge['amount'], 'USD')}." in text


def test_a_cost_that_does_not_follow_is_refused(two, tmp_path, refused):
    out = tmp_path / "run"
    with ChatServer(Bill()) as server:
        assert consult(server, two, out, "--prices", write_prices(tmp_path), "--judge", server.url + "#judge-model") == 0
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    manifest["prices"]["doctor"]["output"] = 1
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert "another cost in metrics.json of run" in refused("report", str(out), "--out", str(tmp_path / "report"))


def test_unusable_replies_and_requests_without_counts_are_in_the_cost(tmp_path, capsys):
    """One dialogue: an answer without a choice but with counts, one without counts, an unusable one, then a verdict."""
    first = [honest, honest, honest, honest]
    odd = [
        Behaviour(body={"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}),
        completion("没有结论", usage=None),
        completion("没有结论", usage=(500, 50)),
        Behaviour(429, {}, {"Retry-After": "0"}),
    ]
    asked = []

    def script(body):
        if first:
            return completion(first.pop()(body), usage=(0, 0))
        asked.append(body)
        return odd.pop(0) if odd else completion(verdict(4, body), usage=(300, 30))

    file = write(tmp_path / "dialogues.jsonl", dialogue(1))
    with ChatServer(script) as server:
        words = ["eval", "judge", "--dialogues", file, "--judge", server.url + "#judge-model", "--out", str(tmp_path / "run")]
        assert main([*words, "--concurrency", "1", "--prices", write_prices(tmp_path)]) == 0
    cost, price = cost_of(tmp_path / "run"), PRICES["judge-model"]
    paid = amount(price, 1000 + 500 + 300, 100 + 50 + 30)
    unknown = amount(price, rule(asked[1]), limit(asked[1]))
    assert cost["roles"]["judge"] == {"amount": float(paid), "at_most": float(paid + unknown), "uncounted": 1}
    assert "(requests that brought no counts: 1)" in capsys.readouterr().out


def test_a_local_doctor_and_a_run_without_prices_have_no_cost(two, tmp_path):
    with ChatServer(judging) as server:
        assert consult(server, two, tmp_path / "run") == 0
    assert "cost" not in json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert not (tmp_path / "run" / "spending.jsonl").exists()


def test_other_prices_do_not_go_on_with_a_run(two, tmp_path, refused):
    out, dearer = tmp_path / "run", {**PRICES, "doctor-model": {"input": 3, "output": 16}}
    with ChatServer(judging) as server:
        sides = ("--doctor", server.url + "#doctor-model", "--patient", server.url + "#patient-model", "--out", str(out))
        words = ("eval", "consult", "--cases", two, *sides)
        assert main([*words, "--prices", write_prices(tmp_path)]) == 0
        assert main([*words, "--prices", write_prices(tmp_path), "--budget", "5"]) == 0, "another budget is no other run"
        assert "found prices.doctor.output 16" in refused(*words, "--prices", write_prices(tmp_path, dearer))
        assert "found prices.currency 'EUR'" in refused(*words, "--prices", write_prices(tmp_path, currency="EUR"))
        assert "found prices.currency nothing" in refused(*words)


def test_what_an_exam_at_an_endpoint_has_cost(tmp_path, capsys):
    bill = Bill(lambda body: "答案：B")
    words = ["eval", "mcq", "--data", QUESTIONS, "--out", str(tmp_path / "run"), "--prices", write_prices(tmp_path)]
    with ChatServer(bill) as server:
        assert main([*words, "--url", server.url + "#scripted"]) == 0
    run = read_run(tmp_path / "run")
    usage = run["metrics"]["usage"]
    assert usage["calls"] == len(run["outputs"]) == len(lines(Path(QUESTIONS)))
    assert [usage["prompt_tokens"], usage["completion_tokens"]] == bill.tokens["scripted"]
    assert run["metrics"]["cost"]["amount"] == pytest.approx(bill.total())
    told = money(run["metrics"]["cost"]["amount"], "USD")
    assert told in capsys.readouterr().out
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "report")]) == 0
    assert f"Cost of run: {told}." in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")


def test_a_cost_is_confirmed_from_the_published_files(two, tmp_path):
    """What `medllm verify` does with the files of a run, of which spending.jsonl is none."""
    out = tmp_path / "run"
    with ChatServer(Bill(faults={"500": 0.2}, seed=1)) as server:
        words = ("--prices", write_prices(tmp_path), "--judge", server.url + "#judge-model")
        assert consult(server, two, out, *words) == 0
    (out / "spending.jsonl").unlink()
    (out / "judge" / "spending.jsonl").unlink()
    run, dialogues = read_run(out), lines(out / "dialogues.jsonl")
    run["manifest"]["doctor"]["weights_sha256"] = "0"
    known = Known("0", tmp_path, {run["manifest"]["data"]["sha256"]: Path(two)})
    found = consultations("eval/run", run, known, dialogues)
    judged, derived = judgements("eval/run/judge", read_run(out / "judge"), dialogues, run, known.files)
    assert {one.state for one in [*found, *judged]} == {CONFIRMED}
    assert sum(one.figure.endswith("metrics.json cost") for one in [*found, *judged]) == 2
    roles = [*derived["cost"]["roles"].values(), *run["metrics"]["cost"]["roles"].values()]
    assert sum(role["uncounted"] for role in roles) > 0
