"""A model that cannot be trained as the settings say, told from its config and the headers of its weights alone."""

import copy
import warnings
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pyarrow.compute as pc
import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.core_model_loading import revert_weight_conversion
from transformers.utils import ADAPTER_CONFIG_NAME, CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from trl import ModelConfig, SFTConfig

from medllm_hf.data.mcq import load_items
from medllm_hf.errors import UserError
from medllm_hf.pretrained import empty_model, loading_arguments
from medllm_hf.training.check_saved import model_shapes, resized
from medllm_hf.training.checks import (
    check_evaluation,
    check_lora_task,
    check_numbers,
    check_rows,
    check_schedule,
    model_name,
    unused_lora_warning,
)
from medllm_hf.training.memory import peft_config, with_adapter
from medllm_hf.training.plan import defaults, model_config
from medllm_hf.training.prepare import Prepared

FETCH = "fetch the checkpoint again"


def check_model(settings: SFTConfig, model: ModelConfig, adapter: LoraConfig | None) -> PreTrainedModel | None:
    """The model without weights, if transformers makes one of its config alone, when it takes the settings and the adapter.

    Args:
        settings: TRL's SFTConfig.

    Raises:
        UserError: a folder with an adapter or in Baichuan's layout, weights that do not fit the config,
            an adapter on modules that the model does not have, or on its head.
    """
    config = read_config(model)
    for key in sorted(set(settings.model_init_kwargs or {}) - loading_arguments() - set(config.to_dict())):
        raise UserError(f"{key} in model_init_kwargs", "an argument of `from_pretrained` or a key of config.json", "mend it")
    if getattr(settings, "router_aux_loss_coef", None) and not hasattr(config.get_text_config(), "output_router_logits"):
        raise UserError(f"router_aux_loss_coef and {model.model_name_or_path}", "a mixture of experts", "remove the option")
    sketch = without_weights(config)
    if sketch is not None:
        check_shapes(Path(model_name(model)), sketch)
        if adapter is not None:
            check_adapter(sketch, adapter)
    return sketch


def check_plan(options: dict) -> str | None:
    """What is to be warned of, when nothing but hardware, packages and the dataset can speak against a run.

    Args:
        options: of `trl sft` and of ours, as they were given.

    Raises:
        UserError: naming the first mistake.
    """
    settings = SimpleNamespace(**(defaults() | {"dev_questions": None} | options))
    check_numbers(vars(settings))
    check_rows(settings)
    check_evaluation(settings, settings.dev_questions)
    check_schedule(settings)
    if settings.dev_questions:
        load_items(settings.dev_questions)
    model = ModelConfig(**{field.name: getattr(settings, field.name) for field in fields(ModelConfig)})
    check_lora_task(model)
    config, _ = model_config(model_name(model), model.model_revision)
    sketch = without_weights(config)
    adapter = peft_config(model)
    if sketch is not None and adapter is not None:
        check_adapter(sketch, adapter)
    return unused_lora_warning(model)


def read_config(model: ModelConfig) -> PreTrainedConfig:
    """The config of the model to be trained.

    Raises:
        UserError: there is none; the folder holds an adapter, or a model in Baichuan's layout.
    """
    name = model_name(model)
    folder = Path(name)
    if folder.is_dir() and not (folder / CONFIG_NAME).is_file():
        if (folder / ADAPTER_CONFIG_NAME).is_file():
            raise UserError(f"an adapter in {name}", "a model", "merge it with `medllm merge`, and train what that writes")
        raise UserError(f"no {CONFIG_NAME} in {name}", "a model", "check the path")
    config, unconverted = model_config(name, model.model_revision)
    if unconverted:
        raise UserError(f"{name} in Baichuan's layout", "Llama's layout", "run `medllm convert` and train what it writes")
    return config


