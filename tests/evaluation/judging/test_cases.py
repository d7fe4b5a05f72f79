"""What a judge is told of the case of each dialogue: shown, hashed, and kept out of what is published."""

import json
from pathlib import Path

import pytest
from support.chat_server import ChatServer
from support.consulting import CRITERIA, SECRET, case, consult, lines, on_inventions, reply, write_cases
from support.judged_runs import dialogue, honest, judged, write

from medllm_hf.cli import main
from medllm_hf.evaluation.consultations.cases import Case, read_cases
from medllm_hf.evaluation.judging.canaries import canaries
from medllm_hf.evaluation.judging.cases import case_text, rubric_of
from medllm_hf.folders import read_json, write_json

DIAGNOSIS = "偏头痛"
RUN_FILES = ("manifest.json", "outputs.jsonl", "scores.jsonl", "metrics.json")


def scripted(body: dict) -> str:
    """Patient and doctor, and a judge that gives a point for everything in the form of any rubric in English or Chinese."""
    if body["model"] != "judge-model":
        return reply(body)
    if said := on_inventions(body):
        return said
    schema = body.get("response_format")
    names = schema["json_schema"]["schema"]["required"] if schema else CRITERIA
    return json.dumps(dict.fromkeys(names, 1)) if schema else "\n".join(f"{name}: 1" for name in names)


@pytest.fixture
def two(tmp_path) -> str:
    """Two cases, one with a diagnosis."""
    return write_cases(tmp_path / "cases.jsonl", [case(1, diagnosis=DIAGNOSIS), case(2)])


def visit(cases: str, out: Path, *words: str) -> list[dict]:
    """What the judge was sent for scores, request by request, in a judged consult run."""
    with ChatServer(scripted) as server:
        assert consult(server, cases, out, "--judge", server.url + "#judge-model", *words) == 0
        asked = [one.body for one in server.requests if one.body["model"] == "judge-model"]
    return [body for body in asked if not on_inventions(body)]


def case_notes(body: dict) -> list[str] | None:
    """The lines of the fence with the case, None where there is none."""
    said = body["messages"][1]["content"].split("\n")
    begins = [number for number, line in enumerate(said) if line.startswith(("=== 开始 病例资料", "=== BEGIN CASE NOTES"))]
    if not begins:
        return None
    ends = next(number for number, line in enumerate(said) if line.startswith(("=== 结束 病例资料", "=== END CASE NOTES")))
    return said[begins[0] + 1 : ends]


def test_the_judge_reads_the_case_in_a_fence_of_its_own_and_so_do_the_canaries(two, tmp_path):
    asked = visit(two, tmp_path / "run")
    notes = [case_notes(body) for body in asked]
    assert len(asked) == 4 + 2 and all(one and all(line.startswith("| ") for line in one) for one in notes)
    assert [f"| 例001号病人，头痛1天。{SECRET}：夜里磨牙。", f"| 诊断：{DIAGNOSIS}"] in notes
    assert [f"| 例002号病人，头痛2天。{SECRET}：夜里磨牙。"] in notes
    assert sum("急性心肌梗死" in "".join(one or []) for one in notes) == 4


def test_no_file_of_the_run_that_is_published_has_the_text(two, tmp_path):
    visit(two, tmp_path / "run")
    folder = tmp_path / "run" / "judge"
    assert not any(SECRET in (folder / name).read_text(encoding="utf-8") for name in RUN_FILES)
    rows = lines(folder / "scores.jsonl")
    assert all(len(row["case_sha256"]) == 64 and "reference" not in row for row in rows)
    assert read_json(folder / "manifest.json")["cases"] == read_json(tmp_path / "run" / "manifest.json")["data"]
    told = {row["id"]: row["text"] for row in lines(folder / "cases.jsonl")}
    assert told == {row["id"]: case_text(one, "zh") for row, one in zip(rows, read_cases(two).items, strict=True)}


