"""Answers of a model in this process."""

from collections.abc import Iterator, Sequence
from threading import Event

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from medllm_hf.chat.choice import check_choice, generation_config, stop_strings
from medllm_hf.chat.generation import Reader, tokens
from medllm_hf.chat.pieces import Pieces
from medllm_hf.chat.prompt import fitted
from medllm_hf.chat.sampling import Sampling
from medllm_hf.chat.stops import read_stops
from medllm_hf.templates.rendering import check_conversation
from medllm_hf.templates.template_checks import check_chat_template, check_thinking

# For models that say neither how long an answer may be nor how long all of it.
DEFAULT_NEW_TOKENS = 1024


class LocalWriter:
    """Writes answers with a model; what it has read stays in memory for the next question.

    Attributes:
        at_once: How many answers for different conversations may be written at the same time.
        stopped, dropped: Of the last answer; see `ChatSession`.

    Raises:
        UserError: the tokenizer has no chat template for conversations, or the model generation settings that fail.
    """

    at_once = 1

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int | None = None):
        check_chat_template(tokenizer)
        self.model, self.tokenizer = model.eval(), tokenizer
        self.reader = Reader(model)
        self.stopped: str | None = None
        self.dropped = 0
        check_conversation(tokenizer)
        self._stops = read_stops(tokenizer)
        stop_strings(model)
        check_choice(model, model.config.get_text_config().vocab_size)
        self._seed, self._generator = seed, torch.Generator(model.device)
        self.forget()

    def fork(self, seed: int | None) -> "LocalWriter":
        """Another writer that shares the model alone."""
        return LocalWriter(self.model, self.tokenizer, seed)

    def release(self) -> None:
        """Frees what was read."""
        self.reader.forget()

    def forget(self) -> None:
        """Frees what was read, and begins the random numbers again."""
        self.reader.forget()
        if self._seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(self._seed)

    def write(self, messages: Sequence[dict], sampling: Sampling, stopping: Event) -> Iterator[str]:
        """Yields the answer to `messages` in pieces of whole characters, and ends soon after `stopping` is set.

        Raises:
            UserError: the last question is longer than the context, the template refuses the messages or does not read
                what is set for it, or the memory does not suffice.
        """
        self.stopped, self.dropped = "stopped", 0
        variables = {} if sampling.enable_thinking is None else {"enable_thinking": sampling.enable_thinking}
        check_thinking(self.tokenizer, None, sampling.enable_thinking)
        config = self.model.config.get_text_config()
        context = getattr(config, "max_position_embeddings", None)
        own = self.model.generation_config
        wanted = sampling.max_new_tokens or own.max_new_tokens or own.max_length or DEFAULT_NEW_TOKENS
        # However long an answer may be, half of the context is for the conversation.
        reserve = min(wanted, context // 2) if context else wanted
        prompt, self.dropped = fitted(self.tokenizer, messages, context, reserve, **variables)
        limit = min(wanted, context - len(prompt)) if context else wanted
        own_stops = stop_strings(self.model)
        pieces = Pieces(self.tokenizer, (*self._stops.texts, *own_stops))
        settings = generation_config(self.model, sampling, limit)
        ends = self._stops.ends | _ids(settings.eos_token_id)
        for count, token in enumerate(tokens(self.reader, prompt, settings, self._generator, stopping), start=1):
            if token in ends or token in self._stops.turns:
                self.stopped = "eos" if token in ends else "turn"
                break
            if piece := pieces.add(token):
                yield piece
            if pieces.stopped:
                break
            if count == limit:
                self.stopped = "limit" if limit == wanted else "context"
                break
        if piece := pieces.end():
            yield piece
        if pieces.stopped:
            self.stopped = "eos" if pieces.stopped in own_stops else "turn"


def _ids(configured: int | list[int] | None) -> frozenset[int]:
    return frozenset([configured] if isinstance(configured, int) else configured or [])
