"""An adapter is refused as a model, and published as an adapter on request, naming its base on the Hub."""

import json
import sys

import pytest
from peft import LoraConfig, get_peft_model
from support.commands import one_line_error, run
from support.hub_on_disk import start_hub
from support.paths import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.hub.test_push import there

SCRIPT = (sys.executable, str(ROOT / "push_to_hub.py"), "model")
LOAD = """
from peft import PeftModel
from transformers import AutoModelForCausalLM
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("org/base"), "org/lora")
print(model.peft_config["default"].base_model_name_or_path)
"""


@pytest.fixture(scope="module")
def adapter(tiny, tmp_path_factory):
    """A LoRA of the tiny base as training leaves it, with the path of the base on this machine."""
    folder = tmp_path_factory.mktemp("adapter") / "lora"
    model = AutoModelForCausalLM.from_pretrained(tiny["base"])
    get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny["base"]).save_pretrained(folder)
    (folder / "training_args.bin").write_bytes(b"pickle")
    return folder


@pytest.mark.slow
def test_an_adapter_is_refused_or_published_as_one(tiny, adapter, tmp_path):
    hub = start_hub(tmp_path / "hub")
    hub.store.put("models", "org/base", tiny["base"])
    environment = hub.environment(tmp_path / "home")
    words = ("--repo-id", "org/lora", "--license", "mit", "--yes", "--out", str(tmp_path / "out"))
    try:
        assert "medllm merge" in one_line_error(run(*SCRIPT, str(adapter), *words, env=environment))
        assert "--base-model" in one_line_error(run(*SCRIPT, str(adapter), *words, "--adapter", env=environment))
        more = ("--adapter", "--base-model", "org/base")
        assert "--eval-run" in one_line_error(run(*SCRIPT, str(adapter), *words, *more, "--eval-run", "x", env=environment))
        assert hub.requests == []
        done = run(*SCRIPT, str(adapter), *words, *more, env=environment)
        assert done.returncode == 0, done.stderr
        found = there(hub, "models", "org/lora")
        assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "tokenizer.json"} <= set(found)
        assert "training_args.bin" not in found
        assert found["adapter_model.safetensors"] == (adapter / "adapter_model.safetensors").read_bytes()
        assert json.loads(found["adapter_config.json"])["base_model_name_or_path"] == "org/base"
        assert b"base_model: org/base" in found["README.md"] and str(tiny["base"]).encode() not in b"".join(found.values())
        done = run(sys.executable, "-c", LOAD, cwd=tmp_path, env=hub.environment(tmp_path / "reader"))
        assert done.stdout == "org/base\n", done.stderr
    finally:
        hub.close()


def test_an_adapter_without_weights_is_none(adapter, tmp_path):
    (tmp_path / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    words = ("--repo-id", "org/lora", "--license", "mit", "--adapter", "--base-model", "org/base", "--dry-run")
    assert "adapter_model.safetensors" in one_line_error(run(*SCRIPT, str(tmp_path), *words))


@pytest.mark.slow
def test_the_terms_of_baichuan2_stay_with_an_adapter(adapter, tmp_path):
    words = ("--repo-id", "org/lora", "--adapter", "--base-model", "baichuan-inc/Baichuan2-7B-Chat", "--dry-run", "--out")
    assert "--license other" in one_line_error(run(*SCRIPT, str(adapter), *words, str(tmp_path / "a"), "--license", "mit"))
    done = run(*SCRIPT, str(adapter), *words, str(tmp_path / "b"), "--license", "other")
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "b" / "README.md").read_text(encoding="utf-8")
    assert "license_name: baichuan2-community-license" in card and "社区许可协议" in card
