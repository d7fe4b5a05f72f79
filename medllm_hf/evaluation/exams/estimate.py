"""What the replies of an endpoint to exam questions have cost, and would cost."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from medllm_hf.evaluation.costs.estimate import Estimate, Volume, about, at_most, seen_reply, spent_in, told
from medllm_hf.evaluation.exams.prompts import Asked, Prompts
from medllm_hf.evaluation.exams.settings import Settings
from medllm_hf.evaluation.runs.folder import outputs_in


def usage(outputs: Iterable[Mapping]) -> dict:
    """Calls, requests and tokens of the outputs of an endpoint; `unknown` counts the replies without counts of tokens."""
    rows = list(outputs)
    return {
        "calls": len(rows),
        "retries": sum(row["retries"] for row in rows),
        **{name: sum(row[name] or 0 for row in rows) for name in ("prompt_tokens", "completion_tokens")},
        "unknown": sum(row["prompt_tokens"] is None for row in rows),
    }


def expected(out: str, manifest: dict, shown: Sequence[Asked], prompts: Prompts, settings: Settings, overwrite: bool) -> str:
    """What is printed in place of the run that the `manifest` describes; its folder is not touched.

    Raises:
        UserError: the folder holds something else.
    """
    rows = outputs_in(out, manifest, ("id", "rotation"), overwrite)
    there = [(one, rows[one.key]) for one in shown if one.key in rows]
    replies = [seen_reply(prompts.turns(one.item), row["reply"], row) for one, row in there]
    guesses = at_most(settings.max_new_tokens), about(settings.max_new_tokens, filter(None, replies))
    left = [prompts.turns(one.item) for one in shown if one.key not in rows]
    volumes = [sum((guess.call(turns) for turns in left), Volume()) for guess in guesses]
    priced = {name: value for name, value in manifest.items() if name == "prices"}
    spent = spent_in(out, priced["prices"]) if priced and rows else Fraction(0)
    return told({"model": Estimate(*volumes)}, priced, spent, settings.budget)
