"""Rubric benchmarks judged by `checklist`: the score as it is published, the licence, and physicians beside the judge."""

import json
import re
from pathlib import Path

import pytest
from support.chat_server import ChatServer
from support.judged_runs import write

from medllm_hf.cli import main
from medllm_hf.evaluation.runs.folder import read_run

# An answer meets the points whose numbers it names.
POINTS = [("问1", 5), ("问2", 3), ("错3", -8)]


def script(body: dict) -> str:
    """A judge that reads which points an answer meets; of answers with a cross nothing is said."""
    text = body["messages"][1]["content"]
    said = re.findall(r"^\| 答案(.*)", text, re.MULTILINE)
    points = re.findall(r"^\[(?:要点|Point) ?(\d+)\]\n\| .(\d)?", text, re.MULTILINE)
    if said and "×" in said[-1]:
        return "没有结论"
    met = {number: bool(said and mark and mark in said[-1]) for number, mark in points}
    return json.dumps({"reasons": "", **{f"point_{number}": "met" if one else "not met" for number, one in met.items()}})


def health_row(number: int, **fields) -> dict:
    return {
        "prompt_id": f"p-{number}",
        "prompt": [{"role": "user", "content": "膝盖疼"}],
        "rubrics": [{"criterion": text, "points": points, "tags": []} for text, points in POINTS],
        "example_tags": ["theme:hedging"],
        "canary": "healthbench:0",
        **fields,
    }


def live_row(number: int) -> dict:
    items = [{"criterion": text, "points": points} for text, points in POINTS]
    return {"case_id": str(number), "narrative": "膝盖疼", "core_request": "怎么办？", "rubric_items": items}


def judge(tmp_path: Path, rows: list[dict], answers: list[dict] | None, *words: str) -> Path:
    """The run folder of a benchmark."""
    file = write(tmp_path / "rows.jsonl", *rows)
    given = ("--answers", write(tmp_path / "answers.jsonl", *answers)) if answers else ()
    with ChatServer(script) as server:
        wanted = ("eval", "judge", "--dialogues", file, *given, "--judge", f"{server.url}#judge-1", "--rubric", "checklist")
        assert main([*wanted, "--out", str(tmp_path / "run"), *words]) == 0
    return tmp_path / "run"


ANSWERS = [{"id": f"p-{i}", "response": f"答案{said}", "model": "a-7b"} for i, said in enumerate(("12", "1", "3", "13") * 2)]


def test_the_score_of_healthbench_is_cut_after_the_mean(tmp_path):
    run = read_run(
        judge(
            tmp_path,
            [health_row(i) for i in range(10)],
            [*ANSWERS, {"id": "other", "response": "x", "model": "a-7b"}, {"id": "p-8", "response": "答案×", "model": "a-7b"}],
            "--failure-limit",
            "0.5",
        )
    )
    found = run["metrics"]["systems"]["a-7b"]
    # 8, 5, -8 and -3 of 8 points, twice; each cut to 0 and 1 they would come to 13 of 32.
    assert found["published"]["value"] == pytest.approx(2 / 32) and found["checklist"] == pytest.approx(13 / 32)
    assert (found["published"]["n"], found["published"]["unscored"]) == (9, 1)
    low, high = found["published"]["interval"]
    assert low == 0 and 0.3 < high < 1
    assert run["manifest"]["benchmark"] == {
        "name": "HealthBench",
        "licence": "MIT",
        "source": "https://github.com/openai/simple-evals",
        "clips_mean": True,
        "cases": 10,
        "unanswered": ["a-7b/p-9"],
        "other_answers": 1,
    }
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "Benchmark of run: HealthBench (licence MIT, https://github.com/openai/simple-evals), 10 cases." in text
    assert "Without an answer are 1: a-7b/p-9. Answers to other cases, left out: 1." in text
    assert f"averaged and then cut to 0 and 1: a-7b 0.06 (0.00 to {high:.2f}), n 9, unscored 1." in text


