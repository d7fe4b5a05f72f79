"""The plan of a training run, before any weight is read: parameters, steps, tokens, and what fits on which GPUs."""

import math
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedConfig
from trl import ModelConfig, ScriptArguments, SFTConfig

from medllm_hf.errors import UserError, first_line
from medllm_hf.folders import read_json
from medllm_hf.pretrained import config_values, load_tokenizer, refuse_trust
from medllm_hf.training import memory
from medllm_hf.training.loading import check_text, reading
from medllm_hf.training.rows import check_columns, read_row
from medllm_hf.training.tokens import IGNORED, Unfit, encoder

# Dialogues that are tokenised to learn their mean length.
SAMPLED = 200
FILES = {name: f"recipes/deepspeed/{file}.json" for name, file in
         (("ZeRO-2", "zero2"), ("ZeRO-3", "zero3"), ("ZeRO-3 + offload", "zero3_offload"))}  # fmt: skip


@dataclass(frozen=True)
class Dialogues:
    """The training split: its rows, and the mean tokens and share of trained tokens of a sample, if there is a tokenizer."""

    rows: int
    tokens: float | None
    trained: float
    sampled: int


def plan(recipe: dict, gpus: int | None, nodes: int, gpu_memory: float | None) -> str:
    """The plan of a run as text of at most 80 columns.

    The bytes are estimates; `medllm_hf.training.memory` says where each comes from. A batch is taken as full of
    dialogues of max_length tokens, since the longest batch decides.

    Args:
        recipe: options of `trl sft` and their values; an option that is not there has TRL's default.
        gpus: on each node; None is what this machine has.
        gpu_memory: of one GPU in GB (10^9 bytes); None is what this machine's first GPU has.

    Raises:
        UserError: no GPU to plan for, or a model, dataset or DeepSpeed config that is not there or not understood.
    """
    settings = defaults() | recipe
    refuse_trust(settings)
    gpus, gpu_memory = hardware(gpus, nodes, gpu_memory)
    config, unconverted = model_config(settings["model_name_or_path"], settings["model_revision"])
    model = ModelConfig(**{field.name: settings[field.name] for field in fields(ModelConfig)})
    shapes = memory.read_shapes(config, memory.peft_config(model))
    precision = memory.read_precision(settings, config)
    data = dialogues(settings)
    length = settings["max_length"] or config.get_text_config().max_position_embeddings
    peaks = memory.peaks(settings, shapes, precision, length, data.trained if data else 1.0)
    needs = memory.model_states(shapes, precision, gpus, nodes)
    totals = {name: need.gpu + peaks.of(name) + memory.RESERVED for name, need in needs.items()}
    chosen = stage(settings["deepspeed"])
    machines = f"{nodes} node{'s' * (nodes > 1)} with {gpus} GPU{'s' * (gpus > 1)} of {gpu_memory:g} GB"
    return "\n".join(
        [
            f"Plan for {settings['model_name_or_path']}",
            f"on {machines} (estimates; GB = 10^9 bytes)",
            "",
            *facts(settings, shapes, data, gpus * nodes, length),
            "",
            *memory_lines(needs, totals, peaks, gpu_memory),
            "",
            *verdict(chosen, totals, gpu_memory),
            *remarks(settings, precision, chosen, unconverted),
        ]
    )


def defaults() -> dict:
    """Option → TRL's default, for the options that have a plain one."""
    known = [field for part in (ScriptArguments, SFTConfig, ModelConfig) for field in fields(part)]
    return {field.name: field.default for field in known if field.default is not MISSING}


def hardware(gpus: int | None, nodes: int, gpu_memory: float | None) -> tuple[int, float]:
    """GPUs of a node and GB of a GPU, those of this machine where nothing is said.

    Raises:
        UserError: there are none, or a number is not positive.
    """
    here = torch.cuda.device_count()
    if (gpus is None or gpu_memory is None) and not here:
        raise UserError("no GPU in this machine", "GPUs to plan for", "add --gpus N --gpu_memory GB")
    gpus = here if gpus is None else gpus
    gpu_memory = torch.cuda.get_device_properties(0).total_memory / 1e9 if gpu_memory is None else gpu_memory
    if gpus < 1 or nodes < 1 or gpu_memory <= 0:
        found = f"--gpus {gpus} --nodes {nodes} --gpu_memory {gpu_memory:g}"
        raise UserError(found, "numbers above 0", "change them")
    return gpus, gpu_memory


