"""Whether the published weights would have written a published reply, greedily: one forward a reply, no sampling."""

from array import array
from collections.abc import Sequence
from typing import Any

import torch

from medllm_hf.evaluation.exams.batching import BatchLimits
from medllm_hf.evaluation.exams.generation import replies, stop_ids
from medllm_hf.evaluation.exams.outputs import Output
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, Prompts
from medllm_hf.evaluation.exams.thoughts import opened_thought
from medllm_hf.evaluation.verification.power import ItemCheck, item_name

# Logits of the model's own precision are rounded coarser than log-probabilities in float32.
ROUNDER = 2.0


def check_replies(
    network: Any,
    prompts: Prompts,
    drawn: Sequence[PresentedQuestion],
    outputs: Sequence[Output],
    settings: dict,
    tolerance: float,
) -> list[ItemCheck]:
    """What came of each reply: how far below the best one its worst token lies, in parts of the tolerance.

    A greedy reply may take another way where two tokens lie within rounding, so each published token is judged behind the
    published ones before it. A text may be tokenised otherwise than it was written: where a token seems wrong, the reply is
    written again, and it is right if it comes out the same.
    """
    stops = stop_ids(network, prompts.required_tokenizer, settings["chat_template"])
    found = []
    for one, output in zip(drawn, outputs, strict=True):
        text = prompts.text(one.item)
        (ids,) = prompts.ids([text])
        reply = output["reply"].removeprefix(opened_thought(text))
        parts, seen = judge_tokens(network, prompts, ids, reply, output, one, stops, tolerance * ROUNDER)
        if parts > 1:
            again = _write_again(network, prompts, ids, settings)
            parts = 0.0 if again == {"reply": reply, "finish": output.get("finish")} else parts
        found.append(ItemCheck(item_name(one), parts, seen))
    return found


def _write_again(network: Any, prompts: Prompts, ids: list[int], settings: dict) -> dict:
    limits, chat = BatchLimits(settings.get("batch_tokens") or BatchLimits.tokens), settings["chat_template"]
    asked = (network, prompts.required_tokenizer, [array("i", ids)], {0}, settings["max_new_tokens"])
    return dict(replies(*asked, limits, chat))[0]


@torch.inference_mode()
def judge_tokens(
    network: Any,
    prompts: Prompts,
    ids: list[int],
    reply: str,
    output: Output,
    one: PresentedQuestion,
    stops: Sequence[int],
    tolerance: float,
) -> tuple[float, bool]:
    """How far the reply's worst token lies below the best, in parts of `tolerance`; whether another letter would have shown."""
    tokenizer = prompts.required_tokenizer
    written = tokenizer(reply, add_special_tokens=False)["input_ids"]
    row = torch.tensor([[*ids, *written]], device=network.device)
    logits = network(input_ids=row, use_cache=False, logits_to_keep=len(written) + 1).logits[0].float()
    best = logits.max(-1).values
    taken = logits[torch.arange(len(written)), torch.tensor(written, dtype=torch.long)] if written else logits.new_zeros(0)
    below = (best[: len(written)] - taken).tolist()
    if output.get("finish") == "stop":
        below.append(float(best[-1] - logits[-1, list(stops)].max()))
    return max(below, default=0.0) / tolerance, _another_letter_shows(tokenizer, logits, written, one, tolerance)


def _another_letter_shows(
    tokenizer: Any, logits: torch.Tensor, written: list[int], one: PresentedQuestion, tolerance: float
) -> bool:
    """Whether the last letter of an option in a reply lies further above every other letter than the tolerance."""
    letters = list(one.item.options)
    for place in range(len(written) - 1, -1, -1):
        text = tokenizer.decode([written[place]])
        if (letter := text.strip()) not in letters:
            continue
        others = [
            tokenizer(text.replace(letter, other), add_special_tokens=False)["input_ids"]
            for other in letters
            if other != letter
        ]
        single = [ids[0] for ids in others if len(ids) == 1]
        return bool(single) and float(logits[place, written[place]] - logits[place, single].max()) > tolerance
    return False
