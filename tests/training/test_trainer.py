"""The trainer against hand-written sums: loss, gradients whatever the batching, evaluation by source, stops."""

import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from support.paths import SAMPLE
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig

from medllm_hf.data.dialogues import Policy, dialogue
from medllm_hf.errors import UserError
from medllm_hf.training import attention
from medllm_hf.training.prepare import prepare
from medllm_hf.training.run import evaluated_sources
from medllm_hf.training.tokens import IGNORED
from medllm_hf.training.trainer import ExactTrainer, flatten

attention.register()


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return AutoTokenizer.from_pretrained(tiny["base"])


@pytest.fixture(scope="module")
def prepared(tokenizer):
    """12 bundled dialogues of two sources, tokenised."""
    lines = (SAMPLE / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    rows = [dialogue(json.loads(line), "auto", "sample", Policy())[0] for line in lines]
    for i, row in enumerate(rows):
        row["source"] = ("ward", "clinic")[i % 3 == 0]
    return prepare(Dataset.from_list(rows), tokenizer, 512)


def settings(folder, **options) -> SFTConfig:
    stock = {
        "output_dir": str(folder), "report_to": "none", "save_strategy": "no", "logging_steps": 1, "bf16": False,
        "use_cpu": True, "gradient_checkpointing": False, "disable_tqdm": True, "lr_scheduler_type": "constant",
        "learning_rate": 1e-3, "per_device_train_batch_size": 4, "max_length": 512, "optim": "sgd", "max_grad_norm": 0.0,
        "shuffle_dataset": False, "train_sampling_strategy": "sequential",
    }  # fmt: skip
    made = SFTConfig(**{**stock, **options})
    flatten(made)
    return made


def trainer(tiny, tokenizer, prepared, folder, implementation=attention.NAME, trainer_class=ExactTrainer, **options):
    model = AutoModelForCausalLM.from_pretrained(tiny["base"], dtype=torch.float32, attn_implementation=implementation)
    rows = prepared.dataset
    return trainer_class(
        model=model, args=settings(folder, **options), train_dataset=rows, eval_dataset=rows, processing_class=tokenizer,
        sources=prepared.sources,
    )  # fmt: skip


@torch.no_grad()
def summed_loss(model, rows) -> tuple[float, int]:
    """The sum of the label tokens' negative log-probabilities, each sample alone, and their number."""
    total, count = 0.0, 0
    for row in rows:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].double()
        total += cross_entropy(logits, labels[1:], ignore_index=IGNORED, reduction="sum").item()
        count += int((labels[1:] != IGNORED).sum())
    return total, count


def losses(run) -> list[float]:
    return [entry["loss"] for entry in run.state.log_history if "loss" in entry]


class Recorder(ExactTrainer):
    """Keeps the gradients of every optimizer step, and puts them to zero so that the weights stay as they were."""

    def training_step(self, *arguments, **options):
        loss = super().training_step(*arguments, **options)
        self.gradients = {name: weight.grad.clone() for name, weight in self.model.named_parameters()}
        return loss


@pytest.mark.parametrize("implementation", ["eager", "sdpa", attention.NAME])
@pytest.mark.parametrize("packing", [False, True])
def test_loss_equals_a_hand_written_sum(implementation, packing, tiny, tokenizer, prepared, tmp_path):
    """D4."""
    options = {"packing": packing, "max_steps": 1, "per_device_train_batch_size": 2, "learning_rate": 0.0}
    run = trainer(tiny, tokenizer, prepared, tmp_path, implementation, **options)
    run.model.config.use_cache = True  # what a loaded model has; the trainer must not let it reach a flattened row
    total, count = summed_loss(run.model, prepared.dataset)
    assert run.evaluate()["eval_loss"] == pytest.approx(total / count, abs=1e-5)
    batch = next(iter(run.get_train_dataloader()))
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    ends = [*starts[1:], batch["input_ids"].shape[1]]
    rows = [
        {"input_ids": batch["input_ids"][0, a:b].tolist(), "labels": batch["labels"][0, a:b].tolist()}
        for a, b in zip(starts, ends, strict=True)
    ]
    whole = [row["input_ids"] for row in prepared.dataset]
    assert all(row["input_ids"] in whole for row in rows)
    total, count = summed_loss(run.model, rows)
    run.train()
    assert losses(run)[0] == pytest.approx(total / count, abs=1e-4)


