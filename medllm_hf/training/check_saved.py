"""Reads back what a training run saved, before anybody relies on it."""

import json
import re
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion
from transformers.tokenization_utils_base import TOKENIZER_CONFIG_FILE
from transformers.utils import (
    ADAPTER_CONFIG_NAME,
    ADAPTER_SAFE_WEIGHTS_NAME,
    CHAT_TEMPLATE_FILE,
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
)

from medllm_hf.errors import UserError, first_line
from medllm_hf.pretrained import load_config, load_tokenizer
from medllm_hf.templates.rendering import template_text
from medllm_hf.weight_files import weight_files

# The last letter of a LoRA matrix's name; PEFT leaves out ".weight" for embeddings.
HALF = r"(\.lora_(?:embedding_)?)[AB]\b"
AGAIN = "save again, with room on the disk"
GATHER = (
    'with ZeRO-3, set "stage3_gather_16bit_weights_on_model_save": true (zero_to_fp32.py recovers this run); else see whether '
    "the disk is full"
)


def check_saved(folder: Path, template: bool = True) -> None:
    """Check that the model or LoRA adapter in `folder` is whole and stands by itself.

    Only the headers of the weights are read. A full model must have exactly the tensors that its config calls for, and be of an
    architecture that transformers brings along; a LoRA must have both matrices of every pair. No tensor may be empty, the
    chat template must have survived, and tokenizer, config and generation config must agree on how an answer ends.

    Args:
        template: whether the tokenizer that was trained with had a chat template; plain texts and ready ids need none.

    Raises:
        UserError: naming the first fault.
    """
    if template:
        _check_template(folder)
    if (folder / ADAPTER_CONFIG_NAME).exists():
        _check_pairs(folder, tensor_shapes(folder, [ADAPTER_SAFE_WEIGHTS_NAME]))
        return
    _check_stops(folder)
    found, expected = model_shapes(folder), _expected(folder)
    for name, shape in expected.items():
        if name not in found:
            raise UserError(f"no tensor {name} in {folder}", f"one of shape {shape}", GATHER)
        if found[name] != shape:
            do = resized(found[name], shape) or GATHER
            raise UserError(f"{name} of shape {found[name]} in {folder}", f"{shape}, as the config says", do)
    for name in found:
        if name not in expected:
            raise UserError(f"a tensor {name} in {folder}", f"the {len(expected)} that the config calls for", AGAIN)


def resized(found: list[int], expected: list[int]) -> str | None:
    """What to do about a matrix that has another number of rows than the config says and is else right, or None."""
    if len(found) != 2 or 0 in found or found[1:] != expected[1:]:
        return None
    return f"the vocabulary was resized: set vocab_size to {found[0]} in config.json, or save the model again after resizing it"


def _read(file: Path) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"no readable {file}", "a JSON file", AGAIN) from error


def model_shapes(folder: Path, do: str | None = None) -> dict[str, list[int]]:
    """Name → shape of every tensor in the safetensors files that transformers reads a model from.

    Args:
        do: what to do about a fault, for weights that no run of ours has saved.

    Raises:
        UserError: see `weight_files` and `tensor_shapes`; also a tensor that is not where the index says.
    """
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if not index.exists() and not (folder / SAFE_WEIGHTS_NAME).exists():
        raise UserError(f"no {SAFE_WEIGHTS_NAME} in {folder}", "the weights", do or GATHER)
    names = [file.name for file in weight_files(folder)]
    shapes = tensor_shapes(folder, names, do)
    places: dict[str, str] = _read(index)["weight_map"] if index.exists() else {}
    for key, file in places.items() if set(places.values()) == set(names) else ():
        if key not in shapes:
            raise UserError(f"no tensor {key} in {file}", "what the index lists", do or AGAIN)
    return shapes


