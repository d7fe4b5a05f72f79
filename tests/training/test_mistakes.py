"""Mistakes in the settings of a run: each is one line and exit code 2 before anything is tokenised or loaded."""

import json
import math
import os
import pickle
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from support.ranks import start, words, write_dialogues
from transformers import AutoModelForCausalLM
from trl import SFTConfig

from medllm_hf.errors import UserError
from medllm_hf.training.check_saved import check_saved
from medllm_hf.training.checks import BELOW, LEAST, LEAST_WHOLE, check_evaluation, check_numbers

EVALUATES = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
BEST = {**EVALUATES, "load_best_model_at_end": True}
LORA = {"use_peft": True}
STOCK_OPTIONS = {field.name for field in fields(SFTConfig)}
# Name → options, what the line must hold.
MISTAKES = {
    "accuracy without questions": ({**BEST, "metric_for_best_model": "eval_mcq_accuracy"}, "--dev_questions FILE"),
    "accuracy as trl calls it": ({**BEST, "metric_for_best_model": "mcq_accuracy"}, "--dev_questions FILE"),
    "unknown metric": ({**BEST, "metric_for_best_model": "eval_accuracy"}, "eval_loss, eval_mean_token_accuracy"),
    "loss of no source": ({**BEST, "metric_for_best_model": "eval_loss_exam"}, "metric_for_best_model eval_loss_exam"),
    "best by an unknown metric": (
        {**EVALUATES, "save_strategy": "best", "metric_for_best_model": "f1"}, "metric_for_best_model f1"
    ),
    "best by none": ({**EVALUATES, "save_strategy": "best"}, "add --metric_for_best_model loss"),
    "best without evaluation": ({"save_strategy": "best", "metric_for_best_model": "loss"}, "--eval_strategy epoch"),
    "best, two strategies": ({**BEST, "eval_strategy": "epoch"}, "eval_strategy and save_strategy the same"),
    "best, no evaluation": ({"load_best_model_at_end": True, "save_strategy": "epoch"}, "eval_strategy and save_strategy"),
    "best between evaluations": ({**BEST, "save_steps": 3}, "not a round multiple of 2"),
    "evaluation at the start alone": ({"eval_on_start": True}, "eval_on_start and no evaluation"),
    "plateau without evaluation": ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "requires an eval strategy"),
    "questions without evaluation": ({"dev_questions": "x.jsonl"}, "--dev_questions and no evaluation"),
    "questions not there": ({**EVALUATES, "dev_questions": "absent.jsonl"}, "absent.jsonl"),
    "questions that are dialogues": ({**EVALUATES, "dev_questions": "DATA/train.jsonl"}, "train.jsonl line 1"),
    "no wandb": ({"report_to": "wandb"}, "report_to wandb"),
    "no tensorboard": ({"report_to": "tensorboard"}, "report_to tensorboard"),
    "no trackio": ({"report_to": "trackio"}, "report_to trackio"),
    "no such tracker": ({"report_to": "wandbb"}, "report_to wandbb"),
    "no liger": ({"use_liger_kernel": True}, "no package liger_kernel"),
    "no bitsandbytes, 4 bits": ({**LORA, "load_in_4bit": True}, "no package bitsandbytes"),
    "no bitsandbytes, 8 bits": ({**LORA, "load_in_8bit": True}, "no package bitsandbytes"),
    "4 and 8 bits": ({**LORA, "load_in_4bit": True, "load_in_8bit": True}, "8 bit and 4 bit"),
    "no optimizer of bitsandbytes": ({"optim": "paged_adamw_8bit"}, "optim paged_adamw_8bit"),
    "no galore": ({"optim": "galore_adamw", "optim_target_modules": "all-linear"}, "optim galore_adamw"),
    "no schedulefree": ({"optim": "schedule_free_adamw"}, "optim schedule_free_adamw"),
    "no such optimizer": ({"optim": "adamw8"}, "invalid choice: 'adamw8'"),
    "beta above one": ({"adam_beta1": 2}, "optim adamw_torch"),
    "no such schedule": ({"lr_scheduler_type": "cosin"}, "invalid choice: 'cosin'"),
    "schedule without its setting": ({"lr_scheduler_type": "cosine_with_min_lr"}, "min_lr"),
    "schedule with another's setting": (
        {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": '{"min_lr": 1}'}, "lr_scheduler_type cosine"
    ),
    "schedule with words": ({"lr_scheduler_kwargs": "min_lr=1"}, "lr_scheduler_kwargs min_lr=1"),
    "bf16 on a CPU": ({"bf16": True}, "add --use_cpu true"),
    "fp16 on a CPU": ({"fp16": True}, "fp16 and no GPU"),
    "fp16 and bf16": ({"fp16": True, "bf16": True, "use_cpu": True}, "fp16 and bf16"),
    "tf32 on a CPU": ({"tf32": True}, "tf32 and no GPU"),
    "offloading on a CPU": ({"activation_offloading": True}, "activation_offloading and no GPU"),
    "fsdp without ranks": ({"fsdp": "full_shard"}, "fsdp and no launcher"),
    "no flash-attention": ({"attn_implementation": "flash_attention_2"}, "no CUDA device for flash_attention_2"),
    "no kernels": ({"attn_implementation": "kernels-community/flash-attn2"}, "no CUDA device for the kernel kernels-community"),
    "no such attention": ({"attn_implementation": "fast"}, "attn_implementation fast"),
    "a kernel for every layer": ({"model_init_kwargs": '{"use_kernels": true}'}, "no package kernels"),
    "remote code": ({"trust_remote_code": True}, "trust_remote_code"),
    "remote code in a corner": ({"model_init_kwargs": '{"trust_remote_code": true}'}, "trust_remote_code"),
    "weights by chance": ({"model_init_kwargs": '{"ignore_mismatched_sizes": true}'}, "ignore_mismatched_sizes"),
    "no argument of a model": ({"model_init_kwargs": '{"dtyp": "float32"}'}, "dtyp in model_init_kwargs"),
    "words for arguments": ({"model_init_kwargs": "float32"}, "model_init_kwargs float32"),
    "adapter on the head": ({**LORA, "lora_target_modules": "q_proj lm_head"}, "lm_head among lora_target_modules"),
    "adapter on the head alone": ({**LORA, "lora_target_modules": "lm_head"}, "--lora_modules_to_save lm_head"),
    "adapter on another's modules": ({**LORA, "lora_target_modules": "W_pack"}, "W_pack"),
    "another's module to save": ({**LORA, "lora_modules_to_save": "wte"}, "lora_modules_to_save wte"),
    "another's parameter": ({**LORA, "lora_target_parameters": "experts"}, "lora_target_parameters experts"),
    "rank 0": ({**LORA, "lora_r": 0}, "lora_r 0"),
    "all dropped": ({**LORA, "lora_dropout": 1}, "lora_dropout 1"),
    "adapter for another task": ({**LORA, "lora_task_type": "SEQ_CLS"}, "lora_task_type SEQ_CLS"),
    "experts that are none": ({"router_aux_loss_coef": 0.1}, "router_aux_loss_coef"),
    "push without a network": ({"push_to_hub": True}, "push_to_hub and HF_HUB_OFFLINE"),
    "length 0": ({"max_length": 0}, "max_length 0"),
    "batch 0": ({"per_device_train_batch_size": 0}, "per_device_train_batch_size 0"),
    "evaluation batch 0": ({**EVALUATES, "per_device_eval_batch_size": 0}, "per_device_eval_batch_size 0"),
    "accumulation 0": ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps 0"),
    "learning rate below 0": ({"learning_rate": -1}, "learning_rate -1"),
    "learning rate no number": ({"learning_rate": "nan"}, "learning_rate nan"),
    "learning rate a word": ({"learning_rate": "high"}, "invalid float value: 'high'"),
    "warmup below 0": ({"warmup_steps": -1}, "warmup_steps"),
    **({} if "warmup_ratio" in STOCK_OPTIONS else {"warmup by its old name": ({"warmup_ratio": 0.1}, "warmup_steps")}),
    "overwriting by its old name": ({"overwrite_output_dir": True}, "expected --overwrite"),
    "epochs 0": ({"max_steps": -1, "num_train_epochs": 0}, "num_train_epochs 0"),
    "steps 0": ({"max_steps": 0}, "max_steps 0"),
    "saving at every 0": ({"save_strategy": "steps", "save_steps": 0}, "save_steps 0"),
    "seed below 0": ({"seed": -1}, "seed -1"),
    "a seed beyond all": ({"seed": 2**70}, f"seed {2**70}"),
    "epochs no number": ({"max_steps": -1, "num_train_epochs": "nan"}, "num_train_epochs nan"),
    "a batch beyond all": ({"per_device_train_batch_size": 10**400}, "per_device_train_batch_size 1000"),
    "processes below 0": ({"dataset_num_proc": -1}, "dataset_num_proc -1"),
    "loaders below 0": ({"dataloader_num_workers": -1}, "dataloader_num_workers -1"),
    "an adapter without effect": ({**LORA, "lora_alpha": 0}, "lora_alpha 0"),
    "noise below 0": ({"neftune_noise_alpha": -3}, "neftune_noise_alpha -3"),
    "decay below 0": ({"weight_decay": -1}, "weight_decay -1"),
    "packing that cuts": ({"packing": True, "packing_strategy": "wrapped"}, "packing_strategy wrapped"),
    "checkpointing with another's setting": (
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": '{"reentrant": true}'}, "reentrant in gradient"
    ),
    "checkpointing that is off": ({"gradient_checkpointing_kwargs": '{"selective": true}'}, "no gradient_checkpointing"),
    "prefetching without workers": ({"dataloader_prefetch_factor": 2}, "dataloader_num_workers > 0"),
    "a config that is not there": ({"accelerator_config": "absent.json"}, "absent.json"),
    "a word too many": ({"learning_rate": "0.1 0.2"}, "0.2"),
    "a split that is not there": ({"dataset_train_split": "training"}, "a split training"),
    "a split to evaluate on that is not there": ({**EVALUATES, "dataset_test_split": "dev"}, "or add --eval_strategy no"),
    "a configuration that is not there": ({"dataset_config": "zh"}, "'zh' not found"),
    "a stream": ({"dataset_streaming": True}, "dataset_streaming"),
    "an end that is no token": ({"eos_token": "<|no|>"}, "eos_token <|no|>"),
    "padding that is no token": ({"pad_token": "<|no|>"}, "pad_token <|no|>"),
    "a file for a folder": ({"output_dir": "DATA/train.jsonl"}, "output_dir"),
    "no place to write": ({"output_dir": "/proc/out"}, "output_dir /proc/out"),
    "no checkpoint": ({"resume_from_checkpoint": True}, "no whole checkpoint"),
    "a checkpoint that is not there": ({"resume_from_checkpoint": "absent"}, "absent: no such folder"),
    "no such model": ({"model_name_or_path": "nobody/nothing"}, "nobody/nothing"),
    "no such dataset": ({"dataset_name": "nobody/nothing"}, "nobody/nothing"),
}  # fmt: skip
# Of these, what --plan is told of as well: all that another machine would not change.
PLANNED = (
    "accuracy without questions", "unknown metric", "best without evaluation", "evaluation at the start alone",
    "questions not there", "schedule without its setting", "schedule with words", "adapter on the head",
    "adapter on the head alone", "adapter on another's modules", "another's module to save", "rank 0", "length 0", "batch 0",
    "accumulation 0", "epochs 0", "steps 0", "packing that cuts", "no such schedule", "learning rate below 0",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dialogues(tmp_path_factory.mktemp("mistakes") / "data", 6, 2)


def arguments(base: Path, data: Path, out: Path, **options: object) -> list[str]:
    """The words of a run with one mistake; a value of several words is several."""
    given = [word.replace("DATA", str(data)) for word in words(base, data, out, **{"max_steps": 2, **options})]
    return [part for word in given for part in (word.split() if not word.startswith(("{", "/")) else [word])]


def told(logs: Path, *given: str) -> str:
    """What the one line says, of a run that got no further than reading the names of its dataset."""
    attempt = start(logs, *given)
    codes, text = attempt.wait(120), attempt.text().strip()
    assert codes == [2], text[-3000:]
    noise = ("real_accelerator", " examples/s]", "[transformers]")  # what libraries say of a machine, progress and old names
    lines = [line for line in text.splitlines() if line.strip() and not any(part in line for part in noise)]
    assert len(lines) == 1 and lines[0].startswith("medllm: found "), text
    return lines[0]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_at_once(tiny, data, tmp_path, name):
    options, said = MISTAKES[name]
    assert said in told(tmp_path / "logs", *arguments(tiny["base"], data, tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", PLANNED)
def test_a_plan_is_told_too(tiny, data, tmp_path, name):
    options, said = MISTAKES[name]
    given = arguments(tiny["base"], data, tmp_path / "out", **options)
    assert said in told(tmp_path / "logs", *given, "--plan", "--gpus", "1", "--gpu_memory", "80")


def test_a_plan_of_another_machine_needs_nothing_here(tiny, data, tmp_path):
    options = {**BEST, "bf16": True, "tf32": True, **LORA, "lora_target_modules": "q_proj", "load_in_4bit": True}
    given = arguments(tiny["base"], data, tmp_path / "out", **options, report_to="wandb", optim="paged_adamw_8bit")
    plan = start(tmp_path / "logs", *given, "--plan", "--gpus", "1", "--gpu_memory", "80")
    assert plan.wait(120) == [0], plan.text()
    assert "QLoRA" in plan.text()


@pytest.mark.parametrize("name", LEAST)
def test_no_number_without_meaning_passes(name):
    """As a recipe may hold them, whose values no parser has seen."""
    least, below = LEAST[name], BELOW.get(name, 2**31 if name in LEAST_WHOLE else 1e9)
    for value in (max(least, 1) if below > 1 else 0.5, below - 1 if below > 1 else 0.9, None):
        check_numbers({name: value})
    wrong = [math.nan, math.inf, -math.inf, "1", True, [1]] + [1.5] * (name in LEAST_WHOLE)
    wrong += [least - 1] * (least > -math.inf) + [BELOW.get(name), 10**400] * (name in BELOW)
    for value in wrong:
        with pytest.raises(UserError, match=f"found {name} "):
            check_numbers({name: value})


def adapter_of(base: Path, folder: Path) -> Path:
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(target_modules=["q_proj"]))
    model.save_pretrained(folder)
    return folder


def resized_in_config(base: Path, folder: Path) -> Path:
    shutil.copytree(base, folder)
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, "vocab_size": 4064}), encoding="utf-8")
    return folder


