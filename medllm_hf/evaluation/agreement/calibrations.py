"""The judge's means by system and criterion, calibrated by labels: what agreement.json says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy

from medllm_hf.errors import UserError
from medllm_hf.evaluation.agreement.labels import Labels
from medllm_hf.evaluation.agreement.measures import Rater
from medllm_hf.evaluation.agreement.report import Ratings, human_scores, known_labels, overall_of
from medllm_hf.evaluation.statistics.calibration import LEAST_CASES, Calibration, Rated, Withheld, calibrate

# What stands in the place of a system's name for all systems together.
ALL_SYSTEMS = "all systems"


def calibration_values(judges: Sequence[Ratings], criteria: Sequence[str], labels: Labels) -> dict:
    """What agreement.json says under "calibration": the labels, and a row for each run and system.

    Where several annotators labelled a dialogue, the mean of their scores counts, and counts once.

    Raises:
        UserError: the labels are of other dialogues, or give no figure of any run.
    """
    labels, told = known_labels(judges, labels)
    annotators = [human_scores(rows, criteria) for rows in labels.scores.values()]
    names = [*criteria, *overall_of(criteria)]
    means = {key: _mean_labels([one[key] for one in annotators]) for key in names}
    rows = [row for judge in judges for row in _rows(judge, means)]
    reasons = [
        f"{row['run']}, {row['system']}, {key}: {found['withheld']}"
        for row in rows
        for key, found in row["criteria"].items()
        if found["withheld"]
    ]
    if len(reasons) == len(rows) * len(names):
        expected = f"labels of {LEAST_CASES} cases or more, drawn at random, that are not nearly all the same"
        raise UserError(f"no figure that labels can calibrate: {reasons[0]}", expected, "label more dialogues of the run")
    given: dict[str, int] = {}
    for name in (name for own in labels.scores.values() for name in own):
        given[name] = given.get(name, 0) + 1
    several = sum(count > 1 for count in given.values())
    unscored = [name for name in given for judge in judges if name in judge.unscored]
    return {"labels": {**told, "by_several": several, "unscored": list(dict.fromkeys(unscored))}, "rows": rows}


def _mean_labels(annotators: Sequence[Rater]) -> dict[str, float]:
    """Dialogue → the mean of the labels of those who labelled it."""
    given: dict[str, list[float]] = {}
    for own in annotators:
        for name, score in own.items():
            given.setdefault(name, []).append(score)
    return {name: sum(scores) / len(scores) for name, scores in given.items()}


def _rows(judge: Ratings, labels: Mapping[str, Rater]) -> list[dict]:
    """The rows of a run: its systems, and all of them together where there are several."""
    systems = list(dict.fromkeys(place.system for place in judge.places.values()))
    rows = []
    for system in [*systems, *([None] if len(systems) > 1 else [])]:
        found = {}
        for key, scores in judge.scores.items():
            names = [name for name in scores if system in (None, judge.places[name].system)]
            result = calibrate(_rated(judge, names, scores, labels[key])) if names else Withheld(0, "no scored dialogue")
            found[key] = _record(result)
        rows.append({"run": judge.run, "system": ALL_SYSTEMS if system is None else system or "(none)", "criteria": found})
    return rows


def _rated(judge: Ratings, names: Sequence[str], scores: Rater, labels: Rater) -> Rated:
    places = [judge.places[name] for name in names]
    return Rated(
        judge=numpy.array([scores[name] for name in names], dtype=float),
        label=numpy.array([labels.get(name, numpy.nan) for name in names], dtype=float),
        case=[place.case for place in places],
        groups={"system": [place.system for place in places], "group": [place.group for place in places]},
        scale=judge.scale,
    )


def _record(result: Calibration | Withheld) -> dict:
    if isinstance(result, Withheld):
        return {"n": result.n, "withheld": result.reason}
    return {**asdict(result), "withheld": None}
