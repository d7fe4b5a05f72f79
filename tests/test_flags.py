"""Defaults and choices stand once: in a room's settings, where the command line reads them."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest
from support.paths import ROOT

from medllm_hf.cli import VERBS, build_parser
from medllm_hf.data.dialogues import AUTO, FORMATS

PACKAGE = ROOT / "medllm_hf"
# Defaults that say nothing: many parameters have them for reasons of their own.
PLAIN = (None, True, False, "", 0, 1)


def typed_in_flags(text: str) -> list[str]:
    """The defaults and choices that are written out among the arguments of the verbs."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.keyword) and node.arg in ("default", "choices"):
            parts = [part for part in ast.walk(node.value) if isinstance(part, ast.Constant) and part.value is not None]
            found += [f"{node.arg} {part.value!r} in line {part.lineno}" for part in parts]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"default: \d", node.value):
            found.append(f"{node.value!r} in line {node.lineno}")
    return found


def defaults(tree: ast.AST) -> list[tuple[str, object]]:
    """(name, value) of every parameter and every field of a class whose default is a written-out value."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            taken = node.args
            positional = [*taken.posonlyargs, *taken.args]
            pairs = [*zip(reversed(positional), reversed(taken.defaults), strict=False)]
            pairs += zip(taken.kwonlyargs, taken.kw_defaults, strict=True)
            found += [(one.arg, value.value) for one, value in pairs if isinstance(value, ast.Constant)]
        if isinstance(node, ast.ClassDef):
            fields = [field for field in node.body if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)]
            found += [(field.target.id, field.value.value) for field in fields if isinstance(field.value, ast.Constant)]
    return [(name, value) for name, value in found if not any(value is plain or value == plain for plain in PLAIN)]


def typed_twice(sources: dict[str, str]) -> dict[tuple[str, str, object], list[str]]:
    """(room, name, value) → the files in which a default stands, for those that are written out more than once in a room.

    Args:
        sources: path below the package → text.
    """
    places = defaultdict(list)
    for path, text in sources.items():
        for name, value in defaults(ast.parse(text)):
            places[Path(path).parts[0], name, value].append(path)
    return {key: found for key, found in places.items() if len(found) > 1}


def test_the_command_line_reads_its_defaults_and_choices():
    for name in ("flags.py", "flag_groups.py"):
        assert typed_in_flags((PACKAGE / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    ['add("--n", default=8)', 'add("--c", choices=["a", "b"])', 'add("--n", default=N, help="at most (default: 8)")'],
)
def test_a_planted_default_is_found(planted):
    assert typed_in_flags(planted) != []
    assert typed_in_flags('add("--n", default=N, choices=list(C), help=f"(default: {N})")\nadd("--x", default=[])') == []


def test_no_default_is_typed_twice_in_a_room():
    sources = {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert typed_twice(sources) == {}


def test_a_default_that_is_planted_twice_is_found():
    one, other = "class Settings:\n    limit: int = 20", "def run(*, limit=20): ...\ndef ask(seed=0): ..."
    assert typed_twice({"data/a.py": one, "data/b.py": other}) == {("data", "limit", 20): ["data/a.py", "data/b.py"]}
    assert typed_twice({"data/a.py": one, "chat/b.py": other}) == {}


def test_the_help_of_a_format_names_every_one():
    for verb in ("data check", "data build"):
        words = " ".join(build_parser(verb).format_help().split())
        shown = re.search(rf"--format FORMAT ({AUTO} \(default\), [\w, ]+)", words)
        assert shown and set(FORMATS) <= set(re.findall(r"\w+", shown[1]))


def test_every_default_passes_its_own_check():
    """What an option would be refused for cannot be its default."""
    for verb in VERBS:
        for action in build_parser(verb)._actions:
            assert action.choices is None or action.default is None or action.default in action.choices, (verb, action.dest)
