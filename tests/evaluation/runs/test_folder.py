"""The run folder: what is written is whole, goes on only as what it was begun as, and belongs to one process."""

import json
import os

import pytest

from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs import folder as run_folder
from medllm_hf.evaluation.runs.folder import DECISIVE, environment, first_difference, open_run, read_run

MANIFEST = {"kind": "mcq", "model": {"id": "m"}, "data": {"n": 3, "left_out": {}}, "settings": {"shots": 0, "seed": 1}}
ROWS = [{"id": str(i), "reply": f"第{i}题\u2028选\x85B\x0c"} for i in range(3)]


def write(path, rows=ROWS, finish=True, manifest=MANIFEST, **options):
    """A run of `rows` in `path`; what was there when it was opened."""
    with open_run(path, manifest, **options) as run:
        there = dict(run.rows)
        for row in rows:
            run.append(row)
        if finish:
            run.finish([("0",), ("1",), ("2",)], [{"id": row["id"]} for row in ROWS], {"accuracy": 0.5})
    return there


def test_a_finished_run_is_read_back(tmp_path):
    assert write(tmp_path / "run", ROWS[::-1]) == {}
    run = read_run(tmp_path / "run")
    assert run["outputs"] == ROWS, "in the order that finish was given, with signs that end a line inside"
    assert (run["scores"], run["metrics"]) == ([{"id": "0"}, {"id": "1"}, {"id": "2"}], {"accuracy": 0.5})
    assert run["manifest"].items() >= MANIFEST.items()
    assert set(run["manifest"]) == {*MANIFEST, "schema", "started", "ended", "versions", "hardware"}
    assert sorted(os.listdir(tmp_path / "run")) == ["manifest.json", "metrics.json", "outputs.jsonl", "scores.jsonl"]


def test_the_manifest_is_there_before_the_first_output(tmp_path):
    with open_run(tmp_path / "run", MANIFEST) as run:
        assert json.loads((tmp_path / "run" / "manifest.json").read_text())["kind"] == "mcq"
        assert run.rows == {} and not run.finished
        run.append(ROWS[0])
        assert json.loads((tmp_path / "run" / "outputs.jsonl").read_text(encoding="utf-8")) == ROWS[0]


def test_an_unfinished_run_is_not_read(tmp_path):
    write(tmp_path / "run", finish=False)
    with pytest.raises(UserError, match="an unfinished run"):
        read_run(tmp_path / "run")
    write(tmp_path / "run", [])
    assert read_run(tmp_path / "run")["outputs"] == ROWS
    assert len(read_run(tmp_path / "run")["manifest"]["resumed"]) == 1


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_torn_last_line_is_cut_off(tmp_path, cut):
    write(tmp_path / "run", ROWS[:2], finish=False)
    file = tmp_path / "run" / "outputs.jsonl"
    os.truncate(file, file.stat().st_size - cut)
    assert list(write(tmp_path / "run", ROWS[1:2], finish=False)) == [("0",)]
    assert list(write(tmp_path / "run", ROWS[2:])) == [("0",), ("1",)]
    assert read_run(tmp_path / "run")["outputs"] == ROWS


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("{broken\n", "line 3"),
        ("[1]\n", "line 3"),
        ("{}\n", "line 3"),
        ('{"id": "0"}\n', "there before"),
        pytest.param("[" * 100_000 + "\n", "line 3", id="brackets"),
    ],
)
def test_damaged_outputs_are_refused(tmp_path, damage, named):
    write(tmp_path / "run", ROWS[:2], finish=False)
    with (tmp_path / "run" / "outputs.jsonl").open("a") as file:
        file.write(damage)
    with pytest.raises(UserError, match=named):
        write(tmp_path / "run", [])


@pytest.mark.parametrize("name", ["manifest.json", "metrics.json", "outputs.jsonl", "scores.jsonl"])
@pytest.mark.parametrize("damage", ["{broken", "[" * 100_000], ids=["broken", "brackets"])
def test_a_damaged_finished_run_is_refused(tmp_path, name, damage):
    write(tmp_path / "run")
    (tmp_path / "run" / name).write_text(damage)
    with pytest.raises(UserError, match=name):
        read_run(tmp_path / "run")


