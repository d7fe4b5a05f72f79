"""One line outside of the range of versions that setup.cfg names, and which tests are run at both ends of it."""

import configparser
import json
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support.commands import run
from support.paths import ROOT

from medllm_hf.tested_versions import outside, read_ranges

LIBRARIES = ("transformers", "trl", "peft", "accelerate", "datasets", "huggingface_hub")
LISTED = (ROOT / "tests" / "libraries.txt").read_text(encoding="utf-8").split()
# It needs lm_eval, whose own range is narrower.
ELSEWHERE = {"tests/evaluation/exams/test_harness.py"}
IMPORT = re.compile(rf"^\W*(?:from|import) (?:{'|'.join(LIBRARIES)})\b", re.MULTILINE)


def written() -> list[Requirement]:
    """All that setup.cfg requires."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    blocks = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    return [Requirement(line) for block in blocks for line in block.split("\n") if line]


@pytest.fixture
def installed(tmp_path):
    """A function that pretends that the installed project names these ranges; it returns the environment for that."""

    def pretend(*ranges: str) -> dict[str, str]:
        folder = tmp_path / "site" / "medllm_hf-9.0.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["Metadata-Version: 2.1", "Name: medllm_hf", "Version: 9.0", *(f"Requires-Dist: {one}" for one in ranges)]
        (folder / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return {"PYTHONPATH": f"{folder.parent}:{ROOT}"}

    return pretend


def test_a_library_has_one_range(installed):
    ranges: dict[str, set[str]] = {}
    for requirement in written():
        if requirement.name in LIBRARIES:
            ranges.setdefault(requirement.name, set()).add(str(requirement.specifier))
    assert set(ranges) == set(LIBRARIES)
    assert all(len(found) == 1 and "<" in min(found) and ">=" in min(found) for found in ranges.values()), ranges


def test_the_range_begins_with_the_oldest_versions_that_are_tested():
    oldest = dict(re.findall(r"^([\w-]+)==(.+)$", (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8"), re.MULTILINE))
    pinned = dict(re.findall(r"^([\w-]+)==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(LIBRARIES) <= set(oldest)
    for requirement in written():
        if requirement.name in LIBRARIES:
            first = next(part.version for part in requirement.specifier if part.operator == ">=")
            assert oldest[requirement.name].startswith(first), requirement
            assert requirement.specifier.contains(pinned[requirement.name]), requirement


def test_what_is_installed_is_within_its_range():
    assert "transformers" in read_ranges()
    assert outside(read_ranges()) == []


def test_one_line_outside_of_the_range_and_the_verb_goes_on(installed, tiny, tmp_path):
    environment = installed("transformers<5", "trl<1; extra == 'train'", "datasets>=4", "huggingface_hub")
    words = ("chat", str(tiny["base"]), "--max-new-tokens", "2")
    done = run("medllm", *words, stdin="头痛\n", env=environment, cwd=tmp_path)
    told = f"medllm: transformers {version('transformers')} (tested: <5), trl {version('trl')} (tested: <1): results may differ"
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "results may differ" in line] == [told]
    assert done.stderr.splitlines()[0] == told


@pytest.mark.parametrize("words", ["--help", "chat --help", "sft --help", "--version", "data check x.jsonl"])
def test_no_line_without_the_library(words, installed, tmp_path):
    row = {"messages": [{"role": "user", "content": "头痛"}, {"role": "assistant", "content": "多休息"}]}
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    done = run("medllm", *words.split(), env=installed(*(f"{name}<0.1" for name in LIBRARIES)), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_line_for_a_library_that_is_only_looked_for(installed, tmp_path):
    code = "from medllm_hf.tested_versions import watch; watch(); import importlib.util; importlib.util.find_spec('trl')"
    environment = installed("trl<1")
    done = run(sys.executable, "-c", code, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    done = run(sys.executable, "-c", f"{code}; import trl", env=environment, cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[0][:12]) == (0, "medllm: trl ")


def test_every_test_of_the_libraries_is_run_at_both_ends():
    """By what a file imports, in the code that it starts too."""
    found = {
        str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py") if IMPORT.search(path.read_text("utf-8"))
    }
    assert len(found) > 30
    assert found - ELSEWHERE - set(LISTED) == set()
    assert [name for name in LISTED if not Path(ROOT / name).is_file()] == []
    assert sorted(set(LISTED)) == LISTED
