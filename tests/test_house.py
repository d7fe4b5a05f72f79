"""The guards of the house: who may import whom, how long a file may be, and which names it does not have."""

import ast
import configparser
import fnmatch
import itertools
import re
import tomllib
from pathlib import Path

import pytest
from support.paths import ROOT

from medllm_hf.cli import VERBS

_LOADED = ("loading_report", "generation_settings", "vocabulary", "placement")
# Room → what it may import besides itself and the shared modules. A room of evaluation is its sub-folder.
_RUNS = {"evaluation.runs", "evaluation.statistics"}
_ASKED = {*_RUNS, "evaluation.costs", "evaluation.models", "data", "metrics"}
_JUDGING = {*_ASKED, "evaluation.consultations", "evaluation.agreement"}
_PREFERENCES = {*_JUDGING, "evaluation.judging"}
_DERIVED = {*_PREFERENCES, "evaluation.exams", "evaluation.preferences"}
ALLOWED = {
    "checkpoint": set(),
    "chat": set(),
    "data": set(),
    "metrics": set(),
    "training": {"data", "evaluation.exams"},
    "rewards": {"metrics", "data", "evaluation.consultations", "evaluation.judging"},
    "evaluation.runs": set(),
    "evaluation.statistics": set(),
    "evaluation.costs": _RUNS,
    "evaluation.models": _RUNS,
    # An adapter is examined as what it and its base are once merged.
    "evaluation.exams": {*_ASKED, "checkpoint.adapted"},
    "evaluation.consultations": _ASKED,
    "evaluation.agreement": _ASKED,
    "evaluation.case_facts": {*_ASKED, "evaluation.consultations"},
    "evaluation.judging": _JUDGING,
    "evaluation.preferences": _PREFERENCES,
    "evaluation.verification": _DERIVED,
    "evaluation.exchange": _DERIVED,
    "evaluation.commands": {*_DERIVED, "evaluation.verification", "evaluation.exchange", "evaluation.case_facts"},
    "hub": {
        *("data.screening.pii", "data.benchmarks", "checkpoint.merge", "evaluation.verification", "evaluation.runs"),
        *("checkpoint.training_record", "evaluation.consultations.canaries"),
        *("evaluation.statistics", "evaluation.exams.derive", "evaluation.consultations.derive", "evaluation.judging.derive"),
        # The row and the table of an exam stand in the report and in the card.
        *("evaluation.preferences.derive", "evaluation.exams.report", "evaluation.exams.phrases"),
    },
    "push_to_hub": {"hub", "tested_versions"},
    "demo": set(),
    "cli": {"flags", "tested_versions"},
    # The settings, for their choices and defaults; test_flags.py checks that they load nothing heavy.
    "flags": {
        *("flag_types", "flag_groups"),
        *("checkpoint.settings", "data.settings", "data.dialogues", "chat.settings", "evaluation.exams.settings"),
        "evaluation.case_facts.settings",
        *("evaluation.consultations.settings", "evaluation.judging.settings", "metrics.llm_judge.rubrics"),
    },
    "tested_versions": set(),
    "flag_types": set(),
    "flag_groups": {"flag_types"},
    # What every room may use; metrics imports nothing of ours.
    **dict.fromkeys(
        (
            *(
                "errors",
                "folders",
                "own_folders",
                "control_tokens",
                "templates",
                "weight_files",
                "pretrained",
                "placement",
                "key_value_cache",
                *_LOADED,
            ),
            *("reporting", "endpoints"),
        ),
        set(),
    ),
}
SHARED = {
    *(
        "errors",
        "folders",
        "own_folders",
        "control_tokens",
        "templates",
        "weight_files",
        "pretrained",
        "placement",
        "key_value_cache",
        *_LOADED,
    ),
    *("reporting", "endpoints"),
}
# Imports that the rules forbid and that still stand: room → what it imports.
KNOWN_BREACHES: dict[str, set[str]] = {}
FORBIDDEN_NAMES = {"utils.py", "common.py", "helpers.py", "evaluate.py"}
MOST_FILE_LINES, MOST_FUNCTION_LINES = 420, 50
# Private English that stood in public names, renamed to the field's words; it does not come back.
PRIVATE_ENGLISH = {
    *("defused", "kinds", "layouts", "overlap", "screen", "filled", "filled_up", "untied", "examined"),
    *("masked", "spilled", "hub_errors_told", "personal", "personal_judges", "personal_patterns"),
}
SOURCES = sorted([*(ROOT / "medllm_hf").rglob("*.py"), ROOT / "push_to_hub.py"])


