"""push_to_hub.py against a Hub on loopback: the plan, one commit, nothing sent twice, and refusals on one line."""

import os
import pty
import re
import shutil
import subprocess
import sys

import pytest
from support.commands import one_line_error, run
from support.hub_on_disk import Refused, start_hub
from support.paths import ROOT, SAMPLE

from medllm_hf.data.build import build

SCRIPT = (sys.executable, str(ROOT / "push_to_hub.py"))
DATA = ("datasets", "org/data")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of `medllm data build` on the bundled dialogues."""
    out = tmp_path_factory.mktemp("built") / "data"
    build([str(SAMPLE / "dialogues.jsonl")], str(out), license="apache-2.0")
    return out


@pytest.fixture
def hub(tmp_path):
    running = start_hub(tmp_path / "hub")
    yield running
    running.close()


@pytest.fixture
def data(built, tmp_path):
    shutil.copytree(built, tmp_path / "data")
    return tmp_path / "data"


def pushed(hub, folder, *words, kind="dataset", name="org/data", token="hf_write"):
    environment = hub.environment(hub.store.root.parent / "home", token)
    return run(*SCRIPT, kind, str(folder), "--repo-id", name, *words, env=environment)


def listed(folder):
    """Path → bytes of the files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def there(hub, kind, name):
    """Path → bytes of what main of a repository shows, without the Hub's own file."""
    paths = [path for path in hub.store.files(kind, name) if path != ".gitattributes"]
    return {path: hub.store.read(kind, name, path) for path in paths}


def states(done):
    """Path → what the plan says of it."""
    return {
        path: state for state, path in re.findall(r"^  (new|changed|same|removed) +[\d,]+  (\S+)$", done.stdout, re.MULTILINE)
    }


def test_a_dataset_is_pushed_private_and_in_one_commit(hub, data):
    done = pushed(hub, data, "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("dataset datasets/org/data, private (will be made)\n")
    assert states(done) == dict.fromkeys(listed(data), "new")
    assert there(hub, *DATA) == listed(data)
    assert hub.store.settings(*DATA)["private"]
    head = hub.store.refs(*DATA)["main"]
    assert f"commit {head}; read back, all hashes equal" in done.stdout
    first = hub.store.record(*DATA, hub.store.record(*DATA, head)["parent"])
    assert list(first["files"]) == [".gitattributes"] and first["parent"] is None
    assert done.stderr == ""


def test_a_repeated_push_sends_nothing(hub, data):
    assert pushed(hub, data, "--yes").returncode == 0
    hub.requests.clear()
    done = pushed(hub, data)
    assert done.returncode == 0, done.stderr
    assert "nothing to send" in done.stdout and set(states(done).values()) == {"same"}
    assert [request for request in hub.requests if request[0] != "GET"] == []


@pytest.mark.slow
def test_what_changed_is_sent_and_what_is_gone_is_removed(hub, data):
    assert pushed(hub, data, "--yes").returncode == 0
    hub.requests.clear()
    (data / "screening.md").write_text("new text")
    (data / "lengths.png").unlink()
    (data / "more").mkdir()
    (data / "more" / "notes.txt").write_text("notes")
    (data / ".cache").mkdir()
    (data / ".cache" / "x").write_text("of this machine")
    done = pushed(hub, data, "--yes")
    assert done.returncode == 0, done.stderr
    expected = dict.fromkeys(listed(data), "same") | {
        "screening.md": "changed",
        "more/notes.txt": "new",
        "lengths.png": "removed",
    }
    del expected[".cache/x"]
    assert states(done) == expected
    assert "1 new, 1 changed, 4 same, 1 removed; 13 bytes to send" in done.stdout
    assert set(there(hub, *DATA)) == set(expected) - {"lengths.png"}
    assert there(hub, *DATA)["screening.md"] == b"new text"
    assert len(hub.sent()) == 1  # the commit; nothing that LFS holds had changed
    assert ".gitattributes" in hub.store.files(*DATA)


def test_without_a_terminal_yes_is_needed(hub, data):
    assert "--yes" in one_line_error(pushed(hub, data))
    assert hub.store.settings(*DATA) is None and hub.sent() == []


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 1)])
def test_on_a_terminal_it_asks(hub, data, answer, code):
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    environment = {**os.environ, **hub.environment(hub.store.root.parent / "home")}
    command = (*SCRIPT, "dataset", str(data), "--repo-id", "org/data")
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, env=environment, timeout=100)
    os.close(ours), os.close(theirs)
    assert done.returncode == code, done.stderr
    assert "Upload? [y/N]" in done.stdout
    assert (hub.store.settings(*DATA) is not None) == (code == 0)


@pytest.mark.slow
def test_a_dry_run_compares_and_sends_nothing(hub, data):
    done = pushed(hub, data, "--dry-run")
    assert done.returncode == 0 and "(will be made)" in done.stdout and "nothing uploaded" in done.stdout
    assert pushed(hub, data, "--yes").returncode == 0
    (data / "screening.md").write_text("new text")
    hub.requests.clear()
    done = pushed(hub, data, "--dry-run")
    assert (done.returncode, states(done)["screening.md"], states(done)["README.md"]) == (0, "changed", "same")
    assert [request for request in hub.requests if request[0] != "GET"] == []
    done = pushed(hub, data, "--dry-run", token=None)
    assert done.returncode == 0 and "not compared with the Hub: found no token" in done.stdout


