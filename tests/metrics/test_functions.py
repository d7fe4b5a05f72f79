"""Both metrics, loaded by `evaluate` from their folder, an installed wheel and the Hub, give the figures of their functions."""

import json
import sys
from pathlib import Path

import pytest
from support.chat_server import ChatServer
from support.commands import run
from support.hub_on_disk import start_hub
from support.metric_calls import NAMES, PROGRAM, by_evaluate, by_functions, exam_calls, judge_calls, scripted_judge
from support.paths import OFFLINE, ROOT
from support.wheel import unpacked_wheel

FOLDER = ROOT / "medllm_hf" / "metrics"


def results(way) -> list:
    """What `way` makes of all calls to both metrics, with judges of its own."""
    with ChatServer(scripted_judge()) as server:
        return json.loads(json.dumps(way(exam_calls() + judge_calls(server.url))))


@pytest.fixture(scope="module")
def expected():
    """What the functions of this checkout give."""
    return results(by_functions)


def in_a_process(place: str | None, home: Path, environment: dict[str, str], *path: Path) -> tuple[list, dict]:
    """The results in a fresh process that runs in `home` with `path` first on its own, and where its `medllm_hf` came from."""
    own = {}

    def way(calls: list) -> list:
        words = ":".join(map(str, (*path, ROOT / "tests")))
        environment["PYTHONPATH"] = words
        given = json.dumps([place, calls])
        done = run(sys.executable, "-P", "-c", PROGRAM, cwd=home, stdin=given, env=environment)
        assert done.returncode == 0, done.stderr
        found, modules = json.loads(done.stdout)
        own.update(modules)
        return found

    return results(way), own


def test_the_calls_reach_what_figures_depend_on(expected):
    """Right, wrong and unparsed; judged, unscored, spread, tied: a figure that is the same for all would compare nothing."""
    exam = [found for found in expected if isinstance(found, dict) and "macro_accuracy" in found]
    judged = [found for found in expected if isinstance(found, dict) and "within_item_sd" in found]
    whole = exam[1]
    assert 0 < whole["unparsed"] < whole["n"] and whole["accuracy"] < whole["partial_credit"] and len(whole["groups"]) > 20
    assert len({row["chance"] for row in whole["groups"]}) > 5 and len({one["accuracy"] for one in exam}) == 7
    assert len(exam) == 8 and len(judged) == 18
    reasons = {sample["unscored"] for one in judged for item in one["items"] for sample in item["samples"]}
    assert len(reasons) > 20 and {None, "no verdict", "empty reply"} < reasons
    asked = [one for one in judged if one["rubric"]["name"] == "disc-medllm" and one["n"] == 8]
    assert len(asked) == 4 and len({str(one["overall"]) for one in asked}) == 2  # two judges, in two languages each
    assert all(one["unscored"] == 3 and one["within_item_sd"]["accuracy"] > 0 for one in asked)
    assert {item["unscored"] for item in asked[0]["items"]} == {None, "no score for accuracy, helpfulness, linguistic_quality"}
    assert {"first", "second", "tie"} < {
        str(v) for found in expected if isinstance(found, list) and isinstance(found[0], dict) for v in found[0].values()
    }


def test_from_the_folder(expected):
    assert results(lambda calls: by_evaluate(calls, str(FOLDER / "{}"))) == expected


@pytest.mark.slow
def test_from_an_installed_wheel(expected, tmp_path):
    site = unpacked_wheel(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    for name in NAMES:
        files = {path.name for path in (FOLDER / name).iterdir() if path.is_file()}
        assert {path.name for path in (site / "medllm_hf" / "metrics" / name).iterdir()} == files
    environment = {**OFFLINE, "HF_HOME": str(tmp_path / "home")}
    found, own = in_a_process(str(site / "medllm_hf" / "metrics" / "{}"), tmp_path / "elsewhere", environment, site)
    assert (found, own) == (expected, {})
    found, own = in_a_process(None, tmp_path / "elsewhere", environment, site)
    assert found == expected and all(Path(file).is_relative_to(site) for file in own.values()) and own


@pytest.mark.slow
def test_from_the_hub(expected, tmp_path):
    """Sent by push_to_hub.py as two private Spaces, loaded by the library's own client in an empty folder."""
    hub = start_hub(tmp_path / "hub")
    try:
        for name in NAMES:
            words = ("metric", str(FOLDER / name), "--repo-id", f"org/{name}", "--yes")
            done = run(sys.executable, str(ROOT / "push_to_hub.py"), *words, env=hub.environment(tmp_path / "pusher"))
            assert done.returncode == 0, done.stderr
        (tmp_path / "elsewhere").mkdir()
        found, own = in_a_process("org/{}", tmp_path / "elsewhere", hub.environment(tmp_path / "home", "hf_read"))
    finally:
        hub.close()
    assert (found, own) == (expected, {})


def test_the_functions_need_no_evaluate():
    code = (
        "import sys\nfrom medllm_hf.metrics.llm_judge import scoring\nfrom medllm_hf.metrics.mcq_accuracy import scoring\n"
        "print({'evaluate', 'datasets', 'torch', 'transformers'} & set(sys.modules))"
    )
    done = run(sys.executable, "-c", code, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "set()\n")