def room_of(path: Path) -> str:
    """The room (or module outside the rooms) that a source file belongs to; in evaluation the sub-folder or module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if len(parts) == 1 else room_named(".".join(parts[1:]))


def room_named(name: str) -> str:
    """The room of a dotted name below `medllm_hf`."""
    first, *more = name.split(".")
    return ".".join([first, *more[:1]]) if first == "evaluation" else first


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
    if room in ("__init__", "__main__", "evaluation.__init__"):
        return []
    allowed, bad = ALLOWED[room] | KNOWN_BREACHES.get(room, set()), []
    for name in own_imports(ast.parse(text)):
        shared = name == "__version__" or name.split(".")[0] in SHARED
        if room_named(name) == room or (shared and room != "metrics"):
            continue
        if not any(name == one or name.startswith(one + ".") for one in allowed):
            bad.append(name)
    return bad


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_stay_within_the_rooms(path):
    assert breaches(path, path.read_text(encoding="utf-8")) == []


def test_a_forbidden_import_is_found():
    path = ROOT / "medllm_hf" / "data" / "dialogues.py"
    assert breaches(path, "from medllm_hf.evaluation.exams.run import mcq") == ["evaluation.exams.run.mcq"]
    exam = ROOT / "medllm_hf" / "evaluation" / "exams" / "run.py"
    assert breaches(exam, "from medllm_hf.evaluation.judging.derive import x") == ["evaluation.judging.derive.x"]
    assert breaches(exam, "from medllm_hf.evaluation.runs.folder import x") == []
    assert breaches(path, "def f():\n    import medllm_hf.chat.session") == ["chat.session"]
    assert breaches(ROOT / "medllm_hf" / "metrics" / "x" / "x.py", "from medllm_hf.errors import UserError")


def test_every_room_has_a_rule():
    rooms = {room_of(path) for path in SOURCES} - {"__init__", "__main__", "evaluation.__init__"}
    assert rooms <= set(ALLOWED)


def test_a_known_breach_still_stands():
    """One that was mended is to be taken off the list, so that it cannot come back."""
    standing = {
        (room_of(path), wanted)
        for path in SOURCES
        for name in own_imports(ast.parse(path.read_text(encoding="utf-8")))
        for wanted in KNOWN_BREACHES.get(room_of(path), ())
        if name == wanted or name.startswith(wanted + ".")
    }
    assert standing == {(room, name) for room, names in KNOWN_BREACHES.items() for name in names}


def test_no_verb_imports_a_verb():
    """The function of a verb is imported by nobody; `cli` has it by its name."""
    targets = dict(verb.target.split(":") for verb in VERBS.values())
    bad = [
        (str(path.relative_to(ROOT)), name)
        for path in SOURCES
        if path.name != "push_to_hub.py"  # a thin command line around one of them
        for name in own_imports(ast.parse(path.read_text(encoding="utf-8")))
        if name.rpartition(".")[0] in targets and name.rpartition(".")[2] == targets[name.rpartition(".")[0]]
    ]
    assert bad == []


def test_nobody_imports_commands_but_the_command_lines():
    """`cli` has them by their names; `push_to_hub.py` is a command line of its own."""
    bad = [
        (str(path.relative_to(ROOT)), name)
        for path in SOURCES
        for name in own_imports(ast.parse(path.read_text(encoding="utf-8")))
        if "commands" in name.split(".") and path.name != "push_to_hub.py"
    ]
    assert bad == []


# Who may write to the terminal besides the verbs in a room's `commands/`: file → why.
PRINTING = {
    "push_to_hub.py": "a command line",
    "medllm_hf/cli.py": "the command line",
    "medllm_hf/errors.py": "argparse's complaints, on one line",
    "medllm_hf/tested_versions.py": "speaks while a library is imported, where nobody can be handed a line",
    "medllm_hf/demo.py": "the verb `demo`",
    "medllm_hf/chat/terminal.py": "the verb `chat`, the terminal's own room",
    "medllm_hf/chat/line_editor.py": "prompts of the terminal",
    "medllm_hf/chat/web/start.py": "the verb `web`",
    "medllm_hf/chat/web/request_queue.py": "the traceback of an answer that failed, on a server's own thread",
    "medllm_hf/training/sft.py": "the verb `sft`",
    "medllm_hf/training/run.py": "what `sft` says while it runs, which takes hours",
}
WRITERS = {"sys.stdout.write", "sys.stderr.write", "traceback.print_exc", "traceback.print_exception", "warnings.warn"}


def speaking(text: str) -> list[str]:
    """Where a source file writes to the terminal or asks at it."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in ("print", "input"):
            found.append(f"{node.id} in line {node.lineno}")
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in WRITERS:
            found.append(f"{ast.unparse(node)} in line {node.lineno}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_do_not_print(path):
    name = str(path.relative_to(ROOT))
    spoken = speaking(path.read_text(encoding="utf-8"))
    # A room that was silenced is to be taken off the list.
    assert bool(spoken) if name in PRINTING else path.parent.name == "commands" or spoken == []


@pytest.mark.parametrize(
    "planted",
    ["print('x')", "def f():\n    log = print", "sys.stderr.write('x')", "traceback.print_exc()", "input()"],
)
def test_a_planted_print_is_found(planted):
    assert len(speaking(planted)) == 1
    assert speaking('"""print(x)"""\ndef prints(): ...\nblueprint(1)\nclass Price:\n    input: float') == []


def test_evaluate_is_imported_by_the_wrappers_alone():
    """It costs 7 s and more of CPU."""
    wrappers = {"metrics/mcq_accuracy/mcq_accuracy.py", "metrics/llm_judge/llm_judge.py"}
    apps = {"metrics/mcq_accuracy/app.py", "metrics/llm_judge/app.py"}
    found = {
        str(path.relative_to(ROOT / "medllm_hf"))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(one.name.split(".")[0] == "evaluate" for one in node.names))
        or (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "evaluate")
    }
    assert found == wrappers | apps


