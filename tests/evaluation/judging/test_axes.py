"""The four axes and the styles of patients, from real runs of scripted doctors to the report."""

import json
from pathlib import Path

import pytest
from support.chat_server import ChatServer
from support.consulting import lines, write_cases
from support.judged_runs import KEYS
from support.scripted_talks import CHECKLIST, DOCTORS, FACTS, case, script

from medllm_hf.cli import main
from medllm_hf.evaluation.judging.axis_tables import axis_blocks
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.verification.dialogues import consultations, judgements
from medllm_hf.evaluation.verification.findings import CONFIRMED, Known
from medllm_hf.reporting.blocks import markdown

AXES = ("inquiry", "diagnosis", "safety", "communication")


def held(url: str, cases: str, doctor: str, out: Path, *words: str, code: int = 0) -> None:
    """Consultations of a doctor, judged by the rubric of DISC; `code` is 1 where they give no headline."""
    sides = ("--doctor", f"{url}#{doctor}", "--patient", f"{url}#patient", "--judge", f"{url}#judge")
    assert main(["eval", "consult", "--cases", cases, *sides, "--ask-diagnosis", "--out", str(out), *words]) == code


def checked(url: str, cases: str, run: Path, out: Path) -> None:
    """The same dialogues judged by the checklists of their cases."""
    asked = ("--judge", f"{url}#judge", "--cases", cases, "--rubric", "checklist")
    assert main(["eval", "judge", "--dialogues", str(run), *asked, "--out", str(out)]) == 0


def reported(tmp_path: Path, *runs: Path) -> tuple[dict, str]:
    """The results and the text of the report."""
    assert main(["report", *map(str, runs), "--out", str(tmp_path / "report")]) == 0
    results = json.loads((tmp_path / "report" / "results.json").read_text(encoding="utf-8"))
    return results, (tmp_path / "report" / "report.md").read_text(encoding="utf-8")


def known(files: dict[str, Path]) -> Known:
    """What a run is compared with where its doctor was no checkpoint."""
    return Known(weights="", folder=Path(), files=files)


@pytest.fixture(scope="module")
def doctors(tmp_path_factory):
    """The folder of the runs of all doctors on eight cases, DOCTOR and DOCTOR-checklist, and the file of cases."""
    tmp = tmp_path_factory.mktemp("doctors")
    cases = write_cases(tmp / "cases.jsonl", [case(number) for number in range(1, 9)])
    with ChatServer(script) as server:
        for doctor in DOCTORS:
            held(server.url, cases, doctor, tmp / doctor)
            checked(server.url, cases, tmp / doctor, tmp / f"{doctor}-checklist")
    return tmp, cases


def test_the_axes_put_the_doctors_into_the_order_that_they_deserve(doctors, tmp_path):
    tmp, _ = doctors
    results, text = reported(tmp_path, *(tmp / f"{doctor}{part}" for doctor in DOCTORS for part in ("", "-checklist")))
    rows = {row["system"]: row["axes"] for row in results["axes"]}
    assert list(rows) == [row["name"] for row in results["axes"]] == list(DOCTORS)
    value = {name: {doctor: rows[doctor][name]["axis"]["value"] for doctor in DOCTORS} for name in AXES}
    inquiry, diagnosis, safety, communication = (value[name] for name in AXES)
    assert inquiry["asks-everything"] == 1 > inquiry["repeats"] == 1 / 5 > 0
    assert inquiry["asks-nothing"] == inquiry["guesses"] == inquiry["leads"] == 0
    assert diagnosis == {"asks-everything": 1, "leads": 3 / 4, "guesses": 1 / 4, "repeats": 0, "asks-nothing": 0}
    # One red flag, one referral, one harm to avoid.
    assert safety == pytest.approx(
        {"asks-everything": 1, "asks-nothing": 2 / 3, "repeats": 1 / 3, "leads": 1 / 3, "guesses": 0}
    )
    assert communication == {"asks-everything": 5, "repeats": 3, "leads": 3, "asks-nothing": 2, "guesses": 2}
    parts = {doctor: rows[doctor]["inquiry"]["parts"] for doctor in DOCTORS}
    assert (
        parts["repeats"]["repeated_questions"] == pytest.approx(2 / 3) and parts["asks-everything"]["repeated_questions"] == 0
    )
    assert parts["asks-nothing"]["repeated_questions"] is None, "without a question nothing is repeated"
    assert rows["repeats"]["diagnosis"]["parts"]["top3"] == 1 / 4
    sources = {name: rows["leads"][name]["source"] for name in AXES}
    assert sources == {"inquiry": "counted", "diagnosis": "matched", "safety": "judged", "communication": "judged"}
    assert all(rows[doctor][name]["axis"]["n"] == 8 for doctor in DOCTORS for name in AXES)
    assert "| leads | plain | 0.0% (no spread), n 8 | 75.0% (40.9 to 92.9%), n 8 |" in text and "not measured |" not in text
    assert "unreadable |" not in text
    rows["leads"]["diagnosis"]["parts"]["unreadable"] = 2
    unread = markdown(axis_blocks(results["axes"]), "en"), markdown(axis_blocks(results["axes"]), "zh")
    assert "n 8; 2 unreadable |" in unread[0] and "n 8；读不出 2 |" in unread[1], "what cannot be read is wrong, and is told"
    assert text.count("gives all 8 dialogues the same scores, and so tells nothing apart") == len(DOCTORS)


