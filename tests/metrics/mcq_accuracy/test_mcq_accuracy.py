"""The metric: its figures, its errors, and every way in which `evaluate` loads and runs it."""

import ast
import doctest
import importlib.util
import json
import math
import os
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

import evaluate
import pytest
import yaml
from support.commands import run
from support.paths import OFFLINE, ROOT

from medllm_hf.data.mcq import McqItem, chance_level

FOLDER = ROOT / "medllm_hf" / "metrics" / "mcq_accuracy"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
DRUGS = {"A": "青霉素", "B": "链霉素", "C": "维生素B", "D": "红霉素"}
OPTIONS = [{"label": letter, "text": text} for letter, text in DRUGS.items()]
PREDICTIONS = ["B", "故选A、C。", "无法判断", "答案是红霉素", "A", "ABCD", "The answer is C."]
REFERENCES = ["B", "AC", "D", "D", "CA", "AB", "B"]
GROUPS = ["外科", "内科", "外科", "内科", "内科", "药学", "药学"]
KEYS = ("accuracy", "n", "unparsed", "interval_low", "interval_high", "macro_accuracy", "partial_credit", "groups")
ONE_OF_TWO = """
import json, sys
import evaluate
number, of, folder, cache, data = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6]
metric = evaluate.load(folder, num_process=of, process_id=number, experiment_id="shared", cache_dir=cache)
columns = json.loads(open(data, encoding="utf-8").read())
mine = {name: values[number::of] for name, values in columns.items()}
for rows in (slice(0, 1), slice(1, None)):
    metric.add_batch(**{name: values[rows] for name, values in mine.items()})
print(json.dumps(metric.compute()))
"""


@pytest.fixture
def metric(tmp_path):
    return evaluate.load(str(FOLDER), cache_dir=str(tmp_path / "evaluate"))


def result_of(metric):
    """The result for the sample rows, with options and groups."""
    return metric.compute(predictions=PREDICTIONS, references=REFERENCES, options=[OPTIONS] * 7, groups=GROUPS)


def test_figures(metric):
    result = result_of(metric)
    assert tuple(result) == ("accuracy", "n", "unparsed", "interval_low", "interval_high", *KEYS[5:])
    assert (result["accuracy"], result["n"], result["unparsed"]) == (3 / 7, 7, 1)
    assert math.isclose(result["macro_accuracy"], (1 / 2 + 2 / 3 + 0) / 3)
    assert math.isclose(result["partial_credit"], (1 + 1 + 0 + 1 + 1 / 2 + 0 + 0) / 7)
    assert [(row["group"], row["n"], row["accuracy"], row["unparsed"]) for row in result["groups"]] == [
        ("外科", 2, 1 / 2, 1),
        ("内科", 3, 2 / 3, 0),
        ("药学", 2, 0.0, 0),
    ]
    assert math.isclose(result["groups"][1]["chance"], (1 / 15 + 1 / 4 + 1 / 15) / 3)


@pytest.mark.parametrize(("right", "count"), [(0, 5), (1, 3), (7, 7), (46, 100), (5152, 11200)])
def test_the_interval_solves_wilsons_equation(metric, right, count):
    """Its ends are the true shares from which the observed one lies 1.96 standard errors away."""
    result = metric.compute(predictions=["A"] * right + ["B"] * (count - right), references=["A"] * count)
    low, high, share = result["interval_low"], result["interval_high"], right / count
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert math.isclose(abs(share - end), 1.959964 * math.sqrt(end * (1 - end) / count), rel_tol=1e-5)


def test_chance_is_that_of_the_data_room(metric):
    kinds = [("A", "single"), ("AC", "multi"), ("ABCD", "multi"), ("D", "single")]
    items = [McqItem(str(i), "", DRUGS, frozenset(answer), "", kind) for i, (answer, kind) in enumerate(kinds)]
    result = metric.compute(predictions=[""] * 4, references=[answer for answer, _ in kinds], options=[OPTIONS] * 4)
    assert math.isclose(result["groups"][0]["chance"], chance_level(items))
    assert (result["accuracy"], result["unparsed"]) == (0.0, 4)


