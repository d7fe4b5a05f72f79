"""Whether the published weights would have written a published reply, greedily: mostly one forward a reply, no sampling."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import Any

import torch
from tqdm import tqdm
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from medllm_hf.evaluation.exams.generation import decoded, generated, reply_of, stop_ids
from medllm_hf.evaluation.exams.outputs import Output, Rules, predict, read_letters
from medllm_hf.evaluation.exams.prompts import BLANK, PresentedQuestion, Prompts
from medllm_hf.evaluation.exams.shared_prefix import language_model
from medllm_hf.evaluation.exams.thoughts import opened_thought
from medllm_hf.evaluation.verification.power import Apart, bound_of, item_name
from medllm_hf.key_value_cache import check_cache

# Logits that are there at a time: 1 GiB in float32.
LOGITS_AT_ONCE = 2**28
# Tokens of a reply, from its end on, that are tried for an altered letter.
_TRIED = 32
# Tokens of which a reply keeps nothing, such as the beginning of a turn.
_SILENT = 64
Reader = Callable[[str], str | None]


@dataclass(frozen=True)
class Writer:
    """A model as it writes replies; `tolerance` is how far below the best logit a token may lie."""

    network: Any  # a PreTrainedModel, whose `generate` is a tensor for mypy
    tokenizer: PreTrainedTokenizerBase
    chat: bool
    new_tokens: int
    tolerance: float = 0.0

    @cached_property
    def stops(self) -> list[int]:
        return stop_ids(self.network, self.tokenizer, self.chat)


@dataclass(frozen=True)
class Forced:
    """The tokens of a reply, each behind the ones before it, as a model sees them.

    Attributes:
        below: how far below the best logit the worst of them lies.
        best: the two best tokens at each place, `(tokens + 1, 2)`, or those that were asked for.
        ahead: by how much the first of these leads, `(tokens + 1,)`.
    """

    tokens: list[int]
    below: float
    best: torch.Tensor
    ahead: torch.Tensor


@dataclass(frozen=True)
class Told:
    """A published reply {"reply", "finish"} as it stands behind its prompt `ids`; the prompt itself opens the `thought`."""

    one: PresentedQuestion
    output: Output
    ids: list[int]
    thought: str

    @property
    def answer(self) -> dict:
        return {"reply": self.output["reply"].removeprefix(self.thought), "finish": self.output.get("finish")}

    @property
    def begins(self) -> bool:
        """Whether it begins with the thought that its prompt opens."""
        return self.output["reply"].startswith(self.thought)


def compare_replies(
    network: Any,
    prompts: Prompts,
    drawn: Sequence[tuple[PresentedQuestion, Output]],
    new_tokens: int,
    rules: Rules,
    exactly: AbstractContextManager[None],
) -> list[Apart]:
    """How far below the best one the worst token of each reply lies, and how far rounding moves the best two from each other.

    A greedy reply may take another way where two tokens lie within rounding, so each published token is judged behind the
    published ones before it. Where the text was tokenised otherwise when it was written, its tokens are looked for.

    Args:
        exactly: in which the model computes in float32.
    """
    writer = Writer(network, prompts.required_tokenizer, prompts.chat, new_tokens)
    texts = [prompts.text(one.item) for one, _ in drawn]
    told = [Told(*pair, prompts.ids([text])[0], opened_thought(text)) for pair, text in zip(drawn, texts, strict=True)]
    rounded = [_forced(writer, one)[0] for one in tqdm(told, unit="answer", disable=None)]
    reads = [reader(one.one, one.output, one.thought, prompts.mode, rules) for one in told]
    with exactly:
        bar = tqdm(told, unit="answer", disable=None)
        found = [_compared(writer, *one) for one in zip(bar, rounded, reads, strict=True)]
        writer = replace(writer, tolerance=bound_of(found))
        places = [i for i, one in enumerate(found) if one.published > writer.tolerance and told[i].begins]
        for i in places:  # in other tokens it may be a reply all the same
            tokens, below = follow(writer, told[i].ids, told[i].answer)
            if tokens is not None:
                forced, tail = _forced(writer, told[i], tokens=tokens)
                found[i] = replace(found[i], published=below, altered=_another_letter(writer, told[i], forced, tail, reads[i]))
    return found


def _compared(writer: Writer, told: Told, rounded: Forced, read: Reader) -> Apart:
    """How far a reply lies from what the weights write, by the tokens that its text has."""
    forced, tail = _forced(writer, told, rounded.best)
    moved = float((forced.ahead - rounded.ahead).abs().max())
    # An end token among the others, or a cut before the limit, is no reply of a model.
    stopped = told.answer["finish"] == "stop" or len(forced.tokens) == writer.new_tokens
    whole = told.begins and stopped and not set(forced.tokens) & set(writer.stops)
    altered = _another_letter(writer, told, forced, tail, read)
    return Apart(item_name(told.one), forced.below if whole else inf, moved, altered)


@torch.inference_mode()
def _forced(
    writer: Writer, told: Told, best: torch.Tensor | None = None, tokens: list[int] | None = None
) -> tuple[Forced, torch.Tensor]:
    """Each token of a reply behind the ones before it, by the tokens of its text unless others are given, and logits.

    These are `(tokens + 1, vocab)`, before each and behind all, of the last `_TRIED` tokens alone where there are more.
    """
    if tokens is None:
        tokens = writer.tokenizer(told.answer["reply"], add_special_tokens=False)["input_ids"]
    row = torch.tensor([[*told.ids, *tokens]], device=writer.network.device)
    wanted = torch.tensor([*tokens, 0], device=row.device)
    below: list[float] = []
    tail, pairs, ahead = torch.empty(0), [], []
    at_once = max(1, LOGITS_AT_ONCE // language_model(writer.network).config.vocab_size)
    for start in range(0, len(wanted), at_once):
        places = torch.arange(start, min(start + at_once, len(wanted)), device=row.device)
        kept = len(wanted) if len(places) == len(wanted) else places + len(told.ids) - 1  # a number suits every model
        logits = writer.network(input_ids=row, use_cache=False, logits_to_keep=kept).logits[0].float()
        below += (logits.max(-1).values - logits.gather(1, wanted[places, None])[:, 0]).tolist()
        pairs.append(logits.topk(2).indices if best is None else best[places])
        ahead.append(-logits.gather(1, pairs[-1]).diff()[:, 0])
        tail = torch.cat([tail.to(row.device).reshape(-1, logits.shape[-1]), logits[-_TRIED - 1 :]])[-_TRIED - 1 :]
    below[-1:] = [float(tail[-1].max() - tail[-1, writer.stops].max())] if told.answer["finish"] == "stop" else []
    return Forced(tokens, max(below, default=0.0), torch.cat(pairs), torch.cat(ahead)), tail


def follow(writer: Writer, ids: list[int], answer: dict) -> tuple[list[int] | None, float]:
    """The tokens by which the weights may have written a reply, each within the tolerance; None where there are none.

    Of the tokens within the tolerance the best is taken that the text goes on with, without coming back.
    """
    network, reply = writer.network, answer["reply"]
    guide = _Guide(writer, len(ids), answer)
    # No token but those that leave nothing gives less than a byte.
    most = max(1, min(writer.new_tokens, len(reply.encode(errors="replace")) + _SILENT))
    with _greedy(network, writer.stops, most), torch.inference_mode():
        check_cache(network, [token for token in ids if token not in writer.stops], generated)
        begin = torch.tensor([ids], device=network.device)
        row = network.generate(begin, attention_mask=torch.ones_like(begin), logits_processor=LogitsProcessorList([guide]))[
            0, len(ids) :
        ].tolist()
    if guide.lost or reply_of(writer.tokenizer, row, writer.stops, writer.chat) != answer:
        return None, inf
    end = next((place for place, token in enumerate(row) if token in writer.stops), len(row))
    return row[:end], guide.worst


@contextmanager
def _greedy(network: Any, stops: list[int], most: int) -> Iterator[None]:
    """Has `generate` write greedily, without the publisher's sampling settings, which it would merge into any it is given."""
    kept = network.generation_config
    network.generation_config = GenerationConfig(
        max_new_tokens=most, do_sample=False, eos_token_id=stops, pad_token_id=stops[0]
    )
    try:
        yield
    finally:
        network.generation_config = kept


