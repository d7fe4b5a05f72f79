"""A conversation with a chat model: one history, answers whole or in pieces."""

from collections.abc import Iterator
from threading import Thread

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer, set_seed

from medllm_hf.errors import UserError


class ChatSession:
    """Holds the model and `messages`, the history as role/content dicts. Each turn reads the whole history again."""

    def __init__(self, model, tokenizer):
        if not tokenizer.chat_template:
            raise UserError("no chat template in the model's folder", "a chat model", "add a chat_template.jinja to it")
        self.model, self.tokenizer = model.eval(), tokenizer
        self.messages: list[dict] = []

    @classmethod
    def from_pretrained(cls, name: str, revision: str | None = None) -> "ChatSession":
        """A session with the model in the folder, or of the Hub id, `name`; remote code is never run.

        Raises:
            UserError: the model cannot be had or has no chat template.
        """
        try:
            model = AutoModelForCausalLM.from_pretrained(name, revision=revision, dtype="auto")
            tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        except (OSError, ValueError) as error:
            raise UserError(f"{name}: {str(error).splitlines()[0]}", "a model folder or Hub id", "check the name") from error
        return cls(model, tokenizer)

    def chat(self, messages: list[dict]) -> str:
        """The answer to `messages`; the session's own history is left alone."""
        return "".join(self._generate(messages))

    def stream(self, text: str) -> Iterator[str]:
        """Yields the answer to the user's `text` in pieces and adds both to the history when it is complete."""
        question = {"role": "user", "content": text}
        pieces = []
        for piece in self._generate([*self.messages, question]):
            pieces.append(piece)
            yield piece
        self.messages += [question, {"role": "assistant", "content": "".join(pieces)}]

    def reset(self) -> None:
        """Forgets the history."""
        self.messages = []

    def _generate(self, messages: list[dict]) -> Iterator[str]:
        inputs = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self.model.device)
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        failures: list[Exception] = []

        def work() -> None:
            try:
                with torch.inference_mode():
                    self.model.generate(**inputs, streamer=streamer)
            except Exception as error:  # handed to the caller's thread below
                failures.append(error)
                streamer.end()

        thread = Thread(target=work, daemon=True)
        thread.start()
        yield from streamer
        thread.join()
        if failures:
            raise failures[0]


def seeded(seed: int | None) -> None:
    """Makes sampled answers repeat from here on, when a seed is given."""
    if seed is not None:
        set_seed(seed)
