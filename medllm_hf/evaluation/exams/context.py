"""Whether the questions, and what is written after them, fit into the positions that a local model has."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, Prompts, answers, candidates
from medllm_hf.evaluation.exams.settings import NEW_TOKENS, ResolvedSettings
from medllm_hf.evaluation.exams.thoughts import OPEN, end_of_thought, opened_thought

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# What a tokenizer may add to a text, whose tokens are never more than its bytes.
ADDED_TOKENS = 16


def positions(config: "PreTrainedConfig") -> int | None:
    """How many tokens a model can read; None where its config does not say."""
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    return context if isinstance(context, int) and context >= 1 else None


def fit_context(
    config: "PreTrainedConfig", prompts: Prompts, shown: Iterable[PresentedQuestion], settings: ResolvedSettings
) -> ResolvedSettings:
    """The settings with which every question fits; only those that are long enough to be in doubt are tokenised.

    A model computes something behind its last position too, and the answers would be scored as if it had read the question.
    Where nobody has set how long a reply with reasoning may be, it is what the longest question leaves.

    Raises:
        UserError: one does not fit, the longest told by its id and the lengths.
    """
    context = positions(config)
    if context is None:
        return settings
    # The last token of an answer that is compared is scored and never read.
    compared = not settings.written or settings.finish is not None
    limit, longest, name = settings.max_new_tokens if settings.written else 0, 0, ""
    for one in shown:
        texts = _texts(prompts, one, settings)
        if max(len(text.encode()) for text in texts) + ADDED_TOKENS + limit <= context:
            continue
        length = max(map(len, prompts.ids(texts))) - compared
        longest, name = max((longest, name), (length, one.item.id))
    if longest + limit <= context or not name:
        return settings
    if settings.mode == "reasoning" and settings.reasoning_tokens is None and context - longest >= NEW_TOKENS:
        return replace(settings, max_new_tokens=context - longest)
    raise UserError(*_refusal(name, longest, limit, context, settings))


def _texts(prompts: Prompts, one: PresentedQuestion, settings: ResolvedSettings) -> list[str]:
    """What stands in the context beside a written reply: the prompt, and each answer that is compared behind it."""
    text = prompts.text(one.item)
    if settings.written:
        if settings.finish is None:
            return [text]
        text += (end_of_thought(opened_thought(text)) or end_of_thought(OPEN)) + prompts.cue(one.item)
    return [text + answer + prompts.ending(one.item) for answer in answers(one.item, prompts.score, candidates(one.item))]


def _refusal(name: str, length: int, limit: int, context: int, settings: ResolvedSettings) -> tuple[str, str, str]:
    """What was found, what is expected, and what to do."""
    flag = "--reasoning-tokens" if settings.mode == "reasoning" else "--max-new-tokens"
    cue = " (those of --finish included)" if settings.finish else ""
    most = f" and {limit:,} of its reply" if limit else ""
    shorter = f"set {flag} to at most {context - length}" if limit and length < context else "leave the question out"
    fewer = "" if limit and length < context else ", use fewer --shots, or take a model with more positions"
    return (
        f"question {name} with {length:,} tokens{cue}{most}",
        f"at most the model's {context:,} positions",
        f"{shorter}{fewer}",
    )
