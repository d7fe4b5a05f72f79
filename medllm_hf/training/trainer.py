"""TRL's SFTTrainer on flattened rows: no padding, loss on trained tokens only, exact evaluation loss by source."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset
from torch.utils.data import BatchSampler, DataLoader, Sampler
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput, TrainOutput, rotate_checkpoints
from trl import SFTConfig, SFTTrainer

from medllm_hf.errors import UserError
from medllm_hf.training.batches import Collator, check_labels, pack
from medllm_hf.training.checkpoints import begin_checkpoint, finish_checkpoint
from medllm_hf.training.checks import SUMS, check_rows, read_object
from medllm_hf.training.fused_lora import fuse
from medllm_hf.training.neftune import Noise, added_noise
from medllm_hf.training.token_losses import token_losses
from medllm_hf.training.tokenizer_files import keep_tokenizer_files
from medllm_hf.training.tokens import IGNORED

# Steps in a row without any loss after which a run is stopped.
ZERO_LOSSES = 3


def flatten(settings: SFTConfig) -> None:
    """Makes every batch one row without padding. Packing keeps its rows; evaluation is never packed.

    Raises:
        UserError: a packing strategy that cuts answers.
    """
    check_rows(settings)
    settings.eval_packing = False
    settings.assistant_only_loss = False  # the labels say it already, and TRL wants the messages for it
    settings.padding_free = True
    if not settings.packing:
        settings.max_length = None  # the dialogues fit already, and TRL wants it so without padding


def quantized_as_installed(settings: SFTConfig, parts: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `SFTTrainer`, of which older versions take the quantization among those of the model."""
    if "quantization_config" in inspect.signature(SFTTrainer.__init__).parameters:
        return parts
    quantization = parts.pop("quantization_config", None)
    if quantization is not None:
        settings.model_init_kwargs = {
            **read_object("model_init_kwargs", settings.model_init_kwargs),
            "quantization_config": quantization,
        }
    return parts


class GroupedSampler(LengthGroupedSampler):
    """Groups of like length whose order depends on seed and epoch alone.

    The stock sampler draws from the global generator, so a run that was resumed within an epoch met other batches.
    """

    seed, epoch = 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return super().__iter__()


