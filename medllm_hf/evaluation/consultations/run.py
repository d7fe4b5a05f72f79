"""A simulated patient of each case consults the model under test, resumable at the turn."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from tqdm import tqdm

from medllm_hf.endpoints.address import Endpoint
from medllm_hf.endpoints.client import ChatClient, EndpointError, Reply, ask_all
from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.calls import NEVER_TAKEN, ask_canaries, ask_diagnoses, output
from medllm_hf.evaluation.consultations.calls import call_seed as call_seed
from medllm_hf.evaluation.consultations.canaries import TURN as CANARY_TURN
from medllm_hf.evaluation.consultations.canaries import canary_messages, check_canary, patient_canaries
from medllm_hf.evaluation.consultations.cases import Case, read_cases
from medllm_hf.evaluation.consultations.derive import Manifest, derive
from medllm_hf.evaluation.consultations.diagnosis import TURN as DIAGNOSIS_TURN
from medllm_hf.evaluation.consultations.diagnosis import diagnosis_messages, is_asked
from medllm_hf.evaluation.consultations.figures import described
from medllm_hf.evaluation.consultations.gate import AGAIN, FAULTS, Fault
from medllm_hf.evaluation.consultations.patient import ask_again, language
from medllm_hf.evaluation.consultations.privacy import check_personal_data
from medllm_hf.evaluation.consultations.settings import Settings, check_settings
from medllm_hf.evaluation.consultations.transcript import (
    GIVEN,
    KEY,
    REFUSED,
    ROLES,
    Call,
    Dialogue,
    dialogue,
    first_turn,
    is_over,
    is_refused,
    next_messages,
    outputs_of,
    patient_faults,
    uncalled,
)
from medllm_hf.evaluation.costs.estimate import AGAIN as USUALLY_AGAIN
from medllm_hf.evaluation.costs.estimate import DOCTOR, PATIENT, Estimate, Guess, Seen, Volume, about, at_most, seen_reply
from medllm_hf.evaluation.costs.ledger import Spending
from medllm_hf.evaluation.costs.prices import cost_text, record_prices
from medllm_hf.evaluation.models import ModelSpec, parse_model, serve_models
from medllm_hf.evaluation.runs.folder import RunFolder, open_run, read_run
from medllm_hf.evaluation.runs.records import read_record


@dataclass(frozen=True)
class Plan:
    """What a run will do: the cases, who plays each role, the settings, and the manifest that says all of it."""

    cases: tuple[Case, ...]
    sides: dict[str, ModelSpec]
    settings: Settings
    manifest: dict

    @property
    def doctor(self) -> str:
        """The doctor's name."""
        return self.sides["doctor"].record["id"]

    def is_over(self, rows: Sequence[Call]) -> bool:
        """Whether a dialogue with these outputs needs no further call."""
        return is_over(rows, self.settings.rounds, self.settings.auto)


@dataclass(frozen=True)
class Ending:
    """How a run has ended: what it has spent, and why some dialogues are not over, "" where all are."""

    spent: Fraction
    unfinished: str = ""


def plan_run(cases: str, doctor: str, patient: str, settings: Settings) -> Plan:
    """The plan of consultations on the cases of a file.

    Args:
        doctor, patient: `URL#MODEL` of an endpoint, a checkpoint folder or a Hub id.

    Raises:
        UserError: settings that do not go together; cases, a checkpoint or an endpoint that cannot be had; or personal data
            in cases that would leave this machine.
    """
    check_settings(settings)
    read = read_cases(cases)
    if settings.ask_diagnosis and not any(case.diagnosis for case in read.items):
        found = f"--ask-diagnosis and no diagnosis of any of {len(read.items)} cases"
        raise UserError(
            found, "cases with a diagnosis, to compare the doctor's with", "add theirs to the file, or leave it out"
        )
    sides = {"patient": party(patient, "patient", settings), "doctor": party(doctor, "doctor", settings)}
    if not settings.allow_personal_data:
        texts = ((case.id, f"{case.description}\n{case.first_question}") for case in read.items)
        check_personal_data(texts, cases, sides.values())
        check_personal_data([("its text", settings.doctor_system or "")], "--doctor-system", [sides["doctor"]])
    manifest = {
        "kind": "consult",
        **{role: sides[role].record for role in ROLES},
        "data": read.record,
        "settings": {},
        **record_prices(settings.prices, sides, settings.budget),
    }
    return in_manner(Plan(read.items, sides, settings, manifest), settings)