def test_a_blind_judge_reads_nothing_of_the_case_and_is_another_run(two, tmp_path, capsys):
    assert {str(case_notes(body)) for body in visit(two, tmp_path / "run", "--blind")} == {"None"}
    folder = tmp_path / "run" / "judge"
    assert "cases" not in read_json(folder / "manifest.json") and not (folder / "cases.jsonl").exists()
    with ChatServer(scripted) as server:
        code = main(["eval", "judge", "--dialogues", str(tmp_path / "run"), "--cases", two, "--out", str(folder), "--judge",
                     server.url + "#judge-model"])  # fmt: skip
    assert code == 2 and "where the run in" in capsys.readouterr().err


def test_a_run_is_judged_later_as_it_would_have_been_at_once(two, tmp_path):
    visit(two, tmp_path / "run")
    visit(two, tmp_path / "other", "--blind")
    with ChatServer(scripted) as server:
        words = ("--dialogues", str(tmp_path / "other"), "--cases", two, "--out", str(tmp_path / "other" / "judge"))
        assert main(["eval", "judge", *words, "--judge", server.url + "#judge-model", "--overwrite"]) == 0
    assert all(
        lines(tmp_path / "run" / "judge" / name) == lines(tmp_path / "other" / "judge" / name)
        for name in ("scores.jsonl", "cases.jsonl")
    )


def test_judges_that_saw_the_cases_and_blind_ones_stand_in_tables_of_their_own(two, tmp_path, capsys):
    runs = [tmp_path / "seeing", tmp_path / "blind"]
    for run, words in zip(runs, ([], ["--blind"]), strict=True):
        visit(two, run, *words)
    # One judge, and not one at two addresses.
    for run in runs:
        manifest = read_json(run / "judge" / "manifest.json")
        write_json(run / "judge" / "manifest.json", {**manifest, "judge": {"id": "judge-model"}})
    assert main(["report", *map(str, runs), "--out", str(tmp_path / "out")]) == 0
    sets = read_json(tmp_path / "out" / "results.json")["sets"]
    assert [one["shown"] for one in sets] == ["case", "nothing"]
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "judged by judge-model (shown the cases)" in text and "was shown the dialogues alone, not the cases" in text
    assert "seeing (judge-model (shown the cases))" in text
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count(f"诊断：{DIAGNOSIS}") == 1
    assert main(["eval", "agree", *map(str, runs), "--out", str(tmp_path / "agreement")]) == 0
    told = (tmp_path / "agreement" / "agreement.md").read_text(encoding="utf-8")
    assert told.count("The judge was shown the cases.") == 1


def test_a_report_goes_without_the_texts_and_refuses_other_ones(two, tmp_path, capsys):
    visit(two, tmp_path / "run")
    kept = tmp_path / "run" / "judge" / "cases.jsonl"
    kept.write_text(kept.read_text(encoding="utf-8").replace(DIAGNOSIS, "感冒"), encoding="utf-8")
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 2
    assert "another text on" in capsys.readouterr().err
    kept.unlink()
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("change", ["no cases in the manifest", "a dialogue without a hash", "other cases"])
def test_a_run_that_contradicts_itself_is_refused(two, tmp_path, capsys, change):
    visit(two, tmp_path / "run")
    folder = tmp_path / "run" / "judge"
    manifest, rows = read_json(folder / "manifest.json"), lines(folder / "scores.jsonl")
    if change == "no cases in the manifest":
        del manifest["cases"]
    elif change == "other cases":
        manifest["cases"]["sha256"] = "0" * 64
    else:
        del rows[0]["case_sha256"]
    write_json(folder / "manifest.json", manifest)
    write(folder / "scores.jsonl", *rows)
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert ("on other cases than" if change == "other cases" else "the hash of a case") in said and "Traceback" not in said


