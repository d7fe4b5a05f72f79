"""The log beside the run folders: every run of the same weights on the same questions counts once."""

import multiprocessing
import os
from pathlib import Path

from medllm_hf.evaluation.runs.folder import open_run, read_run
from medllm_hf.evaluation.runs.log import FILE, count_runs, note_run

ASKED = {"kind": "mcq", "model": {"weights_sha256": "aa"}, "data": {"sha256": "bb"}, "settings": {"seed": 0}}


def ended(folder: Path, **fields) -> dict:
    """The manifest of a run in `folder` that has ended with one output."""
    with open_run(folder, {**ASKED, **fields}) as run:
        if not run.rows:
            run.append({"id": "1"})
        run.finish([("1",)], [{"id": "1"}], {"n": 1})
    return read_run(folder)["manifest"]


def begun(number: int, folder: Path) -> dict:
    return {**ASKED, "started": f"2026-01-01T00:00:{number:02d}Z", "settings": {"seed": number, "folder": folder.name}}


def note_many(folder: Path) -> None:
    for number in range(50):
        note_run(folder, begun(number, folder))


def test_each_run_of_the_same_weights_on_the_same_questions_counts(tmp_path):
    one = ended(tmp_path / "one")
    assert count_runs(tmp_path / "one", one) == 1
    ended(tmp_path / "two", settings={"seed": 1})
    ended(tmp_path / "other", model={"weights_sha256": "cc"})
    ended(tmp_path / "questions", data={"sha256": "dd"})
    assert count_runs(tmp_path / "one", one) == 2
    # Removed and made again under its name, a second later or not, it is another run; a look at it is none.
    ended(tmp_path / "one")
    assert count_runs(tmp_path / "one", one) == 2
    (tmp_path / "one").rename(tmp_path / "kept")
    assert count_runs(tmp_path / "kept", one) == 2


def test_a_run_that_was_gone_on_with_counts_once(tmp_path):
    with open_run(tmp_path / "run", ASKED) as run:
        run.append({"id": "1"})
    manifest = ended(tmp_path / "run")
    assert "resumed" in manifest and count_runs(tmp_path / "run", manifest) == 1
    (tmp_path / "run" / "metrics.json").unlink()  # which the same command mends
    assert count_runs(tmp_path / "run", ended(tmp_path / "run")) == 1
    assert len((tmp_path / FILE).read_text(encoding="utf-8").splitlines()) == 2


def test_an_endpoint_has_no_weights_to_count_by(tmp_path):
    manifest = ended(tmp_path / "run", model={"id": "m", "endpoint": "http://127.0.0.1/v1"})
    assert not (tmp_path / FILE).exists() and count_runs(tmp_path / "run", manifest) is None


def test_a_run_within_a_run_is_logged_beside_the_outermost(tmp_path):
    ended(tmp_path / "talk", kind="consult", doctor={"weights_sha256": "aa"})
    ended(tmp_path / "talk" / "judge")
    assert not (tmp_path / "talk" / FILE).exists()
    assert len((tmp_path / FILE).read_text(encoding="utf-8").splitlines()) == 2


def test_a_link_to_a_run_has_the_log_of_the_run(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "near").mkdir()
    manifest = ended(tmp_path / "far" / "run")
    os.symlink(tmp_path / "far" / "run", tmp_path / "near" / "run")
    assert count_runs(tmp_path / "near" / "run", manifest) == 1


def test_without_a_log_there_is_no_number_and_no_fault(tmp_path):
    manifest = ended(tmp_path / "run")
    (tmp_path / FILE).unlink()
    assert count_runs(tmp_path / "run", manifest) is None
    ended(tmp_path / "later", settings={"seed": 1})  # the log goes on, without the run that it has lost
    assert count_runs(tmp_path / "run", manifest) is None
    for name, made in {"folder": Path.mkdir, "pipe": os.mkfifo}.items():
        place = tmp_path / name
        place.mkdir()
        made(place / FILE)
        assert count_runs(place / "run", ended(place / "run")) is None


def test_lines_of_another_hand_are_passed_over(tmp_path):
    manifest = ended(tmp_path / "run")
    with (tmp_path / FILE).open("a", encoding="utf-8") as file:
        file.write('nonsense\n[1]\n{"kind": "mcq"}\n{"torn": ')
    assert count_runs(tmp_path / "run", manifest) == 1
    (tmp_path / FILE).write_bytes(b"\xff\xfe")
    assert count_runs(tmp_path / "run", manifest) is None


def test_runs_that_end_at_once_are_all_there(tmp_path):
    folders = [tmp_path / f"run{number}" for number in range(4)]
    processes = [multiprocessing.get_context("fork").Process(target=note_many, args=(folder,)) for folder in folders]
    for one in processes:
        one.start()
    for one in processes:
        one.join()
    assert count_runs(folders[0], begun(7, folders[0])) == 200
