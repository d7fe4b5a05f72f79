"""The verb `eval consult`: a simulated patient of each case consults the model under test, resumable at the turn."""

import asyncio
import hashlib
import sys
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from fractions import Fraction
from pathlib import Path

from tqdm import tqdm

from medllm_hf.errors import UserError
from medllm_hf.evaluation.cases import Case, read_cases, summary
from medllm_hf.evaluation.consult_estimates import expected
from medllm_hf.evaluation.consult_settings import Settings, judge_flags, settled
from medllm_hf.evaluation.endpoint import ChatClient, Endpoint, EndpointError, Reply
from medllm_hf.evaluation.fidelity import metrics, score_row
from medllm_hf.evaluation.parties import Party, endpoints, parse_party
from medllm_hf.evaluation.prices import cost_text, priced
from medllm_hf.evaluation.run_folder import RunFolder, open_run, read_run, write_jsonl
from medllm_hf.evaluation.spending import Spending
from medllm_hf.evaluation.transcripts import (
    GIVEN,
    KEY,
    REFUSED,
    ROLES,
    dialogue,
    first_turn,
    is_over,
    is_refused,
    next_messages,
    outputs_of,
)

# Statuses by which a server says that it will never take a request. From one that has answered others, they concern the
# words of a single dialogue, as a content filter or the length of the context does.
NEVER_TAKEN = (400, 413, 422)


def consult(
    cases: str, doctor: str, patient: str, out: str, judge: str | None = None, overwrite: bool = False, dry_run: bool = False,
    **flags,
) -> int:  # fmt: skip
    """Holds a consultation on each case and writes the run folder `out`, or goes on with it; returns the exit code.

    Args:
        doctor, patient, judge: `URL#MODEL` of an endpoint, a checkpoint folder or a Hub id.
        dry_run: prints what the run would cost, and neither sends nor writes anything.
        flags: the fields of `Settings`.

    Raises:
        UserError: settings that do not go together; cases, a checkpoint or an endpoint that cannot be had; `out` holds
            something else; or an endpoint refuses every request.
    """
    settings = settled(Settings(**flags))
    read = read_cases(cases)
    sides = {"patient": _party(patient, "patient", settings)}
    sides["doctor"] = _party(doctor, "doctor", settings)
    manifest = {
        "kind": "consult",
        **{role: sides[role].record for role in ROLES},
        "data": read.record,
        "settings": settings.record(),
        **priced(settings.prices, sides, settings.budget),
    }
    if judge:
        # A judge that cannot be had, or has no price, is told before the dialogues are paid for.
        priced(settings.prices, {"judge": _party(judge, "judge", settings)}, settings.budget)
    print(summary(read.items))
    if dry_run:
        print(expected(out, manifest, read.items, settings, judge, overwrite))
        return 0
    with open_run(out, manifest, KEY, overwrite) as run, Spending(run, settings.budget) as spending:
        failed = {} if run.finished else fill(run, read.items, sides, settings, spending)
        if failed:
            print(unfinished(run, read.items, failed, spending), file=sys.stderr)
            return 1
        if not run.finished:
            finish(run, read.items, sides["doctor"].record["id"], spending)
    print(told(out))
    return judged(out, judge, settings, spending.spent) if judge else 0


def _party(spec: str, role: str, settings: Settings) -> Party:
    key_env, thinking = getattr(settings, f"{role}_key_env"), getattr(settings, f"{role}_enable_thinking")
    bounds = {"concurrency": settings.concurrency, "timeout": settings.timeout}
    return parse_party(spec, key_env or settings.key_env, **bounds, enable_thinking=thinking, talks=role != "judge")


def fill(
    run: RunFolder, cases: Iterable[Case], sides: dict[str, Party], settings: Settings, spending: Spending
) -> dict[str, EndpointError]:
    """Adds to the run every call that its dialogues lack; returns the failures, by the id of the case that stays open.

    Raises:
        UserError: a checkpoint cannot be served, or an endpoint refuses every request.
    """
    talks = {case: outputs_of(run.rows, case) for case in cases}
    left = {case: rows for case, rows in talks.items() if not is_over(rows, settings.rounds, settings.auto)}
    if not left:
        return {}
    most = 2 * settings.rounds
    with (
        endpoints([sides[role] for role in ROLES]) as found,
        tqdm(total=most * len(talks), initial=len(run.rows), unit="turn", disable=None) as bar,
    ):
        bar.total -= sum(most - len(rows) for case, rows in talks.items() if case not in left)

        def keep(rows: list[dict], row: dict) -> None:
            run.append(row)
            rows.append(row)
            bar.update()
            if is_over(rows, settings.rounds, settings.auto):
                bar.total -= most - len(rows)

        try:
            failed = asyncio.run(hold(left, dict(zip(ROLES, found, strict=True)), settings, keep, spending))
        except EndpointError as error:
            kept = f"{len(run.rows)} turns are kept"
            raise UserError(str(error), "an endpoint that answers", f"mend it and run the same again, {kept}") from error
        answered = {row["role"] for row in run.rows.values() if row["finish"] not in (GIVEN, REFUSED)}
        for case, rows in left.items():
            if case.id in failed and failed[case.id].status in NEVER_TAKEN and ROLES[len(rows) % 2] in answered:
                keep(rows, refused(case, len(rows), failed.pop(case.id)))
        return failed


