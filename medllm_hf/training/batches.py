"""From tokenised dialogues to batches of one row: packing, flattening, and a proof that no label was lost on the way."""

from dataclasses import dataclass
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from trl import SFTConfig, pack_dataset

from medllm_hf.errors import UserError
from medllm_hf.training.tokens import IGNORED


def pack(dataset: Dataset, settings: SFTConfig, packing: bool) -> Dataset:
    """The dataset as `SFTTrainer` prepares one that is tokenised; older versions of it drop the labels when they pack.

    Args:
        settings: TRL's SFTConfig.
        packing: whether whole dialogues share rows of at most `max_length` tokens; `seq_lengths` then says where they end.
    """
    with settings.main_process_first(desc="packing"):
        if packing:
            dataset = dataset.select_columns(["input_ids", "labels"])
            if settings.shuffle_dataset:
                dataset = dataset.shuffle(seed=settings.seed)
            options = {"num_proc": settings.dataset_num_proc, "desc": "Packing"}
            dataset = pack_dataset(dataset, cast("int", settings.max_length), settings.packing_strategy, options)
        return dataset.shuffle(seed=settings.seed) if settings.shuffle_dataset else dataset


@dataclass(frozen=True)
class Collator:
    """A function rows → batch, which is one row `(1, tokens)` whose samples begin where `position_ids` restart at 0.

    A sample's first label, which nothing predicts, is ignored. `sources` are the numbers of the samples' sources. A batch
    of no samples, which a rank gets at the end of an epoch, is one token without a label.
    """

    pad_token_id: int

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor | int]:
        rows = rows or [{"input_ids": [self.pad_token_id], "labels": [IGNORED], "source": 0}]
        sizes = torch.tensor([size for row in rows for size in row.get("seq_lengths", [len(row["input_ids"])])])
        positions = torch.cat([torch.arange(size) for size in sizes.tolist()])
        labels = torch.tensor([label for row in rows for label in row["labels"]])
        labels[positions == 0] = IGNORED
        # The boundaries, for attention and short convolutions that take samples of any length.
        ends = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).int()
        batch: dict[str, torch.Tensor | int] = {
            "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
            "labels": labels[None],
            "position_ids": positions[None],
            "seq_idx": torch.arange(len(sizes), dtype=torch.int32).repeat_interleave(sizes)[None],
        }
        batch |= dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), ends)
        batch |= dict.fromkeys(("max_length_q", "max_length_k"), int(sizes.max()))
        if "source" in rows[0]:
            batch["sources"] = torch.tensor([row["source"] for row in rows])
        return batch


def check_labels(batch: dict[str, torch.Tensor], dataset: Dataset) -> None:
    """Check that each sample of the batch has as many trained tokens as the dataset says of these ids.

    Args:
        batch: as it reaches the model.
        dataset: as it was tokenised, each row a sample, before any other library had it.

    Raises:
        UserError: naming both numbers, or a sample that the dataset does not have.
    """
    begins = batch["position_ids"][0].eq(0).nonzero().flatten().tolist()[1:]
    ids, labels = (batch[name][0].cpu().tensor_split(begins) for name in ("input_ids", "labels"))
    trained = {tuple(row.tolist()): _count(own.tolist()) for row, own in zip(ids, labels, strict=True)}
    said = _trained(dataset, trained)
    for sample, count in trained.items():
        if count not in said[sample]:
            found = f"{count} trained tokens among the {len(sample)} of a sample in the first batch"
            expected = f"{min(said[sample])}, as the dataset says" if said[sample] else "samples of the dataset"
            do = "install a trl and a transformers of the tested range; `pip install medllm_hf` takes them"
            raise UserError(found, expected, do)


def _count(labels: list[int]) -> int:
    return sum(label != IGNORED for label in labels[1:])


def _trained(dataset: Dataset, trained: dict[tuple[int, ...], int]) -> dict[tuple[int, ...], set[int]]:
    """What the dataset says of the samples in `trained`, until it has said as much of each one; only their rows are read."""
    said: dict[tuple[int, ...], set[int]] = {ids: set() for ids in trained}
    lengths = pa.array({len(ids) for ids in trained})
    for table in dataset.select_columns(["input_ids", "labels"]).with_format("arrow").iter(10_000):
        rows = table.filter(pc.is_in(pc.list_value_length(table["input_ids"]), value_set=lengths))
        for ids, labels in zip(rows["input_ids"].to_pylist(), rows["labels"].to_pylist(), strict=True):
            if (sample := tuple(ids)) in said:
                said[sample].add(_count(labels))
        if all(count in said[sample] for sample, count in trained.items()):
            break
    return said