def in_manner(plan: Plan, settings: Settings) -> Plan:
    """The plan with other settings of how the patients are played."""
    cases = tuple(replace(case, manner=settings.manner) for case in plan.cases)
    return replace(plan, cases=cases, settings=settings, manifest={**plan.manifest, "settings": settings.record()})


def party(spec: str, role: str, settings: Settings) -> ModelSpec:
    """Who plays a role: "patient", "doctor" or "judge"."""
    return parse_model(
        spec,
        getattr(settings, f"{role}_key_env") or settings.key_env,
        concurrency=settings.concurrency,
        timeout=settings.timeout,
        enable_thinking=getattr(settings, f"{role}_enable_thinking"),
        extra_body=getattr(settings, f"{role}_extra_body"),
        talks=role != "judge",
    )


def hold_consultations(
    plan: Plan, out: str, overwrite: bool = False, before: Fraction = Fraction(0), tell: Callable[[str], object] | None = None
) -> Ending:
    """Holds a consultation on each case and writes the run folder `out`, or goes on with it.

    Args:
        before: what the command has spent elsewhere.
        tell: is told, before the dialogues are held, that there can be no headline, in one line.

    Raises:
        UserError: `out` holds something else; a checkpoint cannot be served; or an endpoint refuses every request.
    """
    with open_run(out, plan.manifest, KEY, overwrite) as run, Spending(run, plan.settings.budget, before) as spending:
        failed = {} if run.finished else fill(run, plan, spending, tell)
        if failed:
            first = next(case.id for case in plan.cases if case.id in failed)
            left = f"{len(failed)} of {len(plan.cases)} dialogues are not over"
            return Ending(spending.spent, spending.describe_missing(left, first, failed[first]))
        finish(run, plan, spending)
    return Ending(spending.spent)


def talks_of(rows: Mapping[tuple, dict], cases: Iterable[Case], where: str) -> dict[Case, list[Call]]:
    """The outputs so far of each case, among the `rows` of a run by case and turn.

    Raises:
        UserError: one of them is none of a consultation.
    """
    calls = {key: read_record(row, Call, where) for key, row in rows.items()}
    return {case: outputs_of(calls, case) for case in cases}


def lost_headline(plan: Plan, rows: Mapping[tuple, dict]) -> str:
    """One line on canaries that the patient has failed, by the outputs so far; "" where it has failed none."""
    said = {name: rows[name, CANARY_TURN]["content"] for name in patient_canaries(plan.cases) if (name, CANARY_TURN) in rows}
    failed = [name for name, reply in said.items() if not check_canary(name, reply)["passed"]]
    what = f"medllm: the patient gives way to {', '.join(failed)}: no headline will be possible"
    return f"{what}; Ctrl-C ends, what is done is kept" if failed else ""


