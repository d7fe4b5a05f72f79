"""Scores of medical consultations by a judge model, every reply kept, with 95% intervals."""

import json
import math

import datasets
import evaluate

from .calling import endpoint_judge

# evaluate copies only the files that this script names; those that other files need are named here too. No comment may
# follow such an import: evaluate takes it for an address.
from .figures import bounds, ceiling, detectable, distribution, length, means, within_item
from .labels import plain as plain
from .objects import object_verdicts as object_verdicts
from .pairs import KEYS, NAME, VERSION, pair_digest, pair_messages, pair_schema, read_pair_verdict
from .prompts import digest, messages, schema
from .rubrics import LANGUAGES, RUBRICS, point_names
from .verdicts import Scale, read_verdict

_DESCRIPTION = """
Scores of a doctor's side in medical consultations, given by a judge model that reads each dialogue with a rubric. The
dialogue is fenced, so that nothing in it can pass for an instruction. A reply without a clear verdict is asked for again and
then counted as unscored with the reason; no score is guessed, and no dialogue is dropped silently.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of list of dict): dialogues, each a list of {"role": "patient" or "doctor", "content": str}.
    references (list, optional): what is known of each case as text, shown to the judge, or None; for the rubric "checklist"
        the points of each case, texts or {"point": str, "weight": number}, a negative weight for a fault.
    judge (callable or dict): takes chat messages (list of {"role", "content"}) and returns the reply's text; or
        {"url", "model", "key_env"} of an OpenAI-style endpoint, where `key_env` names the variable that holds the key.
    replies (list of str or of list of str): stored replies in place of a judge, those of each dialogue.
    rubric (str): "disc-medllm" (default), "disc-medllm-plain", "safety" or "checklist".
    language (str): of the rubric, "zh" (default) or "en".
    samples (int): replies for each dialogue (default: 1).
    groups (list of str, optional): a group (department, intent) for each dialogue.
    seed (int): of the bootstrap (default: 0).
Returns:
    one figure a criterion (for "disc-medllm": proactivity, accuracy, helpfulness, linguistic_quality) and `overall`: means
    over the scored dialogues, None if there are none; n (dialogues, unscored ones among them), unscored, intervals,
    bounds, ceiling, distribution, within_item_sd, detectable_difference, length, groups, rubric, and items in input order.
Examples:
    >>> metric = evaluate.load("llm_judge")
    >>> dialogue = [{"role": "patient", "content": "头痛两天"}, {"role": "doctor", "content": "发热吗？"}]
    >>> verdict = "主动性：5\\n准确性：4\\n有用性：3\\n语言质量：5"
    >>> result = metric.compute(predictions=[dialogue, dialogue], judge=lambda messages: verdict)
    >>> result["proactivity"], result["overall"], result["n"], result["unscored"]
    (5.0, 4.25, 2, 0)
"""

_CITATION = """
Bao, Z. et al. (2023). DISC-MedLLM: Bridging General Large Language Models and Real-World Medical Consultation.
arXiv 2308.14346.
"""

_WORDS = {"met": 1, "not met": 0, "yes": 1, "no": 0, "true": 1, "false": 0, "满足": 1, "不满足": 0, "是": 1, "否": 0,
          "已满足": 1, "未满足": 0, "unmet": 0}  # fmt: skip
_ATTEMPTS = 3
_FACTS = ("scores", "overall", "unscored", "samples", "replies", "doctor_characters")