def test_a_file_of_dialogues_is_judged_with_its_cases(tmp_path):
    cases = write_cases(
        tmp_path / "own.jsonl", [{"id": str(number), "description": f"头痛{number}天，有癫痫。"} for number in (1, 2)]
    )
    no_source = {**dialogue(2, model="b-7b"), "source": ""}
    with ChatServer(honest) as server:
        file = write(tmp_path / "d.jsonl", dialogue(1), no_source)
        assert judged(server, file, tmp_path / "run", cases=cases) == 0
        shown = [case_notes(one.body) for one in server.requests]
    assert [f"| 头痛{number}天，有癫痫。" for number in (1, 2)] == sorted(one[0] for one in shown if one and "癫痫" in one[0])


@pytest.mark.parametrize(
    ("rows", "cases", "named"),
    [
        ([dialogue(1), dialogue(3)], [1], "no case in own.jsonl for 1 of 2 dialogues, such as doctor-7b/3"),
        ([{**dialogue(1), "source": "elsewhere"}], [1], "no case in own.jsonl for 1 of 1 dialogues"),
        ([{**dialogue(1), "reference": "患者有高血压。"}], [1], "a reference in doctor-7b/1 beside --cases"),
    ],
)
def test_cases_that_do_not_belong_to_the_dialogues_are_refused(rows, cases, named, tmp_path, refused):
    file = write_cases(tmp_path / "own.jsonl", [{"id": str(one), "description": "头痛。"} for one in cases])
    flags = ("--cases", file, "--judge", "http://127.0.0.1:1/v1#judge", "--out", str(tmp_path / "run"))
    assert named in refused("eval", "judge", "--dialogues", write(tmp_path / "d.jsonl", *rows), *flags)
    assert not (tmp_path / "run").exists()


def test_other_cases_than_those_of_the_run_are_refused(two, tmp_path, refused):
    visit(two, tmp_path / "run", "--blind")
    other = write_cases(tmp_path / "other.jsonl", [case(1), case(2)])
    flags = ("--cases", other, "--judge", "http://127.0.0.1:1/v1#judge", "--out", str(tmp_path / "out"))
    assert "other cases in" in refused("eval", "judge", "--dialogues", str(tmp_path / "run"), *flags)


def test_the_rubric_is_that_of_the_set_of_cases():
    clin, own, talk = (Case("1", source, "", "头痛。") for source in ("CMB-clin", "own", "CMD"))
    assert rubric_of([clin, clin]) == "disc-medllm-plain"
    assert {rubric_of(cases) for cases in ([own], [talk], [clin, own])} == {"disc-medllm"}


def test_rubric_language_and_samples_of_the_judge_can_be_chosen(tmp_path, two):
    asked = visit(two, tmp_path / "run", "--rubric", "safety", "--language", "en", "--samples", "2")
    manifest = read_json(tmp_path / "run" / "judge" / "manifest.json")
    assert (manifest["rubric"]["name"], manifest["rubric"]["language"], manifest["settings"]["samples"]) == ("safety", "en", 2)
    assert len(asked) == 4 + 2 * 2 and f"| Diagnosis: {DIAGNOSIS}" in [
        line for body in asked for line in case_notes(body) or []
    ]
    rows = [case(number, source="CMB-clin") for number in (1, 2)]
    visit(write_cases(tmp_path / "clin.jsonl", rows), tmp_path / "clin")
    assert read_json(tmp_path / "clin" / "judge" / "manifest.json")["rubric"]["name"] == "disc-medllm-plain"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--rubric", "safety"], "--rubric without --judge"),
        (["--blind"], "--blind without --judge"),
        (["--samples", "0", "--judge", "http://127.0.0.1:1/v1#judge"], "--samples 0"),
    ],
)
def test_flags_of_the_judge_are_checked_before_anything_is_asked(two, tmp_path, capsys, flags, named):
    with ChatServer(scripted) as server:
        assert consult(server, two, tmp_path / "run", *flags) == 2
        assert not server.requests
    assert named in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_every_canary_has_a_case_where_the_dialogues_have_one():
    assert all(isinstance(one["reference"], str) for one in canaries(points=False, case=True))
    assert not any("reference" in one for one in canaries(points=False))
