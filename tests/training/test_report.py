"""The training report: its figures by hand from raw values, both sources, full and LoRA, and no failure that fails a run."""

import json
from dataclasses import dataclass
from math import isclose
from pathlib import Path

import pytest
from datasets import Dataset
from safetensors import safe_open
from support.paths import OFFLINE
from support.short_run import CONSULTATION, EXAM, sft, write_dataset, write_questions
from transformers import AutoTokenizer
from trl import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from medllm_hf.checkpoint.merge import merge
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.training import attention, throughput
from medllm_hf.training.prepare import Prepared, prepare
from medllm_hf.training.report import ACCURACY, cell, panel_curves, plot, write_training_report
from medllm_hf.training.report_values import changed_settings, plain, training_values
from medllm_hf.training.trainer import ExactTrainer

STEPS = {"max_steps": 5, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "no"}
LORA = {"use_peft": True, "lora_r": 4, "lora_target_modules": "q_proj v_proj", "lora_modules_to_save": "lm_head"}


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, dataset and questions."""

    out: Path
    data: Path
    splits: dict[str, list[dict]]
    questions: Path

    @property
    def values(self) -> dict:
        return json.loads((self.out / "training.json").read_text(encoding="utf-8"))

    @property
    def page(self) -> str:
        return (self.out / "training_report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def full(tiny, tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("report")
    splits = write_dataset(folder / "lessons", write_questions(folder / "dev.jsonl"))
    sft(tiny["base"], folder / "lessons", folder / "full", dev_questions=folder / "dev.jsonl", **STEPS)
    return Trained(folder / "full", folder / "lessons", splits, folder / "dev.jsonl")


@pytest.fixture(scope="module")
def lora(tiny, full) -> Trained:
    out = full.out.with_name("lora")
    sft(tiny["base"], full.data, out, dev_questions=full.questions, **STEPS, **LORA)
    return Trained(out, full.data, full.splits, full.questions)


def lengths(base: Path, rows: list[dict]) -> list[int]:
    """The tokens of each dialogue as the tokenizer's own template renders it."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    return [len(tokenizer.apply_chat_template(row["messages"], return_dict=True)["input_ids"]) for row in rows]


def sizes(file: Path) -> dict[str, int]:
    """Name → numbers of a tensor."""
    with safe_open(file, "pt") as tensors:
        return {name: tensors.get_tensor(name).numel() for name in tensors.keys()}


def test_figures_are_those_counted_by_hand(full, tiny):
    run, history = full.values["run"], full.values["log_history"]
    counts = lengths(tiny["base"], full.splits["train"])
    assert (run["dialogues_read"], run["dialogues_shortened"], run["dialogues_left_out"]) == (16, 0, 0)
    assert (run["steps"], run["epochs"], run["resumed_at_step"]) == (5, 2.5, 0)
    assert run["tokens"] == sum(counts)
    fed = [entry["num_tokens"] for entry in history if "num_tokens" in entry][-1]
    assert run["tokens_fed"] == fed and 2 * sum(counts) < fed < 3 * sum(counts)
    seconds = next(entry["train_runtime"] for entry in history if "train_runtime" in entry)
    assert run["seconds"] == seconds and isclose(run["tokens_per_second"], fed / seconds)
    parameters = sum(sizes(full.out / "model.safetensors").values())
    assert run["parameters"] == run["trained_parameters"] == parameters
    length = sum(count**2 for count in counts) / sum(counts)
    flops = 6 * parameters + 12 * 2 * 64 * length  # two layers of width 64
    assert isclose(run["attended_length"], length) and isclose(run["flops_per_token"], flops)
    assert isclose(run["flops_per_second"], flops * fed / seconds)
    assert (run["real_token_share"], run["saved_weights"]) == (1, "last step")
    assert run["last_eval_loss"] == [entry["eval_loss"] for entry in history if "eval_loss" in entry][-1]


def test_memory_and_device_are_those_of_the_run(full):
    values = full.values
    assert 2e8 < values["run"]["peak_memory"] < 8e9  # torch alone takes more than the one, such a model less than the other
    assert (values["run"]["peak_flops"], values["run"]["flop_use"]) == (None, None)
    assert "peak of this device not known" in full.page
    assert values["run"]["attention"].startswith("per_sample")
    assert values["hardware"]["devices"] == 1 and values["hardware"]["device"]
    assert {"torch", "transformers", "trl", "accelerate", "peft", "medllm_hf"} <= set(values["versions"])


def test_both_sources_have_a_row_and_a_curve(full):
    values, page = full.values, full.page
    sources = panel_curves(values)["evaluation loss by source"]
    assert list(sources) == ["1 exam", "source 2"]
    for row, (name, points), label in zip(values["sources"], sources.items(), [EXAM, cell(CONSULTATION)], strict=True):
        logged = [(e["step"], e[f"eval_loss_{row['source']}"]) for e in values["log_history"] if "eval_loss" in e]
        assert points == logged and [step for step, _ in points] == [2, 4, 5], name
        assert (row["dialogues"], row["first_loss"], row["last_loss"]) == (8, logged[0][1], logged[-1][1])
        assert f"| {label} | 8 | {logged[0][1]:.4f} | {logged[-1][1]:.4f} |" in page
    assert cell(CONSULTATION) == "问诊&#124;&lt;b&gt;"