async def hold(
    talks: dict[Case, list[dict]], at: dict[str, Endpoint], settings: Settings, keep: Callable[[list[dict], dict], None],
    spending: Spending,
) -> dict[str, EndpointError]:  # fmt: skip
    """Goes on with all `talks` at once until they are over, each call's output handed to `keep`; returns the failures.

    Args:
        talks: the outputs so far of each case; `keep` adds to them.
        at: the endpoint of each role; roles of one endpoint share its bound on requests.

    Raises:
        EndpointError: one that every other request would meet too; the rest are not sent.
    """
    failed: dict[str, EndpointError] = {}
    limits = {role: getattr(settings, f"{role}_max_new_tokens") for role in ROLES}
    warmth = {role: getattr(settings, f"{role}_temperature") for role in ROLES}

    async def work(case: Case, rows: list[dict], clients: dict[str, ChatClient]) -> None:
        if not rows and case.first_question:
            keep(rows, first_turn(case))
        while not is_over(rows, settings.rounds, settings.auto):
            turn, role = len(rows), ROLES[len(rows) % 2]
            try:
                reply = await clients[role].complete(
                    next_messages(case, rows, settings.auto),
                    max_tokens=limits[role],
                    temperature=warmth[role],
                    seed=call_seed(settings.seed, case.id, turn),
                    account=spending.account(role),
                )
            except EndpointError as error:
                if error.fatal:
                    raise
                failed[case.id] = error
                return
            keep(rows, output(case, turn, reply, clients[role].dropped))

    try:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            own = {endpoint: await stack.enter_async_context(ChatClient(endpoint)) for endpoint in set(at.values())}
            # A client serves its callers in turn, so all dialogues go forward together, and those with the most turns left
            # begin: the last requests then fill the slots instead of following one another in a few long dialogues.
            for case, rows in sorted(talks.items(), key=lambda item: len(item[1])):
                group.create_task(work(case, rows, {role: own[endpoint] for role, endpoint in at.items()}))
    except BaseExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
    return failed


def output(case: Case, turn: int, reply: Reply, dropped: set[str]) -> dict:
    """The output of a call, and the fields that it went without since the server refuses them."""
    row = {
        "case": case.id, "turn": turn, "role": ROLES[turn % 2], "content": reply.text, "finish": reply.finish,
        "prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens,
        "seconds": round(reply.seconds, 3), "retries": reply.retries,
    }  # fmt: skip
    return row | ({"dropped": sorted(dropped)} if dropped else {})


def refused(case: Case, turn: int, error: EndpointError) -> dict:
    """The output that stands for a call which the server will never take."""
    spent = {"prompt_tokens": None, "completion_tokens": None, "seconds": 0.0, "retries": 0}
    row = {"case": case.id, "turn": turn, "role": ROLES[turn % 2], "content": "", "finish": REFUSED, **spent}
    return {**row, "error": str(error)}


def call_seed(seed: int, case: str, turn: int) -> int:
    """The seed of one call: the same whenever and in whatever order the calls are made, and below 2**31."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{turn}/{case}".encode()).digest()[:4]) >> 1


def finish(run: RunFolder, cases: Iterable[Case], model: str, spending: Spending) -> None:
    """Ends a run whose dialogues are over: dialogues.jsonl, scores.jsonl and metrics.json follow from its outputs.

    A dialogue that a server refused to go on with is scored as far as it came, and is none of those for judging.
    """
    talks = [(case, outputs_of(run.rows, case)) for case in cases]
    records = [dialogue(case, rows, model) for case, rows in talks]
    scores = [score_row(case, rows, record) for (case, rows), record in zip(talks, records, strict=True)]
    outputs = [row for _, rows in talks for row in rows]
    whole = [record for (_, rows), record in zip(talks, records, strict=True) if not is_refused(rows)]
    write_jsonl(run.path / "dialogues.jsonl", whole)
    run.finish([(row["case"], row["turn"]) for row in outputs], scores, spending.with_cost(metrics(scores, outputs)))


def unfinished(run: RunFolder, cases: Iterable[Case], failed: dict[str, EndpointError], spending: Spending) -> str:
    """What is said when some dialogues could not go on."""
    left = f"{len(failed)} of {run.manifest['data']['n']} dialogues are not over"
    if spending.reached:
        return spending.stopped(left)
    first = next(case.id for case in cases if case.id in failed)
    return (
        f"medllm: {left}, the first is {first}: {failed[first]}; "
        f"run the same command again, without --overwrite, for what {run.path} lacks"
    )


def told(out: str) -> str:
    """One line on a finished run."""
    figures = read_run(out)["metrics"]
    found = [f"{name} in {100 * share:.1f}%" for name, share in figures["findings"].items() if share]
    spent = [
        f"{role}: {use['calls']} calls, {use['retries']} repeated, {use['prompt_tokens']} + {use['completion_tokens']} tokens"
        for role, use in figures["usage"].items()
    ]
    size = f"{figures['n']} dialogues" + (f" of {figures['mean_rounds']:.1f} rounds on average" if figures["n"] else "")
    if figures["failed"]:
        size += f", {figures['failed']} more that a server refused to go on with"
    if "cost" in figures:
        spent.append(cost_text(figures["cost"]))
    return f"{size} ({', '.join(found) or 'no findings'}); {'; '.join(spent)}; run folder {out}"


def judged(out: str, judge: str, settings: Settings, spent: Fraction) -> int:
    """Has the dialogues of a finished run judged, into the folder `judge` inside it; returns the exit code.

    Args:
        spent: what the dialogues have cost.

    Raises:
        UserError: as for `medllm eval judge`.
    """
    # Only runs with a judge need the metric's packages.
    from medllm_hf.evaluation import judging
    from medllm_hf.evaluation.dialogue_files import read_dialogues

    asked = judging.Settings(**judge_flags(settings), spent_before=spent)
    return judging.judge_dialogues(read_dialogues(out), judge, Path(out) / "judge", asked, "dialogues.jsonl")
