"""The verb `eval judge`: a judge model scores dialogues by a rubric, resumable at the reply."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from tqdm import tqdm

from medllm_hf.endpoints.address import Endpoint
from medllm_hf.endpoints.client import EndpointError
from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.estimate import Estimate, spent_in, told
from medllm_hf.evaluation.costs.ledger import Spending
from medllm_hf.evaluation.costs.prices import cost_text, priced
from medllm_hf.evaluation.judging.canaries import canaries
from medllm_hf.evaluation.judging.derive import load_metric, metrics_of, score_rows
from medllm_hf.evaluation.judging.dialogues import read_dialogues, record
from medllm_hf.evaluation.judging.estimate import Asking, judge_estimate
from medllm_hf.evaluation.judging.requests import ATTEMPTS, form_of, replies
from medllm_hf.evaluation.models import ModelSpec, parse_model, serve_models
from medllm_hf.evaluation.runs.folder import RunFolder, open_run, outputs_in, read_run

KEY = ("id", "sample")


@dataclass(frozen=True)
class Settings:
    """How dialogues are judged.

    Attributes:
        samples: Replies for each dialogue, each with a seed of its own made from `seed`, the dialogue and its number.
        failure_limit: The highest share of unscored replies with which a headline figure is given.
        concurrency: The most requests at once.
        timeout: Seconds for one request.
        key_env: The variable with the key of an endpoint.
        enable_thinking: What the judge's chat template is told; None tells it nothing.
        prices: The file of prices, by which costs are reckoned.
        budget: What the command may spend at most, `spent_before` included, in the currency of the prices.
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
    enable_thinking: bool | None = None
    prices: str | None = None
    budget: float | None = None
    spent_before: Fraction = Fraction(0)

    def record(self) -> dict:
        """What the manifest says under "settings": all that may change an output or a figure."""
        names = ("samples", "temperature", "seed", "max_new_tokens", "failure_limit")
        thinking = {} if self.enable_thinking is None else {"enable_thinking": self.enable_thinking}
        return {**{name: getattr(self, name) for name in names}, "attempts": ATTEMPTS, **thinking}

    def party(self, judge: str) -> ModelSpec:
        """The judge that `URL#MODEL`, a checkpoint folder or a Hub id names."""
        bounds = {"concurrency": self.concurrency, "timeout": self.timeout}
        return parse_model(judge, self.key_env, **bounds, enable_thinking=self.enable_thinking)


def judge(dialogues: str, judge: str, out: str, overwrite: bool = False, dry_run: bool = False, **flags) -> int:
    """Judges the dialogues of a file or run and writes the run folder `out`, or goes on with it; returns the exit code.

    Args:
        judge: `URL#MODEL` of an endpoint, a checkpoint folder or a Hub id.
        dry_run: prints what the run would cost, and neither sends nor writes anything.
        flags: the fields of `Settings`.

    Raises:
        UserError: settings out of range; dialogues, a checkpoint or an endpoint that cannot be had; `out` holds something
            else; or the endpoint refuses every request.
    """
    read, settings, name = read_dialogues(dialogues), Settings(**flags), Path(dialogues).name
    if not dry_run:
        return judge_dialogues(read, judge, out, settings, name, overwrite)
    plan = plan_of(read, judge, settings, name)
    rows = outputs_in(out, plan.manifest, KEY, overwrite)
    print(expected(out, plan.manifest, rows, estimate(plan, settings, rows), settings.budget))
    return 0


def expected(out: str | Path, manifest: dict, rows: dict[tuple, dict], left: Estimate, budget: float | None) -> str:
    """What is printed in place of a run with the outputs `rows`, of which `left` is to be done."""
    prices = {name: value for name, value in manifest.items() if name == "prices"}
    spent = spent_in(out, prices["prices"]) if prices and rows else Fraction(0)
    return told({"judge": left}, prices, spent, budget)


@dataclass(frozen=True)
class Plan:
    """What a judge run will do: its manifest, who judges, and the canaries and dialogues as the metric takes them."""

    metric: object
    party: ModelSpec
    manifest: dict
    first: list[dict]
    dialogues: list[dict]

    def wanted(self, samples: int) -> list[tuple[dict, int]]:
        """(dialogue, sample) of every reply, the canaries' first."""
        return [(one, 0) for one in self.first] + [(one, sample) for one in self.dialogues for sample in range(samples)]


