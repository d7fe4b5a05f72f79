"""Weights, adapters, configs and provenance of every odd value: refused by name before anything is written."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medllm_hf.checkpoint.convert import convert
from medllm_hf.checkpoint.merge import merge
from medllm_hf.errors import UserError

SETTINGS = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
MODULE = "model.layers.0.self_attn.q_proj"
NAN, INFINITE = float("nan"), float("inf")
ABSENT = object()
NUMBERS = (ABSENT, None, "8", "", 0, -1, True, NAN, INFINITE, [], 10**30)
# One that takes exponential time, and those that are none.
PATTERNS = (r"((?:\w|\w|\.|\.)+?)+[0-9A-Z]", "(", "a{99999999999}", "(?:" * 3000, "a" * 9999)
SETTINGS_OF_ADAPTERS = [
    *(("r", value) for value in (*NUMBERS, 2.5)),
    *(("lora_alpha", value) for value in NUMBERS),
    *(("rank_pattern", {MODULE: value}) for value in NUMBERS[1:]),
    *(("alpha_pattern", {MODULE: value}) for value in NUMBERS[1:]),
    *((key, value) for key in ("rank_pattern", "alpha_pattern") for value in ("q_proj", 3, ["q_proj"])),
    *(("rank_pattern", {pattern: 2}) for pattern in PATTERNS),
    *(("base_model_name_or_path", value) for value in ([], 3, {}, ["a"], "a\0b", "/no\udc80", "x" * 5000, "./absent", "~/x")),
    *(("peft_type", value) for value in (ABSENT, None, [], {}, 3, "lora", "IA3")),
    *(("modules_to_save", value) for value in ("lm_head", 3, {"a": 1}, [3], [[]])),
    *(("use_rslora", value) for value in ("false", 2, [1])),
    *(("revision", value) for value in (3, ["main"])),
    *(("init_lora_weights", value) for value in ([], {}, 3)),
    ("bias", []),
]  # fmt: skip


def write_adapter(folder: Path, base: Path, change: dict | None = None, **tensors: torch.Tensor) -> Path:
    """An adapter on one module of `base`, with some of its settings or tensors changed."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**SETTINGS, "base_model_name_or_path": str(base), **(change or {})}
    settings = {key: value for key, value in settings.items() if value is not ABSENT}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    halves = {"lora_A": torch.ones(2, 64), "lora_B": torch.ones(64, 2), **tensors}
    save_file({f"base_model.model.{MODULE}.{name}.weight": half for name, half in halves.items()},
              folder / "adapter_model.safetensors")  # fmt: skip
    return folder


def refused(work, folder: Path) -> str:
    """The line by which `work` refuses, quickly and having written nothing into `folder`."""
    before, begun = sorted(os.listdir(folder)), time.monotonic()
    with pytest.raises(UserError) as error:
        work()
    assert sorted(os.listdir(folder)) == before and time.monotonic() - begun < 15
    assert len(str(error.value)) < 1500
    return str(error.value)


@pytest.mark.parametrize(
    ("key", "value"), SETTINGS_OF_ADAPTERS, ids=lambda value: "absent" if value is ABSENT else repr(value)[:30]
)
def test_settings_of_adapters(tiny, tmp_path, key, value):
    folder = write_adapter(tmp_path / "adapter", tiny["base"], {key: value})
    line = refused(lambda: merge(str(folder), str(tmp_path / "out")), tmp_path)
    assert key in line or "adapter" in line or "pattern" in line or key == "base_model_name_or_path"


@pytest.mark.parametrize("value", ["all-linear", 3, None, {}, [[1]], "([a-z]+)*x"], ids=repr)
def test_target_modules_have_no_part(tiny, tmp_path, value):
    """What was trained stands in the weights."""
    folder = write_adapter(tmp_path / "adapter", tiny["base"], {"target_modules": value})
    merge(str(folder), str(tmp_path / "out"))
    assert not torch.equal(
        *(load_file(one / "model.safetensors")[f"{MODULE}.weight"] for one in (tiny["base"], tmp_path / "out"))
    )


