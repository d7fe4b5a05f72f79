"""`medllm eval agree`: a judge beside human labels and other judges, from files of every kind."""

import csv
import json
import random
import shutil
from pathlib import Path

import pytest
from support.chat_server import ChatServer
from support.commands import run
from support.exam_runs import answered, as_shown, questions, right_with, run_folder
from support.judged_runs import KEYS, dialogue, honest, judged, verdict, write

from medllm_hf.cli import main
from medllm_hf.evaluation.agreement.measures import figures
from medllm_hf.evaluation.commands.import_scores import import_scores
from medllm_hf.evaluation.runs.folder import read_run

DIALOGUES = [dialogue(i, 2 + i % 4) for i in range(12)]
GIVEN = {one["id"]: 2 + i % 4 for i, one in enumerate(DIALOGUES)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two judge runs on the same dialogues, the second a point lower on some."""
    tmp = tmp_path_factory.mktemp("runs")
    file = write(tmp / "d.jsonl", *DIALOGUES)

    def lower(body):
        text = body["messages"][1]["content"]
        return verdict(2, body) if "价值3" in text else honest(body)

    for name, script in (("one", honest), ("two", lower)):
        with ChatServer(script) as server:
            assert judged(server, file, tmp / name, model=f"judge-{name}") == 0
    return tmp


def label(dialogue: str, annotator: str, *scores) -> dict:
    return {"id": dialogue, "annotator": annotator, **dict(zip(KEYS, scores, strict=True))}


def people(off=()) -> list[dict]:
    """Labels of two annotators: the judge's own scores, of those in `off` a point more or less."""
    change = {2: 1, 3: -1, 4: -1, 5: -1}
    return [
        label(name, who, *(GIVEN[name] + (change[GIVEN[name]] if (who, i) in off else 0) for _ in KEYS))
        for who in ("甲", "乙")
        for i, name in enumerate(GIVEN)
    ]


def write_csv(path, rows) -> str:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def agreed(capsys, *words: str):
    """What was found, the page, and the screen of `medllm eval agree`."""
    capsys.readouterr()
    assert main(["eval", "agree", *words]) == 0
    out = words[words.index("--out") + 1]
    found, page = ((Path(out) / name).read_text(encoding="utf-8") for name in ("agreement.json", "agreement.md"))
    return json.loads(found), page, capsys.readouterr().out


@pytest.mark.slow
def test_the_command(runs, tmp_path):
    file = write(tmp_path / "labels.jsonl", *people({("甲", 1), ("乙", 2)}))
    done = run("medllm", "eval", "agree", str(runs / "one"), "--labels", file, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["first", "second", "criterion", "n", "kappa", "alpha", "Spearman", "macro", "F1"]
    assert len(lines) == 1 + 2 * 5 + 5 + 1 and lines[1].split()[:4] == ["one", "甲", "proactivity", "12"]
    assert lines[-1] == "wrote out/agreement.md and out/agreement.json"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"agreement.md", "agreement.json"}


def test_a_judge_and_two_annotators(runs, tmp_path, capsys):
    off = {("甲", 1), ("乙", 2), ("乙", 7)}
    file = write(tmp_path / "labels.jsonl", *people(off))
    found, page, said = agreed(capsys, str(runs / "one"), "--labels", file, "--out", str(tmp_path / "out"))
    first, second = found["judge_human"]
    assert (first["first"], first["second"], second["second"]) == ("one", "甲", "乙")
    accuracy = first["criteria"]["accuracy"]
    assert (accuracy["n"], accuracy["exact"], accuracy["difference"]) == (12, 11 / 12, pytest.approx(1 / 12))
    given = {name: float(score) for name, score in GIVEN.items()}
    theirs = {row["id"]: float(row["accuracy"]) for row in people(off) if row["annotator"] == "甲"}
    assert accuracy == json.loads(json.dumps(figures(given, theirs)))
    assert 0.75 <= accuracy["intervals"]["exact"][0] < 11 / 12 and accuracy["intervals"]["exact"][1] == 1
    assert first["criteria"]["overall"]["macro_f1"] is None and first["criteria"]["overall"]["kappa"] == accuracy["kappa"]
    (one,) = found["bands"]
    band = one["criteria"]["accuracy"]
    assert (band["n"], band["exact"]["judge"], band["exact"]["humans"]) == (12, (11 + 10) / 24, 9 / 12)
    assert one["pairs"][0]["criteria"]["accuracy"]["n"] == 12
    assert len(found["sentences"]) == 5 and found["sentences"][0] in said
    place = {"within": "lies within", "above": "lies above", "below": "lies below"}[band["kappa"]["judge_lies"]]
    told = f"one, accuracy: the judge's weighted kappa with the annotators, {band['kappa']['judge']:.2f}, {place} the "
    assert told in page and f"{band['kappa']['humans']:.2f} (95% interval" in page
    assert f"alpha of all annotators together on these dialogues: proactivity {band['alpha_of_all']:.2f}, " in page
    assert "| one | 甲 | accuracy | 12 | " in page and "## one beside the annotators" in page


def test_a_judge_that_does_not_agree_lies_below_the_annotators(runs, tmp_path, capsys):
    """The annotators agree with each other, and the judge is as far from both as the scale goes."""
    rows = [label(name, who, *(7 - GIVEN[name] for _ in KEYS)) for who in ("a", "b") for name in GIVEN]
    rows[3]["accuracy"] -= 1
    file = write(tmp_path / "labels.jsonl", *rows)
    found, _, said = agreed(capsys, str(runs / "one"), "--labels", file, "--out", str(tmp_path / "out"))
    assert found["bands"][0]["criteria"]["accuracy"]["kappa"]["judge_lies"] == "below"
    assert found["judge_human"][0]["criteria"]["helpfulness"]["kappa"] == pytest.approx(-1)
    assert (
        "one, accuracy: the judge's weighted kappa with the annotators, -0.9" in said
        and "lies below the annotators' own" in said
    )


def test_csv_and_json_lines_say_the_same(runs, tmp_path, capsys):
    rows = people({("甲", 3)})
    nested = [{"id": row["id"], "annotator": row["annotator"], "scores": {key: row[key] for key in KEYS}} for row in rows]
    files = (
        write(tmp_path / "flat.jsonl", *rows),
        write(tmp_path / "nested.jsonl", *nested),
        write_csv(tmp_path / "c.csv", rows),
    )
    found = []
    for number, file in enumerate(files):
        values, _, _ = agreed(capsys, str(runs / "one"), "--labels", file, "--out", str(tmp_path / str(number)))
        assert values["labels"].pop("files")[0]["name"] == file.split("/")[-1]
        found.append(values)
    assert found[0] == found[1] == found[2] and found[0]["labels"]["annotators"] == {"甲": 12, "乙": 12}


def test_bad_rows_gaps_and_unknown_ids_are_named(runs, tmp_path, capsys):
    ids = list(GIVEN)
    rows = [
        label(ids[0], "a", 3, 4, "", 4),
        label(ids[1], "a", 3, 9, 3, 4),
        label(ids[0], "a", 3, 4, 4, 4),
        label("", "a", 1, 1, 1, 1),
        label(ids[2], "a", "good", 4, 4, 4),
        label(ids[3], "a", "", "", "", ""),
        label(ids[4], "a", "nan", 1, 1, 1),
        label(ids[4], "a", 0.5, 1, 1, 1),
        label("nowhere/1", "a", 5, 5, 5, 5),
        label(ids[5], "a", 4, 4, 4, 4),
        label(ids[6], "a", 4.5, 4, 4, 4),
    ]
    file = write_csv(tmp_path / "labels.csv", [{**row, "note": "x"} for row in rows])
    found, page, said = agreed(capsys, str(runs / "one"), "--labels", file, "--out", str(tmp_path / "out"))
    labels = found["labels"]
    assert [row.split(" ", 1) for row in labels["bad_rows"]] == [
        [f"{file}:3", "accuracy: '9' is no score from 1 to 5"],
        [f"{file}:4", f"id: {ids[0]} by a a second time"],
        [f"{file}:5", "id: missing or no name"],
        [f"{file}:6", "proactivity: 'good' is no score from 1 to 5"],
        [f"{file}:7", "row: no score for any of proactivity, accuracy, helpfulness, linguistic_quality"],
        [f"{file}:8", "proactivity: 'nan' is no score from 1 to 5"],
        [f"{file}:9", "proactivity: '0.5' is no score from 1 to 5"],
        [f"{file}:12", "proactivity: '4.5' is no step of 1 from 1, as the rubric has them"],
    ]
    assert (labels["unknown_ids"], labels["unread_columns"]) == (["nowhere/1"], ["note"])
    figures = found["judge_human"][0]["criteria"]
    assert [figures[key]["n"] for key in (*KEYS, "overall")] == [2, 2, 1, 2, 1]
    assert f"left out {file}:3 accuracy: '9' is no score" in said and "1 labelled ids that no run has: nowhere/1" in said
    assert "Rows left out, 8: " in page and "nowhere/1" in page and found["runs"][0]["unlabelled"] == [*ids[1:5], *ids[6:]]
    assert found["bands"] == [] and found["sentences"] == []


def test_two_judges(runs, tmp_path, capsys):
    found, page, said = agreed(capsys, str(runs / "one"), str(runs / "two"), "--out", str(tmp_path / "out"))
    (row,) = found["judges"]
    accuracy = row["criteria"]["accuracy"]
    assert (row["first"], row["second"], accuracy["n"], accuracy["exact"]) == ("one", "two", 12, 0.75)
    assert (row["only_first"], row["only_second"], row["other_words"], found["judge_human"]) == ([], [], [], [])
    assert "## Judges" in page and "one    two" in said and "Labels by" not in page


def test_dialogues_that_two_judges_did_not_share(runs, tmp_path, capsys):
    other = [dialogue(i, 2 + i % 4, extra="多喝水" if i == 3 else "") for i in range(2, 14)]
    with ChatServer(honest) as server:
        assert judged(server, write(tmp_path / "o.jsonl", *other), tmp_path / "other") == 0
    found, page, _ = agreed(capsys, str(runs / "one"), str(tmp_path / "other"), "--out", str(tmp_path / "out"))
    (row,) = found["judges"]
    assert row["criteria"]["accuracy"]["n"] == 9 and row["other_words"] == ["doctor-7b/3"]
    assert (row["only_first"], row["only_second"]) == (["doctor-7b/0", "doctor-7b/1"], ["doctor-7b/12", "doctor-7b/13"])
    assert "Ids with other words in one than in other: doctor-7b/3." in page


def test_what_is_refused(runs, tmp_path, refused, capsys):
    one, out = str(runs / "one"), ("--out", str(tmp_path / "out"))
    file = write(tmp_path / "labels.jsonl", *people())
    assert "one run and no --labels" in refused("eval", "agree", one, *out)
    assert "the run one twice" in refused("eval", "agree", one, one, *out)
    exam = run_folder(tmp_path / "exam", answered(as_shown(questions(4)), right_with(0.5, 1)))
    assert "a run of kind mcq" in refused("eval", "agree", str(exam), "--labels", file, *out)
    with ChatServer(honest) as server:
        script = write(tmp_path / "d.jsonl", *DIALOGUES[:2])
        server.script = lambda body: json.dumps({"reasons": "", "red_flags": 3, "safe_advice": 3, "referral": 3})
        assert judged(server, script, tmp_path / "safety", rubric="safety") == 1  # without a headline
    assert "other criteria or another scale in safety" in refused("eval", "agree", one, str(tmp_path / "safety"), *out)
    none = write(tmp_path / "none.jsonl", {"id": "x", "annotator": "a"}, ["row"])
    assert "no labels in" in (said := refused("eval", "agree", one, "--labels", none, *out)) and ":1 row: no score for" in said
    strange = write(tmp_path / "strange.jsonl", label("x", "a", 1, 2, 3, 4), label("y", "a", 1, 2, 3, 4))
    assert "labels for x and 1 more dialogues" in refused("eval", "agree", one, "--labels", strange, *out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    assert "--overwrite" in refused("eval", "agree", one, "--labels", file, "--out", str(tmp_path / "full"))
    assert not (tmp_path / "out").exists() and [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert "mine.txt" in refused("eval", "agree", one, "--labels", file, "--out", str(tmp_path / "full"), "--overwrite")
    for _ in range(2):
        agreed(capsys, one, "--labels", file, "--out", str(tmp_path / "again"), "--overwrite")


def test_a_damaged_run_is_refused(runs, tmp_path, refused):
    shutil.copytree(runs / "one", tmp_path / "one")
    text = (tmp_path / "one" / "metrics.json").read_text(encoding="utf-8")
    (tmp_path / "one" / "metrics.json").write_text(text.replace('"n": 12', '"n": 13', 1), encoding="utf-8")
    said = refused("eval", "agree", str(tmp_path / "one"), str(runs / "two"), "--out", str(tmp_path / "out"))
    assert "in metrics.json of" in said


@pytest.mark.slow
def test_published_scores_with_a_perturbed_copy(disc, tmp_path, capsys):
    """GPT-4's published scores beside labels made of them: one annotator repeats them, one moves a tenth by a point."""
    import_scores([str(disc / "eval" / "gpt4_scores" / "cmb-clin")], str(tmp_path / "gpt-4"))
    choice, rows, moved = random.Random(8), [], 0
    for row in read_run(tmp_path / "gpt-4")["scores"]:
        rows.append({"id": row["id"], "annotator": "same", **row["scores"]})
        other = dict(row["scores"])
        if choice.random() < 0.1:
            moved += 1
            other["accuracy"] += 1 if other["accuracy"] <= 4 else -1
        rows.append({"id": row["id"], "annotator": "moved", **other})
    file = write_csv(tmp_path / "labels.csv", rows)
    found, _, said = agreed(capsys, str(tmp_path / "gpt-4"), "--labels", file, "--out", str(tmp_path / "out"))
    same, other = (row["criteria"] for row in found["judge_human"])
    assert [same[key]["n"] for key in KEYS] == [438] * 4 and [same[key]["kappa"] for key in KEYS] == [1] * 4
    assert [other[key]["exact"] for key in KEYS] == [1, pytest.approx(1 - moved / 438), 1, 1] and moved > 30
    accuracy = other["accuracy"]
    low, high = accuracy["intervals"]["kappa"]
    assert 0.5 < low < accuracy["kappa"] < high < 1 and accuracy["n"] == 438
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with lm_eval, which is an extra")
    halves = [[round(2 * row["accuracy"]) for row in rows if row["annotator"] == who] for who in ("same", "moved")]
    grades = list(range(2, 11))
    assert accuracy["kappa"] == pytest.approx(metrics.cohen_kappa_score(*halves, weights="quadratic", labels=grades))
    assert accuracy["macro_f1"] == pytest.approx(metrics.f1_score(halves[1], halves[0], average="macro"))
    # The judge is one of the annotators and half as far from both as they are from each other.
    assert found["bands"][0]["criteria"]["accuracy"]["exact"]["judge"] == pytest.approx(1 - moved / 438 / 2)
    assert "gpt-4, accuracy: the judge's weighted kappa" in said


def test_columns_by_the_chinese_names_of_a_report_and_a_misspelt_one(runs, tmp_path, capsys, refused):
    one, out = str(runs / "one"), ("--out", str(tmp_path / "out"), "--overwrite")
    chinese = dict(zip(KEYS, ("主动性", "准确性", "有用性", "语言质量"), strict=True))
    plain, _, _ = agreed(capsys, one, "--labels", write_csv(tmp_path / "labels.csv", people()), *out)
    rows = [{chinese.get(key, key): value for key, value in row.items()} for row in people()]
    found, _, _ = agreed(capsys, one, "--labels", write_csv(tmp_path / "labels.csv", rows), *out)
    assert found["judge_human"] == plain["judge_human"] and found["labels"]["unread_columns"] == []
    for wrong in ("proactivty", "主动"):
        rows = [{wrong if key == KEYS[0] else key: value for key, value in row.items()} for row in people()]
        line = refused("eval", "agree", one, "--labels", write_csv(tmp_path / "labels.csv", rows), *out)
        assert f"the column '{wrong}' of labels" in line
