"""Accuracy on multiple-choice questions during training, measured as `medllm eval mcq` measures it afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, extract_model_from_parallel
from transformers import PreTrainedTokenizerBase

from medllm_hf.data.mcq import load_items
from medllm_hf.evaluation.exams.derive import derive
from medllm_hf.evaluation.exams.likelihood import zero_shot
from medllm_hf.evaluation.exams.outputs import Output, output_row
from medllm_hf.evaluation.exams.prompts import present_options
from medllm_hf.pretrained import check_chat_template


class McqAccuracy:
    """A function model → {"mcq_accuracy", "mcq_n"}: what `medllm eval mcq` would say if the weights were saved now.

    Every rank has to call it, and every rank answers every question: under ZeRO-3 the ranks hold the weights together and
    must run the same forwards. What the first rank finds is returned on all of them.

    Args:
        path: the question file.
        tokenizer: with the chat template that is saved with the model.

    Raises:
        UserError: the file is not one of questions, or the tokenizer has no chat template.
    """

    def __init__(self, path: str, tokenizer: PreTrainedTokenizerBase):
        check_chat_template(tokenizer)
        self._shown, self._tokenizer = present_options(load_items(path), seed=0), tokenizer
        # A metric that cannot be loaded shall be found out now, not at the first evaluation.
        self._metrics([output_row(one, {"reply": ""}) for one in self._shown])

    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        with as_saved(model):
            metrics = self._metrics(zero_shot(model, self._tokenizer, self._shown))
        return {"mcq_accuracy": metrics["accuracy"], "mcq_n": metrics["n"]}

    def _metrics(self, outputs: list[Output]) -> dict:
        """The metrics of the first rank's outputs, on every rank."""
        return broadcast_object_list([derive(self._shown, outputs).metrics if PartialState().is_main_process else None])[0]


@contextmanager
def as_saved(model: torch.nn.Module) -> Iterator[None]:
    """Makes `model` compute what its weights would after saving and loading: in evaluation mode, in their own precision.

    In mixed precision, accelerate has put autocast around `forward` and has kept the bare one. The mode is that of the
    model within: DeepSpeed's engine says that it trains even when its model does not.
    """
    network = extract_model_from_parallel(model)
    was_training = network.training
    wrapped, bare = network.__dict__.get("forward"), network.__dict__.get("_original_forward")
    network.eval()
    if bare is not None:
        network.forward = bare
    try:
        yield
    finally:
        network.train(was_training)
        if bare is not None:
            network.forward = wrapped
