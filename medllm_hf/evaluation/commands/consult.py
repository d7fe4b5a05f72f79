"""The verb `eval consult`: simulated patients consult a model, and a judge may score the dialogues after it."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.cases import Cases, summary
from medllm_hf.evaluation.consultations.privacy import check_personal_data
from medllm_hf.evaluation.consultations.run import (
    Plan,
    estimate_run,
    hold_consultations,
    in_manner,
    party,
    plan_run,
    run_summary,
)
from medllm_hf.evaluation.consultations.settings import Settings, by_style
from medllm_hf.evaluation.consultations.transcript import KEY
from medllm_hf.evaluation.costs.estimate import describe_estimate, spent_in
from medllm_hf.evaluation.costs.prices import record_prices
from medllm_hf.evaluation.judging.cases import case_text, rubric_of
from medllm_hf.evaluation.judging.dialogues import Origin, read_dialogues, read_gate
from medllm_hf.evaluation.judging.reasons import gate_reasons
from medllm_hf.evaluation.judging.records import Output, PatientGate
from medllm_hf.evaluation.judging.run import KEY as JUDGE_KEY
from medllm_hf.evaluation.judging.run import estimate, plan_of, run_plan
from medllm_hf.evaluation.judging.settings import Settings as JudgeSettings
from medllm_hf.evaluation.judging.settings import check_settings
from medllm_hf.evaluation.models import check_answers
from medllm_hf.evaluation.runs.folder import outputs_in
from medllm_hf.evaluation.runs.headline import no_headline_text
from medllm_hf.metrics.llm_judge.rubrics import LANGUAGES


def consult(
    cases: str, doctor: str, patient: str, out: str, judge: str | None = None, overwrite: bool = False, dry_run: bool = False,
    **flags: Any,
) -> int:  # fmt: skip
    """Holds a consultation on each case and writes the run folder `out`, or goes on with it; returns the exit code.

    Args:
        doctor, patient, judge: `URL#MODEL` of an endpoint, a checkpoint folder or a Hub id.
        dry_run: prints what the run would cost, and neither sends nor writes anything.
        flags: the fields of `Settings`.

    Raises:
        UserError: settings that do not go together; cases, a checkpoint or an endpoint that cannot be had; `out` holds
            something else; or an endpoint refuses every request.
    """
    first = plan_run(cases, doctor, patient, Settings(**flags))
    styled = by_style(first.settings, out)
    runs = {folder: in_manner(first, settings) for folder, settings in styled.items()}
    check_judge_flags(first.settings, judge)
    if judge:
        _check_judge(first, judge, cases)
    print(summary(first.cases))
    if dry_run:
        texts = [(folder, _estimate(plan, folder, judge, overwrite)) for folder, plan in runs.items()]
        print("\n".join(f"{folder}:\n{text}" if len(runs) > 1 else text for folder, text in texts))
        return 0
    if judge and first.settings.prices is None and (judging := party(judge, "judge", first.settings)).endpoint:
        # With prices every request is on the account of a run, and the judge's run does not stand yet.
        check_answers(judging)
    code = 0
    for folder, plan in runs.items():
        before = _spent_beside(runs, folder, judge, overwrite)
        code = max(code, _run(plan, folder, judge, overwrite, before))
    return code


def _check_judge(plan: Plan, judge: str, cases: str) -> None:
    """Checks the judge, since one that cannot be had, or has no price, is told before the dialogues are paid for."""
    settings = plan.settings
    judging = party(judge, "judge", settings)
    record_prices(settings.prices, {"judge": judging}, settings.budget)
    check_settings(_judge_settings(plan), "eval consult")
    check_checklists(plan, settings)
    if not (settings.judge_blind or settings.allow_personal_data):
        check_personal_data(((case.id, case_text(case, LANGUAGES[0])) for case in plan.cases), cases, [judging])


def _run(plan: Plan, out: str, judge: str | None, overwrite: bool, before: Fraction) -> int:
    """Holds the consultations of one run folder, and has them judged; returns the exit code."""
    ending = hold_consultations(plan, out, overwrite, before, lambda line: print(line, file=sys.stderr))
    if ending.unfinished:
        print(ending.unfinished, file=sys.stderr)
        return 1
    print(run_summary(out))
    if judge:
        return _judge(out, judge, plan, ending.spent)
    # Whoever judges these dialogues later gets no headline for the same reasons.
    if lacks := no_headline_text([one.en for one in gate_reasons(read_gate(out))]):
        print(lacks, file=sys.stderr)
    return int(bool(lacks))


def _spent_beside(runs: Mapping[str, Plan], folder: str, judge: str | None, overwrite: bool) -> Fraction:
    """What the other run folders of the command have spent, but what is to be overwritten later."""
    settings, names = runs[folder].settings, list(runs)
    if settings.prices is None:
        return Fraction(0)
    sides = {**runs[folder].sides, **({"judge": party(judge, "judge", settings)} if judge else {})}
    prices = record_prices(settings.prices, sides, settings.budget)["prices"]
    others = names[: names.index(folder)] if overwrite else [name for name in names if name != folder]
    return sum((spent_in(where, prices) for name in others for where in (name, Path(name) / "judge")), Fraction(0))


def _estimate(plan: Plan, out: str, judge: str | None, overwrite: bool) -> str:
    """What is printed in place of the run: the dialogues that are not over, and the judge's replies on all."""
    rows = outputs_in(out, plan.manifest, KEY, overwrite)
    estimates, most, usual = estimate_run(plan, rows, out)
    prices = plan.manifest.get("prices", {})
    spent = spent_in(out, prices) if prices and rows else Fraction(0)
    if judge:
        folder = Path(out) / "judge"
        gate = read_gate(out) if folder.is_dir() and not overwrite else None
        judge_plan = plan_of(most, judge, _judge_settings(plan), _origin(plan, gate))
        over = not any(one.most.calls for one in estimates.values())
        there = outputs_in(folder, judge_plan.manifest, JUDGE_KEY) if over and folder.is_dir() and not overwrite else {}
        estimates["judge"] = estimate(judge_plan, cast(dict[tuple, Output], there), usual)
        own = judge_plan.manifest.get("prices", {})
        spent += spent_in(folder, own) if there and own else 0
        prices = {**prices, **own} if prices else {}
    return describe_estimate(estimates, prices, spent, plan.settings.budget)


