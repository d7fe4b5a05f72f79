"""Bytes on each GPU of a training run: model states by DeepSpeed's estimators, activations by formula."""

import os
import warnings
from dataclasses import dataclass

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedConfig, PreTrainedModel
from trl import ModelConfig, get_peft_config

from medllm_hf.errors import UserError, first_line
from medllm_hf.pretrained import empty_model

# CUDA's context, NCCL's buffers and what the allocator cannot use. An assumption, not a measurement.
RESERVED = 2 * 10**9
STAGES = ("none", "ZeRO-1", "ZeRO-2", "ZeRO-3", "ZeRO-3 + offload")
# TRL's fused head works on tiles of so many tokens and so much of the vocabulary (trl/kernels/chunked_logprob.py).
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
TILE_TOKENS, TILE_VOCABULARY = 4096, 32768


@dataclass(frozen=True)
class Shapes:
    """What the estimates need of a model: numbers of parameters and widths.

    `largest` is the module with the most parameters of its own, as DeepSpeed counts it. `linear` are those that
    quantisation would hold in fewer bits. `attention` and `key_values` are the widths of queries and of keys.
    """

    parameters: int
    trained: int
    largest: int
    linear: int
    layers: int
    hidden: int
    inner: int
    attention: int
    key_values: int
    vocabulary: int
    normed_queries: bool
    trained_head: bool


@dataclass(frozen=True)
class Precision:
    """How weights are held and computed with.

    `weight` and `trained_weight` are bytes a parameter without DeepSpeed; `mixed` says that 16 bits are computed with;
    `linear` is the bytes of a quantised parameter, or None.
    """

    weight: int
    trained_weight: int
    mixed: bool
    linear: float | None


@dataclass(frozen=True)
class Need:
    """Bytes of the model states on each GPU and in the memory of each node."""

    gpu: int
    node: int


@dataclass(frozen=True)
class Peaks:
    """Bytes beside the model states: activations by part, without DeepSpeed and with ZeRO; logits of an evaluation batch."""

    plain: dict[str, int]
    zero: dict[str, int]
    evaluation: int

    def of(self, stage: str) -> int:
        """The most that a stage holds at any one time."""
        return max(sum((self.plain if stage == "none" else self.zero).values()), self.evaluation)