class LlmJudge(evaluate.Metric):
    """See `_KWARGS_DESCRIPTION`. The functions below `_compute` serve whoever asks the judge himself."""

    def _info(self):
        turn = {"role": datasets.Value("string"), "content": datasets.Value("string")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": datasets.List(turn), "references": datasets.Value("string")}),
        )

    def add_batch(self, *, predictions=None, references=None):
        """Stores dialogues, and what goes with them, for the next `compute`."""
        if predictions is None:
            raise ValueError("llm_judge: predictions missing; give a list of dialogues")
        references = [None] * len(predictions) if references is None else references
        if len(references) != len(predictions):
            raise ValueError(f"llm_judge: {len(references)} references for {len(predictions)} predictions; give one for each")
        turns = [_turns(row, dialogue) for row, dialogue in enumerate(predictions)]
        # evaluate has no column that may be empty or of two kinds, so a reference travels as JSON.
        packed = [json.dumps(_reference(f"references[{row}]", one), ensure_ascii=False) for row, one in enumerate(references)]
        super().add_batch(predictions=turns, references=packed)

    def add(self, *, prediction=None, reference=None):
        """Stores one dialogue for the next `compute`."""
        self.add_batch(predictions=[prediction], references=[reference])

    def compute(self, *, predictions=None, references=None, **options):
        """Scores the dialogues that are given here or were added before."""
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references)
        return super().compute(**options)

    def _compute(
        self, predictions, references, judge=None, replies=None, rubric="disc-medllm", language="zh", samples=1,
        groups=None, seed=0,
    ):  # fmt: skip
        references = [json.loads(reference) for reference in references]
        _check(predictions, references, rubric, language, judge, replies, samples, groups)
        if replies is not None:
            given = [[reply] if isinstance(reply, str) else list(reply) for reply in replies]
        else:
            ask = judge if callable(judge) else endpoint_judge(judge)
            given = [
                [self.asked(ask, turns, rubric, language, reference) for _ in range(samples)]
                for turns, reference in zip(predictions, references, strict=True)
            ]
        rows = zip(predictions, references, given, strict=True)
        items = [self.scored(turns, reference, texts, rubric) for turns, reference, texts in rows]
        names = [""] * len(items) if groups is None else groups
        return {
            **self.summary(items, rubric, language, seed),
            "groups": self.by_group(items, names, rubric, seed),
            "items": items,
        }

    @staticmethod
    def asked(ask, turns, rubric, language, reference):
        """The judge's reply on a dialogue: the first with a clear verdict, else the last of three."""
        again = None
        for _ in range(_ATTEMPTS):
            reply = ask(LlmJudge.messages(turns, rubric, language, reference, again=again))
            if not isinstance(reply, str):
                raise ValueError(f"llm_judge: judge returned a {type(reply).__name__}; it must return the reply's text")
            scores, again = LlmJudge.verdict(reply, rubric, reference)
            if scores is not None:
                break
        return reply

    @staticmethod
    def messages(turns, rubric, language="zh", reference=None, form="lines", again=None):
        """The chat messages that ask for a verdict in the form "lines" or "json"; `again`: why the last was not usable."""
        return messages(RUBRICS[rubric], language, turns, reference, form, again)

    @staticmethod
    def response_format(rubric, reference=None):
        """The `response_format` that goes with messages in the form "json"."""
        return schema(RUBRICS[rubric], reference)

    @staticmethod
    def reference(value, rubric, name="reference"):
        """A reference as `messages` and `scored` take it; ValueError where it is none for the rubric."""
        return _suited(name, _reference(name, value), rubric)

    @staticmethod
    def rubric_record(rubric, language="zh"):
        """Name, version, language, SHA-256 of every word, criteria and scale of a rubric."""
        known = RUBRICS[rubric]
        record = {"name": rubric, "version": known.version, "language": language, "sha256": digest(known, language)}
        return {**record, "criteria": criteria(rubric), "low": known.low, "high": known.high, "whole_points": known.whole}

    @staticmethod
    def verdict(reply, rubric, reference=None):
        """The scores in a reply by criterion (or point) and None; or None and the reason why there are none."""
        known = RUBRICS[rubric]
        names = {c.key: c.names for c in known.criteria} or point_names(reference)
        return read_verdict(reply, names, Scale(known.low, known.high, known.step, {} if known.criteria else _WORDS))

    @staticmethod
    def scored(turns, reference, replies, rubric):
        """The item of a dialogue: its mean scores over the usable replies, and what became of each reply."""
        samples = []
        for reply in replies:
            scores, unscored = LlmJudge.verdict(reply, rubric, reference)
            points = scores if scores is None or RUBRICS[rubric].criteria else {"checklist": _weighted(scores, reference)}
            samples.append({"scores": points, "unscored": unscored, **({} if points is scores else {"points": scores})})
        usable = [sample["scores"] for sample in samples if sample["scores"] is not None]
        keys = criteria(rubric)
        mean = {key: math.fsum(scores[key] for scores in usable) / len(usable) if usable else None for key in keys}
        overall = math.fsum(mean.values()) / len(keys) if usable else None
        why = None if usable else samples[-1]["unscored"] if samples else "no reply"
        said = sum(len(turn["content"]) for turn in turns if turn["role"] == "doctor")
        return dict(zip(_FACTS, (mean, overall, why, samples, list(replies), said), strict=True))

    @staticmethod
    def summary(items, rubric, language="zh", seed=0):
        """The figures over items."""
        keys, known = criteria(rubric), RUBRICS[rubric]
        return {
            **means(items, keys, seed),
            "bounds": bounds(items, keys, known.low, known.high),
            "ceiling": ceiling(items, keys, known.high),
            "distribution": distribution(items, keys),
            "within_item_sd": within_item(items, keys),
            "detectable_difference": detectable(items, keys),
            "length": length(items, keys),
            "rubric": LlmJudge.rubric_record(rubric, language),
        }

    @staticmethod
    def pair_messages(first, second, language="zh", reference=None, form="lines", again=None):
        """The chat messages that ask which of two dialogues on one case is better; nothing in them names a system."""
        return pair_messages(first, second, language, reference, form, again)

    @staticmethod
    def pair_response_format():
        """The `response_format` that goes with `pair_messages` in the form "json"."""
        return pair_schema()

    @staticmethod
    def pair_record(language="zh"):
        """Name, version, language, SHA-256 of every word and the criteria of the comparison of two dialogues."""
        record = {"name": NAME, "version": VERSION, "language": language, "sha256": pair_digest(language)}
        return {**record, "criteria": list(KEYS)}

    @staticmethod
    def pair_verdict(reply):
        """By criterion "first", "second" or "tie", in the order shown, and None; or None and the reason why there are none."""
        return read_pair_verdict(reply)

    @staticmethod
    def by_group(items, groups, rubric, seed=0):
        """A row of means for each group, in the order in which the groups first come."""
        members = {
            name: [item for item, own in zip(items, groups, strict=True) if own == name] for name in dict.fromkeys(groups)
        }
        return [{"group": name, **means(own, criteria(rubric), seed)} for name, own in members.items()]


