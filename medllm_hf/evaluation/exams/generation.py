"""Replies to exam questions: written by a local model in batches, or by an endpoint, several at once."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, cast

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from medllm_hf.control_tokens import control_tokens
from medllm_hf.endpoints.address import Endpoint
from medllm_hf.endpoints.client import LIMIT_FLAG, ChatClient, EndpointError, RequestAccount, ask_all
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.batching import ALONE, BatchLimits, Share
from medllm_hf.evaluation.exams.finishing import COUNTS, ask_letters, compare_letters
from medllm_hf.evaluation.exams.prompts import BLANK, PresentedQuestion, Prompts
from medllm_hf.evaluation.exams.settings import ResolvedSettings
from medllm_hf.evaluation.exams.thoughts import is_mark, opened_thought
from medllm_hf.key_value_cache import check_cache
from medllm_hf.templates.answer_end import answer_end

Tell = Callable[[int, int], None]  # of replies that are being written, and of tokens that each has so far
# Texts that are tokenised together.
AT_ONCE = 256
# What helps where an endpoint's model thinks all through a short reply.
_SHORT_LIMIT = f"{LIMIT_FLAG}, or use --mode reasoning or --enable-thinking false"


def local_replies(
    network: PreTrainedModel,
    prompts: Prompts,
    shown: Sequence[PresentedQuestion],
    wanted: set[int],
    settings: ResolvedSettings,
    limits: BatchLimits,
    share: Share = ALONE,
    tell: Tell | None = None,
) -> Iterator[tuple[int, dict]]:
    """What `replies` yields for the `wanted` questions of those `shown`.

    A reply to a prompt that opens a thought begins with its mark. Where `settings` ask for finishing, replies that stay
    unread have it, computed for the whole batch, so that it does not depend on what was there before.
    """
    starts = range(0, len(shown), AT_ONCE)
    texts = [prompts.text(one.item) for one in shown]
    ids = [array("i", row) for row in chain.from_iterable(prompts.ids(texts[start : start + AT_ONCE]) for start in starts)]
    chat, new_tokens = settings.chat_template, settings.max_new_tokens
    for batch in _written(network, prompts.required_tokenizer, ids, wanted, new_tokens, limits, chat, share, tell):
        answers = [{**answer, "reply": opened_thought(texts[i]) + answer["reply"]} for i, answer in batch.items()]
        if settings.finish:
            written = [(shown[i], answer) for i, answer in zip(batch, answers, strict=True)]
            answers = compare_letters(network, prompts, written, limits)
        yield from ((i, answer) for i, answer in zip(batch, answers, strict=True) if i in wanted)


def replies(
    network: Any,  # a PreTrainedModel, whose `generate` is a tensor for mypy
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[array],
    wanted: set[int],
    new_tokens: int,
    limits: BatchLimits,
    chat: bool = True,
    share: Share = ALONE,
    tell: Tell | None = None,
) -> Iterator[tuple[int, dict]]:
    """Yields (index, {"reply", "finish"}) of the `wanted` prompts, which are token ids, each written greedily.

    Batches are made over all prompts whatever is wanted, and computed whole, so that a reply does not depend on what was
    there before. `finish` is "stop" where the reply ended by itself, "length" where it was cut after `new_tokens`.

    Args:
        limits: of one batch, padding and replies included, if it has more than one prompt.
        chat: a reply ends at the model's end tokens alone; else, in plain text, also at a blank line.
        share: which part of the batches is written here, where several ranks answer.
        tell: hears of every token how many replies are being written and how many tokens each has.

    Raises:
        UserError: see `check_cache`.
    """
    for batch in _written(network, tokenizer, prompts, wanted, new_tokens, limits, chat, share, tell):
        yield from ((i, answer) for i, answer in batch.items() if i in wanted)


def _written(
    network: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[array],
    wanted: set[int],
    new_tokens: int,
    limits: BatchLimits,
    chat: bool,
    share: Share,
    tell: Tell | None,
) -> Iterator[dict[int, dict]]:
    """Yields what `replies` yields by batch, of each that holds something wanted all of it."""
    stops = stop_ids(network, tokenizer, chat)
    pad = tokenizer.pad_token_id
    if pad is None or pad >= network.get_input_embeddings().num_embeddings:  # many have one that was added without a row
        pad = stops[0]
    # The publisher's own sampling settings and penalties would be merged into any that `generate` is given.
    network.generation_config = GenerationConfig(
        max_new_tokens=new_tokens, do_sample=False, eos_token_id=stops, pad_token_id=pad
    )
    for batch in filter(share.takes(wanted), batches([len(prompt) for prompt in prompts], new_tokens, limits)):
        width = len(prompts[batch[0]])
        # An end token among the ids would end the reply before the step that is compared.
        check_cache(network, [token for token in prompts[batch[0]] if token not in stops], generated)
        ids = torch.tensor([[pad] * (width - len(prompts[i])) + list(prompts[i]) for i in batch])
        mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in batch])
        heard = {"stopping_criteria": [_Listener(tell, width)]} if tell else {}
        with torch.inference_mode():
            whole = network.generate(ids.to(network.device), attention_mask=mask.to(network.device), **heard)
        rows = zip(batch, whole[:, width:].tolist(), strict=True)
        yield {i: reply_of(tokenizer, row, stops, chat) for i, row in rows}


class _Listener(StoppingCriteria):
    """Tells of every step of `generate`, and stops none."""

    def __init__(self, tell: Tell, width: int):
        self._tell, self._width = tell, width

    def __call__(self, input_ids: Any, scores: Any, **kwargs: object) -> Any:
        self._tell(len(input_ids), input_ids.shape[1] - self._width)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def generated(network: Any, ids: list[int]) -> torch.Tensor:
    """The logits `(vocab,)` after `ids`, the last one being the first that `generate` writes."""
    begin = torch.tensor([ids[:-1]], device=network.device)
    written = network.generate(
        begin,
        attention_mask=torch.ones_like(begin),
        max_new_tokens=2,
        prefix_allowed_tokens_fn=lambda *_: ids[-1:],
        output_logits=True,
        return_dict_in_generate=True,
    )
    return written.logits[1][0]


def batches(lengths: Sequence[int], new_tokens: int, limits: BatchLimits) -> list[list[int]]:
    """The indices of `lengths` in batches within the limits, the longest first."""
    made: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        rows = len(made[-1]) + 1 if made else 1
        if made and rows <= limits.questions and rows * (lengths[made[-1][0]] + new_tokens) <= limits.tokens:
            made[-1].append(i)
        else:
            made.append([i])
    return made


def stop_ids(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chat: bool) -> list[int]:
    """The tokens that end a reply, by the model's generation config, by its tokenizer and, in a chat, by its template."""
    configured = network.generation_config.eos_token_id
    ids = [configured] if isinstance(configured, int) else list(configured or [])
    try:
        written = answer_end(tokenizer)[0][:1] if chat else ()
    except UserError:  # a template for one question alone, which exams do with
        written = ()
    return sorted({*ids, *written, tokenizer.eos_token_id} - {None})


