"""Reports of the safety and the checklist rubric, and of consultations whose judge must have read these very dialogues."""

import json
import re
from pathlib import Path

import pytest
from matplotlib.image import imread
from support.browser import browser
from support.chat_server import ChatServer
from support.consulting import case, consult, judging, lines, write_cases
from support.judged_runs import asked_score, dialogue, judged, write

from medllm_hf.cli import main
from medllm_hf.evaluation.commands.report import report

POINTS = [{"point": "问<b>发热</b>", "weight": 2}, "问外伤", {"point": "乱开药", "weight": -1}]
SYSTEMS = ("a-7b", "b-7b")


def safety(body: dict) -> str:
    score = asked_score(body)
    return json.dumps({"reasons": "第2轮。", "red_flags": score, "safe_advice": max(1, score - 1), "referral": score})


def checklist(body: dict) -> str:
    """The first point is met by who is worth 4 or more, the second by nobody, the fault by 5; 3 brings no verdict."""
    score = asked_score(body)
    if score == 3:
        return "没有结论"
    return json.dumps({"reasons": "第2轮。", "point_1": score > 3, "point_2": False, "point_3": score == 5})


def made(tmp_path: Path, script, rows: list[dict], **flags) -> tuple[dict, str, Path]:
    """Results, text and folder of the report over one judge run on `rows`."""
    with ChatServer(script) as server:
        assert judged(server, write(tmp_path / "d.jsonl", *rows), tmp_path / "run", failure_limit=1, **flags) == 0
    report([str(tmp_path / "run")], str(tmp_path / "out"))
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    return results, (tmp_path / "out" / "report.md").read_text(encoding="utf-8"), tmp_path / "out"


def test_the_report_of_the_safety_rubric(tmp_path):
    rows = [dialogue(i, 3 + (model == "a-7b") + i % 2, model) for model in SYSTEMS for i in range(4)]
    results, text, out = made(tmp_path, safety, rows, rubric="safety")
    (one,) = results["sets"]
    assert [one["systems"][0][name] for name in ("red_flags", "safe_advice", "referral")] == [4.5, 3.5, 4.5]
    assert "| system | red flags | safe advice | referral | overall | n | unscored |" in text
    assert one["comparisons"][0]["difference"] == pytest.approx(-1)
    assert "| canary/sign | red flags 1, safe advice 1, referral 1 | passed |" in text
    for name in ("criteria", "radar", "groups"):
        picture = imread(out / f"{name}.png")[..., :3]
        edges = (picture[0], picture[-1], picture[:, 0], picture[:, -1])
        assert all((edge == 1).all() for edge in edges), f"something in {name}.png is cut off"


def test_the_report_of_a_checklist(tmp_path):
    rows = [{**dialogue(i, 5 - i, SYSTEMS[i % 2]), "reference": POINTS} for i in range(4)]
    results, text, out = made(tmp_path, checklist, rows, rubric="checklist", samples=2)
    (one,) = results["sets"]
    # 5: 2 - 1 of 3, 4: 2 of 3, 3: unscored, 2: nothing.
    assert [row["checklist"] for row in one["systems"]] == [pytest.approx(1 / 3), pytest.approx(1 / 3)]
    assert [row["unscored"] for row in one["systems"]] == [1, 0]
    assert "scores from 0 to 1" in text and not (out / "radar.png").exists()
    page = (out / "report.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    told = {row[1]: row[-1] for row in data["sets"][0]["rows"]}
    assert told["own/0"] == [
        "met in 2 of 2 · 问<b>发热</b> · weight 2",
        "met in 0 of 2 · 问外伤 · weight 1",
        "met in 2 of 2 · 乱开药 · weight -1",
    ]
    assert told["own/1"][0].startswith("met in 2 of 2") and told["own/1"][2].startswith("met in 0 of 2")
    assert told["own/2"][0].startswith("unscored")
    with browser(tmp_path / "profile") as chromium:
        chromium.open(out / "report.html")
        chromium.run(
            "for (const item of document.querySelectorAll('details')) item.open = true; new Promise(requestAnimationFrame)"
        )
        said = chromium.run("document.getElementById('list').innerText")
        assert said.count("met in 2 of 2 · 问<b>发热</b> · weight 2") == 2 and "what the judge was given" in said
        assert chromium.complaints() == []


def test_notes_on_a_case_are_shown_beside_its_dialogue(tmp_path):
    _, _, out = made(tmp_path, safety, [{**dialogue(1), "reference": "患者有高血压。"}, dialogue(2)], rubric="safety")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("患者有高血压。") == 1


@pytest.fixture
def visits(tmp_path) -> Path:
    """A consult run, judged by the default rubric."""
    cases = write_cases(tmp_path / "cases.jsonl", [case(1, group="内科"), case(2, group="外科")])
    with ChatServer(judging) as server:
        assert consult(server, cases, tmp_path / "visits", "--judge", server.url + "#judge-model") == 0
    return tmp_path / "visits"


def again(folder: Path, script, source: Path | str, *words: str) -> int:
    """The exit code of judging `source` into the folder of the judge inside a consult run."""
    with ChatServer(script) as server:
        judge = ("--judge", server.url + "#judge-model", "--failure-limit", "1", "--overwrite")
        return main(["eval", "judge", "--dialogues", str(source), *judge, "--out", str(folder / "judge"), *words])


def test_a_consult_run_is_reported_by_a_safety_or_a_checklist_judge(tmp_path, visits):
    assert again(visits, safety, visits, "--rubric", "safety") == 0
    assert main(["report", str(visits), "--out", str(tmp_path / "safety")]) == 0
    assert "| doctor-model | 1.00" in (tmp_path / "safety" / "report.md").read_text(encoding="utf-8")
    rows = [{**one, "reference": POINTS} for one in lines(visits / "dialogues.jsonl")]
    assert again(visits, checklist, write(tmp_path / "with-points.jsonl", *rows), "--rubric", "checklist") == 0
    assert main(["report", str(visits), "--out", str(tmp_path / "checklist")]) == 0
    text = (tmp_path / "checklist" / "report.md").read_text(encoding="utf-8")
    assert "Rubric checklist" in text and "## Simulated consultations" in text


@pytest.mark.slow
@pytest.mark.parametrize("change", ["words", "fewer", "more"])
def test_a_judge_of_other_dialogues_is_not_reported_as_that_of_the_run(tmp_path, visits, refused, change):
    rows = lines(visits / "dialogues.jsonl")
    if change == "words":
        rows[1]["turns"][1]["content"] += "。"
    others = {"words": rows, "fewer": rows[:1], "more": [*rows, dialogue(1)]}[change]
    assert again(visits, judging, write(tmp_path / "others.jsonl", *others)) == 0
    said = refused("report", str(visits), "--out", str(tmp_path / "out"))
    assert (
        "a judge run in visits/judge on other dialogues than visits has held" in said
        and "medllm eval judge --dialogues" in said
    )
    assert not (tmp_path / "out").exists()
    assert again(visits, judging, visits) == 0
    assert main(["report", str(visits), "--out", str(tmp_path / "out")]) == 0
