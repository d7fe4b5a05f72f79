"""The guards of the house: who may import whom, how long a file may be, and which names it does not have."""

import ast
import configparser
import fnmatch
from pathlib import Path

import pytest
from conftest import ROOT

ROOMS = ("checkpoint", "chat", "data", "training", "evaluation", "metrics", "hub")
# Room → what it may import besides itself and the modules that belong to no room (errors, folders, text).
ALLOWED = {
    "checkpoint": set(),
    "chat": set(),
    "data": set(),
    "metrics": set(),
    "training": {"data", "evaluation.mcq"},
    "evaluation": {"data"},
    "hub": {
        *("evaluation.run_folder", "evaluation.report", "evaluation.blocks", "data.personal"),
        *("evaluation.findings", "evaluation.rederived_exams", "evaluation.rederived_dialogues"),
    },
    "push_to_hub": {"hub", "tested_versions"},
    "errors": set(),
    "folders": set(),
    "key_value_cache": set(),
    "tested_versions": set(),
    "text": set(),
    "demo": set(),
    "cli": {"flags", "tested_versions"},
    "flags": set(),
}
SHARED_MODULES = {"errors", "folders", "key_value_cache", "text"}
FORBIDDEN_NAMES = {"utils.py", "common.py", "helpers.py", "evaluate.py"}
MOST_FILE_LINES, MOST_FUNCTION_LINES = 300, 50
SOURCES = sorted([*(ROOT / "medllm_hf").rglob("*.py"), ROOT / "push_to_hub.py"])


def room_of(path: Path) -> str:
    """The room (or module outside the rooms) that a source file belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if len(parts) == 1 else parts[1]


def own_imports(tree: ast.AST) -> list[str]:
    """The dotted names below `medllm_hf` that a module imports, wherever in the file."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name.removeprefix("medllm_hf.") for name in names if name.startswith("medllm_hf.")]


def breaches(path: Path, text: str) -> list[str]:
    """The imports of a source file that its room may not have."""
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return []
    bad = []
    for name in own_imports(ast.parse(text)):
        if name == "__version__" or name.split(".")[0] in SHARED_MODULES | {room}:
            if room == "metrics":
                bad.append(name)
            continue
        if not any(name == allowed or name.startswith(allowed + ".") for allowed in ALLOWED[room]):
            bad.append(name)
    return bad


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_stay_within_the_rooms(path):
    assert breaches(path, path.read_text(encoding="utf-8")) == []


def test_a_forbidden_import_is_found():
    path = ROOT / "medllm_hf" / "data" / "dialogues.py"
    assert breaches(path, "from medllm_hf.evaluation.mcq import mcq") == ["evaluation.mcq.mcq"]
    assert breaches(path, "def f():\n    import medllm_hf.chat.session") == ["chat.session"]
    assert breaches(ROOT / "medllm_hf" / "metrics" / "x" / "x.py", "from medllm_hf.errors import UserError")


def test_every_room_has_a_rule():
    rooms = {room_of(path) for path in SOURCES} - {"__init__", "__main__"}
    assert rooms <= set(ALLOWED)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < MOST_FUNCTION_LINES, f"{node.name} is too long"


def test_names_that_the_house_does_not_have():
    assert [path for path in SOURCES if path.name in FORBIDDEN_NAMES] == []


def test_public_functions_say_what_comes_back():
    silent = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and node.col_offset == 0 and not ast.get_docstring(node):
                silent.append(f"{path.name}:{node.name}")
    assert silent == []


def test_a_wheel_carries_every_data_file():
    """By the patterns of setup.cfg, since building a wheel needs the network."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = [
        f"{package.replace('.', '/')}/{pattern}"
        for package, lines in setup["options.package_data"].items()
        for pattern in lines.replace(",", "\n").split()
    ]
    patterns += [pattern for lines in setup["options.data_files"].values() for pattern in lines.split()]
    folders = [ROOT / name for name in ("medllm_hf", "dataset_cards", "recipes")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    names = [str(path.relative_to(ROOT)) for path in files if path.suffix != ".py" and path != ROOT / "recipes" / "README.md"]
    assert len(names) >= 10
    assert [name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)] == []


def test_remote_code_is_never_trusted():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.keyword) and node.arg == "trust_remote_code"), path
