"""Reads the scores out of a judge's reply. What is unclear is not guessed: the reply is unscored, with the reason.

1. Only what follows a closing </think> is read. Full-width signs, Markdown and tags become plain text first.
2. A verdict is a JSON object, or labelled lines ("Accuracy: 4", "准确性：4分"), in any order and either language.
3. What the judge quotes (in quotation marks, after > or |) is no verdict.
4. A verdict is complete when it names every criterion. The last complete one counts; parts of two are never put together.
   Labels belong together when all of them follow one another at once, or all with reasons in between.
5. A criterion with two scores, a range, a scale of another length, or none in place of a number makes its verdict unusable.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from .labels import Label, Scale, labelled, plain
from .objects import object_verdicts


def read_verdict(reply: str, names: Mapping[str, Sequence[str]], scale: Scale) -> tuple[dict[str, float] | None, str | None]:
    """The scores by criterion and None, or None and why there are none.

    Args:
        names: criterion → the names that a reply may give it.
    """
    if not reply.strip():
        return None, "empty reply"
    *thoughts, text = re.split(r"</think(?:ing)?>", reply)
    if re.search(r"<think(?:ing)?>", text):
        return None, "the reply ends within its thoughts"
    text = plain(text, names)
    found, rest = object_verdicts(text, names, scale)
    found += [verdict for run in _runs(labelled(rest, names, scale)) for verdict in _verdicts(run, len(names))]
    found.sort(key=lambda verdict: verdict[0])
    complete = [scores for _, scores in found if scores.keys() == names.keys()]
    if not complete:
        return None, _missing([scores for _, scores in found], list(names))
    for key, score in complete[-1].items():
        if problem := _problem(score, scale):
            return None, f"{key}: {problem}"
    return {key: float(complete[-1][key]) for key in names}, None


def _problem(score: float | str, scale: Scale) -> str | None:
    if isinstance(score, str):
        return score
    if not scale.low <= score <= scale.high:
        return f"{score:g} is not between {scale.low:g} and {scale.high:g}"
    if (score - scale.low) % scale.step:
        return f"{score:g} is not a step of {scale.step:g}"
    return None


def _missing(partial: list[dict], keys: list[str]) -> str:
    if not partial:
        return "no verdict"
    return "no score for " + ", ".join(key for key in keys if key not in partial[-1])


def _runs(labels: list[Label]) -> Iterator[list[Label]]:
    """Yields labels that belong together."""
    run: list[Label] = []
    for part in _unbroken(labels):
        gaps = {after.gap > 0 for after in part[1:]}
        if len(gaps) < 2:
            yield part
            continue
        for label in part:
            if run and label.gap > 0:
                yield run
                run = []
            run.append(label)
        yield run
        run = []


def _unbroken(labels: list[Label]) -> Iterator[list[Label]]:
    part: list[Label] = []
    for label in labels:
        if part and label.breaks:
            yield part
            part = []
        if part and not label.gap and (part[-1].key, part[-1].score) == (label.key, label.score):
            continue  # the same line in the other language
        part.append(label)
    if part:
        yield part


def _verdicts(run: list[Label], size: int) -> Iterator[tuple[int, dict]]:
    """Yields (position, scores) of each verdict in a run."""
    chunks = [run[i : i + size] for i in range(0, len(run), size)]
    if not all(len({label.key for label in chunk}) == size for chunk in chunks):
        chunks = [run]
    for chunk in chunks:
        scores: dict[str, float | str] = {}
        for label in chunk:
            scores[label.key] = label.score if scores.get(label.key, label.score) == label.score else "two scores"
        yield chunk[-1].start, scores
