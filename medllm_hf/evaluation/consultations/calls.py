"""The calls of a run of consultations beside those of the dialogues, and what becomes an output of each call."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from medllm_hf.endpoints.address import Endpoint
from medllm_hf.endpoints.client import ChatClient, EndpointError, Reply, ask_all
from medllm_hf.evaluation.consultations.canaries import TURN as CANARY_TURN
from medllm_hf.evaluation.consultations.canaries import canary_messages
from medllm_hf.evaluation.consultations.cases import Case
from medllm_hf.evaluation.consultations.diagnosis import TURN as DIAGNOSIS_TURN
from medllm_hf.evaluation.consultations.diagnosis import diagnosis_messages
from medllm_hf.evaluation.consultations.gate import Fault
from medllm_hf.evaluation.consultations.patient import language
from medllm_hf.evaluation.consultations.settings import Settings
from medllm_hf.evaluation.consultations.transcript import REFUSED, ROLES, Call, dialogue, uncalled
from medllm_hf.evaluation.costs.ledger import Spending

# Statuses by which a server says that it will never take a request. From one that has answered others, they concern the
# words of a single dialogue, as a content filter or the length of the context does.
NEVER_TAKEN = (400, 413, 422)


async def ask_canaries(
    names: Sequence[str], patient: Endpoint, settings: Settings, keep: Callable[[Call], None], spending: Spending
) -> None:
    """Hands the patient's reply to each of the canaries to `keep`.

    Raises:
        EndpointError: one that fails otherwise than by its words, or all of them.
    """
    async with ChatClient(patient) as client:

        async def ask(name: str, _: object) -> None:
            reply = await client.complete(
                canary_messages(name),
                max_tokens=settings.patient_max_new_tokens,
                limit_flag="--patient-max-new-tokens",
                temperature=settings.patient_temperature,
                seed=call_seed(settings.seed, name, CANARY_TURN),
                account=spending.account("patient"),
            )
            keep(output(name, CANARY_TURN, [reply], [], client.dropped))

        failed = await ask_all(dict.fromkeys(names), ask, len(names))
    for name, error in failed.items():
        if error.status not in NEVER_TAKEN or len(failed) == len(names):
            raise error
        keep({**uncalled(name, CANARY_TURN, "", REFUSED), "error": str(error)})


async def ask_diagnoses(
    talks: Mapping[Case, list[Call]], doctor: Endpoint, settings: Settings, keep: Callable[[Call], None], spending: Spending
) -> dict[str, EndpointError]:
    """Hands the doctor's diagnoses of each dialogue to `keep`; returns the failures by the id of the case.

    Raises:
        EndpointError: one that every other request would meet too.
    """
    async with ChatClient(doctor) as client:
        client.worded = True  # it has held the dialogues

        async def ask(name: str, talk: tuple[Case, list[Call]]) -> None:
            turns = dialogue(*talk, name)["turns"]
            reply = await client.complete(
                diagnosis_messages(turns, language(talk[0]), settings.doctor_system),
                max_tokens=settings.doctor_max_new_tokens,
                limit_flag="--doctor-max-new-tokens",
                temperature=settings.doctor_temperature,
                seed=call_seed(settings.seed, name, DIAGNOSIS_TURN),
                account=spending.account("doctor"),
            )
            keep(output(name, DIAGNOSIS_TURN, [reply], [], client.dropped))

        failed = await ask_all({case.id: (case, rows) for case, rows in talks.items()}, ask, doctor.concurrency)
    for name in [name for name, error in failed.items() if error.status in NEVER_TAKEN]:
        keep({**uncalled(name, DIAGNOSIS_TURN, "", REFUSED), "error": str(failed.pop(name))})
    return failed


def output(case: str, turn: int, replies: Sequence[Reply], faults: list[Fault], dropped: set[str]) -> Call:
    """The output of a turn: the last of its replies, with the tokens of all and the fields that they went without.

    Args:
        replies: those before the last did not keep to the patient's role; `faults` are those of the last one.
    """
    reply = replies[-1]
    row: Call = {
        "case": case, "turn": turn, "role": ROLES[turn % 2], "content": reply.text, "finish": reply.finish,
        "prompt_tokens": _total(reply.prompt_tokens for reply in replies),
        "completion_tokens": _total(reply.completion_tokens for reply in replies),
        "seconds": round(sum(reply.seconds for reply in replies), 3), "retries": sum(reply.retries for reply in replies),
    }  # fmt: skip
    if replies[1:]:
        row["attempts"] = [reply.text for reply in replies[:-1]]
    if faults:
        row["faults"] = [*faults]
    return {**row, "dropped": sorted(dropped)} if dropped else row


def _total(counts: Iterable[int | None]) -> int | None:
    """The sum, None where a count is not known."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def call_seed(seed: int, case: str, turn: int, again: int = 0) -> int:
    """The seed of one call: the same whenever and in whatever order the calls are made, and below 2**31."""
    place = f"{turn}.{again}" if again else f"{turn}"
    return int.from_bytes(hashlib.sha256(f"{seed}/{place}/{case}".encode()).digest()[:4]) >> 1
