"""Every regular expression of the package, and texts that are made of each to keep it busy.

A pattern is found where a module has it (itself, or in a list, a table or an object), and where a call of `re` is given it as
it stands in the code. Its texts repeat what it repeats, after what it wants before, and end in what it does not want.
"""

import ast
import builtins
import importlib
import pkgutil
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import medllm_hf

CALLS = ("compile", "search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer")
ANCHORED = {"match", "fullmatch"}
# Signs of each kind, of which a class takes those that it has.
SIGNS = "a1A中 .,-_(*:：\n\t，。x9Z)\"'|#/<>[]{}é|=+!\u3000%$@&;、０"
PLAIN = (
    *'a1中 \n()[]{<>*_`|#-.，。A"\\/不选',
    *("AB", "A.", "A、", "a1", "1.", "1 ", "a ", "a\n", "\n\n", " \n", "<a ", "</", "a:", "A是", "答案", "1岁", "http://"),
)
ENDS = ("\x00", "")
# Repeated fewer times than this at most, nothing takes long.
MOST = 30


def modules() -> Iterator[types.ModuleType]:
    """The package's modules, but the scripts that do something when they are imported."""
    for found in pkgutil.walk_packages(medllm_hf.__path__, "medllm_hf."):
        if found.name.rpartition(".")[2] not in ("__main__", "app", "script", "mcq_accuracy", "llm_judge") or found.ispkg:
            yield importlib.import_module(found.name)


@dataclass
class Found:
    """Where a pattern first stands, and the calls that it is used in."""

    where: str
    calls: set[str]


@cache
def all_patterns() -> dict[tuple[str | bytes, int], Found]:
    """(pattern, flags) → where it stands and how it is used."""
    found: dict[tuple[str | bytes, int], Found] = {}
    sources = {file: file.read_text(encoding="utf-8") for file in Path(medllm_hf.__path__[0]).rglob("*.py")}
    anywhere = _uses("\n".join(sources.values()))
    for module in modules():
        own = _uses(sources.get(Path(getattr(module, "__file__", None) or ""), ""))
        for where, one in held_by(module):
            name = where.split()[1]
            used = own.get(name) or anywhere.get(name) or {"search"}
            found.setdefault((one.pattern, one.flags), Found(where, set())).calls |= used
        for where, one, call in written_in(module):
            if call != "compile" or (one.pattern, one.flags) not in found:  # else it is held by a name
                found.setdefault((one.pattern, one.flags), Found(where, set())).calls.add(call)
    return found


def _uses(source: str) -> dict[str, set[str]]:
    """The calls that each name is used in, also as one of two: `(FIRST if … else SECOND).match`."""
    found: dict[str, set[str]] = {}
    for name, call in re.findall(rf"\b(\w+)\b(?=(?:[^()\n]*\))?\.({'|'.join(CALLS[1:])})\b)", source):
        found.setdefault(name, set()).add(call)
    return found


def held_by(module: types.ModuleType) -> Iterator[tuple[str, re.Pattern]]:
    """The patterns that a module's names lead to, through lists, tables and objects of the package."""
    seen: set[int] = set()
    left = [(f"{module.__name__} {name}", value) for name, value in vars(module).items() if not name.startswith("__")]
    while left:
        where, value = left.pop()
        if id(value) in seen or isinstance(value, types.ModuleType):
            continue
        seen.add(id(value))
        if isinstance(value, re.Pattern):
            yield where, value
        elif isinstance(value, Mapping):
            left += [(where, one) for one in (*value.keys(), *value.values())]
        elif isinstance(value, list | tuple | set | frozenset):
            left += [(where, one) for one in value]
        elif str(getattr(type(value), "__module__", "")).startswith("medllm_hf") and hasattr(value, "__dict__"):
            left += [(where, one) for one in vars(value).values()]


def written_in(module: types.ModuleType) -> Iterator[tuple[str, re.Pattern, str]]:
    """The patterns that a module's calls of `re` are given; what is not known before the call stands as a word."""
    if not (file := getattr(module, "__file__", None)):
        return
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in CALLS and call.args):
            continue
        if not (isinstance(call.func.value, ast.Name) and call.func.value.id == "re"):
            continue
        then = [one.attr for one in ast.walk(tree) if isinstance(one, ast.Attribute) and one.value is call]
        given = [*call.args[1:], *(word.value for word in call.keywords if word.arg == "flags")]
        flags = next((found for one in given if isinstance(found := _value(one, module), re.RegexFlag)), re.RegexFlag(0))
        pattern = _value(call.args[0], module)
        if isinstance(pattern, str | bytes):
            yield (
                f"{module.__name__}:{call.lineno}",
                re.compile(pattern, flags),
                then[0] if then and then[0] in CALLS else call.func.attr,
            )
        elif not isinstance(pattern, re.Pattern):
            yield f"{module.__name__}:{call.lineno} UNREAD", re.compile(""), "search"


