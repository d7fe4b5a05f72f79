"""What decides the weights of a run, kept beside them, so that only the same run goes on from a checkpoint."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from transformers.utils import CONFIG_NAME, cached_file, extract_commit_hash

from medllm_hf.errors import UserError
from medllm_hf.folders import read_json, sha256, write_json
from medllm_hf.pretrained import NO_FOREIGN_CODE
from medllm_hf.training.checks import model_name
from medllm_hf.training.prepare import Prepared
from medllm_hf.training.report_values import installed, plain

if TYPE_CHECKING:
    from trl import ModelConfig, SFTConfig

# The file in every checkpoint, and beside the weights of a finished run.
RECORD = "resume.json"
# Options that may change on the way: where, how often and with how many hands something is read, written, shown or measured,
# and what saves memory without changing a number.
FREE = {
    "activation_checkpointing", "activation_checkpointing_kwargs", "activation_offloading", "batch_eval_metrics",
    "bf16_full_eval", "dataset_num_proc", "debug", "disable_tqdm", "do_eval", "do_predict", "do_train", "fp16_full_eval",
    "gradient_checkpointing", "gradient_checkpointing_kwargs", "jit_mode_eval", "length_column_name", "local_rank",
    "output_dir", "per_device_eval_batch_size", "prediction_loss_only", "project", "report_to",
    "restore_callback_states_from_checkpoint", "resume_from_checkpoint", "run_name", "skip_memory_metrics",
    "torch_empty_cache_steps", "use_cpu", "use_legacy_prediction_loop",
}  # fmt: skip
FREE_BEGINNINGS = ("ddp_", "eval_", "hub_", "include_", "log_", "logging_", "push_to_hub", "save_", "trackio_")
DATALOADER = ("dataloader_num_workers", "dataloader_pin_memory", "dataloader_prefetch_factor",
              "dataloader_persistent_workers", "dataloader_multiprocessing_context")  # fmt: skip
# Recorded otherwise: by content, or as the length of the run.
ELSEWHERE = {
    "model_name_or_path", "model_revision", "chat_template_path", "deepspeed", "max_steps", "num_train_epochs",
    *NO_FOREIGN_CODE,
}  # fmt: skip
# Follows from another option as a rule, which is then the one to be named.
DERIVED = ("greater_is_better", "metric_for_best_model")
# Schedules whose learning rate at a step does not depend on how many steps follow.
ENDLESS = ("constant", "constant_with_warmup", "inverse_sqrt", "reduce_lr_on_plateau")
# Blocks of this size of a weight file, so many and evenly spread, stand for all of it.
BLOCK, BLOCKS = 1 << 16, 64
LENGTH, VERSIONS, TEMPLATE, DAY = "length", "versions", "chat template", "date that the chat template is told"


def describe_run(
    settings: "SFTConfig",
    model: "ModelConfig",
    parts: list[Prepared],
    tokenizer: PreTrainedTokenizerBase,
    dev_questions: str | None = None,
    day: str | None = None,
) -> dict:
    """Name → plain value of everything that decides the weights of a run; of content there is a hash, of paths nothing.

    Args:
        settings, model: TRL's SFTConfig and ModelConfig as the user gave them.
        parts: the tokenised splits to train and, if there is one, to evaluate on.
        day: the date of the run's first day.
    """
    # `to_dict` hides every option whose name ends so, secret or not.
    options = settings.to_dict() | {"eos_token": settings.eos_token, "pad_token": settings.pad_token}
    options |= {name: getattr(model, name) for name in model.__dataclass_fields__}
    free = FREE | ELSEWHERE | set(DATALOADER)
    steps = settings.max_steps
    return {
        **{
            name: plain(value)
            for name, value in sorted(options.items(), key=lambda option: (option[0] in DERIVED, option[0]))
            if name not in free and not name.startswith(FREE_BEGINNINGS)
        },
        LENGTH: f"{steps} steps" if steps > 0 else f"{settings.num_train_epochs:g} epochs",
        "ranks": settings.world_size,
        "device": settings.device.type,
        "deepspeed": plain(_content(settings.deepspeed)),
        "base weights": model_identity(model_name(model), model.model_revision),
        "tokenizer": text_hash(tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else str(tokenizer.get_vocab())),
        TEMPLATE: text_hash(str(tokenizer.chat_template)),
        **({DAY: day} if "strftime_now" in str(tokenizer.chat_template) else {}),
        "dialogues to train on": dataset_hash(parts[0].dataset),
        "dialogues to evaluate on": dataset_hash(parts[1].dataset) if len(parts) > 1 else None,
        "dev questions": sha256(Path(dev_questions)) if dev_questions else None,
        VERSIONS: installed(),
    }


def _content(deepspeed: str | dict | None) -> dict | None:
    return read_json(Path(deepspeed)) if isinstance(deepspeed, str) else deepspeed


def text_hash(text: str) -> str:
    """The hex SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def has_template(record: dict) -> bool:
    """Whether the tokenizer of the run in a record had a chat template."""
    return record.get(TEMPLATE) != text_hash(str(None))