def test_a_finished_run_is_left_as_it_is(tmp_path):
    write(tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with open_run(tmp_path / "run", MANIFEST) as run:
        assert run.finished and len(run.rows) == 3
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", '{"accuracy": 0.9}'),
        ("scores.jsonl", '{"id": "0"}\n{"id": "2"}\n{"id": "1"}\n'),
        ("outputs.jsonl", '{"id": "0"}\n{"id": "1"}\n'),
        ("outputs.jsonl", '{"id": "0"}\n{"id": "1"}\n{"id": "2"}\n{"id": "3"}\n'),
    ],
)
def test_a_finished_run_whose_files_do_not_follow_from_each_other_is_refused(tmp_path, name, content):
    write(tmp_path / "run")
    (tmp_path / "run" / name).write_text(content)
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    for _ in range(2):
        with pytest.raises(UserError, match=f"{name} of .*--overwrite"):
            write(tmp_path / "run", [])
        assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before
    write(tmp_path / "run", overwrite=True)
    write(tmp_path / "run", [])  # says the same, and nothing is written


@pytest.mark.parametrize(
    ("name", "left"),
    [
        *(("metrics.json", None), ("metrics.json", 10), ("scores.jsonl", None), ("scores.jsonl", 5)),
        *(("outputs.jsonl", None), ("outputs.jsonl", 0), ("outputs.jsonl", -2)),
    ],
)
def test_a_finished_run_that_was_damaged_has_not_ended(tmp_path, name, left):
    """A file that is gone or cut short; until it is mended, however often the work is broken off, it is not read as whole."""
    write(tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    file = tmp_path / "run" / name
    if left is None:
        file.unlink()
    else:
        file.write_bytes(before[name][:left])
    for _ in range(2):
        with open_run(tmp_path / "run", MANIFEST) as run:
            assert not run.finished
            there = {key for (key,) in run.rows}
        assert "ended" not in json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert len(there) == (3 if name != "outputs.jsonl" else 2 if left else 0)
    write(tmp_path / "run", [row for row in ROWS if row["id"] not in there])
    after = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    assert {**after, "manifest.json": b""} == {**before, "manifest.json": b""}
    assert read_run(tmp_path / "run")["metrics"] == {"accuracy": 0.5}


@pytest.mark.parametrize("finish", [True, False])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": {"shots": 5, "seed": 1}}, r"settings\.shots 5, where the run in .* has 0"),
        ({"settings": {"shots": 0}}, r"settings\.seed nothing, where the run in .* has 1"),
        ({"settings": {"shots": 0, "seed": 1, "more": "x"}}, r"settings\.more 'x', where the run in .* has nothing"),
        ({"model": {"id": "other"}}, r"model\.id 'other', where the run in .* has 'm'"),
        ({"data": {"n": 3, "left_out": {"malformed": 1}}}, r"data\.left_out\.malformed 1, where the run in .* has nothing"),
    ],
)
def test_another_run_is_not_gone_on_with(tmp_path, change, said, finish):
    write(tmp_path / "run", finish=finish)
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with pytest.raises(UserError, match=said + ".*--overwrite"):
        write(tmp_path / "run", [], manifest={**MANIFEST, **change})
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_other_versions_of_what_computes_are_refused_and_the_rest_is_recorded(tmp_path, monkeypatch):
    write(tmp_path / "run", ROWS[:1], finish=False)
    real = environment()
    for name in DECISIVE:
        other = {**real, "versions": {**real["versions"], name: "0.0"}}
        monkeypatch.setattr(run_folder, "environment", lambda other=other: other)
        with pytest.raises(UserError, match=rf"versions\.{name} '0\.0'"):
            write(tmp_path / "run", [])
    elsewhere = {"versions": {**real["versions"], "datasets": "0.0"}, "hardware": {"machine": "other", "cores": 1}}
    monkeypatch.setattr(run_folder, "environment", lambda: elsewhere)
    write(tmp_path / "run", ROWS[1:])
    manifest = read_run(tmp_path / "run")["manifest"]
    assert manifest["hardware"] == real["hardware"]
    assert manifest["resumed"][0]["hardware"] == elsewhere["hardware"]