class EvenBatches(BatchSampler):
    """The batches of `inner`, with empty ones at the end that make their number a multiple of `ranks`."""

    def __init__(self, inner: BatchSampler, ranks: int):
        self.inner, self.ranks, self.sampler = inner, ranks, inner.sampler

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.inner
        yield from ([] for _ in range(len(self) - len(self.inner)))

    def __len__(self) -> int:
        return -(-len(self.inner) // self.ranks) * self.ranks


class Begun(TrainerCallback):
    """Keeps the step at which a run began or was resumed, as newer versions of transformers do."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Called when a checkpoint's state, if there is one, has been read."""
        self.trainer._initial_global_step = state.global_step


class ExactTrainer(SFTTrainer):
    """SFTTrainer with what exactness and a CPU want.

    - Its evaluation loss is the mean over all trained tokens of the evaluation set, and one mean a source; the stock
      trainer averages the means of batches.
    - Its batches are made here, and their labels are proved to be the dataset's at the first one: what TRL makes of a dataset
      that is tokenised already depends on its version.
    - Several ranks learn from every sample once an epoch; accelerate fills up their last batches with copies.
    - It stops on a loss that is not finite, or is zero `ZERO_LOSSES` times in a row.
    - Off the GPU only the places that are trained go through the head, and LoRA's layers are one step of autograd; TRL scores
      every place there.

    Args:
        sources: the names that the numbers in the column `source` stand for.
        measure: called with the model at every evaluation; what it returns (name → value) joins the metrics.
        record: what decides the run, kept in every checkpoint; without it none can be resumed by `medllm sft`.
    """

    # What the stock class leaves wider.
    model: PreTrainedModel
    args: SFTConfig
    train_dataset: Dataset
    data_collator: Collator

    def __init__(
        self,
        model: str | PreTrainedModel,
        args: SFTConfig,
        *,
        train_dataset: Dataset,
        eval_dataset: Dataset | None = None,
        sources: list[str],
        measure: Callable[[torch.nn.Module], dict[str, float]] | None = None,
        record: dict | None = None,
        **parts: Any,
    ):
        args.dataset_kwargs = {
            **read_object("dataset_kwargs", args.dataset_kwargs),
            "skip_prepare_dataset": True,
        }  # `pack` does it
        set_seed(args.seed)  # older versions of TRL make an adapter's first weights before they do it
        super().__init__(
            model,
            args,
            train_dataset=pack(train_dataset, args, args.packing),
            eval_dataset=eval_dataset and pack(eval_dataset, args, packing=False),
            **quantized_as_installed(args, parts),
        )
        if self.args.device.type == "cpu":
            fuse(self.model)
        self.add_callback(Begun(self))
        self._record = record
        # The stock hook, which would scale by the whole row, is left out.
        alpha, self.neftune_noise_alpha = self.neftune_noise_alpha, None
        self._noise = Noise(alpha) if alpha else None
        self.data_collator = Collator(self.data_collator.pad_token_id)
        self._sources, self._measure = sources, measure
        self._unchecked: Dataset | None = train_dataset
        self._samples: list[torch.Tensor] = []
        self._zero_losses = 0

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns = cast("list[str]", self._signature_columns)  # until then None
        if "source" not in columns:
            columns.append("source")

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        sampler = super()._get_train_sampler(train_dataset)
        if not isinstance(sampler, LengthGroupedSampler):
            return sampler
        grouped = GroupedSampler(sampler.batch_size, lengths=sampler.lengths)
        grouped.seed = self.args.data_seed or self.args.seed
        return grouped

    def get_train_dataloader(self) -> DataLoader:
        """The stock loader, whose last batches are short or empty on some ranks and hold no copies."""
        loader = super().get_train_dataloader()
        shards = loader.batch_sampler
        if isinstance(shards, BatchSamplerShard) and type(shards.batch_sampler) is BatchSampler and not shards.split_batches:
            shards.batch_sampler = EvenBatches(shards.batch_sampler, shards.num_processes)
            shards.batch_size, shards.even_batches = None, False  # hands out batches of any size as they come
        return loader

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """The stock training, with NEFTune's noise where the settings ask for it."""
        with added_noise(self.accelerator.unwrap_model(self.model), self._noise):
            return super().train(*args, **kwargs)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """One pass, or nothing when all steps were done before: the stock loop looks only after a step more."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The loss of one batch.

        Raises:
            UserError: it is not finite, or was zero too often in a row; see also `check_labels`.
        """
        empty = inputs["labels"].numel() == 1
        if self._unchecked is not None and not empty:
            check_labels(inputs, self._unchecked)
            self._unchecked = None
        if self._noise:
            self._noise.positions = inputs["position_ids"]
        loss = super().training_step(model, inputs, num_items_in_batch)
        value = loss.item()
        step = self.state.global_step + 1
        if value != value or value in (float("inf"), float("-inf")):
            found = f"a loss of {value} at step {step}"
            raise UserError(found, "a finite loss", "lower the learning rate, or train in bf16 instead of fp16")
        if not empty:
            self._zero_losses = self._zero_losses + 1 if value == 0 else 0
        if self._zero_losses == ZERO_LOSSES:
            found = f"a loss of zero {ZERO_LOSSES} times in a row, at step {step}"
            raise UserError(found, "tokens to learn", "check the labels, and that the attention kernel belongs to this torch")
        return loss

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            keep_tokenizer_files(
                cast("PreTrainedTokenizerBase", self.processing_class), Path(output_dir or str(self.args.output_dir))
            )

    def end(self) -> None:
        """Finishes trackers and process group; older versions of transformers have no function of that name."""
        getattr(super(), "end", self.accelerator.end_training)()

    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        """The stock checkpoint, known to be cut until every rank has saved; older ones are removed only then."""
        parent, limit = self._get_output_dir(trial=trial), self.args.save_total_limit
        folder = Path(parent) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save:
            begin_checkpoint(folder)
        self.accelerator.wait_for_everyone()
        self.args.save_total_limit = None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            finish_checkpoint(folder, self._record, self.args.save_only_model)
            rotate_checkpoints(parent, limit, self.state.best_model_checkpoint, use_mtime=True)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The sum of the trained tokens' losses over `num_items_in_batch`, in nats; their mean without it."""
        sources = inputs.pop("sources", None)
        stock = return_outputs or self.args.loss_type not in SUMS or self.label_smoother is not None or self.aux_loss_enabled
        if stock or (self.model.training and inputs["labels"].is_cuda):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"][0]
        asked = {name: value for name, value in inputs.items() if name != "labels"}
        places = (labels[1:] != IGNORED).nonzero().flatten()
        targets = labels[places + 1]
        logits = self._logits(model, {**asked, "use_cache": False, "logits_to_keep": places})
        losses, right = token_losses(logits.view(-1, logits.shape[-1]), targets)
        self._note_accuracy(right, len(targets))
        if self.model.training:
            self._total_train_tokens += self.accelerator.reduce(labels.new_tensor(len(labels))).item()
        else:
            self._note_samples(losses.detach().double(), inputs["position_ids"][0], places + 1, sources)
        self._metrics["train" if self.model.training else "eval"]["num_tokens"] = [self._total_train_tokens]
        count = len(targets) if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / torch.as_tensor(count, device=losses.device).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return loss

    def _logits(self, model: torch.nn.Module, inputs: dict) -> torch.Tensor:
        """The model's logits in the type that it computes; accelerate hands out a copy of them in float32."""
        forward = vars(model).get("_original_forward")
        if forward is None or model._forward_hooks or model._forward_pre_hooks:  # on several ranks another model is around it
            return model(**inputs).logits
        with self.accelerator.autocast():
            return forward(**inputs).logits

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """The loss without the logits where they are not asked for; some versions of TRL compute them all the same."""
        if not prediction_loss_only:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)), None, None

    def _note_accuracy(self, right: torch.Tensor, count: int) -> None:
        right, count = self.accelerator.reduce(torch.stack([right, right.new_tensor(count)])).tolist()
        self._metrics["train" if self.model.training else "eval"]["mean_token_accuracy"].append(right / max(count, 1))

    def _note_samples(
        self, losses: torch.Tensor, positions: torch.Tensor, places: torch.Tensor, sources: torch.Tensor | None
    ) -> None:
        """Keeps (loss sum, tokens, source) of each sample in the row, once though a last batch is filled up with copies."""
        samples = (positions == 0).cumsum(0) - 1
        table = losses.new_zeros((int(samples[-1]) + 1, 3))
        table[:, 0].index_add_(0, samples[places], losses)
        table[:, 1].index_add_(0, samples[places], torch.ones_like(losses))
        table[:, 2] = 0 if sources is None else sources
        self._samples.append(self.accelerator.gather_for_metrics(table).cpu())

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The stock loop, with the exact loss, the loss by source and what `measure` gives among its metrics."""
        self._samples = []
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        metrics = cast("dict[str, float]", output.metrics)  # never None at the end of the loop
        if self._samples:
            table = torch.cat(self._samples)
            metrics[f"{metric_key_prefix}_loss"] = (table[:, 0].sum() / table[:, 1].sum()).item()
            for number, name in enumerate(self._sources if len(self._sources) > 1 else []):
                own = table[table[:, 2] == number]
                if len(own):
                    metrics[f"{metric_key_prefix}_loss_{name}"] = (own[:, 0].sum() / own[:, 1].sum()).item()
        if self._measure:
            values = self._measure(self.model_wrapped)
            metrics.update({f"{metric_key_prefix}_{name}": value for name, value in values.items()})
        return output
