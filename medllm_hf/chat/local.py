"""A chat model of a folder or the Hub in this process, and its answers."""

from collections.abc import Iterator, Sequence
from threading import Event

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from medllm_hf.chat.prompt import TemplateVariables, truncate_to_context
from medllm_hf.chat.prompt_cache import PromptCache, generate_tokens
from medllm_hf.chat.sampling import SamplingParams, check_choice, generation_config, stop_strings
from medllm_hf.chat.stop_sequences import read_stop_sequences
from medllm_hf.chat.streaming_detokenizer import StreamingDetokenizer
from medllm_hf.placement import choose_device, loading_options, refuse_lack_of_memory
from medllm_hf.pretrained import check_generation, load_config, load_model, load_tokenizer
from medllm_hf.templates.rendering import check_conversation
from medllm_hf.templates.template_checks import check_chat_template, check_thinking
from medllm_hf.vocabulary import check_ids

# For models that say neither how long an answer may be nor how long all of it.
DEFAULT_NEW_TOKENS = 1024


class LocalBackend:
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
        self.prompt_cache = PromptCache(model)
        self.stopped: str | None = None
        self.dropped = 0
        check_conversation(tokenizer)
        self._stops = read_stop_sequences(tokenizer)
        stop_strings(model)
        check_choice(model, model.config.get_text_config().vocab_size)
        self._seed, self._generator = seed, torch.Generator(model.device)
        self.forget()

    def fork(self, seed: int | None) -> "LocalBackend":
        """Another backend that shares the model alone."""
        return LocalBackend(self.model, self.tokenizer, seed)

    def check(self) -> None:
        """A model that is loaded needs no check."""

    def release(self) -> None:
        """Frees what was read."""
        self.prompt_cache.forget()

    def forget(self) -> None:
        """Frees what was read, and begins the random numbers again."""
        self.prompt_cache.forget()
        if self._seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(self._seed)

    def write(self, messages: Sequence[dict], sampling: SamplingParams, stopping: Event) -> Iterator[str]:
        """Yields the answer to `messages` in pieces of whole characters, and ends soon after `stopping` is set.

        Raises:
            UserError: the last question is longer than the context, the template refuses the messages or does not read
                what is set for it, or the memory does not suffice.
        """
        self.stopped, self.dropped = "stopped", 0
        thinking = sampling.enable_thinking
        variables: TemplateVariables = {} if thinking is None else {"enable_thinking": thinking}
        check_thinking(self.tokenizer, None, sampling.enable_thinking)
        config = self.model.config.get_text_config()
        context = getattr(config, "max_position_embeddings", None)
        own = self.model.generation_config
        wanted = sampling.max_new_tokens or own.max_new_tokens or own.max_length or DEFAULT_NEW_TOKENS
        # However long an answer may be, half of the context is for the conversation.
        reserve = min(wanted, context // 2) if context else wanted
        prompt, self.dropped = truncate_to_context(self.tokenizer, messages, context, reserve, **variables)
        limit = min(wanted, context - len(prompt)) if context else wanted
        own_stops = stop_strings(self.model)
        pieces = StreamingDetokenizer(self.tokenizer, (*self._stops.texts, *own_stops))
        settings = generation_config(self.model, sampling, limit)
        ends = self._stops.ends | _ids(settings.eos_token_id)
        for count, token in enumerate(generate_tokens(self.prompt_cache, prompt, settings, self._generator, stopping), start=1):
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


def load(
    name: str,
    revision: str | None,
    device: str | None,
    dtype: str,
    quantization: str | None,
    enable_thinking: bool | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of the folder or Hub id `name`, ready to answer, and its tokenizer; remote code is never run.

    Raises:
        UserError: it cannot be had, has no chat template, or one that does not read `enable_thinking` where that is given,
            or does not fit; the device or the quantization is not there.
    """
    device = choose_device(device)
    options = loading_options(device, dtype, quantization)
    # Says of an unknown kind of model that it is one, which the tokenizers do not.
    config = load_config(name, revision)
    check_generation(name, config, revision)
    tokenizer = load_tokenizer(name, revision, chat=True)
    check_conversation(tokenizer, name)
    check_ids(tokenizer, config, name)
    check_thinking(tokenizer, name, enable_thinking)
    with refuse_lack_of_memory("use --dtype bfloat16, --quantization 4bit on a GPU, or a smaller model"):
        model = load_model(name, revision, **options)
        if not quantization:
            model.to(device)  # type: ignore[arg-type]  # transformers' wrapper of `to` hides its types
        return model.eval(), tokenizer
