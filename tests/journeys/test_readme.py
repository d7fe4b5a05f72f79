"""Every command that the README shows parses, and runs where a laptop can run it; both languages show the same."""

import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import typer
from support.commands import run
from support.hub_on_disk import start_hub
from support.launch_lines import PROGRAMS, check_command
from support.paths import ROOT
from transformers.cli.transformers import app

from medllm_hf import demo
from medllm_hf.hub.commands.push import build_parser as publish_parser


def blocks(name: str, language: str) -> list[str]:
    """The fenced code blocks of one language in a Markdown file."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)


PAGES = ("README.md", "README_zh.md", "CONTRIBUTING.md", "recipes/README.md", "recipes/multi_node.md", "benchmarks/README.md")
SNIPPETS = blocks("README.md", "python")
COMMANDS = [line for block in blocks("README.md", "bash") for line in block.strip().splitlines()]


def test_both_languages_show_the_same_commands_and_code():
    """But for the language of a report: English is the default, and README_zh asks for Chinese."""
    asked = re.compile(r" --language (?:en|zh)\b")
    for language in ("bash", "python"):
        both = ([asked.sub("", block) for block in blocks(name, language)] for name in ("README.md", "README_zh.md"))
        assert next(both) == next(both) != []
    assert " --language zh" in "".join(blocks("README_zh.md", "bash"))


def test_both_languages_name_the_same_verbs():
    def verbs(name):
        return re.findall(r"^\| `([^|]+)` \|", (ROOT / name).read_text(encoding="utf-8").replace("、", ", "), re.M)

    assert verbs("README.md") == verbs("README_zh.md") != []


@pytest.mark.parametrize("command", COMMANDS)
def test_command_parses(command):
    words = shlex.split(command.split("|")[-1])
    if words[0] in PROGRAMS:
        check_command(shlex.join(words))
    elif words[0] == "make":
        assert subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True).returncode == 0
    elif words[:2] == ["python", "push_to_hub.py"]:
        publish_parser().parse_args(words[2:])
    elif words[:2] == ["transformers", "serve"]:
        program = app if hasattr(app, "commands") else typer.main.get_command(app)  # a Typer with huggingface_hub 1
        program.commands["serve"].make_context("serve", words[2:])
    else:
        raise AssertionError(f"no check for {command}")


def test_links_lead_somewhere():
    for name in PAGES:
        for link in re.findall(r"\]\(([^)]+)\)", (ROOT / name).read_text(encoding="utf-8")):
            path, _, anchor = link.partition("#")
            page = (ROOT / name).parent / path if path else ROOT / name
            assert link.startswith("http") or page.exists(), (name, link)
            assert not anchor or link.startswith("http") or anchor in anchors(page), (name, link)


def anchors(page: Path) -> list[str]:
    """What GitHub calls the headings of a page in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_files_that_pages_name_are_there():
    for name in PAGES:
        for path in re.findall(
            r"(?<![\w/])(?:tests|recipes|benchmarks)/[\w./-]+\.(?:py|md|yaml|json|sh|txt)\b", (ROOT / name).read_text("utf-8")
        ):
            assert (ROOT / path).exists(), (name, path)


def test_no_page_builds_a_dataset_without_a_licence():
    for path in [*(ROOT / name for name in PAGES), *(ROOT / "dataset_cards").glob("*.md")]:
        for command in re.findall(r"medllm data build \S*/[^`]+--out[^`\n]*", path.read_text(encoding="utf-8")):
            assert "--license" in command, (path.name, command)


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    """A folder in which the README's steps by hand were run as they stand, and the environment of its commands."""
    folder = tmp_path_factory.mktemp("by_hand")
    for name in ("medllm_hf", "recipes", "push_to_hub.py", "dataset_cards"):
        (folder / name).symlink_to(ROOT / name)
    steps = next(block for block in blocks("README.md", "bash") if "tiny-base" in block)
    environment = demo.environment(folder) | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", steps], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / "work" / "full-repository" / "README.md").exists()
    return folder, environment


def answer(snippet: str, folder: Path, environment: dict) -> str:
    """What a Python snippet prints that runs in `folder`."""
    done = run(sys.executable, "-c", snippet, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_the_snippet_runs_on_the_trained_model(journey):
    assert len(answer(SNIPPETS[0], *journey)) > 5


@pytest.mark.slow
def test_five_lines_run_on_the_published_id(journey, tmp_path):
    folder, environment = journey
    hub = start_hub(tmp_path / "hub")
    publish = next(command for command in COMMANDS if "push_to_hub.py model" in command and "--dry-run" in command)
    words = shlex.split(publish.replace("--dry-run", "--yes --out published"))
    sent = run(sys.executable, *words[1:], cwd=folder, env={**environment, **hub.environment(tmp_path / "pusher")})
    assert sent.returncode == 0, sent.stderr
    home = {**environment, **hub.environment(tmp_path / "visitor")}
    said = answer(SNIPPETS[1], tmp_path, home)
    hub.close()
    # The same words as the first snippet's, which has the weights from the folder.
    assert said == answer(SNIPPETS[0], folder, environment)
    assert len(SNIPPETS[1].strip().splitlines()) <= 6


@pytest.mark.slow
def test_the_served_model_answers_the_openai_client(journey):
    folder, environment = journey
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    command = next(command for command in COMMANDS if command.startswith("transformers serve")).replace("8000", port)
    server = subprocess.Popen(shlex.split(command), cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        while "Application startup complete" not in (line := server.stderr.readline()):
            assert line, "the server has ended"
        threading.Thread(target=server.stderr.read, daemon=True).start()
        said = answer(SNIPPETS[2].replace("8000", port), folder, environment)
    finally:
        server.kill()
        server.wait()
    assert said == answer(SNIPPETS[0], folder, environment)
