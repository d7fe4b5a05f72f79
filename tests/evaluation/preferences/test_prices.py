"""What a comparison costs: estimated before, bounded by a budget, derived again after."""

import json
import re

from support.billing import Bill, rule, write_prices
from support.chat_server import ChatServer
from support.judged_runs import dialogue, write
from support.pair_judges import honest

from medllm_hf.cli import main
from medllm_hf.evaluation.runs.folder import read_run

FIRST = [dialogue(i, 2 + i % 4, "a-7b") for i in range(6)]
SECOND = [dialogue(i, 3, "b-7b") for i in range(6)]
AT_MOST = re.compile(r"^judge, at most: ([\d,]+) calls, ([\d,]+) \+ ([\d,]+) tokens, ([\d.]+) USD$", re.M)


def test_a_comparison_is_estimated_stops_at_its_budget_and_tells_its_cost(tmp_path, capsys):
    sides = ("--first", write(tmp_path / "a.jsonl", *FIRST), "--second", write(tmp_path / "b.jsonl", *SECOND))
    bill = Bill(honest, counts=lambda body: (rule(body), 50))
    with ChatServer(bill) as server:
        words = ["eval", "pair", *sides, "--judge", f"{server.url}#judge-model", "--out", str(tmp_path / "run")]
        words += ["--prices", write_prices(tmp_path), "--max-new-tokens", "100"]
        assert main([*words, "--dry-run"]) == 0
        calls, *_, most = AT_MOST.search(capsys.readouterr().out).groups()
        # Four canaries and six cases, in two orders, each asked three times at most.
        assert int(calls) == 60 and server.requests == [] and not (tmp_path / "run").exists()
        assert main([*words, "--budget", "0.05"]) == 1
        assert re.search(r"budget of 0\.0500 USD, .*; \d+ replies of the judge are missing", capsys.readouterr().err)
        stopped_at = bill.total()
        assert 0 < stopped_at <= 0.05
        assert main([*words, "--dry-run", "--budget", "5"]) == 0
        assert int(AT_MOST.search(capsys.readouterr().out)[1]) == 60 - 3 * len(server.requests)
        assert main([*words, "--budget", "5"]) == 0
    assert len(server.requests) == 20 and stopped_at < bill.total() < float(most)
    run = read_run(tmp_path / "run")
    assert abs(run["metrics"]["cost"]["amount"] - bill.total()) < 1e-9
    assert f"{bill.total():.4f} USD" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "report")]) == 0
    assert f"Cost: {bill.total():.4f} USD" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    # A cheaper bill than the outputs tell is found.
    run["metrics"]["cost"]["amount"] /= 2
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(run["metrics"]), encoding="utf-8")
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "again")]) == 2
    assert "another cost in metrics.json" in capsys.readouterr().err


def test_a_priced_run_is_told_again_as_it_ended_and_edited_it_is_refused(tmp_path, capsys):
    sides = ("--first", write(tmp_path / "a.jsonl", *FIRST[:2]), "--second", write(tmp_path / "b.jsonl", *SECOND[:2]))
    with ChatServer(Bill(honest, counts=lambda body: (rule(body), 50))) as server:
        words = ["eval", "pair", *sides, "--judge", f"{server.url}#judge-model", "--out", str(tmp_path / "run")]
        words += ["--prices", write_prices(tmp_path)]
        assert main(words) == 0
        said, asked = capsys.readouterr().out, len(server.requests)
        (tmp_path / "run" / "spending.jsonl").unlink()  # no part of what is published
        assert main(words) == 0 and capsys.readouterr().out == said
        for name, old, new in (
            ("manifest.json", '"prompt_tokens": ', '"prompt_tokens": 7'),
            ("metrics.json", '"n": 2', '"n": 9'),
        ):
            file = tmp_path / "run" / name
            whole = file.read_text(encoding="utf-8")
            assert old in whole
            file.write_text(whole.replace(old, new), encoding="utf-8")
            assert main(words) == 2
            error = capsys.readouterr().err
            assert "metrics.json of" in error and "--overwrite" in error
            file.write_text(whole, encoding="utf-8")
    assert len(server.requests) == asked
