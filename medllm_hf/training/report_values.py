"""What a finished run was, as plain values: its figures, losses by source, settings, hardware and versions."""

import math
import os
from collections import Counter
from dataclasses import MISSING, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from peft import PeftConfig
from transformers.trainer_pt_utils import AcceleratorConfig

from medllm_hf import __version__
from medllm_hf.training import attention_choice, throughput
from medllm_hf.training.prepare import Prepared

if TYPE_CHECKING:
    from trl import SFTConfig

    from medllm_hf.training.trainer import ExactTrainer

PACKAGES = ("torch", "transformers", "trl", "accelerate", "deepspeed", "peft", "datasets")
BY_SOURCE = "eval_loss_"
# What an unset option becomes by itself.
UNSET: dict[str, object] = {
    "debug": [],
    "include_for_metrics": [],
    "report_to": [],
    "pad_to_multiple_of": None,
    "accelerator_config": {key: value for key, value in AcceleratorConfig().to_dict().items() if key != "use_configured_state"},
}
# A place of this machine, what follows from other options, and a second name for gradient_checkpointing.
NOT_LISTED = {"output_dir", "disable_tqdm", "do_eval", "activation_checkpointing", "activation_checkpointing_kwargs"}


def training_values(trainer: "ExactTrainer", prepared: Prepared) -> dict:
    """What the report says, as plain values: no tensor, no path, no secret."""
    history = [plain_fields(entry) for entry in trainer.state.log_history]
    adapters = getattr(trainer.model, "peft_config", {})
    return {
        "run": run_figures(trainer, prepared, history),
        "sources": source_rows(prepared, history),
        "settings": changed_settings(trainer.args),
        "adapters": {name: changed_adapter(config) for name, config in adapters.items()},
        "hardware": {
            "device": throughput.device_name(),
            "devices": trainer.args.world_size,
            "cores_of_this_node": os.cpu_count(),
        },
        "versions": {"medllm_hf": __version__, **installed()},
        "log_history": history,
    }


def run_figures(trainer: "ExactTrainer", prepared: Prepared, history: list[dict]) -> dict:
    """The figures of one run. Speeds are those of this call: what was trained before it was resumed is left out.

    Units: seconds, bytes, tokens and model FLOPs; `peak_flops` and `flop_use` are null where the peak is not known.
    """
    state = trainer.state
    seconds = [entry["train_runtime"] for entry in history if "train_runtime" in entry][-1]
    share = throughput.real_token_share(trainer)
    tokens = trainer._total_train_tokens * share
    parameters, trained = throughput.parameter_numbers(trainer.model)
    length = throughput.attended_length(prepared.dataset)
    flops = throughput.flops_per_token(trainer.model.config, parameters, trained, length)
    # Only the saving was left to do for a run that was cut off after its last step: the clock shows nothing.
    speed = flops * tokens / seconds if seconds else 0.0
    peak = throughput.PEAKS.get(throughput.device_name())
    best = state.best_model_checkpoint if trainer.args.load_best_model_at_end else None
    return {
        "steps": state.global_step,
        "resumed_at_step": trainer._initial_global_step,
        "epochs": state.epoch,
        "saved_weights": f"{Path(best).name}, best {trainer.args.metric_for_best_model}" if best else "last step",
        "dialogues_read": prepared.read,
        "dialogues_shortened": prepared.shortened,
        "dialogues_left_out": prepared.left_out,
        "tokens": prepared.tokens,
        "trained_tokens": prepared.trained_tokens,
        "tokens_fed": round(tokens),
        "real_token_share": share,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds if seconds else 0.0,
        "parameters": parameters,
        "trained_parameters": trained,
        "attended_length": length,
        "flops_per_token": flops,
        "flops_per_second": speed,
        "peak_flops": peak and peak * trainer.args.world_size,
        "flop_use": peak and speed / (peak * trainer.args.world_size),
        "peak_memory": throughput.peak_memory(),
        "attention": attention_choice.describe(trainer.model.config._attn_implementation),
        **{
            f"last_{key}": points[-1][1]
            for key in ("loss", "eval_loss", "eval_mcq_accuracy")
            if (points := series(history, key))
        },
    }


def series(history: list[dict], key: str) -> list[tuple[int, float]]:
    """The (step, value) pairs of one logged name."""
    return [(entry["step"], entry[key]) for entry in history if entry.get(key) is not None]


def source_rows(prepared: Prepared, history: list[dict]) -> list[dict]:
    """One row a source: dialogues trained on, first and last evaluation loss; none where there is one source only."""
    numbers = Counter(prepared.dataset["source"])
    dialogues = {name: numbers[i] for i, name in enumerate(prepared.sources)}
    evaluated = {key.removeprefix(BY_SOURCE) for entry in history for key in entry if key.startswith(BY_SOURCE)}
    names = sorted(evaluated | set(dialogues))
    rows = []
    for name in names if len(names) > 1 else []:
        points = series(history, BY_SOURCE + name)
        first, last = (points[0][1], points[-1][1]) if points else (None, None)
        rows.append({"source": name, "dialogues": dialogues.get(name, 0), "first_loss": first, "last_loss": last})
    return rows


def changed_settings(settings: "SFTConfig") -> dict:
    """The options of `trl sft` whose values are not TRL's defaults.

    A `max_length` of None is left out: the dialogues were shortened to the recipe's before.
    """
    values = settings.to_dict()
    changed = {}
    for field in fields(settings):
        default = field.default if field.default is not MISSING else None
        known = (plain(default), UNSET.get(field.name, plain(default)))
        unlisted = field.name in NOT_LISTED or field.name.endswith("_token") or not field.init
        if not unlisted and plain(values[field.name]) not in known:
            changed[field.name] = plain(values[field.name])
    if settings.max_length is None:
        changed.pop("max_length", None)
    return changed


def changed_adapter(config: PeftConfig) -> dict:
    """The settings of a PEFT adapter that are not PEFT's defaults."""
    default = type(config)().to_dict()
    return {
        key: plain(value)
        for key, value in config.to_dict().items()
        if value != default[key] and key not in ("base_model_name_or_path", "inference_mode")
    }


def plain(value: object) -> object:
    """`value` as JSON can hold it, without tokens of the Hub.

    Of an absolute path only the name stays; what is not finite becomes None.
    """
    if isinstance(value, dict):
        return plain_fields(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set):
        return sorted(map(str, value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return Path(value).name if value.startswith("/") else getattr(value, "value", value)
    return value if value is None or isinstance(value, int) else str(value)


def plain_fields(fields: dict) -> dict[str, object]:
    """The fields of an object, each as `plain` has it."""
    return {str(key): plain(item) for key, item in fields.items() if key != "token"}


def installed() -> dict[str, str]:
    """Package → version, for those that are there."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
