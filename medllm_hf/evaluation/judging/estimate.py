"""What consultations would cost: the calls that are left, each with the prompt that it would have."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from medllm_hf.evaluation.consultations.transcript import GIVEN, ROLES, dialogue, first_turn, is_over, is_refused, next_messages
from medllm_hf.evaluation.costs.estimate import Estimate, Guess, Seen, Volume, about, at_most, seen_reply

if TYPE_CHECKING:
    from medllm_hf.evaluation.consultations.cases import Case
    from medllm_hf.evaluation.consultations.settings import Settings


def consult_estimate(
    talks: Mapping["Case", list[dict]], settings: "Settings", model: str
) -> tuple[dict[str, Estimate], list[dict], list[dict]]:
    """The estimate by role, and the dialogues for judging as they would be at most and about.

    Args:
        talks: the outputs so far of each case.
        model: the doctor's name.
    """
    limits = {role: getattr(settings, f"{role}_max_new_tokens") for role in ROLES}
    seen: dict[str, list[Seen]] = {role: [] for role in ROLES}
    for case, rows in talks.items():
        for turn, row in enumerate(rows):
            if found := row["finish"] != GIVEN and seen_reply(
                next_messages(case, rows[:turn], settings.auto), row["content"], row
            ):
                seen[row["role"]].append(found)
    most, high = _held(talks, settings, {role: at_most(limits[role]) for role in ROLES}, model)
    usual, middle = _held(talks, settings, {role: about(limits[role], seen[role]) for role in ROLES}, model)
    return {role: Estimate(most[role], usual[role]) for role in ROLES}, high, middle


def _held(
    talks: Mapping["Case", list[dict]], settings: "Settings", guesses: dict[str, Guess], model: str
) -> tuple[dict[str, Volume], list[dict]]:
    """The calls that all talks lack by role, and the dialogues that come of them."""
    found, dialogues = {role: Volume() for role in ROLES}, []
    for case, there in talks.items():
        rows = list(there) or ([first_turn(case)] if case.first_question else [])
        while not is_over(rows, settings.rounds, settings.auto):
            role = ROLES[len(rows) % 2]
            found[role] += guesses[role].call(next_messages(case, rows, settings.auto))
            rows.append({"role": role, "content": guesses[role].text, "finish": "length"})
        if not is_refused(rows):
            dialogues.append(dialogue(case, rows, model))
    return found, dialogues
