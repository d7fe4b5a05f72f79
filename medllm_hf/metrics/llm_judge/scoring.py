"""Dialogues and a judge's replies to them → items → figures; where a judge is given, it is asked for the replies.

With what it has from its siblings, this module has everything that the metric does, and no `evaluate`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .calling import endpoint_judge
from .figures import FEWEST, Item, Sample, bounds, ceiling, detectable, distribution, length, means, within_item
from .pairs import pair_messages as pair_messages
from .pairs import pair_record as pair_record
from .pairs import pair_response_format as pair_response_format
from .pairs import pair_verdict as pair_verdict
from .prompts import digest, messages
from .prompts import response_format as response_format
from .rubrics import LANGUAGES, RUBRICS, Point, Turn, point_names
from .verdicts import Scale, read_verdict

Judge = Callable[[list[dict[str, str]]], str]
Reference = str | list[Point] | None

_WORDS = {"met": 1, "not met": 0, "yes": 1, "no": 0, "true": 1, "false": 0, "满足": 1, "不满足": 0, "是": 1, "否": 0,
          "已满足": 1, "未满足": 0, "unmet": 0}  # fmt: skip
_ATTEMPTS = 3


@dataclass(frozen=True)
class JudgeOptions:
    """How dialogues are judged: by a judge that is asked, or by `replies` that are stored.

    Attributes:
        judge: a function from chat messages to a reply, or the description that `endpoint_judge` takes.
        replies: those of each dialogue, in place of a judge.
        samples: replies that a judge is asked for on each dialogue.
        groups: a department or intent for each dialogue.
        seed: of the bootstrap.
    """

    judge: Judge | dict | None = None
    replies: Sequence[str | Sequence[str]] | None = None
    rubric: str = "disc-medllm"
    language: str = LANGUAGES[0]
    samples: int = 1
    groups: Sequence[str] | None = None
    seed: int = 0


def read_columns(predictions: Sequence | None, references: Sequence | None) -> tuple[list[list[Turn]], list[Reference]]:
    """Dialogues and what is known of each, as they are scored.

    Raises:
        ValueError: what is none, naming the row.
    """
    if predictions is None:
        raise ValueError("llm_judge: predictions missing; give a list of dialogues")
    references = [None] * len(predictions) if references is None else references
    if len(references) != len(predictions):
        raise ValueError(f"llm_judge: {len(references)} references for {len(predictions)} predictions; give one for each")
    turns = [_turns(row, dialogue) for row, dialogue in enumerate(predictions)]
    return turns, [_reference(f"references[{row}]", one) for row, one in enumerate(references)]


def score_dialogues(predictions: Sequence, references: Sequence | None = None, options: JudgeOptions | None = None) -> dict:
    """The figures over dialogues, and an item for each; README.md says what each is.

    Raises:
        ValueError: what is no dialogue, reference, rubric or language, or does not go together.
        RuntimeError: a judge's endpoint that gives no answer.
    """
    dialogues, known = read_columns(predictions, references)
    options = options or JudgeOptions()
    _check(dialogues, known, options)
    rubric = options.rubric
    if options.replies is not None:
        given = [[reply] if isinstance(reply, str) else list(reply) for reply in options.replies]
    else:
        ask = options.judge if callable(options.judge) else endpoint_judge(options.judge or {})
        given = [
            [_asked(ask, turns, options, reference) for _ in range(options.samples)]
            for turns, reference in zip(dialogues, known, strict=True)
        ]
    rows = zip(dialogues, known, given, strict=True)
    items = [scored(turns, reference, replies, rubric) for turns, reference, replies in rows]
    names = [""] * len(items) if options.groups is None else options.groups
    return {
        **summary(items, rubric, options.language, options.seed),
        "groups": by_group(items, names, rubric, options.seed),
        "items": items,
    }


def reference(value: str | list | None, rubric: str, name: str = "reference") -> Reference:
    """A reference as `messages` and `scored` take it.

    Raises:
        ValueError: it is none for the rubric.
    """
    return _suited(name, _reference(name, value), rubric)


def rubric_record(rubric: str, language: str = LANGUAGES[0]) -> dict:
    """Name, version, language, SHA-256 of every word, criteria and scale of a rubric."""
    known = RUBRICS[rubric]
    record = {"name": rubric, "version": known.version, "language": language, "sha256": digest(rubric, language)}
    return {**record, "criteria": _criteria(rubric), "low": known.low, "high": known.high, "whole_points": known.whole}


def verdict(reply: str, rubric: str, reference: Reference = None) -> tuple[dict[str, float] | None, str | None]:
    """The scores in a reply by criterion (or point) and None; or None and the reason why there are none."""
    known = RUBRICS[rubric]
    names: Mapping[str, Sequence[str]] = {c.key: c.names for c in known.criteria} or point_names(reference or ())
    return read_verdict(reply, names, Scale(known.low, known.high, known.step, {} if known.criteria else _WORDS))


def scored(turns: Sequence[Turn], reference: Reference, replies: Sequence[str], rubric: str) -> Item:
    """The item of a dialogue."""
    samples = [_sample(reply, rubric, reference) for reply in replies]
    usable = [sample["scores"] for sample in samples if sample["scores"] is not None]
    keys = _criteria(rubric)
    means = {key: math.fsum(scores[key] for scores in usable) / len(usable) for key in keys} if usable else {}
    return {
        "scores": {key: means.get(key) for key in keys},
        "overall": math.fsum(means.values()) / len(keys) if usable else None,
        "unscored": None if usable else samples[-1]["unscored"] if samples else "no reply",
        "samples": samples,
        "replies": list(replies),
        "doctor_characters": sum(len(turn["content"]) for turn in turns if turn["role"] == "doctor"),
    }


def summary(items: Sequence[Item], rubric: str, language: str = LANGUAGES[0], seed: int = 0, fewest: int = FEWEST) -> dict:
    """The figures over items; `fewest` is that of `means`."""
    keys, known = _criteria(rubric), RUBRICS[rubric]
    return {
        **means(items, keys, seed, fewest),
        "bounds": bounds(items, keys, known.low, known.high),
        "ceiling": ceiling(items, keys, known.high),
        "distribution": distribution(items, keys),
        "within_item_sd": within_item(items, keys),
        "detectable_difference": detectable(items, keys, fewest),
        "length": length(items, keys, fewest),
        "rubric": rubric_record(rubric, language),
    }


def _asked(ask: Judge, turns: Sequence[Turn], options: JudgeOptions, reference: Reference) -> str:
    """The judge's reply on a dialogue: the first with a clear verdict, else the last of three."""
    again = None
    for _ in range(_ATTEMPTS):
        reply = ask(messages(turns, options.rubric, options.language, reference, again=again))
        if not isinstance(reply, str):
            raise ValueError(f"llm_judge: judge returned a {type(reply).__name__}; it must return the reply's text")
        scores, again = verdict(reply, options.rubric, reference)
        if scores is not None:
            break
    return reply


