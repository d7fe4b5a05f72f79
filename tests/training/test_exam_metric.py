"""Accuracy during training: it is that of `medllm eval mcq` on the saved weights, and measuring leaves the run as it was."""

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from support.paths import ROOT
from support.short_run import sft, write_dataset, write_questions
from transformers import AutoModelForCausalLM, AutoTokenizer

from medllm_hf.data.mcq import load_items
from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.evaluation.exams.likelihood import likelihoods
from medllm_hf.evaluation.exams.prompts import Prompts, present_options
from medllm_hf.evaluation.exams.weights import load_network
from medllm_hf.pretrained import load_tokenizer
from medllm_hf.training import attention
from medllm_hf.training.exam_metric import McqAccuracy, as_saved

MEASURED = {"max_steps": 6, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
BEST = {"load_best_model_at_end": True, "metric_for_best_model": "eval_mcq_accuracy"}


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("questions") / "dev.jsonl"
    write_questions(path)
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, questions) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "lessons"
    write_dataset(folder, load_items(str(questions)))
    return folder


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory, questions, dataset) -> Path:
    out = tmp_path_factory.mktemp("measured") / "out"
    sft(tiny["base"], dataset, out, dev_questions=questions, **MEASURED, **BEST)
    return out


def load(folder: Path) -> tuple:
    """The model in the folder and its tokenizer."""
    return load_network(folder), load_tokenizer(folder)


def answer(model, tokenizer, item) -> dict:
    """The log-probabilities of the letters of one question."""
    return dict(likelihoods(model, Prompts(tokenizer, {}), present_options([item], seed=0), {0}))[0]


def logged(folder: Path) -> dict[int, float]:
    """Step → accuracy that a run of six steps logged, beside all that an evaluation logs without it."""
    state = json.loads((folder / "checkpoint-6" / "trainer_state.json").read_text(encoding="utf-8"))
    rows = [row for row in state["log_history"] if "eval_loss" in row]
    # TRL logs this only when it finds the model in evaluation mode.
    assert all("eval_mean_token_accuracy" in row for row in rows)
    return {row["step"]: row["eval_mcq_accuracy"] for row in rows}


def accuracy(model: Path, questions: Path, out: Path) -> float:
    """What `medllm eval mcq` says of a checkpoint."""
    mcq(str(model), str(questions), str(out))
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))["accuracy"]


def same_weights(one: Path, other: Path) -> bool:
    one, other = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_the_accuracy_of_every_evaluation_is_that_of_eval_mcq(trained, questions, tmp_path):
    values = logged(trained)
    assert list(values) == [2, 4, 6]
    assert len(set(values.values())) > 1, "the run must show a change, or this test shows nothing"
    for step, value in values.items():
        assert accuracy(trained / f"checkpoint-{step}", questions, tmp_path / str(step)) == value


@pytest.mark.slow
def test_the_best_checkpoint_is_the_one_saved(trained, questions, tmp_path):
    values = logged(trained)
    best = max(values, key=values.get)
    assert values[best] > values[6], "the last checkpoint must not be the best, or this test shows nothing"
    assert same_weights(trained, trained / f"checkpoint-{best}")
    assert not same_weights(trained, trained / "checkpoint-6")
    assert accuracy(trained, questions, tmp_path / "run") == values[best]
    report = json.loads((trained / "training.json").read_text(encoding="utf-8"))
    assert report["run"]["saved_weights"] == f"checkpoint-{best}, best eval_mcq_accuracy"


@pytest.mark.slow
def test_measuring_leaves_the_training_as_it_was(trained, tiny, dataset, tmp_path):
    sft(tiny["base"], dataset, tmp_path / "unmeasured", **MEASURED)
    assert same_weights(trained / "checkpoint-6", tmp_path / "unmeasured" / "checkpoint-6")


def test_mode_and_gradients_are_as_before(tiny, questions):
    model, tokenizer = load(tiny["base"])
    measure = McqAccuracy(str(questions), tokenizer)
    for training in (True, False):
        model.train(training)
        assert measure(model)["mcq_n"] == 8
        assert all(module.training is training for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_dropout_has_no_say(tiny, questions):
    model, tokenizer = load(tiny["base"])
    item = load_items(str(questions))[0]
    expected = answer(model, tokenizer, item)
    model.model.norm = torch.nn.Sequential(model.model.norm, torch.nn.Dropout(0.5))
    model.train()
    assert answer(model, tokenizer, item) != expected
    with as_saved(model):
        assert answer(model, tokenizer, item) == expected


def test_our_attention_answers_as_the_stock_one(tiny, questions):
    attention.register()
    ours = AutoModelForCausalLM.from_pretrained(tiny["base"], attn_implementation=attention.NAME)
    stock, tokenizer = load(tiny["base"])
    for item in load_items(str(questions)):
        with as_saved(ours):
            assert answer(ours, tokenizer, item) == answer(stock, tokenizer, item)


def test_mixed_precision_is_set_aside(tiny, questions):
    plain, tokenizer = load(tiny["base"])
    item = load_items(str(questions))[0]
    expected = answer(plain, tokenizer, item)
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        mixed = Accelerator(mixed_precision="bf16", cpu=True).prepare_model(load(tiny["base"])[0])
        ids = tokenizer(item.question, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            exact, inexact = plain(ids).logits, mixed(ids).logits
            assert not torch.equal(inexact, exact)
            with as_saved(mixed):
                assert answer(mixed, tokenizer, item) == expected
                assert torch.equal(mixed(ids).logits, exact)
            assert torch.equal(mixed(ids).logits, inexact)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_bad_questions_are_refused_beforehand(tiny, questions, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny["base"])
    bad = tmp_path / "bad.jsonl"
    bad.write_text(questions.read_text(encoding="utf-8") + '\n{"id": "x", "question": "q"}\n', encoding="utf-8")
    with pytest.raises(UserError, match="line 9"):
        McqAccuracy(str(bad), tokenizer)
    with pytest.raises(UserError, match=r"no.*absent\.jsonl"):
        McqAccuracy(str(tmp_path / "absent.jsonl"), tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(UserError, match="no chat template"):
        McqAccuracy(str(questions), tokenizer)


@pytest.mark.parametrize("config", [None, "zero2.json", "zero3.json"])
@pytest.mark.slow
def test_two_ranks_measure_what_eval_mcq_says(tiny, questions, dataset, tmp_path, config):
    options = {"deepspeed": ROOT / "recipes" / "deepspeed" / config} if config else {}
    for name, more in {"measured": {"dev_questions": questions}, "plain": {}}.items():
        out = tmp_path / name
        sft(tiny["base"], dataset, out, ranks=2, per_device_train_batch_size=4, **MEASURED, **options, **more)
    values = logged(tmp_path / "measured")
    assert list(values) == [2, 4, 6] and len(set(values.values())) > 1
    for step, value in values.items():
        assert accuracy(tmp_path / "measured" / f"checkpoint-{step}", questions, tmp_path / f"run-{step}") == value
    assert same_weights(tmp_path / "measured", tmp_path / "plain")
    report = json.loads((tmp_path / "measured" / "training.json").read_text(encoding="utf-8"))
    saved = load_file(tmp_path / "measured" / "model.safetensors")
    assert report["run"]["parameters"] == sum(tensor.numel() for tensor in saved.values())
    assert report["hardware"]["devices"] == 2