def check_judge_flags(settings: Settings, judge: str | None) -> None:
    """Check that no flag of the judge is given where there is none.

    Raises:
        UserError: one is.
    """
    given = [name for name in ("rubric", "language", "samples", "blind") if getattr(settings, name) not in (None, False)]
    if given and not judge:
        raise UserError(f"--{given[0]} without --judge", "a judge to whom it applies", "add --judge or leave it out")


def check_checklists(plan: Plan, settings: Settings) -> None:
    """Check that every case has a checklist where the judge is to go by them.

    Raises:
        UserError: one has none; or the judge is to be blind to them.
    """
    if settings.rubric != "checklist":
        return
    if settings.judge_blind:
        blind = "--blind" if settings.blind else "--protocol disc (which blinds the judge)"
        raise UserError(f"{blind} with --rubric checklist", "a judge that sees the points of the case", "leave out one of them")
    if lacking := [case.id for case in plan.cases if not (case.facts and case.facts.checklist)]:
        found = f"no checklist of {len(lacking)} of {len(plan.cases)} cases, such as {lacking[0]}"
        raise UserError(found, "one of each case", "make them with `medllm eval cases`, or change --rubric")


def _judge(out: str, judge: str, plan: Plan, spent: Fraction) -> int:
    """Has the dialogues of a finished run, which have cost `spent`, judged into the folder `judge` inside it."""
    asked, gate = replace(_judge_settings(plan), spent_before=spent), read_gate(out)
    if gate and gate["invalid"] == gate["of"]:
        what = f"a patient that did not keep to its role in any of {gate['of']} dialogues of {out}"
        raise UserError(what, "dialogues to judge", "take a model that can play the patient")
    ended = run_plan(plan_of(read_dialogues(out), judge, asked, _origin(plan, gate)), Path(out) / "judge")
    print(ended.text, file=sys.stderr if ended.failed else sys.stdout)
    if ended.lacks:
        print(ended.lacks, file=sys.stderr)
    return int(ended.failed or bool(ended.lacks))


def _origin(plan: Plan, gate: PatientGate | None) -> Origin:
    """Where the judge's dialogues come from; their cases are not shown to a blind one."""
    cases = None if plan.settings.judge_blind else Cases(plan.cases, plan.manifest["data"])
    return Origin("dialogues.jsonl", gate=gate, cases=cases, simulated=True)


def _judge_settings(plan: Plan) -> JudgeSettings:
    """The settings of the judge run that follows the consultations; the rubric is that of the set of cases by default."""
    settings = plan.settings
    names = ("seed", "concurrency", "timeout", "prices", "budget", "allow_personal_data")
    own: dict[str, Any] = {
        "key_env": settings.judge_key_env or settings.key_env,
        "enable_thinking": settings.judge_enable_thinking,
        "extra_body": settings.judge_extra_body,
    }
    chosen = {"language": settings.judge_language, "samples": settings.samples}
    own |= {name: value for name, value in chosen.items() if value is not None}
    own |= {name: getattr(settings, name) for name in names}
    return JudgeSettings(rubric=settings.rubric or rubric_of(plan.cases), **own)
