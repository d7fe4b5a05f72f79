"""A judged dialogue: its words, what each reply of the judge says of it, and what these come to."""

from dataclasses import dataclass

from medllm_hf.evaluation.judging.records import Dialogue, Item, Reference, ScoreRow, Turn


@dataclass(frozen=True)
class Unscored:
    """In the place of scores: why a reply gives none."""

    reason: str


@dataclass(frozen=True)
class Scored:
    """The mean scores of a dialogue over its usable replies by criterion, and the mean of these."""

    scores: dict[str, float]
    overall: float


@dataclass(frozen=True)
class Judged:
    """A dialogue and what its judge's replies say of it.

    Attributes:
        verdicts: Of each reply, one a sample, the scores by criterion.
        attempts: Earlier replies that were not usable.
        verdict: What all of them come to.
        item: The dialogue as the metric gives it.
    """

    dialogue: Dialogue
    verdicts: list[dict[str, float] | Unscored]
    attempts: list[str]
    verdict: Scored | Unscored
    item: Item

    @property
    def id(self) -> str:
        return self.dialogue["id"]

    @property
    def case(self) -> tuple[str, str]:
        """Source and id of the case, by which systems are paired."""
        return self.dialogue["source"], self.dialogue["case_id"]

    @property
    def group(self) -> str:
        return self.dialogue["group"]

    @property
    def turns(self) -> list[Turn]:
        return self.dialogue["turns"]

    @property
    def reference(self) -> Reference:
        """What the judge was told of the case, or the points of its checklist; None where it was told nothing."""
        return self.dialogue.get("reference")

    @property
    def rows(self) -> list[ScoreRow]:
        """The dialogue's rows of scores.jsonl, one for each reply."""
        rows: list[ScoreRow] = []
        for sample, verdict in enumerate(self.verdicts):
            given, reason = ({}, verdict.reason) if isinstance(verdict, Unscored) else (verdict, None)
            scores = {key: given.get(key) for key in self.item["scores"]}
            rows.append({**self.dialogue, "sample": sample, "scores": scores, "unscored": reason})
        return rows