def _sample(reply: str, rubric: str, reference: Reference) -> Sample:
    scores, unscored = verdict(reply, rubric, reference)
    if scores is None or RUBRICS[rubric].criteria or not isinstance(reference, list):
        return {"scores": scores, "unscored": unscored}
    return {"scores": {"checklist": _weighted(scores, reference)}, "unscored": unscored, "points": scores}


def by_group(items: Sequence[Item], groups: Sequence[str], rubric: str, seed: int, fewest: int = FEWEST) -> list[dict]:
    """A row of means for each group, in the order in which the groups first come."""
    members = {name: [item for item, own in zip(items, groups, strict=True) if own == name] for name in dict.fromkeys(groups)}
    return [{"group": name, **means(own, _criteria(rubric), seed, fewest)} for name, own in members.items()]


def _criteria(rubric: str) -> list[str]:
    """The names of a rubric's figures."""
    return [criterion.key for criterion in RUBRICS[rubric].criteria] or ["checklist"]


def _weighted(met: dict[str, float], points: list[Point]) -> float:
    """The weight of the points met over that of all good points, within 0 and 1. Source: HealthBench (arXiv 2505.08775)."""
    reached = math.fsum(score * point["weight"] for score, point in zip(met.values(), points, strict=True))
    return min(1.0, max(0.0, reached / math.fsum(max(0, point["weight"]) for point in points)))


def _turns(row: int, dialogue: object) -> list[Turn]:
    whole = isinstance(dialogue, list | tuple) and all(isinstance(turn, dict) for turn in dialogue)
    turns: list[Turn] = []
    for turn in dialogue if isinstance(dialogue, list | tuple) and whole else [{}]:
        role, content = turn.get("role"), turn.get("content")
        if role not in ("patient", "doctor") or not isinstance(content, str):
            expected = '{"role": "patient" or "doctor", "content": text}'
            raise ValueError(f"llm_judge: predictions[{row}] is no dialogue; give a list of {expected}")
        # Half of a surrogate pair can be written nowhere.
        turns.append({"role": role, "content": content.encode("utf-8", "replace").decode()})
    return turns


def _reference(name: str, reference: object) -> Reference:
    """A reference as it is used: text, None, or points with a weight each."""
    if reference is None or isinstance(reference, str):
        return reference
    points: list[Point] = []
    for one in reference if isinstance(reference, list) else [None]:
        field = {"point": one} if isinstance(one, str) else one
        text, weight = (field.get("point"), field.get("weight", 1)) if isinstance(field, dict) else (None, None)
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not isinstance(text, str):
            raise ValueError(f'llm_judge: {name} has {field}; give points as text or {{"point": text, "weight": number}}')
        points.append({"point": text, "weight": weight})
        if isinstance(field, dict) and isinstance(field.get("kind"), str):
            points[-1]["kind"] = field["kind"]
    if not any(one["weight"] > 0 for one in points):
        raise ValueError(f"llm_judge: {name} has no point with a weight above 0; give at least one")
    return points


def _suited(name: str, reference: Reference, rubric: str) -> Reference:
    if isinstance(reference, list) != (not RUBRICS[rubric].criteria):
        raise ValueError(f"llm_judge: {name} does not go with {rubric}: checklist takes a list of points, the others none")
    return reference


def _check(dialogues: Sequence, references: Sequence[Reference], options: JudgeOptions) -> None:
    if not dialogues:
        raise ValueError("llm_judge: no predictions; give at least one dialogue")
    if options.rubric not in RUBRICS or options.language not in LANGUAGES:
        found = f"{options.rubric!r} in {options.language!r}"
        raise ValueError(f"llm_judge: no rubric {found}; there are {', '.join(RUBRICS)} in zh and en")
    if (options.judge is None) == (options.replies is None):
        raise ValueError("llm_judge: give either judge or replies")
    if options.samples < 1:
        raise ValueError(f"llm_judge: samples={options.samples}; give 1 or more")
    for name, column in (("replies", options.replies), ("groups", options.groups)):
        if column is not None and len(column) != len(dialogues):
            raise ValueError(f"llm_judge: {len(column)} {name} for {len(dialogues)} dialogues; give one for each")
    for row, reference in enumerate(references):
        _suited(f"references[{row}]", reference, options.rubric)
