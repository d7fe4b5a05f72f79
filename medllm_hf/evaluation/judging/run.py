"""A run in which a judge model scores dialogues by a rubric, resumable at the reply."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

from tqdm import tqdm

from medllm_hf.endpoints.client import EndpointError
from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.estimate import Estimate, spent_in, told
from medllm_hf.evaluation.costs.ledger import Spending
from medllm_hf.evaluation.costs.prices import cost_text, priced
from medllm_hf.evaluation.judging.canaries import canaries
from medllm_hf.evaluation.judging.derive import derive, usage
from medllm_hf.evaluation.judging.dialogues import record
from medllm_hf.evaluation.judging.records import Dialogue, JudgeManifest, Output, Transcript
from medllm_hf.evaluation.judging.requests import Asking, Outputs, Unanswered, ask_judge, form_of, judge_estimate
from medllm_hf.evaluation.judging.settings import Settings, check_settings
from medllm_hf.evaluation.models import ModelSpec, serve_models
from medllm_hf.evaluation.runs.folder import RunFolder, open_run, outputs_in, read_run
from medllm_hf.metrics.llm_judge import scoring

KEY = ("id", "sample")


@dataclass(frozen=True)
class Plan:
    """What a judge run will do: its manifest, who judges, and the canaries and dialogues as the metric takes them."""

    settings: Settings
    party: ModelSpec
    manifest: dict
    first: list[Transcript]
    dialogues: list[Dialogue]

    def wanted(self, samples: int) -> list[tuple[Transcript, int]]:
        """(dialogue, sample) of every reply, the canaries' first."""
        return [(one, 0) for one in self.first] + [(one, sample) for one in self.dialogues for sample in range(samples)]


@dataclass(frozen=True)
class Ended:
    """What is said at the end of a run; `failed` where replies are missing, so that it goes on with the next command."""

    text: str
    failed: bool = False


def plan_of(dialogues: Sequence[Dialogue], judge: str, settings: Settings, name: str) -> Plan:
    """The plan for dialogues that the manifest calls `name`.

    Args:
        judge: `URL#MODEL` of an endpoint, a checkpoint folder or a Hub id.

    Raises:
        UserError: settings out of range; a reference that does not suit the rubric; a checkpoint, an endpoint or its price
            that cannot be had.
    """
    check_settings(settings, "eval judge")
    dialogues = [_with_reference(one, settings.rubric) for one in dialogues]
    party = settings.party(judge)
    manifest = {
        "kind": "judge",
        "judge": party.record,
        "rubric": scoring.rubric_record(settings.rubric, settings.language),
        "data": record(dialogues, name),
        "settings": settings.record(),
        "systems": list(dict.fromkeys(dialogue["model"] for dialogue in dialogues)),
        **priced(settings.prices, {"judge": party}, settings.budget),
    }
    return Plan(settings, party, manifest, canaries(settings.rubric == "checklist"), dialogues)


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
        asking = Asking(scoring, settings, form_of(outputs_of(run), plan.first[0], plan.party))
        failed = {} if run.finished else fill(run, wanted, plan.party, asking, spending)
        if failed:
            return Ended(missing(failed, run, spending), failed=True)
        if not run.finished:
            # The manifest gets what was spent beside the outputs, from which the cost follows with them.
            spending.with_cost({"usage": usage(run.rows.values())})
            derived = derive(cast(JudgeManifest, run.manifest), outputs_of(run).values(), plan.dialogues)
            run.finish([(one["id"], sample) for one, sample in wanted], list(map(dict, derived.scores)), derived.metrics)
    return Ended(summary(out))


def estimate(plan: Plan, rows: Outputs, usual: Sequence[Dialogue] | None = None) -> Estimate:
    """What the judge's replies that are not among `rows` would cost; `usual` are the dialogues as they are about to be."""
    settings = plan.settings
    asking = Asking(scoring, settings, form_of(rows, plan.first[0], plan.party))
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
    return expected(out, plan.manifest, rows, estimate(plan, rows), plan.settings.budget)


def expected(out: str | Path, manifest: dict, rows: Mapping, left: Estimate, budget: float | None) -> str:
    """What is said in place of a run with the outputs `rows`, of which `left` is to be done."""
    prices = {name: value for name, value in manifest.items() if name == "prices"}
    spent = spent_in(out, prices["prices"]) if prices and rows else Fraction(0)
    return told({"judge": left}, prices, spent, budget)


def missing(failed: Mapping[tuple[str, int], EndpointError], run: RunFolder, spending: Spending) -> str:
    """What is said when some replies did not come."""
    left = f"{len(failed)} replies of the judge are missing"
    if spending.reached:
        return spending.stopped(left)
    (name, sample), error = next(iter(failed.items()))
    do = f"run the same command again, without --overwrite, for what {run.path} lacks"
    return f"medllm: {left}, the first is {name} sample {sample}: {error}; {do}"


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
            raise UserError(str(error), "an endpoint that answers", f"mend it and run the same again, {kept}") from error


def _with_reference(one: Dialogue, rubric: str) -> Dialogue:
    """The dialogue with its reference as the metric takes it."""
    try:
        reference = scoring.reference(one.get("reference"), rubric)
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
    cost = f", {cost_text(metrics['cost'])}" if "cost" in metrics else ""
    return "\n".join([*lines, f"{metrics['usage']['calls']} calls{cost}, run folder {out}"])
