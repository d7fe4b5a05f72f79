"""The report of exam runs: what its tables, pictures, data and pages say, and which runs it refuses."""

import json
import random
import re
import warnings

import pytest
from support.commands import first_word
from support.exam_runs import answered, as_shown, questions, reported, right_with, run_folder, two_runs

from medllm_hf.data.benchmarks.catalogue import BENCHMARKS
from medllm_hf.evaluation.exams.reference_results import quoted_rows
from medllm_hf.evaluation.runs.folder import write_jsonl
from medllm_hf.folders import write_json

CLINIC = {"name": "mlec-qa/clinic", "split": "test", "sha256": "12" * 32, "licence": "mit", "left_out": {"needs an image": 3}}


def test_figures_stand_in_table_and_data(tmp_path):
    results, text = reported(tmp_path, *two_runs(tmp_path))
    stored = json.loads((tmp_path / "strong" / "metrics.json").read_text())
    row = results["results"][1]
    assert (row["run"], row["n"], row["accuracy"], row["groups"]) == ("strong", 90, stored["accuracy"], stored["groups"])
    limits = f"{100 * stored['interval_low']:.1f} to {100 * stored['interval_high']:.1f}%"
    assert f"| strong | tiny | {100 * stored['accuracy']:.1f}% | {limits} | 90 | 0 |" in text
    for group in stored["groups"]:
        assert re.search(rf"\| {group['group']} \| 30 \| {100 * group['chance']:.1f}% \|.*{100 * group['accuracy']:.1f}%", text)
    assert "differ" not in text.split("### By subject")[0]
    files = {path.name for path in (tmp_path / "out").iterdir()}
    pictures = {f"{name}.{kind}" for name in ("accuracy", "subjects", "confusion") for kind in ("png", "svg")}
    assert files == {"report.md", "report.html", "results.json", *pictures}
    assert all(f"({name}.png)" in text for name in ("accuracy", "subjects", "confusion"))


def test_a_report_needs_no_torch(tmp_path):
    text, loaded = first_word("medllm", "report", *map(str, two_runs(tmp_path)), "--out", str(tmp_path / "out"))
    assert text.startswith(f"wrote {tmp_path}/out/report.md ") and loaded == []