def fill(
    run: RunFolder, plan: Plan, spending: Spending, tell: Callable[[str], object] | None = None
) -> dict[str, EndpointError]:
    """Adds to the run every call that its dialogues lack; returns the failures, by the id of the case that stays open.

    Raises:
        UserError: a checkpoint cannot be served, or an endpoint refuses every request.
    """
    talks = talks_of(run.rows, plan.cases, str(run.path))
    left = {case: rows for case, rows in talks.items() if not plan.is_over(rows)}
    if not left and not lacking_diagnoses(plan, talks, run.rows):
        return {}
    most = 2 * plan.settings.rounds
    with (
        serve_models([plan.sides[role] for role in ROLES]) as found,
        tqdm(total=most * len(talks), initial=len(run.rows), unit="turn", disable=None) as bar,
    ):
        bar.total -= sum(most - len(rows) for case, rows in talks.items() if case not in left)

        def keep(rows: list[Call], row: Call) -> None:
            run.append(dict(row))
            rows.append(row)
            bar.update()
            if plan.is_over(rows):
                bar.total -= most - len(rows)

        at = dict(zip(ROLES, found, strict=True))
        tempting = lacking_canaries(plan, run.rows)
        try:
            asyncio.run(check_endpoints(plan, at, spending))
            asyncio.run(ask_canaries(tempting, at["patient"], plan.settings, lambda row: run.append(dict(row)), spending))
            if tell and left and (lost := lost_headline(plan, run.rows)):
                tell(lost)
            failed = asyncio.run(hold(left, at, plan, keep, spending))
            unasked = lacking_diagnoses(plan, talks, run.rows)
            failed |= asyncio.run(
                ask_diagnoses(unasked, at["doctor"], plan.settings, lambda row: run.append(dict(row)), spending)
            )
        except EndpointError as error:
            if spending.reached:
                return {case.id: error for case in left or lacking_diagnoses(plan, talks, run.rows)}
            kept = f"{len(run.rows)} turns are kept"
            raise error.told("an endpoint that answers", "mend it", f" and run the same again, {kept}") from error
        answered = {row["role"] for row in run.rows.values() if row["finish"] not in (GIVEN, REFUSED)}
        for case, rows in left.items():
            if case.id in failed and failed[case.id].status in NEVER_TAKEN and ROLES[len(rows) % 2] in answered:
                # The server will never take this call: an output stands for it, and the dialogue ends.
                keep(rows, {**uncalled(case.id, len(rows), "", REFUSED), "error": str(failed.pop(case.id))})
        return failed


def lacking_diagnoses(plan: Plan, talks: Mapping[Case, list[Call]], rows: Mapping[tuple, object]) -> dict[Case, list[Call]]:
    """The dialogues that are over and whose doctor has still to be asked for diagnoses, among the outputs by case and turn."""
    if not plan.settings.ask_diagnosis:
        return {}
    over = {case: own for case, own in talks.items() if plan.is_over(own) and is_asked(own)}
    return {case: own for case, own in over.items() if (case.id, DIAGNOSIS_TURN) not in rows}


async def check_endpoints(plan: Plan, at: dict[str, Endpoint], spending: Spending) -> None:
    """Check, by one short question each, that the endpoints which are not served here answer.

    Raises:
        EndpointError: one does not.
    """
    roles = {at[role]: role for role in reversed(ROLES) if plan.sides[role].endpoint}
    for endpoint, role in roles.items():
        async with ChatClient(endpoint) as client:
            await client.preflight(spending.account(role))


async def hold(
    talks: dict[Case, list[Call]], at: dict[str, Endpoint], plan: Plan, keep: Callable[[list[Call], Call], None],
    spending: Spending,
) -> dict[str, EndpointError]:  # fmt: skip
    """Goes on with all `talks` at once until they are over, each call's output handed to `keep`; returns the failures.

    Args:
        talks: the outputs so far of each case; `keep` adds to them.
        at: the endpoint of each role; roles of one endpoint share its bound on requests.

    Raises:
        EndpointError: one that every other request would meet too; the rest are not sent.
    """
    settings = plan.settings
    limits = {role: getattr(settings, f"{role}_max_new_tokens") for role in ROLES}
    warmth = {role: getattr(settings, f"{role}_temperature") for role in ROLES}

    async with AsyncExitStack() as stack:
        own = {endpoint: await stack.enter_async_context(ChatClient(endpoint)) for endpoint in dict.fromkeys(at.values())}
        for client in own.values():
            # What an earlier run has heard says that replies have words.
            client.worded = any(talks.values())

        async def ask(name: str, talk: tuple[Case, list[Call]]) -> None:
            case, rows = talk
            if not rows and case.first_question:
                keep(rows, first_turn(case))
            while not plan.is_over(rows):
                turn, role = len(rows), ROLES[len(rows) % 2]
                client = own[at[role]]
                messages = next_messages(case, rows, settings.auto, settings.doctor_system)
                replies: list[Reply] = []
                faults: list[Fault] = []
                while not replies or (faults and len(replies) <= AGAIN):
                    reply = await client.complete(
                        ask_again(case, messages, faults, last=len(replies) == AGAIN) if replies else messages,
                        max_tokens=limits[role],
                        limit_flag=f"--{role}-max-new-tokens",
                        temperature=warmth[role],
                        seed=call_seed(settings.seed, case.id, turn, len(replies)),
                        account=spending.account(role),
                    )
                    replies.append(reply)
                    faults = patient_faults(case, rows, reply.text, settings.auto) if role == "patient" else []
                keep(rows, output(case.id, turn, replies, faults, client.dropped))

        # A client serves its callers in turn, so all dialogues go forward together, and those with the most turns left
        # begin: the last requests then fill the slots instead of following one another in a few long dialogues.
        left = sorted(talks.items(), key=lambda item: len(item[1]))
        return await ask_all({case.id: (case, rows) for case, rows in left}, ask, len(left))