def test_each_row_has_its_own_options(metric):
    """A later row may have a letter that the first has not (a fixed dict feature would drop it)."""
    options = [OPTIONS[:2], OPTIONS, OPTIONS[:2]]
    result = metric.compute(predictions=["A", "答案：维生素B", "C"], references=["A", "C", "A"], options=options)
    assert (result["accuracy"], result["unparsed"]) == (2 / 3, 1)


def test_each_row_has_its_own_stem(metric):
    """Rows of several batches, one without stems; a stem never reaches another row."""
    metric.add_batch(predictions=["只有A是错的。"] * 2, references=["A"] * 2, questions=["下列错误的是", "下列正确的是"])
    metric.add_batch(predictions=["只有A是错的。"], references=["A"], options=[OPTIONS])
    metric.add_batch(predictions=["A错误。"], references=["A"], questions=["All are true EXCEPT"])
    result = metric.compute()
    assert (result["n"], result["accuracy"], result["unparsed"]) == (4, 0.5, 2)


def test_each_row_has_its_own_kind(metric):
    """Two letters answer a question for several and none for one; a kind never reaches another row."""
    metric.add_batch(predictions=["故选A、C。"] * 3, references=["AC"] * 3, kinds=["multi", "single", None])
    metric.add_batch(predictions=["故选A、C。"], references=["AC"], groups=["x"])
    assert (result := metric.compute())["unparsed"] == 1 and result["accuracy"] == 0.75
    listed = {"predictions": ["A. 青霉素\nB. 链霉素"], "references": ["AB"], "options": [OPTIONS]}
    for kinds, accuracy in ((["multi"], 1.0), (["single"], 0.0), ([None], 0.0), (None, 0.0)):
        assert metric.compute(**listed, kinds=kinds)["accuracy"] == accuracy
    metric.add(prediction="A. 青霉素\nB. 链霉素", reference="AB")
    assert metric.compute(options=[OPTIONS], kinds=["multi"])["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"predictions": [], "references": []}, "give at least one"),
        ({"predictions": ["A"], "references": ["A", "B"]}, "2 references for 1 predictions"),
        ({"predictions": ["A"], "references": ["A"], "groups": ["x", "y"]}, "2 groups for 1"),
        ({"predictions": ["A"], "references": ["A"], "questions": ["x", "y"]}, "2 questions for 1"),
        ({"predictions": ["A"], "references": ["A"], "questions": [3]}, r"questions\[0\] is a int; give the stem as text"),
        ({"predictions": ["A"], "references": ["A"], "kinds": ["single", None]}, "2 kinds for 1"),
        (
            {"predictions": ["A"], "references": ["A"], "kinds": ["multiple"]},
            r"kinds\[0\] is 'multiple'; give 'single' or 'multi'",
        ),
        ({"predictions": ["A"]}, "references missing"),
        ({"predictions": ["A", "A"], "references": ["A", "F"]}, r"references\[1\] = 'F' does not name options ABCDE"),
        ({"predictions": ["A"], "references": ["C"], "options": [OPTIONS[:2]]}, "'C' does not name options AB;"),
        ({"predictions": ["A"], "references": [""]}, "references.0. = ''"),
        ({"predictions": ["A"], "references": ["a"]}, "'a'"),
        ({"predictions": ["A", None], "references": ["A", "A"]}, r"predictions\[1\] is a NoneType"),
        ({"predictions": ["A"], "references": ["A"], "options": [OPTIONS[:1]]}, "at least two"),
        ({"predictions": ["A"], "references": ["A"], "options": [[*OPTIONS, OPTIONS[0]]]}, "at least two"),
        ({"predictions": ["A"], "references": ["A"], "options": [[{"label": "A", "text": None}] * 2]}, "give a list of"),
    ],
)
def test_bad_input_is_refused(metric, call, message):
    with pytest.raises(ValueError, match=message):
        metric.compute(**call)


def test_an_instance_lives_on_after_an_error(metric):
    for call in ({"predictions": ["A"]}, {"predictions": ["A"], "references": ["Z"]}):
        with pytest.raises(ValueError, match="mcq_accuracy: "):
            metric.compute(**call)
    assert metric.compute(predictions=["A"], references=["A"])["n"] == 1


