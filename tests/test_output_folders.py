"""What a user has stays as it was, wherever an output folder is written: through links, beside their names, after a crash."""

import os
from pathlib import Path

import pytest
from support.paths import SAMPLE

from medllm_hf.checkpoint.tiny import tiny_base
from medllm_hf.cli import main
from medllm_hf.data.build import build
from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.folder import open_run
from medllm_hf.folders import MARK, NEW, OLD, new_file, new_folder, read_bytes

WRITERS = {
    "tiny-base": lambda out: tiny_base(out, layers=1, hidden=64, overwrite=True),
    "data build": lambda out: build([str(SAMPLE / "dialogues.jsonl")], out, license="mit", overwrite=True),
    "new_folder": lambda out: write(out),
}


def write(out, text: str = "new", overwrite: bool = True) -> None:
    with new_folder(out, overwrite) as folder:
        (folder / "LICENSE").write_text(text)


@pytest.fixture
def linked(tmp_path) -> Path:
    """`out`, a link to a folder elsewhere that has a file."""
    (tmp_path / "disk" / "real").mkdir(parents=True)
    (tmp_path / "disk" / "real" / "LICENSE").write_text("old")
    (tmp_path / "out").symlink_to("disk/real")
    return tmp_path


@pytest.mark.parametrize("verb", WRITERS)
@pytest.mark.parametrize("name", ["out", "out/", "./out"])
def test_a_link_is_written_through(linked, monkeypatch, verb, name):
    monkeypatch.chdir(linked)
    WRITERS[verb](name)
    assert os.readlink("out") == "disk/real"
    assert sorted(os.listdir()) == ["disk", "out"]
    assert os.listdir("disk") == ["real"]
    assert verb != "new_folder" or Path("disk/real/LICENSE").read_text() == "new"
    assert verb == "new_folder" or not Path("disk/real/LICENSE").exists()


def test_a_run_folder_is_written_through_a_link(linked):
    for overwrite in (True, False):
        with open_run(linked / "out", {"kind": "x"}, overwrite=overwrite) as run:
            run.append({"id": str(overwrite)})
    assert (linked / "out").is_symlink() and (linked / "disk" / "real" / "manifest.json").exists()


@pytest.mark.parametrize("out", ["out", "out/below"])
def test_a_link_to_nothing_is_refused(tmp_path, out):
    (tmp_path / "out").symlink_to("gone/for/now")
    for work in (lambda: write(tmp_path / out), lambda: open_run(tmp_path / out, {"kind": "x"}).__enter__()):
        with pytest.raises(UserError, match="leads nowhere"):
            work()
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("hidden", [".out.partial", ".out.old"])
def test_a_folder_of_the_users_stays(tmp_path, hidden):
    (tmp_path / hidden).mkdir()
    (tmp_path / hidden / "mine").write_text("the only original")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "LICENSE").write_text("old")
    if hidden == ".out.partial":
        with pytest.raises(UserError, match="which this program has not made"):
            write(tmp_path / "out")
        assert (tmp_path / "out" / "LICENSE").read_text() == "old"
    else:
        write(tmp_path / "out")
    assert (tmp_path / hidden / "mine").read_text() == "the only original"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_link_of_that_name_stays(tmp_path, kind):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / MARK).touch()
    (tmp_path / ".out.partial").write_text("x") if kind == "file" else (tmp_path / ".out.partial").symlink_to("mine")
    with pytest.raises(UserError, match="which this program has not made"):
        write(tmp_path / "out")
    assert (tmp_path / "mine" / MARK).exists() and not (tmp_path / "out").exists()


def test_what_a_killed_run_left_is_removed_and_what_it_took_away_comes_back(tmp_path):
    """Killed between the two renames, there is no `out`, and the folder that was to be replaced is the only one."""
    work = tmp_path / ".out.partial"
    (work / NEW).mkdir(parents=True)
    (work / MARK).touch()
    (work / OLD).mkdir()
    (work / OLD / "LICENSE").write_text("old")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out"):
        raise RuntimeError
    assert (tmp_path / "out" / "LICENSE").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]
    write(tmp_path / "out")
    assert (tmp_path / "out" / "LICENSE").read_text() == "new" and os.listdir(tmp_path) == ["out"]


def test_an_unreadable_input_is_no_full_disk(tmp_path):
    with pytest.raises(UserError, match=r"a folder at .*/input"), new_folder(tmp_path / "out"):
        (tmp_path / "input").mkdir()
        (tmp_path / "input").read_bytes()
    with pytest.raises(UserError, match="a pipe"):
        os.mkfifo(tmp_path / "pipe")
        read_bytes(tmp_path / "pipe")


def test_a_file_is_written_through_a_link_and_beside_the_users(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "list").symlink_to("disk/list")
    for name in (".list.partial", ".list.tmp"):
        (tmp_path / "disk" / name).write_text("mine")
    with new_file(tmp_path / "list") as file:
        file.write("new")
    assert (tmp_path / "disk" / "list").read_text() == "new" and (tmp_path / "list").is_symlink()
    assert sorted(os.listdir(tmp_path / "disk")) == [".list.partial", ".list.tmp", "list"]


def test_a_name_too_long_is_one_line(tmp_path, capsys):
    for words in (["tiny-base", "{}"], ["data", "build", str(SAMPLE / "dialogues.jsonl"), "--license", "mit", "--out", "{}"]):
        assert main([word.format(tmp_path / ("x" * 300)) for word in words]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


OWN = {
    "a run": {"manifest.json": '{"kind": "judge"}', "notes.md": ""},
    "a run that has lost its manifest": {"outputs.jsonl": "", "metrics.json": "{}"},
    "runs of several readings": {
        "exam/reply/manifest.json": '{"kind": "mcq"}',
        "exam/text/outputs.jsonl": "",
        "exam/medllm_runs.jsonl": "",
    },
    "a checkpoint": {"config.json": "{}", "model.safetensors": "", "tokenizer.json": "{}"},
    "a training that was cut off": {"checkpoint-3/model.safetensors": "", "checkpoint-3/anything": ""},
    "a report": {"results.json": "{}", "report.md": "", "bars.png": ""},
    "a demo": {"logs/01.log": "$ python -m medllm_hf tiny-base", "cache/version.txt": ""},
}
NOT_OWN = {
    "inputs": {"cases.json": "[]", "prices.json": "{}"},
    "a manifest of something else": {"manifest.json": '{"name": "x"}', "app.js": ""},
    "data below": {"data/dialogues.jsonl": "{}"},
    "a report of one's own": {"README.md": "mine", "results.json": "{}"},
}


@pytest.mark.parametrize("name", [*OWN, *NOT_OWN])
def test_only_what_this_program_has_made_is_replaced(tmp_path, name):
    for file, text in (OWN | NOT_OWN)[name].items():
        (tmp_path / "out" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / file).write_text(text)
    if name in OWN:
        write(tmp_path / "out")
        assert os.listdir(tmp_path / "out") == ["LICENSE"]
        return
    for work in (
        lambda: write(tmp_path / "out"),
        lambda: open_run(tmp_path / "out", {"kind": "x"}, overwrite=True).__enter__(),
    ):
        with pytest.raises(UserError, match="that this program has not written.*choose another folder"):
            work()
    assert all((tmp_path / "out" / file).exists() for file in NOT_OWN[name])
