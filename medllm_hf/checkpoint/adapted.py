"""A LoRA adapter on its base as one model in memory: the weights that `medllm merge` would write, without their folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from medllm_hf.checkpoint.adapter import Adapter, read_adapter
from medllm_hf.checkpoint.merge import SETTINGS, changed, check_base, check_fit, find_base, own_template
from medllm_hf.checkpoint.shards import check_finite, one_thread, tensors
from medllm_hf.checkpoint.tied import resolve_ties
from medllm_hf.errors import UserError
from medllm_hf.folders import read_json, sha256
from medllm_hf.pretrained import load_tokenizer
from medllm_hf.weight_files import ADAPTER, ADAPTER_WEIGHTS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Adapted:
    """An adapter, what it changes, and the base that it belongs to: its name, folder and, from the Hub, commit."""

    folder: Path
    lora: Adapter
    base_name: str
    base: Path
    commit: str | None

    @property
    def sha256(self) -> str:
        return sha256(self.folder / ADAPTER_WEIGHTS)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter alone; what lies beside full weights is none of our guesses."""
    return (folder / ADAPTER).is_file() and not (folder / "config.json").exists()


def read_adapted(folder: Path, base: str | None = None) -> Adapted:
    """The adapter in a folder with its base, `base` or what it was trained on; no weights of the base are read.

    Raises:
        UserError: see `merge`; also an adapter that unties the embeddings, which a loaded model cannot be given.
    """
    lora = read_adapter(folder)
    name, base_folder, commit = find_base(lora, base, folder)
    check_base(base_folder, sha256(folder / ADAPTER_WEIGHTS))
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors(base_folder)}
    if resolve_ties(lora, set(shapes), read_json(base_folder / "config.json")).parted:
        raise _to_merge(folder, "an adapter that unties the embeddings of its base")
    check_fit(lora, shapes, base_folder)
    return Adapted(folder, lora, name, base_folder, commit)


def apply_adapter(network: "PreTrainedModel", adapted: Adapted) -> None:
    """Gives the loaded base the very weights that `merge` writes: W + scaling·B·A in float32, cast once.

    Args:
        network: in the precision of its checkpoint.

    Raises:
        UserError: the model calls its weights otherwise than its checkpoint does, or they come out as no finite numbers.
    """
    parameters, done = dict(network.named_parameters(remove_duplicate=False)), set()
    with one_thread(), torch.no_grad():
        for name in sorted({*adapted.lora.deltas, *adapted.lora.whole}):
            if name not in parameters:
                raise _to_merge(adapted.folder, f"{name} in the adapter, which the loaded model calls otherwise")
            own = parameters[name].data
            if own.data_ptr() in done:  # tied, and changed already
                continue
            done.add(own.data_ptr())
            start = 0
            for block in changed(adapted.lora.whole.get(name, own), adapted.lora.deltas.get(name)):
                own[start : start + len(block)] = check_finite(name, block, own.dtype)
                start += len(block)


def adapted_tokenizer(adapted: Adapted) -> "PreTrainedTokenizerBase":
    """The base's tokenizer with the chat template and the end token that the adapter was trained with, where it has them."""
    template, tokenizer = own_template(adapted.folder, adapted.base), load_tokenizer(adapted.base)
    if template is None:
        return tokenizer
    tokenizer.chat_template = template
    file = adapted.folder / SETTINGS
    trained = read_json(file).get("eos_token") if file.is_file() else None
    end = trained.get("content") if isinstance(trained, dict) else trained
    if isinstance(end, str) and end in tokenizer.get_vocab():
        tokenizer.eos_token = end
    return tokenizer


def refuse_quantized(adapted: Adapted) -> None:
    """The adapter goes onto full weights, as it does when it is merged.

    Raises:
        UserError: always.
    """
    raise _to_merge(adapted.folder, "--quantization with an adapter")


def _to_merge(folder: Path, found: str) -> UserError:
    return UserError(found, "full weights", f"run `medllm merge {folder} DST` and name DST in its place")
