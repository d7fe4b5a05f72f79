"""A judge's replies: what is asked, in which form, what that would cost, and what becomes an output of the run."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from medllm_hf.endpoints.address import Endpoint
from medllm_hf.endpoints.client import ChatClient, EndpointError, RequestAccount, ask_all
from medllm_hf.evaluation.costs.estimate import Estimate, Guess, Seen, Volume, about, at_most, seen_reply
from medllm_hf.evaluation.judging.records import Output, Reference, Transcript
from medllm_hf.evaluation.judging.settings import ATTEMPTS, Settings
from medllm_hf.evaluation.models import ModelSpec

# What a server answers to a request that it will never take; after the canaries, it is the dialogue that it does not take.
REFUSED = (400, 413, 422)
# As long as the longest reason why a reply of one criterion is not usable.
_REASON = "x" * 50
Outputs = Mapping[tuple, Output]


class Questions(Protocol):
    """The words in which a verdict is asked for, and how a reply is read: the metric, or what compares pairs by it."""

    def messages(
        self, turns: list, rubric: str, language: str, reference: Reference, form: str, again: str | None
    ) -> list[dict]:
        """The chat messages that ask for a verdict; `again`: why the last reply was not usable."""

    def response_format(self, rubric: str, reference: Reference) -> dict:
        """The schema that goes with the form "json"."""

    def verdict(self, reply: str, rubric: str, reference: Reference) -> tuple[dict | None, str | None]:
        """What a reply says and None, or None and why it says nothing."""


@dataclass(frozen=True)
class Asking:
    """How a judge is asked: in which words, by which settings, and in which form, "json" or "lines"."""

    questions: Questions
    settings: Settings
    form: str

    def prompt(self, one: Transcript, again: str | None = None) -> tuple[list[dict], dict | None]:
        """The messages and the response format that ask for a verdict on a dialogue."""
        reference, rubric = one.get("reference"), self.settings.rubric
        messages = self.questions.messages(one["turns"], rubric, self.settings.language, reference, self.form, again)
        return messages, self.questions.response_format(rubric, reference) if self.form == "json" else None

    def verdict(self, one: Transcript, reply: str) -> tuple[dict | None, str | None]:
        """What a reply on a dialogue says and None, or None and why it says nothing."""
        return self.questions.verdict(reply, self.settings.rubric, one.get("reference"))

    def volume(self, one: Transcript, guess: Guess, attempts: int) -> Volume:
        """The calls for one verdict on a dialogue when all attempts but the last bring an unusable reply."""
        first = guess.call(*self.prompt(one))
        again = [guess.call(*self.prompt(one, self._longest_reason(one)))] * (attempts - 1) if attempts > 1 else []
        return sum(again, first)

    def _longest_reason(self, one: Transcript) -> str:
        schema = self.questions.response_format(self.settings.rubric, one.get("reference"))["json_schema"]["schema"]
        named = [name for name in schema["required"] if name != "reasons"]
        lacking = "no score for " + ", ".join(name for name in named if name != min(named, key=len))
        return max(lacking, _REASON, key=len)


def form_of(rows: Outputs, first: Transcript, party: ModelSpec) -> str:
    """The form of verdicts to ask for: "json", or "lines" where the first canary's reply shows that no schema is taken."""
    row = rows.get((first["id"], 0))
    return "json" if (row["schema"] if row else party.endpoint) else "lines"


def judge_estimate(
    asking: Asking,
    wanted: Sequence[tuple[Transcript, int]],
    rows: Outputs,
    usual: Sequence[tuple[Transcript, int]] | None = None,
) -> Estimate:
    """The estimate for the replies of a judge that a run lacks.

    Args:
        wanted: (dialogue, sample) of every reply of the run; `usual` are the same with dialogues as they are about to be.
        rows: the outputs that are there, by (id, sample).
    """
    seen = [found for one, sample in wanted if (found := _seen(asking, one, rows.get((one["id"], sample))))]
    limit = asking.settings.max_new_tokens
    high, middle = at_most(limit), about(limit, seen)
    left = [[one for one, sample in units if (one["id"], sample) not in rows] for units in (wanted, usual or wanted)]
    return Estimate(
        sum((asking.volume(one, high, ATTEMPTS) for one in left[0]), Volume()),
        sum((asking.volume(one, middle, 1) for one in left[1]), Volume()),
    )