def test_rows_added_in_batches(metric):
    expected = result_of(metric)
    for rows in (slice(0, 3), slice(3, 7)):
        options = [OPTIONS] * len(GROUPS[rows])
        metric.add_batch(predictions=PREDICTIONS[rows], references=REFERENCES[rows], options=options, groups=GROUPS[rows])
    assert metric.compute() == expected
    metric.add_batch(predictions=PREDICTIONS[:6], references=REFERENCES[:6])
    metric.add(prediction=PREDICTIONS[6], reference=REFERENCES[6])
    assert metric.compute(options=[OPTIONS] * 7, groups=GROUPS) == expected
    metric.add_batch(predictions=["A"], references=["A"])
    with pytest.raises(ValueError, match="2 groups for 1 rows"):
        metric.compute(groups=["x", "y"])


def module_at(path: Path):
    """The module in a file of the Space."""
    spec = importlib.util.spec_from_file_location("space_" + path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cases_of_the_space(metric):
    cases = module_at(FOLDER / "tests.py").test_cases
    assert len(cases) == 2
    for case in cases:
        expected = dict(case["result"])
        found = metric.compute(**{name: value for name, value in case.items() if name != "result"})
        rows, expected_rows = found.pop("groups"), expected.pop("groups")
        assert found == pytest.approx(expected, abs=1e-6)
        for row, expected_row in zip(rows, expected_rows, strict=True):
            assert row == pytest.approx(expected_row, abs=1e-6)


TINY_METRIC = """
import datasets
import evaluate


class ReplyLength(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"length": sum(map(len, predictions)) / len(predictions)}
"""


def test_combined_with_another_metric(metric, tmp_path):
    (tmp_path / "reply_length").mkdir()
    (tmp_path / "reply_length" / "reply_length.py").write_text(TINY_METRIC)
    both = evaluate.combine([metric, evaluate.load(str(tmp_path / "reply_length"))])
    alone = evaluate.load(str(FOLDER)).compute(predictions=PREDICTIONS, references=REFERENCES)
    expected = {**alone, "length": sum(map(len, PREDICTIONS)) / 7}
    assert both.compute(predictions=PREDICTIONS, references=REFERENCES) == expected
    both.add_batch(predictions=PREDICTIONS[:4], references=REFERENCES[:4])
    both.add_batch(predictions=PREDICTIONS[4:], references=REFERENCES[4:])
    assert both.compute() == expected


@pytest.mark.slow
def test_two_processes_give_the_figure_of_one(metric, tmp_path):
    """Options and groups too: each process has only its own rows'. No row is counted twice."""
    columns = {"predictions": PREDICTIONS, "references": REFERENCES, "options": [OPTIONS] * 7, "groups": GROUPS}
    (tmp_path / "data.json").write_text(json.dumps(columns), encoding="utf-8")
    (tmp_path / "rank.py").write_text(ONE_OF_TWO)
    rest = [str(FOLDER), str(tmp_path / "shared"), str(tmp_path / "data.json")]
    command = [[sys.executable, str(tmp_path / "rank.py"), str(number), "2", *rest] for number in (0, 1)]
    ranks = [subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, **OFFLINE}) for words in command]
    outputs = [json.loads(rank.communicate(timeout=120)[0]) for rank in ranks]
    assert outputs[1] is None
    expected = result_of(metric)
    rows, expected_rows = (sorted(result.pop("groups"), key=str) for result in (outputs[0], expected))
    assert (outputs[0], rows) == (expected, expected_rows)


SELF_CONTAINED = """
import os, sys
import evaluate
for folder, path in zip(sys.argv[1::2], sys.argv[2::2]):
    os.chdir(folder)
    metric = evaluate.load(path)
    accuracy = metric.compute(predictions=["故选B。"], references=["B"])["accuracy"]
    print(accuracy, metric.extract_choice("选A", {"A": "", "B": ""}))
print([name for name in sys.modules if name.startswith("medllm_hf")])
"""


