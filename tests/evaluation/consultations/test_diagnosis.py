"""Consultations with facts, the last turn that asks for the diagnosis, and checklists as what a judge goes by."""

import json

import pytest
from support.chat_server import Behaviour, ChatServer
from support.consulting import case, consult, lines, write_cases
from support.consulting import reply as usual

from medllm_hf.cli import main
from medllm_hf.evaluation.consultations.cases import Case, read_cases
from medllm_hf.evaluation.consultations.derive import derive, stored_run
from medllm_hf.evaluation.consultations.diagnosis import (
    QUESTIONS,
    TURN,
    check_diagnosis,
    diagnosis_messages,
    given_diagnoses,
    is_same_disease,
)
from medllm_hf.evaluation.judging.derive import load_judge_run
from medllm_hf.evaluation.judging.report import judge_values
from medllm_hf.evaluation.judging.tables import judge_blocks
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.verification.bounded import bounded
from medllm_hf.evaluation.verification.dialogues import consultations, judgements
from medllm_hf.evaluation.verification.findings import CONFIRMED, UNKNOWN, Known
from medllm_hf.folders import sha256
from medllm_hf.reporting.blocks import markdown

NAMES = "1. 紧张性头痛：夜里磨牙\n2. 偏头痛\n3. 颈椎病"
POINTS = [{"kind": "must_ask", "point": "询问头痛多久"}, {"kind": "harmful", "point": "直接开药", "weight": -3}]


def with_facts(number: int, diagnosis: str = "紧张型头痛", **fields) -> dict:
    """A case whose diagnosis stands in a field of its own."""
    row = case(number, diagnosis=diagnosis)
    facts = [
        {"id": "head", "kind": "symptom", "text": "头痛", "aliases": ["头疼"]},
        {"id": "days", "kind": "duration", "text": f"头痛{number}天", "aliases": []},
        {"id": "teeth", "kind": "symptom", "text": "夜里磨牙", "aliases": ["磨牙"]},
        {"id": "d", "kind": "diagnosis", "text": diagnosis, "aliases": ["紧张性头痛"]},
    ]
    return {**row, "facts": facts, "checklist": POINTS, **fields}


def script(body: dict) -> str:
    """A patient that has a headache, a doctor that asks how long and names three diagnoses, and a judge."""
    if body["model"] == "judge-model":
        return "要点1：满足\n要点2：不满足" if "要点2" in body["messages"][1]["content"] else "准确性：1"
    if not any("例" in message["content"] for message in body["messages"]):
        return usual(body)
    if body["model"] == "patient-model":
        return "例号不清楚，我头疼。" if len(body["messages"]) == 2 else "不记得了，夜里磨牙。"
    return NAMES if QUESTIONS["zh"] in body["messages"][-1]["content"] else "头痛多久了？"


@pytest.fixture
def two(tmp_path) -> str:
    return write_cases(tmp_path / "cases.jsonl", [with_facts(1), with_facts(2, "胃炎")])


def held(cases: str, out, *words: str, answer=script) -> ChatServer:
    with ChatServer(answer) as server:
        assert consult(server, cases, out, "--turns", "2", *words) == 0
    return server


def metrics(out) -> dict:
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))