def reply_of(tokenizer: PreTrainedTokenizerBase, row: list[int], stops: list[int], chat: bool) -> dict:
    """{"reply", "finish"} of the tokens that were written, without what comes after the first end; see `replies`."""
    end = next((place for place, token in enumerate(row) if token in stops), len(row))
    text = decoded(tokenizer, row[:end])
    ended = end < len(row)
    if not chat and BLANK in text.strip():
        text, ended = text.strip().split(BLANK)[0], True
    return {"reply": text, "finish": "stop" if ended else "length"}


def decoded(tokenizer: PreTrainedTokenizerBase, row: list[int]) -> str:
    """The text of a reply; of the tokens that steer a model, only the marks of thoughts are in it."""
    steering = control_tokens(tokenizer)
    dropped = {id for token, id in steering.items() if not is_mark(token)}
    if len(dropped) == len(steering):
        return cast(str, tokenizer.decode(row, skip_special_tokens=True))
    return cast(str, tokenizer.decode([id for id in row if id not in dropped], skip_special_tokens=False))


async def endpoint_replies(
    endpoint: Endpoint,
    prompts: Prompts,
    shown: Sequence[PresentedQuestion],
    wanted: set[int],
    settings: ResolvedSettings,
    keep: Callable[[int, dict], None],
    account: RequestAccount | None,
) -> dict[int, EndpointError]:
    """Hands (index, {"reply", "finish", counts}) of the `wanted` questions to `keep` as they come; returns those that failed.

    Where `settings` ask for finishing, a reply that stays unread is handed on with it, asked for without thinking again.

    Raises:
        EndpointError: one that every other request would meet too; the rest are not sent.
    """
    again = replace(endpoint, enable_thinking=False) if endpoint.enable_thinking else endpoint
    async with ChatClient(endpoint) as client, ChatClient(again) as asking_again:
        # A reply without a word is asked once more where finishing is asked for, and is no reason to end.
        client.worded, asking_again.worded = len(wanted) < len(shown) or settings.finish is not None, True
        await client.preflight(account)

        async def ask(i: int, one: PresentedQuestion) -> None:
            turns = prompts.turns(one.item)
            reply = await client.complete(
                turns,
                max_tokens=settings.max_new_tokens,
                limit_flag="--reasoning-tokens" if settings.mode == "reasoning" else _SHORT_LIMIT,
                temperature=0.0,
                seed=settings.seed,
                account=account,
            )
            counts = {name: getattr(reply, name) for name in COUNTS}
            answer = {"reply": reply.text, "finish": reply.finish, **counts}
            if reply.thought:
                answer["thought"] = reply.thought
            if settings.finish:
                answer = await ask_letters(asking_again, one, turns, answer, settings, account)
            keep(i, answer)

        return await ask_all({i: shown[i] for i in sorted(wanted)}, ask, endpoint.concurrency)
