"""The folder of `llm_judge` as a Hub Space: it loads alone, its card and its cases hold."""

import ast
import doctest
import importlib.util
import json
import py_compile
import re
import shutil
import sys
from pathlib import Path

import evaluate
import pytest
import yaml
from support.commands import run
from support.paths import OFFLINE, ROOT

FOLDER = ROOT / "medllm_hf" / "metrics" / "llm_judge"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
SIBLINGS = {"calling", "figures", "pairs", "prompts", "quasi_json", "rubrics", "scoring", "verdicts"}
OUTPUTS = (
    "n", "unscored", "overall", "intervals", "bounds", "ceiling", "distribution", "within_item_sd", "detectable_difference",
    "length", "groups", "rubric", "items",
)  # fmt: skip
SELF_CONTAINED = """
import os, sys
import evaluate
verdict = "Proactivity: 4\\nAccuracy: 4\\nHelpfulness: 4\\nLinguistic Quality: 4"
for folder, path in zip(sys.argv[1::2], sys.argv[2::2]):
    os.chdir(folder)
    metric = evaluate.load(path)
    dialogue = [{"role": "patient", "content": "a"}, {"role": "doctor", "content": "b"}]
    print(metric.compute(predictions=[dialogue], judge=lambda messages: verdict)["overall"])
    assert dialogue[0]["content"] in metric.pair_messages(dialogue, [])[1]["content"]
print([name for name in sys.modules if name.startswith("medllm_hf")])
"""


@pytest.mark.slow
def test_it_loads_from_its_folder_and_from_another(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "llm_judge", ignore=shutil.ignore_patterns("__pycache__"))
    places = (tmp_path, "llm_judge", tmp_path, FOLDER, ROOT, "medllm_hf/metrics/llm_judge")
    env = {**OFFLINE, "HF_HOME": str(tmp_path / "cache")}
    done = run(sys.executable, "-c", SELF_CONTAINED, *map(str, places), cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4.0\n" * 3 + "[]\n"


def test_what_evaluate_needs_of_the_script():
    """Each of these would load the wrong class, ask for a package that does not exist, or leave a file behind."""
    text = (FOLDER / "llm_judge.py").read_text(encoding="utf-8")
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(len(node.names) == 1 for node in imports if isinstance(node, ast.Import))
    assert not any(isinstance(node, ast.ImportFrom) and node.module == "evaluate" for node in imports)
    assert not re.search(r"^(?:import|from)\b.*#", text, re.MULTILINE)
    assert set(re.findall(r"^from \.(\w+) ", text, re.MULTILINE)) == SIBLINGS
    assert {path.stem for path in FOLDER.glob("*.py")} == SIBLINGS | {"llm_judge", "app", "tests"}
    for path in FOLDER.glob("*.py"):
        assert set(re.findall(r"from \.(\w+) ", path.read_text(encoding="utf-8"))) <= SIBLINGS


def examples(text: str) -> doctest.TestResults:
    """The outcome of running the examples in `text` in order."""
    return doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(text, {"evaluate": evaluate}, "card", None, 0))


def test_examples_of_the_card_and_of_the_docstring(monkeypatch):
    monkeypatch.chdir(FOLDER.parent)
    blocks = re.findall(r"^```python\n(.*?)^```", CARD, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    outcome = examples("\n".join(blocks))
    assert (outcome.failed, outcome.attempted) == (0, 18)
    assert examples(evaluate.load("llm_judge").inputs_description) == (0, 5)


def test_card():
    front = yaml.safe_load(CARD.split("---")[1])
    assert set(front) == {"title", "datasets", "tags", "description", "sdk", "sdk_version", "app_file", "pinned"}
    assert (front["tags"], front["sdk"], front["app_file"]) == (["evaluate", "metric"], "gradio", "app.py")
    assert (front["title"], (FOLDER / front["app_file"]).is_file()) == (FOLDER.name, True)
    headings = set(re.findall(r"^#+ (.*)", CARD, re.MULTILINE))
    english = {"Metric description", "How to use", "Inputs", "Output values", "Values from popular papers", "Examples"}
    assert (
        english
        | {
            "Rubrics",
            "Two dialogues beside each other",
            "How a reply is read",
            "Limitations and bias",
            "Citation",
            "Further references",
        }
        < headings
    )
    assert {"中文说明", "指标", "输入与输出", "两段对话的比较", "读取规则", "局限"} < headings
    rules = (FOLDER / "verdicts.py").read_text(encoding="utf-8").split('"""')[1]
    assert len(re.findall(r"^\d\. ", rules, re.MULTILINE)) == 5
    assert re.findall(r"^(\d)\. ", CARD, re.MULTILINE) == list("12345") * 2
    for key in OUTPUTS:
        assert CARD.count(f"`{key}`") >= (1 if key in ("n", "groups") else 2), key


def module_at(path: Path):
    """The module in a file of the Space."""
    spec = importlib.util.spec_from_file_location("space_" + path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cases_of_the_space():
    metric = evaluate.load(str(FOLDER))
    cases = module_at(FOLDER / "tests.py").test_cases
    assert len(cases) == 3
    for case in cases:
        found = metric.compute(**{name: value for name, value in case.items() if name != "result"})
        assert {name: found[name] for name in case["result"]} == case["result"]
        assert set(OUTPUTS) < set(found)


def test_app_compiles_without_the_broken_widget(tmp_path):
    """gradio is no dependency of the package; the next test runs the page where gradio is installed."""
    py_compile.compile(str(FOLDER / "app.py"), cfile=str(tmp_path / "app.pyc"), doraise=True)
    assert "launch_gradio_widget" not in (FOLDER / "app.py").read_text(encoding="utf-8")


def test_app_shows_and_scores():
    pytest.importorskip("gradio", reason="the page of the Space needs gradio, which the package does not install")
    app = module_at(FOLDER / "app.py")
    assert app.score(app.DIALOGUE, app.REPLY, "disc-medllm")["overall"] == 4.25
    assert json.loads(app.DIALOGUE)[1]["content"] in app.prompt(app.DIALOGUE, "safety", "en")