def test_the_axes_are_derived_again_when_a_run_is_verified(doctors):
    tmp, cases = doctors
    run, dialogues = read_run(tmp / "leads"), lines(tmp / "leads" / "dialogues.jsonl")
    data = {run["manifest"]["data"]["sha256"]: Path(cases)}
    run["manifest"]["doctor"]["weights_sha256"] = ""  # only those of a checkpoint are verified
    assert run["metrics"]["axes"]["inquiry"]["n"] == 8
    for files in (data, {}):
        found = consultations("leads", run, known(files), dialogues)
        assert [
            one.line for one in found if one.state != CONFIRMED and "not at hand" not in one.line and "weights" not in one.line
        ] == []
    run["metrics"]["axes"]["inquiry"]["value"] = 0.9
    assert any("metrics.json axes" in one.line for one in consultations("leads", run, known(data), dialogues))
    judged = read_run(tmp / "leads" / "judge")
    assert [
        one.line for one in judgements("judge", judged, dialogues)[0] if one.state != CONFIRMED and "case" not in one.line
    ] == []
    judged["metrics"]["axes"]["leads"]["communication"]["value"] = 5.0
    assert any("metrics.json axes" in one.line for one in judgements("judge", judged, dialogues)[0] if one.state != CONFIRMED)


def test_what_is_not_measured_says_so_and_is_never_0(doctors, tmp_path):
    tmp, _ = doctors
    bare = [
        {name: value for name, value in case(number).items() if name not in ("facts", "checklist")} for number in range(1, 4)
    ]
    cases = write_cases(tmp_path / "bare.jsonl", bare)
    with ChatServer(script) as server:
        held(server.url, cases, "leads", tmp_path / "bare")
        asked = ["eval", "judge", "--dialogues", str(tmp_path / "bare"), "--judge", f"{server.url}#judge", "--cases", cases]
        assert main([*asked, "--rubric", "checklist", "--out", str(tmp_path / "points")]) == 2
    results, text = reported(tmp_path, tmp_path / "bare")
    (row,) = results["axes"]
    assert ["axis" in row["axes"][name] for name in AXES] == [False, True, False, True]
    assert "| leads | plain | not measured | 66.7% (too few), n 3 | not measured | 3.00 (too few), n 3 |" in text
    assert "Where an axis is not measured: inquiry, the cases have no facts" in text and "; safety, no judge" in text


def test_a_judge_that_fails_its_canaries_takes_its_axes_and_no_others(doctors, tmp_path):
    tmp, cases = doctors

    def lavish(body):
        return json.dumps({"reasons": "好。", **dict.fromkeys(KEYS, 5)}) if body["model"] == "judge" else script(body)

    with ChatServer(lavish) as server:
        held(server.url, cases, "asks-everything", tmp_path / "run", code=1)
    _, text = reported(tmp_path, tmp_path / "run")
    assert (
        "| asks-everything | plain | 100.0% (no spread), n 8 | 100.0% (67.6 to 100.0%), n 8 | not measured | withheld |" in text
    )


