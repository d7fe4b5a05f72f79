"""Sources in every form give one result; damaged and foreign ones are refused in one line; others can use what comes out."""

import importlib.util
import json
import shutil
import subprocess

import pytest
import torch
from safetensors.torch import save_file
from support.commands import one_line_error, run
from support.hub_on_disk import start_hub
from support.paths import OFFLINE, SAMPLE
from transformers import AutoModelForCausalLM

from medllm_hf.checkpoint.convert import convert, llama_config
from medllm_hf.checkpoint.shards import ShardWriter, tensors
from medllm_hf.data.build import build
from medllm_hf.errors import UserError


def state_of(folder):
    return {name: tensor.clone() for name, tensor in tensors(folder)}


def variant(source, folder, save, state=None):
    """A copy of `source` whose weights are written by `save(state, folder)` instead."""
    folder.mkdir()
    for name in ("config.json", "generation_config.json", "tokenizer.model"):
        shutil.copyfile(source / name, folder / name)
    save(state or state_of(source), folder)
    return folder


def one_safetensors(state, folder):
    save_file(state, folder / "model.safetensors")


def sharded_safetensors(state, folder):
    names = sorted(state)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: state[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in halves.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def one_bin(state, folder):
    torch.save(state, folder / "pytorch_model.bin")


def old_bin(state, folder):
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def normalised(state):
    return {**state, "lm_head.weight": torch.nn.functional.normalize(state["lm_head.weight"])}


@pytest.fixture(scope="module", params=["golden", "tiny"])
def source(request):
    return request.getfixturevalue("golden") if request.param == "golden" else request.getfixturevalue("tiny")["source"]


@pytest.mark.parametrize("save", [one_safetensors, sharded_safetensors, one_bin, old_bin])
@pytest.mark.parametrize("change", [dict, normalised])
def test_every_form_gives_the_same_bytes(source, tmp_path, save, change):
    """D18: also after an evaluation by the original code, which leaves the head normalised."""
    convert(str(source), str(tmp_path / "expected"))
    convert(str(variant(source, tmp_path / "in", save, change(state_of(source)))), str(tmp_path / "out"))
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (tmp_path / "expected" / "model.safetensors").read_bytes()


def test_cast_comes_after_normalisation(source, tmp_path):
    """D19: rows are normalised in float32, then cast once."""
    convert(str(source), str(tmp_path / "out"), dtype="bfloat16")
    exact = torch.nn.functional.normalize(state_of(source)["lm_head.weight"]).to(torch.bfloat16)
    assert torch.equal(state_of(tmp_path / "out")["lm_head.weight"], exact)


def test_half_precision_source_is_normalised_in_float32(tiny, tmp_path):
    state = {name: tensor.to(torch.bfloat16) for name, tensor in state_of(tiny["source"]).items()}
    folder = variant(tiny["source"], tmp_path / "in", one_safetensors, state)
    convert(str(folder), str(tmp_path / "out"))
    head = state_of(tmp_path / "out")["lm_head.weight"]
    assert torch.equal(head, torch.nn.functional.normalize(state["lm_head.weight"].float()).to(torch.bfloat16))
    convert(
        str(variant(tiny["source"], tmp_path / "again", one_safetensors, {**state, "lm_head.weight": head})),
        str(tmp_path / "twice"),
    )
    assert torch.equal(state_of(tmp_path / "twice")["lm_head.weight"], head)


def test_first_generation_has_a_plain_head(tiny, tmp_path):
    folder = variant(tiny["source"], tmp_path / "in", one_bin)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BaiChuanForCausalLM"]}))
    convert(str(folder), str(tmp_path / "out"))
    assert torch.equal(state_of(tmp_path / "out")["lm_head.weight"], state_of(tiny["source"])["lm_head.weight"])


def test_rotary_buffers_are_dropped_by_name(tiny, tmp_path):
    state = {**state_of(tiny["source"]), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    convert(str(variant(tiny["source"], tmp_path / "in", one_bin, state)), str(tmp_path / "out"))
    assert set(state_of(tmp_path / "out")) == set(state_of(tiny["base"]))


def test_config_is_what_transformers_makes_of_it(tiny):
    config = json.loads((tiny["base"] / "config.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(tiny["base"])
    assert {name: tuple(t.shape) for name, t in model.state_dict().items()} == {
        name: tuple(t.shape) for name, t in tensors(tiny["base"])
    }
    source = json.loads((tiny["source"] / "config.json").read_text())
    assert llama_config(source, "float32") == config
    assert (model.config.rms_norm_eps, model.config.rope_parameters["rope_theta"]) == (1e-6, 10000.0)
    assert (model.generation_config.top_k, model.generation_config.eos_token_id) == (5, 2)


def test_shards_are_split_and_indexed(tmp_path):
    plan = {f"t{i}": ((10, 100), torch.float32) for i in range(5)}
    writer = ShardWriter(tmp_path, plan, max_bytes=9000)
    values = {name: torch.randn(10, 100) for name in plan}
    for name in reversed(plan):
        writer.write(name, values[name].split(3))
    writer.close()
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert files == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    read = state_of(tmp_path)
    assert all(torch.equal(read[name], values[name]) for name in plan)
    with pytest.raises(ValueError, match="was not written"):
        ShardWriter(tmp_path, plan).close()


def truncated(folder):
    file = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.bin"))
    file[0].write_bytes(file[0].read_bytes()[: file[0].stat().st_size // 2])


def index_outside(folder):
    index = folder / "model.safetensors.index.json"
    text = json.loads(index.read_text())
    text["weight_map"] = dict.fromkeys(text["weight_map"], "../../etc/passwd")
    index.write_text(json.dumps(text))


def other_vocabulary(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 64000}))


@pytest.mark.parametrize(
    ("save", "change", "named"),
    [
        (sharded_safetensors, lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(), "no model-00002"),
        (sharded_safetensors, truncated, "damaged"),
        (one_bin, truncated, "damaged"),
        (sharded_safetensors, index_outside, "passwd"),
        (one_bin, other_vocabulary, "64000"),
        (one_bin, lambda folder: (folder / "config.json").write_text("[]"), "list"),
        (one_bin, lambda folder: (folder / "config.json").write_text("{"), "not JSON"),
        (one_bin, lambda folder: torch.save([torch.ones(1)], folder / "pytorch_model.bin"), "list"),
        (one_bin, lambda folder: torch.save({"a": 5}, folder / "pytorch_model.bin"), "no tensor"),
    ],
)
def test_damaged_sources_are_refused_in_one_line(tiny, tmp_path, refused, save, change, named):
    folder = variant(tiny["source"], tmp_path / "in", save)
    change(folder)
    assert named in refused("convert", str(folder), str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_full_disk_is_refused_in_one_line(tiny, tmp_path):
    """A real small file system, filled by the conversion itself."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("this user cannot mount a small file system")
    try:
        assert "No space left" in one_line_error(run("medllm", "convert", str(tiny["source"]), str(small / "out")))
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.slow
def test_a_hub_repository_at_a_revision(tiny, tmp_path):
    """The unmodified client against a Hub on loopback: the revision asked for, no code files, then offline from the cache."""
    shutil.copytree(tiny["source"], tmp_path / "repo")
    (tmp_path / "repo" / "modeling_baichuan.py").write_text("raise SystemExit('remote code was run')")
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "readme.txt").write_text("no checkpoint")
    hub = start_hub(tmp_path / "hub")
    hub.store.put("models", "org/baichuan", tmp_path / "main", "main")
    hub.store.put("models", "org/baichuan", tmp_path / "repo", "v1")
    online = hub.environment(tmp_path / "home", token=None)
    try:
        command = ("medllm", "convert", "org/baichuan", str(tmp_path / "out"))
        done = run(*command, "--revision", "v1", env=online)
        assert done.returncode == 0, done.stderr
        assert not [path for _, path in hub.requests if path.endswith(".py")]
        assert "config.json" in one_line_error(run(*command, "--overwrite", env=online))  # main has no such file
        assert "org/none" in one_line_error(run("medllm", "convert", "org/none", str(tmp_path / "x"), env=online))
    finally:
        hub.close()
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tiny["base"] / name).read_bytes()
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert (provenance["source"], provenance["revision"]) == ("org/baichuan", "v1")
    again = run("medllm", "convert", "org/baichuan", str(tmp_path / "offline"), "--revision", "v1", env={**online, **OFFLINE})
    assert again.returncode == 0, again.stderr


def test_unknown_places_are_refused(tmp_path, refused):
    assert "missing/model" in refused("convert", "missing/model", "out", cwd=tmp_path)
    with pytest.raises(UserError, match="no folder"):
        convert("./missing", str(tmp_path / "out"))


@pytest.mark.slow
def test_a_lora_trains_on_the_result(tiny, tmp_path):
    build([str(SAMPLE / "dialogues.jsonl")], str(tmp_path / "dataset"), "apache-2.0")
    recipe = SAMPLE.parents[2] / "recipes" / "tiny" / "sft_lora.yaml"
    done = run(
        *("trl", "sft", "--config", str(recipe), "--model_name_or_path", str(tiny["base"])),
        *("--dataset_name", str(tmp_path / "dataset"), "--output_dir", str(tmp_path / "lora"), "--max_steps", "2"),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    merged = run("medllm", "merge", str(tmp_path / "lora"), str(tmp_path / "merged"))
    assert merged.returncode == 0, merged.stderr
    assert "14 tensors changed, 2 replaced" in merged.stdout


@pytest.mark.skipif(not importlib.util.find_spec("lm_eval"), reason="lm-evaluation-harness (extra: harness) is not installed")
def test_lm_evaluation_harness_loads_the_result(tiny):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=str(tiny["base"]), device="cpu", batch_size=1)
    request = Instance("loglikelihood", {}, ("头痛三天，", "需要检查"), 0)
    value, _ = harness.loglikelihood([request], disable_tqdm=True)[0]
    tokenizer, model = harness.tokenizer, AutoModelForCausalLM.from_pretrained(tiny["base"])
    prompt, whole = tokenizer("头痛三天，")["input_ids"], tokenizer("头痛三天，需要检查")["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    expected = sum(logits[i - 1, whole[i]].item() for i in range(len(prompt), len(whole)))
    assert value == pytest.approx(expected, abs=1e-3)
