"""Outputs of an exam → rows of scores → metrics. Nothing here needs the model, so anybody can do it again."""

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from medllm_hf.metrics.mcq_accuracy.extraction import extract_choice
from medllm_hf.metrics.mcq_accuracy.scoring import Accuracy, score_answers

if TYPE_CHECKING:
    from medllm_hf.evaluation.exams.prompts import Asked


def predicted(output: dict) -> str:
    """What the model answered, in letters as shown: its reply, or the answer with the highest (mean) log-probability.

    Of equal ones it is the first in the alphabet, whatever order the output's fields are read in.
    """
    if "reply" in output:
        return output["reply"]
    lengths = output.get("lengths", {})
    return max(sorted(output["logprobs"]), key=lambda letters: output["logprobs"][letters] / lengths.get(letters, 1))


def score_row(one: "Asked", prediction: str) -> dict:
    """The row of scores.jsonl of one question as it was put."""
    item = one.item
    return {
        "id": item.id,
        "rotation": one.rotation,
        "order": one.order,
        "prediction": prediction,
        "reference": "".join(sorted(item.answer)),
        "group": item.subject,
        "kind": item.kind,
        "question": item.question,
        "options": [{"label": label, "text": text} for label, text in item.options.items()],
    }


def compute(scores: Iterable[dict]) -> dict:
    """The metrics of an exam from its rows of scores, by the project's own metric.

    Where items were asked in several rotations, which follow one another, an item is right only if all of them are; then
    `circular` has the number of rows ("rotations"), of items that got one and the same option throughout ("consistent"),
    and the accuracy of the first rotations alone ("first_accuracy").
    """
    scores = list(scores)
    if not any(row["rotation"] for row in scores):
        return _compute(scores)
    items = [_together(list(rows)) for _, rows in groupby(scores, key=lambda row: row["id"])]
    first = _compute([row for row in scores if row["rotation"] == 0])
    consistent = sum(same for _, same in items)
    circular = {"rotations": len(scores), "consistent": consistent, "first_accuracy": first["accuracy"]}
    return {**_compute([row for row, _ in items]), "circular": circular}


def _compute(rows: list[dict]) -> Accuracy:
    return score_answers(
        predictions=[row["prediction"] for row in rows],
        references=[row["reference"] for row in rows],
        groups=[row["group"] for row in rows],
        options=[row["options"] for row in rows],
    )


def _together(rows: list[dict]) -> tuple[dict, bool]:
    """The rotations of one item as one row in its own letters, its first wrong reply deciding, and whether all chose alike."""
    chosen, own_rows = [], []
    for row in rows:
        labels = [option["label"] for option in row["options"]]
        texts = {option["label"]: option["text"] for option in row["options"]}
        own = dict(zip(labels, row["order"], strict=True))
        letters = extract_choice(row["prediction"], texts) or ""
        chosen.append("".join(sorted(own[letter] for letter in letters)))
        reference = "".join(sorted(own[letter] for letter in row["reference"]))
        own_texts = {own[label]: text for label, text in texts.items()}
        options = [{"label": label, "text": own_texts[label]} for label in labels]
        own_rows.append({**row, "prediction": chosen[-1], "reference": reference, "options": options})
    wrong = [row for row in own_rows if row["prediction"] != row["reference"]]
    return [*wrong, own_rows[0]][0], len(set(chosen)) == 1 and chosen[0] != ""