@pytest.mark.parametrize("pattern", [MODULE, "q_proj", r"layers\.0\.self_attn\.[qk]_proj", "layers.0.*", "absent"])
def test_patterns_count_as_in_peft(tiny, tmp_path, pattern):
    folder = write_adapter(tmp_path / "adapter", tiny["base"], {"alpha_pattern": {pattern: 8}})
    merge(str(folder), str(tmp_path / "out"))
    old, new = (load_file(one / "model.safetensors")[f"{MODULE}.weight"] for one in (tiny["base"], tmp_path / "out"))
    assert (new - old).median().round() == (4 if pattern == "absent" else 8)


@pytest.mark.parametrize(
    "tensors",
    [
        {"lora_A": torch.ones(3, 64)}, {"lora_A": torch.tensor(1.0)},
        {"lora_B": torch.ones(64)}, {"lora_B": torch.ones(64, 2, 1)},
        {"lora_A": torch.ones(2, 64, dtype=torch.complex64)}, {"lora_B": torch.ones(0, 2)},
    ],
)  # fmt: skip
def test_odd_halves(tiny, tmp_path, tensors):
    folder = write_adapter(tmp_path / "adapter", tiny["base"], **tensors)
    refused(lambda: merge(str(folder), str(tmp_path / "out")), tmp_path)


@pytest.mark.parametrize(
    "text",
    ["[]", '"x"', "3", "", "{", '{"adapters": "x"}', '{"adapters": [3]}',
     '{"adapters": {"a": 1}}', '{"source": 3}', '{"base": ["x"]}'],
)  # fmt: skip
def test_odd_provenance(tiny, tmp_path, text):
    shutil.copytree(tiny["base"], tmp_path / "base")
    (tmp_path / "base" / "provenance.json").write_text(text)
    folder = write_adapter(tmp_path / "adapter", tmp_path / "base")
    assert "provenance.json" in refused(lambda: merge(str(folder), str(tmp_path / "out")), tmp_path)


@pytest.mark.parametrize("text", ["{}", '{"adapters": []}', '{"adapters": [{}], "more": 3}'])
def test_provenance_that_lacks_keys(tiny, tmp_path, text):
    shutil.copytree(tiny["base"], tmp_path / "base")
    (tmp_path / "base" / "provenance.json").write_text(text)
    merge(str(write_adapter(tmp_path / "adapter", tmp_path / "base")), str(tmp_path / "out"))


def test_huge_provenance(tiny, tmp_path):
    shutil.copytree(tiny["base"], tmp_path / "base")
    (tmp_path / "base" / "provenance.json").write_text(json.dumps({"adapters": [], "more": "x" * 5_000_000}))
    folder = write_adapter(tmp_path / "adapter", tmp_path / "base")
    assert "bytes" in refused(lambda: merge(str(folder), str(tmp_path / "out")), tmp_path)


def quantised() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.ones(4, 4), 0.1, 0, torch.qint8)


ODD = {
    "text": "x", "list": [1.0], "none": None, "dict": {"a": torch.ones(2)}, "sparse": torch.ones(4, 4).to_sparse(),
    "csr": torch.ones(4, 4).to_sparse_csr(), "complex": torch.ones(4, 4, dtype=torch.complex64), "quantised": quantised(),
    "0-d": torch.tensor(1.0), "meta": torch.ones(4, device="meta"), "repeated": torch.ones(1).expand(10**12),
    "float8": torch.ones(4).to(torch.float8_e4m3fn), "nothing": torch.ones(0),
}  # fmt: skip


def bin_of(folder: Path) -> tuple[Path, dict]:
    index = json.loads((folder / "pytorch_model.bin.index.json").read_text())["weight_map"]
    file = folder / index["model.norm.weight"]
    return file, torch.load(file)


@pytest.mark.parametrize("kind", ODD)
def test_odd_tensors_in_convert(tiny, tmp_path, kind):
    shutil.copytree(tiny["source"], tmp_path / "source")
    file, state = bin_of(tmp_path / "source")
    torch.save({**state, "model.norm.weight": ODD[kind]}, file)
    line = refused(lambda: convert(str(tmp_path / "source"), str(tmp_path / "out")), tmp_path)
    assert "model.norm.weight" in line or "more than tensors" in line or "damaged" in line


