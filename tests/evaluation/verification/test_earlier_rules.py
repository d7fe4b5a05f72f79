"""Runs that were published by earlier rules are verified by these, and reported by the present ones."""

import json
from pathlib import Path

import pytest
from support.exam_runs import as_shown, questions, reported, run_folder
from support.judged_runs import dialogue, honest, judged_run
from support.pair_judges import compared_run
from support.pair_judges import honest as honest_pair

from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.derive import derive as derive_exam
from medllm_hf.evaluation.exams.derive import read_questions_asked
from medllm_hf.evaluation.exams.outputs import Rules, rules_of
from medllm_hf.evaluation.judging import derive as judging
from medllm_hf.evaluation.preferences.derive import derive as derive_pairs
from medllm_hf.evaluation.preferences.records import stored_run
from medllm_hf.evaluation.preferences.report import check_pair_run
from medllm_hf.evaluation.runs.folder import read_run, write_jsonl
from medllm_hf.evaluation.verification.dialogues import judgements, preferences
from medllm_hf.evaluation.verification.exams import output_finding
from medllm_hf.evaluation.verification.findings import CONFIRMED
from medllm_hf.folders import write_json


def set_metrics(folder: Path, metrics: dict) -> None:
    (folder / "metrics.json").unlink()
    write_json(folder / "metrics.json", metrics)


def wrong(findings: list) -> list[str]:
    return [one.line for one in findings if one.state != CONFIRMED]


def test_a_judge_run_with_intervals_of_few_dialogues(tmp_path):
    rows = [dialogue(i, 4 + i % 2, extra="再问" * i) for i in range(3)]
    judged_run(honest, tmp_path, *rows)
    folder = tmp_path / "run"
    stored = judging.stored_run("run", read_run(folder))
    earlier = judging.derive(stored.manifest, stored.outputs, stored.dialogues, version=1).metrics
    (one,) = earlier["systems"].values()
    assert one["intervals"]["overall"] and one["length"]["spearman"]["overall"] is not None and "version" not in earlier
    assert one["detectable_difference"]["overall"] > 0 and one["groups"][1]["intervals"]["overall"] == [5, 5]
    set_metrics(folder, earlier)
    found, metrics = judgements("eval/run", read_run(folder), rows)
    assert wrong(found) == [] and metrics == earlier
    (now,) = judging.load_judge_run("run", read_run(folder)).metrics["systems"].values()
    assert now["intervals"]["overall"] is now["detectable_difference"]["overall"] is None
    assert now["length"]["spearman"]["overall"] is None
    one["intervals"]["overall"] = [4.9, 5.0]
    set_metrics(folder, earlier)
    assert any("metrics.json systems" in line for line in wrong(judgements("eval/run", read_run(folder), rows)[0]))
    with pytest.raises(UserError, match="another systems"):
        judging.load_judge_run("run", read_run(folder))


def test_a_comparison_of_few_cases(tmp_path):
    sides = [[dialogue(i, score + i % 2, name) for i in range(3)] for name, score in (("a-7b", 2), ("b-7b", 3))]
    compared_run(honest_pair, tmp_path, *sides)
    folder = tmp_path / "pair"
    stored = stored_run("pair", read_run(folder))
    earlier = derive_pairs(stored.manifest, stored.outputs, stored.pairs, version=1).metrics
    assert earlier["headline"]["interval"] and json.loads((folder / "metrics.json").read_text())["headline"]["interval"] is None
    set_metrics(folder, earlier)
    found, metrics = preferences("eval/pair", read_run(folder))
    assert wrong(found) == [] and metrics == earlier
    assert check_pair_run("pair", read_run(folder)).metrics["headline"]["interval"] is None


def test_an_exam_that_took_the_first_of_tied_answers(tmp_path):
    rows = [{**row, "prediction": "A"} for row in as_shown(questions(20))]
    folder = run_folder(tmp_path / "run", rows)
    outputs = [{"id": row["id"], "rotation": 0, "order": row["order"], "logprobs": {"A": -1.0, "B": -1.0}} for row in rows]
    earlier = derive_exam(read_questions_asked(rows), outputs, rules=Rules(break_ties=True))
    for name, content in (("outputs.jsonl", outputs), ("scores.jsonl", earlier.scores)):
        (folder / name).unlink()
        write_jsonl(folder / name, content)
    set_metrics(folder, earlier.metrics)
    results, _ = reported(tmp_path, folder)
    assert results["results"][0]["accuracy"] == earlier.metrics["accuracy"] > 0
    set_metrics(folder, earlier.metrics | {"ties": 0})
    with pytest.raises(UserError, match="other predictions"):
        reported(tmp_path, folder, out="again")


def test_an_exam_whose_replies_were_read_without_the_kind_of_their_question(tmp_path):
    """Two letters were an answer to a question for one, so its reply was not asked once more either."""
    rows = [{**row, "prediction": "故选A、B。"} for row in as_shown(questions(6))]
    folder = run_folder(tmp_path / "run", rows, mode="reply", normalization="none")
    asked, outputs = read_questions_asked(rows), read_run(folder)["outputs"]
    earlier = derive_exam(asked, outputs, rules=Rules(by_kind=False)).metrics
    assert (earlier["unparsed"], read_run(folder)["metrics"]["unparsed"]) == (0, 6)
    set_metrics(folder, earlier)
    results, _ = reported(tmp_path, folder)
    assert results["results"][0]["unparsed"] == 0
    settings = read_run(folder)["manifest"]["settings"] | {"finish": "letters"}
    assert output_finding("run", asked, outputs, settings, rules_of(earlier)) is None
    assert "finishing" in output_finding("run", asked, outputs, settings, rules_of(None)).why
    set_metrics(folder, earlier | {"kinds": {"single": 6}})
    with pytest.raises(UserError, match="another unparsed"):
        reported(tmp_path, folder, out="again")