def test_comparison_counts_the_pairs(tmp_path):
    weak, strong = two_runs(tmp_path)
    results, text = reported(tmp_path, weak, strong)
    right = []
    for folder in (strong, weak):
        rows = [json.loads(line) for line in (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
        right.append({row["id"]: row["prediction"] == row["reference"] for row in rows})
    row = results["datasets"][0]["comparisons"][0]
    assert (row["first"], row["second"], row["n"], row["unpaired_first"]) == ("strong", "weak", 90, 0)
    assert row["only_first"] == sum(right[0][name] and not right[1][name] for name in right[0])
    assert row["only_second"] == sum(right[1][name] and not right[0][name] for name in right[0])
    assert row["difference"] == (row["only_first"] - row["only_second"]) / 90
    assert row["interval_low"] < row["difference"] < row["interval_high"] and row["p"] < 0.001
    assert (
        f"| strong minus weak | 90 | {row['only_first']} | {row['only_second']} | +{100 * row['difference']:.1f} points" in text
    )
    assert "Holm" not in text


def test_three_runs_are_corrected_and_unpaired_questions_are_counted(tmp_path):
    rows = as_shown(questions(60))
    shuffled = as_shown(questions(60), shuffle=5)
    runs = [
        run_folder(tmp_path / "a", answered(rows, right_with(0.5, 1))),
        run_folder(tmp_path / "b", answered(shuffled, right_with(0.6, 2)), shuffle_options=True),
        run_folder(tmp_path / "c", answered(rows[:50], right_with(0.9, 3))),
    ]
    results, text = reported(tmp_path, *runs)
    rows = results["datasets"][0]["comparisons"]
    assert [(row["first"], row["second"], row["n"]) for row in rows] == [("b", "a", 60), ("c", "a", 50), ("c", "b", 50)]
    assert [row["unpaired_second"] for row in rows] == [0, 10, 10]
    assert all(row["p_holm"] >= row["p"] for row in rows) and max(row["p_holm"] / row["p"] for row in rows) > 1.5
    assert "left out of the comparison: 0 of c and 10 of a" in text
    assert "The runs' settings differ (shuffle options)" in text
    assert re.search(r"\| run \| model \| shuffle options \|.*\n.*\n\| a \| tiny \| no \|.*\n\| b \| tiny \| yes \|", text)


def test_other_questions_under_one_hash_are_refused(tmp_path, refused):
    rows = as_shown(questions(20))
    other = [{**row, "question": "另一题"} if row["id"] == "q7" else row for row in rows]
    folders = [run_folder(tmp_path / name, answered(some, lambda row: "A")) for name, some in (("a", rows), ("b", other))]
    assert "'q7'" in refused("report", *map(str, folders), "--out", str(tmp_path / "out"))


def test_runs_on_other_data_stand_apart_with_quoted_rows(tmp_path):
    rows = as_shown(questions(40))
    runs = [
        run_folder(tmp_path / "own", answered(rows, right_with(0.5, 1))),
        run_folder(tmp_path / "clinic", answered(rows, right_with(0.5, 2)), data=CLINIC),
        run_folder(tmp_path / "dev", answered(rows, right_with(0.5, 3)), data={**CLINIC, "split": "dev"}),
    ]
    results, text = reported(tmp_path, *runs)
    assert [dataset["runs"] for dataset in results["datasets"]] == [["own"], ["clinic"], ["dev"]]
    assert [len(dataset["quoted"]) for dataset in results["datasets"]] == [0, 8, 0]
    assert all(dataset["comparisons"] == [] for dataset in results["datasets"])
    own, clinic, dev = text.split("\n## ")[2:]
    block = clinic.split("### Quoted, not measured here")[1].split("###")[0]
    assert "| GPT-3.5 | few-shot | 58.63% | 336 |" in block and "were not released" in block
    assert "<https://github.com/FudanDISC/DISC-MedLLM" in block
    assert "Quoted" not in own + dev
    assert "Licence: mit. Left out: needs an image 3." in clinic and "(accuracy-2.png)" in clinic
    assert (tmp_path / "out" / "accuracy-3.svg").exists()


def test_quoted_rows_are_whole_and_mark_the_misprints():
    names = [name for name in BENCHMARKS if quoted_rows(name)]
    assert [name.split("/")[-1] for name in names] == ["clinic", "cwm", "publichealth", "stomatology", "tcm", "neep306"]
    rows = [row for name in names for row in quoted_rows(name)]
    assert sum({name: quoted_rows(name)[0]["n"] for name in names}.values()) == 1362 + 270
    for row in rows:
        nearest = round(row["accuracy"] * row["n"]) / row["n"]
        # The README cuts some figures off and rounds others.
        assert (abs(nearest - row["accuracy"]) < 1.01e-4) != row["misprint"], row
    assert [(row["system"], row["as_printed"]) for row in rows if row["misprint"]] == [
        ("Baichuan-13B-Chat", "39.92"),
        ("GPT-3.5", "43.47"),
    ]


def test_circular_runs(tmp_path):
    """Right only when all rotations are; the first rotation and the consistency stand beside it."""
    items = questions(50, options=4)
    texts = {item["id"]: item["options"][item["answer"]] for item in items}

    def answer(row):
        shown = {option["text"]: option["label"] for option in row["options"]}
        number = int(row["id"][1:])
        if number < 20 or (number < 30 and row["rotation"] == 0):
            return shown[texts[row["id"]]]
        wrong = [label for label in shown.values() if label != row["reference"]]
        # From 40 on, one and the same wrong option throughout.
        return shown[min(t for t in shown if t != texts[row["id"]])] if number >= 40 else wrong[row["rotation"] % 3]

    folder = run_folder(tmp_path / "turned", answered(as_shown(items, circular=True), answer), circular=True)
    plain = run_folder(tmp_path / "plain", answered(as_shown(items), right_with(1.0, 1)))
    results, text = reported(tmp_path, folder, plain)
    row = results["results"][0]
    assert (row["accuracy"], row["n"], row["circular"]["first_accuracy"], row["circular"]["consistent"]) == (0.4, 50, 0.6, 30)
    assert re.search(r"\| turned \| 40\.0% \(.*\) \| 60\.0% \(.*\) \| 60\.0% \(.*\) \| 50 \| 200 \|", text)
    compared = results["datasets"][0]["comparisons"][0]
    assert (compared["counted"], compared["only_first"], compared["only_second"]) == ("first rotation right", 20, 0)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "(rotations " in page


def test_same_runs_same_bytes_in_the_order_given(tmp_path):
    weak, strong = two_runs(tmp_path, shots=5)
    reported(tmp_path, weak, strong)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reported(tmp_path, weak, strong, out="again")
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    results, text = reported(tmp_path, strong, weak, out="turned")
    assert [row["run"] for row in results["results"]] == ["strong", "weak"]
    assert text.index("| strong |") < text.index("| weak |")


def test_several_right_letters(tmp_path):
    items = [*questions(30), *(item | {"id": f"m{item['id']}"} for item in questions(30, 1, kind="multi"))]
    rng = random.Random(1)
    rows = answered(as_shown(items), lambda row: row["reference"] if rng.random() < 0.5 else row["reference"][0])
    results, text = reported(tmp_path, run_folder(tmp_path / "run", rows))
    row = results["results"][0]
    assert (row["single"], row["multi"]) == (30, 30) and row["partial_credit"] > row["accuracy"]
    assert "30 with one right answer, 30 with several" in text and "| partial credit | chance |" in text
    assert sum(sum(cells.values()) for cells in row["confusion"]["rows"].values()) == 30


def change(folder, name, edit):
    file = folder / name
    value = json.loads(file.read_text(encoding="utf-8"))
    edit(value)
    write_json(file, value)


def swap_prediction(folder):
    lines = (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[4])
    row["prediction"] = "A" if row["prediction"] != "A" else "B"
    lines[4] = json.dumps(row, ensure_ascii=False)
    (folder / "scores.jsonl").write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "metrics.json").unlink(), "metrics.json"),
        (lambda run: (run / "scores.jsonl").write_text('{"id": '), "scores.jsonl"),
        (lambda run: (run / "scores.jsonl").write_text('{"id": "q0"}\n'), "row 1"),
        (lambda run: change(run, "manifest.json", lambda m: m.pop("ended")), "unfinished"),
        (lambda run: change(run, "manifest.json", lambda m: m["data"].pop("n")), "'n'"),
        (lambda run: change(run, "manifest.json", lambda m: m["data"].update(n=31)), "30 of 31"),
        (lambda run: change(run, "manifest.json", lambda m: m.update(kind="consult")), "of kind consult"),
        (lambda run: change(run, "metrics.json", lambda m: m.update(accuracy=0.99)), "another accuracy"),
        (lambda run: change(run, "metrics.json", lambda m: m["groups"][0].update(unparsed=1)), "another groups"),
        (swap_prediction, "other predictions"),
        (lambda run: (run / "outputs.jsonl").write_text(""), "other predictions"),
    ],
)
def test_refused_runs(tmp_path, refused, damage, said):
    rows = as_shown(questions(30))
    good = run_folder(tmp_path / "good", answered(rows, right_with(0.5, 1)))
    bad = run_folder(tmp_path / "bad", answered(rows, right_with(0.5, 2)))
    damage(bad)
    message = refused("report", str(good), str(bad), "--out", str(tmp_path / "out"))
    assert said in message and "bad" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "good"]


