"""Input embeddings and head that a base ties, under an adapter that may part them."""

from dataclasses import dataclass
from typing import TypeVar

import torch

from medllm_hf.checkpoint.adapter import Adapter
from medllm_hf.errors import UserError

# How the families of transformers call the input embedding, and the head that they tie to it.
HEADS = {
    **dict.fromkeys(("embed_tokens", "wte", "word_embeddings", "tok_embeddings"), "lm_head.weight"),
    "embed_in": "embed_out.weight",
}
FLAG = "tie_word_embeddings"
Change = TypeVar("Change")


@dataclass(frozen=True)
class Ties:
    """What becomes of the tied pair of tensors `embedding` and `head`: `parted` says that each gets values of its own.

    Both names are None for a base that ties nothing that the adapter changes; `head_stored` says that the base has both.
    """

    embedding: str | None = None
    head: str | None = None
    head_stored: bool = False
    parted: bool = False

    def targets(self, name: str) -> tuple[str, ...]:
        """The tensors to write for the base's tensor `name`."""
        if self.parted and self.head and name == self.embedding and not self.head_stored:
            return name, self.head
        return (name,)

    def record(self) -> dict[str, str]:
        """What the provenance says; nothing of a base that is written as it was, tied or not."""
        changed = f"tied in the base, untied here: the adapter changes {self.embedding} and {self.head} differently"
        return {"word_embeddings": changed} if self.parted else {}


def resolve_ties(adapter: Adapter, names: set[str], config: dict) -> Ties:
    """What becomes of the tied embeddings of a base with the tensors `names`, as peft computes the adapter on it.

    An adapter on one of the two leaves the other as the base has it, so that both have to be written. Where one follows
    the other (`ensure_weight_tying`), both of them in `adapter` become the same change or none of a head that is not stored.
    Source: peft's issue 2777 (its own merge of a LoRA changes both), transformers' issue 45127.

    Raises:
        UserError: an adapter on one of several embeddings, of which only one can be tied to the head.
    """
    weights = [name for name in sorted(names) if name.endswith(".weight")]
    pairs = {name: head for name in weights if (head := HEADS.get(name.split(".")[-2]))}
    stored = any(head in names for head in pairs.values())
    text = config.get("text_config")
    tied = config.get(FLAG, text.get(FLAG) if isinstance(text, dict) else None)
    touched = set(adapter.deltas) | set(adapter.whole)
    # A class of models may tie by default, so that its config does not say it; then no head is stored.
    if tied is False or (stored and not tied) or not touched & {*pairs, *pairs.values()}:
        return Ties()
    if len(pairs) > 1:
        found = f"an adapter on one of {len(pairs)} embeddings ({', '.join(pairs)})"
        raise UserError(found, "one embedding that is tied to the head", "merge it with peft itself")
    [(embedding, head)] = pairs.items()
    if not stored:
        for one, other in ((embedding, head), (head, embedding)):
            if one in adapter.in_place and other not in adapter.whole:
                adapter.whole[other] = adapter.whole[one]
    if not _equal(adapter, embedding, head):
        return Ties(embedding, head, stored, parted=True)
    _follow(adapter.deltas, embedding, head, stored)
    _follow(adapter.whole, embedding, head, stored)
    return Ties(embedding, head, stored)


def _follow(part: dict[str, Change], embedding: str, head: str, stored: bool) -> None:
    """Gives a head that is stored the embedding's change, and one that is not none of its own."""
    if part.pop(head, None) is not None and stored:
        part[head] = part[embedding]


def _equal(adapter: Adapter, embedding: str, head: str) -> bool:
    """Whether the adapter makes equal tensors of equal ones."""
    whole, other = adapter.whole.get(embedding), adapter.whole.get(head)
    if not (whole is other if whole is None or other is None else torch.equal(whole, other)):
        return False
    first, second = adapter.deltas.get(embedding), adapter.deltas.get(head)
    return first is second if first is None or second is None else first.is_transpose_of(second)


def untie(config: dict) -> dict:
    """`config` saying that the head has values of its own."""
    text = config.get("text_config")
    nested = {"text_config": {**text, FLAG: False}} if isinstance(text, dict) else {}
    return {**config, FLAG: False, **nested}