def without_weights(config: PreTrainedConfig) -> PreTrainedModel | None:
    """The model that `config` describes, with no weight allocated; None where transformers cannot make it of that alone."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return empty_model(copy.deepcopy(config), attn_implementation="eager")
        except Exception:  # whatever it is, loading the weights will say it better
            return None


def check_shapes(folder: Path, sketch: PreTrainedModel) -> None:
    """Check that the weights in a local folder are all there and have the shapes that its config calls for.

    What is missing transformers makes up at random. Checkpoints whose names it translates are left to it.

    Raises:
        UserError: naming the first that is missing or has another shape.
    """
    if not any((folder / name).is_file() for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)):
        return
    expected = {name: list(tensor.shape) for name, tensor in sketch.state_dict().items()}
    found = model_shapes(folder, FETCH)
    for name, shape in found.items():
        if name in expected and shape != expected[name]:
            do = resized(shape, expected[name]) or "mend config.json, or fetch the checkpoint again"
            raise UserError(f"{name} of shape {shape} in {folder}", f"{expected[name]}, as its config.json says", do)
    tied = set(sketch.all_tied_weights_keys)
    own = {name: tensor for name, tensor in sketch.state_dict().items() if name not in tied}
    called_for = revert_weight_conversion(sketch, own)
    missing = sorted(set(called_for) - set(found))
    if missing and (set(found) <= set(called_for) | tied or 2 * len(missing) < len(called_for)):
        told = f"{len(missing)} weights missing in {folder}, such as {missing[0]}"
        raise UserError(told, "every weight that config.json calls for", "fetch the checkpoint again, or mend its config.json")


def check_adapter(sketch: PreTrainedModel, adapter: LoraConfig) -> None:
    """Check that PEFT can put the adapter into the model and TRL can train it.

    Raises:
        UserError: settings or module names that do not fit, or an adapter on the head, past which TRL computes its loss.
    """
    modules = [name for name, _ in sketch.named_modules()]
    parameters = [name for name, _ in sketch.named_parameters()]
    for option, wanted, known in (
        ("lora_modules_to_save", adapter.modules_to_save, modules),
        ("lora_target_parameters", getattr(adapter, "target_parameters", None), parameters),
    ):
        for name in wanted or ():
            if not any(path == name or path.endswith(f".{name}") for path in known):
                raise UserError(f"{option} {name}, which the model does not have", f"such as {known[-1]}", "name others")
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PEFT warns of is told below, or again when it matters
        changed = copy.deepcopy(sketch)
        with_adapter(changed, copy.deepcopy(adapter))
    if isinstance(changed.get_output_embeddings(), BaseTunerLayer):
        head = next(name for name, module in sketch.named_modules() if module is sketch.get_output_embeddings())
        found = f"{head} among lora_target_modules, where TRL would not train it"
        do = f"leave it out, or add --lora_modules_to_save {head} to train it whole"
        raise UserError(found, "modules below the head", do)


def check_tokens(settings: SFTConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that the tokenizer has the tokens that the settings name.

    Raises:
        UserError: it has not.
    """
    for name in ("eos_token", "pad_token"):
        token = getattr(settings, name)
        if token is not None and token not in tokenizer.get_vocab():
            raise UserError(f"{name} {token}, which {tokenizer.name_or_path} does not have", "one of its tokens", "change it")


def check_ids(parts: list[Prepared], sketch: PreTrainedModel, name: str) -> None:
    """Check that the model has a row of its embedding for every id in tokenised splits.

    Raises:
        UserError: the tokenizer was given tokens that the model was not.
    """
    rows = cast("torch.Tensor", sketch.get_input_embeddings().weight).shape[0]
    largest = max(
        pc.max(ids.flatten()).as_py() or 0
        for part in parts
        for batch in part.dataset.select_columns(["input_ids"]).with_format("arrow").iter(10_000)
        for ids in batch["input_ids"].chunks
    )
    if largest >= rows:
        do = f"resize_token_embeddings({largest + 1}) and save_pretrained the base first, or take the added tokens out"
        raise UserError(f"the id {largest} in the dialogues, and {rows} rows in the embedding of {name}", "a row an id", do)


def length_warning(max_length: int | None, sketch: PreTrainedModel | None) -> str | None:
    """What is to be said when dialogues may be longer than the model has positions."""
    positions = getattr(sketch.config.get_text_config(), "max_position_embeddings", None) if sketch else None
    if positions and (max_length or 0) > positions:
        found = f"medllm: max_length {max_length} is more than the model's {positions} positions"
        return f"{found}; it has never seen what lies beyond"
    return None