def finish(run: RunFolder, plan: Plan, spending: Spending) -> None:
    """Ends a run whose dialogues are over, or checks it: what its files say follows from its outputs.

    A dialogue that a server refused to go on with, or whose patient did not keep to its role, is scored as far as it came,
    and is none of those for judging.
    """
    canaries = [(name, CANARY_TURN) for name in patient_canaries(plan.cases)]
    talks = talks_of(run.rows, plan.cases, str(run.path))
    # The number of turns follows from what was said in them.
    run.check_keys({*canaries, *run.rows, *((case.id, DIAGNOSIS_TURN) for case in lacking_diagnoses(plan, talks, run.rows))})
    asked = [(case.id, DIAGNOSIS_TURN) for case in talks if (case.id, DIAGNOSIS_TURN) in run.rows]
    outputs = [read_record(run.rows[key], Call, str(run.path)) for key in canaries]
    outputs += [row for rows in talks.values() for row in rows]
    outputs += [read_record(run.rows[key], Call, str(run.path)) for key in asked]
    # What requests without outputs have cost is in the ledger, which writes it into the manifest.
    unpriced = {name: value for name, value in run.manifest.items() if name != "prices"}
    derived = derive(read_record(unpriced, Manifest, str(run.path)), outputs, plan.cases)
    run.settle("dialogues.jsonl", list(map(dict, derived.dialogues)))
    order = [(row["case"], row["turn"]) for row in outputs]
    run.finish(order, list(map(dict, derived.scores)), spending.with_cost(derived.metrics))


def estimate_run(
    plan: Plan, outputs: Mapping[tuple, dict], where: str
) -> tuple[dict[str, Estimate], list[Dialogue], list[Dialogue]]:
    """The estimate of what is left by role, and the dialogues for judging as they would be at most and about.

    Args:
        outputs: those so far of the run folder `where`, by case and turn.

    Raises:
        UserError: one of them is none of a consultation.
    """
    talks = talks_of(outputs, plan.cases, where)
    limits = {role: getattr(plan.settings, f"{role}_max_new_tokens") for role in ROLES}
    seen: dict[str, list[Seen]] = {role: [] for role in ROLES}
    for case, rows in talks.items():
        for turn, row in enumerate(rows):
            messages = next_messages(case, rows[:turn], plan.settings.auto, plan.settings.doctor_system)
            # A turn that was asked for again has the tokens of several prompts.
            asked_once = row["finish"] != GIVEN and not row.get("attempts")
            if asked_once and (reply := seen_reply(messages, row["content"], row)):
                seen[row["role"]].append(reply)
    most, high = _expected(plan, talks, {role: at_most(limits[role]) for role in ROLES}, AGAIN)
    lengths = {"doctor": DOCTOR, "patient": PATIENT}
    guesses = {role: about(limits[role], lengths[role], seen[role]) for role in ROLES}
    usual, middle = _expected(plan, talks, guesses, _asked_again(talks))
    if plan.settings.ask_diagnosis:
        spoken, system = {case.id: language(case) for case in plan.cases}, plan.settings.doctor_system
        for volumes, guess, held in ((most, at_most(limits["doctor"]), high), (usual, guesses["doctor"], middle)):
            left = [one for one in held if (one["case_id"], DIAGNOSIS_TURN) not in outputs]
            calls = (guess.call(diagnosis_messages(one["turns"], spoken[one["case_id"]], system)) for one in left)
            volumes["doctor"] += sum(calls, Volume())
    for name in lacking_canaries(plan, outputs):
        most["patient"] += at_most(limits["patient"]).call(canary_messages(name))
        usual["patient"] += guesses["patient"].call(canary_messages(name))
    return {role: Estimate(most[role], usual[role]) for role in ROLES}, high, middle