@pytest.mark.parametrize("packing", [False, True])
def test_trained_tokens_are_the_assistants_tokens(packing, tiny, tokenizer, prepared, tmp_path):
    """D5."""
    run = trainer(tiny, tokenizer, prepared, tmp_path, packing=packing)
    batches = list(run.get_train_dataloader())
    labels = torch.cat([batch["labels"][0] for batch in batches])
    assert int((labels != IGNORED).sum()) == prepared.trained_tokens
    assert sum(batch["input_ids"].numel() for batch in batches) == prepared.tokens  # and no padding


@pytest.mark.parametrize("split", [{"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
                                   {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}])  # fmt: skip
def test_gradients_do_not_depend_on_accumulation(split, tiny, tokenizer, prepared, tmp_path):
    """D3: one step over the same samples: 4 at once, 1 × 4; 6 at once, 3 × 2; answers of different lengths."""
    size = split["per_device_train_batch_size"] * split["gradient_accumulation_steps"]
    whole = trainer(tiny, tokenizer, prepared, tmp_path, trainer_class=Recorder, max_steps=1, per_device_train_batch_size=size)
    parts = trainer(tiny, tokenizer, prepared, tmp_path, trainer_class=Recorder, max_steps=1, **split)
    for run in (whole, parts):
        run.train()
    for name, gradient in whole.gradients.items():
        assert (gradient - parts.gradients[name]).abs().max() <= 1e-6, name
    assert losses(whole)[0] == pytest.approx(losses(parts)[0], abs=1e-4)


def test_an_uneven_last_step_has_its_own_mean(tiny, tokenizer, prepared, tmp_path):
    """Five samples in windows of 2 × 2: the last step has one, and its gradient is that of this one alone."""
    five = copy.copy(prepared)
    object.__setattr__(five, "dataset", prepared.dataset.select(range(5)))
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_train_epochs": 1, "learning_rate": 0.0}
    run = trainer(tiny, tokenizer, five, tmp_path, trainer_class=Recorder, **options)
    run.train()
    run.model.zero_grad()
    row = prepared.dataset[4]
    output = run.model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0, :-1]
    cross_entropy(output, torch.tensor(row["labels"])[1:], ignore_index=IGNORED).backward()
    assert len(losses(run)) == 2
    for name, weight in run.model.named_parameters():
        assert (run.gradients[name] - weight.grad).abs().max() <= 1e-6, name


def test_evaluation_loss_by_source(tiny, tokenizer, prepared, tmp_path):
    run = trainer(tiny, tokenizer, prepared, tmp_path, per_device_eval_batch_size=5)
    metrics = run.evaluate()
    for number, name in enumerate(prepared.sources):
        rows = [row for row in prepared.dataset if row["source"] == number]
        total, count = summed_loss(run.model, rows)
        assert metrics[f"eval_loss_{name}"] == pytest.approx(total / count, abs=1e-5)
    assert metrics["eval_loss_clinic"] != pytest.approx(metrics["eval_loss_ward"], abs=1e-3)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["ward", "clinic", None, ""], ["clinic", "unnamed", "ward"]),
        ([1, 2, None], ["1", "2", "unnamed"]),
        ([1.0, math.nan, 2.5], ["1.0", "2.5", "unnamed"]),
        ([["a", "b"], ["c"], None], ["['a', 'b']", "['c']", "unnamed"]),
        ([None, math.nan], []),
    ],
)
def test_sources_of_any_kind_have_names(values, names):
    assert evaluated_sources(Dataset.from_dict({"source": values, "messages": values})) == names
    assert evaluated_sources(Dataset.from_dict({"source": values, "input_ids": values, "labels": values})) == []


