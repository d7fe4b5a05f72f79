"""Outputs of a judge that compared two systems → outcomes by case → metrics. Nothing here asks a model.

Each case is judged in both orders. A system wins a criterion where both orders prefer it; it is a tie where both say so or
one does and the other prefers a system; where the orders prefer different systems, the outcome is inconsistent.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy

from medllm_hf.evaluation.consultations.transcript import Dialogue
from medllm_hf.evaluation.costs.prices import with_cost
from medllm_hf.evaluation.judging.derive import Unscored, family, usage
from medllm_hf.evaluation.judging.reasons import OWN_FAMILY, OWN_PATIENT, UNSCORED, unscored_text
from medllm_hf.evaluation.preferences import phrases
from medllm_hf.evaluation.preferences.canaries import is_passed, pair_canaries
from medllm_hf.evaluation.preferences.records import (
    ORDERS,
    SIDES,
    Manifest,
    Outputs,
    Pair,
    PairScore,
    output_id,
    pairs_in,
)
from medllm_hf.evaluation.runs.compare import VERSION
from medllm_hf.evaluation.statistics.bootstrap import drawn_sums, percentiles, quotient, share_interval
from medllm_hf.evaluation.statistics.tests import mcnemar
from medllm_hf.metrics.llm_judge import scoring
from medllm_hf.reporting.phrases import COMMA, Text, joined
from medllm_hf.reporting.terms import term

# What an outcome counts for the first system in the win rate.
WORTH = {"win": 1.0, "tie": 0.5, "inconsistent": 0.5, "loss": 0.0}
COUNTS = {"win": "wins", "tie": "ties", "loss": "losses", "inconsistent": "inconsistent"}


@dataclass(frozen=True)
class Derived:
    """What follows from the outputs and the manifest of a comparison."""

    scores: list[PairScore]
    metrics: dict


def derive(manifest: Manifest, outputs: Outputs, pairs: Sequence[Pair], version: int = VERSION) -> Derived:
    """The rows of scores and the metrics of a comparison, from the judge's outputs on the canaries and the cases.

    Args:
        version: of the rules; that of stored metrics tells `version_of`.
    """
    scores = pair_scores(pairs, outputs, manifest["settings"]["samples"])
    criteria = {key: _criterion(scores, key, version) for key in manifest["rubric"]["criteria"]}
    figures = pair_metrics(criteria, scores, outputs, manifest)
    if version > 1:
        figures["version"] = version
    return Derived(scores, with_cost(figures, dict(manifest)))


def pair_scores(pairs: Iterable[Pair], outputs: Outputs, samples: int) -> list[PairScore]:
    """The score of each case and sample."""
    scores = []
    for pair in pairs:
        for sample in range(samples):
            verdicts: dict[str, dict[str, str] | None] = {}
            reasons = []
            for order in ORDERS:
                output = outputs[output_id(pair["id"], order), sample]
                shown, why = scoring.pair_verdict(output["reply"])
                verdicts[order] = shown and {key: _system(side, order) for key, side in shown.items()}
                if shown is None:
                    reasons.append(f"order {order}: {output.get('error') or why}")
            one, other = (verdicts[order] for order in ORDERS)
            result: dict[str, str] | Unscored = Unscored("; ".join(reasons))
            if one is not None and other is not None:
                result = {key: outcome(one[key], other[key]) for key in one}
            scores.append(PairScore(pair, sample, verdicts, result))
    return scores


def outcome(one: str, other: str) -> str:
    """The outcome for the first system, by the verdicts of the two orders."""
    if one == other:
        return {"first": "win", "second": "loss", "tie": "tie"}[one]
    return "tie" if "tie" in (one, other) else "inconsistent"


def case_outcome(outcomes: Sequence[str]) -> str:
    """The outcome of more than half of a case's samples, else "inconsistent"."""
    name, count = Counter(outcomes).most_common(1)[0]
    return name if 2 * count > len(outcomes) else "inconsistent"


def pair_metrics(criteria: dict[str, dict], scores: Sequence[PairScore], outputs: Outputs, manifest: Manifest) -> dict:
    """The metrics of a comparison from the figures of its criteria, its scores, and its outputs.

    "headline" has the first system's overall win rate, or is None, and "no_headline" then says why.
    """
    overall, limit = criteria["overall"], manifest["settings"]["failure_limit"]
    verdicts = [verdict for score in scores for verdict in score.verdicts.values()]
    unread = sum(verdict is None for verdict in verdicts)
    failures = {"replies": len(verdicts), "unscored": unread, "rate": unread / len(verdicts), "limit": limit}
    checked = [_checked(score) for score in pair_scores(pair_canaries(), outputs, 1)]
    reasons = [one.en for one in headline_reasons(checked, failures, overall["n"])]
    return {
        "criteria": criteria,
        "n": (cases := len(pairs_in(scores))),
        "unscored": cases - overall["n"],
        "length": _length(scores),
        "headline": None if reasons else overall,
        "no_headline": reasons,
        "warnings": [one.en for one in warnings(manifest, overall["position"])],
        "canaries": checked,
        "failures": failures,
        "usage": usage(map(dict, outputs.values())),
    }


def outcomes_by_case(scores: Sequence[PairScore], key: str) -> dict[str, str]:
    """Case → its outcome in the criterion `key`; cases without a scored sample are left out."""
    samples: dict[str, list[str]] = {}
    for score in scores:
        if not isinstance(score.result, Unscored):
            samples.setdefault(score.pair["id"], []).append(score.result[key])
    return {case: case_outcome(outcomes) for case, outcomes in samples.items()}


def _system(side: str, order: str) -> str:
    return side if side == "tie" or order == "12" else SIDES[side == "first"]