def _seen(asking: Asking, one: Transcript, row: Output | None) -> Seen | None:
    # A reply after unusable ones has the tokens of several prompts.
    if row is None or row["attempts"]:
        return None
    return seen_reply(replace(asking, form=row["form"]).prompt(one)[0], row["reply"], row)


@dataclass(frozen=True)
class Unanswered:
    """What a run lacks: `left` of its replies (dialogue, sample), the dialogue asked first, and the outputs that are there."""

    left: Iterable[tuple[Transcript, int]]
    first: Transcript
    rows: Outputs


async def ask_judge(
    endpoint: Endpoint,
    party: ModelSpec,
    lacking: Unanswered,
    asking: Asking,
    keep: Callable[[Output], None],
    account: RequestAccount | None,
) -> dict[tuple[str, int], EndpointError]:
    """Hands every reply that is left to `keep`, which adds it to the rows, as it comes; returns those that failed.

    The first canary's reply shows whether the endpoint takes a schema; where it does not, labelled lines are asked for.

    Raises:
        EndpointError: one that every other request would meet too, or the first canary's; the rest are not sent.
    """
    waiting = {(one["id"], sample): one for one, sample in lacking.left}
    async with ChatClient(endpoint) as client:
        if (lacking.first["id"], 0) not in lacking.rows:
            name, sample = next(iter(waiting))
            keep(await _reply(client, waiting.pop((name, sample)), sample, asking, account))
        formed = replace(asking, form=form_of(lacking.rows, lacking.first, party))

        async def ask(key: tuple[str, int], one: Transcript) -> None:
            try:
                row = await _reply(client, one, key[1], formed, account)
            except EndpointError as error:
                if error.fatal or error.status not in REFUSED or one["id"].startswith("canary/"):
                    raise
                row = _refused(one, key[1], formed.form, error)
            keep(row)

        return await ask_all(waiting, ask, endpoint.concurrency)


async def _reply(client: ChatClient, one: Transcript, sample: int, asking: Asking, account: RequestAccount | None) -> Output:
    """The output for one dialogue and sample: the first reply with a usable verdict, or the last of `ATTEMPTS`."""
    unusable, found, again, settings = [], [], None, asking.settings
    for attempt in range(ATTEMPTS):
        messages, schema = asking.prompt(one, again)
        reply = await client.complete(
            messages,
            max_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=_seed(settings.seed, one["id"], sample, attempt),
            response_format=schema,
            account=account,
        )
        found.append(reply)
        scores, again = asking.verdict(one, reply.text)
        if scores is not None:
            break
        unusable.append(reply.text)
    counted = all(reply.prompt_tokens is not None for reply in found)
    return {
        "id": one["id"],
        "sample": sample,
        "form": asking.form,
        "schema": asking.form == "json" and "response_format" not in client.dropped,
        "reply": reply.text,
        "finish": reply.finish,
        "attempts": unusable if scores is not None else unusable[:-1],
        "model": reply.model,
        "prompt_tokens": sum(reply.prompt_tokens or 0 for reply in found) if counted else None,
        "completion_tokens": sum(reply.completion_tokens or 0 for reply in found) if counted else None,
        "seconds": round(sum(reply.seconds for reply in found), 3),
        "retries": sum(reply.retries for reply in found),
    }


def _refused(one: Transcript, sample: int, form: str, error: EndpointError) -> Output:
    """The output for a dialogue that the endpoint does not take, as a content filter may decide: unscored, with the reason."""
    return {
        "id": one["id"],
        "sample": sample,
        "form": form,
        "schema": False,
        "reply": "",
        "finish": "refused",
        "error": f"refused by the endpoint, status {error.status}: {error.reason}",
        "attempts": [],
        "prompt_tokens": None,
        "completion_tokens": None,
        "retries": 0,
        "seconds": 0.0,
    }


def _seed(seed: int, name: str, sample: int, attempt: int) -> int:
    return int(hashlib.sha256(f"{seed} {name} {sample} {attempt}".encode()).hexdigest()[:7], 16)
