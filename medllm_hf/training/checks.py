"""Settings that cannot work, told before anything is tokenised or loaded.

What a library decides is asked of the library itself, on a toy.
"""

import json
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from huggingface_hub import constants, get_token
from transformers import Trainer, get_scheduler
from transformers.integrations import get_reporting_integration_callbacks
from trl import ModelConfig, SFTConfig

from medllm_hf.errors import UserError, first_line

if TYPE_CHECKING:
    from medllm_hf.training.sft import Additions

# TRL's, or, where TRL would refuse the machine, the same options by name.
Settings = SFTConfig | SimpleNamespace

# Two names of one loss: versions of TRL before 1.16 compute the second one in chunks.
SUMS = ("nll", "chunked_nll")
# What an evaluation measures beside the loss of each source; with other losses than the plain one TRL adds the last two.
MEASURED = ("loss", "mean_token_accuracy")
MEASURED_BY_TRL = ("entropy", "aux_loss")
# Option → the least value that means something, of whole numbers and of others.
LEAST_WHOLE = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "max_length": 1,
    "seed": 0,
    "data_seed": 0,
    "dataloader_num_workers": 0,
    "dataset_num_proc": 0,
    "max_steps": -math.inf,
    "lora_r": 1,
    "lora_alpha": 1,
}
LEAST = {
    "learning_rate": 0,
    "weight_decay": 0,
    "max_grad_norm": 0,
    "warmup_steps": 0,
    "logging_steps": 0,
    "eval_steps": 0,
    "eval_delay": 0,
    "save_steps": 0,
    "num_train_epochs": -math.inf,
    "neftune_noise_alpha": 0,
    "label_smoothing_factor": 0,
    "lora_dropout": 0,
    **LEAST_WHOLE,
}
# Exclusive. Beyond the first kind random generators do not go, beyond the second what counts batches.
BELOW = {"seed": 2**32, "data_seed": 2**32, "label_smoothing_factor": 1, "lora_dropout": 1} | dict.fromkeys(
    ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "max_length", "max_steps"),
    2**31,
)
# What gradient_checkpointing_kwargs may hold.
CHECKPOINTING = ("use_reentrant", "selective", "preserve_rng_state", "determinism_check", "debug", "early_stop",
                 "every_n_layers", "offload")  # fmt: skip


def explain(message: str) -> UserError:
    """A complaint by TRL's parser or its objects about the options, as a mistake that says what to do."""
    if "bf16/gpu" in message:
        # DeepSpeed's ranks on CPUs are lost with use_cpu.
        cpu = "" if "LOCAL_RANK" in os.environ else "--use_cpu true, which trains in bf16 on the CPU, or "
        return UserError("bf16 and no GPU that has it", "an NVIDIA GPU from Ampere on", f"add {cpu}--bf16 false")
    if "--tf32" in message:
        return UserError("tf32 and no GPU that has it", "an NVIDIA GPU from Ampere on", "remove the option or add --tf32 false")
    if "load_best_model_at_end" in message and "the save and eval strategy" in message:
        return UserError("load_best_model_at_end", "eval_strategy and save_strategy the same", "change one of them")
    return UserError(message, "options of `trl sft`", "see `trl sft --help`")


def check_numbers(given: dict) -> None:
    """Check that every number among the options means something; an option that is not there is not looked at.

    Raises:
        UserError: naming the first that does not.
    """
    for name, least in LEAST.items():
        if given.get(name) is not None:
            check_number(name, given[name], least)
    steps, epochs = (given.get(name) for name in ("max_steps", "num_train_epochs"))
    if steps == 0:
        raise UserError("max_steps 0", "a number of steps, or -1 for num_train_epochs", "change it")
    if (steps is None or steps < 0) and epochs is not None and not epochs > 0:
        raise UserError(f"num_train_epochs {epochs:g}", "more than 0", "change it, or set max_steps")
    if given.get("save_strategy") == "steps" and not given.get("save_steps", 1) > 0:
        raise UserError(f"save_steps {given['save_steps']:g}", "more than 0", "change it, or set save_strategy")
    for name in ("lr_scheduler_kwargs", "model_init_kwargs", "gradient_checkpointing_kwargs"):
        value = read_object(name, given.get(name))
        unknown = set(value) - set(CHECKPOINTING) if name == "gradient_checkpointing_kwargs" else ()
        if unknown:
            raise UserError(f"{min(unknown)} in {name}", f"one of {', '.join(CHECKPOINTING)}", "mend it")
        if value.get("selective") and not given.get("gradient_checkpointing"):
            raise UserError(f"selective in {name} and no gradient_checkpointing", "both", "add --gradient_checkpointing true")


