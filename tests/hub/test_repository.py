"""The repository folder: complete, loadable by anybody, and refused when something in it is not right."""

import json
import os
import shutil
import sys

import pytest
import torch
from huggingface_hub import ModelCard, metadata_load
from safetensors.torch import load_file, save_file
from support.commands import first_word, run
from support.paths import ROOT, SAMPLE

from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.hub.publish import publish_model
from medllm_hf.hub.repository import repository


@pytest.fixture(scope="module")
def measured(tiny, tmp_path_factory):
    """A run folder of the tiny base on ten questions."""
    folder = tmp_path_factory.mktemp("measured")
    lines = (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()[:10]
    (folder / "ten.jsonl").write_text("\n".join(lines), encoding="utf-8")
    mcq(str(tiny["base"]), str(folder / "ten.jsonl"), str(folder / "run"), score="text")
    return folder / "run"


def publish(model, out, runs=(), base_model=None):
    publish_model(str(model), "org/tiny", list(map(str, runs)), "apache-2.0", base_model, str(out), False)


def test_repository_folder_is_complete(tiny, measured, tmp_path):
    publish(tiny["base"], tmp_path / "repository", [measured], base_model="org/base")
    names = {str(path.relative_to(tmp_path / "repository")) for path in (tmp_path / "repository").rglob("*") if path.is_file()}
    assert {"README.md", "model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= names
    assert {"tokenizer_config.json", "chat_template.jinja", "provenance.json"} <= names
    assert {f"eval/run/{name}" for name in ("manifest.json", "outputs.jsonl", "scores.jsonl", "metrics.json")} <= names


def test_what_is_checked_is_told_before_torch_is_imported(tiny, measured, tmp_path, refused):
    words = (str(ROOT / "push_to_hub.py"), "model", str(tiny["base"]), "--repo-id", "org/tiny", "--license", "apache-2.0")
    more = ("--eval-run", str(measured), "--dry-run", "--out", str(tmp_path / "repository"))
    text, loaded = first_word(*words, *more)
    size = (tiny["base"] / "model.safetensors").stat().st_size
    assert text == f"checking {tiny['base']}: {size:,} bytes of weights, runs: {measured}" and loaded == []
    assert not (tmp_path / "repository").exists()


def test_card_carries_the_measured_figures(tiny, measured, tmp_path):
    publish(tiny["base"], tmp_path / "repository", [measured])
    metrics = json.loads((measured / "metrics.json").read_text())
    card = ModelCard.load(tmp_path / "repository" / "README.md")
    result = card.data.eval_results[0]
    assert result.metric_value == metrics["accuracy"]
    assert f"n={metrics['n']}" in result.metric_name
    assert f"{100 * metrics['accuracy']:.1f}%" in card.text
    data = metadata_load(tmp_path / "repository" / "README.md")
    assert (data["license"], data["language"], data["pipeline_tag"]) == ("apache-2.0", ["zh"], "text-generation")
    assert "org/tiny" in card.text and "{{" not in card.text


def test_card_says_how_the_weights_came_about(tiny, tmp_path):
    publish(tiny["base"], tmp_path / "converted")
    assert "converted from 转换自 source, chat template 对话模板 `medllm`" in (tmp_path / "converted" / "README.md").read_text()
    model = copied(tiny, tmp_path)
    merged = {"adapters": [{"name": "lora"}], "base": "b", "base_weights": "bfloat16, not quantised", "arithmetic": "float32"}
    (model / "provenance.json").write_text(json.dumps(merged))
    publish(model, tmp_path / "merged")
    card = (tmp_path / "merged" / "README.md").read_text()
    assert (
        "LoRA lora merged onto b (bfloat16, not quantised) in float32; if it was trained over a quantised base (QLoRA)" in card
    )


def copied(tiny, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny["base"], model)
    return model


def test_training_leftovers_are_not_published(tiny, tmp_path):
    model = copied(tiny, tmp_path)
    torch.save({"x": 1}, model / "training_args.bin")
    (model / "notes.txt").write_text("private")
    publish(model, tmp_path / "repository")
    assert not {"training_args.bin", "notes.txt"} & {path.name for path in (tmp_path / "repository").iterdir()}


def damage_weights(value):
    def change(model):
        weights = load_file(model / "model.safetensors")
        save_file({**weights, "model.norm.weight": value}, model / "model.safetensors")

    return change


def only_pickles(model):
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (damage_weights(torch.full((64,), float("nan"))), "model.norm.weight"),
        (damage_weights(torch.empty(0)), "model.norm.weight"),
        (only_pickles, "safetensors"),
        (lambda model: (model / "chat_template.jinja").unlink(), "template"),
        (lambda model: [(model / f"tokenizer.{kind}").unlink() for kind in ("json", "model")], "tokenizer"),
        (lambda model: (model / "adapter_config.json").write_text("{}"), "medllm merge"),
        (lambda model: (model / "model.safetensors").write_bytes(b"x" * 100), "damaged"),
    ],
)
def test_refused_models(tiny, tmp_path, change, named):
    model = copied(tiny, tmp_path)
    change(model)
    with pytest.raises(UserError, match=named):
        publish(model, tmp_path / "repository")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_results_of_other_weights_are_refused(tiny, measured, tmp_path):
    model = copied(tiny, tmp_path)
    damage_weights(torch.full((64,), 2.0))(model)
    with pytest.raises(UserError, match="other weights"):
        publish(model, tmp_path / "repository", [measured])


@pytest.mark.slow
def test_the_script_writes_the_same_from_another_folder(tiny, measured, tmp_path):
    script = (sys.executable, str(ROOT / "push_to_hub.py"), "model", str(tiny["base"]), "--repo-id", "org/tiny")
    done = run(*script, "--license", "mit", "--eval-run", str(measured), "--out", "repository", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing uploaded" in done.stdout
    assert (tmp_path / "repository" / "eval" / "run" / "scores.jsonl").read_bytes() == (measured / "scores.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("name", "target", "named"),
    [("out.txt", "../secret.txt", "the link out.txt to ../secret.txt"), ("loop", ".", "the link loop to .")],
    ids=["a file outside", "a folder in itself"],
)
def test_links_that_lead_out_or_round_are_refused(tmp_path, name, target, named):
    (tmp_path / "secret.txt").write_text("x", encoding="utf-8")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model" / name).symlink_to(target)
    with pytest.raises(UserError, match=named):
        repository("model", str(tmp_path / "model"), "org/x")


def test_a_snapshot_of_the_cache_and_a_link_within_are_taken(tmp_path):
    snapshot = tmp_path / "models--org--x" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--org--x" / "blobs").mkdir()
    (tmp_path / "models--org--x" / "blobs" / "1").write_text("{}", encoding="utf-8")
    (snapshot / "config.json").symlink_to("../../blobs/1")
    (snapshot / "copy.json").symlink_to("config.json")
    assert repository("model", str(snapshot), "org/x").files.keys() == {"config.json", "copy.json"}


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "queue.json")
    with pytest.raises(UserError, match=r"a pipe or a device at queue.json"):
        repository("model", str(tmp_path), "org/x")
