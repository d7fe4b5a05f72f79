"""What transformers reports of a checkpoint that does not fit its own config.json, as a mistake that the user is told."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medllm_hf.errors import UserError

MEND = "fetch the checkpoint again, or mend its config.json"


def check_loading(name: str | Path, loading: Mapping) -> None:
    """Check that every weight was there, in its shape, and no other. `loading` is what `output_loading_info` gives.

    Transformers makes up what is missing at random and drops what is left over, and goes on.

    Raises:
        UserError: naming the first weight that does not fit.
    """
    if mismatched := sorted(loading.get("mismatched_keys") or (), key=str):
        weight, found, expected = mismatched[0]
        more = f" and {len(mismatched) - 1} more" if len(mismatched) > 1 else ""
        expected = f"{tuple(expected)}, as its config.json says"
        raise UserError(f"{weight} of shape {tuple(found)}{more} in {name}", expected, MEND)
    for kind, expected in (("missing", "every weight that config.json calls for"), ("unexpected", "no other weights")):
        if keys := sorted(map(str, loading.get(f"{kind}_keys") or ())):
            raise UserError(f"{len(keys)} {kind} weights in {name}, such as {keys[0]}", expected, MEND)


def check_family(name: str | Path, values: Mapping) -> None:
    """Check that `architectures` and `model_type` of a config.json do not contradict each other.

    Transformers goes by the one and other programs by the other, so that each would compute another model of the weights.

    Raises:
        UserError: transformers knows the architecture as that of other model types alone.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    named, kind = values.get("architectures"), values.get("model_type")
    for architecture in named if isinstance(named, list) else ():
        families = {
            family
            for mapping, classes in vars(modeling_auto).items()
            if mapping.endswith("_MAPPING_NAMES")
            for family, known in classes.items()
            if architecture == known or (isinstance(known, tuple | list) and architecture in known)
        }
        # A few text models of a larger family stand in no mapping under their own type.
        if families and kind not in families and getattr(transformers, architecture).config_class.model_type != kind:
            found = f"architecture {architecture} beside model_type {kind!r} in config.json of {name}"
            raise UserError(found, f"model_type {' or '.join(sorted(families))}", "correct what is wrong of the two")


@contextmanager
def without_report() -> Iterator[None]:
    """Keeps transformers from writing a table of weights that did not fit, which is told here on one line."""
    logger = logging.getLogger("transformers.modeling_utils")

    def passes(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger.addFilter(passes)  # another level would have transformers say other things
    try:
        yield
    finally:
        logger.removeFilter(passes)


@contextmanager
def without_bars(unless: bool = False) -> Iterator[None]:
    """Keeps transformers from showing progress, `unless` somebody sees it."""
    from transformers.utils import logging as shown

    enabled = shown.is_progress_bar_enabled()
    if unless:
        yield
        return
    shown.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            shown.enable_progress_bar()


@contextmanager
def without_values() -> Iterator[None]:
    """Shows nothing, and lets tensors on the device "meta", which hold no values, pass for equal where they have one shape.

    Older versions of transformers compare two tied tensors that a checkpoint has both of; either outcome loads both.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Shapes(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
            if func is torch.equal and any(one.is_meta for one in args):
                return args[0].shape == args[1].shape
            return func(*args, **(kwargs or {}))

    with without_report(), without_bars(), Shapes():
        yield
