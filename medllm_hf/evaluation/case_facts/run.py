"""A model writes the facts and the checklist of each case, resumable at the reply."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from medllm_hf.endpoints.client import ChatClient, EndpointError, Reply, RequestAccount, ask_all
from medllm_hf.errors import UserError
from medllm_hf.evaluation.case_facts.derive import Output, cases_json, derive, entry_of
from medllm_hf.evaluation.case_facts.prompts import CUT, TASKS, Task, prompt_record, response_format, task_messages
from medllm_hf.evaluation.case_facts.replies import (
    REFUSALS,
    is_cut,
    read_checklist,
    read_facts,
    unusable_checklist,
    unusable_facts,
)
from medllm_hf.evaluation.case_facts.settings import ATTEMPTS, Settings, check_settings
from medllm_hf.evaluation.consultations.cases import FACTS_FILE, Case, read_cases
from medllm_hf.evaluation.consultations.facts import KINDS, WEIGHTS, Fact
from medllm_hf.evaluation.consultations.patient import language
from medllm_hf.evaluation.consultations.privacy import check_personal_data
from medllm_hf.evaluation.costs.estimate import Estimate, Length, Seen, Volume, about, at_most, preview_costs, seen_reply
from medllm_hf.evaluation.costs.ledger import Spending
from medllm_hf.evaluation.costs.prices import cost_text, record_prices
from medllm_hf.evaluation.models import ModelSpec, serve_models
from medllm_hf.evaluation.runs.folder import RunFolder, open_run, outputs_in, read_run
from medllm_hf.evaluation.runs.records import read_record
from medllm_hf.folders import read_json, sha256, write_text

KEY = ("case", "task")
# The field of the metrics with the hash of the file of cases as it was written.
WRITTEN = "cases_sha256"
# What a server answers to a request that it will never take; from one that has answered others, it concerns these words.
REFUSED = (400, 413, 422)
# The most cases that a summary names.
SHOWN = 5
# As long as the longest reason why a reply cannot be used.
_REASON = "no fact in it is a quote of the case"
# A list of some ten facts or points, of some forty tokens each.
_WRITTEN = Length(400, 0.6)


@dataclass(frozen=True)
class Plan:
    """What a run will do: the cases, who writes, the settings, and the manifest that says all of it."""

    cases: tuple[Case, ...]
    party: ModelSpec
    settings: Settings
    manifest: dict

    def tasks(self, case: Case) -> list[Task]:
        """What the writer is asked of a case: nothing that it has brought."""
        own = case.facts
        lacks: dict[Task, bool] = {
            "facts": not (own and own.facts),
            "checklist": self.settings.checklist and not (own and own.checklist),
        }
        return [task for task in TASKS if lacks[task]]


def plan_run(cases: str, writer: str, settings: Settings) -> Plan:
    """The plan for the cases of a file.

    Args:
        writer: `URL#MODEL` of an endpoint, a checkpoint folder or a Hub id.

    Raises:
        UserError: settings out of range; cases, a checkpoint, an endpoint or its price that cannot be had; or personal data
            in cases that would leave this machine.
    """
    check_settings(settings)
    read, party = read_cases(cases), settings.party(writer)
    if not settings.allow_personal_data:
        texts = ((case.id, f"{case.description}\n{case.diagnosis}") for case in read.items)
        check_personal_data(texts, cases, [party])
    manifest = {
        "kind": "cases",
        "writer": party.record,
        "data": read.record,
        "settings": settings.record(),
        **record_prices(settings.prices, {"writer": party}, settings.budget),
    }
    return Plan(read.items, party, settings, manifest)


def write_facts(plan: Plan, out: str, overwrite: bool = False) -> str:
    """Writes the run folder `out` with the file of cases and facts, or goes on with it; returns why it is not whole, or "".

    A file of cases that is there stays as it is: it may have been edited.

    Raises:
        UserError: `out` holds something else, or an edited file that would be overwritten; a checkpoint cannot be served; or
            the endpoint refuses every request.
    """
    if overwrite:
        check_unedited(out)
    with open_run(out, plan.manifest, KEY, overwrite) as run, Spending(run, plan.settings.budget) as spending:
        failed = {} if run.finished else fill(run, plan, spending)
        if failed:
            first = next(case.id for case in plan.cases if case.id in failed)
            left = f"{len(failed)} of {len(plan.cases)} cases are not written"
            return spending.describe_missing(left, first, failed[first])
        rows = rows_of(run.rows, plan.cases, str(run.path))
        order = [(case.id, task) for case in plan.cases for task in TASKS if task in rows[case.id]]
        derived = derive([rows[case][task] for case, task in order], plan.cases)
        written = cases_json(derived.entries, plan.party.record["id"], prompt_record()["sha256"])
        # By this an edited file is known, which --overwrite does not remove.
        derived.metrics[WRITTEN] = hashlib.sha256(written.encode()).hexdigest()
        if not (run.path / FACTS_FILE).exists():
            write_text(run.path / FACTS_FILE, written)
        run.finish(list(order), list(map(dict, derived.scores)), spending.with_cost(derived.metrics))
    return ""


def check_unedited(out: str | Path) -> None:
    """Check that the file of cases in a run folder, which is to be overwritten, is as it was written.

    Raises:
        UserError: it may have been edited since.
    """
    file, metrics = Path(out) / FACTS_FILE, Path(out) / "metrics.json"
    if not file.is_file():
        return
    written = read_json(metrics).get(WRITTEN) if metrics.is_file() else None
    if sha256(file) != written:
        found = f"an edited {FACTS_FILE} in {out}" if written else f"a {FACTS_FILE} in {out} that may have been edited"
        raise UserError(found, "a file as it was written, for --overwrite", "move it elsewhere, or choose another folder")


def rows_of(rows: Mapping[tuple, dict], cases: Sequence[Case], where: str) -> dict[str, dict[Task, Output]]:
    """The outputs so far of each case by task.

    Raises:
        UserError: one of them is no output of such a run.
    """
    found: dict[str, dict[Task, Output]] = {case.id: {} for case in cases}
    for (case, task), row in rows.items():
        found[case][task] = read_record(row, Output, where)
    return found


def fill(run: RunFolder, plan: Plan, spending: Spending) -> dict[str, EndpointError]:
    """Adds to the run every reply that it lacks; returns the failures, by the id of the case that stays open.

    Raises:
        UserError: a checkpoint cannot be served, or the endpoint refuses every request.
    """
    rows = rows_of(run.rows, plan.cases, str(run.path))
    left = {case: rows[case.id] for case in plan.cases if lacking(plan, case, rows[case.id])}
    if not left:
        return {}
    total = sum(len(plan.tasks(case)) for case in plan.cases)
    with (
        serve_models([plan.party]) as (endpoint,),
        tqdm(total=total, initial=len(run.rows), unit="reply", disable=None) as bar,
    ):

        def keep(own: dict[Task, Output], task: Task, row: Output) -> None:
            run.append(dict(row))
            own[task] = row
            bar.update()

        async def work() -> dict[str, EndpointError]:
            account = spending.account("writer")
            async with ChatClient(endpoint) as client:
                if plan.party.endpoint:
                    await client.preflight(account)
                client.worded = bool(run.rows)
                return await ask_all(
                    {case.id: (case, own) for case, own in left.items()},
                    lambda _, one: _write(client, plan, one, keep, account),
                    endpoint.concurrency,
                )

        try:
            failed = asyncio.run(work())
        except EndpointError as error:
            if spending.reached:
                return {case.id: error for case in left}
            kept = f"{len(run.rows)} of {total} replies are kept"
            raise error.told("an endpoint that answers", "mend it", f" and run the same again, {kept}") from error
        for case, own in left.items():
            if case.id in failed and failed[case.id].status in REFUSED and run.rows:
                # The server will never take this case: outputs stand for what it lacks.
                refused = f"refused by the endpoint: {failed.pop(case.id).text}"
                for task in lacking(plan, case, own):
                    keep(own, task, _output(case, task, [], False, refused))
        return failed


def lacking(plan: Plan, case: Case, rows: Mapping[Task, Output]) -> list[Task]:
    """What the writer has still to be asked of a case; a checklist is made of facts, and without any there is none."""
    left = [task for task in plan.tasks(case) if task not in rows]
    if left == ["checklist"] and not entry_of(case, rows).facts:
        return []
    return left


async def _write(
    client: ChatClient,
    plan: Plan,
    one: tuple[Case, dict[Task, Output]],
    keep: Callable[[dict[Task, Output], Task, Output], None],
    account: RequestAccount | None,
) -> None:
    """Asks for all that a case lacks, one after another, since its checklist is made of its facts."""
    case, own = one
    while left := lacking(plan, case, own):
        task = left[0]
        facts = entry_of(case, own).facts
        replies: list[Reply] = []
        again: str | None = ""
        while len(replies) < ATTEMPTS and again is not None:
            replies.append(
                await client.complete(
                    task_messages(task, case, facts, again),
                    max_tokens=plan.settings.max_new_tokens,
                    temperature=plan.settings.temperature,
                    seed=call_seed(plan.settings.seed, case.id, task, len(replies)),
                    response_format=response_format(task),
                    account=account,
                )
            )
            cut = CUT[language(case)] if is_cut(replies[-1].text, replies[-1].finish) else None
            again = None if replies[-1].used_up else cut or unusable(task, case, replies[-1].text)
        replies.sort(key=lambda one: _worth(task, case, one))
        lost = any(one.used_up for one in replies) and unusable(task, case, replies[-1].text)
        error = f"reasoning alone, cut at {plan.settings.max_new_tokens} tokens" if lost else ""
        keep(own, task, _output(case, task, replies, "response_format" not in client.dropped, error))


def unusable(task: Task, case: Case, reply: str) -> str | None:
    """Why a reply cannot be used, None where it can."""
    return unusable_facts(read_facts(reply, case)) if task == "facts" else unusable_checklist(read_checklist(reply))


def _worth(task: Task, case: Case, reply: Reply) -> tuple[bool, bool, int]:
    """By this the best of the replies of a case is found: one that can be used, is whole, and says the most."""
    read = read_facts(reply.text, case).facts if task == "facts" else read_checklist(reply.text).points
    return unusable(task, case, reply.text) is None, not is_cut(reply.text, reply.finish), len(read)


def call_seed(seed: int, case: str, task: str, attempt: int) -> int:
    """The seed of one call: the same whenever and in whatever order the calls are made, and below 2**31."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{task}/{attempt}/{case}".encode()).digest()[:4]) >> 1


