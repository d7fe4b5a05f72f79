"""A judge's published verdicts beside those that a judge gives who is asked the same again, at a cost that is told before.

Judges are no published weights: another one, or the same a month later, may well say something else. So what comes of it is
told and declared, and is different only where what was published is better (or worse) more often than chance allows.
"""

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, NotRequired, TypedDict, cast

from medllm_hf.endpoints.client import EndpointError
from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.cases import read_cases
from medllm_hf.evaluation.consultations.privacy import check_personal_data
from medllm_hf.evaluation.judging.canaries import canaries
from medllm_hf.evaluation.judging.cases import case_texts
from medllm_hf.evaluation.judging.derive import StoredRun, stored_run
from medllm_hf.evaluation.judging.records import Output, Transcript
from medllm_hf.evaluation.judging.run import Asking, Unanswered, ask_judge, judge_estimate, words_of
from medllm_hf.evaluation.judging.settings import Settings, check_settings
from medllm_hf.evaluation.models import ModelSpec, serve_models
from medllm_hf.evaluation.runs.folder import FinishedRun
from medllm_hf.evaluation.runs.records import read_record
from medllm_hf.evaluation.verification.findings import DECLARED, DIFFERENT, UNKNOWN, Finding, Known
from medllm_hf.evaluation.verification.power import ALARMS, chance
from medllm_hf.metrics.llm_judge import scoring

Unit = tuple[Transcript, int]


class AskedSettings(TypedDict):
    """How the judge was asked."""

    samples: int
    temperature: float
    seed: int
    max_new_tokens: int
    enable_thinking: NotRequired[bool]
    form: NotRequired[Literal["auto", "lines"]]


class Manifest(TypedDict):
    """What is read of the manifest besides what the figures need."""

    settings: AskedSettings


@dataclass(frozen=True)
class Again:
    """Who is asked, how, and what: (dialogue, sample), each with the published output under its id and sample."""

    party: ModelSpec
    asking: Asking
    units: Sequence[Unit]
    published: Mapping[tuple[str, int], Output]


def judge_again(where: str, run: FinishedRun, known: Known) -> Iterator[Finding]:
    """Yields what asking a judge for some verdicts of a run again will cost, and then what comes of it.

    Raises:
        UserError: the run is damaged.
    """
    figure, stored = f"{where}/outputs.jsonl rerun", stored_run(where, run)
    if stored.manifest.get("imported"):
        yield Finding(figure, DECLARED, "not rerun: the verdicts were imported, and nobody here knows how they were asked for")
        return
    settings = read_record(run["manifest"], Manifest, f"{where}/manifest.json")["settings"]
    try:
        again = _prepare(stored, settings, known)
        yield Finding(figure, DECLARED, f"{len(again.units)} verdicts are asked of {again.party.record['id']}: {_cost(again)}")
        rows = _ask(again)
    except UserError as error:
        yield Finding(figure, UNKNOWN, f"not rerun: {error}")
        return
    yield judge_finding(figure, again, rows, stored.manifest["judge"]["id"])


def _prepare(stored: StoredRun, asked: AskedSettings, known: Known) -> Again:
    assert known.rerun and known.rerun.judge
    manifest, rubric = stored.manifest, stored.manifest["rubric"]
    settings = Settings(rubric=rubric["name"], language=rubric["language"], **cast(Any, _of_settings(asked)))
    check_settings(settings, "eval judge")
    told, dialogues = _told(stored, known), stored.dialogues
    party = settings.party(known.rerun.judge)
    check_personal_data(words_of(dialogues, told), manifest["data"]["name"], [party])
    published = {(row["id"], row["sample"]): row for row in stored.outputs}
    read = [cast(Transcript, {**one, **({"reference": told[one["id"]]} if told else {})}) for one in dialogues]
    units = [(one, sample) for one in read for sample in range(settings.samples) if (one["id"], sample) in published]
    count = min(known.rerun.count, len(units))
    drawn = [units[i] for i in sorted(random.Random(known.rerun.seed).sample(range(len(units)), count))]
    took = _first(settings) in published and published[_first(settings)].get("schema")
    form = "json" if took and settings.form == "auto" else "lines"
    return Again(party, Asking(scoring, settings, form), drawn, published)


def _of_settings(asked: AskedSettings) -> dict[str, object]:
    return {name: value for name, value in asked.items() if name in AskedSettings.__annotations__}


def _told(stored: StoredRun, known: Known) -> dict[str, str]:
    """What the judge was told of the case of each dialogue, by its id."""
    if not (cases := stored.manifest.get("cases")):
        return {}
    if not (path := known.files.get(cases["sha256"])):
        raise UserError(f"{cases['name']} is not at hand", "the cases that the judge was shown", "name it with --data")
    return case_texts(stored.dialogues, read_cases(str(path)), stored.manifest["rubric"]["language"])


def _first(settings: Settings) -> tuple[str, int]:
    """The id and sample of what a run asks about first: its output tells whether a schema was taken."""
    return canaries(settings.rubric == "checklist")[0]["id"], 0


def _cost(again: Again) -> str:
    estimate = judge_estimate(again.asking, again.units, {})
    volumes = (("at most", estimate.most), ("about", estimate.about))
    return "; ".join(
        f"{name} {one.calls:,} calls, {one.prompt_tokens:,} + {one.completion_tokens:,} tokens" for name, one in volumes
    )


def _ask(again: Again) -> dict[tuple[str, int], Output]:
    """The new outputs by id and sample.

    Raises:
        UserError: the judge cannot be served, or does not answer.
    """
    found: dict[tuple[str, int], Output] = {}

    def keep(row: Output) -> None:
        found[row["id"], row["sample"]] = row

    # The form is known, so that nothing is asked about the canary.
    canary: Output = {"id": "", "sample": 0, "reply": "", "schema": again.asking.form == "json"}
    first: Transcript = {"id": "", "turns": []}
    lacking = Unanswered(again.units, first, {("", 0): canary})
    try:
        with serve_models([again.party]) as (endpoint,):
            failed = asyncio.run(ask_judge(endpoint, again.party, lacking, again.asking, keep, None))
    except EndpointError as error:
        raise error.told("a judge that answers", "mend it, or leave out --judge") from error
    if failed:
        raise next(iter(failed.values())).told("a judge that answers each dialogue", "try again")
    return found


def judge_finding(figure: str, again: Again, rows: Mapping[tuple[str, int], Output], judge: str) -> Finding:
    """What the new verdicts say of the published ones."""
    before, now = (
        [_mean(again.asking, one, source[one["id"], sample]) for one, sample in again.units]
        for source in (again.published, rows)
    )
    both = [(one, other) for one, other in zip(before, now, strict=True) if one is not None and other is not None]
    higher, lower = sum(one > other for one, other in both), sum(one < other for one, other in both)
    said = f"{len(both)} of {len(before)} have a verdict both times, {len(both) - higher - lower} the same one"
    if both:
        means = fmean(one for one, _ in both), fmean(other for _, other in both)
        said += f", mean {means[0]:.2f} published and {means[1]:.2f} now"
    who = again.party.record["id"]
    said += f" ({who}, published of {judge}); {higher} were published higher and {lower} lower"
    if min(chance(higher, higher + lower), chance(lower, higher + lower)) < ALARMS:
        return Finding(figure, DIFFERENT, f"{said}, which is no chance")
    return Finding(figure, DECLARED, said)


def _mean(asking: Asking, one: Transcript, row: Output) -> float | None:
    scores, _ = asking.verdict(one, row["reply"])
    return fmean(map(float, scores.values())) if scores else None