@pytest.mark.parametrize(
    "name", [3, None, ("a",), "", "\udc80", "a\nb", "model.layers.99.self_attn.W_pack.weight", "x"], ids=repr
)
def test_odd_names_in_convert(tiny, tmp_path, name):
    shutil.copytree(tiny["source"], tmp_path / "source")
    file, state = bin_of(tmp_path / "source")
    torch.save({**state, name: torch.ones(4)}, file)
    refused(lambda: convert(str(tmp_path / "source"), str(tmp_path / "out")), tmp_path)


@pytest.mark.parametrize("kind", sorted(ODD.keys() - {"0-d", "nothing"}))
def test_odd_tensors_in_a_base(tiny, tmp_path, kind):
    base = base_in_bin(tiny["base"], tmp_path / "base", lambda state: {**state, "model.norm.weight": ODD[kind]})
    folder = write_adapter(tmp_path / "adapter", base)
    refused(lambda: merge(str(folder), str(tmp_path / "out")), tmp_path)


def base_in_bin(base: Path, folder: Path, change) -> Path:
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(change(load_file(base / "model.safetensors")), folder / "pytorch_model.bin")
    return folder


def test_views_parameters_and_shared_storage_are_read_as_what_they_show(tiny, tmp_path):
    def odd(state: dict) -> dict:
        transposed = state["lm_head.weight"].T.contiguous().T
        whole = torch.cat([state["model.norm.weight"], state["model.norm.weight"]])
        return {**{name: torch.nn.Parameter(tensor) for name, tensor in state.items()},
                "lm_head.weight": transposed, "model.norm.weight": whole[64:]}  # fmt: skip

    plain = write_adapter(tmp_path / "plain", tiny["base"])
    other = write_adapter(tmp_path / "other", base_in_bin(tiny["base"], tmp_path / "base", odd))
    for folder in (plain, other):
        merge(str(folder), str(tmp_path / f"out-{folder.name}"))
    first, second = (load_file(tmp_path / f"out-{name}" / "model.safetensors") for name in ("plain", "other"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "model_max_length")


@pytest.mark.parametrize("value", [10**12, -1, 0, "64", None, 1.5, True, [], NAN], ids=repr)
@pytest.mark.parametrize("key", SIZES)
def test_absurd_sizes(tiny, tmp_path, key, value):
    shutil.copytree(tiny["source"], tmp_path / "source")
    config = json.loads((tmp_path / "source" / "config.json").read_text())
    (tmp_path / "source" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": None, key: value}))
    assert key in refused(lambda: convert(str(tmp_path / "source"), str(tmp_path / "out")), tmp_path)


OTHER = {"rms_norm_eps": ("x", NAN), "initializer_range": ([],), "hidden_act": (3,), "num_attention_heads": (7,)}


@pytest.mark.parametrize(("key", "value"), [*((key, one) for key in OTHER for one in OTHER[key]), ("num_hidden_layers", 9999)])
def test_other_values_of_a_config(tiny, tmp_path, key, value):
    shutil.copytree(tiny["source"], tmp_path / "source")
    config = json.loads((tmp_path / "source" / "config.json").read_text())
    (tmp_path / "source" / "config.json").write_text(json.dumps({**config, key: value}))
    refused(lambda: convert(str(tmp_path / "source"), str(tmp_path / "out")), tmp_path)


@pytest.mark.parametrize(("name", "place"), [
    ("./base", "base"), ("../base", "base"),
    ("../base", "work/base"), ("base", "work/base"), ("models/base", "work/models/base"),
    ("./base", "work/adapter/base"), ("../../x/base", "x/base"),
])  # fmt: skip
def test_a_relative_base_lies_beside_the_adapter(tiny, tmp_path, monkeypatch, capsys, name, place):
    """Whatever folder the command is given in."""
    place = place if place != "base" or name.startswith("..") else "work/base"
    shutil.copytree(tiny["base"], tmp_path / place)
    folder = write_adapter(tmp_path / "work" / "adapter", Path("x"), {"base_model_name_or_path": name})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    merge(str(folder), str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["base"] == "base"


def test_what_was_tried_is_told(tiny, tmp_path, monkeypatch):
    folder = write_adapter(tmp_path / "work" / "adapter", Path("x"), {"base_model_name_or_path": "./base"})
    monkeypatch.chdir(tmp_path)
    line = refused(lambda: merge(str(folder), str(tmp_path / "out")), tmp_path)
    for place in ("work/base", "work/adapter/base", "base"):
        assert str(tmp_path / place) in line
    assert "--base" in line
