"""The verb `eval pair`: a judge compares two systems on the same cases, in both orders, resumable at the reply."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.ledger import Spending
from medllm_hf.evaluation.costs.prices import cost_text, priced
from medllm_hf.evaluation.judging.derive import load_metric
from medllm_hf.evaluation.judging.dialogues import read_dialogues, record
from medllm_hf.evaluation.judging.requests import Asking, form_of, judge_estimate
from medllm_hf.evaluation.judging.run import KEY, expected, fill, missing, outputs_of
from medllm_hf.evaluation.judging.settings import Settings, check_settings
from medllm_hf.evaluation.preferences.canaries import pair_canaries
from medllm_hf.evaluation.preferences.derive import ORDERS, output_id, output_ids, pair_metrics, pair_rows
from medllm_hf.evaluation.runs.folder import open_run, outputs_in, read_run
from medllm_hf.folders import read_json


@dataclass(frozen=True)
class Side:
    """One of the two systems.

    Attributes:
        dialogues: By case, source/case_id.
        source: What the manifest calls the file or run that they are from.
        patient: Who the simulated patient was, where that is known.
    """

    name: str
    dialogues: dict[str, dict]
    source: str
    patient: str | None


@dataclass(frozen=True)
class _Asked:
    """What `fill` asks of a metric, for the turns of two dialogues in the place of one's."""

    metric: object

    def messages(self, turns, rubric, language, reference, form, again):
        return self.metric.pair_messages(*turns, language, reference, form, again)

    def response_format(self, rubric, reference):
        return self.metric.pair_response_format()

    def verdict(self, reply, rubric, reference):
        return self.metric.pair_verdict(reply)


def pair(first: str, second: str, judge: str, out: str, overwrite: bool = False, dry_run: bool = False, **flags) -> int:
    """Compares two systems and writes the run folder `out`, or goes on with it; returns the exit code.

    Args:
        first, second: the dialogues of one system each, as `read_dialogues` takes them; systems meet on cases of one id.
        judge: `URL#MODEL` of an endpoint, a checkpoint folder or a Hub id.
        dry_run: prints what the run would cost, and neither sends nor writes anything.
        flags: the fields of `Settings`.

    Raises:
        UserError: settings out of range; dialogues of several systems, two on one case, or no case in common; a checkpoint or
            an endpoint that cannot be had; `out` holds something else; or the endpoint refuses every request.
    """
    settings = Settings(**flags)
    check_settings(settings, "eval pair")
    sides = {"first": _side(first, "--first"), "second": _side(second, "--second")}
    pairs = matched(sides["first"], sides["second"])
    metric = load_metric()
    party = settings.party(judge)
    judged = {pair["id"] for pair in pairs}
    manifest = {
        "kind": "pair",
        "judge": party.record,
        "rubric": metric.pair_record(settings.language),
        "systems": {name: side.name for name, side in sides.items()},
        "data": {name: record([pair[name] for pair in pairs], side.source) for name, side in sides.items()},
        "patients": {name: side.patient for name, side in sides.items() if side.patient},
        **{f"only_{name}": [case for case in side.dialogues if case not in judged] for name, side in sides.items()},
        "settings": settings.record(),
        **priced(settings.prices, {"judge": party}, settings.budget),
    }
    low, asked = pair_canaries(), _Asked(metric)
    wanted = [*units(low, 1), *units(pairs, settings.samples)]
    if dry_run:
        rows = outputs_in(out, manifest, KEY, overwrite)
        asking = Asking(asked, settings, form_of(rows, wanted[0][0], party))
        print(expected(out, manifest, rows, judge_estimate(asking, wanted, rows), settings.budget))
        return 0
    with open_run(out, manifest, KEY, overwrite) as run, Spending(run, settings.budget) as spending:
        asking = Asking(asked, settings, form_of(outputs_of(run), wanted[0][0], party))
        failed = {} if run.finished else fill(run, wanted, party, asking, spending)
        if failed:
            print(missing(failed, run, spending), file=sys.stderr)
            return 1
        if not run.finished:
            rows = pair_rows(metric, pairs, run.rows, settings.samples)
            metrics = pair_metrics(rows, run.rows, pair_rows(metric, low, run.rows, 1), manifest)
            run.finish([*output_ids(low, 1), *output_ids(pairs, settings.samples)], rows, spending.with_cost(metrics))
    print(pair_summary(out))
    return 0


def matched(first: Side, second: Side) -> list[dict]:
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


def units(pairs: Sequence[dict], samples: int) -> list[tuple[dict, int]]:
    """What is to be asked, (what `fill` takes, sample): each pair in both orders, as often as there are samples."""
    found = []
    for one in pairs:
        turns = {"12": (one["first"]["turns"], one["second"]["turns"]), "21": (one["second"]["turns"], one["first"]["turns"])}
        for order in ORDERS:
            unit = {"id": output_id(one["id"], order), "turns": turns[order], "reference": one.get("reference")}
            found += [(unit, sample) for sample in range(samples)]
    return found


def pair_summary(out: str | Path) -> str:
    """What is said of a finished comparison: its headline, or why it has none, and the warnings."""
    run = read_run(out)
    metrics, systems = run["metrics"], run["manifest"]["systems"]
    lines = [f"warning: {text}" for text in metrics["warnings"]]
    if metrics["headline"] is None:
        lines.append("no headline figure: " + "; ".join(metrics["no_headline"]))
    else:
        found = metrics["headline"]
        low, high = (100 * end for end in found["interval"])
        counts = ", ".join(f"{found[name]} {name}" for name in ("wins", "ties", "losses", "inconsistent"))
        rate = f"overall win rate {100 * found['win_rate']:.1f}% (95% interval {low:.1f} to {high:.1f}%, n={found['n']}"
        rate += f", unscored {metrics['unscored']})"
        lines.append(f"{systems['first'] or '(none)'} against {systems['second'] or '(none)'}: {rate}, {counts}")
    cost = f", {cost_text(metrics['cost'])}" if "cost" in metrics else ""
    return "\n".join([*lines, f"{metrics['usage']['calls']} calls{cost}, run folder {out}"])


def _side(path: str, flag: str) -> Side:
    dialogues = read_dialogues(path)
    names = list(dict.fromkeys(one["model"] for one in dialogues))
    if len(names) > 1:
        found = f"dialogues of {len(names)} systems in {path} ({', '.join(names[:5])})"
        raise UserError(found, f"one system for {flag}", "name a file or run of that system alone")
    by_case: dict[str, dict] = {}
    for one in dialogues:
        case = "/".join(filter(None, (one["source"], one["case_id"])))
        if case in by_case:
            found = f"two dialogues on the case {case} in {path}: {by_case[case]['id']} and {one['id']}"
            raise UserError(found, f"one dialogue a case for {flag}", "leave one out, or mend case_id")
        by_case[case] = one
    manifest = read_json(Path(path) / "manifest.json") if (Path(path) / "manifest.json").is_file() else {}
    return Side(names[0], by_case, Path(path).name, manifest.get("patient", {}).get("id"))


def _pair(case: str, first: dict, second: dict) -> dict:
    known = [one["reference"] for one in (first, second) if "reference" in one]
    if any(not isinstance(one, str) for one in known):
        raise UserError(f"a reference on {case} that is no text", "notes on the case as text", "leave it out of the files")
    if len(set(known)) > 1:
        raise UserError(f"two references on {case}", "the same notes on the case on both sides", "mend one of the files")
    pair = {"id": case, "group": first["group"], "first": first, "second": second}
    return {**pair, "reference": known[0]} if known else pair