def test_equal_manifests_have_no_difference():
    full = {**MANIFEST, **environment()}
    assert first_difference(full, json.loads(json.dumps({**full, "started": "t", "ended": "t", "hardware": {}}))) is None


def test_one_process_at_a_time(tmp_path):
    with open_run(tmp_path / "run", MANIFEST) as run:
        for overwrite in (False, True):
            with pytest.raises(UserError, match="another process"):
                write(tmp_path / "run", overwrite=overwrite)
        run.append(ROWS[0])
    assert list(write(tmp_path / "run", ROWS[1:])) == [("0",)]


def test_other_files_are_neither_mixed_in_nor_lost(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("keep")
    with pytest.raises(UserError, match="no manifest"):
        write(tmp_path / "run")
    assert os.listdir(tmp_path / "run") == ["notes.txt"]
    monkeypatch.chdir(tmp_path / "run")
    with pytest.raises(UserError, match="current"):
        write(tmp_path / "run", overwrite=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("keep")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="a file at"):
            write(tmp_path / "file", overwrite=overwrite)
    with pytest.raises(UserError, match=r"this program has not written, such as notes\.txt"):
        write(tmp_path / "run", overwrite=True)
    assert os.listdir(tmp_path / "run") == ["notes.txt"]


def test_overwriting_begins_anew(tmp_path):
    write(tmp_path / "run")
    assert write(tmp_path / "run", manifest={**MANIFEST, "kind": "other"}, overwrite=True) == {}
    assert read_run(tmp_path / "run")["manifest"]["kind"] == "other"


@pytest.mark.parametrize("there", [False, True])
def test_of_a_run_in_which_nothing_was_asked_nothing_is_left(tmp_path, there):
    """The corrected command is then no other run; what was asked stays, and so does the user's own folder."""
    if there:
        (tmp_path / "run").mkdir()
    with pytest.raises(ZeroDivisionError), open_run(tmp_path / "run", MANIFEST) as run:
        raise ZeroDivisionError
    assert list(tmp_path.rglob("*")) == ([tmp_path / "run"] if there else [])
    with pytest.raises(ZeroDivisionError), open_run(tmp_path / "run", {**MANIFEST, "kind": "corrected"}) as run:
        run.append(ROWS[0])
        raise ZeroDivisionError
    with pytest.raises(UserError, match="to go on with it"), open_run(tmp_path / "run", MANIFEST):
        pass
    with pytest.raises(ZeroDivisionError), open_run(tmp_path / "run", {**MANIFEST, "kind": "corrected"}) as run:
        raise ZeroDivisionError
    assert (tmp_path / "run" / "outputs.jsonl").stat().st_size


def test_a_manifest_that_was_never_finished_is_no_obstacle(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".manifest.json.tmp").write_text('{"kin')
    write(tmp_path / "run")
    assert read_run(tmp_path / "run")["outputs"] == ROWS


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="place to write"):
        write(tmp_path / "file" / "run")


def test_other_settings_are_told_by_their_flag_and_do_not_cost_the_run(tmp_path):
    asked = {**MANIFEST, "settings": {**MANIFEST["settings"], "diagnosis_prompt": {"sha256": "ab"}}}
    write(tmp_path / "asked", ROWS[:1], manifest=asked, finish=False)
    with pytest.raises(UserError, match="found no --ask-diagnosis, where the run in .* has it;.*add --ask-diagnosis to go on"):
        write(tmp_path / "asked", [])
    write(tmp_path / "not", ROWS[:1], finish=False)
    with pytest.raises(UserError, match="found --ask-diagnosis, where .*leave out --ask-diagnosis to go on"):
        write(tmp_path / "not", [], manifest=asked)
    judging = {**MANIFEST, "kind": "judge", "rubric": {"name": "disc"}}
    write(tmp_path / "run" / "judge", manifest=judging)
    with pytest.raises(UserError) as refused:
        write(tmp_path / "run" / "judge", [], manifest={**judging, "rubric": {"name": "safety"}})
    assert f"medllm eval judge --dialogues {tmp_path / 'run'} --rubric" in str(refused.value)
    assert "--overwrite" not in str(refused.value)
