"""The verb `eval judge`: a judge model scores dialogues by a rubric, resumable at the reply."""

import asyncio
import hashlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from medllm_hf.errors import UserError
from medllm_hf.evaluation.canaries import canaries
from medllm_hf.evaluation.dialogue_files import read_dialogues, record
from medllm_hf.evaluation.endpoint import ChatClient, Endpoint, EndpointError
from medllm_hf.evaluation.judged import load_metric, metrics_of, score_rows
from medllm_hf.evaluation.parties import Party, endpoints, parse_party
from medllm_hf.evaluation.run_folder import RunFolder, open_run, read_run

KEY = ("id", "sample")
# Requests for one reply, as long as none brings a usable verdict.
ATTEMPTS = 3
# What a server answers to a request that it will never take; after the canaries, it is the dialogue that it does not take.
REFUSED = (400, 413, 422)


@dataclass(frozen=True)
class Settings:
    """How dialogues are judged.

    Attributes:
        samples: Replies for each dialogue, each with a seed of its own made from `seed`, the dialogue and its number.
        failure_limit: The highest share of unscored replies with which a headline figure is given.
        concurrency: The most requests at once.
        timeout: Seconds for one request.
        key_env: The variable with the key of an endpoint.
    """

    rubric: str = "disc-medllm"
    language: str = "zh"
    samples: int = 1
    temperature: float = 0.0
    seed: int = 0
    max_new_tokens: int = 2048
    failure_limit: float = 0.05
    concurrency: int = Endpoint.concurrency
    timeout: float = Endpoint.timeout
    key_env: str = "OPENAI_API_KEY"

    def record(self) -> dict:
        """What the manifest says under "settings": all that may change an output or a figure."""
        names = ("samples", "temperature", "seed", "max_new_tokens", "failure_limit")
        return {**{name: getattr(self, name) for name in names}, "attempts": ATTEMPTS}


def judge(dialogues: str, judge: str, out: str, overwrite: bool = False, **flags) -> int:
    """Judges the dialogues of a file or run and writes the run folder `out`, or goes on with it; returns the exit code.

    Args:
        judge: `URL#MODEL` of an endpoint, a checkpoint folder or a Hub id.
        flags: the fields of `Settings`.

    Raises:
        UserError: settings out of range; dialogues, a checkpoint or an endpoint that cannot be had; `out` holds something
            else; or the endpoint refuses every request.
    """
    read = read_dialogues(dialogues)
    failed = judge_dialogues(read, judge, out, Settings(**flags), Path(dialogues).name, overwrite)
    if failed:
        (name, sample), error = next(iter(failed.items()))
        print(
            f"medllm: {len(failed)} replies are missing, the first is {name} sample {sample}: {error}; "
            f"run the same command again, without --overwrite, for what {out} lacks",
            file=sys.stderr,
        )
        return 1
    print(summary(out))
    return 0


def judge_dialogues(
    dialogues: Sequence[dict], judge: str, out: str | Path, settings: Settings, name: str, overwrite: bool = False
) -> dict[tuple[str, int], EndpointError]:
    """Judges dialogues into the run folder `out`, or goes on with it; returns the replies that failed, by (id, sample).

    The run is finished when none failed. `name` is what the manifest calls the dialogues.

    Raises:
        UserError: as for `judge`.
    """
    _check(settings)
    metric = load_metric()
    dialogues = [_with_reference(one, metric, settings.rubric) for one in dialogues]
    party = parse_party(judge, settings.key_env, concurrency=settings.concurrency, timeout=settings.timeout)
    manifest = {
        "kind": "judge",
        "judge": party.record,
        "rubric": metric.rubric_record(settings.rubric, settings.language),
        "data": record(dialogues, name),
        "settings": settings.record(),
        "systems": list(dict.fromkeys(dialogue["model"] for dialogue in dialogues)),
    }
    first = canaries(settings.rubric == "checklist")
    with open_run(out, manifest, KEY, overwrite) as run:
        if run.finished:
            return {}
        wanted = [(one, 0) for one in first] + [(one, sample) for one in dialogues for sample in range(settings.samples)]
        failed = fill(run, wanted, party, metric, settings)
        if not failed:
            scores = score_rows(metric, dialogues, run.rows, settings.rubric, settings.samples)
            low = score_rows(metric, first, run.rows, settings.rubric, 1)
            order = [(one["id"], sample) for one, sample in wanted]
            run.finish(order, scores, metrics_of(metric, scores, run.rows, low, manifest))
    return failed


def fill(
    run: RunFolder, wanted: Sequence[tuple[dict, int]], party: Party, metric, settings: Settings
) -> dict[tuple[str, int], EndpointError]:
    """Adds to the run every reply that it lacks, in the order of `wanted`; returns those that failed.

    Raises:
        UserError: a checkpoint cannot be served, or the endpoint refuses every request.
    """
    left = [(one, sample) for one, sample in wanted if (one["id"], sample) not in run.rows]
    if not left:
        return {}
    with (
        endpoints([party]) as (endpoint,),
        tqdm(total=len(wanted), initial=len(wanted) - len(left), unit="reply", disable=None) as bar,
    ):

        def keep(row: dict) -> None:
            run.append(row)
            bar.update()

        try:
            return asyncio.run(_replies(endpoint, party, run, wanted[0][0], left, metric, settings, keep))
        except EndpointError as error:
            kept = f"{len(run.rows)} of {len(wanted)} replies are kept"
            raise UserError(str(error), "an endpoint that answers", f"mend it and run the same again, {kept}") from error


