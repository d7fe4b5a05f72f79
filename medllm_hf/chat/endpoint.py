"""Answers of a model behind an OpenAI-style address, as they are written."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Event

from medllm_hf.chat.sampling import SamplingParams
from medllm_hf.endpoints.address import EXPECTED, KEY_ENV, AddressError, Endpoint, read_key, split_address
from medllm_hf.endpoints.client import EndpointError, request_body, stream_chat
from medllm_hf.endpoints.response import THINKING
from medllm_hf.errors import UserError

# Seconds without a byte from the server, which may have a queue before the model.
SILENCE = 300.0
FINISH = {"stop": "eos", "length": "limit"}


class EndpointBackend:
    """Writes answers through the endpoint `http://HOST:PORT/v1#MODEL`; the key stands in the environment as `KEY_ENV`.

    Attributes:
        at_once: How many answers for different conversations are asked for at the same time.
        stopped, dropped: Of the last answer; see `ChatSession`. The server cuts no history, so `dropped` stays 0.

    Raises:
        UserError: no such address, credentials in it, or no key for an address beyond this machine.
    """

    at_once = 8

    def __init__(self, spec: str, seed: int | None = None):
        self.endpoint = _endpoint(spec)
        self.stopped: str | None = None
        self.dropped = 0
        self._spec, self._seed, self._answers = spec, seed, 0
        self._key = read_key(self.endpoint, do="export {name}")

    def fork(self, seed: int | None) -> "EndpointBackend":
        """Another backend for the same endpoint."""
        return EndpointBackend(self._spec, seed)

    def release(self) -> None:
        """Frees nothing: what was read is kept by the server."""

    def forget(self) -> None:
        """Begins the seeds again."""
        self._answers = 0

    def write(self, messages: Sequence[dict], sampling: SamplingParams, stopping: Event) -> Iterator[str]:
        """Yields the answer to `messages` in pieces, and ends soon after `stopping` is set.

        Raises:
            UserError: no connection, or the server refuses; in its own words, without the key.
        """
        self.stopped = "stopped"
        body = request_body(
            replace(self.endpoint, enable_thinking=sampling.enable_thinking),
            messages,
            sampling.max_new_tokens,
            stream=True,
            temperature=0.0 if sampling.sampled() is False else sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            repetition_penalty=sampling.repetition_penalty,
            seed=None if self._seed is None else self._seed + self._answers,
        )
        self._answers += 1
        try:
            for delta in stream_chat(self.endpoint, self._key, body, stopping):
                self.stopped = FINISH.get(delta.finish, delta.finish) or self.stopped
                if delta.text:
                    yield delta.text
        except EndpointError as error:
            raise _user_error(error) from error


def _endpoint(spec: str) -> Endpoint:
    try:
        url, model = split_address(spec)
    except AddressError as error:
        lacking = f"endpoint {spec.partition('#')[0]!r} without a host or without #MODEL"
        words = {"address": "an endpoint that is no address", "secret": "credentials or a query in an endpoint's address"}
        found = {**words, "host": lacking, "model": lacking}.get(error.flaw)
        if found is None:
            raise
        raise UserError(found, EXPECTED, f"give it so, with the key in {KEY_ENV}") from error
    return Endpoint(url, model, KEY_ENV, SILENCE)


def _user_error(error: EndpointError) -> UserError:
    if error.thinking:
        expected = "one that takes it, as vLLM, SGLang, llama.cpp and `transformers serve` do"
        return UserError(f"a server that refuses {THINKING} ({error.text.rstrip()})", expected, "leave out enable_thinking")
    return UserError(str(error).rstrip(), "an answer", "check the address, the key and the settings")
