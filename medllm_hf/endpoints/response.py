"""What an OpenAI-style server's answer to a chat request says: a choice, or how the request failed."""

import json
from collections.abc import Collection, Sequence

import httpx2

from medllm_hf.endpoints.answer_reader import REASONING_FIELDS, AnswerReader, Delta, delta_of
from medllm_hf.endpoints.reasoning import with_one_form, without_reasoning
from medllm_hf.endpoints.refusals import Failure, is_used_up, is_wrong_path, refusal

REASON_LENGTH = 200


def read(response: httpx2.Response, sent: dict, extra: Collection[str] = ()) -> dict | Failure:
    """The answer to the request body `sent`, whose first choice `said` can read; or the failure.

    Args:
        extra: the names of fields that the user has added.
    """
    try:
        answer = json.loads(response.content)
    except (ValueError, RecursionError):
        answer = None
    if is_used_up(response):
        return _choice({"content": ""}, "length")
    if not response.is_success:
        return refusal(response, answer, sent, extra)
    if answer is None:
        reason = f"an answer that is not JSON: {response.text}"
        wrong = is_wrong_path(reason)
        return Failure(response.status_code, reason, again=not wrong, fatal=wrong, billed=None)
    try:
        said(answer)
    except (KeyError, IndexError, TypeError, AttributeError):
        reason = f"an answer without a choice: {response.text}"
        wrong = is_wrong_path(reason)
        return Failure(response.status_code, reason, again=not wrong, fatal=wrong, billed=counted(answer))
    return answer


def read_stream(reader: AnswerReader, deltas: Sequence[Delta]) -> dict | Failure:
    """The answer that an event stream adds up to, as a server that does not stream would have given it."""
    if not reader.done:
        return Failure(200, "an event stream that was cut", again=True, billed=None)
    text, thought = "".join(delta.text for delta in deltas), "".join(delta.reasoning for delta in deltas)
    finish = next((delta.finish for delta in reversed(deltas) if delta.finish), "")
    answer = _choice({"content": text, "reasoning_content": thought}, finish)
    return {**answer, "model": reader.model, "usage": reader.usage}


def _choice(message: dict, finish: str) -> dict:
    return {"choices": [{"message": message, "finish_reason": finish}]}


def said(answer: dict) -> tuple[str, str]:
    """The text of an answer's first choice, "" where it has none, and why the model stopped, "" where it does not say.

    Reasoning in the text has its one form, `<think>…</think>`; what the server gives in a field of its own is left out.
    """
    choice = answer["choices"][0]
    message = choice["message"]
    delta = delta_of({"message": {**message, "refusal": None}, "finish_reason": choice.get("finish_reason")})
    refused = not delta.text and message.get("refusal")
    # A server that cuts between tokens may send half of a pair of surrogates.
    return with_one_form(_utf8(delta.text)), "refusal" if refused else delta.finish


def as_delta(answer: dict) -> Delta:
    """An answer that came whole, as the one part of a streamed one."""
    text, finish = said(answer)
    thought = delta_of({"message": {**answer["choices"][0]["message"], "content": ""}}).reasoning
    refused = answer["choices"][0]["message"].get("refusal") if finish == "refusal" else ""
    return Delta(text or str(refused), finish, thought)


def is_all_reasoning(text: str, finish: str) -> bool:
    """Whether the limit of tokens has cut an answer before its first word, as reasoning does, shown or hidden."""
    return finish == "length" and not without_reasoning(text).strip()


def thought(answer: dict) -> str:
    """What an answer's first choice says in a field of its own of how the model came to it; "" where it says nothing."""
    message = answer["choices"][0]["message"]
    said_apart = (message.get(name) for name in REASONING_FIELDS)
    return _utf8(next((text for text in said_apart if isinstance(text, str) and text), ""))


def counted(answer: object) -> tuple[int, int] | None:
    """The tokens of the prompt and of the reply as the server counted them; None where it did not."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    # A bool is an int too.
    if type(prompt) is not int or type(completion) is not int or min(prompt, completion) < 0:
        return None
    return prompt, completion


def whole_characters(text: str) -> tuple[str, str]:
    """The whole characters of `text`, and the half of a pair of surrogates at its end, whose other half may come next."""
    half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
    return _utf8(text.removesuffix(half)), half


def _utf8(text: str) -> str:
    """`text` as it can be written as UTF-8, which has no halves of pairs of surrogates."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def billed(answer: dict | Failure) -> tuple[int, int] | None:
    """The tokens that one request has cost; None where nobody knows."""
    return answer.billed if isinstance(answer, Failure) else counted(answer)


def one_line(text: str, secrets: Collection[str]) -> str:
    """The beginning of `text` on one line, without control characters and without the secrets."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    return text[:REASON_LENGTH]
