"""The report of judge runs: what its tables and data say, and which runs it refuses."""

import json
import re

import pytest
from support.chat_server import ChatServer
from support.consulting import case, consult, reply, write_cases
from support.exam_runs import answered, as_shown, questions, right_with, run_folder
from support.judged_runs import KEYS, asked_score, dialogue, honest, judged, verdict, write

from medllm_hf.evaluation.commands.import_scores import import_scores
from medllm_hf.evaluation.commands.report import report
from medllm_hf.evaluation.runs.folder import read_run
from tests.evaluation.exchange.test_published_verdicts import CMB_CLIN, CMD, CMID, DEPARTMENTS, INTENTS

SYSTEMS = ("a-7b", "b-7b")


def reported(tmp_path, *folders, out="out"):
    """The results and the text of the report over judge runs."""
    report([str(folder) for folder in folders], str(tmp_path / out))
    results = json.loads((tmp_path / out / "results.json").read_text(encoding="utf-8"))
    return results, (tmp_path / out / "report.md").read_text(encoding="utf-8")


def dialogues(count=8):
    """Dialogues of two systems on the same cases, the second two points below the first on odd ones."""
    first = [dialogue(i, 5, SYSTEMS[0], "甲" * i) for i in range(count)]
    return first + [dialogue(i, 5 - 2 * (i % 2), SYSTEMS[1], "乙" * (i % 3)) for i in range(count)]


def made(tmp_path, name, script=honest, rows=None, **flags):
    """The folder of a judge run that the real verb wrote with a scripted judge."""
    file = write(tmp_path / f"{name}.jsonl", *(dialogues() if rows is None else rows))
    with ChatServer(script) as server:
        code = judged(server, file, tmp_path / name, **flags)
    assert code == (read_run(tmp_path / name)["metrics"]["headline"] is None)
    return tmp_path / name


@pytest.fixture(scope="module")
def published(disc, tmp_path_factory):
    tmp = tmp_path_factory.mktemp("published")
    for name in ("cmb-clin", "cmd", "cmid"):
        import_scores([str(disc / "eval" / "gpt4_scores" / name)], str(tmp / name), str(disc / "eval" / "dialogues"))
    return reported(tmp, *(tmp / name for name in ("cmb-clin", "cmd", "cmid")))


@pytest.mark.slow
def test_the_published_table_stands_in_the_report(published):
    results, text = published
    for name, cells in CMB_CLIN.items():
        scores = r" \([^)]*\) \| ".join(map(re.escape, cells))
        assert re.search(rf"^\| {re.escape(name)} \| {scores} \([^)]*\) \| 73 \| 0 \|$", text.split("## CMD,")[0], re.MULTILINE)
    for one, groups, expected in zip(results["sets"][1:], (DEPARTMENTS, INTENTS), (CMD, CMID), strict=True):
        found = {row["name"]: {group["group"]: f"{group['overall']:.2f}" for group in row["groups"]} for row in one["systems"]}
        wholes = {row["name"]: f"{row['overall']:.2f}" for row in one["systems"]}
        assert {name: [*(own[group] for group in groups), wholes[name]] for name, own in found.items()} == expected
    assert len(re.findall(r"^\| \d+ \| 儿科 \| 20 to 21 \|", text, re.MULTILINE)) == 1


@pytest.mark.slow
def test_the_case_that_one_system_has_is_named(published):
    results, text = published
    (row,) = results["sets"][1]["coverage"]
    assert (row["in"], row["cases"], len(row["not_in"])) == (["gpt-4"], ["CMD/0-33275"], 5)
    assert "1 case only in gpt-4: CMD/0-33275." in text and "has no dialogue on" not in text
    assert results["sets"][0]["coverage"] == results["sets"][2]["coverage"] == []
    assert "left out of the comparison: 1 of gpt-4 and 0 of DISC-MedLLM" in text


