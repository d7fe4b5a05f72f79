"""Scores of medical consultations by a judge model, every reply kept, with 95% intervals."""

import json
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

# evaluate copies only the files that this script names, so it names those too that its siblings read. No comment may follow
# such an import: evaluate takes it for an address.
from .calling import endpoint_judge as endpoint_judge
from .figures import means as means
from .pairs import pair_messages, pair_record, pair_response_format, pair_verdict
from .prompts import messages
from .quasi_json import decode as decode
from .rubrics import RUBRICS, Turn
from .scoring import JudgeOptions, read_columns, score_dialogues, verdict
from .verdicts import read_verdict as read_verdict

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
    rubric (str): "disc-medllm" (default), or another name in `metric.rubrics`.
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


class LlmJudge(evaluate.Metric):
    """See `_KWARGS_DESCRIPTION`; README.md has the functions beside `compute`, which serve whoever asks the judge himself."""

    rubrics = RUBRICS
    messages = staticmethod(messages)
    verdict = staticmethod(verdict)
    pair_messages = staticmethod(pair_messages)
    pair_verdict = staticmethod(pair_verdict)
    pair_record = staticmethod(pair_record)
    pair_response_format = staticmethod(pair_response_format)

    def _info(self) -> evaluate.MetricInfo:
        turn = {"role": datasets.Value("string"), "content": datasets.Value("string")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": datasets.List(turn), "references": datasets.Value("string")}),
        )

    def add_batch(self, *, predictions: Sequence | None = None, references: Sequence | None = None) -> None:
        """Stores dialogues, and what goes with them, for the next `compute`."""
        turns, references = read_columns(predictions, references)
        # evaluate has no column that may be empty or of two kinds, so a reference travels as JSON.
        super().add_batch(predictions=turns, references=[json.dumps(one, ensure_ascii=False) for one in references])

    def add(self, *, prediction: Sequence[Turn] | None = None, reference: str | list | None = None) -> None:
        """Stores one dialogue for the next `compute`."""
        self.add_batch(predictions=[prediction], references=[reference])

    def compute(
        self, *, predictions: Sequence | None = None, references: Sequence | None = None, **options: object
    ) -> dict | None:
        """Scores the dialogues that are given here or were added before."""
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references)
        return super().compute(**options)

    def _compute(self, predictions: list[list[Turn]], references: list[str], **options: Any) -> dict:
        return score_dialogues(predictions, [json.loads(one) for one in references], JudgeOptions(**options))
