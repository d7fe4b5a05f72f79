"""Published scores as run folders: DISC-MedLLM's tables follow from them, and from nothing else."""

import json
import re
import shutil
from pathlib import Path

import pytest
from support.commands import one_line_error, run

from medllm_hf.evaluation.commands.import_scores import import_scores
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.metrics.llm_judge import scoring

KEYS = ["proactivity", "accuracy", "helpfulness", "linguistic_quality"]
# The README of DISC-MedLLM; the last column is its average.
CMB_CLIN = {
    "gpt-3.5-turbo": ["4.30", "4.53", "4.55", "5.00", "4.60"],
    "gpt-4": ["4.15", "4.70", "4.75", "4.96", "4.64"],
    "baichuan-chat": ["4.30", "4.58", "4.73", "4.95", "4.64"],
    "bianque-v2": ["3.97", "4.36", "4.37", "4.81", "4.38"],
    "huatuo-chat": ["4.40", "4.62", "4.74", "4.96", "4.68"],
    "DISC-MedLLM": ["4.64", "4.47", "4.66", "4.99", "4.69"],
}
# Published as bars only; these were computed from the files by other means.
CMD = {
    "DISC-MedLLM": ["4.89", "4.90", "4.90", "4.72", "4.88", "4.79", "4.85"],
    "baichuan-chat": ["4.80", "4.81", "4.76", "4.84", "4.78", "4.79", "4.80"],
    "bianque-v2": ["4.75", "4.78", "4.64", "4.83", "4.82", "4.62", "4.74"],
    "gpt-3.5-turbo": ["4.94", "4.79", "4.83", "4.92", "4.79", "4.91", "4.86"],
    "gpt-4": ["4.90", "4.96", "4.92", "4.94", "4.89", "4.88", "4.92"],
    "huatuo-chat": ["4.78", "4.80", "4.89", "4.86", "4.95", "4.79", "4.84"],
}
CMID = {
    "DISC-MedLLM": ["4.88", "4.88", "4.92", "4.81", "4.87"],
    "baichuan-chat": ["4.81", "4.89", "4.88", "4.81", "4.85"],
    "bianque-v2": ["4.77", "4.77", "4.75", "4.80", "4.77"],
    "gpt-3.5-turbo": ["4.88", "4.90", "4.92", "4.94", "4.91"],
    "gpt-4": ["4.94", "4.93", "4.92", "4.90", "4.92"],
    "huatuo-chat": ["4.83", "4.85", "4.86", "4.92", "4.87"],
}
DEPARTMENTS = ["儿科", "内科", "外科", "妇产科", "男科", "肿瘤科"]
INTENTS = ["病症", "药物", "治疗方案", "其他"]


@pytest.fixture(scope="module")
def imported(disc, tmp_path_factory) -> dict[str, dict]:
    """The three published sets as runs."""
    out, folder, runs = tmp_path_factory.mktemp("imported"), disc / "eval", {}
    for name in ("cmb-clin", "cmd", "cmid"):
        dialogues = None if name == "cmb-clin" else str(folder / "dialogues")
        import_scores([str(folder / "gpt4_scores" / name)], str(out / name), dialogues)
        runs[name] = read_run(out / name)
    return runs


def test_the_published_table_in_all_cells(imported):
    systems = imported["cmb-clin"]["metrics"]["systems"]
    found = {name: [f"{one[key]:.2f}" for key in (*KEYS, "overall")] for name, one in systems.items()}
    assert found == CMB_CLIN
    assert all((one["n"], one["unscored"]) == (73, 0) for one in systems.values())
    low, high = systems["DISC-MedLLM"]["intervals"]["overall"]
    assert (low, high) == (pytest.approx(4.62, abs=0.015), pytest.approx(4.76, abs=0.015))


@pytest.mark.parametrize(("name", "groups", "table"), [("cmd", DEPARTMENTS, CMD), ("cmid", INTENTS, CMID)])
def test_the_figures_by_group(imported, name, groups, table):
    for system, one in imported[name]["metrics"]["systems"].items():
        rows = {row["group"]: row for row in one["groups"]}
        assert set(rows) == set(groups)
        assert [f"{rows[group]['overall']:.2f}" for group in groups] + [f"{one['overall']:.2f}"] == table[system]
    assert len(imported[name]["metrics"]["systems"]) == 6


def test_the_odd_dialogue_is_named(imported):
    """CMD has 121 dialogues and 120 scores, but 121 for one system."""
    metrics = imported["cmd"]["metrics"]
    others = sorted(set(CMD) - {"gpt-4"})
    assert {name: one["n"] for name, one in metrics["systems"].items()} == {**dict.fromkeys(others, 120), "gpt-4": 121}
    assert sorted(metrics["without_scores"]) == [f"CMD/{name}/0-33275" for name in others]
    told = [text for text in metrics["warnings"] if "no dialogue on" in text]
    assert sorted(told) == [f"{name} has no dialogue on 1 cases that others have: CMD/0-33275" for name in others]
    assert imported["cmid"]["metrics"]["without_scores"] == []


