"""One training run: dataset → exact tokens → `ExactTrainer` → checked weights and report."""

import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import Dataset, DatasetDict, load_dataset
from huggingface_hub.errors import HfHubHTTPError
from transformers import PreTrainedTokenizerBase
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, get_dataset, get_quantization_config

from medllm_hf.errors import UserError, first_line
from medllm_hf.pretrained import NO_FOREIGN_CODE, check_chat_template, forget_code, load_config, load_tokenizer, refuse_trust
from medllm_hf.training import attention, attention_choice
from medllm_hf.training.begun import find_begun, find_start, is_done
from medllm_hf.training.check_saved import check_saved
from medllm_hf.training.checks import check_evaluation, check_settings, model_name, read_object, unused_lora_warning
from medllm_hf.training.exam_metric import McqAccuracy
from medllm_hf.training.loading import check_text, data_places, reading
from medllm_hf.training.memory import peft_config
from medllm_hf.training.model_checks import check_ids, check_model, check_tokens, length_warning
from medllm_hf.training.output import check_output, clear, held_by_run, resume_or_overwrite
from medllm_hf.training.prepare import Prepared, prepare
from medllm_hf.training.report import write_training_report
from medllm_hf.training.resume import DAY, RECORD, describe_run, has_template, read_record, version_warning, write_record
from medllm_hf.training.rows import source_name
from medllm_hf.training.template import saved_template, set_up
from medllm_hf.training.trainer import ExactTrainer, flatten

if TYPE_CHECKING:
    from medllm_hf.training.sft import Additions


def train(
    script: ScriptArguments,
    settings: SFTConfig,
    model: ModelConfig,
    mixture: DatasetMixtureConfig,
    additions: "Additions",
    recipe: str | None = None,
) -> None:
    """Trains and saves as `trl sft` does with the same arguments, and checks what was saved.

    Args:
        recipe: the file that they were read from.

    Raises:
        UserError: see `check_settings`, `check_output`, `held_by_run`, `check_model`, `prepare`, `check_same_run`,
            `ExactTrainer` and `check_saved`; also a dataset or model that cannot be loaded.
    """
    attention.register()
    folder = Path(str(settings.output_dir))
    wanted, overwrite = resume_or_overwrite(settings.resume_from_checkpoint, folder, additions.overwrite)
    check_settings(settings, model, additions)
    warn(unused_lora_warning(model))
    kernel = choose_attention(settings, model)
    check_output(folder, read_inputs(script, settings, model, mixture, additions, recipe), wanted, overwrite)
    with held_by_run(folder, settings):
        begun = find_begun(wanted, folder)
        day = begun.record.get(DAY) or date.today().isoformat()
        tokenizer, parts, measure = prepare_run(script, settings, model, mixture, additions, day)
        record = describe_run(settings, model, parts, tokenizer, additions.dev_questions, day)
        done = is_done(begun, record)
        if begun.finished:
            warn(version_warning(record, begun.record, folder))
        if done:
            if settings.process_index == 0:
                print(f"nothing to train: the run in {folder} was finished at step {begun.finished['finished']}", flush=True)
            return
        if checkpoint := find_start(begun, record, settings):
            warn(version_warning(record, read_record(checkpoint)["run"], checkpoint))
        trainer = make_trainer(with_attention(settings, model, kernel), model, tokenizer, parts, measure, record)
        if settings.local_process_index == 0:
            clear(folder) if overwrite else (folder / RECORD).unlink(missing_ok=True)
        trainer.accelerator.wait_for_everyone()
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        save(trainer, parts[0], record)
        if settings.push_to_hub:
            trainer.push_to_hub(dataset_name=script.dataset_name)
        trainer.end()


def warn(line: str | None) -> None:
    """Says `line`, where there is one, on standard error, at once: a run takes hours."""
    if line:
        print(line, file=sys.stderr)


