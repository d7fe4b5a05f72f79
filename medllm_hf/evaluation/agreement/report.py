"""What `eval agree` says, as values: judges beside annotators and beside each other, everything that its tables show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from medllm_hf.errors import UserError
from medllm_hf.evaluation.agreement.labels import Labels
from medllm_hf.evaluation.agreement.measures import Rater, band, figures
from medllm_hf.evaluation.agreement.tables import sentence

# Criterion → dialogue id → score.
Scores = Mapping[str, Rater]


@dataclass(frozen=True)
class Ratings:
    """What a judge said of dialogues.

    Attributes:
        about: What agreement.json says of the run: its judge, rubric, data and number of samples.
        scores: By criterion and dialogue the mean over the samples; unscored dialogues have none.
        turns: Every dialogue's words, by its id.
        no_headline: Why the run has no headline figure.
    """

    run: str
    about: dict
    scores: Scores
    turns: Mapping[str, list]
    unscored: list[str]
    no_headline: list[str]


def agreement_values(judges: Sequence[Ratings], criteria: Sequence[str], labels: Labels) -> dict:
    """The content of agreement.json.

    Raises:
        UserError: labels, and none for a dialogue of the runs.
    """
    annotators = {name: _human_scores(rows, criteria) for name, rows in labels.scores.items()}
    known = {name: None for judge in judges for name in judge.turns}
    labelled = dict.fromkeys(dialogue for rows in labels.scores.values() for dialogue in rows)
    unknown = [dialogue for dialogue in labelled if dialogue not in known]
    if labelled and len(unknown) == len(labelled):
        found = f"labels for {unknown[0]} and {len(unknown) - 1} more dialogues, and none for a dialogue of the runs"
        raise UserError(found, f"ids such as {next(iter(known))}", "mend the column id of the labels")
    bands = [{"run": one.run, **_bands(one.scores, annotators)} for one in judges] if len(annotators) > 1 else []
    return {
        "kind": "agreement",
        "criteria": [*criteria, *overall_of(criteria)],
        "runs": [_described(one, labelled) for one in judges],
        "labels": {
            "files": labels.files,
            "annotators": {name: len(rows) for name, rows in labels.scores.items()},
            "bad_rows": labels.bad_rows,
            "unknown_ids": unknown,
            "unread_columns": list(labels.unread_columns),
        },
        "judge_human": [
            {"first": one.run, "second": name, "criteria": _compared(one.scores, own)}
            for one in judges
            for name, own in annotators.items()
        ],
        "bands": bands,
        "judges": [row for pair in combinations(judges, 2) if (row := _judges(*pair)) is not None],
        "sentences": [
            sentence(one["run"], key, found) for one in bands for key, found in one["criteria"].items() if found is not None
        ],
    }


def overall_of(criteria: Sequence[str]) -> list[str]:
    """The overall score, where a rubric has several criteria."""
    return ["overall"] if len(criteria) > 1 else []


def _human_scores(rows: Mapping[str, Mapping[str, float]], criteria: Sequence[str]) -> Scores:
    """The scores of an annotator, and the overall score, a mean, of the dialogues on which no criterion is a gap."""
    found = {key: {name: row[key] for name, row in rows.items() if key in row} for key in criteria}
    means = {name: sum(row.values()) / len(row) for name, row in rows.items() if len(row) == len(criteria)}
    return found | dict.fromkeys(overall_of(criteria), means)


def _compared(first: Scores, second: Scores) -> dict:
    """The figures of two raters by criterion."""
    return {key: figures(first[key], second[key], key != "overall") for key in first}


def _bands(judge: Scores, annotators: Mapping[str, Scores]) -> dict:
    """The judge beside the annotators by criterion, and each pair of annotators on the dialogues that the judge scored."""
    pairs = []
    for first, second in combinations(annotators, 2):
        own = {key: {name: score for name, score in annotators[first][key].items() if name in judge[key]} for key in judge}
        pairs.append({"first": first, "second": second, "criteria": _compared(own, annotators[second])})
    criteria = {key: band(judge[key], [one[key] for one in annotators.values()], key != "overall") for key in judge}
    return {"criteria": criteria, "pairs": pairs}


def _judges(first: Ratings, second: Ratings) -> dict | None:
    """Two judge runs on the dialogues of both; None where there is none. A dialogue in other words is another one."""
    other = [name for name in first.turns if name in second.turns and first.turns[name] != second.turns[name]]
    if not first.turns.keys() & second.turns.keys() - set(other):
        return None
    ours = {key: {name: score for name, score in own.items() if name not in other} for key, own in first.scores.items()}
    return {
        "first": first.run,
        "second": second.run,
        "criteria": _compared(ours, second.scores),
        "only_first": [name for name in first.turns if name not in second.turns],
        "only_second": [name for name in second.turns if name not in first.turns],
        "other_words": other,
    }


def _described(judge: Ratings, labelled: Mapping[str, None]) -> dict:
    return {
        "run": judge.run,
        **judge.about,
        "unscored": judge.unscored,
        "unlabelled": [name for name in judge.turns if name not in labelled] if labelled else [],
        "no_headline": judge.no_headline,
    }