class _Guide(LogitsProcessor):
    """Leaves of each step the token alone by which a text goes on.

    Attributes:
        worst: how far below the best logit one of them lay.
        lost: whether none within the tolerance was one.
    """

    def __init__(self, writer: Writer, begin: int, answer: dict):
        self.writer, self.begin, self.answer = writer, begin, answer
        self.worst, self.lost = 0.0, False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        row, stops = input_ids[0, self.begin :].tolist(), self.writer.stops
        token = stops[0]
        if not self.lost and not self._blank(row):
            logits = scores[0].float()
            near = torch.nonzero(logits >= logits.max() - self.writer.tolerance)[:, 0]
            order = near[logits[near].argsort(descending=True)].tolist()
            found = next((one for one in order if self._goes_on([*row, one])), None)
            self.lost = found is None
            token = token if found is None else found
            self.worst = max(self.worst, float(logits.max() - logits[token]))
        chosen = torch.full_like(scores, -inf)
        chosen[0, token] = 0
        return chosen

    def _blank(self, row: list[int]) -> bool:
        """Whether what comes next was dropped: a plain reply ends at a blank line."""
        return not self.writer.chat and BLANK in decoded(self.writer.tokenizer, row).strip()

    def _goes_on(self, row: list[int]) -> bool:
        """Whether tokens are a beginning of the reply, or with an end token the whole of it."""
        tokenizer, stops, chat = self.writer.tokenizer, self.writer.stops, self.writer.chat
        if row[-1] in stops or self._blank(row):
            return reply_of(tokenizer, row, stops, chat) == self.answer
        # The last character may be there by half, and blanks may be dropped later.
        text = decoded(tokenizer, row).rstrip("\ufffd \n")
        return self.answer["reply"].startswith(text) or (not chat and self.answer["reply"].startswith(text.lstrip()))


def reader(one: PresentedQuestion, output: Output, thought: str, mode: str, rules: Rules) -> Reader:
    """What gives the letters of another reply in the place of an output's, read as `eval mcq` reads; behind the `thought`."""

    def read(reply: str) -> str | None:
        changed: Output = {**output, "reply": thought + reply}
        return read_letters(predict(changed, mode, rules), one.item, rules)

    return read


def _another_letter(writer: Writer, told: Told, forced: Forced, tail: torch.Tensor, read: Reader) -> float:
    """How far below the best logit any other letter lies in the place from which the answer is read; 0 where there is none."""
    tokenizer, letters, tokens = writer.tokenizer, list(told.one.item.options), forced.tokens
    published = read(told.answer["reply"])
    for back in range(1, min(_TRIED, len(tokens)) + 1):
        place = len(tokens) - back
        text = decoded(tokenizer, [tokens[place]])
        if (letter := text.strip()) not in letters:
            continue
        altered = []
        for other in (other for other in letters if other != letter):
            ids = tokenizer(text.replace(letter, other), add_special_tokens=False)["input_ids"]
            if len(ids) == 1 and read(decoded(tokenizer, [*tokens[:place], *ids, *tokens[place + 1 :]])) != published:
                altered += ids
        if altered:
            logits = tail[-back - 1]
            return float(logits.max() - logits[altered].max())
    return 0.0