@pytest.mark.slow
def test_padded_grouped_and_packed_learn_the_same(tiny, tokenizer, prepared, tmp_path):
    """The same task with TRL's padded batches, in groups of like length, and packed: the same final loss within 1%."""
    from trl import SFTTrainer

    options = {
        "num_train_epochs": 40,
        "optim": "adamw_torch",
        "learning_rate": 3e-3,
        "train_sampling_strategy": "random",
        "logging_steps": 50,
    }
    ends = {}
    for name, extra in {
        "flat": {},
        "grouped": {"train_sampling_strategy": "group_by_length"},
        "packed": {"packing": True},
    }.items():
        run = trainer(
            tiny,
            tokenizer,
            prepared,
            tmp_path / name,
            **{**options, **extra, **({"per_device_train_batch_size": 1} if extra.get("packing") else {})},
        )
        run.train()
        ends[name] = run.evaluate()["eval_loss"]
    model = AutoModelForCausalLM.from_pretrained(tiny["base"], dtype=torch.float32)
    args = settings(tmp_path / "padded", **options)
    args.padding_free = False
    padded = SFTTrainer(model=model, args=args, train_dataset=prepared.dataset, processing_class=tokenizer)
    padded.train()
    total, count = summed_loss(padded.model.eval(), prepared.dataset)
    ends["padded"] = total / count
    assert max(ends.values()) < 0.5, ends
    assert max(ends.values()) - min(ends.values()) < 0.01, ends


def test_a_loss_that_is_not_a_number_stops_the_run(tiny, tokenizer, prepared, tmp_path):
    run = trainer(tiny, tokenizer, prepared, tmp_path, max_steps=5)
    with torch.no_grad():
        run.model.lm_head.weight[7] = math.nan
    with pytest.raises(UserError, match="loss of nan at step 1"):
        run.train()


def test_a_loss_of_zero_stops_the_run(tiny, tokenizer, prepared, tmp_path):
    """D9."""
    nothing = prepared.dataset.map(lambda row: {"labels": [IGNORED] * len(row["labels"])})
    run = trainer(tiny, tokenizer, replace(prepared, dataset=nothing), tmp_path, max_steps=9)
    with pytest.raises(UserError, match="zero 3 times in a row, at step 3"):
        run.train()


@pytest.mark.parametrize("packing", [False, True])
def test_labels_that_another_library_made_are_refused(packing, tiny, tokenizer, prepared, tmp_path):
    """What TRL up to 1.14 does with ready labels: every token is trained. Also a dataset that it shortened."""
    run = trainer(tiny, tokenizer, prepared, tmp_path, max_steps=1, packing=packing)
    whole = run.train_dataset
    run.train_dataset = whole.map(lambda row: {"labels": row["input_ids"]})
    with pytest.raises(UserError, match=r"found \d+ trained tokens among the \d+ of a sample .* expected \d+, as the dataset"):
        run.train()
    run.train_dataset = whole.remove_columns("labels")
    with pytest.raises(KeyError, match="labels"):
        run.train()
    if not packing:
        run.train_dataset = whole.map(lambda row: {name: row[name][:20] for name in ("input_ids", "labels")})
        with pytest.raises(UserError, match="among the 20 of a sample .* expected samples of the dataset"):
            run.train()


def test_the_same_ids_with_other_labels_are_no_mistake(tiny, tokenizer, prepared, tmp_path):
    """A dataset that was tokenised elsewhere may train one answer of a dialogue in a row, and another in the next."""
    first = prepared.dataset[0]
    rows = [{**first, "labels": first["labels"][:40] + [IGNORED] * (len(first["labels"]) - 40)}, first]
    both = replace(prepared, dataset=Dataset.from_list(rows))
    trainer(tiny, tokenizer, both, tmp_path, max_steps=1).train()
    trainer(tiny, tokenizer, both, tmp_path, max_steps=1, per_device_train_batch_size=1).train()


def test_packing_that_cuts_answers_is_refused(tmp_path):
    with pytest.raises(UserError, match="bfd_split"):
        settings(tmp_path, packing=True, packing_strategy="bfd_split")