def lacking_canaries(plan: Plan, rows: Mapping[tuple, object]) -> list[str]:
    """The canaries of the patient that the outputs by case and turn lack."""
    return [name for name in patient_canaries(plan.cases) if (name, CANARY_TURN) not in rows]


def _asked_again(talks: Mapping[Case, list[Call]]) -> float:
    """How often a patient's turn is said again: as in the talks so far, and without any as usually."""
    said = [
        len(row.get("attempts", ()))
        for rows in talks.values()
        for row in rows
        if row["prompt_tokens"] and row["role"] == "patient"
    ]
    return sum(said) / len(said) if said else USUALLY_AGAIN


def _expected(
    plan: Plan, talks: Mapping[Case, list[Call]], guesses: dict[str, Guess], again: float
) -> tuple[dict[str, Volume], list[Dialogue]]:
    """The calls that all talks lack by role, and the dialogues that come of them.

    Args:
        again: how often each turn of a patient is said again, for the longest of reasons.
    """
    volumes, repeated, dialogues = {role: Volume() for role in ROLES}, Volume(), []
    for case, there in talks.items():
        rows = list(there) or ([first_turn(case)] if case.first_question else [])
        while not plan.is_over(rows):
            role = ROLES[len(rows) % 2]
            messages = next_messages(case, rows, plan.settings.auto, plan.settings.doctor_system)
            volumes[role] += guesses[role].call(messages)
            if role == "patient" and again:
                asked = (guesses[role].call(ask_again(case, messages, [fault], last=False)) for fault in FAULTS)
                repeated += max(asked, key=lambda one: one.prompt_tokens)
            rows.append(uncalled(case.id, len(rows), guesses[role].text, "length"))
        if not is_refused(rows):
            dialogues.append(dialogue(case, rows, plan.doctor))
    volumes["patient"] += repeated * again
    return volumes, dialogues


def run_summary(out: str | Path) -> str:
    """One line on a finished run."""
    figures = read_run(out)["metrics"]
    findings = [f"{name} in {100 * share:.1f}%" for name, share in figures["findings"].items() if share]
    spent = [
        f"{role}: {use['calls']} calls, {use['retries']} repeated, {use['prompt_tokens']} + {use['completion_tokens']} tokens"
        for role, use in figures["usage"].items()
    ]
    size = f"{figures['n']} dialogues" + (f" of {figures['mean_rounds']:.1f} rounds on average" if figures["n"] else "")
    if figures["failed"]:
        size += f", {figures['failed']} more that a server refused to go on with"
    if (gate := figures.get("gate")) and gate["asked_again"]:
        again = f"{gate['asked_again']} of {gate['turns']} turns were asked for again"
        size += f", {gate['invalid']} more whose patient did not keep to its role ({again})"
    if "cost" in figures:
        spent.append(cost_text(figures["cost"]).en)
    size = "; ".join([size, *(text.en for text in described(figures))])
    return f"{size} ({', '.join(findings) or 'no findings'}); {'; '.join(spent)}; run folder {out}"