def loads_alone(cache: Path, *places: Path | str) -> str:
    """What a fresh process with an empty cache and no network prints after loading the metric in each (folder, path)."""
    done = run(
        sys.executable, "-c", SELF_CONTAINED, *map(str, places), cwd=cache.parent, env={**OFFLINE, "HF_HOME": str(cache)}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_loads_from_its_folder_and_from_another(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "mcq_accuracy")
    places = (tmp_path, "mcq_accuracy", tmp_path, FOLDER, ROOT, "medllm_hf/metrics/mcq_accuracy")
    assert loads_alone(tmp_path / "cache", *places) == "1.0 A\n" * 3 + "[]\n"


def test_what_evaluate_needs_of_the_script():
    """Each of these would load the wrong class, ask for a package that does not exist, or leave a file behind."""
    text = (FOLDER / "mcq_accuracy.py").read_text(encoding="utf-8")
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(len(node.names) == 1 for node in imports if isinstance(node, ast.Import))
    assert not any(isinstance(node, ast.ImportFrom) and node.module == "evaluate" for node in imports)
    assert not re.search(r"^(?:import|from)\b.*#", text, re.MULTILINE)
    siblings = {path.stem for path in FOLDER.glob("*.py")} - {"app", "mcq_accuracy", "tests"}
    assert set(re.findall(r"^from \.(\w+) ", text, re.MULTILINE)) == siblings
    for path in FOLDER.glob("*.py"):
        assert set(re.findall(r"from \.(\w+) ", path.read_text(encoding="utf-8"))) <= siblings


def examples(text: str) -> doctest.TestResults:
    """The outcome of running the examples in `text` in order."""
    return doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(text, {"evaluate": evaluate}, "card", None, 0))


def test_examples_of_the_card_and_of_the_docstring(monkeypatch):
    monkeypatch.chdir(FOLDER.parent)
    blocks = re.findall(r"^```python\n(.*?)^```", CARD, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    outcome = examples("\n".join(blocks))
    assert (outcome.failed, outcome.attempted) == (0, 18)
    inputs = evaluate.load("mcq_accuracy").inputs_description
    assert examples(inputs) == (0, 3)


def test_card():
    front = yaml.safe_load(CARD.split("---")[1])
    assert set(front) == {"title", "datasets", "tags", "description", "sdk", "sdk_version", "app_file", "pinned"}
    assert (front["tags"], front["sdk"], front["app_file"]) == (["evaluate", "metric"], "gradio", "app.py")
    assert (front["title"], (FOLDER / front["app_file"]).is_file()) == (FOLDER.name, True)
    headings = re.findall(r"^#+ (.*)", CARD, re.MULTILINE)
    english = {"Metric description", "How to use", "Inputs", "Output values", "Values from popular papers", "Examples"}
    assert english | {"How a reply is read", "Limitations and bias", "Citation", "Further references"} < set(headings)
    assert {"中文说明", "指标", "输入与输出", "提取规则", "局限"} < set(headings)
    rules = (FOLDER / "extraction.py").read_text(encoding="utf-8").split('"""')[1]
    assert len(re.findall(r"^ \d\. ", rules, re.MULTILINE)) == 9
    assert re.findall(r"^(\d)\. ", CARD, re.MULTILINE) == list("123456789") * 2
    for key in KEYS:
        assert CARD.count(f"`{key}`") >= 2, f"{key} is not in both languages"


def test_app_compiles_without_the_broken_widget(tmp_path):
    """gradio is no dependency of the package; the next test runs the page where gradio is installed."""
    py_compile.compile(str(FOLDER / "app.py"), cfile=str(tmp_path / "app.pyc"), doraise=True)
    assert "launch_gradio_widget" not in (FOLDER / "app.py").read_text(encoding="utf-8")


def test_app_reads_and_scores():
    pytest.importorskip("gradio", reason="the page of the Space needs gradio, which the package does not install")
    app = module_at(FOLDER / "app.py")
    assert app.read_reply(app.REPLY, app.OPTIONS) == "B"
    assert app.score(app.ROWS)["unparsed"] == 1