def test_no_import_circles():
    """Among all rooms, those of evaluation by themselves, counting imports within functions too."""
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        room = room_of(path)
        others = {room_named(name) for name in own_imports(ast.parse(path.read_text(encoding="utf-8")))}
        graph.setdefault(room, set()).update(others - {room, "__version__"} - KNOWN_BREACHES.get(room, set()))
    while leaves := {room for room, others in graph.items() if not others & set(graph)}:
        graph = {room: others for room, others in graph.items() if room not in leaves}
    assert graph == {}


def test_every_folder_says_what_it_is_for():
    folders = {path.parent for path in SOURCES if path.parent != ROOT and "metrics" not in path.relative_to(ROOT).parts[1:-2]}
    for folder in folders:
        if folder.parent.name == "metrics":  # a Space, which is no package
            continue
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
        assert text and text.rstrip().endswith("."), folder


def test_tests_mirror_the_package():
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    package = {path.parent.relative_to(ROOT / "medllm_hf") for path in SOURCES if path.name != "push_to_hub.py"}
    assert folders - package == {Path("journeys")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < MOST_FUNCTION_LINES, f"{node.name} is too long"


def test_names_that_the_house_does_not_have():
    assert [path for path in SOURCES if path.name in FORBIDDEN_NAMES] == []


def test_no_except_catches_everything_silently():
    bare = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []


def public_names(tree: ast.Module) -> set[str]:
    """The functions, classes and constants of a module whose names do not begin with an underscore."""
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def test_public_names_are_the_field_s_words():
    private = {
        f"{path.relative_to(ROOT)}:{name}"
        for path in SOURCES
        for name in {path.stem, *public_names(ast.parse(path.read_text(encoding="utf-8")))} & PRIVATE_ENGLISH
    }
    assert private == set()
    assert public_names(ast.parse("def told(): ...\ndef _told(): ...\nOVERLAP = 1")) == {"told", "OVERLAP"}


def test_a_check_says_what_it_checks():
    """Check that …, and what it raises, in place of what does not come back."""
    asked = [path for path in SOURCES if "Returns nothing when" in path.read_text(encoding="utf-8")]
    assert asked == []


def drawn_tree(text: str) -> set[str]:
    """The folders and modules below `medllm_hf/` that the first code block of CONTRIBUTING.md names, by their paths in it."""
    block = text.split("```")[1].split("medllm_hf/\n", 1)[1]
    drawn, above = set(), []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        if depth == 0:
            break
        names = list(itertools.takewhile(lambda word: word.endswith(("/", ".py")), line.split()))
        above = [*above[: depth - 1], names[0]]
        drawn |= {"".join(above[:-1]) + name for name in names}
    return drawn


def test_the_tree_in_contributing_is_the_one_on_disk():
    package = ROOT / "medllm_hf"
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    # git leaves a folder behind in which nothing stands any more.
    folders = {folder for path in files for folder in path.parents if folder.is_relative_to(package) and folder != package}
    modules = {path for path in package.glob("*.py") if not path.name.startswith("__")}
    wanted = {f"{path.relative_to(package)}{'/' if path.is_dir() else ''}" for path in folders | modules}
    assert drawn_tree((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")) == wanted


def test_public_functions_say_what_comes_back():
    silent = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and node.col_offset == 0 and not ast.get_docstring(node):
                silent.append(f"{path.name}:{node.name}")
    assert silent == []


def test_types_are_checked_everywhere():
    """mypy looks at the whole package, lets nothing through unannotated, and what it is told to pass over has a reason."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert set(settings["files"]) == {"medllm_hf", "push_to_hub.py"}
    assert settings["disallow_untyped_defs"] and settings["warn_unused_ignores"]
    assert not {"exclude", "ignore_errors", "follow_imports", "overrides"} & set(settings)
    unexplained = []
    for path in SOURCES:
        lines = ["", *path.read_text(encoding="utf-8").splitlines()]
        for above, line in itertools.pairwise(lines):
            # In code a comment tells the reason after the mark, or on the line above.
            mark = re.search(r"# type: ignore(\[[\w, -]+\])?(  # \w)?", line)
            if mark and not (mark[1] and (mark[2] or above.lstrip().startswith("# "))):
                unexplained.append(f"{path.name}: {line.strip()}")
    assert unexplained == []


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


PRETRAINED = ROOT / "medllm_hf" / "pretrained.py"
# What loads what somebody else wrote; a receiver in OURS has it from `pretrained`.
LOADING = {"from_pretrained", "from_config", "get_config_dict"}
LOADERS = {"snapshot_download", "hf_hub_download", "pipeline", "AutoTokenizer", "AutoProcessor", "AutoPeftModel", "PeftModel"}
OURS = {"ChatSession"}
# No weights and no configs come with a dataset, and `datasets` runs no code since its version 4.
DATASET_SNAPSHOTS = {"data/hub_datasets.py"}
TRUST = "trust_remote_code"


def foreign_code(path: Path, text: str) -> list[str]:
    """Where a source file would run, or might ask to run, code that comes with a checkpoint or a file of data."""
    bad, home = [], path == PRETRAINED
    for node in ast.walk(ast.parse(text)):
        # A keyword of a call, or a key of a dict that becomes one.
        said = [(node.arg, node.value)] if isinstance(node, ast.keyword) else []
        if isinstance(node, ast.Dict):
            said = [
                (key.value, value) for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)
            ]
        for name, value in said:
            if name == TRUST and not (home and isinstance(value, ast.Constant) and value.value is False):
                bad.append(f"{TRUST} in line {value.lineno}")
        if isinstance(node, ast.Constant) and node.value == TRUST and not home:
            bad.append(f"{TRUST!r} in line {node.lineno}")
        if isinstance(node, ast.ImportFrom) and not home:
            names = {alias.name for alias in node.names if alias.name in LOADERS or alias.name.startswith("AutoModel")}
            if (
                str(path.relative_to(ROOT / "medllm_hf" if path.is_relative_to(ROOT / "medllm_hf") else ROOT))
                in DATASET_SNAPSHOTS
            ):
                names.discard("snapshot_download")
            bad += [f"{name} in line {node.lineno}" for name in sorted(names)]
        if (
            isinstance(node, ast.Attribute)
            and not home
            and (node.attr in LOADING | LOADERS or node.attr.startswith("AutoModel"))
        ):
            receiver = node.value.id if isinstance(node.value, ast.Name) else None
            if receiver not in OURS:
                bad.append(f"{node.attr} in line {node.lineno}")
        if isinstance(node, ast.Call):
            bad += [f"{what} in line {node.lineno}" for what in unsafe_call(node, home)]
    return bad


def unsafe_call(call: ast.Call, home: bool) -> list[str]:
    """What is wrong with one call, if anything."""
    function, said = ast.unparse(call.func), {word.arg: ast.unparse(word.value) for word in call.keywords}
    owner, _, name = function.rpartition(".")
    if name in ("load", "loads") and owner in ("pickle", "yaml", "marshal", "dill", "joblib", "cloudpickle"):
        return [function]
    if function == "torch.load" and said.get("weights_only") != "True":
        return ["torch.load without weights_only"]
    if function in ("exec", "eval", "compile") or said.get("allow_pickle", "False") != "False":
        return [function]
    # A generation config names no class; everything else that is loaded says that there is no trust.
    silent = home and name in ("from_pretrained", "from_config") and owner != "GenerationConfig"
    return [f"{function} without {TRUST}"] if silent and said.get(TRUST) != "False" else []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_foreign_code_is_never_run(path):
    assert foreign_code(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("training/run.py", "AutoTokenizer.from_pretrained(name)"),
        ("training/run.py", f"AutoTokenizer.from_pretrained(name, {TRUST}=False)"),
        ("training/run.py", "load = transformers.LlamaForCausalLM.from_pretrained"),
        ("training/memory.py", "AutoModelForCausalLM.from_config(config)"),
        ("training/run.py", f"options = {{'{TRUST}': True}}"),
        ("training/run.py", f"settings['{TRUST}'] = trust"),
        ("chat/local.py", "from transformers import AutoModelForCausalLM as Model"),
        ("chat/local.py", "transformers.pipeline('text-generation', name)"),
        ("hub/verify.py", "from huggingface_hub import snapshot_download"),
        ("hub/verify.py", "huggingface_hub.hf_hub_download(name, 'x.py')"),
        ("checkpoint/merge.py", "def f():\n    from peft import PeftModel"),
        ("checkpoint/shards.py", "torch.load(file)"),
        ("checkpoint/shards.py", "torch.load(file, weights_only=False)"),
        ("data/screening/chunk.py", "pickle.load(file)"),
        ("data/screening/chunk.py", "np.load(file, allow_pickle=True)"),
        ("training/sft.py", "yaml.load(text, Loader=yaml.Loader)"),
        ("pretrained.py", "AutoTokenizer.from_pretrained(name)"),
        ("pretrained.py", f"AutoConfig.from_pretrained(name, {TRUST}=None)"),
        ("pretrained.py", f"AutoConfig.from_pretrained(name, {TRUST}=trust)"),
        ("pretrained.py", f"NO_FOREIGN_CODE = {{'{TRUST}': True}}"),
    ],
)
def test_planted_foreign_code_is_found(module, planted):
    assert foreign_code(ROOT / "medllm_hf" / module, planted) != []
    harmless = "from huggingface_hub import snapshot_download\nChatSession.from_pretrained(name)\nyaml.safe_load(text)"
    assert foreign_code(ROOT / "medllm_hf" / "data" / "hub_datasets.py", harmless) == []
