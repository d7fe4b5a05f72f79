"""One training run: dataset → exact tokens → `ExactTrainer` → checked weights and report."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from datasets import Dataset, DatasetDict, load_dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import get_dataset, get_peft_config, get_quantization_config

from medllm_hf.errors import UserError, first_line
from medllm_hf.training import attention, attention_choice
from medllm_hf.training.callbacks import McqAccuracy
from medllm_hf.training.checkpoints import last_checkpoint
from medllm_hf.training.curves import write_training_report
from medllm_hf.training.saved import check_saved
from medllm_hf.training.tokens import Prepared, prepare
from medllm_hf.training.trainer import ExactTrainer, flatten


def train(script, settings, model, mixture, additions) -> None:
    """Trains and saves as `trl sft` does with the same arguments, and checks what was saved.

    Args:
        script, settings, model, mixture: TRL's ScriptArguments, SFTConfig, ModelConfig and DatasetMixtureConfig.
        additions: our own `Additions`.

    Raises:
        UserError: see `prepare`, `ExactTrainer` and `check_saved`; also a dataset or model that cannot be loaded.
    """
    attention.register()
    wish = (settings.model_init_kwargs or {}).get("attn_implementation", model.attn_implementation)
    computed = "bfloat16" if settings.bf16 else "float16" if settings.fp16 else str(model.dtype or "float32")
    kernel = attention_choice.choose(wish, attention_choice.this_machine(settings.device, computed))
    if additions.dev_questions and settings.eval_strategy == "no":
        raise UserError("--dev_questions and no evaluation", "eval_strategy steps or epoch", "add --eval_strategy epoch")
    checkpoint = last_checkpoint(settings.resume_from_checkpoint, Path(settings.output_dir))
    tokenizer = load_tokenizer(model.model_name_or_path, model.model_revision)
    parts = load_parts(script, settings, mixture, tokenizer, additions.over_length)
    flatten(settings)
    settings.model_init_kwargs = {
        "revision": model.model_revision,
        "dtype": model.dtype,
        **(settings.model_init_kwargs or {}),
        "attn_implementation": kernel,
    }
    trainer = make_trainer(
        model=model.model_name_or_path,
        args=settings,
        train_dataset=parts[0].dataset,
        eval_dataset=parts[1].dataset if len(parts) > 1 else None,
        processing_class=tokenizer,
        quantization_config=get_quantization_config(model),
        peft_config=peft_config(model),
        sources=parts[-1].sources,
        measure=McqAccuracy(additions.dev_questions, tokenizer) if additions.dev_questions else None,
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(settings.output_dir)
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        check_saved(Path(settings.output_dir))
        write_training_report(trainer, parts[0], Path(settings.output_dir))
    if settings.push_to_hub:
        trainer.push_to_hub(dataset_name=script.dataset_name)
    trainer.end()


def peft_config(model):
    """PEFT's configuration for TRL's ModelConfig `model`, or None without `use_peft`.

    TRL unwraps a list of one module, and PEFT takes bare text for a pattern over whole paths, which a name never matches.
    """
    config = get_peft_config(model)
    if config is not None and isinstance(config.target_modules, str) and config.target_modules.isidentifier():
        config.target_modules = {config.target_modules}
    return config


def make_trainer(**parts) -> ExactTrainer:
    """An `ExactTrainer` of its arguments.

    Raises:
        UserError: LoRA on modules that the model does not have.
    """
    try:
        return ExactTrainer(**parts)
    except ValueError as error:
        if "not found in the base model" not in str(error):
            raise
        found = f"lora_target_modules {', '.join(sorted(parts['peft_config'].target_modules))}, which the model does not have"
        raise UserError(found, "names of its modules", "name others; `all-linear` takes every linear module") from error


def load_parts(script, settings, mixture, tokenizer, over_length: str) -> list[Prepared]:
    """The training split and, when the recipe evaluates, the test split, tokenised; says what became of each.

    Raises:
        UserError: see `load_splits` and `prepare`; also a split that is not there.
    """
    splits = load_splits(script, mixture)
    names = [script.dataset_train_split] + ([script.dataset_test_split] if settings.eval_strategy != "no" else [])
    for name in names:
        if name not in splits:
            raise UserError(f"splits {', '.join(splits)}", f"a split {name}", "name the split or build one")
    length, workers = settings.max_length, settings.dataset_num_proc
    # The first rank tokenises, the others read what it left in the cache.
    with settings.main_process_first(desc="tokenising"):
        parts = [prepare(splits[name], tokenizer, length, over_length, workers) for name in names]
    for name, part in zip(names, parts, strict=True):
        if settings.process_index == 0:
            print(
                f"{name}: {part.read} dialogues, {part.shortened} of them beyond {length} tokens, {part.left_out} left out; "
                f"{part.tokens} tokens, {part.trained_tokens} of them trained",
                flush=True,
            )
    if len(parts) > 1:
        check_apart(*parts)
    return parts


def check_apart(train: Prepared, test: Prepared) -> None:
    """Returns nothing when no dialogue of the test split, after tokenising, is one of the training split.

    Raises:
        UserError: some are: their loss would say nothing of unseen dialogues.
    """
    held_out = Counter(row_hashes(test.dataset))
    seen = held_out.keys() & set(row_hashes(train.dataset))
    if seen:
        found = (
            f"{sum(held_out[row] for row in seen)} of {len(test.dataset)} dialogues to evaluate on in the training split too"
        )
        do = "name another split, or build them apart with `medllm data build`"
        raise UserError(found, "splits that share none", do)


def row_hashes(dataset: Dataset) -> Iterator[int]:
    """A hash of the ids of each row, for comparisons within this process."""
    for batch in dataset.select_columns(["input_ids"]).with_format("arrow").iter(10_000):
        for rows in batch["input_ids"].chunks:
            ends, ids = rows.offsets.to_numpy(), rows.values.to_numpy()
            yield from (hash(ids[start:end].tobytes()) for start, end in pairwise(ends))


def load_tokenizer(name: str, revision: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint.

    Raises:
        UserError: there is none.
    """
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: {first_line(error)}", "a checkpoint that transformers loads", "check the name") from error


def load_splits(script, mixture) -> DatasetDict:
    """The dataset that the recipe names, as `trl sft` finds it.

    Raises:
        UserError: it cannot be loaded, or is a stream, whose tokens cannot be counted beforehand.
    """
    if script.dataset_streaming:
        raise UserError("dataset_streaming", "a dataset on disk", "remove the option; Parquet is read piece by piece anyway")
    try:
        if mixture.datasets:
            return get_dataset(mixture)
        return load_dataset(script.dataset_name, name=script.dataset_config)
    except (OSError, ValueError) as error:
        raise UserError(f"{script.dataset_name}: {first_line(error)}", "a dataset", "check the name") from error