def prepare_run(
    script: ScriptArguments,
    settings: SFTConfig,
    model: ModelConfig,
    mixture: DatasetMixtureConfig,
    additions: "Additions",
    day: str | None = None,
) -> tuple[PreTrainedTokenizerBase, list[Prepared], McqAccuracy | None]:
    """The tokenizer with the template that is trained and saved, the tokenised splits, and the measure at evaluations.

    `day` is the date of the run's first day.

    Raises:
        UserError: see `load_checked`, `check_model`, `set_up` and `load_parts`.
    """
    tokenizer = load_checked(model, settings)
    sketch = check_model(settings, model, peft_config(model))
    warn(length_warning(settings.max_length, sketch))
    check_tokens(settings, tokenizer)
    changed = set_up(tokenizer, settings, additions.enable_thinking)
    measure = McqAccuracy(additions.dev_questions, tokenizer) if additions.dev_questions else None
    parts = load_parts(script, settings, mixture, tokenizer, additions, day)
    if tokenizer.chat_template:
        tokenizer.chat_template = saved_template(tokenizer, parts[0].thinks, additions.enable_thinking)
    if changed and settings.process_index == 0:
        print(changed, flush=True)
    if sketch:
        check_ids(parts, sketch, model_name(model))
    return tokenizer, parts, measure


def choose_attention(settings: SFTConfig, model: ModelConfig) -> str:
    """The attention of flattened rows on this machine.

    Raises:
        UserError: see `attention_choice.choose`.
    """
    init = read_object("model_init_kwargs", settings.model_init_kwargs)
    wish = init.get("attn_implementation", model.attn_implementation)
    computed = "bfloat16" if settings.bf16 else "float16" if settings.fp16 else str(model.dtype or "float32")
    return attention_choice.choose(wish, attention_choice.this_machine(settings.device, computed))


def with_attention(settings: SFTConfig, model: ModelConfig, kernel: str) -> SFTConfig:
    """The SFTConfig `settings` for flattened rows and with what the model is to be loaded with, changed in place."""
    flatten(settings)
    settings.model_init_kwargs = {
        "revision": model.model_revision,
        "dtype": model.dtype,
        **read_object("model_init_kwargs", settings.model_init_kwargs),
        "attn_implementation": kernel,
        **NO_FOREIGN_CODE,
    }
    return settings


def save(trainer: ExactTrainer, prepared: Prepared, record: dict) -> None:
    """Saves the weights, reads them back, and writes the report and last what says that the run is finished.

    Raises:
        UserError: see `check_saved`.
    """
    folder = Path(str(trainer.args.output_dir))
    trainer.save_model(str(folder))
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        check_saved(folder, has_template(record))
        warn(write_training_report(trainer, prepared, folder))
        write_record(folder, record, finished=trainer.state.global_step)


def read_inputs(
    script: ScriptArguments,
    settings: SFTConfig,
    model: ModelConfig,
    mixture: DatasetMixtureConfig,
    additions: "Additions",
    recipe: str | None,
) -> dict[str, str | None]:
    """Option → what the run reads by it: a path or a Hub id.

    Raises:
        UserError: see `data_places`.
    """
    deepspeed = settings.deepspeed if isinstance(settings.deepspeed, str) else None
    mixed = {
        f"dataset {i}{of}": name
        for i, part in enumerate(mixture.datasets or (), start=1)
        for of, name in data_places(part).items()
    }
    return {
        "model_name_or_path": model.model_name_or_path,
        "dataset_name": script.dataset_name,
        "dev_questions": additions.dev_questions,
        "chat_template_path": settings.chat_template_path,
        "deepspeed": deepspeed,
        "recipe": recipe,
        **mixed,
    }