def test_facts_are_counted_and_recorded(two, tmp_path, capsys):
    held(two, tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["data"]["facts"] == read_cases(two).record["facts"]
    (first, second) = lines(tmp_path / "run" / "scores.jsonl")
    assert first["facts"] == second["facts"] == {
        "facts": 3, "opening": ["head"], "asked": ["days"], "told_asked": [], "told_open": [], "told_unasked": ["teeth"],
        "contradicted": [],
        "questions": 2, "repeated": 1,
    }  # fmt: skip
    assert "diagnosis" not in first and "diagnosis" not in metrics(tmp_path / "run")
    found = metrics(tmp_path / "run")["facts"]
    assert found["n"] == 2 and found["ratios"]["asked"] == {"value": 1 / 3, "interval": None}
    told = capsys.readouterr().out
    assert "facts of 2 dialogues: asked for 33.3% (too few)" in told and "questions repeated 50.0%" in told


def test_cases_without_facts_are_as_before_and_it_says_what_is_not_measured(tmp_path, capsys):
    cases = write_cases(tmp_path / "cases.jsonl", [case(1), case(2)])
    held(cases, tmp_path / "run")
    assert "facts" not in metrics(tmp_path / "run") and "facts" not in lines(tmp_path / "run" / "scores.jsonl")[0]
    assert "facts are not measured: the cases have none" in capsys.readouterr().out
    mixed = write_cases(tmp_path / "mixed.jsonl", [case(1), with_facts(2)])
    held(mixed, tmp_path / "mixed")
    assert (metrics(tmp_path / "mixed")["facts"]["n"], metrics(tmp_path / "mixed")["facts"]["without"]) == (1, 1)
    assert "1 more without facts are not measured" in capsys.readouterr().out


def test_the_doctor_is_asked_for_the_diagnosis_after_the_dialogue(two, tmp_path, capsys):
    out = tmp_path / "run"
    server = held(two, out, "--ask-diagnosis", "--doctor-system", "慎言")
    asked = [one.body for one in server.requests if QUESTIONS["zh"] in one.body["messages"][-1]["content"]]
    assert len(asked) == 2 and {one["model"] for one in asked} == {"doctor-model"}
    assert [one["role"] for one in asked[0]["messages"]] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert not any(NAMES in str(one.body) for one in server.requests), "nobody is sent what it answered"
    raw = [row for row in lines(out / "outputs.jsonl") if row["turn"] == TURN]
    assert [(row["case"], row["role"], row["content"]) for row in raw] == [("001", "doctor", NAMES), ("002", "doctor", NAMES)]
    assert all(len(one["turns"]) == 4 and "偏头痛" not in str(one) for one in lines(out / "dialogues.jsonl"))
    first, second = (row["diagnosis"] for row in lines(out / "scores.jsonl"))
    assert first == {"given": ["紧张性头痛", "偏头痛", "颈椎病"], "top1": True, "top3": True}
    assert second == {"given": ["紧张性头痛", "偏头痛", "颈椎病"], "top1": True, "top3": True}, "by an alias of its facts"
    assert metrics(out)["usage"]["doctor"]["calls"] == 2 * 2 + 2
    assert "the case's diagnosis in 2 dialogues: first 100.0% (too few)" in capsys.readouterr().out


def test_a_run_that_lacks_its_diagnoses_is_gone_on_with(two, tmp_path):
    out, broken = tmp_path / "run", True

    def answer(body):
        if broken and QUESTIONS["zh"] in body["messages"][-1]["content"]:
            return Behaviour(418, {"error": {"message": "not now"}})
        return script(body)

    with ChatServer(answer) as server:
        assert consult(server, two, out, "--turns", "2", "--ask-diagnosis") == 1
        asked, broken = len(server.requests), False
        assert consult(server, two, out, "--turns", "2", "--ask-diagnosis") == 0
        assert len(server.requests) == asked + 2
        assert consult(server, two, out, "--turns", "2", "--ask-diagnosis") == 0
        assert len(server.requests) == asked + 2
        # Another setting does not go on with it.
        assert consult(server, two, out, "--turns", "2") == 2
    assert metrics(out)["diagnosis"]["n"] == 2


def test_a_refused_question_is_an_output_and_not_compared(two, tmp_path):
    def answer(body):
        if QUESTIONS["zh"] in body["messages"][-1]["content"]:
            return Behaviour(400, {"error": {"message": "content filter"}})
        return script(body)

    held(two, tmp_path / "run", "--ask-diagnosis", answer=answer)
    assert metrics(tmp_path / "run")["diagnosis"] == {
        "n": 2, "not_compared": 0, "unreadable": 2, "top1": {"value": 0.0, "interval": None},
        "top3": {"value": 0.0, "interval": None},
    }  # fmt: skip


def test_a_dry_run_counts_the_question(two, tmp_path, capsys):
    with ChatServer(script) as server:
        for words, calls in (((), 4), (("--ask-diagnosis",), 6)):
            assert consult(server, two, tmp_path / "run", "--turns", "2", "--dry-run", *words) == 0
            assert f"doctor, at most: {calls} calls" in capsys.readouterr().out


def test_verification_derives_facts_and_diagnoses_again(two, tmp_path):
    out = tmp_path / "run"
    held(two, out, "--ask-diagnosis")
    run = read_run(out)
    run["manifest"]["doctor"]["weights_sha256"] = "w"
    talks = lines(out / "dialogues.jsonl")
    there = Known("w", tmp_path, {sha256(tmp_path / "cases.jsonl"): tmp_path / "cases.jsonl"})
    assert [one.line for one in consultations("run", run, there, talks) if one.state != CONFIRMED] == []
    away = consultations("run", run, Known("w", tmp_path, {}), talks)
    unknown = [one.figure for one in away if one.state == UNKNOWN]
    assert [one.line for one in away if one.state not in (CONFIRMED, UNKNOWN)] == []
    names = ("said_diagnosis", "patient_faults", "facts", "diagnosis")
    assert unknown == ["run/manifest.json data.sha256", *(f"run/scores.jsonl {name}" for name in names)]
    run["scores"][0]["facts"]["asked"] = []
    assert any("scores.jsonl" in one.line for one in consultations("run", run, there, talks) if one.state != CONFIRMED)


def test_runs_of_before_are_derived_as_they_were(two, tmp_path):
    held(write_cases(tmp_path / "plain.jsonl", [case(1)]), tmp_path / "run")
    stored = stored_run("run", read_run(tmp_path / "run"))
    cases = read_cases(str(tmp_path / "plain.jsonl")).items
    assert derive(stored.manifest, stored.outputs, cases).scores == stored.scores


def test_a_judge_goes_by_the_checklists_of_the_cases(two, tmp_path):
    out = tmp_path / "run"
    with ChatServer(script) as server:
        words = ("--turns", "2", "--judge", server.url + "#judge-model", "--rubric", "checklist", "--language", "zh")
        assert consult(server, two, out, *words) in (0, 1)
        asked = [one.body["messages"][1]["content"] for one in server.requests if one.body["model"] == "judge-model"]
        again = ["eval", "judge", "--dialogues", str(out), "--cases", two, "--judge", server.url + "#judge-model"]
        assert main([*again, "--rubric", "checklist", "--out", str(tmp_path / "own")]) in (0, 1)
    assert sum("询问头痛多久" in one for one in asked) == 2 and not any("隐情" in one for one in asked)
    rows = lines(out / "judge" / "scores.jsonl")
    assert rows == lines(tmp_path / "own" / "scores.jsonl")
    asked, drugs = ({"point": "询问头痛多久", "weight": 1}, "must_ask"), ({"point": "直接开药", "weight": -3}, "harmful")
    assert rows[0]["reference"] == [{**point, "kind": kind} for point, kind in (asked, drugs)]
    assert rows[0]["scores"] == {"checklist": 1.0}
    run = load_judge_run("run", read_run(out))
    text = markdown(judge_blocks(judge_values([run])))
    assert "facts of 2 dialogues" in text
    held_run = read_run(out)
    found, _ = judgements("judge", read_run(out / "judge"), lines(out / "dialogues.jsonl"), held_run)
    assert [one.line for one in found if one.state != CONFIRMED] == []


def test_checklists_that_are_not_there(tmp_path, refused):
    plain = write_cases(tmp_path / "cases.jsonl", [with_facts(1), case(2)])
    words = ("eval", "consult", "--cases", plain, "--out", str(tmp_path / "run"), "--rubric", "checklist")
    sides = tuple(word for role in ("doctor", "patient", "judge") for word in (f"--{role}", "http://127.0.0.1:9/v1#m"))
    assert "no checklist of 1 of 2 cases, such as 002" in refused(*words, *sides)
    whole = write_cases(tmp_path / "whole.jsonl", [with_facts(1)])
    assert "--blind with --rubric checklist" in refused(*words[:3], whole, *words[4:], *sides, "--blind")
    line = refused(*words[:3], whole, *words[4:], *sides, "--protocol", "disc", "--turns", "3")
    assert "--protocol disc (which blinds the judge) with --rubric checklist" in line


@pytest.mark.parametrize(
    ("reply", "names"),
    [
        ("1. 急性阑尾炎\n2. 肠梗阻\n3. 胆囊炎", ["急性阑尾炎", "肠梗阻", "胆囊炎"]),
        ("1、急性阑尾炎：右下腹痛\n - 依据1. 发热\n2、胃炎（慢性）\n3) 结肠炎。", ["急性阑尾炎", "胃炎", "结肠炎"]),
        ("**1. 阑尾炎**\n解释若干。\n**2. 胆囊炎**", ["阑尾炎", "胆囊炎"]),
        ("- 阑尾炎\n- 胃炎", ["阑尾炎", "胃炎"]),
        ("阑尾炎、胃炎、肠炎、痔", ["阑尾炎", "胃炎", "肠炎"]),
        ("最可能的诊断是急性阑尾炎，其次为胃炎。", ["急性阑尾炎", "胃炎"]),
        ("<think>1. 胃炎</think>1. 阑尾炎 2. 肠炎", ["阑尾炎", "肠炎"]),
        ("1. Acute appendicitis\n2. Gastritis - mild", ["Acute appendicitis", "Gastritis"]),
        ("1. 肺癌待排\n2. 肺结核可能性大\n3. 肺炎？", ["肺癌", "肺结核", "肺炎"]),
        ("不确定，需要更多检查。", []),
        ("", []),
    ],
)
def test_the_names_in_a_reply(reply, names):
    assert given_diagnoses(reply) == names


@pytest.mark.parametrize(
    ("given", "name", "same"),
    [
        ("急性化脓性阑尾炎", "急性阑尾炎", True),
        ("阑尾炎", "急性阑尾炎", True),
        ("慢性阑尾炎", "急性阑尾炎", False),
        ("非阑尾炎", "阑尾炎", False),
        ("糖尿病", "糖尿病肾病", False),
        ("糖尿病肾病", "糖尿病", False),
        ("2型糖尿病", "糖尿病", True),
        ("1型糖尿病", "2型糖尿病", False),
        ("高血压", "高血压病", True),
        ("心梗", "急性心肌梗死", True),
        ("左侧股骨颈骨折", "右侧股骨颈骨折", False),
        ("疝", "腹股沟直疝", False),
        ("acute appendicitis", "appendicitis", True),
        ("no appendicitis", "appendicitis", False),
        ("hypothyroidism", "hyperthyroidism", False),
    ],
)
def test_one_disease_by_several_names(given, name, same):
    assert is_same_disease(given, name) is same


def test_a_case_without_a_diagnosis_has_nothing_to_compare_with():
    assert check_diagnosis(NAMES, Case("x", "s", "", "头痛")) is None
    found = check_diagnosis("不清楚", Case("x", "s", "", "头痛", diagnosis="偏头痛"))
    assert found == {"given": [], "top1": False, "top3": False}
    assert check_diagnosis(NAMES, Case("x", "s", "", "头痛", diagnosis="偏头痛")) == {
        "given": ["紧张性头痛", "偏头痛", "颈椎病"], "top1": False, "top3": True,
    }  # fmt: skip


def test_the_question_goes_into_the_patient_s_last_words():
    turns = [{"role": "patient", "content": "头痛"}, {"role": "doctor", "content": ""}, {"role": "patient", "content": "再见"}]
    sent = diagnosis_messages(turns, "en", None)
    assert [one["role"] for one in sent] == ["user", "assistant", "user"]
    assert sent[1]["content"] == "……" and sent[2]["content"] == f"再见\n\n{QUESTIONS['en']}"


@pytest.mark.parametrize(
    ("reply", "names"),
    [
        ('```json\n["肺炎", "流感"]\n```', ["肺炎", "流感"]),
        ('{"diagnoses": [{"name": "肺炎", "p": 0.9}, "流感"]}', ["肺炎", "流感"]),
        ('{"1": "肺炎", "2": "流感"}', ["肺炎", "流感"]),
        ("| 排名 | 诊断 |\n|---|---|\n| 1 | 肺炎 |\n| 2 | 流感 |", ["肺炎", "流感"]),
        ("1. 肺炎 90%\n2. 流感 8.5%", ["肺炎", "流感"]),
        ("1.支气管炎；2.肺炎；3.流感", ["支气管炎", "肺炎", "流感"]),
        ("① 哮喘 ② 肺炎 ③ 流感", ["哮喘", "肺炎", "流感"]),
        ("1. 肺炎（不考虑）\n2. 流感", ["流感"]),
    ],
)
def test_diagnoses_in_other_forms_are_read(reply, names):
    assert given_diagnoses(reply) == names


@pytest.mark.parametrize(
    "written",
    [
        "1.急性阑尾炎 2.高血压",
        "诊断：急性阑尾炎",
        "急性阑尾炎（化脓性）",
        "急性阑尾炎 Acute appendicitis",
        "急性阑尾炎合并高血压",
    ],
)
def test_a_case_s_diagnosis_is_matched_however_it_is_written(written):
    found = check_diagnosis("1. 急性阑尾炎", Case("1", "set", "", "病例", "", written))
    assert found is not None and found["top1"]


def test_what_is_not_seen_and_what_only_ends_alike_is_another():
    assert not any(is_same_disease(given, "肺炎") for given in ("未见肺炎", "并非肺炎", "未发现肺炎"))
    assert not is_same_disease("门静脉高血压", "高血压") and not is_same_disease("假性痛风", "痛风")
    assert is_same_disease("大叶性肺炎", "肺炎")


@pytest.mark.parametrize("sign", ["?", " ", "待排除", "可能性大"])
def test_a_long_line_is_read_once(sign):
    """The child has two seconds of a core; names are read from the first of the line's signs."""
    assert bounded("a reply", lambda: given_diagnoses("1. 肺炎\n2. 肺癌" + sign * 40_000 + "x"), 2)[0] == "肺炎"