def test_the_score_of_livemedbench_is_cut_for_each_answer(tmp_path):
    answers = [{**one, "id": one["id"].removeprefix("p-")} for one in ANSWERS]
    found = read_run(judge(tmp_path, [live_row(i) for i in range(8)], answers))["metrics"]["systems"]["a-7b"]
    assert found["published"]["value"] == found["checklist"] == pytest.approx(13 / 32)


def test_what_goes_before_an_answer_is_not_the_doctor_s(tmp_path):
    """Earlier words of an assistant meet no point: they are the publishers'."""
    prompt = [
        {"role": "user", "content": "膝盖疼"},
        {"role": "assistant", "content": "答案12"},
        {"role": "user", "content": "还疼"},
    ]
    run = read_run(judge(tmp_path, [health_row(0, prompt=prompt)], [{"id": "p-0", "response": "答案1"}]))
    (row,) = run["scores"]
    assert [turn["role"] for turn in row["turns"]] == ["patient", "doctor"]
    assert row["turns"][0]["content"] == "user: 膝盖疼\n\nassistant: 答案12\n\nuser: 还疼"
    assert run["metrics"]["systems"][""]["published"]["value"] == pytest.approx(5 / 8)


def meta_row(number: int, labels: list[bool]) -> dict:
    row = {"prompt_id": f"p-{number // 2}", "completion_id": f"c-{number}", "prompt": [{"role": "user", "content": "膝盖疼"}]}
    answer = "答案" + "1" * (number % 3 > 0)
    return {**row, "completion": answer, "rubric": "问1", "category": "x", "binary_labels": labels, "canary": "healthbench:0"}


def test_physicians_beside_the_judge_and_by_whom_it_is_calibrated(tmp_path, capsys):
    # The second physician is stricter, and the judge agrees with the first on all but each tenth answer.
    rows = [meta_row(i, [i % 3 > 0 and i % 10 > 0, i % 3 == 1]) for i in range(60)]
    run = judge(tmp_path, rows, None)
    labels = str(tmp_path / "rows.jsonl")
    assert main(["eval", "agree", str(run), "--labels", labels, "--calibrate", labels, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "agreement.json").read_text(encoding="utf-8"))
    first, second = found["judge_human"]
    assert (first["second"], second["second"], found["labels"]["bad_rows"]) == ("physician 1", "physician 2", [])
    assert first["criteria"]["checklist"]["exact"] == pytest.approx(56 / 60)
    assert second["criteria"]["checklist"]["exact"] == pytest.approx(40 / 60)
    (calibrated,) = found["calibration"]["rows"]
    own = calibrated["criteria"]["checklist"]
    # Two answers to each of thirty prompts; all are labelled, so the mean is that of the labels.
    assert (own["n"], own["cases"]) == (60, 30) and own["judge"]["value"] == pytest.approx(40 / 60)
    assert own["calibrated"]["value"] == pytest.approx((36 + 20) / 120)


def test_what_is_refused(tmp_path, refused):
    rows, plain = write(tmp_path / "rows.jsonl", health_row(0)), write(tmp_path / "d.jsonl", {"id": "1", "turns": []})
    words = ("--judge", "http://127.0.0.1:9#j", "--out", str(tmp_path / "run"))
    said = refused("eval", "judge", "--dialogues", rows, *words, "--rubric", "checklist")
    assert "HealthBench in" in said and "no answers" in said and "--answers" in said
    answers = write(tmp_path / "a.jsonl", {"id": "other", "response": "x"})
    said = refused("eval", "judge", "--dialogues", rows, "--answers", answers, *words, "--rubric", "checklist")
    assert "no answer to its cases" in said
    assert "--answers, and no benchmark" in refused("eval", "judge", "--dialogues", plain, "--answers", answers, *words)
    good = write(tmp_path / "a.jsonl", {"id": "p-0", "response": "x"})
    assert "checklist takes a list of points" in refused("eval", "judge", "--dialogues", rows, "--answers", good, *words)
    assert not (tmp_path / "run").exists()