def test_what_was_published_is_kept_as_it_is(imported, disc):
    run_folder = imported["cmid"]
    rows = {(row["source"], row["model"], row["id"]): row for file in (disc / "eval/gpt4_scores/cmid").iterdir()
            for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}  # fmt: skip
    assert len(rows) == len(run_folder["outputs"]) == 720
    for output, score in zip(run_folder["outputs"], run_folder["scores"], strict=True):
        assert output["reply"] == rows[score["source"], score["model"], score["case_id"]]["scores"]
        assert output["imported"] is True and score["unscored"] is None
    assert run_folder["manifest"]["imported"] is True and run_folder["metrics"]["usage"]["calls"] == 0


def test_the_two_published_prompts_are_two_rubrics(imported):
    rubrics = {name: one["manifest"]["rubric"] for name, one in imported.items()}
    assert (rubrics["cmb-clin"]["name"], rubrics["cmd"]["name"]) == ("disc-medllm-plain", "disc-medllm")
    assert rubrics["cmd"] == rubrics["cmid"] and rubrics["cmd"]["sha256"] != rubrics["cmb-clin"]["sha256"]
    own = scoring.rubric_record("disc-medllm", "en")
    assert rubrics["cmd"]["version"] == "published" != own["version"] and rubrics["cmd"]["sha256"] != own["sha256"]


@pytest.mark.slow
def test_dialogues_from_the_prompts_are_those_of_the_files(disc, tmp_path):
    for name in ("cmb-clin", "cmid"):
        import_scores([str(disc / "eval/gpt4_scores" / name)], str(tmp_path / name))
        import_scores([str(disc / "eval/gpt4_scores" / name)], str(tmp_path / (name + "2")), str(disc / "eval/dialogues"))
        one, two = (read_run(tmp_path / (name + end))["scores"] for end in ("", "2"))
        assert [{**row, "group": ""} for row in two] == one


def test_prompts_of_two_kinds_are_not_mixed(disc, refused, tmp_path):
    said = refused("eval", "import", "--scores", str(disc / "eval/gpt4_scores"), "--out", str(tmp_path / "out"))
    assert "2 different prompts" in said and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_and_its_mistakes(disc, tmp_path):
    scores = disc / "eval/gpt4_scores/cmb-clin/result_gpt-4_cmb-clin.jsonl"
    done = run("medllm", "eval", "import", "--scores", str(scores), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert "gpt-4: overall 4.64 (95% interval 4.54 to 4.73, n=73, unscored 0)" in done.stdout
    assert "gpt-4 judges gpt-4" in done.stdout and "no canary dialogues were judged" in done.stdout
    wrong = str(disc / "eval/dialogues/gpt-4_cmd.json")
    said = one_line_error(
        run("medllm", "eval", "import", "--scores", str(scores), "--dialogues", wrong, "--out", "x", cwd=tmp_path)
    )
    assert "no dialogue CMB-clin/gpt-4/0" in said


ROW = {
    "id": "1", "model": "m", "source": "s", "scores": "Proactivity: 5\nAccuracy: 4\nHelpfulness: 5\nLinguistic Quality: 5",
    "prompt": "Score.\n[start of conversation]\npatient: a\nb\ndoctor: c\n[end of conversation]",
}  # fmt: skip


def write(path: Path, *rows: dict) -> str:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def test_own_rows(tmp_path):
    unclear = {**ROW, "id": "2", "scores": "Proactivity: 5"}
    import_scores([write(tmp_path / "a.jsonl", ROW, unclear)], str(tmp_path / "run"))
    found = read_run(tmp_path / "run")
    assert found["scores"][0]["turns"] == [{"role": "patient", "content": "a\nb"}, {"role": "doctor", "content": "c"}]
    assert found["scores"][1]["unscored"] == "no score for accuracy, helpfulness, linguistic_quality"
    assert found["metrics"]["headline"] is None
    assert found["metrics"]["no_headline"] == ["1 of 2 replies are unscored, more than 5%"]
    assert found["metrics"]["systems"]["m"]["overall"] == 4.75


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({**ROW, "scores": None}, r"a\.jsonl:2 row: not an object with"),
        (ROW, r"a\.jsonl:2 id: s/m/1 a second time"),
        ({**ROW, "id": "2", "prompt": "x"}, r"a\.jsonl:2 prompt: no dialogue between"),
        ({**ROW, "id": "2", "prompt": ROW["prompt"].replace("patient", "doctor")}, "whose dialogue cannot be told"),
        ({**ROW, "id": "2", "prompt": "Other. " + ROW["prompt"]}, "2 different prompts"),
    ],
)
def test_bad_rows_are_named(row, named, refused, tmp_path):

    said = refused("eval", "import", "--scores", write(tmp_path / "a.jsonl", ROW, row), "--out", str(tmp_path / "run"))
    assert re.search(named, said)


def test_another_dialogue_than_the_judged_one_is_refused(disc, tmp_path, refused):
    folder = tmp_path / "dialogues"
    folder.mkdir()
    shutil.copy(disc / "eval/dialogues/gpt-4_cmid.json", folder)
    rows = json.loads((folder / "gpt-4_cmid.json").read_text(encoding="utf-8"))
    rows[3]["conversation"][1]["content"] += "！"
    (folder / "gpt-4_cmid.json").write_text(json.dumps(rows), encoding="utf-8")
    scores = str(disc / "eval/gpt4_scores/cmid/result_gpt-4_cmid.jsonl")
    said = refused("eval", "import", "--scores", scores, "--dialogues", str(folder), "--out", str(tmp_path / "run"))
    assert f"another dialogue CMID/gpt-4/{rows[3]['id']}" in said
