"""A judge's replies: what is asked, in which form, and what becomes an output of the run."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from medllm_hf.endpoints.address import Endpoint
from medllm_hf.endpoints.client import ChatClient, EndpointError, RequestAccount, ask_all
from medllm_hf.evaluation.models import ModelSpec

if TYPE_CHECKING:
    from medllm_hf.evaluation.judging.run import Settings

# Requests for one reply, as long as none brings a usable verdict.
ATTEMPTS = 3
# What a server answers to a request that it will never take; after the canaries, it is the dialogue that it does not take.
REFUSED = (400, 413, 422)


def form_of(rows: Mapping[tuple, dict], first: dict, party: ModelSpec) -> str:
    """The form of verdicts to ask for: "json", or "lines" where the first canary's reply shows that no schema is taken."""
    row = rows.get((first["id"], 0))
    return "json" if (row["schema"] if row else party.endpoint) else "lines"


async def replies(
    endpoint: Endpoint, party: ModelSpec, rows: Mapping[tuple, dict], first: dict, left: Iterable, metric, settings: "Settings",
    keep: Callable[[dict], None], account: RequestAccount | None,
) -> dict[tuple[str, int], EndpointError]:  # fmt: skip
    """Hands every reply that is `left` to `keep`, which adds it to `rows`, as it comes; returns those that failed.

    The first canary's reply shows whether the endpoint takes a schema; where it does not, labelled lines are asked for.

    Raises:
        EndpointError: one that every other request would meet too, or the first canary's; the rest are not sent.
    """
    waiting = {(one["id"], sample): one for one, sample in left}
    async with ChatClient(endpoint) as client:
        if (first["id"], 0) not in rows:
            name, sample = next(iter(waiting))
            one = waiting.pop((name, sample))
            keep(await _reply(client, one, sample, metric, settings, form_of(rows, first, party), account))
        form = form_of(rows, first, party)

        async def ask(key: tuple[str, int], one: dict) -> None:
            try:
                row = await _reply(client, one, key[1], metric, settings, form, account)
            except EndpointError as error:
                if error.fatal or error.status not in REFUSED or one["id"].startswith("canary/"):
                    raise
                row = _refused(one, key[1], form, error)
            keep(row)

        return await ask_all(waiting, ask, endpoint.concurrency)


async def _reply(
    client: ChatClient, one: dict, sample: int, metric, settings: "Settings", form: str, account: RequestAccount | None
) -> dict:
    """The output for one dialogue and sample: the first reply with a usable verdict, or the last of `ATTEMPTS`."""
    reference, unusable, found, again = one.get("reference"), [], [], None
    schema = metric.response_format(settings.rubric, reference) if form == "json" else None
    for attempt in range(ATTEMPTS):
        reply = await client.complete(
            metric.messages(one["turns"], settings.rubric, settings.language, reference, form, again),
            max_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=_seed(settings.seed, one["id"], sample, attempt),
            response_format=schema,
            account=account,
        )
        found.append(reply)
        scores, again = metric.verdict(reply.text, settings.rubric, reference)
        if scores is not None:
            break
        unusable.append(reply.text)
    counted = all(reply.prompt_tokens is not None for reply in found)
    return {
        "id": one["id"],
        "sample": sample,
        "form": form,
        "schema": form == "json" and "response_format" not in client.dropped,
        "reply": reply.text,
        "finish": reply.finish,
        "attempts": unusable if scores is not None else unusable[:-1],
        "model": reply.model,
        "prompt_tokens": sum(reply.prompt_tokens for reply in found) if counted else None,
        "completion_tokens": sum(reply.completion_tokens for reply in found) if counted else None,
        "seconds": round(sum(reply.seconds for reply in found), 3),
        "retries": sum(reply.retries for reply in found),
    }


def _refused(one: dict, sample: int, form: str, error: EndpointError) -> dict:
    """The output for a dialogue that the endpoint does not take, as a content filter may decide: unscored, with the reason."""
    why = f"refused by the endpoint, status {error.status}: {error.reason}"
    spent = {"prompt_tokens": None, "completion_tokens": None, "retries": 0, "seconds": 0.0}
    row = {"id": one["id"], "sample": sample, "form": form, "schema": False, "reply": "", "finish": "refused", "error": why}
    return {**row, "attempts": [], **spent}


def _seed(seed: int, name: str, sample: int, attempt: int) -> int:
    return int(hashlib.sha256(f"{seed} {name} {sample} {attempt}".encode()).hexdigest()[:7], 16)