def model_states(shapes: Shapes, precision: Precision, gpus: int, nodes: int) -> dict[str, Need]:
    """Stage → bytes for weights, gradients and Adam's states; ZeRO-3 is left out for quantised weights.

    ZeRO-2 and ZeRO-3 are DeepSpeed's own estimates for the trained parameters (16-bit weights, 32-bit copies and Adam).
    ZeRO-1 takes the constants of ZeRO-2 with whole 16-bit gradients; DeepSpeed has no estimator for it. Without
    DeepSpeed the weights are trained as they are, autocast keeps a 16-bit copy of 32-bit ones, and several GPUs keep
    the gradients once more in the buckets that they exchange. Frozen weights are whole on every GPU below ZeRO-3.

    Source: deepspeed.runtime.zero.stage_1_and_2 and stage3, estimate_zero{2,3}_model_states_mem_needs.
    """
    if not torch.accelerator.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"  # otherwise DeepSpeed says on the screen that it looked for another
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs as zero3
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs as zero2

    world, trained = gpus * nodes, shapes.trained
    number = precision.trained_weight
    cast = 2 if precision.mixed and number == 4 else 0
    buckets = number if world > 1 else 0
    plain, frozen = frozen_weights(shapes, precision)
    host, on_gpu = zero2(trained, gpus, nodes, cpu_offload=False)
    needs = {
        "none": Need(plain + (number + cast + number + buckets + 2 * number) * trained, 0),
        "ZeRO-1": Need(frozen + 4 * trained + 16 * trained // world, host),
        "ZeRO-2": Need(frozen + on_gpu, host),
    }
    if precision.linear is not None:
        return needs
    for name, offload in (("ZeRO-3", False), ("ZeRO-3 + offload", True)):
        host, on_gpu, _ = zero3(trained, shapes.largest, gpus, nodes, cpu_offload=offload, cpu_offload_params=offload)
        shared = 0 if offload else frozen // world
        needs[name] = Need(on_gpu + shared, host + (frozen // nodes if offload else 0))
    return needs


def frozen_weights(shapes: Shapes, precision: Precision) -> tuple[int, int]:
    """Bytes of the weights that are not trained: without DeepSpeed, and with it."""
    frozen = shapes.parameters - shapes.trained
    if precision.linear is not None:
        quantised = int(precision.linear * shapes.linear + 2 * (frozen - shapes.linear))
        return quantised, quantised
    return precision.weight * frozen, (2 if precision.mixed else 4) * frozen


def activations(shapes: Shapes, tokens: int, trained_tokens: int, checkpointing: bool, residual: int) -> dict[str, int]:
    """Part → bytes of the activations at the peak of a training step on `tokens` tokens, of which some are trained.

    With checkpointing: layers x tokens x hidden x `residual` bytes for the inputs of the layers, and one layer, kept anew,
    with its gradients. Without: what every layer keeps, and one layer's gradients. Attention is sdpa's or
    flash-attention's, which keep no matrix of tokens x tokens. The head is TRL's, which makes logits tile by tile; 32-bit
    gradients of its inputs and, if it is trained, of its weight come with it.

    The bytes of one layer are those that PyTorch's MemTracker counts on Llama and Qwen3 layers in bfloat16, within 15%.

    Args:
        residual: bytes of one number between two layers: 2, or 4 for 32-bit weights under autocast.
    """
    hidden, attention, inner = shapes.hidden, shapes.attention, shapes.inner
    extra = 5 * (residual - 2) * hidden + 6 * shapes.normed_queries * (attention + shapes.key_values)
    kept = 18 * hidden + 8 * attention + 8 * inner + extra
    gradients = 4 * hidden + 2 * inner
    tile = 2 * min(trained_tokens, TILE_TOKENS) * min(shapes.vocabulary, TILE_VOCABULARY)
    head = tile + 6 * hidden * (trained_tokens + shapes.trained_head * shapes.vocabulary)
    if not checkpointing:
        return {"layers": shapes.layers * tokens * kept, "their gradients": tokens * gradients, "head": head}
    between = shapes.layers * tokens * residual * hidden
    return {"between layers": between, "one layer": tokens * (kept + gradients), "head": head}


def peaks(settings: dict, shapes: Shapes, precision: Precision, length: int, share: float) -> Peaks:
    """What stands beside the model states at most: batches full of samples of `length` tokens, `share` of them trained."""
    tokens = settings["per_device_train_batch_size"] * length
    new = settings.get("activation_checkpointing")  # older versions of transformers do not have the name
    checkpointing = bool(settings["gradient_checkpointing"] if new is None else new)
    factor = 1 if precision.mixed else 2
    plain, zero = (
        {
            name: factor * size
            for name, size in activations(shapes, tokens, int(tokens * share), checkpointing, residual).items()
        }
        for residual in (precision.weight if precision.mixed else 2, 2)
    )
    evaluates = getattr(settings["eval_strategy"], "value", settings["eval_strategy"]) != "no"
    evaluated = int(settings["per_device_eval_batch_size"] * length * share) if evaluates else 0
    # Logits in 16 bits, in 32 bits, and their 32-bit log-probabilities.
    return Peaks(plain, zero, 10 * evaluated * shapes.vocabulary)


def read_precision(settings: dict, config: PreTrainedConfig) -> Precision:
    """How the recipe holds weights and computes. LoRA's own weights are 32-bit, or 16-bit over quantised ones."""
    dtype = settings["dtype"] if settings["dtype"] != "auto" else str(config.dtype or "float32").removeprefix("torch.")
    weight = WIDTHS[dtype]
    linear = None
    if settings["load_in_4bit"]:
        # 4 bits, and a 32-bit constant for each 64 numbers, itself quantised if nested. Source: arXiv 2305.14314.
        linear = (4 + (0.127 if settings["use_bnb_nested_quant"] else 0.5)) / 8
    elif settings["load_in_8bit"]:
        linear = 1
    trained = weight if not settings["use_peft"] else 4 if linear is None else 2
    mixed = settings["bf16"] is not False or settings["fp16"]
    return Precision(weight, trained, mixed, linear)


def read_shapes(config: PreTrainedConfig, adapter: LoraConfig | None) -> Shapes:
    """The shapes of the model that `config` describes, with `adapter` if there is one; nothing is allocated.

    Raises:
        UserError: not a decoder whose widths the formulas know.
    """
    with torch.device("meta"):
        try:
            model = empty_model(config)
            text = config.get_text_config()
            heads = text.num_attention_heads
            size = getattr(text, "head_dim", None) or text.hidden_size // heads
            widths = {
                "layers": text.num_hidden_layers,
                "hidden": text.hidden_size,
                "inner": text.intermediate_size,
                "attention": heads * size,
                "key_values": (getattr(text, "num_key_value_heads", None) or heads) * size,
                "vocabulary": text.vocab_size,
            }
        except (AttributeError, ValueError) as error:
            found = f"a {config.model_type} model that cannot be planned ({first_line(error)})"
            raise UserError(found, "a causal language model like Llama or Qwen3", "check config.json") from error
        head = model.get_output_embeddings()
        linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head]
        quantisable = sum(module.weight.numel() for module in linear)
        # PEFT changes the model in place, so that its head is the one that is trained.
        whole = model if adapter is None else with_adapter(model, adapter)
    return Shapes(
        **widths,
        parameters=sum(parameter.numel() for parameter in whole.parameters()),
        trained=sum(parameter.numel() for parameter in whole.parameters() if parameter.requires_grad),
        largest=max(sum(own.numel() for own in module.parameters(recurse=False)) for module in whole.modules()),
        linear=quantisable,
        normed_queries=any(name.endswith("q_norm") for name, _ in whole.named_modules()),
        trained_head=any(parameter.requires_grad for parameter in model.get_output_embeddings().parameters()),
    )


def peft_config(model: ModelConfig) -> LoraConfig | None:
    """PEFT's configuration for TRL's ModelConfig `model`, or None without `use_peft`.

    TRL unwraps a list of one module, and PEFT takes bare text for a pattern over whole paths, which a name never matches.
    """
    config = get_peft_config(model)
    if not isinstance(config, LoraConfig):  # TRL makes no other
        return None
    if isinstance(config.target_modules, str) and config.target_modules.isidentifier():
        config.target_modules = {config.target_modules}  # type: ignore[assignment]  # PEFT makes sets of lists itself
    return config


def with_adapter(model: PreTrainedModel, adapter: LoraConfig) -> torch.nn.Module:
    """The model with the adapter, which PEFT itself puts into it, in place.

    Raises:
        UserError: target modules that the model does not have.
    """
    try:
        with warnings.catch_warnings():
            # PEFT reads an attribute that transformers will rename; nothing that a user could change.
            warnings.simplefilter("ignore", FutureWarning)
            return get_peft_model(model, adapter, autocast_adapter_dtype=False)
    except ValueError as error:
        if "not found in the base model" in str(error):
            targets = adapter.target_modules
            names = targets if isinstance(targets, str) else ", ".join(sorted(targets or ()))
            do = "name others; `all-linear` takes every linear module"
            raise UserError(
                f"lora_target_modules {names}, which the model does not have", "names of its modules", do
            ) from error
        do = "mend lora_target_modules or lora_modules_to_save"
        raise UserError(f"an adapter that does not fit ({first_line(error)})", "modules of the model", do) from error
