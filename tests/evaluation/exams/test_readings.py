"""Several readings and benchmarks in one command: a run folder each, one model, nothing asked twice, and their report."""

import json
from pathlib import Path

import pytest
from support.billing import write_prices
from support.chat_server import Behaviour, ChatServer, completion
from support.commands import first_word
from support.paths import SAMPLE
from support.published import cmb_rows, write_cmb

from medllm_hf.cli import main
from medllm_hf.data.mcq import load_items
from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.evaluation.commands.report import report
from medllm_hf.evaluation.exams.prompts import overview, read_questions
from medllm_hf.evaluation.exams.readings import folder_name, parse_data, parse_modes
from medllm_hf.evaluation.exams.settings import READINGS
from medllm_hf.evaluation.exams.weights import Weights
from medllm_hf.evaluation.runs.folder import open_run, read_run
from medllm_hf.evaluation.runs.names import nested_runs

ROWS = (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()
FEW = {"max_new_tokens": 3, "reasoning_tokens": 4}
THREE = "likelihood,reply,reasoning"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    """Two files of questions."""
    folder = tmp_path_factory.mktemp("questions")
    for name, rows in (("five.jsonl", ROWS[:5]), ("four.jsonl", ROWS[5:9])):
        (folder / name).write_text("\n".join(rows), encoding="utf-8")
    return [str(folder / "five.jsonl"), str(folder / "four.jsonl")]


def contents(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


def test_three_readings_are_three_runs_of_one_model_loaded_once(tiny, files, tmp_path, monkeypatch, capsys):
    loaded, real = [], Weights.load_network
    monkeypatch.setattr(Weights, "load_network", lambda weights: loaded.append(weights.folder) or real(weights))
    words = ["eval", "mcq", "--model", str(tiny["base"]), "--data", files[0], "--out", str(tmp_path / "out"), "--mode", THREE]
    words += ["--max-new-tokens", "3", "--reasoning-tokens", "4", "--finish", "letters"]
    assert main(words) == 0 and len(loaded) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["five.jsonl", "likelihood", "reply", "reasoning"]
    runs = {mode: read_run(tmp_path / "out" / "five" / mode) for mode in THREE.split(",")}
    for mode, run in runs.items():
        settings = run["manifest"]["settings"]
        assert settings["mode"] == mode and run["metrics"]["n"] == 5
        assert settings.get("max_new_tokens") == {"reply": 3, "reasoning": 4}.get(mode)
        assert ("finish" in settings) == ("finished" in run["metrics"]) == (mode != "likelihood")
    # Each is the run that its own command writes.
    mcq(str(tiny["base"]), files[0], str(tmp_path / "alone"), mode="reasoning", reasoning_tokens=4, finish="letters")
    for name in ("outputs.jsonl", "scores.jsonl", "metrics.json"):
        alone, beside = tmp_path / "alone" / name, tmp_path / "out" / "five" / "reasoning" / name
        assert alone.read_bytes() == beside.read_bytes()
    # The same command again asks and loads nothing.
    before = contents(tmp_path / "out")
    assert main(words) == 0 and len(loaded) == 2 and contents(tmp_path / "out") == before


def test_a_killed_command_goes_on_where_it_was(tiny, files, tmp_path):
    model, out = str(tiny["base"]), tmp_path / "out"
    assert mcq(model, files[0], str(out), mode=THREE, **FEW) == 0
    before = contents(out)
    for file in (out / "five" / "reasoning").iterdir():
        file.unlink()
    reply = out / "five" / "reply"
    for name in ("scores.jsonl", "metrics.json"):
        (reply / name).unlink()
    kept = (reply / "outputs.jsonl").read_bytes().split(b"\n")
    (reply / "outputs.jsonl").write_bytes(b"\n".join(kept[:2]) + b"\n" + kept[2][:9])
    manifest = json.loads((reply / "manifest.json").read_text(encoding="utf-8"))
    del manifest["ended"]
    (reply / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert mcq(model, files[0], str(out), mode=THREE, **FEW) == 0
    after = contents(out)
    assert after.keys() == before.keys()
    # A manifest and the log of runs say when a run ended.
    same = [name for name in after if "manifest" not in name and "medllm_runs" not in name]
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_several_benchmarks_have_a_folder_each(tiny, files, tmp_path, capsys):
    write_cmb(tmp_path / "CMB")
    data = [f"{files[0]},cmb={tmp_path / 'CMB'}", files[1]]
    assert mcq(str(tiny["base"]), data, str(tmp_path / "out"), mode="likelihood,generate", **{"max_new_tokens": 3}) == 0
    found = sorted(str(path.parent.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("metrics.json"))
    assert found == [f"{name}/{mode}" for name in ("cmb", "five", "four") for mode in ("likelihood", "reply")]
    assert read_run(tmp_path / "out" / "cmb" / "reply")["metrics"]["n"] == 3 == len(cmb_rows()) - 3
    words = ("eval", "mcq", "--model", str(tiny["base"]), "--out", str(tmp_path / "none"))
    text, loaded = first_word("medllm", *words, "--data", files[0], "--data", files[1])
    assert text.startswith("five.jsonl: 5 questions") and loaded == []


def test_one_reading_of_one_benchmark_is_the_run_folder_itself(tiny, files, tmp_path, refused):
    assert mcq(str(tiny["base"]), files[0], str(tmp_path / "run"), mode="generate", max_new_tokens=3) == 0
    assert read_run(tmp_path / "run")["manifest"]["settings"]["mode"] == "reply"
    words = ("eval", "mcq", "--model", str(tiny["base"]), "--data", files[0], "--out", str(tmp_path / "run"))
    assert "a run in" in refused(*words, "--mode", "likelihood,reply")
    assert "OUT/BENCHMARK/READING" in refused(*words, "--mode", "likelihood,reply")


def test_what_cannot_be_is_told_before_anything_is_asked(tiny, files, tmp_path, refused):
    words = ("eval", "mcq", "--model", str(tiny["base"]), "--out", str(tmp_path / "out"), "--mode", THREE)
    words += ("--reasoning-tokens", "4")
    assert "twice" in refused(*words, "--data", f"{files[0]},{files[0]}")
    assert "no file and no benchmark none.jsonl" in refused(*words, "--data", f"{files[0]},none.jsonl")
    assert "NAME=PATH" in refused(*words, "--data", "cmb,cmexam", "--data-path", "x")
    (tmp_path / "out" / "five" / "reasoning").mkdir(parents=True)
    own = tmp_path / "out" / "own.jsonl"
    own.write_text(ROWS[9], encoding="utf-8")
    assert "own.jsonl" in refused(*words, "--data", f"{files[0]},{own}", "--overwrite") and own.exists()
    own.unlink()
    (tmp_path / "out" / "five" / "reasoning" / "notes.txt").write_text("mine")
    assert "files and no manifest.json" in refused(*words, "--data", files[0])
    assert not (tmp_path / "out" / "five" / "likelihood").exists()


def test_one_question_is_no_questions(tmp_path):
    (tmp_path / "one.jsonl").write_text(ROWS[0], encoding="utf-8")
    assert overview(read_questions(str(tmp_path / "one.jsonl"))).startswith("one.jsonl: 1 question (1 ")


def test_names():
    assert parse_modes("reasoning, generate,likelihood") == ["likelihood", "reply", "reasoning"]
    assert parse_modes(None) is None
    with pytest.raises(UserError, match="--mode 'guess'"):
        parse_modes("reply,guess")
    assert folder_name("mlec-qa/clinic") == "mlec-qa-clinic" and folder_name("a/b.v2.jsonl.gz") == "b.v2"
    assert parse_data(["cmexam,cmb=x/y", "z=1.csv"]) == [("cmexam", None), ("cmb", "x/y"), ("z=1.csv", None)]


@pytest.mark.parametrize("text", ["q12.jsonl,", ",q12.jsonl", "a.csv,,b.csv", ""])
def test_an_empty_name_is_called_so(text):
    with pytest.raises(UserError, match="an empty name in --data"):
        parse_data([text])
    with pytest.raises(UserError, match="an empty name in --mode"):
        parse_modes("reply,")


def test_a_reading_named_twice_is_refused_as_data_named_twice_is():
    for text in ("likelihood,likelihood", "reply,generate"):
        with pytest.raises(UserError, match="twice"):
            parse_modes(text)


def test_runs_of_several_readings_are_neither_removed_nor_passed_over(tiny, files, tmp_path, refused):
    out = tmp_path / "out"
    assert mcq(str(tiny["base"]), files[0], str(out), mode="likelihood,reply", max_new_tokens=3) == 0
    (out / "notes.txt").write_text("mine")
    before = contents(out)
    words = ("eval", "mcq", "--model", str(tiny["base"]), "--data", files[0], "--out", str(out))
    for more in (("--overwrite",), (), ("--mode", "reply", "--overwrite")):
        said, mode = refused(*words, *more), more[1] if more[1:] else "likelihood"
        assert "runs of several readings" in said and f"--out {out / 'five' / mode} goes on" in said
    assert contents(out) == before
    with pytest.raises(UserError, match="several readings"), open_run(out, {"kind": "judge"}, overwrite=True):
        pass
    assert contents(out) == before
    (out / "five" / "reply" / "manifest.json").unlink()
    said = refused("report", str(out), "--out", str(tmp_path / "report"))
    assert "no manifest.json" in said and str(out / "five" / "reply") in said
    (out / "five" / "reply").rename(out / "reply")
    assert nested_runs(str(out), READINGS) == [str(out / "five" / "likelihood"), str(out / "reply")]


def test_without_finish_the_difference_is_finish(tiny, files, tmp_path, refused):
    out, flags = str(tmp_path / "out"), {"mode": "reply", "max_new_tokens": 3, "finish": "letters"}
    assert mcq(str(tiny["base"]), files[0], out, **flags) == 0
    words = ("eval", "mcq", "--model", str(tiny["base"]), "--data", files[0], "--mode", "reply", "--max-new-tokens", "3")
    said = refused(*words, "--out", out)
    assert "settings.finish nothing, where the run in" in said and "'letters'" in said and "prompt_sha256" not in said


def test_a_file_with_a_comma_in_its_name_is_one(tmp_path):
    (tmp_path / "a,b.jsonl").write_text(ROWS[0], encoding="utf-8")
    assert parse_data([str(tmp_path / "a,b.jsonl")]) == [(str(tmp_path / "a,b.jsonl"), None)]


def test_a_budget_holds_for_all_readings_together(files, tmp_path, capsys):
    prices = write_prices(tmp_path)
    flags = {"mode": "reply,reasoning", "prices": prices, "max_new_tokens": 10, "reasoning_tokens": 10}
    with ChatServer(lambda body: completion("答案：A", usage=(100, 5))) as server:
        url = f"{server.url}#doctor-model"
        assert mcq(None, files[0], str(tmp_path / "whole"), url=url, **flags) == 0
        costs = [read_run(tmp_path / "whole" / "five" / mode)["metrics"]["cost"]["amount"] for mode in ("reply", "reasoning")]
        capsys.readouterr()
        assert mcq(None, files[0], str(tmp_path / "part"), url=url, budget=1.2 * sum(costs), concurrency=1, **flags) in (0, 1)
        spent = len(server.requests) - 10
        assert mcq(None, files[0], str(tmp_path / "none"), url=url, budget=costs[0], concurrency=1, **flags) == 1
    assert spent <= 10 and "budget" in capsys.readouterr().err


def test_the_report_finds_the_runs_and_says_which_number_to_publish(files, tmp_path, capsys):
    items = load_items(files[0]) + load_items(files[1])

    def script(body: dict) -> str:
        asked = body["messages"][-1]["content"]
        letters = "".join(sorted(next(item for item in items if item.question in asked).answer))
        return f"答案：{letters}" if "逐项分析" in asked else "答案：A"

    with ChatServer(script) as server:
        data, out = ",".join(files), str(tmp_path / "out")
        assert mcq(None, data, out, url=f"{server.url}#m", mode="reply,reasoning", finish="letters") == 0
    report([str(tmp_path / "out")], str(tmp_path / "report"))
    assert "4 runs" in capsys.readouterr().out
    found = json.loads((tmp_path / "report" / "results.json").read_text(encoding="utf-8"))
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert [dataset["runs"] for dataset in found["datasets"]] == [
        [f"{name}/{mode}" for mode in ("reply", "reasoning")] for name in ("five", "four")
    ]
    assert text.count("### Readings of m") == 2 and text.count("Which number to publish: ") == 2
    assert "Which number to publish: five/reply" in text
    assert nested_runs(str(tmp_path / "out" / "five"), READINGS) == [
        str(tmp_path / "out" / "five" / mode) for mode in ("reply", "reasoning")
    ]
    assert nested_runs(str(tmp_path / "report")) == [str(tmp_path / "report")], "which is refused as no run by who reads it"


def test_an_endpoint_that_dies_in_the_middle_ends_the_command_with_what_is_kept(files, tmp_path, refused):
    left = [completion("答案：A")] * 2
    with ChatServer(lambda body: left.pop() if left else Behaviour(body=b"<html>gone</html>")) as server:
        asked = ("eval", "mcq", "--url", f"{server.url}#m", "--data", files[0], "--out", str(tmp_path / "out"))
        told = refused(*asked, "--mode", "reply,reasoning", "--concurrency", "1")
    assert "2 of 5 replies are kept" in told and "run the same again" in told
    assert (tmp_path / "out" / "five" / "reply").is_dir() and not (tmp_path / "out" / "five" / "reasoning").exists()
