"""What judgements would cost: the calls that are left, each with the prompt that it would have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medllm_hf.evaluation.costs.estimate import Estimate, Guess, Seen, Volume, about, at_most, seen_reply

# As long as the longest reason why a reply of one criterion is not usable.
_REASON = "x" * 50


@dataclass(frozen=True)
class Asking:
    """What shapes the prompts of a judge: its metric, rubric, language, form of replies, their limit and the attempts."""

    metric: object
    rubric: str
    language: str
    form: str
    limit: int
    attempts: int

    def prompt(self, one: dict, again: str | None = None) -> tuple[list[dict], dict | None]:
        """The messages and the response format that ask for a verdict on a dialogue."""
        reference = one.get("reference")
        messages = self.metric.messages(one["turns"], self.rubric, self.language, reference, self.form, again)
        return messages, self.metric.response_format(self.rubric, reference) if self.form == "json" else None

    def calls(self, one: dict, guess: Guess, attempts: int) -> Volume:
        """The calls for one verdict on a dialogue when all attempts but the last bring an unusable reply."""
        first = guess.call(*self.prompt(one))
        again = [guess.call(*self.prompt(one, self._longest_reason(one)))] * (attempts - 1) if attempts > 1 else []
        return sum(again, first)

    def _longest_reason(self, one: dict) -> str:
        fields = self.metric.response_format(self.rubric, one.get("reference"))["json_schema"]["schema"]["required"]
        named = [name for name in fields if name != "reasons"]
        lacking = "no score for " + ", ".join(name for name in named if name != min(named, key=len))
        return max(lacking, _REASON, key=len)


def judge_estimate(
    asking: Asking,
    wanted: Sequence[tuple[dict, int]],
    rows: Mapping[tuple, dict],
    usual: Sequence[tuple[dict, int]] | None = None,
) -> Estimate:
    """The estimate for the replies of a judge that a run lacks.

    Args:
        wanted: (dialogue, sample) of every reply of the run; `usual` are the same with dialogues as they are about to be.
        rows: the outputs that are there, by (id, sample).
    """
    seen = [found for one, sample in wanted if (found := _seen(asking, one, rows.get((one["id"], sample))))]
    high, middle = at_most(asking.limit), about(asking.limit, seen)
    left = [[one for one, sample in units if (one["id"], sample) not in rows] for units in (wanted, usual or wanted)]
    return Estimate(
        sum((asking.calls(one, high, asking.attempts) for one in left[0]), Volume()),
        sum((asking.calls(one, middle, 1) for one in left[1]), Volume()),
    )


def _seen(asking: Asking, one: dict, row: dict | None) -> Seen | None:
    # A reply after unusable ones has the tokens of several prompts.
    if row is None or row["attempts"]:
        return None
    return seen_reply(replace(asking, form=row["form"]).prompt(one)[0], row["reply"], row)
