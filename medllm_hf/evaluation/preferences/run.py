"""A judge compares two systems on the same cases, in both orders, resumable at the reply."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.privacy import check_personal_data
from medllm_hf.evaluation.consultations.transcript import Dialogue
from medllm_hf.evaluation.costs.estimate import preview_costs
from medllm_hf.evaluation.costs.ledger import Spending
from medllm_hf.evaluation.costs.prices import cost_text, record_prices
from medllm_hf.evaluation.judging.dialogues import read_dialogues, record
from medllm_hf.evaluation.judging.records import Output, Reference, Transcript
from medllm_hf.evaluation.judging.run import KEY, Asking, Outputs, fill, form_of, judge_estimate, missing, outputs_of, words_of
from medllm_hf.evaluation.judging.settings import Settings, check_settings
from medllm_hf.evaluation.models import ModelSpec
from medllm_hf.evaluation.preferences.canaries import pair_canaries
from medllm_hf.evaluation.preferences.derive import derive
from medllm_hf.evaluation.preferences.records import (
    ORDERS,
    SIDES,
    Manifest,
    Pair,
    PairOutput,
    output_id,
    output_ids,
)
from medllm_hf.evaluation.runs.compare import version_of
from medllm_hf.evaluation.runs.folder import RunFolder, open_run, outputs_in, read_run
from medllm_hf.evaluation.runs.records import read_record
from medllm_hf.evaluation.statistics.bootstrap import share_text
from medllm_hf.folders import read_json
from medllm_hf.metrics.llm_judge import scoring


@dataclass(frozen=True)
class System:
    """One of the two systems.

    Attributes:
        dialogues: By case, source/case_id.
        source: What the manifest calls the file or run that they are from.
        patient: Who the simulated patient was, where that is known.
    """

    name: str
    dialogues: dict[str, Dialogue]
    source: str
    patient: str | None


class _PairQuestions:
    """The metric's words on pairs, as `fill` asks them: the turns of two dialogues stand in the place of one's."""

    def messages(
        self, turns: list, rubric: str, language: str, reference: Reference, form: str, again: str | None
    ) -> list[dict[str, str]]:
        first, second = turns
        # `matched` refuses a reference that is no text.
        return scoring.pair_messages(first, second, language, cast(str | None, reference), form, again)

    def response_format(self, rubric: str, reference: Reference) -> dict:
        return scoring.pair_response_format()

    def verdict(self, reply: str, rubric: str, reference: Reference) -> tuple[dict[str, str] | None, str | None]:
        return scoring.pair_verdict(reply)


@dataclass(frozen=True)
class Plan:
    """What a comparison will do: the cases of both systems, who judges, the settings, and the manifest that says all of it."""

    pairs: list[Pair]
    party: ModelSpec
    settings: Settings
    manifest: dict

    @property
    def wanted(self) -> list[tuple[Transcript, int]]:
        """(what `fill` asks about, sample) of every reply, the canaries' first."""
        return [*units(pair_canaries(), 1), *units(self.pairs, self.settings.samples)]

    def asking(self, rows: Outputs) -> Asking:
        """How the judge is asked, where the run has the outputs `rows`."""
        return Asking(_PairQuestions(), self.settings, form_of(rows, self.wanted[0][0], self.party, self.settings.form))


def plan_run(first: str, second: str, judge: str, settings: Settings) -> Plan:
    """The plan of a comparison.

    Args:
        first, second: the dialogues of one system each, as `read_dialogues` takes them; systems meet on cases of one id.
        judge: `URL#MODEL` of an endpoint, a checkpoint folder or a Hub id.

    Raises:
        UserError: settings out of range; dialogues of several systems, two on one case, or no case in common; or a checkpoint
            or an endpoint that cannot be had.
    """
    check_settings(settings, "eval pair")
    systems = {"first": _system(first, "--first"), "second": _system(second, "--second")}
    pairs = matched(systems["first"], systems["second"])
    party = settings.party(judge)
    if not settings.allow_personal_data:
        for path, system in zip((first, second), systems.values(), strict=True):
            check_personal_data(words_of(system.dialogues.values()), path, [party])
    judged = {pair["id"] for pair in pairs}
    manifest = {
        "kind": "pair",
        "judge": party.record,
        "rubric": scoring.pair_record(settings.language),
        "systems": {side: system.name for side, system in systems.items()},
        "data": {side: record([dict(pair[side]) for pair in pairs], systems[side].source) for side in SIDES},
        "patients": {side: system.patient for side, system in systems.items() if system.patient},
        **{f"only_{side}": [case for case in one.dialogues if case not in judged] for side, one in systems.items()},
        "settings": settings.record(),
        **record_prices(settings.prices, {"judge": party}, settings.budget),
    }
    return Plan(pairs, party, settings, manifest)


def estimate_run(plan: Plan, out: str, overwrite: bool = False) -> str:
    """What the replies that the run folder `out` lacks would cost, in words; nothing is sent or written.

    Raises:
        UserError: `out` holds something else.
    """
    rows = cast(dict[tuple, Output], outputs_in(out, plan.manifest, KEY, overwrite))
    left = judge_estimate(plan.asking(rows), plan.wanted, rows)
    return preview_costs(out, plan.manifest, bool(rows), {"judge": left}, plan.settings.budget)