def plan_of(dialogues: Sequence[dict], judge: str, settings: Settings, name: str) -> Plan:
    """The plan for dialogues that the manifest calls `name`.

    Raises:
        UserError: as for `judge`.
    """
    check(settings, "eval judge")
    metric = load_metric()
    dialogues = [_with_reference(one, metric, settings.rubric) for one in dialogues]
    party = settings.party(judge)
    manifest = {
        "kind": "judge",
        "judge": party.record,
        "rubric": metric.rubric_record(settings.rubric, settings.language),
        "data": record(dialogues, name),
        "settings": settings.record(),
        "systems": list(dict.fromkeys(dialogue["model"] for dialogue in dialogues)),
        **priced(settings.prices, {"judge": party}, settings.budget),
    }
    return Plan(metric, party, manifest, canaries(settings.rubric == "checklist"), dialogues)


def estimate(plan: Plan, settings: Settings, rows: dict[tuple, dict], usual: Sequence[dict] | None = None) -> Estimate:
    """What the judge's replies that are not among `rows` would cost; `usual` are the dialogues as they are about to be."""
    form = form_of(rows, plan.first[0], plan.party)
    asking = Asking(plan.metric, settings.rubric, settings.language, form, settings.max_new_tokens, ATTEMPTS)
    expected = plan if usual is None else replace(plan, dialogues=list(usual))
    return judge_estimate(asking, plan.wanted(settings.samples), rows, expected.wanted(settings.samples))


def judge_dialogues(
    dialogues: Sequence[dict], judge: str, out: str | Path, settings: Settings, name: str, overwrite: bool = False
) -> int:
    """Judges dialogues, which the manifest calls `name`, into the run folder `out`, or goes on with it; returns the exit code.

    The run is finished when no reply failed.

    Raises:
        UserError: as for `judge`.
    """
    plan = plan_of(dialogues, judge, settings, name)
    metric, samples = plan.metric, settings.samples
    wanted = plan.wanted(samples)
    with (
        open_run(out, plan.manifest, KEY, overwrite) as run,
        Spending(run, settings.budget, settings.spent_before) as spending,
    ):
        failed = {} if run.finished else fill(run, wanted, plan.party, metric, settings, spending)
        if failed:
            print(missing(failed, run, spending), file=sys.stderr)
            return 1
        if not run.finished:
            scores = score_rows(metric, plan.dialogues, run.rows, settings.rubric, samples)
            low = score_rows(metric, plan.first, run.rows, settings.rubric, 1)
            figures = metrics_of(metric, scores, run.rows, low, plan.manifest)
            run.finish([(one["id"], sample) for one, sample in wanted], scores, spending.with_cost(figures))
    print(summary(out))
    return 0


def missing(failed: dict[tuple[str, int], EndpointError], run: RunFolder, spending: Spending) -> str:
    """What is said when some replies did not come."""
    left = f"{len(failed)} replies of the judge are missing"
    if spending.reached:
        return spending.stopped(left)
    (name, sample), error = next(iter(failed.items()))
    do = f"run the same command again, without --overwrite, for what {run.path} lacks"
    return f"medllm: {left}, the first is {name} sample {sample}: {error}; {do}"


def fill(
    run: RunFolder, wanted: Sequence[tuple[dict, int]], party: ModelSpec, metric, settings: Settings, spending: Spending
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

        def keep(row: dict) -> None:
            run.append(row)
            bar.update()

        try:
            return asyncio.run(replies(endpoint, party, run.rows, wanted[0][0], left, metric, settings, keep, account))
        except EndpointError as error:
            if spending.reached:
                return {(one["id"], sample): error for one, sample in left if (one["id"], sample) not in run.rows}
            kept = f"{len(run.rows)} of {len(wanted)} replies are kept"
            raise UserError(str(error), "an endpoint that answers", f"mend it and run the same again, {kept}") from error


def check(settings: Settings, verb: str) -> None:
    """Returns nothing when the settings of a verb are in range.

    Raises:
        UserError: one is not.
    """
    checks = (
        (settings.samples < 1, f"--samples {settings.samples}", "1 or more"),
        (settings.temperature < 0, f"--temperature {settings.temperature:g}", "0 or more"),
        (settings.max_new_tokens < 1, f"--max-new-tokens {settings.max_new_tokens}", "1 or more"),
        (not 0 <= settings.failure_limit <= 1, f"--failure-limit {settings.failure_limit:g}", "a share from 0 to 1"),
    )
    for wrong, found, expected in checks:
        if wrong:
            raise UserError(found, expected, f"see `medllm {verb} --help`")


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
    cost = f", {cost_text(metrics['cost'])}" if "cost" in metrics else ""
    return "\n".join([*lines, f"{metrics['usage']['calls']} calls{cost}, run folder {out}"])