@pytest.mark.slow
def test_published_differences_are_as_worked_out_elsewhere(published):
    results, _ = published
    open_pairs = [
        sum(row["interval_low"] <= 0 <= row["interval_high"] for row in one["comparisons"]) for one in results["sets"]
    ]
    assert open_pairs[0] == 10 and len(results["sets"][0]["comparisons"]) == 15
    pair = next(r for r in results["sets"][0]["comparisons"] if (r["first"], r["second"]) == ("huatuo-chat", "DISC-MedLLM"))
    assert [pair[key] for key in ("difference", "interval_low", "interval_high")] == pytest.approx(
        [-0.01, -0.11, 0.09], abs=0.01
    )
    pooled = [one["all"]["length"]["spearman"]["overall"] for one in results["sets"]]
    assert pooled == pytest.approx([0.33, 0.16, 0.10], abs=0.01)


def test_two_systems_on_the_same_cases(tmp_path):
    results, text = reported(tmp_path, made(tmp_path, "run"))
    (one,) = results["sets"]
    (row,) = one["comparisons"]
    assert (row["first"], row["second"], row["n"], row["difference"]) == ("b-7b", "a-7b", 8, -1.0)
    assert row["interval_low"] < -1 < row["interval_high"] and 0.1 < row["p"] < 0.15  # 2 of 16 signs are as far out
    assert "| a-7b | 5.00 (no spread) | " in text and "| b-7b minus a-7b | 8 | -1.00 |" in text
    assert "at the ceiling" in text and "75.0%" in text
    assert re.search(r"^\| 1 \| 内科 \| 4 \| 5\.00 .* \| 5\.00 ", text, re.MULTILINE)
    assert re.search(r"^\| 2 \| 外科 \| 4 \| 5\.00 .* \| 3\.00 ", text, re.MULTILINE)
    assert "0 of 4 | yes |" in text and "| canary/give-5 | proactivity 1" in text.replace("\\_", "_")
    pictures = {f"{name}.{kind}" for name in ("criteria", "radar", "groups") for kind in ("png", "svg")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.md", "report.html", "results.json", *pictures}


def test_same_runs_same_bytes(tmp_path):
    folder = made(tmp_path, "run")
    reported(tmp_path, folder)
    reported(tmp_path, folder, out="again")
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_judge_that_is_not_believed_has_no_headline(tmp_path):
    results, text = reported(tmp_path, made(tmp_path, "run", lambda body: verdict(5, body)))
    assert "No headline figure: the judge does not score canary/empty low" in text
    assert f"| a-7b |{' withheld |' * (len(KEYS) + 1)} 8 | 0 |" in text
    assert "Differences on the same cases" not in text and "4 of 4 | no |" in text
    assert "Share of full marks" not in text and "at the ceiling" not in text, "full marks are scores too"
    assert "mean score" not in text and not list((tmp_path / "out").glob("*.png")), "no picture of nothing"
    assert results["sets"][0]["systems"][0]["overall"] == 5 and results["sets"][0]["comparisons"][0]["difference"] == 0


def test_unscored_replies_are_counted_with_their_reasons(tmp_path):
    def silent(body):
        return "不评" if "头痛3天" in str(body) else honest(body)

    results, text = reported(tmp_path, made(tmp_path, "run", silent, failure_limit=0.5))
    (run,) = results["sets"][0]["runs"]
    assert run["failures"]["unscored"] == 2 and run["unscored_reasons"] == {"no verdict": 2}
    assert "Unscored in run: no verdict (2)." in text and "2 (12.5%) | 50.0% | 0 of 4 | yes |" in text
    assert "a-7b, if all unscored dialogues had 1, and if all had 5: proactivity 4.50 to 5.00" in text
    assert results["sets"][0]["comparisons"][0]["n"] == 7


def test_two_judges_and_repeated_samples_are_compared(tmp_path):
    def harsh(body):
        return verdict(max(1, asked_score(body) - 1), body)

    first = made(tmp_path, "first", samples=2)
    second = made(tmp_path, "second", harsh, rows=[*dialogues()[1:], dialogue(9, 4, "a-7b")], model="judge-2")
    results, text = reported(tmp_path, first, second)
    assert [one["judge"]["id"] for one in results["sets"]] == ["judge-1", "judge-2"]
    (row,) = results["agreement"]
    assert (row["n"], row["only_first"], row["only_second"]) == (15, ["a-7b/0"], ["a-7b/9"])
    assert set(row["criteria"]) == {*KEYS, "overall"}
    # Eleven fives and four threes, each one point lower on the other side.
    expected = sum((a - b) ** 2 * n for a, b, n in ((5, 4, 121), (5, 2, 44), (3, 4, 44), (3, 2, 16))) / 225
    assert row["criteria"]["accuracy"]["kappa"] == pytest.approx(1 - 1 / expected)
    assert row["criteria"]["accuracy"]["difference"] == 1 and row["criteria"]["accuracy"]["exact"] == 0
    repeated = results["sets"][0]["runs"][0]["repeated"]
    assert repeated["criteria"]["accuracy"] == {"alpha": 1, "kappa": 1, "pairs": 1} and repeated["samples"] == 2
    assert results["sets"][1]["runs"][0]["repeated"] is None
    assert "Dialogues only in first, beside the other: a-7b/0." in text and "| accuracy | 16 | 2 | 1.00 | 1.00 |" in text


def test_runs_of_one_judge_share_a_table_and_namesakes_are_told_apart(tmp_path):
    with ChatServer(honest) as server:
        for name, count in (("one", 6), ("two", 4)):
            file = write(tmp_path / f"{name}.jsonl", *(dialogue(i, 4 + (name == "two"), "doctor") for i in range(count)))
            assert judged(server, file, tmp_path / name) == 0
    results, text = reported(tmp_path, tmp_path / "one", tmp_path / "two")
    (one,) = results["sets"]
    assert [row["name"] for row in one["systems"]] == ["doctor (one)", "doctor (two)"]
    assert one["comparisons"][0]["n"] == 4 and one["comparisons"][0]["difference"] == 1
    assert "2 cases only in doctor (one): own/4, own/5." in text
    assert results["agreement"] == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("scores.jsonl", '"accuracy": 3.0', '"accuracy": 5.0', "other scores"),
        ("scores.jsonl", "头痛3天", "头痛9天", "other dialogues"),
        ("metrics.json", '"overall": 4.0', '"overall": 4.5', "another systems, headline"),
        ("outputs.jsonl", "canary/give-5", "canary/other", "damaged run"),
        ("scores.jsonl", '"turns": ', '"turn": ', "damaged run"),
    ],
)
def test_what_does_not_follow_is_refused(tmp_path, refused, file, old, new, said):
    folder = made(tmp_path, "run")
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    assert said in refused("report", str(folder), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_kinds_do_not_mix(tmp_path, refused):
    exam = run_folder(tmp_path / "exam", answered(as_shown(questions(4)), right_with(0.5, 1)))
    folder = made(tmp_path, "run")
    assert "runs of one kind" in refused("report", str(folder), str(exam), "--out", str(tmp_path / "out"))


def test_a_consult_run_is_reported_by_its_judge(tmp_path, refused):
    def script(body):
        return honest(body) if body["model"] == "judge-model" else reply(body)

    cases = write_cases(tmp_path / "cases.jsonl", [case(1, group="内科"), case(2, group="外科")])
    with ChatServer(script) as server:
        assert consult(server, cases, tmp_path / "visits", "--judge", server.url + "#judge-model") == 0
    results, text = reported(tmp_path, tmp_path / "visits")
    (row,) = results["consultations"]
    stored = json.loads((tmp_path / "visits" / "metrics.json").read_text(encoding="utf-8"))
    assert (row["run"], row["n"], row["mean_rounds"]) == ("visits", 2, stored["mean_rounds"])
    assert "## Simulated consultations" in text and f"| visits | {row['patient']} | 2 | 0 |" in text
    assert results["sets"][0]["runs"][0]["run"] == "visits" and results["sets"][0]["groups"] == ["内科", "外科"]
    stored["mean_rounds"] += 1
    (tmp_path / "visits" / "metrics.json").write_text(json.dumps(stored), encoding="utf-8")
    said = refused("report", str(tmp_path / "visits"), "--out", str(tmp_path / "other"))
    assert "another mean_rounds in metrics.json of visits" in said