class _Words(ast.NodeTransformer):
    """Names that are not known where a pattern is read become a word."""

    def __init__(self, known: Mapping[str, Any]):
        self.known = known

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.expr:
        try:
            eval(compile(ast.Expression(node.value), "", "eval"), dict(self.known))
        except Exception:
            return ast.Constant("word")
        return node


def _value(node: ast.expr, module: types.ModuleType) -> Any:
    known = {**vars(builtins), **vars(module)}
    node = ast.fix_missing_locations(_Words(known).visit(node))
    try:
        return eval(compile(ast.Expression(node), "", "eval"), known)
    except Exception:
        return None


def attacks(pattern: str | bytes, flags: int, own: int = 400) -> list[tuple[str, str]]:
    """(what comes first, what is repeated after it) for texts that may keep a pattern busy, `own` of them made of it."""
    found = dict.fromkeys([("", one) for one in PLAIN])
    if own:
        found |= dict.fromkeys(islice(_pumps("", list(_parse(pattern, flags)), bool(flags & re.I)), own))
    return [(first, pump) for first, pump in found if pump]


@cache
def _parse(pattern: str | bytes, flags: int) -> Any:
    parser = re._parser  # type: ignore[attr-defined]
    return parser.parse(pattern, flags & ~re.UNICODE if isinstance(pattern, bytes) else flags)


def _pumps(first: str, sequence: list, folded: bool) -> Iterator[tuple[str, str]]:
    before = first
    whole = ""
    for op, value in sequence:
        name = str(op)
        for _, inner in _inner(name, value):
            if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and value[1] >= MOST:
                for pump in _samples(inner):
                    yield before, pump
            yield from _pumps(before, list(inner), folded)
        before += (said := next(iter(_samples([(op, value)])), ""))
        whole += said
        yield "", whole


def _inner(name: str, value: Any) -> list[tuple[str, Any]]:
    """The parts of a node that are sequences themselves."""
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return [(name, value[2])]
    if name == "SUBPATTERN":
        return [(name, value[3])]
    if name == "BRANCH":
        return [(name, one) for one in value[1]]
    if name in ("ASSERT", "ASSERT_NOT"):
        return [(name, value[1])]
    return [(name, value)] if name == "ATOMIC_GROUP" else []


def _samples(sequence: Iterable, most: int = 12) -> list[str]:
    """Some texts that a sequence takes."""
    texts = [""]
    for op, value in sequence:
        name = str(op)
        if name == "LITERAL":
            own = [chr(value)]
        elif name == "NOT_LITERAL":
            own = [sign for sign in SIGNS if ord(sign) != value]
        elif name == "ANY":
            own = ["a", "1", "中"]
        elif name == "IN":
            own = _signs(value)
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            own = [text * (value[0] or 1) for text in _samples(value[2], 4)]
        elif name in ("SUBPATTERN", "BRANCH", "ATOMIC_GROUP"):
            own = [text for _, inner in _inner(name, value) for text in _samples(inner, 4)]
        else:
            own = [""]
        texts = [text + one for one in own[:most] or [""] for text in texts][:most]
    return texts


def _signs(items: Iterable) -> list[str]:
    """Signs of a class: its own, and those of `SIGNS` that are in it."""
    items = list(items)
    negated = str(items[0][0]) == "NEGATE"
    own = [] if negated else [chr(v if str(op) == "LITERAL" else v[0]) for op, v in items if str(op) in ("LITERAL", "RANGE")]
    return list(dict.fromkeys([sign for sign in SIGNS if _is_in(sign, items) != negated] + own))


def _is_in(sign: str, items: Iterable) -> bool:
    for op, value in items:
        if str(op) == "LITERAL" and ord(sign) == value:
            return True
        if str(op) == "RANGE" and value[0] <= ord(sign) <= value[1]:
            return True
        if str(op) == "CATEGORY" and re.fullmatch(_CATEGORIES[str(value)], sign):
            return True
    return False


_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d", "CATEGORY_NOT_DIGIT": r"\D", "CATEGORY_SPACE": r"\s", "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w", "CATEGORY_NOT_WORD": r"\W",
}  # fmt: skip


def read_through(one: re.Pattern, text: str, calls: set[str]) -> None:
    """Looks for a pattern in a text as these calls do: where it begins, from end to end, or throughout."""
    given: Any = text.encode("utf-8", "replace") if isinstance(one.pattern, bytes) else text
    for call in {call if call in ANCHORED else "finditer" for call in calls}:
        found = getattr(one, call)(given)
        if call == "finditer":
            for _ in found:
                pass
