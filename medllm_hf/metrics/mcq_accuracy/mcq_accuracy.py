"""Accuracy on multiple-choice questions, with the number of unparsed replies and a 95% interval."""

import json
from collections.abc import Sequence

import datasets
import evaluate

from .clauses import read_statements as read_statements
from .denials import is_denied as is_denied
from .extraction import extract_choice

# evaluate copies only the files that this script names, so it names those too that its siblings read. No comment may follow
# such an import: evaluate takes it for an address.
from .judgements import read_judgements as read_judgements
from .languages import after_foreign as after_foreign
from .named_letters import Reply as Reply
from .option_rows import Rows as Rows
from .plain_text import plain as plain
from .scoring import Accuracy, Option, check_columns, score_answers
from .statements import Statement as Statement
from .stems import Stem as Stem

_DESCRIPTION = """
Accuracy on multiple-choice questions with one or several right answers. A prediction is right when its set of letters equals
the reference's. A reply from which no letters can be taken counts as wrong and is also counted in `unparsed`; none is guessed.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of str): letters ("B", "ABD") or raw replies of a model, "" for no reply.
    references (list of str): right letters in capitals, "B" or "ABD", in any order.
    options (list of list of dict, optional): each question's options as {"label": "A", "text": "..."}. They are needed to read
        replies that give an option's text, and to refuse letters that a question does not have. Default: A to E without text.
    groups (list of str, optional): a group (subject, exam) for each question.
    questions (list of str, optional): the questions' stems without their options. They are needed to read "C is wrong" as the
        answer where a stem asks for what is wrong, and not to read "A is right" as one there.
    kinds (list of str, optional): "single" or "multi", as a question wants one letter or several, or None. Two letters
        are no answer to a "single" question; a reply that is nothing but a list of some options answers a "multi" one.
    `options`, `groups`, `questions` and `kinds` go with the rows, to `compute` or to `add_batch`. After `add` or `add_batch`
    without them, `compute` takes those of all rows in the order in which the rows were added.
Returns:
    accuracy (float, 0 to 1), n (int), unparsed (int), interval_low and interval_high (float, Wilson, 95%),
    macro_accuracy (float, mean over the groups), partial_credit (float, mean over the questions of the share of the right
    letters that were chosen, 0 where a wrong one was chosen), and
    groups (list of dict: group, n, accuracy, interval_low, interval_high, unparsed, chance).
Examples:
    >>> metric = evaluate.load("mcq_accuracy")
    >>> result = metric.compute(predictions=["B", "故选A、C。", "无法判断"], references=["B", "AD", "E"])
    >>> result["n"], result["unparsed"], round(result["accuracy"], 3)
    (3, 1, 0.333)
"""

_CITATION = """
Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference. JASA 22(158), 209-212.
"""

_PACKED = "\x1e"  # begins a stored reference that carries its row's options, group, question and kind


class McqAccuracy(evaluate.Metric):
    """See `_KWARGS_DESCRIPTION`. The extractor: `extract_choice(reply, options, question, kind)`, options as letter → text."""

    extract_choice = staticmethod(extract_choice)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")}),
        )

    def add_batch(
        self,
        *,
        predictions: Sequence[str] | None = None,
        references: Sequence[str] | None = None,
        options: Sequence[Sequence[Option]] | None = None,
        groups: Sequence[str] | None = None,
        questions: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
    ) -> None:
        """Stores rows for the next `compute`."""
        if predictions is None or references is None:
            raise ValueError("mcq_accuracy: predictions or references missing; give both")
        check_columns(predictions, references, options, groups, questions, kinds)
        # One string column carries what belongs to a row, because evaluate has no optional columns: so it follows its row
        # through add_batch and the files of several processes.
        columns = (options, groups, questions, kinds)
        if any(column is not None for column in columns):
            absent = [None] * len(references)
            own = (absent if column is None else column for column in columns)
            rows = zip(references, *own, strict=True)
            references = [_PACKED + json.dumps(row, ensure_ascii=False) for row in rows]
        super().add_batch(predictions=list(predictions), references=list(references))

    def compute(
        self,
        *,
        predictions: Sequence[str] | None = None,
        references: Sequence[str] | None = None,
        options: Sequence[Sequence[Option]] | None = None,
        groups: Sequence[str] | None = None,
        questions: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
    ) -> Accuracy | None:
        """Computes the metric over the rows that are given here or were added before."""
        if predictions is not None or references is not None:
            self.add_batch(
                predictions=predictions,
                references=references,
                options=options,
                groups=groups,
                questions=questions,
                kinds=kinds,
            )
            options = groups = questions = kinds = None
        return super().compute(options=options, groups=groups, questions=questions, kinds=kinds)

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        options: Sequence[Sequence[Option]] | None = None,
        groups: Sequence[str] | None = None,
        questions: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
    ) -> Accuracy:
        given = {"options": options, "groups": groups, "questions": questions, "kinds": kinds}
        for name, column in given.items():
            if column is not None and len(column) != len(references):
                raise ValueError(f"mcq_accuracy: {len(column)} {name} for {len(references)} rows; give one for each")
        rows = [json.loads(one[1:]) if one.startswith(_PACKED) else (one, *[None] * len(given)) for one in references]
        stored, own_options, own_groups, own_questions, own_kinds = zip(*rows, strict=True) if rows else ((),) * 5
        return score_answers(
            predictions,
            stored,
            own_options if options is None else options,
            own_groups if groups is None else groups,
            own_questions if questions is None else questions,
            own_kinds if kinds is None else kinds,
        )
