"""Patients of other styles and DISC's protocol: what they are told, what the gate takes from them, and their run folders."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.chat_server import ChatServer
from support.consulting import case as made_case
from support.consulting import consult, judging, lines, reply, turns_in, write_cases

from medllm_hf.cli import main
from medllm_hf.evaluation.consultations.cases import Case
from medllm_hf.evaluation.consultations.gate import disease_names, turn_faults
from medllm_hf.evaluation.consultations.manners import STYLES, belief, parse_styles
from medllm_hf.evaluation.consultations.patient import patient_messages, prompt_record

FILES = Path(__file__).parent
RECORDS = json.loads((FILES / "patient_turns.json").read_text(encoding="utf-8"))["cases"]
LABELLED = json.loads((FILES / "style_turns.json").read_text(encoding="utf-8"))
PLAIN = Case("1", "S", "", "男，50岁，右下腹痛两天。", diagnosis="急性阑尾炎")


def record(name: str) -> Case:
    return Case(name, "", "", RECORDS[name]["description"], "", RECORDS[name]["diagnosis"])


def told(case: Case, manner: str) -> str:
    return patient_messages(replace(case, manner=manner), auto=False)[0]["content"]


def faults(name: str, asked: str, text: str) -> list[str]:
    return turn_faults(record(name), [{"role": "doctor", "content": asked}], text, ended=False, may_end=False)


def test_the_plain_patient_is_told_what_it_was_before_there_were_others():
    digest = "202f4aa9ca53b1aa178cb756e9659ddcf4851c5fbde6b346f51be5ea9c77ee22"
    assert prompt_record() == {"version": "3", "sha256": digest}
    assert len({prompt_record(manner)["sha256"] for manner in (*STYLES, "disc")}) == len(STYLES) + 1


@pytest.mark.parametrize("description", [PLAIN.description, "Man, 50, pain in the lower right abdomen."])
@pytest.mark.parametrize("style", STYLES[1:])
def test_a_style_is_one_rule_more(style, description):
    case = replace(PLAIN, description=description)
    plain, text = told(case, "plain"), told(case, style)
    assert text.startswith(plain + "\n8. ") and "{" not in text[len(plain) :]
    assert bool(re.search("[\u4e00-\u9fff]", text[len(plain) :])) == (description == PLAIN.description)


@pytest.mark.parametrize("name", RECORDS)
def test_a_patient_believes_in_a_disease_that_its_record_does_not_speak_of(name):
    case = record(name)
    (named,) = {re.search('“(.+?)”|"(.+?)"', told(case, "self-diagnosis").split("\n8. ")[1])[0] for _ in range(2)}
    named = named[1:-1]
    assert named.casefold() not in case.description.casefold()
    assert not any(one in named or named in one for one in disease_names(case.diagnosis))
    assert not faults(name, "哪里不舒服？", f"我查过，我就是{named}。" if "男" in case.description else f"It must be {named}.")


def test_a_record_that_speaks_of_every_belief_leaves_another():
    assert belief("贫血、甲亢、补钙、内分泌失调、焦虑、血糖高", "zh") == "亚健康"


def test_the_gate_takes_what_a_style_demands():
    """104 turns: worry, a relative who speaks of "我家孩子", a disease that it is not, few words."""
    assert {row[0] for row in LABELLED["turns"]} == set(STYLES[1:]) and len(LABELLED["turns"]) == 104
    assert [(row[3], found) for row in LABELLED["turns"] if (found := faults(*row[1:]))] == []


def test_the_gate_still_stops_a_relative_or_a_worried_patient_that_plays_the_doctor():
    assert [row[2] for row in LABELLED["doctors"] if not faults(*row)] == []


def test_the_true_diagnosis_is_no_belief():
    assert faults("appendix", "发烧吗？", "我查过了，我这就是阑尾炎，您给我治吧。") == ["names_diagnosis"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("shy", "--patient-style 'shy'; expected one or several of plain, terse, anxious, self-diagnosis, relative"),
        ("terse,", "--patient-style ''"),
        ("terse,terse", "with terse twice"),
    ],
)
def test_styles_that_there_are_not(text, words, tmp_path, capsys):
    cases = write_cases(tmp_path / "cases.jsonl", [made_case(1)])
    with ChatServer(reply) as server:
        assert consult(server, cases, tmp_path / "run", "--patient-style", text) == 2
        assert server.requests == []
    assert words in capsys.readouterr().err
    assert parse_styles("terse, plain") == ["plain", "terse"]


@pytest.fixture
def two(tmp_path) -> str:
    return write_cases(tmp_path / "cases.jsonl", [made_case(1), made_case(2)])


def _of_patient(body: dict, mark: str) -> bool:
    return body["model"] == "patient-model" and mark in str(body)


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_several_styles_are_runs_of_the_same_cases_and_seeds(two, tmp_path, capsys):
    out = tmp_path / "run"
    with ChatServer(judging) as server:
        judge = ("--judge", server.url + "#judge-model", "--turns", "2", "--seed", "5")
        assert consult(server, two, out, *judge, "--patient-style", "anxious,plain") == 0
        asked = len(server.requests)
        assert consult(server, two, out, *judge, "--patient-style", "anxious,plain") == 0
        assert len(server.requests) == asked
        assert consult(server, two, tmp_path / "alone", *judge) == 0
        bodies = [one.body for one in server.requests[:asked] if _of_patient(one.body, "例001号")]
    assert sorted(path.name for path in out.iterdir()) == ["anxious", "plain"]
    plain, anxious = manifest(out / "plain"), manifest(out / "anxious")
    assert plain["settings"] == manifest(tmp_path / "alone")["settings"] and "patient_style" not in plain["settings"]
    assert anxious["settings"]["patient_style"] == "anxious"
    assert anxious["settings"]["patient_prompt"] == prompt_record("anxious")
    worried = [body for body in bodies if "你非常担心" in body["messages"][0]["content"]]
    calm = [body for body in bodies if body not in worried]
    assert [body["seed"] for body in worried] == [body["seed"] for body in calm] and worried
    same = ["outputs.jsonl", "scores.jsonl", "dialogues.jsonl"]
    places = [folder / name for folder in (out / "plain", tmp_path / "alone") for name in same]
    alone = [[{**row, "seconds": 0} for row in lines(place)] for place in places]
    assert alone[:3] == alone[3:]
    assert (out / "anxious" / "judge" / "metrics.json").is_file()
    capsys.readouterr()
    assert consult(server, two, out / "plain", "--patient-style", "plain,terse", "--overwrite") == 2
    assert "2 styles for it; expected a folder for OUT/STYLE" in capsys.readouterr().err


def test_a_budget_holds_for_all_styles_together(two, tmp_path, capsys):
    prices = tmp_path / "prices.json"
    models = {name: {"input": 0, "output": 1_000_000} for name in ("doctor-model", "patient-model")}
    prices.write_text(json.dumps({"currency": "CNY", "models": models}))
    words = ("--patient-style", "plain,terse", "--turns", "1", "--prices", str(prices))
    with ChatServer(reply) as server:
        # 2 cases of 2 calls and 4 canaries, 3 tokens each, beside the most that a call may cost.
        assert consult(server, two, tmp_path / "run", *words, "--budget", "1060", "--concurrency", "1") == 1
        left = len(server.requests)
    assert (tmp_path / "run" / "plain" / "metrics.json").is_file()
    assert not (tmp_path / "run" / "terse" / "metrics.json").exists()
    assert 8 <= left < 16 and "budget" in capsys.readouterr().err


def test_disc_s_protocol(two, tmp_path, capsys):
    out = tmp_path / "run"
    with ChatServer(judging) as server:
        judge = ("--judge", server.url + "#judge-model", "--protocol", "disc")
        assert consult(server, two, out, *judge) == 0
        patients = [one.body for one in server.requests if _of_patient(one.body, "例001号")]
        judged = [one.body for one in server.requests if one.body["model"] == "judge-model"]
        for words in (["--turns", "4"], ["--patient-style", "terse"], ["--doctor-system", "您是医生"]):
            assert consult(server, two, tmp_path / "other", *judge, *words) == 2
            assert f"{words[0]}" in (said := capsys.readouterr().err) and "--protocol disc" in said
    assert len(turns_in(out)) == 2 * 6 and all("不说“不清楚”" in body["messages"][0]["content"] for body in patients)
    assert "隐情" in str(patients[0]) and not any("隐情" in str(body) for body in judged)
    assert manifest(out)["settings"]["protocol"] == "disc"
    own = manifest(out / "judge")
    assert own["rubric"]["language"] == "en" and "cases" not in own
    assert main(["report", str(out), "--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "| run | patient-model, disc | 2 |" in text and "run: held by DISC's protocol" in text and "What differs:" in text