def test_a_kind_that_has_no_report_and_a_run_given_twice(tmp_path, refused):
    folder = run_folder(tmp_path / "run", answered(as_shown(questions(9)), lambda row: "A"))
    out = ("--out", str(tmp_path / "out"))
    assert "twice" in refused("report", str(folder), str(tmp_path / "." / "run"), *out)
    change(folder, "manifest.json", lambda manifest: manifest.update(kind="soup"))
    assert "run of kind soup" in refused("report", str(folder), *out)


def test_runs_of_one_folder_name_are_told_apart(tmp_path):
    rows = as_shown(questions(20))
    folders = [run_folder(tmp_path / name / "run", answered(rows, lambda row: "A")) for name in ("x", "y")]
    results, text = reported(tmp_path, *folders)
    assert [row["run"] for row in results["results"]] == ["x/run", "y/run"] and "| x/run |" in text
    assert str(tmp_path) not in text + json.dumps(results) + (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_ties_are_said_with_what_they_mean(tmp_path):
    rows = answered(as_shown(questions(20)), lambda row: "" if int(row["id"][1:]) < 3 else row["reference"])
    folder = run_folder(tmp_path / "run", rows)
    outputs = [json.loads(line) for line in (folder / "outputs.jsonl").read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(outputs):
        row["logprobs"].pop("", None)
        row["logprobs"] |= {"A": 0.0, "B": 0.0} if number < 3 else {}
    (folder / "outputs.jsonl").unlink()
    write_jsonl(folder / "outputs.jsonl", outputs)
    change(folder, "metrics.json", lambda metrics: metrics.update(ties=3))
    results, text = reported(tmp_path, folder)
    assert (results["results"][0]["ties"], results["results"][0]["unparsed"]) == (3, 3)
    assert "run: 3 ties. The best answers are exactly as likely as each other, so the model prefers none" in text
