"""Answers of a model behind an OpenAI-style address, as they are written."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Event

from medllm_hf.chat.sampling import SamplingParams
from medllm_hf.endpoints.address import EXPECTED, KEY_ENV, AddressError, Endpoint, read_key, split_address
from medllm_hf.endpoints.client import LIMIT_FLAG, PREFLIGHT, PREFLIGHT_TOKENS, EndpointError, request_body, used_up
from medllm_hf.endpoints.extra_body import read_extra_body
from medllm_hf.endpoints.reasoning import answer_of
from medllm_hf.endpoints.refusals import THINKING
from medllm_hf.endpoints.response import is_all_reasoning
from medllm_hf.endpoints.streaming import stream_chat
from medllm_hf.errors import UserError

# Seconds without a byte from the server, which may have a queue before the model.
SILENCE = 300.0
FINISH = {"stop": "eos", "length": "limit"}


class EndpointBackend:
    """Writes answers through the endpoint `http://HOST:PORT/v1#MODEL`; the key stands in the environment as `KEY_ENV`.

    What the model thinks stands before its answer as `<think>…</think>`, and is not sent back to it.

    Args:
        extra_body: more fields of each request, a JSON object.

    Attributes:
        at_once: How many answers for different conversations are asked for at the same time.
        stopped, dropped: Of the last answer; see `ChatSession`. The server cuts no history, so `dropped` stays 0.

    Raises:
        UserError: no such address, credentials in it, or no key for an address beyond this machine; or fields that cannot
            be added.
    """

    at_once = 8

    def __init__(self, spec: str, seed: int | None = None, extra_body: str | None = None):
        self.endpoint = replace(_endpoint(spec), extra_body=read_extra_body(extra_body))
        self.stopped: str | None = None
        self.dropped = 0
        self._spec, self._seed, self._answers = spec, seed, 0
        # The fields that the server does not take.
        self._left_out: set[str] = set()
        self._key = read_key(self.endpoint, do="export {name}")

    def fork(self, seed: int | None) -> "EndpointBackend":
        """Another backend for the same endpoint."""
        other = EndpointBackend(self._spec, seed, self.endpoint.extra_body)
        other._left_out = self._left_out
        return other

    def check(self) -> None:
        """Check, by one short question, that the endpoint answers.

        Raises:
            UserError: it does not.
        """
        body = request_body(self.endpoint, PREFLIGHT, PREFLIGHT_TOKENS, stream=True)
        try:
            list(stream_chat(self.endpoint, self._key, body, Event(), self._left_out))
        except EndpointError as error:
            raise _user_error(error) from error

    def release(self) -> None:
        """Frees nothing: what was read is kept by the server."""

    def forget(self) -> None:
        """Begins the seeds again."""
        self._answers = 0

    def write(self, messages: Sequence[dict], sampling: SamplingParams, stopping: Event) -> Iterator[str]:
        """Yields the answer to `messages` in pieces, and ends soon after `stopping` is set.

        Raises:
            UserError: no connection, or the server refuses, in its own words, without the key; or the answer ends in its
                reasoning.
        """
        self.stopped = "stopped"
        body = request_body(
            replace(self.endpoint, enable_thinking=sampling.enable_thinking),
            [{**one, "content": answer_of(one["content"])} if one["role"] == "assistant" else one for one in messages],
            sampling.max_new_tokens,
            stream=True,
            temperature=0.0 if sampling.sampled() is False else sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            repetition_penalty=sampling.repetition_penalty,
            seed=None if self._seed is None else self._seed + self._answers,
        )
        self._answers += 1
        said, finish = "", ""
        try:
            for delta in stream_chat(self.endpoint, self._key, body, stopping, self._left_out):
                self.stopped, finish = FINISH.get(delta.finish, delta.finish) or self.stopped, delta.finish or finish
                said += delta.text
                if delta.text:
                    yield delta.text
            if is_all_reasoning(said, finish):
                raise used_up(self.endpoint, sampling.max_new_tokens, LIMIT_FLAG)
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
    return error.told("an answer", "check the address, the key and the settings")