def check_number(name: str, value: object, least: float) -> None:
    """Check that an option's value is a number of its kind and within its bounds.

    Raises:
        UserError: it is not.
    """
    below, shown = BELOW.get(name, math.inf), f"{name} {str(value)[:40]}"
    kind = int if name in LEAST_WHOLE else int | float
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(shown, "a whole number" if kind is int else "a number", "change it")
    bounds = [f"at least {least}"] * (least > -math.inf) + [f"less than {below}"] * (below < math.inf)
    if not least <= value < below:
        raise UserError(shown, " and ".join(bounds) or "a finite number", "change it")


def read_object(name: str, value: object) -> dict:
    """The keys and values of an option that has them, which may be JSON; none where it is not set.

    Raises:
        UserError: it is something else.
    """
    given = value
    if isinstance(value, str):
        with suppress(ValueError):
            value = json.loads(value)
    if value is not None and not isinstance(value, dict):
        raise UserError(f"{name} {given}", "an object, such as {}", "mend it")
    return value or {}


def model_name(model: ModelConfig) -> str:
    """The folder or Hub id of the model to be trained.

    Raises:
        UserError: none is named.
    """
    if not model.model_name_or_path:
        raise UserError("no model_name_or_path", "a model to train", "name one in the recipe or with --model_name_or_path")
    return model.model_name_or_path


def check_evaluation(settings: Settings, dev_questions: str | None, sources: list[str] | None = None) -> None:
    """Check that the recipe evaluates what it chooses by, and make a smaller loss of a source the better one.

    Args:
        sources: those of the split to evaluate on; None as long as they are not known, when any name of one passes.

    Raises:
        UserError: a metric that no evaluation measures, or something that needs an evaluation and has none.
    """
    evaluates, metric = settings.eval_strategy != "no", settings.metric_for_best_model
    if dev_questions and not evaluates:
        raise UserError("--dev_questions and no evaluation", "eval_strategy steps or epoch", "add --eval_strategy epoch")
    chooses = settings.load_best_model_at_end or settings.save_strategy == "best"
    needing = [name for name, needs in (
        ("save_strategy best", settings.save_strategy == "best"), ("metric_for_best_model", metric and metric != "loss"),
        ("load_best_model_at_end", settings.load_best_model_at_end), ("eval_on_start", settings.eval_on_start),
    ) if needs]  # fmt: skip
    if needing and not evaluates:
        raise UserError(f"{needing[0]} and no evaluation", "eval_strategy steps or epoch", "add --eval_strategy epoch")
    if settings.load_best_model_at_end and settings.save_strategy not in ("best", settings.eval_strategy):
        strategies = [getattr(one, "value", one) for one in (settings.eval_strategy, settings.save_strategy)]
        found = "load_best_model_at_end with eval_strategy {} and save_strategy {}".format(*strategies)
        raise UserError(found, "the same strategy of both", "change one of them")
    if chooses and not metric and settings.save_strategy == "best":
        raise UserError("save_strategy best and no metric", "metric_for_best_model", "add --metric_for_best_model loss")
    if not metric:
        return
    name = metric.removeprefix("eval_")
    if name == "mcq_accuracy" and not dev_questions:
        raise UserError(f"metric_for_best_model {metric} and no questions", "--dev_questions FILE", "add it")
    stock = settings.loss_type not in SUMS or settings.label_smoothing_factor or getattr(settings, "router_aux_loss_coef", None)
    known = [*MEASURED, *(MEASURED_BY_TRL if stock else ()), *(f"loss_{source}" for source in sources or ())]
    known += ["mcq_accuracy"] if dev_questions else []
    if name not in known and not (sources is None and name.startswith("loss_")):
        found, expected = f"metric_for_best_model {metric}", ", ".join(f"eval_{one}" for one in known)
        raise UserError(found, f"what an evaluation measures: {expected}", "name one of them")
    if name.startswith("loss_"):
        settings.greater_is_better = False  # transformers looks at the end of the name only


def check_packages(settings: SFTConfig, model: ModelConfig) -> None:
    """Check that what the settings name is installed and can be made: trackers, optimizer, schedule, quantisation.

    Raises:
        UserError: naming the option and the package, or saying what the library said.
    """
    if settings.use_liger_kernel and find_spec("liger_kernel") is None:
        raise UserError("use_liger_kernel and no package liger_kernel", "it", "pip install liger-kernel, or remove the option")
    if model.load_in_4bit or model.load_in_8bit:
        option = "load_in_4bit" if model.load_in_4bit else "load_in_8bit"
        if find_spec("bitsandbytes") is None:
            do = f"pip install bitsandbytes, or add --{option} false"
            raise UserError(f"{option} and no package bitsandbytes", "it", do)
        if not model.use_peft:
            raise UserError(f"{option} without use_peft", "an adapter on quantised weights", "add --use_peft true")
    for name in settings.report_to or ():
        with refusing(f"report_to {name}", "install its package, name another, or add --report_to none"):
            for callback in get_reporting_integration_callbacks([name]):
                callback()
    toy = torch.nn.Linear(2, 2)
    named = getattr(settings.optim, "value", settings.optim)
    with refusing(f"optim {named}", "install it, or add --optim adamw_torch"):
        kind, options = Trainer.get_optimizer_cls_and_kwargs(settings, toy)  # type: ignore[arg-type]  # any module will do
    if not settings.optim_target_modules and {"params", "model", "optimizer_dict"}.isdisjoint(options):
        with refusing(f"optim {named} with its settings", "mend them"):
            optimizer = kind(toy.parameters(), **options)
    else:
        optimizer = torch.optim.SGD(toy.parameters(), lr=settings.learning_rate)
    check_schedule(settings, optimizer)
    if settings.activation_offloading and not torch.accelerator.is_available():
        raise UserError("activation_offloading and no GPU", "a GPU to unload", "remove the option")
    if settings.fp16 and settings.device.type == "cpu":
        do = "add --fp16 false, and --bf16 true --use_cpu true for 16 bits on the CPU"
        raise UserError("fp16 and no GPU", "a GPU: a CPU would train in 32 bits without a word", do)
    if settings.fsdp and "LOCAL_RANK" not in os.environ:
        raise UserError("fsdp and no launcher", "ranks", "start it with torchrun or accelerate launch")


