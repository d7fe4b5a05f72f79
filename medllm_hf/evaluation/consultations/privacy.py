"""Cases and dialogues that hold personal data stay on this machine."""

from collections.abc import Iterable

from medllm_hf.data.screening.pii.masking import find
from medllm_hf.errors import UserError
from medllm_hf.evaluation.models import ModelSpec


def check_personal_data(texts: Iterable[tuple[str, str]], name: str, models: Iterable[ModelSpec]) -> None:
    """Check that no personal data is about to leave this machine.

    Args:
        texts: (id, text) of each case or dialogue.
        name: the file that they are from.
        models: who is sent them.

    Raises:
        UserError: one of the texts holds personal data and one of the models is elsewhere. What was found is not repeated.
    """
    remote = [model.record["id"] for model in models if model.is_remote]
    if not remote:
        return
    found = {id_: kinds for id_, text in texts if (kinds := {one.kind for one in find(text)})}
    if found:
        first = next(iter(found))
        every = ", ".join(sorted(set().union(*found.values())))
        held = f"personal data ({every}) in {len(found)} rows of {name}, the first is {first}"
        expected = f"none in what {' and '.join(dict.fromkeys(remote))} beyond this machine is sent"
        raise UserError(held, expected, "mask it in the file, or add --allow-personal-data")