def load_checked(model: ModelConfig, settings: SFTConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of the model to train, where TRL, which loads the model by its name, needs no foreign code.

    Raises:
        UserError: it would, or was told to run it; see `load_config` and `load_tokenizer`.
    """
    refuse_trust(model, settings)
    load_config(model_name(model), model.model_revision)
    tokenizer = load_tokenizer(model_name(model), model.model_revision)
    if tokenizer.chat_template:  # one without may yet be given one
        check_chat_template(tokenizer)
    return tokenizer


def make_trainer(
    settings: SFTConfig,
    model: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    parts: list[Prepared],
    measure: McqAccuracy | None,
    record: dict,
) -> ExactTrainer:
    """The trainer with its model loaded.

    Raises:
        UserError: TRL, transformers or PEFT refuse the settings, or the Hub a repository to push to.
    """
    try:
        trainer = ExactTrainer(
            model=model_name(model),
            args=settings,
            train_dataset=parts[0].dataset,
            eval_dataset=parts[1].dataset if len(parts) > 1 else None,
            processing_class=tokenizer,
            quantization_config=get_quantization_config(model),
            peft_config=peft_config(model),
            sources=parts[-1].sources,
            measure=measure,
            record=record,
        )
    except (ValueError, TypeError, ImportError, HfHubHTTPError) as error:
        raise UserError(first_line(error), "settings that fit each other and the model", "see `trl sft --help`") from error
    forget_code(trainer.model, tokenizer)
    return trainer


def load_parts(
    script: ScriptArguments,
    settings: SFTConfig,
    mixture: DatasetMixtureConfig,
    tokenizer: PreTrainedTokenizerBase,
    additions: "Additions",
    day: str | None = None,
) -> list[Prepared]:
    """The training split and, when the recipe evaluates, the test split, tokenised; says what became of each.

    Raises:
        UserError: see `load_splits`, `check_evaluation` and `prepare`; also a split that is not there.
    """
    splits = load_splits(script, mixture)
    names = [script.dataset_train_split] + ([script.dataset_test_split] if settings.eval_strategy != "no" else [])
    for name in names:
        if name not in splits:
            without = "" if name == names[0] else ", or add --eval_strategy no"
            raise UserError(f"splits {', '.join(splits)}", f"a split {name}", f"name the split or build one{without}")
    if len(names) > 1:
        check_evaluation(settings, additions.dev_questions, evaluated_sources(splits[names[1]]))
    length, workers = settings.max_length, settings.dataset_num_proc
    # The first rank tokenises, the others read what it left in the cache.
    with settings.main_process_first(desc="tokenising"):
        options = (additions.over_length, workers, additions.enable_thinking, day)
        parts = [prepare(splits[name], tokenizer, length, *options) for name in names]
    for name, part in zip(names, parts, strict=True):
        if settings.process_index == 0:
            print(f"{name}: {counts(part, length)}", flush=True)
    if len(parts) > 1:
        check_apart(*parts)
    return parts


def evaluated_sources(split: Dataset) -> list[str]:
    """The sources whose losses an evaluation on `split` tells apart; rows of ready ids have none."""
    columns = set(split.column_names)
    named = "source" in columns and not {"input_ids", "labels"} <= columns
    sources = sorted(set(map(source_name, split["source"]))) if named else []
    return sources if len(sources) > 1 else []


def counts(part: Prepared, length: int | None) -> str:
    """What became of the dialogues of a split, in words."""
    joined = f", {part.joined} of them cut before a history whose tokens inference joins otherwise" if part.joined else ""
    return (
        f"{part.read} dialogues, {part.shortened} of them shortened to whole rounds within {length} tokens{joined}, "
        f"{part.left_out} left out; {part.tokens} tokens, {part.trained_tokens} of them trained"
    )


def check_apart(train: Prepared, test: Prepared) -> None:
    """Check that no dialogue of the test split, after tokenising, is one of the training split.

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


def load_splits(script: ScriptArguments, mixture: DatasetMixtureConfig) -> DatasetDict:
    """The dataset that the recipe names, as `trl sft` finds it.

    Raises:
        UserError: it cannot be loaded, or is a stream, whose tokens cannot be counted beforehand.
    """
    if script.dataset_streaming or mixture.streaming:
        option = "dataset_streaming" if script.dataset_streaming else "streaming"
        raise UserError(option, "a dataset on disk", "remove the option; Parquet is read piece by piece anyway")
    name = ", ".join(str(part.path) for part in mixture.datasets) if mixture.datasets else str(script.dataset_name)
    with reading(name, "a dataset"):
        splits = get_dataset(mixture) if mixture.datasets else load_dataset(name, name=script.dataset_config)
        for split in splits.values():
            check_text(split)
    return splits
