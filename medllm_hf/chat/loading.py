"""A chat model from a folder or the Hub, with every way in which that fails told on one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from safetensors import SafetensorError
from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

from medllm_hf.errors import UserError, first_line
from medllm_hf.pretrained import check_generation, lacks_memory, load_config, load_model, load_tokenizer
from medllm_hf.templates.rendering import check_conversation
from medllm_hf.templates.template_checks import check_thinking
from medllm_hf.vocabulary import check_ids

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("4bit", "8bit")


@contextmanager
def memory_told(do: str) -> Iterator[None]:
    """Makes a lack of memory a mistake that the user is told, with what to do about it.

    Raises:
        UserError: the block ran out of memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError, SafetensorError) as error:
        if not lacks_memory(error):
            raise
        raise UserError("not enough memory", "room for the model and the conversation", do) from error


def load(
    name: str,
    revision: str | None,
    device: str | None,
    dtype: str,
    quantization: str | None,
    enable_thinking: bool | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of the folder or Hub id `name`, ready to answer, and its tokenizer; remote code is never run.

    Raises:
        UserError: it cannot be had, has no chat template, or one that does not read `enable_thinking` where that is given,
            or does not fit; the device or the quantization is not there.
    """
    device = _device(device)
    options = {"dtype": _dtype(dtype)}
    if quantization:
        options |= {"quantization_config": _quantization(quantization, device), "device_map": {"": device}}
    # Says of an unknown kind of model that it is one, which the tokenizers do not.
    config = load_config(name, revision)
    check_generation(name, config, revision)
    tokenizer = load_tokenizer(name, revision, chat=True)
    check_conversation(tokenizer, name)
    check_ids(tokenizer, config, name)
    check_thinking(tokenizer, name, enable_thinking)
    with memory_told("use --dtype bfloat16, --quantization 4bit on a GPU, or a smaller model"):
        model = load_model(name, revision, **options)
        return (model if quantization else model.to(device)).eval(), tokenizer


def _device(name: str | None) -> str:
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).cpu()  # the device "meta" holds no numbers, and fails at this
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device {name!r} ({first_line(error)})", "cpu, cuda or cuda:N", "choose one that is there") from error
    return name


def _dtype(name: str) -> str | torch.dtype:
    if name not in DTYPES:
        raise UserError(f"dtype {name!r}", ", ".join(DTYPES), "choose one of them")
    return name if name == "auto" else getattr(torch, name)


def _quantization(name: str, device: str) -> BitsAndBytesConfig:
    """The quantization `name`.

    Raises:
        UserError: no such quantization, no GPU, or no bitsandbytes.
    """
    if name not in QUANTIZATIONS:
        raise UserError(f"quantization {name!r}", ", ".join(QUANTIZATIONS), "choose one of them")
    if not device.startswith("cuda"):
        raise UserError(f"quantization {name} on {device}", "a GPU", "leave the quantization out, or use --dtype bfloat16")
    if find_spec("bitsandbytes") is None:
        raise UserError("no package bitsandbytes", "it for quantization", "pip install bitsandbytes")
    if name == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    # The values of the QLoRA paper (arXiv 2305.14314).
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
