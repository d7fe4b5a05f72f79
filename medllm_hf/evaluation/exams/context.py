"""Whether the questions, and what is written after them, fit into the positions that a local model has."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, Prompts, answers, candidates
from medllm_hf.evaluation.exams.settings import NEW_TOKENS, ResolvedSettings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# What a tokenizer may add to a text, whose tokens are never more than its bytes.
ADDED_TOKENS = 16


def fit_context(
    config: "PreTrainedConfig", prompts: Prompts, shown: Iterable[PresentedQuestion], settings: ResolvedSettings
) -> ResolvedSettings:
    """The settings with which every question fits; only those that are long enough to be in doubt are tokenised.

    A model computes something behind its last position too, and the answers would be scored as if it had read the question.
    Where nobody has set how long a reply with reasoning may be, it is what the longest question leaves.

    Raises:
        UserError: one does not fit, the longest told by its id and the lengths.
    """
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(context, int) or context < 1:
        return settings
    limit, longest, name = settings.max_new_tokens if settings.written else 0, 0, ""
    for one in shown:
        texts = [prompts.text(one.item)]
        if not settings.written:
            compared = answers(one.item, prompts.score, candidates(one.item))
            texts = [texts[0] + answer + prompts.ending(one.item) for answer in compared]
        if max(len(text.encode()) for text in texts) + ADDED_TOKENS + limit <= context:
            continue
        # The last token of a candidate answer is scored and never read.
        length = max(map(len, prompts.ids(texts))) - (not settings.written)
        longest, name = max((longest, name), (length, one.item.id))
    if longest + limit <= context or not name:
        return settings
    if settings.mode == "reasoning" and settings.reasoning_tokens is None and context - longest >= NEW_TOKENS:
        return replace(settings, max_new_tokens=context - longest)
    raise UserError(*_refusal(name, longest, limit, context, settings.mode))


def _refusal(name: str, length: int, limit: int, context: int, mode: str) -> tuple[str, str, str]:
    """What was found, what is expected, and what to do."""
    flag = "--reasoning-tokens" if mode == "reasoning" else "--max-new-tokens"
    most = f" and {limit:,} of its reply" if limit else ""
    shorter = f"set {flag} to at most {context - length}" if limit and length < context else "leave the question out"
    fewer = "" if limit and length < context else ", use fewer --shots, or take a model with more positions"
    return f"question {name} with {length:,} tokens{most}", f"at most the model's {context:,} positions", f"{shorter}{fewer}"