def extended_tokenizer(base: Path, folder: Path, word: str) -> Path:
    """A base whose tokenizer has `word` for a token more than the model has rows."""
    shutil.copytree(base, folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["added_tokens"].append({**content["added_tokens"][-1], "id": 4000, "content": word})
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def with_a_layer_more(base: Path, folder: Path) -> Path:
    shutil.copytree(base, folder)
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    more = {"num_hidden_layers": config["num_hidden_layers"] + 1}
    file.write_text(json.dumps({**config, **more}), encoding="utf-8")
    return folder


def without_a_norm(base: Path, folder: Path) -> Path:
    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def cut_off(base: Path, folder: Path) -> Path:
    shutil.copytree(base, folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    return folder


def empty(base: Path, folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (adapter_of, "an adapter in"),
        (resized_in_config, "set vocab_size to 4000 in config.json"),
        (with_a_layer_more, "9 weights missing in"),
        (without_a_norm, "1 weights missing in"),
        (cut_off, "fetch the checkpoint again"),
        (empty, "no config.json in"),
    ],
)
def test_a_base_that_cannot_be_trained_is_told_at_once(tiny, data, tmp_path, make, said):
    base = make(tiny["base"], tmp_path / "base")
    assert said in told(tmp_path / "logs", *arguments(base, data, tmp_path / "out"))


def lines(*answers: object, **more: object) -> bytes:
    messages = [[{"role": "user", "content": "头痛"}, {"role": "assistant", "content": answer}] for answer in answers]
    return b"".join(json.dumps({"messages": one, **more}, ensure_ascii=False).encode() + b"\n" for one in messages)


# Name → files, the file that the line names, what else it says.
BROKEN = {
    "a line that is cut": ({"train.jsonl": lines("a") + b'{"messages": [\n' + lines("b")}, "train.jsonl", "JSON parse error"),
    "not UTF-8": ({"train.jsonl": lines("a") + lines("é").decode().encode("latin1", "ignore")}, "train.jsonl", "UTF-8"),
    "half a character": ({"train.jsonl": lines("a") + lines("X").replace(b"X", b"\\ud800")}, "train.jsonl", "surrogate"),
    "other columns": ({"train.jsonl": lines("a"), "test.jsonl": b'{"text": "b"}\n'}, "test.jsonl", "new columns ({'text'})"),
    "another type": ({"train.jsonl": lines("a"), "test.jsonl": b'{"messages": 5}\n'}, "test.jsonl", "Couldn't cast"),
    "no row": ({"train.jsonl": b""}, "train.jsonl", "no row in it"),
    "no row to train on": ({"train.jsonl": b"", "test.jsonl": lines("a")}, "train.jsonl", "no row in it"),
    "blank": ({"train.jsonl": b"\n"}, "train.jsonl", "no row in it"),
    "cut Parquet": ({"train.parquet": b"PAR1"}, "", "Parquet"),
    "a card that is no YAML": ({"train.jsonl": lines("a"), "README.md": b"---\nconfigs: [\n---\n"}, "", "flow node"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_data_that_cannot_be_read_are_told_with_their_file(tiny, tmp_path, name):
    files, file, said = BROKEN[name]
    data = tmp_path / "data"
    data.mkdir()
    for one, content in files.items():
        (data / one).write_bytes(content)
    given = arguments(tiny["base"], data, tmp_path / "out")
    for more in ([], ["--plan", "--gpus", "1", "--gpu_memory", "80"]):
        line = told(tmp_path / "logs", *given, *more)
        assert f"found {data / file}: " in line and said in line
    assert not (tmp_path / "out").exists()


def test_a_broken_file_of_a_mixture_is_told(tiny, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"{")
    recipe = tmp_path / "mixed.yaml"
    recipe.write_text(f"datasets:\n  - path: json\n    data_files: {tmp_path / 'a.jsonl'}\n", encoding="utf-8")
    given = arguments(tiny["base"], tmp_path, tmp_path / "out", config=recipe)
    place = given.index("--dataset_name")
    assert f"found {tmp_path / 'a.jsonl'}: " in told(tmp_path / "logs", *given[:place], *given[place + 2 :])


MIXTURES = {
    "a word": {"datasets": "words"},
    "a list of words": {"datasets": ["words"]},
    "a number for a path": {"datasets": [{"path": 5}]},
    "a number for files": {"datasets": [{"path": "json", "data_files": 5}]},
    "a number for a folder": {"datasets": [{"path": "json", "data_dir": 5}]},
    "no path": {"datasets": [{"data_files": "DATA/train.jsonl"}]},
    "no such file": {"datasets": [{"path": "json", "data_files": "DATA/absent.jsonl"}]},
    "a name that is too long": {"datasets": [{"path": "json", "data_files": "DATA/" + 300 * "a"}]},
    "no such column": {"datasets": [{"path": "DATA", "columns": ["text"]}]},
    "no such split": {"datasets": [{"path": "DATA", "split": "dev"}]},
    "nothing of each": {"datasets": [{"path": "DATA", "fraction": 0}]},
    "a part of some": {"datasets": [{"path": "DATA", "fraction": 0.5}, {"path": "DATA"}]},
    "a larger part than all": {"datasets": [{"path": "DATA"}], "test_split_size": 7.5},
    "a stream": {"datasets": [{"path": "DATA"}], "streaming": True},
}


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_that_cannot_be_made_is_told(tiny, data, tmp_path, name):
    recipe = tmp_path / "mixed.yaml"
    recipe.write_text(json.dumps(MIXTURES[name]).replace("DATA", str(data)), encoding="utf-8")
    given = arguments(tiny["base"], data, tmp_path / "out", config=recipe)
    place = given.index("--dataset_name")
    told(tmp_path / "logs", *given[:place], *given[place + 2 :])
    assert not (tmp_path / "out").exists()


def test_ready_ids_have_no_loss_of_a_source(tiny, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name, last in (("train", 9), ("test", 8)):
        rows = [{"input_ids": [5, 6, last], "labels": [5, 6, last], "source": source} for source in ("ward", "clinic")]
        (data / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    options = {**BEST, "metric_for_best_model": "eval_loss_ward"}
    assert "metric_for_best_model eval_loss_ward" in told(
        tmp_path / "logs", *arguments(tiny["base"], data, tmp_path / "out", **options)
    )


def test_a_link_to_nothing_is_no_output_folder(tiny, data, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "unmounted")
    for out in (tmp_path / "link", tmp_path / "link" / "out"):
        assert f"by the link {tmp_path / 'link'}" in told(
            tmp_path / "logs", *arguments(tiny["base"], data, out, overwrite=True)
        )
    assert not (tmp_path / "unmounted").exists()


def test_a_mistake_can_be_sent_to_another_process():
    error = UserError("a", "b", "c")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "found a; expected b; c"


def test_an_unconverted_base_is_told_at_once(tiny, data, tmp_path):
    assert "medllm convert" in told(tmp_path / "logs", *arguments(tiny["source"], data, tmp_path / "out"))


def test_a_token_without_a_row_is_told_before_the_model_is_loaded(tiny, data, tmp_path):
    first = json.loads((data / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])["messages"][0]["content"]
    base = extended_tokenizer(tiny["base"], tmp_path / "base", first[:8])
    attempt = start(tmp_path / "logs", *arguments(base, data, tmp_path / "out"))
    assert attempt.wait(120) == [2], attempt.text()
    assert "the id 4000 in the dialogues, and 4000 rows" in attempt.text() and "resize_token_embeddings" in attempt.text()


def test_a_resized_model_that_was_saved_without_its_config_is_advised_rightly(tiny, tmp_path):
    base = resized_in_config(tiny["base"], tmp_path / "base")
    with pytest.raises(UserError, match=r"vocabulary was resized: set vocab_size to 4000") as error:
        check_saved(base)
    assert "ZeRO" not in str(error.value)


def test_what_is_only_doubtful_is_warned_of(tiny, data, tmp_path):
    """Longer than the model's positions; settings of an adapter that is not asked for."""
    options = {"max_length": 100_000, "lora_r": 4, "max_steps": 1}
    run = start(tmp_path / "logs", *arguments(tiny["base"], data, tmp_path / "out", **options))
    assert run.wait(120) == [0], run.text()
    assert "max_length 100000 is more than the model's 1024 positions" in run.text()
    assert "lora_r without use_peft: all weights are trained" in run.text()


def test_bf16_on_a_cpu_trains_as_the_refusal_says(tiny, data, tmp_path):
    run = start(tmp_path / "logs", *arguments(tiny["base"], data, tmp_path / "out", bf16=True, use_cpu=True))
    assert run.wait(120) == [0], run.text()


def test_the_smaller_loss_of_a_source_is_the_better_one():
    """transformers takes every metric that does not end in "loss" for one to be raised."""
    from trl import SFTConfig

    settings = SFTConfig("out", bf16=False, metric_for_best_model="eval_loss_exam", **{**BEST, "save_strategy": "steps"})
    assert settings.greater_is_better
    check_evaluation(settings, None, ["clinic", "exam"])
    assert settings.greater_is_better is False
    with pytest.raises(UserError, match="eval_loss_clinic, eval_loss_ward"):
        check_evaluation(settings, None, ["clinic", "ward"])


@pytest.mark.skipif("HF_TOKEN" in os.environ, reason="a token is there")
def test_a_push_without_a_token_is_told(monkeypatch):
    from types import SimpleNamespace

    from huggingface_hub import constants

    from medllm_hf.training import checks

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(checks, "get_token", lambda: None)
    with pytest.raises(UserError, match="hf auth login"):
        checks.check_hub(SimpleNamespace(push_to_hub=True, hub_token=None))
    checks.check_hub(SimpleNamespace(push_to_hub=True, hub_token="hf_x"))
