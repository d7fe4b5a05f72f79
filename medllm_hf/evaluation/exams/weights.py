"""The weights that sit an exam: those of a checkpoint, or of an adapter on its base, and how they are loaded."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medllm_hf import pretrained
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.settings import ResolvedSettings
from medllm_hf.evaluation.runs.behaviour import behaviour_hashes
from medllm_hf.evaluation.runs.folder import combined_hash, weights_hash
from medllm_hf.generation_settings import ENDS
from medllm_hf.placement import DTYPE, choose_device, loading_options
from medllm_hf.weight_files import ADAPTER, ADAPTER_WEIGHTS, header_shapes, weight_files

if TYPE_CHECKING:  # they take seconds to import, and a wrong path is to be told at once
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from medllm_hf.checkpoint.adapted import Adapted


@dataclass(frozen=True)
class Weights:
    """A local model that was found and not loaded yet.

    Attributes:
        name: what the manifest calls it, and its commit where it is from the Hub.
        folder: the checkpoint, or the base of an adapter.
        placement: device, dtype and quantization, as `placement` has them.
    """

    name: dict
    folder: Path
    config: "PreTrainedConfig"
    placement: tuple[str, str, str | None]
    adapted: "Adapted | None" = None

    @property
    def device(self) -> str:
        return self.placement[0]

    def count(self) -> int:
        """The numbers in the weight files of the checkpoint or base."""
        return sum(map(prod, header_shapes(weight_files(self.folder)).values()))

    def record(self) -> dict:
        """What the manifest says: the hashes of the weights and of what is read beside them, and those of an adapter's base."""
        hashes = {"weights_sha256": weights_hash(self.folder), "files_sha256": behaviour_hashes(self.folder)}
        if self.adapted is None:
            return {**self.name, **hashes}
        commit = {"revision": self.adapted.commit} if self.adapted.commit else {}
        called = self.adapted.base_name if commit else self.folder.resolve().name
        own = {
            "weights_sha256": combined_hash({ADAPTER_WEIGHTS: self.adapted.sha256}),
            "files_sha256": behaviour_hashes(self.adapted.folder),
        }
        return {**self.name, **own, "base": {"id": called, **commit, **hashes}}

    def load_tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer; with an adapter, as it was trained.

        Raises:
            UserError: it cannot be loaded.
        """
        if self.adapted is None:
            return pretrained.load_tokenizer(self.folder)
        from medllm_hf.checkpoint.adapted import adapted_tokenizer

        return adapted_tokenizer(self.adapted)

    def load_network(self) -> "PreTrainedModel":
        """The model in evaluation mode on its device; an adapter is merged into its base in memory.

        Raises:
            UserError: it cannot be loaded.
        """
        device, dtype, quantization = self.placement
        if self.adapted is None:
            return load_network(self.folder, device, dtype, quantization)
        from medllm_hf.checkpoint.adapted import apply_adapter

        # In the precision of the checkpoint, in which the merged weights would be saved.
        network = load_network(self.folder, "cpu")
        apply_adapter(network, self.adapted)
        options = loading_options(device, dtype, None)
        return _moved(network if dtype == DTYPE else network.to(options["dtype"]), device)


def find_weights(settings: ResolvedSettings) -> Weights:
    """The local model that `settings` name, of which no weights are read yet.

    Raises:
        UserError: there is none that can be had, or the device is not there.
    """
    assert settings.model is not None  # no endpoint
    folder, revision = pretrained.snapshot(settings.model, settings.revision)
    name = {"id": settings.model, "revision": revision} if revision else {"id": folder.resolve().name}
    adapted = _adapted(folder, settings)
    base = adapted.base if adapted else folder
    config = pretrained.load_config(base)  # before any work, since the weights come last
    if settings.written:
        pretrained.check_generation(base, config, fields=ENDS)
    placement = choose_device(settings.device), settings.dtype, settings.quantization
    loading_options(*placement)
    return Weights(name, base, config, placement, adapted)


def _adapted(folder: Path, settings: ResolvedSettings) -> "Adapted | None":
    if not (folder / ADAPTER).is_file():
        if settings.base is not None:
            raise UserError(
                f"--base with {settings.model}, which is no adapter", "the folder of a LoRA adapter", "leave it out"
            )
        return None
    from medllm_hf.checkpoint.adapted import is_adapter, read_adapted, refuse_quantized

    if not is_adapter(folder):  # full weights beside it: told by what reads these
        return None
    adapted = read_adapted(folder, settings.base)
    if settings.quantization is not None:
        refuse_quantized(adapted)
    return adapted


def load_network(
    folder: Path, device: str | None = None, dtype: str = DTYPE, quantization: str | None = None
) -> "PreTrainedModel":
    """The model of a checkpoint folder in evaluation mode, on the device or, where none is named, on a GPU if there is one.

    Raises:
        UserError: it cannot be loaded.
    """
    device = device or choose_device(None)
    network = pretrained.load_model(folder, **loading_options(device, dtype, quantization))
    return network.eval() if quantization else _moved(network, device)


def _moved(network: Any, device: str) -> "PreTrainedModel":  # transformers' stub of `to` takes no device
    return network.to(device).eval()


def device_name(device: str) -> str:
    """What the manifest calls a device: "cpu", or the GPU's name."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
