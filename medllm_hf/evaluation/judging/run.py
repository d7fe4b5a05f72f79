"""A run in which a judge model scores dialogues by a rubric, resumable at the reply: what is asked, what that would cost, and
what becomes an output."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

from tqdm import tqdm

from medllm_hf.endpoints.address import Endpoint
from medllm_hf.endpoints.client import LIMIT_FLAG, ChatClient, EndpointError, RequestAccount, ask_all
from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.privacy import check_personal_data
from medllm_hf.evaluation.costs.estimate import Estimate, Guess, Seen, Volume, about, at_most, preview_costs, seen_reply
from medllm_hf.evaluation.costs.estimate import verdict as usual_verdict
from medllm_hf.evaluation.costs.ledger import Spending
from medllm_hf.evaluation.costs.prices import cost_text, record_prices
from medllm_hf.evaluation.judging.canaries import canaries
from medllm_hf.evaluation.judging.cases import case_texts, with_checklists, with_hash, write_texts
from medllm_hf.evaluation.judging.derive import derive, usage
from medllm_hf.evaluation.judging.dialogues import Origin, record
from medllm_hf.evaluation.judging.records import Dialogue, JudgeManifest, Output, Reference, Transcript
from medllm_hf.evaluation.judging.settings import ATTEMPTS, Form, Settings, check_settings
from medllm_hf.evaluation.models import ModelSpec, serve_models
from medllm_hf.evaluation.runs.compare import version_of
from medllm_hf.evaluation.runs.folder import RunFolder, open_run, outputs_in, read_run
from medllm_hf.evaluation.runs.headline import no_headline_text
from medllm_hf.evaluation.runs.records import read_records
from medllm_hf.evaluation.statistics.bootstrap import ends_text
from medllm_hf.metrics.llm_judge import scoring

KEY = ("id", "sample")
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

    def fields(self, one: Transcript) -> list[str]:
        """The criteria, or points of a checklist, that a verdict on a dialogue has."""
        schema = self.questions.response_format(self.settings.rubric, one.get("reference"))["json_schema"]["schema"]
        return [name for name in schema["required"] if name != "reasons"]

    def _longest_reason(self, one: Transcript) -> str:
        named = self.fields(one)
        lacking = "no score for " + ", ".join(name for name in named if name != min(named, key=len))
        return max(lacking, _REASON, key=len)


def form_of(rows: Outputs, first: Transcript, party: ModelSpec, form: Form) -> str:
    """The form of verdicts to ask for: "json", or "lines" where the first canary's reply shows that no schema is taken."""
    if form == "lines":
        return form
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
    high = at_most(limit)
    left = [[one for one, sample in units if (one["id"], sample) not in rows] for units in (wanted, usual or wanted)]
    return Estimate(
        sum((asking.volume(one, high, ATTEMPTS) for one in left[0]), Volume()),
        sum((asking.volume(one, about(limit, usual_verdict(len(asking.fields(one))), seen), 1) for one in left[1]), Volume()),
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
        client.worded = bool(lacking.rows)
        if (lacking.first["id"], 0) not in lacking.rows:
            name, sample = next(iter(waiting))
            keep(await _reply(client, waiting.pop((name, sample)), sample, asking, account))
        formed = replace(asking, form=form_of(lacking.rows, lacking.first, party, asking.settings.form))

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
        if scores is not None or reply.used_up:
            break
        unusable.append(reply.text)
    counted = all(reply.prompt_tokens is not None for reply in found)
    row: Output = {
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
    if reply.used_up:
        row["error"] = f"reasoning alone, cut at {settings.max_new_tokens} tokens: raise {LIMIT_FLAG}"
    return row


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


@dataclass(frozen=True)
class Plan:
    """What a judge run will do: its manifest, who judges, the canaries and dialogues as the metric takes them, and what the
    judge is told of the cases, by the id of the dialogue."""

    settings: Settings
    party: ModelSpec
    manifest: dict
    first: list[Transcript]
    dialogues: list[Dialogue]
    told: dict[str, str]

    def wanted(self, samples: int) -> list[tuple[Transcript, int]]:
        """(dialogue as the judge reads it, sample) of every reply, the canaries' first."""
        told = {name: {"reference": text} for name, text in self.told.items()}
        read = [cast(Transcript, {**one, **told.get(one["id"], {})}) for one in self.dialogues]
        return [(one, 0) for one in self.first] + [(one, sample) for one in read for sample in range(samples)]


@dataclass(frozen=True)
class Ended:
    """What is said at the end of a run.

    Attributes:
        failed: Whether replies are missing, so that it goes on with the next command.
        lacks: Why a finished run has no headline figure, in one line; "" where it has one.
    """

    text: str
    failed: bool = False
    lacks: str = ""


def plan_of(dialogues: Sequence[Dialogue], judge: str, settings: Settings, origin: Origin) -> Plan:
    """The plan for dialogues.

    Args:
        judge: `URL#MODEL` of an endpoint, a checkpoint folder or a Hub id.

    Raises:
        UserError: settings out of range; a reference that does not suit the rubric; a dialogue on none of the cases; a
            checkpoint, an endpoint or its price that cannot be had.
    """
    check_settings(settings, "eval judge")
    cases = origin.cases
    if cases and settings.rubric == "checklist":  # its points are what the judge goes by, and all that it sees of the case
        dialogues, cases = with_checklists(dialogues, cases), None
    read = [_with_reference(one, settings.rubric) for one in dialogues]
    told = case_texts(read, cases, settings.language) if cases else {}
    dialogues = [with_hash(one, told[one["id"]]) if cases else one for one in read]
    party = settings.party(judge)
    if not settings.allow_personal_data:
        check_personal_data(words_of(dialogues, told), origin.name, [party])
    manifest = {
        "kind": "judge",
        "judge": party.record,
        "rubric": scoring.rubric_record(settings.rubric, settings.language),
        "data": record(dialogues, origin.name),
        "settings": settings.record(),
        "systems": list(dict.fromkeys(dialogue["model"] for dialogue in dialogues)),
        **({"cases": cases.record} if cases else {}),
        **({"patient_gate": origin.gate} if origin.gate else {}),
        **({"benchmark": dict(origin.benchmark)} if origin.benchmark else {}),
        **record_prices(settings.prices, {"judge": party}, settings.budget),
    }
    return Plan(settings, party, manifest, canaries(settings.rubric == "checklist", bool(cases)), dialogues, told)


def words_of(dialogues: Iterable[Dialogue], told: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
    """Yields (id, words) of each dialogue, with what the judge is told of its case."""
    for one in dialogues:
        turns = [turn["content"] for turn in one["turns"]]
        known = (told or {}).get(one["id"]) or json.dumps(one.get("reference", ""), ensure_ascii=False)
        yield one["id"], "\n".join([*turns, known])


def run_plan(plan: Plan, out: str | Path, overwrite: bool = False) -> Ended:
    """Judges into the run folder `out`, or goes on with it; the run is finished when no reply failed.

    Raises:
        UserError: `out` holds something else, a checkpoint cannot be served, or the endpoint refuses every request.
    """
    settings, wanted = plan.settings, plan.wanted(plan.settings.samples)
    with (
        open_run(out, plan.manifest, KEY, overwrite) as run,
        Spending(run, settings.budget, settings.spent_before) as spending,
    ):
        asking = Asking(scoring, settings, form_of(outputs_of(run), plan.first[0], plan.party, settings.form))
        failed = {} if run.finished else fill(run, wanted, plan.party, asking, spending)
        if failed:
            return Ended(missing(failed, spending), failed=True)
        order = [(one["id"], sample) for one, sample in wanted]
        run.check_keys(order)
        if plan.told and not run.finished:
            write_texts(run.path, plan.told)
        outputs = read_records(run.rows.values(), Output, f"{run.path}/outputs.jsonl")
        # The manifest gets what was spent beside the outputs, from which the cost follows with them.
        spending.with_cost({"usage": usage(outputs)})
        derived = derive(cast(JudgeManifest, run.manifest), outputs, plan.dialogues, version_of(run.metrics))
        run.finish(order, list(map(dict, derived.scores)), derived.metrics)
    return Ended(summary(out), lacks=no_headline_text(derived.metrics["no_headline"]))


def estimate(plan: Plan, rows: Outputs, usual: Sequence[Dialogue] | None = None) -> Estimate:
    """What the judge's replies that are not among `rows` would cost; `usual` are the dialogues as they are about to be."""
    settings = plan.settings
    asking = Asking(scoring, settings, form_of(rows, plan.first[0], plan.party, settings.form))
    expected = plan if usual is None else replace(plan, dialogues=list(usual))
    return judge_estimate(asking, plan.wanted(settings.samples), rows, expected.wanted(settings.samples))


def outputs_of(run: RunFolder) -> dict[tuple, Output]:
    """The outputs by (id, sample) that this verb has written into an open run."""
    return cast(dict[tuple, Output], run.rows)


def preview(plan: Plan, out: str | Path, overwrite: bool = False) -> str:
    """What is said in place of a run; nothing is sent or written.

    Raises:
        UserError: `out` holds something else.
    """
    rows = cast(dict[tuple, Output], outputs_in(out, plan.manifest, KEY, overwrite))
    return preview_costs(out, plan.manifest, bool(rows), {"judge": estimate(plan, rows)}, plan.settings.budget)


def missing(failed: Mapping[tuple[str, int], EndpointError], spending: Spending) -> str:
    """What is said when some replies did not come."""
    (name, sample), error = next(iter(failed.items()))
    return spending.describe_missing(f"{len(failed)} replies of the judge are missing", f"{name} sample {sample}", error)


def fill(
    run: RunFolder, wanted: Sequence[tuple[Transcript, int]], party: ModelSpec, asking: Asking, spending: Spending
) -> dict[tuple[str, int], EndpointError]:
    """Adds to the run every reply that it lacks, in the order of `wanted`; returns those that failed.

    Raises:
        UserError: a checkpoint cannot be served, or the endpoint refuses every request.
    """
    left = [(one, sample) for one, sample in wanted if (one["id"], sample) not in run.rows]
    if not left:
        return {}
    account = spending.account("judge")
    with (
        serve_models([party]) as (endpoint,),
        tqdm(total=len(wanted), initial=len(wanted) - len(left), unit="reply", disable=None) as bar,
    ):

        def keep(row: Output) -> None:
            run.append(dict(row))
            bar.update()

        try:
            lacking = Unanswered(left, wanted[0][0], outputs_of(run))
            return asyncio.run(ask_judge(endpoint, party, lacking, asking, keep, account))
        except EndpointError as error:
            if spending.reached:
                return {(one["id"], sample): error for one, sample in left if (one["id"], sample) not in run.rows}
            kept = f"{len(run.rows)} of {len(wanted)} replies are kept"
            raise error.told("an endpoint that answers", "mend it", f" and run the same again, {kept}") from error


def _with_reference(one: Dialogue, rubric: str) -> Dialogue:
    """The dialogue with its reference as the metric takes it."""
    try:
        reference = scoring.reference(one.get("reference"), rubric)
    except ValueError as error:
        if rubric == "checklist" and not one.get("reference"):
            found, do = f"no points for the rubric checklist in {one['id']}", "name the cases with their checklists by --cases"
            raise UserError(found, "a checklist of each case", do) from error
        raise UserError(f"{one['id']}: {error}", "a reference that suits the rubric", "mend the file or --rubric") from error
    return one if reference is None else {**one, "reference": reference}


def summary(out: str | Path) -> str:
    """What is said of a finished judge run: its warnings, and its headline where it has one."""
    metrics = read_run(out)["metrics"]
    lines = [f"warning: {text}" for text in metrics["warnings"]]
    for name, found in (metrics["headline"] or {}).items():
        counts = f"n={found['n']}, unscored {found['unscored']}"
        ends = ends_text(found["interval"], found["n"] - found["unscored"]).en
        lines.append(f"{name}: overall {found['overall']:.2f} (95% interval {ends}, {counts})")
    cost = f", {cost_text(metrics['cost']).en}" if "cost" in metrics else ""
    return "\n".join([*lines, f"{metrics['usage']['calls']} calls{cost}, run folder {out}"])