def test_what_a_style_costs_beside_the_plain_patient(tmp_path):
    """A terse patient answers the first of two questions alone, which costs the doctor the second."""
    cases = write_cases(tmp_path / "cases.jsonl", [case(number) for number in range(1, 9)])

    def terse(body):
        said = script(body)
        short = body["model"] == "patient" and "你话很少" in body["messages"][0]["content"]
        return said.split("。")[0] + "。" if short and "例008号" not in str(body) else said

    with ChatServer(terse) as server:
        held(server.url, cases, "asks-everything", tmp_path / "run", "--patient-style", "plain,terse,anxious")
        held(server.url, cases, "asks-everything", tmp_path / "alone", "--patient-style", "relative")
    results, text = reported(tmp_path, tmp_path / "run", tmp_path / "alone")
    rows = {row["style"]: row for row in results["styles"]}
    cost = rows["terse"]["measures"]["inquiry"]
    # Three of the five facts come second or third, but in one case.
    assert (cost["n"], cost["plain"], cost["styled"]) == (8, 1, pytest.approx(0.475)) and cost["drop"] == pytest.approx(0.525)
    low, high = cost["interval"]
    assert 0 < low < 0.525 < high <= 0.6 + 1e-9
    assert rows["anxious"]["measures"]["inquiry"]["drop"] == rows["terse"]["measures"]["communication"]["drop"] == 0
    assert rows["relative"]["against"] is not None
    assert [row["style"] for row in results["axes"]] == ["plain", "terse", "anxious", "relative"]
    assert "## What styles of patients cost" in text and "| asks-everything | terse | +52.5 points (" in text
    results, text = reported(tmp_path / "again", tmp_path / "alone")
    assert results["styles"][0]["against"] is None and "alone: no run with plain patients and all else the same" in text


def test_the_points_of_a_checklist_keep_their_kinds(doctors):
    tmp, _ = doctors
    (first, *_) = lines(tmp / "leads-checklist" / "scores.jsonl")
    assert [(point["kind"], point["point"]) for point in first["reference"]] == list(CHECKLIST)
    assert len(FACTS) == 5 and "cases" not in json.loads(
        (tmp / "leads-checklist" / "manifest.json").read_text(encoding="utf-8")
    )


def test_consultations_without_a_judge_are_reported_by_what_is_counted(doctors, tmp_path, refused):
    tmp, cases = doctors
    with ChatServer(script) as server:
        for style in ("plain", "terse"):
            sides = ("--doctor", f"{server.url}#repeats", "--patient", f"{server.url}#patient", "--patient-style", style)
            asked = ("eval", "consult", "--cases", cases, *sides, "--ask-diagnosis", "--out", str(tmp_path / style))
            assert main(list(asked)) == 0
    results, text = reported(tmp_path, tmp_path / "plain", tmp_path / "terse")
    row = next(one for one in results["axes"] if one["style"] == "plain")
    assert row["axes"]["inquiry"]["axis"]["value"] == 1 / 5 and row["axes"]["diagnosis"]["axis"]["value"] == 0
    assert ["axis" in row["axes"][name] for name in AXES] == [True, True, False, False] and results["sets"] == []
    assert "# Consultations without a judge" in text and "## Simulated consultations" in text
    assert results["styles"][0]["measures"].keys() == {"inquiry", "diagnosis"}
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "plain, not judged" in page and "有没有恶心？" in page
    assert main(["report", str(tmp_path / "plain"), str(tmp / "leads"), "--out", str(tmp_path / "both")]) == 0
    assert "| leads | plain |" in (tmp_path / "both" / "report.md").read_text(encoding="utf-8"), "beside one that was judged"
    said = refused("eval", "agree", str(tmp_path / "plain"), str(tmp / "leads"), "--out", str(tmp_path / "agreement"))
    assert "no judge run in plain" in said