@pytest.mark.slow
def test_a_public_repository_asks_for_the_word(hub, data):
    assert pushed(hub, data, "--yes", "--public").returncode == 0
    assert not hub.store.settings(*DATA)["private"]
    (data / "screening.md").write_text("a secret")
    assert "--public" in one_line_error(pushed(hub, data, "--yes"))
    assert there(hub, *DATA)["screening.md"] != b"a secret"
    assert pushed(hub, data, "--yes", "--public").returncode == 0


def split_for_test(folder):
    (path,) = (folder / "data").glob("test-*.parquet")
    return path


def refuse(fault, piece):
    """Cuts requests for paths with this piece, or refuses them with a status and a text that names the token."""
    if isinstance(fault, int):
        fault = Refused(fault, "no hf_write here")
    return lambda method, path: fault if piece in path else None


@pytest.mark.parametrize(
    ("token", "name", "interfere", "code", "said"),
    [
        (None, "org/data", None, 2, "no token"),
        ("hf_unknown", "org/data", None, 2, "401"),
        ("hf_schlüssel", "org/data", None, 2, "signs that no token has"),
        ("hf_read", "org/data", None, 2, "403"),
        ("hf_write", "other/data", None, 2, "403"),
        ("hf_write", "org/data/more", None, 2, "ORG/NAME"),
        ("hf_write", "org/da--ta", None, 2, "ORG/NAME"),
        ("hf_write", "org/data", refuse(403, "/commit/"), 2, "403"),
        ("hf_write", "org/data", refuse(400, "/commit/"), 2, "400: no *** here"),
        ("hf_write", "org/data", refuse(404, "/lfs/"), 2, "404"),
        ("hf_write", "org/data", refuse(501, "/preupload/"), 1, "501"),
        ("hf_write", "org/data", refuse("cut", "/commit/"), 1, "push again"),
        ("hf_write", "org/data", refuse(409, "/repos/create"), 1, "somebody else"),
    ],
)
def test_refusals_are_one_line_without_the_token(hub, data, token, name, interfere, code, said):
    hub.interfere = interfere or hub.interfere
    done = pushed(hub, data, "--yes", name=name, token=token)
    assert done.returncode == code, (done.stdout, done.stderr)
    (line,) = done.stderr.strip().splitlines()
    assert said in line and line.startswith("push_to_hub.py: ")
    assert token is None or token not in done.stdout + done.stderr
    kind, known = DATA
    assert hub.store.settings(kind, known) is None or there(hub, *DATA) == {}


def test_a_hub_out_of_reach_is_one_line(data, tmp_path):
    hub = start_hub(tmp_path / "gone")
    hub.close()
    done = pushed(hub, data, "--yes")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "no connection" in done.stderr


@pytest.mark.slow
def test_metadata_that_the_hub_refuses(hub, data):
    card = data / "README.md"
    card.write_text(card.read_text().replace("license: apache-2.0", "license: {name: 3}"))
    line = one_line_error(pushed(hub, data, "--yes"))
    assert '"license" must be a string' in line
    assert hub.sent() == []


@pytest.mark.slow
def test_a_change_by_somebody_else_is_not_overwritten(hub, data, tmp_path):
    assert pushed(hub, data, "--yes").returncode == 0
    (data / "screening.md").write_text("mine")

    def meanwhile(method, path):
        if "/preupload/" in path:
            hub.store.commit(*DATA, "theirs", {"screening.md": hub.store.keep(*DATA, b"theirs")})

    hub.interfere = meanwhile
    done = pushed(hub, data, "--yes")
    assert done.returncode == 1 and "somebody else" in done.stderr
    assert there(hub, *DATA)["screening.md"] == b"theirs"


def test_what_came_out_differently_is_named(hub, data):
    parquet = str(split_for_test(data).relative_to(data))

    def spoil(method, path):
        main = hub.store.settings(*DATA) and hub.store.refs(*DATA)["main"]
        if "/tree/" in path and main and "README.md" in hub.store.files(*DATA):
            record = hub.store.folder(*DATA) / "commits" / f"{main}.json"
            record.write_text(record.read_text().replace(hub.store.files(*DATA)[parquet].sha256, "0" * 64))

    hub.interfere = spoil
    done = pushed(hub, data, "--yes")
    assert done.returncode == 1 and "other content" in done.stderr and parquet in done.stderr


def without_license(folder):
    card = folder / "README.md"
    card.write_text(card.read_text().replace("license: apache-2.0\n", ""))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_license, "license"),
        (lambda folder: (folder / "README.md").unlink(), "README.md"),
        (lambda folder: (folder / "README.md").write_text("---\na: [\n---\n"), "not YAML"),
        (lambda folder: (folder / "README.md").write_text("---\nlicense: mit\n---\n"), "configs"),
        (lambda folder: split_for_test(folder).unlink(), "no data/test-"),
    ],
)
def test_datasets_that_are_none(hub, data, change, said):
    change(data)
    assert said in one_line_error(pushed(hub, data, "--yes"))
    assert hub.requests == []


@pytest.mark.slow
def test_a_metric_has_the_name_of_its_module(hub):
    metric = ROOT / "medllm_hf" / "metrics" / "mcq_accuracy"
    assert "accuracy.py" in one_line_error(pushed(hub, metric, "--yes", kind="metric", name="org/accuracy"))
    done = pushed(hub, metric, "--yes", kind="metric", name="org/mcq_accuracy")
    assert done.returncode == 0, done.stderr
    assert there(hub, "spaces", "org/mcq_accuracy") == {
        path: text for path, text in listed(metric).items() if "__pycache__" not in path
    }
    assert hub.store.settings("spaces", "org/mcq_accuracy") == {"private": True, "sdk": "gradio"}
