"""The plan: DeepSpeed's numbers, activations as PyTorch counts them, steps as the Trainer counts them, plain verdicts."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from support.paths import ROOT, SAMPLE

from medllm_hf.data.build import build
from medllm_hf.errors import UserError
from medllm_hf.training import memory
from medllm_hf.training.plan import model_config, plan

SHARED = {"intermediate_size": 11008, "num_attention_heads": 32, "num_hidden_layers": 32, "hidden_size": 4096}
BAICHUAN = SHARED | {"model_type": "llama", "vocab_size": 125696, "tie_word_embeddings": False}
QWEN = {"model_type": "qwen3", "vocab_size": 151936, "head_dim": 128, "num_key_value_heads": 8}
QWEN_8B = QWEN | {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32}
QWEN_06B = QWEN | {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
CONFIGS = {
    "baichuan2-7b": BAICHUAN,
    "qwen3-8b": QWEN_8B | {"tie_word_embeddings": False},
    "qwen3-0.6b": QWEN_06B | {"tie_word_embeddings": True},
}
SEVEN_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PARAMETERS, LARGEST = 7_505_973_248, 125_696 * 4096


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """Model → a folder that holds its config.json and nothing else."""
    made = {}
    for name, config in CONFIGS.items():
        folder = tmp_path_factory.mktemp("configs") / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        made[name] = str(folder)
    return made


@pytest.fixture
def full(folders) -> dict:
    settings = {"dtype": "bfloat16", "bf16": True, "deepspeed": str(ROOT / "recipes" / "deepspeed" / "zero3.json")}
    return settings | {"model_name_or_path": folders["baichuan2-7b"], "per_device_train_batch_size": 1, "max_length": 1024}


def table(text: str) -> dict[str, tuple[float, float, bool]]:
    """Stage → GB of model states, GB in all, whether it fits, as the plan prints them."""
    rows = re.findall(r"^  (none|ZeRO-\d(?: \+ offload)?) +([\d.]+) GB +([\d.]+) GB   (fits|does not fit), ", text, re.M)
    return {name: (float(states), float(total), judged == "fits") for name, states, total, judged in rows}


@pytest.mark.parametrize(("gpus", "nodes"), [(4, 1), (3, 1), (8, 2)])
def test_model_states_are_deepspeeds_own(full, gpus, nodes):
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs as zero3
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs as zero2

    text = plan(full, gpus, nodes, 80)
    rows = table(text)
    host, offloaded, _ = zero3(PARAMETERS, LARGEST, gpus, nodes)
    assert f"parameters        {PARAMETERS:,} (largest module {LARGEST:,})" in text
    assert rows["ZeRO-2"][0] == round(zero2(PARAMETERS, gpus, nodes, cpu_offload=False)[1] / 1e9, 1)
    assert rows["ZeRO-3"][0] == round(zero3(PARAMETERS, LARGEST, gpus, nodes, False, False)[1] / 1e9, 1)
    assert rows["ZeRO-3 + offload"][0] == round(offloaded / 1e9, 1)
    assert f"offload holds {host / 1e9:.1f} GB in the memory of each node" in text


def test_four_gpus_of_80_gb_are_enough_for_the_7b(full):
    text = plan(full | {"per_device_train_batch_size": 6, "max_length": 2048}, 4, 1, 80)
    states, total, fits = table(text)["ZeRO-3"]
    assert fits and 40 < total < 60 and total - states < 20
    assert not table(text)["none"][2]
    assert re.search(r"^The recipe fits with its ZeRO-3: 3\d\.\d GB free on each GPU\.$", text, re.M)


def test_three_gpus_of_48_gb_are_not(full):
    """As users report; with weights and optimizer in the node's memory they are."""
    text = plan(full, 3, 1, 48)
    rows = table(text)
    assert [name for name, row in rows.items() if row[2]] == ["ZeRO-3 + offload"]
    assert 48 < rows["ZeRO-3"][1] < 60
    assert re.search(
        r"^The recipe does not fit with its ZeRO-3: \d+\.\d GB short\.\nWhat fits:\n  ZeRO-3 \+ offload: ", text, re.M
    )


def test_when_nothing_fits_it_says_what_to_do(full):
    text = plan(full, 2, 1, 4)
    assert not any(row[2] for row in table(text).values())
    assert text.splitlines()[-1] == "Nothing fits: use more GPUs, LoRA or QLoRA, or a shorter max_length."