def test_curves_hold_what_was_logged(full, tmp_path):
    values = full.values
    panels, history = panel_curves(values), values["log_history"]
    assert panels["loss, nats a token"]["training"] == [(e["step"], e["loss"]) for e in history if "loss" in e]
    assert len(panels["learning rate"][""]) == 5
    shares = [e["eval_mcq_accuracy"] for e in history if "eval_mcq_accuracy" in e]
    assert panels[ACCURACY][""] == [(step, 100 * share) for step, share in zip((2, 4, 5), shares, strict=True)]
    picture = (full.out / "training_curves.png").read_bytes()
    plot(values, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == picture and len(picture) < 200_000
    plot({"log_history": [], "sources": []}, tmp_path / "nothing.png")


def test_settings_are_those_that_were_changed(full):
    settings = full.values["settings"]
    assert settings["learning_rate"] == 0.001 and settings["max_steps"] == 5 and settings["gradient_checkpointing"] is False
    assert settings["model_init_kwargs"]["attn_implementation"] == attention.NAME
    for unchanged in ("weight_decay", "seed", "packing", "accelerator_config", "debug", "output_dir", "hub_token"):
        assert unchanged not in settings
    assert "| learning_rate | 0.001 |" in full.page


def test_nothing_names_a_place_of_this_machine(full):
    for name in ("training.json", "training_report.md"):
        text = (full.out / name).read_text(encoding="utf-8")
        assert str(full.out.parent) not in text and str(Path.home()) + "/" not in text
    assert plain({"deepspeed": "/home/somebody/zero3.json", "x": float("nan")}) == {"deepspeed": "zero3.json", "x": None}


@pytest.mark.slow
def test_a_lora_run_is_reported_too(lora, full, tiny, tmp_path):
    run = lora.values["run"]
    own = sum(sizes(lora.out / "adapter_model.safetensors").values())
    base = sizes(tiny["base"] / "model.safetensors")
    assert run["trained_parameters"] == own
    assert run["parameters"] == sum(base.values()) - base["lm_head.weight"] + own  # the head is trained in its place
    attended = 12 * 2 * 64 * full.values["run"]["attended_length"]
    assert isclose(run["flops_per_token"], 4 * run["parameters"] + 2 * own + attended)
    assert lora.values["adapters"]["default"]["r"] == 4 and "base_model_name_or_path" not in lora.values["adapters"]["default"]
    assert "## Settings of the adapter default" in lora.page and (lora.out / "training_curves.png").exists()
    merge(lora.out, tmp_path / "merged", tiny["base"])  # an adapter alone is refused
    mcq(str(tmp_path / "merged"), str(lora.questions), str(tmp_path / "run"))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert run["last_eval_mcq_accuracy"] == metrics["accuracy"] and metrics["n"] == 8


@pytest.fixture
def trainer(tiny, full, tmp_path, monkeypatch) -> tuple[ExactTrainer, Prepared]:
    """A trainer in this process that has not begun, and its training set."""
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    attention.register()
    tokenizer = AutoTokenizer.from_pretrained(tiny["base"])
    prepared = prepare(Dataset.from_list(full.splits["train"]), tokenizer, 512)
    settings = SFTConfig(
        str(tmp_path / "out"), bf16=False, gradient_checkpointing=False, padding_free=True, max_length=None, max_steps=3,
        save_steps=2, logging_steps=1, per_device_train_batch_size=16, disable_tqdm=True, report_to="none",
        model_init_kwargs={"attn_implementation": attention.NAME, "dtype": "float32"},
    )  # fmt: skip
    made = ExactTrainer(
        str(tiny["base"]), args=settings, train_dataset=prepared.dataset, processing_class=tokenizer, sources=prepared.sources
    )
    return made, prepared


def test_padding_counts_as_no_token(trainer):
    made, prepared = trainer
    counts = [len(row) for row in prepared.dataset["input_ids"]]
    assert throughput.real_token_share(made) == 1
    made.data_collator = DataCollatorForLanguageModeling(pad_token_id=0)
    assert isclose(throughput.real_token_share(made), sum(counts) / (16 * max(counts)))


def test_a_resumed_run_counts_its_own_tokens(trainer, monkeypatch):
    made, prepared = trainer
    made.train()
    whole = training_values(made, prepared)["run"]
    made._total_train_tokens = 0  # as in the new process that resumes
    made.train(resume_from_checkpoint=str(Path(made.args.output_dir) / "checkpoint-2"))
    monkeypatch.setattr(throughput, "device_name", lambda: "NVIDIA H200")
    run = training_values(made, prepared)["run"]
    assert (whole["resumed_at_step"], run["resumed_at_step"], run["steps"]) == (0, 2, 3)
    assert (whole["tokens_fed"], run["tokens_fed"]) == (3 * prepared.tokens, prepared.tokens)
    assert isclose(run["flop_use"], run["flops_per_second"] / 989e12)


def test_a_report_that_fails_is_told_and_fails_nothing(trainer, tmp_path):
    made, prepared = trainer
    said = write_training_report(made, prepared, tmp_path)  # never trained, so it has no run time
    assert "IndexError" in said and "no whole training report" in said
    assert not (tmp_path / "training_report.md").exists()


def test_a_changed_default_is_listed(trainer):
    made, _ = trainer
    assert "weight_decay" not in changed_settings(made.args) and "max_length" not in changed_settings(made.args)
    made.args.weight_decay = 0.25
    assert changed_settings(made.args)["weight_decay"] == 0.25