async def _replies(
    endpoint: Endpoint, party: Party, run: RunFolder, first: dict, left: Iterable, metric, settings: Settings,
    keep: Callable[[dict], None],
) -> dict[tuple[str, int], EndpointError]:  # fmt: skip
    """Hands every reply to `keep` as it comes; returns those that failed.

    The first canary's reply shows whether the endpoint takes a schema; where it does not, labelled lines are asked for.

    Raises:
        EndpointError: one that every other request would meet too; the rest are not sent.
    """
    failed: dict[tuple[str, int], EndpointError] = {}
    waiting = iter(left)
    async with ChatClient(endpoint) as client:
        if (first["id"], 0) not in run.rows:
            keep(await _reply(client, *next(waiting), metric, settings, "json" if party.endpoint else "lines"))
        form = "json" if run.rows[first["id"], 0]["schema"] else "lines"

        async def work() -> None:
            for one, sample in waiting:
                try:
                    row = await _reply(client, one, sample, metric, settings, form)
                except EndpointError as error:
                    if error.fatal:
                        raise
                    if error.status not in REFUSED or one["id"].startswith("canary/"):
                        failed[one["id"], sample] = error
                        continue
                    row = _refused(one, sample, form, error)
                keep(row)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(endpoint.concurrency):
                    group.create_task(work())
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
    return failed


async def _reply(client: ChatClient, one: dict, sample: int, metric, settings: Settings, form: str) -> dict:
    """The output for one dialogue and sample: the first reply with a usable verdict, or the last of `ATTEMPTS`."""
    reference, unusable, replies, again = one.get("reference"), [], [], None
    schema = metric.response_format(settings.rubric, reference) if form == "json" else None
    for attempt in range(ATTEMPTS):
        reply = await client.complete(
            metric.messages(one["turns"], settings.rubric, settings.language, reference, form, again),
            max_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=_seed(settings.seed, one["id"], sample, attempt),
            response_format=schema,
        )
        replies.append(reply)
        scores, again = metric.verdict(reply.text, settings.rubric, reference)
        if scores is not None:
            break
        unusable.append(reply.text)
    counted = all(reply.prompt_tokens is not None for reply in replies)
    return {
        "id": one["id"],
        "sample": sample,
        "form": form,
        "schema": form == "json" and "response_format" not in client.dropped,
        "reply": reply.text,
        "finish": reply.finish,
        "attempts": unusable if scores is not None else unusable[:-1],
        "model": reply.model,
        "prompt_tokens": sum(reply.prompt_tokens for reply in replies) if counted else None,
        "completion_tokens": sum(reply.completion_tokens for reply in replies) if counted else None,
        "seconds": round(sum(reply.seconds for reply in replies), 3),
        "retries": sum(reply.retries for reply in replies),
    }


def _refused(one: dict, sample: int, form: str, error: EndpointError) -> dict:
    """The output for a dialogue that the endpoint does not take, as a content filter may decide: unscored, with the reason."""
    why = f"refused by the endpoint, status {error.status}: {error.reason}"
    spent = {"prompt_tokens": None, "completion_tokens": None, "retries": 0, "seconds": 0.0}
    row = {"id": one["id"], "sample": sample, "form": form, "schema": False, "reply": "", "finish": "refused", "error": why}
    return {**row, "attempts": [], **spent}


def _seed(seed: int, name: str, sample: int, attempt: int) -> int:
    return int(hashlib.sha256(f"{seed} {name} {sample} {attempt}".encode()).hexdigest()[:7], 16)


def _check(settings: Settings) -> None:
    checks = (
        (settings.samples < 1, f"--samples {settings.samples}", "1 or more"),
        (settings.temperature < 0, f"--temperature {settings.temperature:g}", "0 or more"),
        (settings.max_new_tokens < 1, f"--max-new-tokens {settings.max_new_tokens}", "1 or more"),
        (not 0 <= settings.failure_limit <= 1, f"--failure-limit {settings.failure_limit:g}", "a share from 0 to 1"),
    )
    for wrong, found, expected in checks:
        if wrong:
            raise UserError(found, expected, "see `medllm eval judge --help`")


def _with_reference(one: dict, metric, rubric: str) -> dict:
    """The dialogue with its reference as the metric takes it."""
    try:
        reference = metric.reference(one.get("reference"), rubric)
    except ValueError as error:
        raise UserError(f"{one['id']}: {error}", "a reference that suits the rubric", "mend the file or --rubric") from error
    return one if reference is None else {**one, "reference": reference}


def summary(out: str | Path) -> str:
    """What is said of a finished judge run: its headline, or why it has none, and the warnings."""
    metrics = read_run(out)["metrics"]
    lines = [f"warning: {text}" for text in metrics["warnings"]]
    if metrics["headline"] is None:
        lines += ["no headline figure: " + "; ".join(metrics["no_headline"])]
    for name, found in (metrics["headline"] or {}).items():
        low, high = found["interval"]
        counts = f"n={found['n']}, unscored {found['unscored']}"
        lines.append(f"{name}: overall {found['overall']:.2f} (95% interval {low:.2f} to {high:.2f}, {counts})")
    return "\n".join([*lines, f"{metrics['usage']['calls']} calls, run folder {out}"])
