"""A model by any name of its folder, with weights by any name that its config gives them."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from medllm_hf.evaluation.runs.folder import weights_hash
from medllm_hf.hub.runs import repository_hash
from medllm_hf.pretrained import load_config
from push_to_hub import main


@pytest.mark.parametrize("name", [".", "./", "../model", "../model/", "link", "../link/", "../model/../model"])
def test_a_model_by_any_name_has_its_folder_beside_it(tiny, tmp_path, monkeypatch, capsys, name):
    shutil.copytree(tiny["base"], tmp_path / "model")
    (tmp_path / "link").symlink_to("model")
    (tmp_path / "model" / "link").symlink_to("../link")
    monkeypatch.chdir(tmp_path / "model")
    assert main(["model", name, "--repo-id", "a/b", "--license", "apache-2.0", "--dry-run"]) == 0, capsys.readouterr().err
    found = [path for path in (*tmp_path.iterdir(), *(tmp_path / "model").iterdir()) if path.name.endswith("-repository")]
    assert len(found) == 1 and (found[0] / "model.safetensors").exists()


@pytest.mark.parametrize("parts", [1, 2])
def test_weights_that_the_config_names_are_published_as_they_are_read(tiny, tmp_path, capsys, parts):
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(tiny["base"], model)
    weights = load_file(model / "model.safetensors")
    save_file({name: tensor * 2 for name, tensor in weights.items()}, model / "model.safetensors")  # is not read
    names = [f"part-{i}.safetensors" for i in range(parts)]
    for i, name in enumerate(names):
        own = {key: tensor for j, (key, tensor) in enumerate(weights.items()) if j % parts == i}
        save_file(own, model / name, {"format": "pt"})
    places = {key: names[j % parts] for j, key in enumerate(weights)}
    if parts > 1:
        (model / "own.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    named = names[0] if parts == 1 else "own.safetensors.index.json"
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "transformers_weights": named}))
    words = ["model", str(model), "--repo-id", "a/b", "--license", "apache-2.0", "--dry-run", "--out", str(out)]
    assert main(words) == 0, capsys.readouterr().err
    assert sorted(path.name for path in out.glob("*.safetensors*")) == sorted({*names, named})
    assert load_config(out).transformers_weights == named
    read = AutoModelForCausalLM.from_pretrained(out).state_dict()
    assert all(torch.equal(read[name], weights[name]) for name in weights)
    assert weights_hash(out) == weights_hash(model) == repository_hash(out)