@pytest.mark.parametrize(
    ("reported", "gpus", "gb", "batch", "length"), [(False, 3, 48, 1, 1024), (False, 4, 40, 1, 2048), (True, 6, 40, 2, 2048)]
)
def test_what_users_reported_is_planned_so(full, reported, gpus, gb, batch, length):
    text = plan(full | {"per_device_train_batch_size": batch, "max_length": length}, gpus, 1, gb)
    assert table(text)["ZeRO-3"][2] is reported
    assert f"{table(text)['ZeRO-3'][1]:.1f} GB" in (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")


def test_lora_and_qlora_take_less(full):
    lora = full | {"use_peft": True, "lora_r": 16, "lora_target_modules": SEVEN_LINEAR, "deepspeed": None}
    hidden, inner = 4096, 11008
    trained = 32 * 16 * (4 * 2 * hidden + 3 * (hidden + inner))
    plans = [plan(options, 1, 1, 24) for options in (full, lora, lora | {"load_in_4bit": True, "use_bnb_nested_quant": True})]
    whole, adapter, quantised = (table(text)["none"][0] for text in plans)
    assert f"trained           {trained:,} (0.5298%, LoRA)" in plans[1] and "%, QLoRA)" in plans[2]
    # 16-bit weights once, 32-bit adapters with gradients, moments and a 16-bit copy.
    assert adapter == round((2 * PARAMETERS + 18 * trained) / 1e9, 1)
    assert whole > 50 and quantised < adapter / 2
    assert "The recipe fits without DeepSpeed" in plans[1]
    assert "ZeRO-3" not in table(plans[2])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("checkpointing", [pytest.param(True, marks=pytest.mark.slow), False])
def test_activations_are_those_that_pytorch_counts(folders, name, checkpointing):
    """Bytes a token of two bfloat16 layers at the peak of a step, from PyTorch's tracker, with no memory taken."""
    counted = (tracked(CONFIGS[name], 2048, checkpointing) - tracked(CONFIGS[name], 1024, checkpointing)) / 1024
    config, _ = model_config(folders[name], None)
    config.num_hidden_layers = 2
    shapes = memory.read_shapes(config, None)
    parts = memory.activations(shapes, 1024, 0, checkpointing, residual=2)
    assert sum(size for part, size in parts.items() if part != "head") / 1024 == pytest.approx(counted, rel=0.15)


def tracked(config: dict, tokens: int, checkpointing: bool) -> int:
    """The most bytes that one step on a row of `tokens` takes beside weights and gradients; no head, no logits."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker
    from transformers import AutoConfig, AutoModelForCausalLM

    own = {"num_hidden_layers": 2, "vocab_size": 1000, "max_position_embeddings": 4096}
    with FakeTensorMode():
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(**(config | own)), dtype=torch.bfloat16, attn_implementation="sdpa"
        ).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        states = sum(2 * parameter.numel() * parameter.element_size() for parameter in model.parameters())
        tracker = MemTracker()
        tracker.track_external(model, *[parameter.grad for parameter in model.parameters()])
        ids, positions = torch.zeros((1, tokens), dtype=torch.long), torch.arange(tokens)[None]
        with tracker:
            model.model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state.sum().backward()
        (device,) = tracker.get_tracker_snapshot("peak").values()
        return next(size for kind, size in device.items() if str(kind).endswith("Total")) - states


def test_steps_and_tokens_are_those_of_the_run(tiny, tmp_path):
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from medllm_hf.training.prepare import prepare

    build([str(SAMPLE / "dialogues.jsonl")], str(tmp_path / "data"), license="apache-2.0")
    options = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "num_train_epochs": 2, "max_length": 128}
    recipe = options | {"model_name_or_path": str(tiny["base"]), "dataset_name": str(tmp_path / "data")}
    text = plan(recipe, 1, 1, 80)
    rows = load_dataset(str(tmp_path / "data"), split="train")
    settings = SFTConfig(output_dir=str(tmp_path), bf16=False, report_to="none", **options)
    trainer = SFTTrainer(str(tiny["base"]), args=settings, train_dataset=rows)
    steps = trainer.set_initial_training_values(settings, trainer.get_train_dataloader())[-1]
    assert f"optimizer steps   {steps}\n" in text
    prepared = prepare(rows, AutoTokenizer.from_pretrained(tiny["base"]), 128)
    mean = prepared.tokens / len(rows)
    assert len(rows) <= 200, "all rows are sampled"
    assert f"{len(rows)} dialogues, {mean:.0f} tokens each (mean of {len(rows)})" in text
    assert f"tokens            about {steps * 12 * mean:,.0f}\n" in text
    packed = plan(recipe | {"packing": True}, 1, 1, 80)
    assert int(re.search(r"optimizer steps   (\d+)", packed)[1]) < steps
    assert "optimizer steps   7\n" in plan(recipe | {"max_steps": 7}, 1, 1, 80)


@pytest.mark.parametrize("name", ["sft_full", "sft_lora"])
def test_recipe_and_command_give_one_plan(tiny, name):
    """Values as TRL's own parser merges them: the recipe's, unless the command has another; modules trained whole too."""
    from trl.scripts.sft import make_parser

    recipe = yaml.safe_load((ROOT / "recipes" / "tiny" / f"{name}.yaml").read_text(encoding="utf-8"))
    parser = make_parser()
    parser.set_defaults_with_config(**recipe)
    command = ["--model_name_or_path", str(tiny["base"]), "--max_length", "64", "--max_steps", "9"]
    merged = vars(parser.parse_args(command))
    text = plan(merged, 1, 1, 4)
    assert text == plan(recipe | {"model_name_or_path": str(tiny["base"]), "max_length": 64, "max_steps": 9}, 1, 1, 4)
    assert "optimizer steps   9\n" in text and "The recipe fits without DeepSpeed" in text
    with_checkpoints = plan(merged | {"activation_checkpointing": True}, 1, 1, 4)
    assert "one layer" in with_checkpoints and "one layer" not in text


def test_fewer_trained_tokens_need_a_smaller_head(tiny, tmp_path):
    build([str(SAMPLE / "dialogues.jsonl")], str(tmp_path / "data"), license="apache-2.0")
    recipe = {"model_name_or_path": str(tiny["base"]), "per_device_train_batch_size": 1024, "max_length": 4096}
    heads = [
        float(re.search(r"head ([\d.]+) GB", plan(options, 1, 1, 80))[1])
        for options in (recipe, recipe | {"dataset_name": str(tmp_path / "data")})
    ]
    assert heads[1] < heads[0]


def test_an_unconverted_checkpoint_is_planned_as_what_it_becomes(tiny):
    plans = {name: plan({"model_name_or_path": str(tiny[name])}, 1, 1, 80).splitlines() for name in ("source", "base")}
    assert plans["source"][1:-1] == plans["base"][1:]
    assert "medllm convert" in plans["source"][-1]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (None, "no config.json"),
        ({"model_type": "unheard-of"}, "unheard-of"),
        ({"model_type": "baichuan"}, "hidden_size"),
        (BAICHUAN | {"model_type": "baichuan", "hidden_size": 5120}, "13B"),
        ({"model_type": "gpt2"}, "gpt2"),
    ],
)
def test_a_model_that_cannot_be_planned(tmp_path, config, named):
    if config:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=named) as refused:
        plan({"model_name_or_path": str(tmp_path) if config else "nobody/nothing"}, 4, 1, 80)
    assert len(str(refused.value)) < 400


def test_other_mistakes(full, tmp_path):
    with pytest.raises(UserError, match="--gpus N --gpu_memory GB"):
        plan(full, None, 1, None)
    with pytest.raises(UserError, match="--gpus 0"):
        plan(full, 0, 1, 80)
    with pytest.raises(UserError, match="W_pack"):
        plan(full | {"use_peft": True, "lora_target_modules": ["W_pack"]}, 1, 1, 80)
    with pytest.raises(UserError, match=r"no zero9\.json"):
        plan(full | {"deepspeed": str(tmp_path / "zero9.json")}, 1, 1, 80)
    with pytest.raises(UserError, match="a split train"):
        plan(full | {"dataset_name": str(tmp_path)}, 1, 1, 80)


def test_16_bit_weights_without_deepspeed_are_remarked(full):
    alone = full | {"deepspeed": None}
    assert "set dtype: float32" in plan(alone, 1, 1, 80)
    assert "set dtype: float32" not in plan(alone | {"dtype": "float32"}, 1, 1, 80)
    # Weights, gradients and two moments of 4 bytes, and autocast's copy of 2.
    assert table(plan(alone | {"dtype": "float32"}, 1, 1, 80))["none"][0] == round(18 * PARAMETERS / 1e9, 1)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes").glob("*b/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_the_table_of_recipes_has_what_is_planned(folders, path, monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe = yaml.safe_load(path.read_text(encoding="utf-8")) | {"model_name_or_path": folders[path.parent.name]}
    name = str(path.relative_to(ROOT / "recipes"))
    readme = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    (row,) = [line.split("|") for line in readme.splitlines() if line.startswith(f"| [{name}]")]
    gpus, gb = map(int, re.fullmatch(r"(\d+) GPUs? of (\d+) GB", row[5].strip()).groups())
    text = plan(recipe | {"dataset_name": None}, gpus, 1, gb)
    stage = re.search(r"^The recipe fits (?:with its (ZeRO-\d)|without DeepSpeed): ", text, re.M)[1] or "none"
    assert row[6].strip() == f"{table(text)[stage][1]:.1f} GB"
    assert max(map(len, text.splitlines()[1:])) <= 80
    assert Path(recipe["model_name_or_path"]).exists()
