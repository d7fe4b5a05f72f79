"""How a judge is asked for the replies of a run: in which words, by which settings and in which form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from medllm_hf.evaluation.costs.estimate import Guess, Volume
from medllm_hf.evaluation.judging import inventions
from medllm_hf.evaluation.judging.records import Output, Reference, Transcript
from medllm_hf.evaluation.judging.settings import Form, Settings
from medllm_hf.evaluation.models import ModelSpec

Outputs = Mapping[tuple, Output]
# As long as the longest reason why a reply of one criterion is not usable.
_REASON = "x" * 50


class Questions(Protocol):
    """The words in which a verdict is asked for, and how a reply is read: the metric, or what compares pairs by it."""

    def messages(
        self, turns: list, rubric: str, language: str, reference: Reference, form: str, again: str | None
    ) -> list[dict]:
        """The chat messages that ask for a verdict; `again`: why the last reply was not usable."""

    def response_format(self, rubric: str, reference: Reference) -> dict:
        """The schema that goes with the form "json"."""

    def verdict(self, reply: str, rubric: str, reference: Reference) -> tuple[dict | None, str | None]:
        """What a reply says and None, or None and why it says nothing."""


@dataclass(frozen=True)
class Asking:
    """How a judge is asked: in which words, by which settings, and in which form, "json" or "lines"."""

    questions: Questions
    settings: Settings
    form: str

    def prompt(self, one: Transcript, again: str | None = None) -> tuple[list[dict], dict | None]:
        """The messages and the response format that ask for a verdict on a dialogue."""
        reference, rubric = one.get("reference"), self.settings.rubric
        questions = self._questions(one)
        messages = questions.messages(one["turns"], rubric, self.settings.language, reference, self.form, again)
        return messages, questions.response_format(rubric, reference) if self.form == "json" else None

    def verdict(self, one: Transcript, reply: str) -> tuple[dict | None, str | None]:
        """What a reply on a dialogue says and None, or None and why it says nothing."""
        return self._questions(one).verdict(reply, self.settings.rubric, one.get("reference"))

    def volume(self, one: Transcript, guess: Guess, attempts: int) -> Volume:
        """The calls for one verdict on a dialogue when all attempts but the last bring an unusable reply."""
        first = guess.call(*self.prompt(one))
        again = [guess.call(*self.prompt(one, self._longest_reason(one)))] * (attempts - 1) if attempts > 1 else []
        return sum(again, first)

    def fields(self, one: Transcript) -> list[str]:
        """The criteria, or points of a checklist, that a verdict on a dialogue has."""
        schema = self._questions(one).response_format(self.settings.rubric, one.get("reference"))["json_schema"]["schema"]
        return [name for name in schema["required"] if name != "reasons"]

    def _questions(self, one: Transcript) -> Questions:
        return inventions if inventions.is_invention(one["id"]) else self.questions

    def _longest_reason(self, one: Transcript) -> str:
        if inventions.is_invention(one["id"]):
            return inventions.UNREADABLE
        named = self.fields(one)
        lacking = "no score for " + ", ".join(name for name in named if name != min(named, key=len))
        return max(lacking, _REASON, key=len)


def form_of(rows: Outputs, first: Transcript, party: ModelSpec, form: Form) -> str:
    """The form of verdicts to ask for: "json", or "lines" where the first canary's reply shows that no schema is taken."""
    if form == "lines":
        return form
    row = rows.get((first["id"], 0))
    return "json" if (row["schema"] if row else party.endpoint) else "lines"