def _criterion(scores: Sequence[PairScore], key: str, version: int) -> dict:
    """Counts of outcomes and the figures of one criterion, over the scored cases; None where there are none.

    `consistency` is the share of the pairs of replies that say the same in both orders, and `position` tells how many of
    the verdicts in such pairs that prefer a dialogue prefer the one shown first.
    """
    by_case, total = outcomes_by_case(scores, key), len(pairs_in(scores))
    counts = Counter(by_case.values())
    columns = {case: [WORTH[result], 0, 0, 0, 0] for case, result in by_case.items()}
    for score in scores:
        one, other = (score.verdicts[order] for order in ORDERS)
        if one is not None and other is not None:
            own = columns[score.pair["id"]]
            own[1] += 1
            own[2] += one[key] == other[key]
            own[3] += (one[key] != "tie") + (other[key] != "tie")
            own[4] += (one[key] == "first") + (other[key] == "second")
    found: dict = {"n": len(by_case), **{COUNTS[name]: counts[name] for name in COUNTS}, "p": None, "win_rate": None}
    found |= {"interval": None, "bounds": None, "consistency": None, "position": {"n": 0, "share": None, "interval": None}}
    if not by_case:
        return found
    table = numpy.array(list(columns.values()), dtype=float)
    won, pairs, same, named, shown_first = table.sum(axis=0).tolist()
    drawn, cases = drawn_sums(table), len(by_case)
    rates, firsts = drawn[:, 0] / cases, quotient(drawn[:, 4], drawn[:, 3])
    if version == 1:
        ends = [percentiles(rates), percentiles(firsts)]
    else:
        ends = [share_interval(rates, won / cases, cases), share_interval(firsts, shown_first / max(1, named), cases)]
    return found | {
        "p": mcnemar(counts["win"], counts["loss"]),
        "win_rate": won / cases,
        "interval": ends[0],
        "bounds": [won / total, (won + total - len(by_case)) / total],
        "consistency": same / pairs,
        "position": {
            "n": int(named),
            "share": shown_first / named if named else None,
            "interval": ends[1] if named else None,
        },
    }


def _length(scores: Sequence[PairScore]) -> dict:
    """The mean number of the doctor's characters of each system, and the share of the cases with a winner that the longer won.

    `n` counts the cases with a winner on the whole in which one doctor says more.
    """
    said = {pair["id"]: [_characters(pair[side]) for side in SIDES] for pair in pairs_in(scores)}
    outcomes = outcomes_by_case(scores, "overall")
    decided = [case for case, found in outcomes.items() if found in ("win", "loss") and said[case][0] != said[case][1]]
    longer = sum((said[case][0] > said[case][1]) == (outcomes[case] == "win") for case in decided)
    means = {side: sum(own[place] for own in said.values()) / len(said) for place, side in enumerate(SIDES)}
    return {**means, "n": len(decided), "longer_wins": longer / len(decided) if decided else None}


def _characters(dialogue: Dialogue) -> int:
    return sum(len(turn["content"]) for turn in dialogue["turns"] if turn["role"] == "doctor")


def _checked(score: PairScore) -> dict:
    row = score.row()
    passed = not isinstance(score.result, Unscored) and is_passed(row["id"], score.result)
    return {"id": row["id"], "outcomes": row["outcomes"], "unscored": row["unscored"], "passed": passed}


def headline_reasons(canaries: Iterable[Mapping], failures: Mapping, scored: int) -> list[Text]:
    """Why a comparison gives no headline figure, from what its metrics have and the number of `scored` cases."""
    reasons = [phrases.FAILS(canary=row["id"], said=_describe_canary(row)) for row in canaries if not row["passed"]]
    if failures["rate"] > failures["limit"]:
        limit = f"{100 * failures['limit']:g}"
        reasons.append(UNSCORED(n=failures["unscored"], of=failures["replies"], limit=limit))
    return reasons if scored else [*reasons, phrases.NO_CASE]


def _describe_canary(row: Mapping) -> Text:
    if row["unscored"]:
        return unscored_text(row["unscored"])
    said = (Text(f"{key} {found}", f"{term(key).zh} {term(found).zh}") for key, found in row["outcomes"].items())
    return joined(said, COMMA)


def warnings(manifest: Manifest, position: Mapping) -> list[Text]:
    """What a reader is warned of, from the manifest and what the metrics have of the position on the whole."""
    return [*_self_preference(manifest), *_position(position), *_unmatched(manifest)]


def _self_preference(manifest: Manifest) -> list[Text]:
    judge = manifest["judge"]["id"]
    systems = [manifest["systems"][side] for side in SIDES]
    ways = ((systems, OWN_FAMILY), (manifest["patients"].values(), OWN_PATIENT))
    return [
        phrase(judge=judge, name=name)
        for names, phrase in ways
        for name in dict.fromkeys(names)
        if family(judge) is not None and family(name) == family(judge)
    ]


def _position(found: Mapping) -> list[Text]:
    if found["interval"] is None or found["interval"][0] <= 0.5 <= found["interval"][1]:
        return []
    low, high = (f"{100 * end:.1f}" for end in found["interval"])
    return [phrases.FIRST_PREFERRED(share=f"{100 * found['share']:.1f}", low=low, high=high)]


def _unmatched(manifest: Manifest) -> list[Text]:
    sides = {"first": manifest["only_first"], "second": manifest["only_second"]}
    return [
        phrases.WITHOUT_OTHER[side](
            cases=phrases.CASES_OF(n=len(names)) if len(names) > 1 else phrases.CASE, names=joined(names)
        )
        for side, names in sides.items()
        if names
    ]
