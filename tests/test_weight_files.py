"""Of every mixture of weight files in a folder, what is read is what transformers loads."""

import json
import shutil
import sys
from itertools import combinations
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.commands import run
from support.hub_on_disk import start_hub
from support.paths import OFFLINE
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from medllm_hf.checkpoint.convert import convert
from medllm_hf.checkpoint.merge import merge
from medllm_hf.checkpoint.shards import tensors
from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.folder import weights_hash
from medllm_hf.hub.publish import publish_model
from medllm_hf.weight_files import weight_files

NAME = "model.norm.weight"


def small_model():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=20, num_key_value_heads=2, **sizes))


@pytest.fixture(scope="module")
def folder_with(tmp_path_factory):
    """A function that makes a folder with the given kinds of weights; those of each kind have a number of their own."""
    start = tmp_path_factory.mktemp("start")
    model = small_model()
    model.save_pretrained(start)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def make(kinds):
        folder = tmp_path_factory.mktemp("mixture")
        for name in ("config.json", "generation_config.json"):
            shutil.copyfile(start / name, folder / name)
        for kind in kinds:
            KINDS[kind](folder, {**state, NAME: torch.full_like(state[NAME], 2.0 + list(KINDS).index(kind))})
        return folder

    return make


def save(path, state):
    if path.suffix == ".bin":
        torch.save(state, path)
    else:
        save_file(state, path, metadata={"format": "pt"})


def sharded(index, pattern, listed=lambda state: state):
    """A writer of two shards and an index; the first one also holds an old copy of a tensor of the second."""

    def write(folder, state):
        names = sorted(state, key=lambda name: name == NAME)
        parts = {pattern.format(1): names[::2], pattern.format(2): [*names[1::2], NAME]}
        for file, part in parts.items():
            save(folder / file, {name: state[name] for name in part} | ({NAME: state[NAME] - 50} if "1-of" in file else {}))
        weight_map = {name: file for file, part in parts.items() for name in part}
        (folder / index).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))

    return write


def without_a_shard(writer, name):
    def write(folder, state):
        writer(folder, state)
        (folder / name).unlink()

    return write


def in_config(folder, state):
    """The config names another file than the usual ones."""
    save(folder / "named.safetensors", state)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": "named.safetensors"}))


safetensors_shards = sharded("model.safetensors.index.json", "model-0000{}-of-00002.safetensors")
bin_shards = sharded("pytorch_model.bin.index.json", "pytorch_model-0000{}-of-00002.bin")
KINDS = {
    "safetensors": lambda folder, state: save(folder / "model.safetensors", state),
    "safetensors shards": safetensors_shards,
    "bin": lambda folder, state: save(folder / "pytorch_model.bin", state),
    "bin shards": bin_shards,
    "variant": lambda folder, state: save(folder / "model.fp16.safetensors", state),
    "others' files": lambda folder, state: save(folder / "consolidated.safetensors", state),
    "named in the config": in_config,
    "shard without index": lambda folder, state: save(folder / "model-00001-of-00002.safetensors", state),
    "safetensors index without a shard": without_a_shard(safetensors_shards, "model-00002-of-00002.safetensors"),
    "bin index without a shard": without_a_shard(bin_shards, "pytorch_model-00001-of-00002.bin"),
    "parts of ranks": lambda folder, state: save(folder / "shard-00001-model-00001-of-00001.safetensors", state),
}
MIXTURES = [kinds for count in (1, 2) for kinds in combinations(KINDS, count)] + [
    ("safetensors", "safetensors shards", "bin", "bin shards", "variant", "others' files"),
    ("safetensors shards", "bin", "bin shards", "shard without index"),
    ("bin", "bin shards", "variant"),
]


@pytest.mark.parametrize("kinds", MIXTURES, ids=" and ".join)
def test_what_is_read_is_what_transformers_loads(folder_with, kinds):
    folder = folder_with(kinds)
    try:
        expected = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    except Exception:  # transformers has no error of its own for a file that is not there
        with pytest.raises(UserError):
            list(tensors(folder))
        return
    if "parts of ranks" in kinds:  # not read: refused by name
        with pytest.raises(UserError, match="distributed checkpoint"):
            list(tensors(folder))
        return
    read = {name: tensor.clone() for name, tensor in tensors(folder)}
    assert len(read) == len(list(tensors(folder)))
    assert set(read) == set(expected)
    assert [name for name in read if not torch.equal(read[name], expected[name])] == []
    digest = None
    if all(file.suffix == ".safetensors" for file in weight_files(folder)):
        digest = weights_hash(folder)
    for file in folder.glob("*.safetensors"):  # what is not read has no part in the hash
        if file not in weight_files(folder):
            file.unlink()
    assert digest is None or digest == weights_hash(folder)


def test_every_kind_is_read_or_refused_alone(folder_with):
    """That the table above has both, and that the numbers differ."""
    numbers, refused = {}, set()
    for kind in KINDS:
        try:
            numbers[kind] = dict(tensors(folder_with([kind])))[NAME][0].item()
        except UserError:
            refused.add(kind)
    assert len(set(numbers.values())) == len(numbers) == 5
    assert refused == set(KINDS) - set(numbers)


