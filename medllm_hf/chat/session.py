"""A conversation with a chat model: one history, answers whole or in pieces."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Protocol, Unpack, cast

from medllm_hf.chat.endpoint import EndpointBackend
from medllm_hf.chat.prompt import check_messages
from medllm_hf.chat.sampling import SamplingFields, SamplingParams
from medllm_hf.errors import UserError
from medllm_hf.folders import new_file, read_json
from medllm_hf.placement import DTYPE, Dtype, Quantization
from medllm_hf.pretrained import check_name, load_config

if TYPE_CHECKING:  # with an endpoint nothing needs them, and they take seconds to import
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from medllm_hf.chat.local import LocalBackend


class Backend(Protocol):
    """What writes the answers of a session; see `LocalBackend` and `EndpointBackend`."""

    at_once: int
    stopped: str | None
    dropped: int

    def fork(self, seed: int | None) -> "Backend":
        """Another backend of the same model."""

    def check(self) -> None:
        """Check that the model answers."""

    def release(self) -> None:
        """Frees what was read."""

    def forget(self) -> None:
        """Frees what was read, and begins the random numbers again."""

    def write(self, messages: Sequence[dict], sampling: SamplingParams, stopping: Event) -> Iterator[str]:
        """Yields the answer to `messages` in pieces, and ends soon after `stopping` is set."""


class ChatSession:
    """A history, and the model that answers it. What the model has read is kept for the next question.

    A session is for one thread, which may `stop` from another. `fork` makes sessions for other threads that share the
    model. The changes of the model's own settings are those of `SamplingParams`; `seed` makes what is sampled repeat.

    Attributes:
        messages: The history, as {"role", "content"}. It may be changed at will; the next answer follows it.
        sampling: The changes of the model's settings for all answers.
        stopped: Why the last answer ended: "eos", by itself; "turn", where the model began to write the user's next
            turn; "limit", at `max_new_tokens`; "context", at the end of the model's context; "stopped", by `stop`. An
            endpoint may say other things. None before the first.
        dropped: How many of the oldest messages did not fit the context and were left out of the last prompt. The history
            keeps them.
    """

    def __init__(
        self,
        model: "PreTrainedModel | Backend",
        tokenizer: "PreTrainedTokenizerBase | None" = None,
        *,
        seed: int | None = None,
        **settings: Unpack[SamplingFields],
    ):
        """A session with a loaded model and its tokenizer, or with one that writes by itself, such as a `EndpointBackend`."""
        self.backend: Backend
        if tokenizer is None:
            self.backend = cast(Backend, model)
        else:
            # Here, since torch takes seconds to import and an endpoint needs none.
            from medllm_hf.chat.local import LocalBackend

            self.backend = LocalBackend(cast("PreTrainedModel", model), tokenizer, seed)
        self.messages: list[dict] = []
        self.sampling = SamplingParams(**settings)
        self._stopping = Event()

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        revision: str | None = None,
        device: str | None = None,
        dtype: Dtype = DTYPE,
        quantization: Quantization | None = None,
        *,
        seed: int | None = None,
        extra_body: str | None = None,
        **settings: Unpack[SamplingFields],
    ) -> "ChatSession":
        """A session with the model in the folder `name`, of the Hub id `name`, or behind the endpoint `url#model`.

        Remote code is never run. The revision, device, dtype and quantization of an endpoint are the server's.

        Args:
            device: "cpu", "cuda", "cuda:1", ...; None takes a GPU if there is one.
            dtype: "auto", "float32", "bfloat16" or "float16".
            quantization: "4bit" or "8bit", on a GPU with bitsandbytes.
            extra_body: more fields of each request to an endpoint, a JSON object.
            settings: the fields of `SamplingParams`, `enable_thinking` among them.

        Raises:
            UserError: the model cannot be had, has no chat template or does not fit; a setting is out of range.
        """
        sampling = SamplingParams(**settings)
        if name.startswith(("http://", "https://")):
            if (revision, device, dtype, quantization) != (None, None, DTYPE, None):
                raise UserError("a revision, device, dtype or quantization", "none with an endpoint", "leave it out")
            session = cls(EndpointBackend(name, seed, extra_body))
        elif extra_body:
            raise UserError("an --extra-body without an endpoint", "URL#MODEL", "leave it out")
        else:
            # A wrong path is told before torch is imported.
            if Path(name).is_dir():
                load_config(name)
            else:
                check_name(name, "the folder of a chat model")
            from medllm_hf.chat.local import load

            session = cls(*load(str(name), revision, device, dtype, quantization, sampling.enable_thinking), seed=seed)
        session.sampling = sampling
        return session

    @property
    def model(self) -> "PreTrainedModel":
        """The model; its `generation_config` holds the settings that are not changed. An endpoint has none."""
        return cast("LocalBackend", self.backend).model

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The model's tokenizer. An endpoint has none."""
        return cast("LocalBackend", self.backend).tokenizer

    @property
    def stopped(self) -> str | None:
        return self.backend.stopped

    @property
    def dropped(self) -> int:
        return self.backend.dropped

    def check(self) -> None:
        """Check that the model answers; of an endpoint one short question is asked.

        Raises:
            UserError: it does not.
        """
        self.backend.check()

    def fork(self, seed: int | None = None) -> "ChatSession":
        """A new session, its history empty, that shares the model and the settings."""
        return ChatSession(self.backend.fork(seed), **asdict(self.sampling))

    def chat(self, messages: list[dict], **settings: Unpack[SamplingFields]) -> str:
        """The answer to `messages`; the session's own history is left alone.

        Raises:
            UserError: as in `stream`; `messages` is no list of turns.
        """
        self._stopping.clear()
        return "".join(self.backend.write(check_messages(messages), replace(self.sampling, **settings), self._stopping))

    def stream(self, text: str, **settings: Unpack[SamplingFields]) -> Iterator[str]:
        """Yields the answer to the user's `text` in pieces of whole characters and adds both to the history at its end.

        An answer that is stopped, or whose generator is closed, stays in the history as far as it came; when nothing came,
        neither it nor the question does.

        Raises:
            UserError: the text is longer than the context, the template refuses the history, the memory does not
                suffice, or the endpoint fails. The history is then as before.
        """
        changed = replace(self.sampling, **settings)
        # Not inside the generator, whose body begins later: a stop in between would be lost.
        self._stopping.clear()
        return self._answer(check_messages([*self.messages, {"role": "user", "content": text}]), changed)

    def _answer(self, messages: list[dict], sampling: SamplingParams) -> Iterator[str]:
        pieces: list[str] = []
        try:
            for piece in self.backend.write(messages, sampling, self._stopping):
                pieces.append(piece)
                yield piece
        except (GeneratorExit, KeyboardInterrupt):
            self._remember(messages, pieces)
            raise
        self._remember(messages, pieces)

    def _remember(self, messages: list[dict], pieces: list[str]) -> None:
        if pieces or self.stopped != "stopped":
            self.messages = [*messages, {"role": "assistant", "content": "".join(pieces)}]

    def stop(self) -> None:
        """Ends the answer that is being written, from any thread."""
        self._stopping.set()

    def undo(self) -> str:
        """Takes the last question and what followed it out of the history; returns the question.

        Raises:
            UserError: there is no question.
        """
        questions = [i for i, message in enumerate(self.messages) if message["role"] == "user"]
        if not questions:
            raise UserError("no question in the history", "a conversation", "ask something first")
        question = self.messages[questions[-1]]["content"]
        self.messages = self.messages[: questions[-1]]
        return question

    def retry(self, **settings: Unpack[SamplingFields]) -> Iterator[str]:
        """Yields another answer to the last question, in the place of the one in the history.

        Raises:
            UserError: there is no question; as in `stream`. The history is then as before.
        """
        before = self.messages
        try:
            # The answer keeps the messages that it was begun with, and replaces the history when it ends.
            return self.stream(self.undo(), **settings)
        finally:
            self.messages = before

    def release(self) -> None:
        """Frees what the model has read; it is read again when needed, and the answers stay the same."""
        self.backend.release()

    def reset(self) -> None:
        """Forgets the history, frees what was kept for it, and begins the random numbers again."""
        self.messages = []
        self.backend.forget()

    def save(self, path: Path | str) -> None:
        """Writes the history to a JSON file, as {"messages": [...]}.

        Raises:
            UserError: the file cannot be written.
        """
        text = json.dumps({"messages": self.messages}, ensure_ascii=False, indent=2, sort_keys=True)
        with new_file(path) as file:
            file.write(f"{text}\n")

    def load(self, path: Path | str) -> None:
        """Takes the history from a file that `save` wrote, in the place of the present one.

        Raises:
            UserError: no such file, or not one with a history.
        """
        self.messages = check_messages(read_json(Path(path)).get("messages"))