def _output(case: Case, task: Task, replies: Sequence[Reply], schema: bool, error: str) -> Output:
    counted = bool(replies) and all(reply.prompt_tokens is not None for reply in replies)
    row: Output = {
        "case": case.id,
        "task": task,
        "reply": replies[-1].text if replies else "",
        "finish": replies[-1].finish if replies else "refused",
        "attempts": [reply.text for reply in replies[:-1]],
        "schema": schema,
        "prompt_tokens": sum(reply.prompt_tokens or 0 for reply in replies) if counted else None,
        "completion_tokens": sum(reply.completion_tokens or 0 for reply in replies) if counted else None,
        "seconds": round(sum(reply.seconds for reply in replies), 3),
        "retries": sum(reply.retries for reply in replies),
    }
    return {**row, "error": error} if error else row


def preview(plan: Plan, out: str, overwrite: bool = False) -> str:
    """What is said in place of a run; nothing is sent or written.

    Raises:
        UserError: `out` holds something else, or an edited file that would be overwritten.
    """
    if overwrite:
        check_unedited(out)
    given = outputs_in(out, plan.manifest, KEY, overwrite)
    rows, limit = rows_of(given, plan.cases, out), plan.settings.max_new_tokens
    seen: list[Seen] = []
    for case in plan.cases:
        for task, row in rows[case.id].items():
            facts = entry_of(case, rows[case.id]).facts
            if not row["attempts"] and (one := seen_reply(task_messages(task, case, facts), row["reply"], row)):
                seen.append(one)
    high, middle = at_most(limit), about(limit, _WRITTEN, seen)
    most = usual = Volume()
    for case in plan.cases:
        for task in lacking(plan, case, rows[case.id]) or []:
            # The longest list of facts that a reply within the limit can have.
            facts = entry_of(case, rows[case.id]).facts or (Fact("", "symptom", case.description),)
            messages, form = task_messages(task, case, facts), response_format(task)
            again = high.call(task_messages(task, case, facts, _REASON), form)
            most += sum([again] * (ATTEMPTS - 1), high.call(messages, form))
            usual += middle.call(messages, form)
    return preview_costs(out, plan.manifest, bool(given), {"writer": Estimate(most, usual)}, plan.settings.budget)