def tensor_shapes(folder: Path, names: list[str], do: str | None = None) -> dict[str, list[int]]:
    """Name → shape of every tensor in the files `names`.

    Args:
        do: see `model_shapes`.

    Raises:
        UserError: a file that is absent or cut, or a tensor without any element.
    """
    shapes = {}
    for file in names:
        try:
            with safe_open(folder / file, "pt") as tensors:
                shapes.update({key: tensors.get_slice(key).get_shape() for key in tensors.keys()})
        except FileNotFoundError as error:
            raise UserError(f"no {file} in {folder}", "the weights", do or GATHER) from error
        except SafetensorError as error:
            raise UserError(f"{folder / file}: {first_line(error)}", "a whole safetensors file", do or AGAIN) from error
    for key, shape in shapes.items():
        if 0 in shape:
            raise UserError(f"the empty tensor {key} of shape {shape} in {folder}", "weights", do or GATHER)
    if not shapes:
        raise UserError(f"no tensor in {folder / names[0]}", "weights", do or GATHER)
    return shapes


def _expected(folder: Path) -> dict[str, list[int]]:
    """Name → shape of every tensor that the config of a full model calls for, as `save_pretrained` names them.

    Raises:
        UserError: a config of an architecture, or with an attention, that transformers does not bring along.
    """
    settings = _read(folder / CONFIG_NAME)
    own = [key for key in settings if key == "auto_map" or key.endswith("attn_implementation")]
    if own:
        raise UserError(f"{own[0]} {settings[own[0]]} in {folder / CONFIG_NAME}", "a config without it", "remove the line")
    config = load_config(folder)
    with torch.device("meta"):
        # Not by `from_config`, which under ZeRO-3 wants all ranks.
        model = cast("type[PreTrainedModel]", MODEL_FOR_CAUSAL_LM_MAPPING[type(config)])(config)
    if settings.get("architectures") != [type(model).__name__]:
        found = f"architectures {settings.get('architectures')} in {folder / CONFIG_NAME}"
        raise UserError(found, type(model).__name__, "train a model that transformers loads without remote code")
    tied = set(model.all_tied_weights_keys)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    return {name: list(tensor.shape) for name, tensor in revert_weight_conversion(model, tensors).items()}


def _check_pairs(folder: Path, shapes: dict[str, list[int]]) -> None:
    """Check that every LoRA matrix A has its B of the same rank, and the other way round."""
    rank = _read(folder / ADAPTER_CONFIG_NAME).get("r")
    matrices = [name for name in shapes if re.search(HALF, name)]
    if not matrices:
        raise UserError(f"no LoRA matrix in {folder}", f"pairs of rank {rank}", GATHER)
    for name in matrices:
        a, b = (re.sub(HALF, rf"\g<1>{half}", name) for half in "AB")
        for half in (a, b):
            if half not in shapes:
                raise UserError(f"no tensor {half} in {folder}", f"the other half of {name}", GATHER)
        if shapes[a][0] != shapes[b][1]:
            raise UserError(f"ranks {shapes[a][0]} and {shapes[b][1]} of {a} and its B in {folder}", f"rank {rank}", GATHER)


def _check_template(folder: Path) -> None:
    """Check that there is one default chat template, which the tokenizer uses."""
    file = folder / CHAT_TEMPLATE_FILE
    if not file.exists():
        raise UserError(f"no {CHAT_TEMPLATE_FILE} in {folder}", "the template of the training", "copy it from the base")
    text = file.read_text(encoding="utf-8")
    # Older consumers read the one in the tokenizer's config.
    inside = _read(folder / TOKENIZER_CONFIG_FILE).get("chat_template", text)
    if not text == inside == template_text(load_tokenizer(folder)):
        raise UserError(f"two chat templates in {folder}", f"only {CHAT_TEMPLATE_FILE}", "remove the other one from the base")


def _check_stops(folder: Path) -> None:
    """Check that tokenizer, config and generation config agree on the end and the padding token."""
    tokenizer = load_tokenizer(folder)
    for name in (CONFIG_NAME, GENERATION_CONFIG_NAME):
        settings = _read(folder / name)
        for key in ("eos_token_id", "pad_token_id"):
            value, own = settings.get(key), getattr(tokenizer, key)
            values = value if isinstance(value, list) else [value]
            # A config may leave the padding to the tokenizer, but never the end of an answer.
            if own not in values and not (key == "pad_token_id" and value is None):
                raise UserError(f"{key} {value} in {folder / name}", f"{own}, the tokenizer's", "mend the base checkpoint")