def model_config(name: str, revision: str | None) -> tuple[PreTrainedConfig, bool]:
    """The config of a checkpoint folder or Hub model, and whether it has to be converted; only config.json is read.

    A config in Baichuan's own layout becomes that of the Llama model with the same shapes, as conversion makes it.

    Raises:
        UserError: there is none, it is a Baichuan 13B, or transformers does not know its model.
    """
    values = config_values(name, revision)
    kind = values.pop("model_type", None)
    unconverted = kind == "baichuan"
    try:
        if unconverted:
            wanted = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
            kind, values = "llama", {key: values[key] for key in wanted} | {"tie_word_embeddings": False}
            if values["hidden_size"] == 5120:
                raise UserError(f"a Baichuan 13B in {name}", "a 7B", "the 13B uses ALiBi and cannot be converted")
        return AutoConfig.for_model(kind, **values), unconverted
    except (ValueError, KeyError, TypeError) as error:
        found = f"a config.json of {name} with model_type {kind} ({first_line(error)[:80]})"
        raise UserError(found, "a model that transformers knows", "check the file") from error


def dialogues(settings: dict) -> Dialogues | None:
    """The rows and mean lengths of the training split when the dataset is a local folder, else None.

    Raises:
        UserError: the folder does not load, or has no such split.
    """
    name, split = settings["dataset_name"], settings["dataset_train_split"]
    if not name or not Path(name).is_dir():
        return None
    from datasets import load_dataset

    with reading(name, f"a dataset with a split {split}"):
        rows = load_dataset(name, name=settings["dataset_config"], split=split)
        check_text(rows)
    try:
        tokenizer = load_tokenizer(settings["model_name_or_path"], settings["model_revision"])
    except UserError:
        tokenizer = None
    if tokenizer is None or tokenizer.chat_template is None or {"input_ids", "labels"} <= set(rows.column_names):
        return Dialogues(len(rows), None, 1.0, 0)
    check_columns(rows.column_names)
    encode = encoder(tokenizer, settings["max_length"])
    sample = rows.select(range(0, len(rows), max(1, len(rows) // SAMPLED)))
    try:
        labels = [encode(read_row(row)).labels for row in sample]
    except Unfit as error:
        do = "mend or leave out such rows"
        raise UserError(f"a dialogue of {name} that cannot be trained: {error}", "what the template writes", do) from error
    tokens = sum(map(len, labels))
    trained = tokens - sum(row.count(IGNORED) for row in labels)
    return Dialogues(len(rows), tokens / len(labels), trained / max(tokens, 1), len(labels))


def facts(settings: dict, shapes: memory.Shapes, data: Dialogues | None, world: int, length: int) -> list[str]:
    """The lines on parameters, batch, steps and tokens."""
    batch, accumulated = settings["per_device_train_batch_size"], settings["gradient_accumulation_steps"]
    whole = batch * accumulated * world
    method = "full" if not settings["use_peft"] else "QLoRA" if settings["load_in_4bit"] else "LoRA"
    percent = 100 * shapes.trained / shapes.parameters
    steps = optimizer_steps(settings, data, world, length)
    held = "unknown: the dataset is not a local folder"
    if data:
        mean = f", {data.tokens:.0f} tokens each (mean of {data.sampled})" if data.tokens is not None else ", tokens unknown"
        held = f"{data.rows:,} dialogues{mean}"
    tokens = "unknown"
    if steps and data and data.tokens is not None:
        seen = length if settings["packing"] else data.tokens
        tokens = f"about {steps * whole * seen:,.0f}"
    return [
        f"{'parameters':<18}{shapes.parameters:,} (largest module {shapes.largest:,})",
        f"{'trained':<18}{shapes.trained:,} ({percent:.4g}%, {method})",
        f"{'global batch':<18}{whole} = {batch} a GPU x {accumulated} accumulated x {world} GPU{'s' * (world > 1)}",
        f"{'dataset':<18}{held}",
        f"{'optimizer steps':<18}{f'{steps:,}' if steps else 'unknown'}",
        f"{'tokens':<18}{tokens}",
    ]


def optimizer_steps(settings: dict, data: Dialogues | None, world: int, length: int) -> int | None:
    """The steps as the Trainer counts them, or None when the dataset is not known; packed rows are taken as full."""
    if settings["max_steps"] > 0:
        return settings["max_steps"]
    if data is None:
        return None
    rows = data.rows
    if settings["packing"]:
        if data.tokens is None:
            return None
        rows = math.ceil(data.rows * data.tokens / length)
    batches = math.ceil(rows / (settings["per_device_train_batch_size"] * world))
    return math.ceil(settings["num_train_epochs"] * math.ceil(batches / settings["gradient_accumulation_steps"]))


def memory_lines(needs: dict[str, memory.Need], totals: dict[str, int], peaks: memory.Peaks, gpu_memory: float) -> list[str]:
    """The table of stages, and what stands beside the model states in each."""
    lines = [f"{'memory per GPU':<20}{'model states':>14}{'total':>10}"]
    for name, need in needs.items():
        free = gpu_memory - totals[name] / 1e9
        judged = f"fits, {free:.1f} GB free" if free >= 0 else f"does not fit, {-free:.1f} GB short"
        lines.append(f"  {name:<18}{gb(need.gpu):>14}{gb(totals[name]):>10}   {judged}")
    if "ZeRO-3 + offload" in needs:
        lines.append(f"  offload holds {gb(needs['ZeRO-3 + offload'].node)} in the memory of each node")
    else:
        lines.append("  ZeRO-3 is not planned: quantised weights are not divided")
    parts = ", ".join(f"{name} {gb(size)}" for name, size in peaks.zero.items())
    lines.append(f"  activations {gb(sum(peaks.zero.values()))} ({parts})")
    if peaks.evaluation:
        lines.append(f"  logits of an evaluation batch {gb(peaks.evaluation)}, when no activations are held")
    return [*lines, f"  {gb(memory.RESERVED)} are set aside for CUDA, NCCL and gaps between blocks"]


def gb(size: float) -> str:
    """Bytes as gigabytes."""
    return f"{size / 1e9:.1f} GB"


def stage(deepspeed: str | dict | None) -> str:
    """The name of the stage that a recipe's `deepspeed` (a file or its content) asks for.

    Raises:
        UserError: no such file, or not JSON.
    """
    if not deepspeed:
        return "none"
    content = deepspeed if isinstance(deepspeed, dict) else read_json(Path(deepspeed))
    zero = content.get("zero_optimization", {})
    number = zero.get("stage", 0)
    offload = any(zero.get(f"offload_{what}", {}).get("device", "none") != "none" for what in ("optimizer", "param"))
    return memory.STAGES[4 if number == 3 and offload else number]


def verdict(chosen: str, totals: dict[str, int], gpu_memory: float) -> list[str]:
    """The lines that say whether the recipe fits as it is, and if not, what does."""
    fitting = [name for name, total in totals.items() if total <= gpu_memory * 1e9]
    how = "without DeepSpeed" if chosen == "none" else f"with its {chosen}"
    if not fitting:
        return ["Nothing fits: use more GPUs, LoRA or QLoRA, or a shorter max_length."]
    if chosen in fitting:
        return [f"The recipe fits {how}: {gpu_memory - totals[chosen] / 1e9:.1f} GB free on each GPU."]
    if chosen not in totals:
        return [f"The recipe asks for {chosen}, which does not divide quantised weights.", "What fits: no DeepSpeed."]
    lines = [f"The recipe does not fit {how}: {totals[chosen] / 1e9 - gpu_memory:.1f} GB short.", "What fits:"]
    return lines + [f"  {name}" + (f": --deepspeed {FILES[name]}" if name in FILES else "") for name in fitting]


def remarks(settings: dict, precision: memory.Precision, chosen: str, unconverted: bool) -> list[str]:
    """What else should be known before the run."""
    found = []
    if chosen == "none" and not settings["use_peft"] and precision.weight == 2:
        found.append("Without DeepSpeed, 16-bit weights lose small updates: set dtype: float32.")
    if not precision.mixed:
        found.append("DeepSpeed's estimates are for 16-bit computing, and this recipe computes in 32 bits.")
    if unconverted:
        found.append("The checkpoint is in Baichuan's layout: run `medllm convert` before training.")
    return found
