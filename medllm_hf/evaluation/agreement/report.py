"""What `eval agree` says, as values: judges beside annotators and beside each other, everything that its tables show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from medllm_hf.errors import UserError
from medllm_hf.evaluation.agreement.labels import Labels
from medllm_hf.evaluation.agreement.measures import Rater, band, figures
from medllm_hf.evaluation.agreement.tables import sentence

# Criterion → dialogue id → score.
Scores = Mapping[str, Rater]


@dataclass(frozen=True)
class Place:
    """Where a dialogue stands in its run: its system, its case and its group (a department or an intent)."""

    system: str
    case: str
    group: str


@dataclass(frozen=True)
class Ratings:
    """What a judge said of dialogues, or of pairs of them, which have one id and stand in their place.

    Attributes:
        about: What agreement.json says of the run: its judge, rubric, data, and number of samples.
        unit: What one id stands for, in the plural.
        scale: The lowest and the highest score.
        scores: By criterion and dialogue the mean over the samples; unscored dialogues have none.
        turns: Every dialogue's words, by its id.
        places: Where every dialogue stands, by its id.
        no_headline: Why the run has no headline figure.
    """

    run: str
    about: dict
    unit: str
    scale: tuple[float, float]
    scores: Scores
    turns: Mapping[str, list]
    places: Mapping[str, Place]
    unscored: list[str]
    no_headline: list[str]


def agreement_values(judges: Sequence[Ratings], criteria: Sequence[str], labels: Labels) -> dict:
    """The content of agreement.json but for its calibration.

    Raises:
        UserError: labels, and none for a dialogue of the runs.
    """
    labels, told = known_labels(judges, labels)
    means = overall_of(criteria)
    annotators = {name: human_scores(rows, criteria) for name, rows in labels.scores.items()}
    labelled = dict.fromkeys(dialogue for rows in labels.scores.values() for dialogue in rows)
    bands = [{"run": one.run, **_bands(one.scores, annotators, means)} for one in judges] if len(annotators) > 1 else []
    return {
        "kind": "agreement",
        "criteria": [*criteria, *means],
        "runs": [_described(one, labelled) for one in judges],
        "labels": told,
        "judge_human": [
            {"first": one.run, "second": name, "criteria": _compared(one.scores, own, means)}
            for one in judges
            for name, own in annotators.items()
        ],
        "bands": bands,
        "judges": [row for pair in combinations(judges, 2) if (row := _judges(*pair, means)) is not None],
        "sentences": [
            sentence(one["run"], key, found) for one in bands for key, found in one["criteria"].items() if found is not None
        ],
        "calibration": None,
    }


def known_labels(judges: Sequence[Ratings], labels: Labels) -> tuple[Labels, dict]:
    """The labels of the words that the runs have, and what agreement.json says of all labels.

    Raises:
        UserError: labels, and none for a dialogue of the runs.
    """
    words: dict[str, list] = {}
    for judge in judges:
        for name, turns in judge.turns.items():
            words.setdefault(name, []).append(_words(turns))
    labelled = dict.fromkeys(dialogue for rows in labels.scores.values() for dialogue in rows)
    unknown = [dialogue for dialogue in labelled if dialogue not in words]
    other = {
        dialogue: None
        for rows in labels.turns.values()
        for dialogue, turns in rows.items()
        if dialogue in words and _words(turns) not in words[dialogue]
    }
    if labelled and len(unknown) + len(other) == len(labelled):
        first = unknown[0] if unknown else f"other words of {next(iter(other))}"
        found = f"labels for {first} and {len(labelled) - 1} more dialogues, and none for a dialogue of the runs"
        expected = f"ids such as {next(iter(words))}" if unknown else "labels of the dialogues that were judged"
        raise UserError(found, expected, f"mend the column {'id' if unknown else 'turns'} of the labels, or name their run")
    told = {
        "files": labels.files,
        "annotators": {name: len(rows) for name, rows in labels.scores.items()},
        "bad_rows": labels.bad_rows,
        "unknown_ids": unknown,
        "other_words": list(other),
        "unread_columns": list(labels.unread_columns),
    }
    scores = {
        name: {key: row for key, row in rows.items() if key not in labels.turns.get(name, {}) or key not in other}
        for name, rows in labels.scores.items()
    }
    return replace(labels, scores=scores), told


def overall_of(criteria: Sequence[str]) -> list[str]:
    """The overall score, a mean, where a rubric has several criteria and no verdict on the whole among them."""
    return ["overall"] if len(criteria) > 1 and "overall" not in criteria else []


def human_scores(rows: Mapping[str, Mapping[str, float]], criteria: Sequence[str]) -> Scores:
    """The scores of an annotator, and the overall score, a mean, of the dialogues on which no criterion is a gap."""
    found = {key: {name: row[key] for name, row in rows.items() if key in row} for key in criteria}
    means = {name: sum(row.values()) / len(row) for name, row in rows.items() if len(row) == len(criteria)}
    return found | dict.fromkeys(overall_of(criteria), means)


def _words(turns: Sequence) -> list[tuple]:
    return [(turn.get("role"), turn.get("content")) for turn in turns if isinstance(turn, dict)]


def _compared(first: Scores, second: Scores, means: Sequence[str]) -> dict:
    """The figures of two raters by criterion."""
    return {key: figures(first[key], second[key], key not in means) for key in first}


def _bands(judge: Scores, annotators: Mapping[str, Scores], means: Sequence[str]) -> dict:
    """The judge beside the annotators by criterion, and each pair of annotators on the dialogues that the judge scored."""
    pairs = []
    for first, second in combinations(annotators, 2):
        own = {key: {name: score for name, score in annotators[first][key].items() if name in judge[key]} for key in judge}
        pairs.append({"first": first, "second": second, "criteria": _compared(own, annotators[second], means)})
    criteria = {key: band(judge[key], [one[key] for one in annotators.values()], key not in means) for key in judge}
    return {"criteria": criteria, "pairs": pairs}


def _judges(first: Ratings, second: Ratings, means: Sequence[str]) -> dict | None:
    """Two judge runs on the dialogues of both; None where there is none. A dialogue in other words is another one."""
    other = [name for name in first.turns if name in second.turns and first.turns[name] != second.turns[name]]
    if not first.turns.keys() & second.turns.keys() - set(other):
        return None
    ours = {key: {name: score for name, score in own.items() if name not in other} for key, own in first.scores.items()}
    return {
        "first": first.run,
        "second": second.run,
        "criteria": _compared(ours, second.scores, means),
        "only_first": [name for name in first.turns if name not in second.turns],
        "only_second": [name for name in second.turns if name not in first.turns],
        "other_words": other,
    }


def _described(judge: Ratings, labelled: Mapping[str, None]) -> dict:
    return {
        "run": judge.run,
        **judge.about,
        "unit": judge.unit,
        "unscored": judge.unscored,
        "unlabelled": [name for name in judge.turns if name not in labelled] if labelled else [],
        "no_headline": judge.no_headline,
    }