def compare_systems(plan: Plan, out: str, overwrite: bool = False) -> str:
    """Writes the run folder `out`, or goes on with it; returns why replies are missing, "" where none is.

    Raises:
        UserError: `out` holds something else; a checkpoint cannot be served; or the endpoint refuses every request.
    """
    with open_run(out, plan.manifest, KEY, overwrite) as run, Spending(run, plan.settings.budget) as spending:
        failed = {} if run.finished else fill(run, plan.wanted, plan.party, plan.asking(outputs_of(run)), spending)
        if failed:
            return missing(failed, spending)
        finish(run, plan, spending)
    return ""


def finish(run: RunFolder, plan: Plan, spending: Spending) -> None:
    """Ends a run that lacks no reply, or checks it: scores.jsonl and metrics.json follow from its outputs."""
    order = [*output_ids(pair_canaries(), 1), *output_ids(plan.pairs, plan.settings.samples)]
    run.check_keys(order)
    outputs = {key: read_record(row, PairOutput, str(run.path)) for key, row in run.rows.items()}
    # What requests without outputs have cost is in the ledger, which writes it into the manifest.
    unpriced = {name: value for name, value in run.manifest.items() if name != "prices"}
    derived = derive(read_record(unpriced, Manifest, str(run.path)), outputs, plan.pairs, version_of(run.metrics))
    run.finish(order, [dict(score.row()) for score in derived.scores], spending.with_cost(derived.metrics))


def matched(first: System, second: System) -> list[Pair]:
    """The cases of both sides in the order of the first: `{"id", "group", "first", "second"}`, with the "reference" if any.

    Raises:
        UserError: no case of both, or a reference that is no text or differs.
    """
    shared = [case for case in first.dialogues if case in second.dialogues]
    if not shared:
        examples = " and ".join(next(iter(side.dialogues)) for side in (first, second))
        do = "compare systems on the same cases, or mend case_id and source in the files"
        raise UserError(f"no case of both systems (such as {examples})", "dialogues on the same cases", do)
    return [_pair(case, first.dialogues[case], second.dialogues[case]) for case in shared]


def units(pairs: Sequence[Pair], samples: int) -> list[tuple[Transcript, int]]:
    """What is to be asked, (what `fill` takes, sample): each pair in both orders, as often as there are samples."""
    wanted: list[tuple[Transcript, int]] = []
    for one in pairs:
        turns = {"12": (one["first"]["turns"], one["second"]["turns"]), "21": (one["second"]["turns"], one["first"]["turns"])}
        for order in ORDERS:
            # The turns of both dialogues stand where `_PairQuestions` looks for them.
            unit = {"id": output_id(one["id"], order), "turns": turns[order], "reference": one.get("reference")}
            wanted += [(cast(Transcript, unit), sample) for sample in range(samples)]
    return wanted


def run_summary(out: str | Path) -> str:
    """What is said of a finished comparison: its warnings, and its headline where it has one."""
    run = read_run(out)
    metrics, systems = run["metrics"], run["manifest"]["systems"]
    lines = [f"warning: {text}" for text in metrics["warnings"]]
    if found := metrics["headline"]:
        ends = share_text(found["interval"], found["n"]).en
        counts = ", ".join(f"{found[name]} {name}" for name in ("wins", "ties", "losses", "inconsistent"))
        rate = f"overall win rate {100 * found['win_rate']:.1f}% (95% interval {ends}, n={found['n']}"
        rate += f", unscored {metrics['unscored']})"
        lines.append(f"{systems['first'] or '(none)'} against {systems['second'] or '(none)'}: {rate}, {counts}")
    cost = f", {cost_text(metrics['cost']).en}" if "cost" in metrics else ""
    return "\n".join([*lines, f"{metrics['usage']['calls']} calls{cost}, run folder {out}"])


def _system(path: str, flag: str) -> System:
    dialogues = read_dialogues(path)
    names = list(dict.fromkeys(one["model"] for one in dialogues))
    if len(names) > 1:
        found = f"dialogues of {len(names)} systems in {path} ({', '.join(names[:5])})"
        raise UserError(found, f"one system for {flag}", "name a file or run of that system alone")
    by_case: dict[str, Dialogue] = {}
    for one in dialogues:
        case = "/".join(filter(None, (one["source"], one["case_id"])))
        if case in by_case:
            found = f"two dialogues on the case {case} in {path}: {by_case[case]['id']} and {one['id']}"
            raise UserError(found, f"one dialogue a case for {flag}", "leave one out, or mend case_id")
        by_case[case] = one
    manifest = read_json(Path(path) / "manifest.json") if (Path(path) / "manifest.json").is_file() else {}
    return System(names[0], by_case, Path(path).name, manifest.get("patient", {}).get("id"))


def _pair(case: str, first: Dialogue, second: Dialogue) -> Pair:
    known = [one["reference"] for one in (first, second) if "reference" in one]
    texts = [one for one in known if isinstance(one, str)]
    if len(texts) < len(known):
        raise UserError(f"a reference on {case} that is no text", "notes on the case as text", "leave it out of the files")
    if len(set(texts)) > 1:
        raise UserError(f"two references on {case}", "the same notes on the case on both sides", "mend one of the files")
    pair: Pair = {"id": case, "group": first["group"], "first": first, "second": second}
    return {**pair, "reference": texts[0]} if texts else pair