def test_convert_and_merge_read_the_safetensors_beside_an_old_bin_index(tiny, tmp_path):
    """The reported case: an old `.bin` index beside the newer safetensors."""
    source = tmp_path / "source"
    shutil.copytree(tiny["source"], source)
    state = {name: tensor.clone() for name, tensor in tensors(source)}
    state["model.norm.weight"] += 1
    save_file(state, source / "model.safetensors", metadata={"format": "pt"})
    convert(str(source), str(tmp_path / "base"))
    assert torch.equal(dict(tensors(tmp_path / "base"))["model.norm.weight"], state["model.norm.weight"])
    provenance = json.loads((tmp_path / "base" / "provenance.json").read_text())
    assert list(provenance["source_sha256"]) == ["model.safetensors"]
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1}))
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    save_file({name.format("A"): torch.ones(1, 64), name.format("B"): torch.ones(64, 1)}, adapter / "adapter_model.safetensors")
    torch.save({"model.norm.weight": torch.zeros(64)}, tmp_path / "base" / "pytorch_model.bin")
    shutil.copyfile(tiny["source"] / "pytorch_model.bin.index.json", tmp_path / "base" / "pytorch_model.bin.index.json")
    merge(str(adapter), str(tmp_path / "merged"), base=str(tmp_path / "base"))
    assert torch.equal(dict(tensors(tmp_path / "merged"))["model.norm.weight"], state["model.norm.weight"])
    # An adapter beside the weights is something that transformers would add to them.
    shutil.copyfile(adapter / "adapter_config.json", tmp_path / "base" / "adapter_config.json")
    with pytest.raises(UserError, match="an adapter in"):
        merge(str(adapter), str(tmp_path / "again"), base=str(tmp_path / "base"))


@pytest.mark.parametrize("named", ["../else.safetensors", "/etc/passwd", "named.bin", "missing.safetensors", 5])
def test_a_config_that_names_weights_elsewhere_is_refused(folder_with, named):
    folder = folder_with(["safetensors"])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": named}))
    with pytest.raises(UserError, match="transformers_weights"):
        weight_files(folder)


def test_a_merge_onto_weights_that_the_config_names_loads(folder_with, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1}))
    save_file({f"base_model.model.{NAME}": torch.full((16,), 7.0)}, adapter / "adapter_model.safetensors")
    merge(str(adapter), str(tmp_path / "out"), base=str(folder_with(["named in the config", "bin"])))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()[NAME][0] == 7


FETCH = """
import sys
from medllm_hf.pretrained import WITH_PICKLES, snapshot
print(*(snapshot(name, patterns=WITH_PICKLES)[0] for name in sys.argv[1:]), sep="\\n")
"""


def test_from_the_hub_only_what_is_read_is_fetched(folder_with, tmp_path):
    """Other sets of weights stay there; without the Hub the cache gives the same."""
    others = ["variant", "others' files"]
    order = ["safetensors", "safetensors shards", "bin", "bin shards"]
    hub = start_hub(tmp_path / "hub")
    repositories = {f"org/r{i}": folder_with([*order[i:], *others]) for i in range(len(order))}
    adapter = folder_with(["variant"])
    (adapter / "config.json").rename(adapter / "adapter_config.json")
    save_file({"a": torch.ones(1)}, adapter / "adapter_model.safetensors")
    for name, folder in {**repositories, "org/adapter": adapter}.items():
        hub.store.put("models", name, folder, "main")
    online = hub.environment(tmp_path / "home", token=None)
    try:
        done = run(sys.executable, "-c", FETCH, *repositories, "org/adapter", env=online)
    finally:
        hub.close()
    assert done.returncode == 0, done.stderr
    again = run(sys.executable, "-c", FETCH, *repositories, "org/adapter", env={**online, **OFFLINE})
    assert again.stdout == done.stdout
    *snapshots, lora = map(Path, done.stdout.split())
    assert sorted(path.name for path in lora.glob("*.safetensors")) == ["adapter_model.safetensors"]
    for fetched, folder, kind in zip(snapshots, repositories.values(), order, strict=True):
        weights = {path.name for path in fetched.iterdir() if path.suffix in (".safetensors", ".bin")}
        assert weights == {path.name for path in weight_files(folder)}
        assert dict(tensors(fetched))[NAME][0] == 2 + list(KINDS).index(kind)


def test_only_what_is_read_is_published(tiny, tmp_path):
    """What lies beside the weights has no part in the evidence, and some engines would read it."""
    model = tmp_path / "model"
    shutil.copytree(tiny["base"], model)
    shutil.copyfile(model / "model.safetensors", model / "model-00001-of-00001.safetensors")
    (model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00001.safetensors"}}')
    publish_model(str(model), "org/model", [], "apache-2.0", "org/base", str(tmp_path / "out"), overwrite=False)
    assert [path.name for path in sorted((tmp_path / "out").glob("*safetensors*"))] == ["model.safetensors"]
    (model / "model.safetensors").unlink()
    publish_model(str(model), "org/model", [], "apache-2.0", "org/base", str(tmp_path / "shards"), overwrite=False)
    names = ["model-00001-of-00001.safetensors", "model.safetensors.index.json"]
    assert [path.name for path in sorted((tmp_path / "shards").glob("*safetensors*"))] == names