def criteria(rubric: str) -> list[str]:
    """The names of a rubric's figures."""
    return [criterion.key for criterion in RUBRICS[rubric].criteria] or ["checklist"]


def _weighted(met: dict[str, float], points: list[dict]) -> float:
    """The weight of the points met over that of all good points, within 0 and 1. Source: HealthBench (arXiv 2505.08775)."""
    reached = math.fsum(score * point["weight"] for score, point in zip(met.values(), points, strict=True))
    return min(1.0, max(0.0, reached / math.fsum(max(0, point["weight"]) for point in points)))


def _turns(row, dialogue):
    whole = isinstance(dialogue, list | tuple) and all(isinstance(turn, dict) for turn in dialogue)
    for turn in dialogue if whole else [{}]:
        role, content = turn.get("role"), turn.get("content")
        if role not in ("patient", "doctor") or not isinstance(content, str):
            expected = '{"role": "patient" or "doctor", "content": text}'
            raise ValueError(f"llm_judge: predictions[{row}] is no dialogue; give a list of {expected}")
    # Half of a surrogate pair can be written nowhere.
    return [{"role": t["role"], "content": t["content"].encode("utf-8", "replace").decode()} for t in dialogue]


def _reference(name, reference):
    """A reference as it is used: text, None, or points with a weight each."""
    if reference is None or isinstance(reference, str):
        return reference
    points = [{"point": one} if isinstance(one, str) else one for one in reference] if isinstance(reference, list) else [None]
    for one in points:
        weight = one.get("weight", 1) if isinstance(one, dict) else None
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not isinstance(one.get("point"), str):
            raise ValueError(f'llm_judge: {name} has {one}; give points as text or {{"point": text, "weight": number}}')
    points = [{"point": one["point"], "weight": one.get("weight", 1)} for one in points]
    if not any(one["weight"] > 0 for one in points):
        raise ValueError(f"llm_judge: {name} has no point with a weight above 0; give at least one")
    return points


def _suited(name, reference, rubric):
    if isinstance(reference, list) != (not RUBRICS[rubric].criteria):
        raise ValueError(f"llm_judge: {name} does not go with {rubric}: checklist takes a list of points, the others none")
    return reference


def _check(predictions, references, rubric, language, judge, replies, samples, groups):
    if not predictions:
        raise ValueError("llm_judge: no predictions; give at least one dialogue")
    if rubric not in RUBRICS or language not in LANGUAGES:
        raise ValueError(f"llm_judge: no rubric {rubric!r} in {language!r}; there are {', '.join(RUBRICS)} in zh and en")
    if (judge is None) == (replies is None):
        raise ValueError("llm_judge: give either judge or replies")
    if samples < 1:
        raise ValueError(f"llm_judge: samples={samples}; give 1 or more")
    for name, column in (("replies", replies), ("groups", groups)):
        if column is not None and len(column) != len(predictions):
            raise ValueError(f"llm_judge: {len(column)} {name} for {len(predictions)} dialogues; give one for each")
    for row, reference in enumerate(references):
        _suited(f"references[{row}]", reference, rubric)
