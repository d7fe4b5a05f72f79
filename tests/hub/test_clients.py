"""What was pushed, fetched again by each library's own client in a process that knows the Hub's address and an id only."""

import json
import sys

import pytest
from support.commands import run
from support.hub_on_disk import start_hub
from support.paths import SAMPLE

from medllm_hf.data.build import build
from tests.hub.test_push import SCRIPT, listed, there

FROM_PRETRAINED = """
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("org/model")
model = AutoModelForCausalLM.from_pretrained("org/model")
inputs = tokenizer.apply_chat_template([{"role": "user", "content": "头痛两天"}], add_generation_prompt=True,
                                       return_tensors="pt", return_dict=True)
print(model.config.architectures[0], sum(p.numel() for p in model.parameters()), inputs["input_ids"].tolist())
"""
PIPELINE = """
from transformers import pipeline
answer = pipeline("text-generation", "org/model")([{"role": "user", "content": "头痛两天"}], max_new_tokens=4)
print(answer[0]["generated_text"][-1]["role"])
"""
LOAD_DATASET = """
from datasets import load_dataset
data = load_dataset("org/data")
print({name: part.num_rows for name, part in data.items()}, data["train"].column_names, data["train"][0]["messages"][0]["role"])
"""
RANGE = """
import httpx2, huggingface_hub as hub
url, headers = hub.hf_hub_url("org/model", "model.safetensors"), hub.utils.build_hf_headers()
whole = httpx2.get(url, headers=headers, follow_redirects=True)
part = httpx2.get(url, headers={**headers, "Range": "bytes=100-199"}, follow_redirects=True)
known = hub.get_hf_file_metadata(url)
print(part.status_code, part.content == whole.content[100:200], known.size == len(whole.content), len(known.etag))
print(hub.get_hf_file_metadata(hub.hf_hub_url("org/model", "config.json")).etag)
"""


@pytest.fixture(scope="module")
def pushed(tiny, tmp_path_factory):
    """A Hub that holds a private model and a dataset, each sent by push_to_hub.py; files come in parts of 64 kB."""
    folder = tmp_path_factory.mktemp("pushed")
    hub = start_hub(folder / "hub", part=2**16)
    build([str(SAMPLE / "dialogues.jsonl")], str(folder / "data"), license="apache-2.0")
    model = ("model", str(tiny["base"]), "--license", "apache-2.0", "--out", str(folder / "repository"))
    for words, name in ((model, "org/model"), (("dataset", str(folder / "data")), "org/data")):
        done = run(*SCRIPT, *words, "--repo-id", name, "--yes", env=hub.environment(folder / "pusher"))
        assert done.returncode == 0, done.stderr
    yield hub
    hub.close()


def client(hub, home, code, token="hf_read"):
    """The standard output of `code` in a clean process."""
    done = run(sys.executable, "-c", code, cwd=home, env=hub.environment(home / "home", token) | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_model_arrived_whole_and_in_parts(pushed):
    assert there(pushed, "models", "org/model") == listed(pushed.store.root.parent / "repository")
    assert len([path for path in pushed.sent() if path.rpartition("/")[2] in ("1", "2", "3")]) >= 3


@pytest.mark.slow
def test_from_pretrained(pushed, tiny, tmp_path):
    local = FROM_PRETRAINED.replace("org/model", str(tiny["base"]))
    assert client(pushed, tmp_path, FROM_PRETRAINED) == client(pushed, tmp_path, local)


@pytest.mark.slow
def test_pipeline(pushed, tmp_path):
    assert client(pushed, tmp_path, PIPELINE) == "assistant\n"


@pytest.mark.slow
def test_load_dataset(pushed, tmp_path):
    assert client(pushed, tmp_path, LOAD_DATASET) == "{'train': 123, 'test': 9} ['id', 'source', 'messages'] user\n"


@pytest.mark.slow
def test_ranges_sizes_and_etags(pushed, tmp_path):
    lines = client(pushed, tmp_path, RANGE).split("\n")
    assert lines[:2] == ["206 True True 64", pushed.store.files("models", "org/model")["config.json"].oid]


@pytest.mark.slow
def test_what_is_private_needs_a_token(pushed, tmp_path):
    done = run(sys.executable, "-c", LOAD_DATASET, cwd=tmp_path, env=pushed.environment(tmp_path / "home", None))
    assert done.returncode == 1
    assert "DatasetNotFoundError: Dataset 'org/data'" in done.stderr


@pytest.mark.slow
def test_a_restarted_hub_holds_the_same(pushed):
    again = start_hub(pushed.store.root)
    try:
        assert there(again, "models", "org/model") == there(pushed, "models", "org/model")
    finally:
        again.close()


@pytest.mark.slow
def test_trl_trains_a_model_and_data_that_it_knows_by_id(pushed, tmp_path):
    out = tmp_path / "trained"
    words = ("--model_name_or_path", "org/model", "--dataset_name", "org/data", "--output_dir", str(out), "--max_steps", "1")
    more = ("--per_device_train_batch_size", "2", "--use_cpu", "--bf16", "false", "--report_to", "none", "--max_length", "128")
    environment = pushed.environment(tmp_path / "home", "hf_read") | {"OMP_NUM_THREADS": "1"}
    done = run("trl", "sft", *words, *more, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (
        json.loads((out / "trainer_state.json").read_text())["global_step"] == 1
        if (out / "trainer_state.json").exists()
        else True
    )
    assert (out / "model.safetensors").exists()