def dataset_hash(dataset: Dataset) -> str:
    """The hex SHA-256 of the ids and labels of a tokenised dataset, in order, and of where each row ends."""
    digests = [hashlib.sha256() for _ in range(4)]
    for batch in dataset.select_columns(["input_ids", "labels"]).with_format("arrow").iter(10_000):
        # How the rows lie in pieces depends on the number of processes, so lengths and values go into digests of their own.
        for place, column in enumerate(("input_ids", "labels")):
            for rows in batch[column].chunks:
                digests[2 * place].update(pc.list_value_length(rows).to_numpy(zero_copy_only=False).astype("int64").tobytes())
                digests[2 * place + 1].update(rows.flatten().to_numpy(zero_copy_only=False).astype("int64").tobytes())
    return text_hash("".join(digest.hexdigest() for digest in digests))


def model_identity(name: str, revision: str | None) -> str:
    """The commit of a Hub model; of a folder, a hash over blocks of its config and weight files."""
    folder = Path(name)
    if not folder.is_dir():
        config = cached_file(name, CONFIG_NAME, revision=revision)
        return f"commit {extract_commit_hash(config, None)}"
    digest = hashlib.sha256()
    for path in [folder / CONFIG_NAME, *sorted(folder.glob("*.safetensors")), *sorted(folder.glob("pytorch_model*.bin"))]:
        if path.is_file():
            digest.update(f"{path.name} {path.stat().st_size} ".encode())
            digest.update(sampled(path))
    return digest.hexdigest()


def sampled(path: Path) -> bytes:
    """A file of up to 4 MiB whole, of a larger one as many bytes in blocks spread over all of it, first and last included."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= BLOCK * BLOCKS:
            return file.read()
        parts = []
        for number in range(BLOCKS):
            file.seek((size - BLOCK) * number // (BLOCKS - 1))
            parts.append(file.read(BLOCK))
    return b"".join(parts)


def check_same_run(record: dict, before: dict, place: str) -> None:
    """Check that what decides the run is as it was in the record `before`; another length passes for some schedules.

    Raises:
        UserError: naming the first difference.
    """
    do = "give what the run had, or start anew with --overwrite or another --output_dir"
    for name, value in record.items():
        if name == VERSIONS or name not in before or before[name] == value:
            continue
        then, now = before[name], value
        if name in ("dialogues to evaluate on", "dev questions") and None in (then, now):
            continue  # whether and when is measured may change
        if name == LENGTH:
            if record["lr_scheduler_type"] in ENDLESS and not 0 < record["warmup_steps"] < 1:
                continue
            do = f"a run of another length has other learning rates: {do}, or train its result further as --model_name_or_path"
        if isinstance(now, str) and len(now) == 64 or isinstance(then, dict) or isinstance(now, dict):
            raise UserError(f"other {name} than in {place}", "the same", do)
        raise UserError(f"{name} {shown(now)}", f"{shown(then)}, as in {place}", do)


def version_warning(record: dict, before: dict, place: Path) -> str | None:
    """What is to be said when packages changed since the record `before`, which lies at `place`."""
    changed = [
        f"{name} {before[VERSIONS].get(name)} → {now}"
        for name, now in record[VERSIONS].items()
        if before.get(VERSIONS, {}).get(name) != now
    ]
    return f"medllm: {', '.join(changed)} since {place}: what follows may differ by rounding" if changed else None


def shown(value: object) -> str:
    """A recorded value as the user writes it."""
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def read_record(folder: Path) -> dict:
    """What `folder` holds as `RECORD`, or nothing at all.

    Raises:
        UserError: it is there and cannot be read.
    """
    return read_json(folder / RECORD) if (folder / RECORD).is_file() else {}


def write_record(folder: Path, record: dict, **more: object) -> None:
    """Writes the record of a run into `folder`, with what else is to be known there."""
    write_json(folder / RECORD, {"run": record, **more})