def run_summary(out: str | Path) -> str:
    """What is said of a finished run: the facts, what was refused, the cases without, and where the file is."""
    figures = read_run(out)["metrics"]
    lines = [f"{figures['n']} cases, {figures['with_facts']} with facts: {_counts(figures['facts'], KINDS) or 'none'}"]
    if figures["points"]:
        lines.append(f"{figures['with_checklist']} with a checklist: {_counts(figures['points'], WEIGHTS)}")
    if figures["refused"]:
        lines.append("refused: " + _counts(figures["refused"], REFUSALS))
    if figures["unusable"]:
        first, reasons = next(iter(figures["unusable"].items()))
        lines.append(f"{len(figures['unusable'])} cases lack some, the first is {first}: {', '.join(reasons.values())}")
    if figures["incomplete"]:
        count, ids = len(figures["incomplete"]), ", ".join(figures["incomplete"][:SHOWN])
        lines.append(f"{count} cases are incomplete, since replies were cut, such as {ids}: raise --max-new-tokens")
    cost = f", {cost_text(figures['cost']).en}" if "cost" in figures else ""
    file = Path(out) / FACTS_FILE
    lines.append(f"{figures['usage']['writer']['calls']} replies{cost}; {file}: read and edit it before it is used")
    return "\n".join(lines)


def _counts(counts: Mapping[str, int], names: Iterable[str]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in names if name in counts)


def no_facts_text(out: str | Path) -> str:
    """What is said where a run has written no fact of any case; "" where it has."""
    figures = read_run(out)["metrics"]
    if figures["with_facts"]:
        return ""
    reasons = Counter(reason for lacking in figures["unusable"].values() for reason in lacking.values())
    why = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(SHOWN))
    return f"no facts of any of {figures['n']} cases: {why}; take another writer, or look at the replies in {out}/outputs.jsonl"
