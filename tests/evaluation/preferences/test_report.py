"""The report of comparisons and their derivation from the outputs: what it says, and that tampering is found."""

import json
import re
import shutil

import pytest
from support.browser import browser
from support.chat_server import ChatServer
from support.judged_runs import dialogue, honest, judged, write
from support.pair_judges import compared, compared_run, first_shown, preference, shown
from support.pair_judges import honest as honest_pair
from support.tampering import edited, manifest, metrics, outputs, put, scores, several, swap

from medllm_hf.evaluation.commands.report import report
from medllm_hf.evaluation.verification.findings import Known
from medllm_hf.hub.runs import rederived

FIRST = [dialogue(i, 2 + i % 4, "a-7b", "</script><script>alert(1)</script>" if i == 2 else "") for i in range(8)]
SECOND = [dialogue(i, 3, "b-7b") for i in range(1, 9)]
RUN = "eval/pair"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with two comparisons; of one case nothing is read."""
    tmp = tmp_path_factory.mktemp("made")

    def script(body):
        return "没有定论" if "头痛7天" in shown(body)[0] else honest_pair(body)

    compared_run(script, tmp, FIRST, SECOND, failure_limit=0.5)
    sides = str(tmp / "first.jsonl"), str(tmp / "second.jsonl")
    with ChatServer(first_shown) as server:
        assert compared(server, *sides, tmp / "biased") == 0
    return tmp


def reported(tmp_path, *folders):
    report([str(folder) for folder in folders], str(tmp_path / "out"))
    results, text = ((tmp_path / "out" / name).read_text(encoding="utf-8") for name in ("results.json", "report.md"))
    return json.loads(results), text.replace("\\", "")


def test_what_the_report_says(made, tmp_path):
    results, text = reported(tmp_path, made / "pair")
    (one,) = results["runs"]
    stored = json.loads((made / "pair" / "metrics.json").read_text(encoding="utf-8"))
    assert one["criteria"] == stored["criteria"] and one["systems"] == {"first": "a-7b", "second": "b-7b"}
    found = stored["criteria"]["overall"]
    assert [found[key] for key in ("n", "wins", "ties", "losses", "inconsistent")] == [6, 3, 2, 1, 0]
    low, high = (f"{100 * end:.1f}" for end in found["interval"])
    assert f"| overall | 6 | 3 | 2 | 1 | 0 | 66.7% | {low} to {high}% | 0.625 |" in text
    assert "## a-7b against b-7b, judged by judge-1" in text and "1 of 7 cases are unscored." in text
    assert "overall 57.1 to 71.4%" in text and "Unscored: order 12: no verdict; order 21: no verdict (1)." in text
    assert "Warning: 1 case of the first system without a dialogue of the second one: own/0." in text
    assert "Cases only a-7b has, left out: own/0." in text and "Cases only b-7b has, left out: own/8." in text
    # Only the doctor of case 2 says more than the other, and wins.
    assert stored["length"] == {"first": (7 * 4 + 34) / 7, "second": 4, "n": 1, "longer_wins": 1}
    assert "in which one says more: 1; of these the longer one wins 100.0%." in text
    assert "| accuracy | 100.0% | 8 | 50.0% | 18.8 to 81.2% |" in text
    assert re.search(r"^\| canary/choose-me \| proactivity win, .*overall win \| passed \|$", text, re.MULTILINE)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.md", "report.html", "results.json"}


def test_a_comparison_without_headline_withholds_the_figures(tmp_path):
    compared_run(lambda body: preference("tie", body), tmp_path, FIRST, SECOND)
    _, text = reported(tmp_path, tmp_path / "pair")
    assert "No headline figure: the judge fails canary/empty: proactivity tie" in text
    assert "| overall | 7 | withheld | withheld |" in text and "| accuracy | 7 | withheld | withheld |" in text


def test_several_comparisons_and_systems_of_one_name(made, tmp_path):
    same = [{**one, "id": f"again/{i}"} for i, one in enumerate(FIRST)]
    compared_run(honest_pair, tmp_path, FIRST, same)
    results, text = reported(tmp_path, made / "biased", tmp_path / "pair")
    assert results["runs"][1]["systems"] == {"first": "a-7b (first)", "second": "a-7b (second)"}
    assert "100.0% of the verdicts that prefer a dialogue prefer the one shown first" in text
    assert "## a-7b (first) against a-7b (second), judged by judge-1" in text


def test_the_page_holds_every_dialogue_and_every_reply_as_data(made, tmp_path):
    reported(tmp_path, made / "pair")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    (one,) = data["sets"]
    assert (one["systems"], one["range"], len(one["rows"])) == (["a-7b", "b-7b"], [0, 1], 14)
    by_case = {(row[1], row[0]): row for row in one["rows"]}
    win, loss = by_case["own/2", 0], by_case["own/2", 1]
    assert (win[4], loss[4]) == ([1.0] * 5, [0.0] * 5) and by_case["own/1", 0][4] == [0.5] * 5
    unread = by_case["own/7", 0]
    assert (unread[4], unread[5], len(unread[7])) == (None, "order 12: no verdict; order 21: no verdict", 4)
    stored = {row["id"]: row for row in map(json.loads, (made / "pair" / "outputs.jsonl").open(encoding="utf-8"))}
    assert win[6] == [
        f"[{name} shown first]\n{stored[f'own/2:{order}']['reply']}" for name, order in (("a-7b", "12"), ("b-7b", "21"))
    ]
    assert [turn[1] for turn in data["transcripts"][win[3]]] == [turn["content"] for turn in FIRST[2]["turns"]]
    assert "alert(1)" in page and "<script>alert(1)" not in page and page.count("</script>") == 2


def test_two_systems_side_by_side_in_a_browser(made, tmp_path):
    reported(tmp_path, made / "pair")
    choose = (
        "const f = document.getElementById('filter'); f.system.value = '0'; f.beside.value = '1'; f.state.value = 'higher';"
    )
    with browser(tmp_path / "profile") as chromium:
        chromium.open(tmp_path / "out" / "report.html")
        assert chromium.run("document.getElementById('shown').textContent") == "1 to 14 of 14 dialogues"
        chromium.run(f"(() => {{ {choose} f.dispatchEvent(new Event('input')); }})()")
        assert chromium.run("document.getElementById('shown').textContent") == "1 to 3 of 3 dialogues"
        chromium.run("document.querySelector('details').open = true; new Promise(requestAnimationFrame)")
        said = chromium.run("document.querySelector('details').textContent")
        assert "</script><script>alert(1)</script>" in said and "b-7bproactivity 0 · accuracy 0" in said
        assert said.count("[a-7b shown first]") == said.count("[b-7b shown first]") == 2 and chromium.complaints() == []


TIES = json.dumps(dict.fromkeys(["proactivity", "accuracy", "helpfulness", "linguistic_quality", "overall"], "tie"))
WINS = TIES.replace("tie", "first")
TAMPERINGS = [
    ("a verdict", outputs(RUN, put(8, reply=WINS)), "scores.jsonl: row 1"),
    ("a verdict on a canary", outputs(RUN, put(2, reply=TIES)), "metrics.json headline"),
    ("no canary", outputs(RUN, lambda rows: rows.pop(0)), "outputs.jsonl: no canary/same:12 0"),
    ("one order alone", outputs(RUN, lambda rows: rows.pop(9)), "outputs.jsonl: no own/1:21 0"),
    ("outputs in another order", outputs(RUN, swap), "outputs.jsonl: another order"),
    ("an output more", outputs(RUN, lambda rows: rows.append({**rows[-1], "id": "own/9:12"})), "outputs.jsonl: own/9:12"),
    ("an outcome", scores(RUN, lambda rows: rows[0]["outcomes"].update(overall="win")), "scores.jsonl: row 1"),
    ("a verdict in the scores", scores(RUN, lambda rows: rows[0]["verdicts"]["21"].update(overall="first")),
     "scores.jsonl: row 1"),
    ("a word of a doctor", scores(RUN, lambda rows: rows[0]["first"]["turns"][1].update(content="好")), "data.first.sha256"),
    ("a case left out", several(outputs(RUN, lambda rows: (rows.pop(-1), rows.pop(-1))), scores(RUN, lambda rows: rows.pop())),
     "data.second.n"),
    ("the sides exchanged", scores(RUN, lambda rows: [row.update(first=row["second"], second=row["first"]) for row in rows]),
     "systems.first"),
    ("a system's name", manifest(RUN, "systems", first="gpt-9"), "systems.first"),
    ("the rubric's hash", manifest(RUN, "rubric", sha256="0" * 64), "rubric.sha256"),
    ("the failure limit", manifest(RUN, "settings", failure_limit=0.01), "metrics.json headline"),
    ("a win rate", edited(f"{RUN}/metrics.json", lambda found: found["headline"].update(win_rate=0.9)),
     "metrics.json headline"),
    ("an interval", edited(f"{RUN}/metrics.json", lambda found: found["criteria"]["accuracy"].update(interval=[0.6, 0.7])),
     "metrics.json criteria"),
    ("a figure of no metric", metrics(RUN, elo=1500), "metrics.json elo"),
    ("a warning less", metrics(RUN, warnings=[]), "metrics.json warnings"),
    ("cases of one side", edited(f"{RUN}/manifest.json", lambda found: found.update(only_first=[])), "metrics.json warnings"),
]  # fmt: skip


def published(made, tmp_path):
    shutil.copytree(made / "pair", tmp_path / RUN)
    return Known("", tmp_path, {})


def test_every_figure_of_an_untouched_comparison_is_confirmed(made, tmp_path):
    findings, _ = rederived(tmp_path, published(made, tmp_path))
    assert {one.state for one in findings} == {"confirmed"}, [one.line for one in findings if one.state != "confirmed"]
    named = {one.figure for one in findings}
    assert {f"{RUN}/metrics.json {key}" for key in json.loads((tmp_path / RUN / "metrics.json").read_text("utf-8"))} < named
    assert {f"{RUN}/{name}" for name in ("outputs.jsonl", "scores.jsonl", "manifest.json rubric.sha256")} < named


@pytest.mark.parametrize(("change", "named"), [one[1:] for one in TAMPERINGS], ids=[one[0] for one in TAMPERINGS])
def test_tampering_is_detected_and_named(made, tmp_path, change, named):
    known = published(made, tmp_path)
    change(tmp_path)
    wrong = [one.line for one in rederived(tmp_path, known)[0] if one.state != "confirmed"]
    assert any(f"{RUN}/" in line and named in line for line in wrong), wrong


REFUSED = [
    "a verdict",
    "an outcome",
    "a word of a doctor",
    "a win rate",
    "a verdict on a canary",
    "no canary",
    "a warning less",
]


@pytest.mark.parametrize("name", REFUSED)
def test_the_report_refuses_what_does_not_follow(made, tmp_path, refused, name):
    published(made, tmp_path)
    next(change for own, change, _ in TAMPERINGS if own == name)(tmp_path)
    said = refused("report", str(tmp_path / RUN), "--out", str(tmp_path / "out"))
    assert re.search(r"(damaged run in|in scores\.jsonl of|in metrics\.json of) pair", said)
    assert not (tmp_path / "out").exists()


def test_the_report_refuses_other_dialogues(made, tmp_path, refused):
    """The patient's words count in no figure."""
    published(made, tmp_path)
    scores(RUN, lambda rows: rows[0]["second"]["turns"][0].update(content="咳嗽"))(tmp_path)
    said = refused("report", str(tmp_path / RUN), "--out", str(tmp_path / "out"))
    assert "other dialogues in scores.jsonl of pair than the manifest names" in said


def test_kinds_do_not_mix(made, tmp_path, refused):
    with ChatServer(honest) as server:
        assert judged(server, write(tmp_path / "d.jsonl", *FIRST), tmp_path / "judge") == 0
    said = refused("report", str(made / "pair"), str(tmp_path / "judge"), "--out", str(tmp_path / "out"))
    assert "pair of kind pair, judge of kind judge; expected runs of one kind" in said
