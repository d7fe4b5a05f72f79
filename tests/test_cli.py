"""The command line: light to start, one line for a mistake."""

import shlex
import sys

import pytest
from support.commands import one_line_error, run
from support.paths import ROOT, SAMPLE

from medllm_hf.cli import VERBS, main

HEAVY = "('torch', 'transformers', 'datasets', 'trl', 'evaluate', 'huggingface_hub', 'matplotlib')"


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_imports_nothing_heavy(verb):
    program = (
        "import sys\nfrom medllm_hf.cli import main\n"
        f"try:\n    code = main({[*verb.split(), '--help']!r})\nexcept SystemExit as stop:\n    code = stop.code\n"
        f"loaded = [name for name in {HEAVY} if name in sys.modules]\nassert not loaded, loaded\nsys.exit(code)"
    )
    done = run(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert "usage: medllm" in done.stdout


def test_every_verb_is_in_the_overview():
    shown = run("medllm", "--help").stdout
    assert all(f"  {verb} " in shown for verb in VERBS)


def test_unknown_verb():
    assert "'translate'" in one_line_error(run("medllm", "translate"))


def test_unknown_option_and_missing_argument():
    assert "--fast" in one_line_error(run("medllm", "convert", "a", "b", "--fast"))
    assert "--out" in one_line_error(run("medllm", "data", "build", "x.jsonl"))


@pytest.mark.parametrize(
    "command",
    [
        "convert missing out",
        "merge missing out",
        "data build missing.jsonl --out out",
        "data check missing.jsonl",
        "sft --config missing.yaml",
        f"eval mcq --model missing --data {SAMPLE}/questions_test.jsonl --out out",
        "report missing --out out",
        "chat ./missing",
    ],
)
def test_missing_input(command, tmp_path, refused):
    assert "missing" in refused(*command.split(), cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", ["nowhere", "a_file.json", "a_folder", "~/nowhere", "lora"])
@pytest.mark.parametrize("verb", ["chat", "web"])
def test_a_model_that_is_none_is_told_before_torch_is_imported(verb, wrong, tmp_path):
    (tmp_path / "a_file.json").write_text("{}")
    (tmp_path / "a_folder").mkdir()
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text("{}")
    program = (
        f"import sys\nfrom medllm_hf.cli import main\nassert main({[verb, wrong]!r}) == 2\n"
        f"loaded = [name for name in {HEAVY} if name in sys.modules]\nassert not loaded, loaded\nsys.exit(2)"
    )
    line = one_line_error(run(sys.executable, "-c", program, cwd=tmp_path))
    found = {"a_file.json": "the file", "a_folder": "no config.json in", "lora": "an adapter in"}.get(wrong, "no folder")
    assert f"{found} {wrong};" in line


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("chat ''", "model"),
        ("verify ''", "repository"),
        ("convert '' out", "src"),
        ("tiny-base ''", "dst"),
        ("report run '' --out out", "runs"),
        ("data build x.jsonl --benchmarks '' --out out", "benchmarks"),
        (f"eval mcq --model '' --data {SAMPLE}/questions_test.jsonl --out out", "model"),
    ],
)
def test_an_empty_name_is_not_the_current_folder(command, name, tmp_path, refused):
    """As the shell makes of a variable without a value."""
    assert f"found an empty name for {name};" in refused(*shlex.split(command), cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    ["tiny-base full", f"data build {SAMPLE}/dialogues.jsonl --out full", "convert x full", "merge x full", "demo --out full"],
)
def test_existing_output_folder(command, tmp_path, refused):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("keep")
    assert "--overwrite" in refused(*command.split(), cwd=tmp_path)
    assert [file.name for file in tmp_path.rglob("*")] == ["full", "precious.txt"]


def test_the_current_folder_is_never_overwritten(tmp_path, refused):
    (tmp_path / "precious.txt").write_text("keep")
    assert "current" in refused("tiny-base", str(tmp_path), "--overwrite", cwd=tmp_path)
    assert (tmp_path / "precious.txt").exists()


@pytest.mark.parametrize(
    ("text", "named"),
    [("learning_rate: [1.0", "line 1"), ("- a list", "list"), ("learning_rat: 1.0e-3", "learning_rate"), ("a: b: c", "line 1")],
)
def test_malformed_recipe(text, named, tmp_path, refused):
    (tmp_path / "recipe.yaml").write_text(text)
    assert named in refused("sft", "--config", "recipe.yaml", cwd=tmp_path)


def test_recipe_with_a_value_of_another_type_and_a_misspelt_option(tmp_path, refused):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("num_train_epochs: many\nmodel_name_or_path: a/b\ndataset_name: c/d\n")
    assert "num_train_epochs" in refused("sft", "--config", str(recipe))
    recipe.write_text("num_train_epochs: 1\n")
    assert "output_dir" in refused("sft", "--config", str(recipe), "--output_dirr", "x")


@pytest.mark.parametrize("program", ["from medllm_hf.cli import main", "from push_to_hub import main"])
def test_a_process_that_ends_does_not_search_for_garbage(program):
    # What is registered first is run last.
    told = "import atexit, gc\natexit.register(lambda: print('frozen', gc.get_freeze_count() > 1000))\n"
    done = run(sys.executable, "-c", f"{told}{program}\nmain(['--help'])", cwd=ROOT)
    assert done.returncode == 0 and done.stdout.endswith("frozen True\n"), done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_failure_of_ours(unbuffered, tmp_path):
    command = shlex.join([sys.executable, "-m", "medllm_hf", "data", "check", str(SAMPLE / "dialogues.jsonl")])
    done = run("bash", "-c", f"set -o pipefail; {command} | true", cwd=tmp_path, env={"PYTHONUNBUFFERED": unbuffered})
    assert (done.returncode, done.stderr) == (1, "")


def test_the_module_is_the_same_program():
    assert run(sys.executable, "-m", "medllm_hf", "--version").stdout == run("medllm", "--version").stdout != ""


def test_publishing_needs_a_licence_and_a_model(tmp_path):
    script = str(ROOT / "push_to_hub.py")
    command = (sys.executable, script, "model", "missing", "--repo-id", "a/b")
    assert "--license" in one_line_error(run(*command, cwd=tmp_path))
    assert "missing" in one_line_error(run(*command, "--license", "mit", cwd=tmp_path))


@pytest.mark.parametrize(
    "module", ["medllm_hf.chat.terminal", "medllm_hf.chat.web.start", "medllm_hf.hub.checks", "medllm_hf.hub.upload"]
)
def test_what_needs_no_model_starts_without_torch(module):
    done = run(sys.executable, "-c", f"import sys, {module}; print('torch' in sys.modules, 'transformers' in sys.modules)")
    assert done.stdout == "False False\n", done.stderr


def test_the_verbs_of_a_group_are_listed_and_named(capsys, tmp_path, refused, monkeypatch):
    assert main(["eval", "--help"]) == 0
    listed = capsys.readouterr().out
    assert "eval consult" in listed and "eval agree" in listed and "convert" not in listed
    line = refused("eval", "consults", cwd=tmp_path)
    assert "found verb 'eval consults'" in line and "did you mean `medllm eval consult`" in line and "convert" not in line

    def cut_off(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("medllm_hf.cli.run", cut_off)
    assert main(["eval", "consult"]) == 1
    assert capsys.readouterr().err == "medllm: interrupted; what is done is kept, the same command goes on\n"
    assert main(["convert"]) == 1
    assert capsys.readouterr().err == "medllm: interrupted\n"
