"""Consultations with local checkpoints, served by the real `transformers serve`, and no outside endpoint."""

import json
import shutil

import pytest
from support.chat_server import ChatServer
from support.consulting import case, is_patient, judging, lines, write_cases

from medllm_hf.cli import main
from medllm_hf.evaluation import models as parties
from medllm_hf.evaluation.runs.folder import weights_hash

FEW = ("--turns", "2", "--doctor-max-new-tokens", "8", "--patient-max-new-tokens", "8")


@pytest.fixture
def two(tmp_path) -> str:
    return write_cases(tmp_path / "cases.jsonl", [case(1), case(2, first_question="例002号家属，他头痛，怎么办？")])


@pytest.fixture
def servers(monkeypatch) -> list[str]:
    """The names of the checkpoints that have been served, in order."""
    names, real = [], parties.served

    def counted(path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(parties, "served", counted)
    return names


def test_a_checkpoint_as_the_doctor(tiny, two, tmp_path, servers):
    out = tmp_path / "run"
    with ChatServer(judging) as others:
        words = ("eval", "consult", "--cases", two, "--doctor", str(tiny["base"]), "--patient", others.url + "#p", *FEW)
        assert main([*words, "--judge", others.url + "#judge-model", "--out", str(out)]) == 0
        patient = [one.body for one in others.requests if one.body["model"] == "p"]
        assert all(map(is_patient, patient))
        assert len(patient) == 4 + 3, "four of them canaries"
    assert [set(row["scores"].values()) for row in lines(out / "judge" / "scores.jsonl")] == [{1}, {1}]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["doctor"]["id"] == "base" and manifest["doctor"]["weights_sha256"] == weights_hash(tiny["base"])
    assert str(tmp_path) not in json.dumps(manifest["doctor"])
    doctor = [row for row in lines(out / "outputs.jsonl") if row["role"] == "doctor"]
    assert len(doctor) == 4 and all(0 < row["completion_tokens"] <= 8 for row in doctor)
    assert {one["id"] for one in lines(out / "dialogues.jsonl")} == {"cases/base/001", "cases/base/002"}
    assert servers == ["base"]


@pytest.mark.slow
def test_one_checkpoint_on_both_sides_is_served_once_and_two_twice(tiny, two, tmp_path, servers):
    shutil.copytree(tiny["base"], tmp_path / "other")
    for patient, names in ((tiny["base"], ["base"]), (tmp_path / "other", ["other", "base"])):
        servers.clear()
        out = tmp_path / f"run-{patient.name}"
        words = ("--doctor", str(tiny["base"]), "--patient", str(patient), "--out", str(out))
        assert main(["eval", "consult", "--cases", two, *words, *FEW]) == 1  # a random patient gives way to its canaries
        assert servers == names
        # The gate may end a dialogue at words of this random patient, such as a number; the others are whole.
        for score in lines(out / "scores.jsonl"):
            rows = [row for row in lines(out / "outputs.jsonl") if row["case"] == score["case_id"]]
            assert (len(rows) == 4) if score["ended_by"] == "turns" else (rows[-1]["role"], *rows[-1]["faults"]) > ("patient",)
        assert len(lines(out / "scores.jsonl")) == 2


def test_a_local_party_is_known_by_its_weights_and_its_template(tiny, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny["base"], model)

    def record() -> dict:
        return parties.parse_model(str(model), "UNUSED", concurrency=1, timeout=1).record

    before = record()
    assert set(before) == {"id", "weights_sha256", "files_sha256", "settings_sha256"}
    assert before | {"id": "base"} == parties.parse_model(str(tiny["base"]), "UNUSED", concurrency=1, timeout=1).record
    (model / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    after = record()
    assert {name for name in before if before[name] != after[name]} == {"files_sha256", "settings_sha256"}
