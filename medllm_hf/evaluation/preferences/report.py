"""The report of comparisons of two systems: runs checked against their outputs, its values, and its page to read."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medllm_hf.errors import UserError
from medllm_hf.evaluation.agreement.report import Place, Ratings
from medllm_hf.evaluation.judging.derive import Unscored
from medllm_hf.evaluation.judging.dialogues import record
from medllm_hf.evaluation.judging.page import write_dialogues
from medllm_hf.evaluation.judging.reasons import unscored_text
from medllm_hf.evaluation.preferences import phrases
from medllm_hf.evaluation.preferences.canaries import pair_canaries
from medllm_hf.evaluation.preferences.derive import WORTH, derive, headline_reasons, outcomes_by_case, warnings
from medllm_hf.evaluation.preferences.records import (
    ORDERS,
    SIDES,
    Manifest,
    PairOutput,
    PairScore,
    Side,
    output_id,
    output_ids,
    pairs_in,
    stored_run,
)
from medllm_hf.evaluation.runs.compare import VERSION, check_metrics, version_of
from medllm_hf.evaluation.runs.folder import FinishedRun
from medllm_hf.reporting.blocks import Block
from medllm_hf.reporting.phrases import Language, say
from medllm_hf.reporting.terms import term


@dataclass(frozen=True)
class PairRun:
    """A finished comparison whose scores and metrics were found to follow from its outputs; `outputs` are by (id, sample)."""

    name: str
    manifest: Manifest
    metrics: dict
    scores: list[PairScore]
    outputs: dict[tuple[str, int], PairOutput]

    @property
    def systems(self) -> dict[Side, str]:
        """The names of the two systems by side; where both have one name, each is told with its side."""
        names: dict[Side, str] = {side: self.manifest["systems"][side] or "(none)" for side in SIDES}
        return names if len(set(names.values())) == 2 else {side: f"{name} ({side})" for side, name in names.items()}


def check_pair_run(name: str, run: FinishedRun) -> PairRun:
    """The run in `run`, which `read_run` gave, under the name that the report calls it by.

    Raises:
        UserError: it is damaged, or its metrics do not follow from its outputs.
    """
    stored, do = stored_run(name, run), "run `medllm eval pair` again with --overwrite"
    manifest, pairs = stored.manifest, stored.pairs
    wanted = [*output_ids(pair_canaries(), 1), *output_ids(pairs, manifest["settings"]["samples"])]
    if lacking := [key for key in wanted if key not in stored.outputs]:
        raise UserError(f"a damaged run in {name}: no output {lacking[0][0]} {lacking[0][1]}", "what the format says", do)
    if any(
        record([dict(pair[side]) for pair in pairs], manifest["data"][side]["name"]) != manifest["data"][side] for side in SIDES
    ):
        raise UserError(f"other dialogues in scores.jsonl of {name} than the manifest names", "the dialogues compared", do)
    derived = derive(manifest, stored.outputs, pairs, version_of(run["metrics"]))
    if [score.row() for score in derived.scores] != run["scores"]:
        raise UserError(f"other verdicts in scores.jsonl of {name} than in its outputs", "verdicts that follow from them", do)
    check_metrics(name, derived.metrics, run["metrics"], "outputs", do)
    if version_of(run["metrics"]) != VERSION:  # the report says what the present rules give
        derived = derive(manifest, stored.outputs, pairs)
    return PairRun(name, manifest, derived.metrics, derived.scores, stored.outputs)


def pair_values(runs: list[PairRun]) -> dict:
    """The content of results.json: one entry a run."""
    return {"kind": "pair", "runs": [_values(run) for run in runs]}


def _values(run: PairRun) -> dict:
    manifest = run.manifest
    reasons = Counter(score.result.reason for score in run.scores if isinstance(score.result, Unscored))
    kept = {name: manifest[name] for name in ("judge", "rubric", "data", "settings", "only_first", "only_second")}
    overall, metrics = run.metrics["criteria"]["overall"], run.metrics
    said = {
        "no_headline_zh": [one.zh for one in headline_reasons(metrics["canaries"], metrics["failures"], overall["n"])],
        "warnings_zh": [one.zh for one in warnings(manifest, overall["position"])],
    }
    return {"run": run.name, "systems": run.systems, **kept, **metrics, **said, "unscored_reasons": dict(reasons)}


def pair_ratings(run: PairRun) -> Ratings:
    """The run as `eval agree` compares it with other raters: by criterion and case what it is worth to the first system."""
    manifest, pairs = run.manifest, pairs_in(run.scores)
    names = manifest["rubric"]["criteria"]
    scores = {key: {case: WORTH[found] for case, found in outcomes_by_case(run.scores, key).items()} for key in names}
    system = f"{run.systems['first']} against {run.systems['second']}"
    about = {"judge": manifest["judge"], "rubric": manifest["rubric"], "samples": manifest["settings"]["samples"]}
    return Ratings(
        run=run.name,
        about={**about, "data": {**manifest["data"], "n": len(pairs)}},
        unit="pairs of dialogues",
        scale=(0.0, 1.0),
        scores=scores,
        turns={pair["id"]: [*pair["first"]["turns"], *pair["second"]["turns"]] for pair in pairs},
        places={pair["id"]: Place(system, pair["id"], pair["group"]) for pair in pairs},
        unscored=[pair["id"] for pair in pairs if pair["id"] not in scores["overall"]],
        no_headline=run.metrics["no_headline"],
    )


def write_pair_page(blocks: list[Block], values: dict, runs: list[PairRun], folder: Path, language: Language) -> int:
    """Writes report.html with every dialogue and what the judge said of it, and returns the number of cases in it."""
    numbers: dict[str, int] = {}
    sets = [_set(run, lambda turns: numbers.setdefault(turns, len(numbers)), language) for run in runs]
    data = {"sets": sets, "transcripts": [json.loads(turns) for turns in numbers]}
    write_dialogues(folder, blocks, data, phrases.TITLE, language)
    return sum(len(one["rows"]) // 2 for one in sets)


def _set(run: PairRun, transcript: Callable[[str], int], language: Language) -> dict:
    """A run as the page's script takes it: each case has a row a system, whose scores are what the outcomes are worth to it."""
    keys, pairs = run.manifest["rubric"]["criteria"], pairs_in(run.scores)
    groups = list(dict.fromkeys(pair["group"] for pair in pairs))
    outcomes = {key: outcomes_by_case(run.scores, key) for key in keys}
    why = {score.pair["id"]: score.result.reason for score in run.scores if isinstance(score.result, Unscored)}
    rows = []
    for pair in pairs:
        case, replies, attempts = pair["id"], *_said(run, pair["id"], language)
        won = [WORTH[outcomes[key][case]] for key in keys] if case in outcomes[keys[0]] else None
        for place, side in enumerate(SIDES):
            turns = json.dumps([[turn["role"], turn["content"]] for turn in pair[side]["turns"]], ensure_ascii=False)
            scores = won and [abs(place - worth) for worth in won]
            kept = None if won else say(unscored_text(why[case]), language)
            rows.append([place, case, groups.index(pair["group"]), transcript(turns), scores, kept, replies, attempts])
    names = list(run.systems.values())
    against = phrases.AGAINST(first=names[0], second=names[1])
    name = say(phrases.JUDGED_IN(name=against, judge=run.manifest["judge"]["id"], run=run.name), language)
    criteria = [say(term(key), language) for key in keys]
    return {"name": name, "criteria": criteria, "range": [0, 1], "systems": names, "groups": groups, "rows": rows}


def _said(run: PairRun, case: str, language: Language) -> tuple[list[str], list[str]]:
    """The judge's replies on a case, and the earlier ones that were not usable, each under the system it was shown first."""
    replies, attempts = [], []
    for order, side in zip(ORDERS, SIDES, strict=True):
        for sample in range(run.manifest["settings"]["samples"]):
            output = run.outputs[output_id(case, order), sample]
            head = say(phrases.SHOWN_FIRST(system=run.systems[side]), language) + "\n"
            replies.append(head + output["reply"])
            attempts += [head + text for text in output.get("attempts", ())]
    return replies, attempts