def check_schedule(settings: Settings, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Check that the schedule can be made of its settings.

    Raises:
        UserError: saying what transformers said.
    """
    optimizer = optimizer or torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)
    kind = getattr(settings.lr_scheduler_type, "value", settings.lr_scheduler_type)
    with refusing(f"lr_scheduler_type {kind}", "mend lr_scheduler_kwargs"):
        get_scheduler(kind, optimizer, 1, 2, read_object("lr_scheduler_kwargs", settings.lr_scheduler_kwargs))


@contextmanager
def refusing(found: str, do: str) -> Iterator[None]:
    """Makes what a library says of settings that it cannot use a mistake that the user is told.

    Raises:
        UserError: the library said something.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ImportError, ValueError, TypeError, RuntimeError, AssertionError) as error:
        raise UserError(f"{found}: {first_line(error)}", "one that works here", do) from error


def check_hub(settings: SFTConfig) -> None:
    """Check that a run that is to be pushed has a token and a network.

    Raises:
        UserError: it has not.
    """
    if not settings.push_to_hub:
        return
    if constants.HF_HUB_OFFLINE:
        raise UserError("push_to_hub and HF_HUB_OFFLINE", "a network", "unset HF_HUB_OFFLINE, or add --push_to_hub false")
    if not (settings.hub_token or get_token()):
        raise UserError("push_to_hub and no token", "one that may write", "run `hf auth login`, or add --push_to_hub false")


def check_lora_task(model: ModelConfig) -> None:
    """Check that an adapter, if there is one, is for writing.

    Raises:
        UserError: it is for another task.
    """
    if model.use_peft and model.lora_task_type != "CAUSAL_LM":
        raise UserError(f"lora_task_type {model.lora_task_type}", "CAUSAL_LM", "remove the option")


def unused_lora_warning(model: ModelConfig) -> str | None:
    """What is to be said of options of an adapter that has not been asked for."""
    if model.use_peft:
        return None
    default = ModelConfig()
    names = [field.name for field in fields(ModelConfig) if field.name.startswith(("lora_", "use_rslora", "use_dora"))]
    unused = [name for name in names if getattr(model, name) != getattr(default, name)]
    return f"medllm: {', '.join(unused)} without use_peft: all weights are trained" if unused else None


def check_loading(settings: SFTConfig) -> None:
    """Check that no weight may be replaced by chance, and what is asked for is there.

    Raises:
        UserError: otherwise.
    """
    init = read_object("model_init_kwargs", settings.model_init_kwargs)
    if init.get("ignore_mismatched_sizes"):
        raise UserError("ignore_mismatched_sizes", "weights that fit their config.json", "remove it, and mend the checkpoint")
    if init.get("use_kernels") and find_spec("kernels") is None:
        raise UserError("use_kernels and no package kernels", "it", "pip install kernels, or remove the option")


def check_rows(settings: Settings) -> None:
    """Check that packing, if there is any, cuts no answer.

    Raises:
        UserError: it does.
    """
    if settings.packing and settings.packing_strategy != "bfd":
        raise UserError(f"packing_strategy {settings.packing_strategy}", "bfd, which cuts no answer", "change the recipe")


def check_settings(settings: SFTConfig, model: ModelConfig, additions: "Additions") -> None:
    """Check that nothing speaks against the settings that can be seen without a model or dataset.

    Args:
        settings, model: TRL's SFTConfig and ModelConfig.
        additions: our own `Additions`.

    Raises:
        UserError: naming the first mistake.
    """
    check_numbers(vars(settings) | {name: getattr(model, name) for name in ("lora_r", "lora_alpha", "lora_dropout")})
    check_loading(settings)
    check_rows(settings)
    check_evaluation(settings, additions.dev_questions)
    check_lora_task(model)
    check_packages(settings, model)
    check_hub(settings)
