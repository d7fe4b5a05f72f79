"""LoRA on the modules that the user names, however few, and a name that the model does not have."""

import json

import pytest
from safetensors.torch import load_file
from support.ranks import start, words, write_dialogues


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dialogues(tmp_path_factory.mktemp("adapters") / "data", 4)


@pytest.mark.slow
def test_one_module_by_name(tiny, data, tmp_path):
    lora = {"use_peft": True, "lora_target_modules": "q_proj", "max_steps": 1}
    run = start(tmp_path / "logs", *words(tiny["base"], data, tmp_path / "out", **lora))
    assert run.wait(120) == [0], run.text()[-2000:]
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text(encoding="utf-8"))["target_modules"] == ["q_proj"]
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert tensors
    assert all(".q_proj." in name for name in tensors)


@pytest.mark.slow
def test_a_module_that_is_not_there_is_one_line(tiny, data, tmp_path):
    run = start(
        tmp_path / "logs",
        *words(tiny["base"], data, tmp_path / "out", use_peft=True, lora_target_modules="W_pack", max_steps=1),
    )
    assert run.wait(120) == [2]
    text = run.text()
    assert "Traceback" not in text
    assert text.splitlines()[-1].startswith("medllm: found lora_target_modules W_pack, which the model does not have; ")
