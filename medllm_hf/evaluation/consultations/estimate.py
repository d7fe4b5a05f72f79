"""What `medllm eval consult` would cost, for its dry run: the dialogues that are not over, and the judge's replies on all."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from medllm_hf.evaluation.consultations.cases import Case
from medllm_hf.evaluation.consultations.settings import Settings, judge_flags
from medllm_hf.evaluation.consultations.transcript import KEY, outputs_of
from medllm_hf.evaluation.costs.estimate import spent_in, told
from medllm_hf.evaluation.judging.estimate import consult_estimate
from medllm_hf.evaluation.runs.folder import outputs_in


def expected(out: str, manifest: dict, cases: Sequence[Case], settings: Settings, judge: str | None, overwrite: bool) -> str:
    """What is printed in place of the run that the `manifest` describes; neither its folder nor a server is touched.

    Raises:
        UserError: the folder holds something else, or the judge's cannot be had.
    """
    rows = outputs_in(out, manifest, KEY, overwrite)
    talks = {case: outputs_of(rows, case) for case in cases}
    estimates, most, usual = consult_estimate(talks, settings, manifest["doctor"]["id"])
    prices = {name: value for name, value in manifest.items() if name == "prices"}
    spent = spent_in(out, prices["prices"]) if prices and rows else Fraction(0)
    if judge:
        # Only runs with a judge need the metric's packages.
        from medllm_hf.evaluation.judging import run as judging

        asked, folder = judging.Settings(**judge_flags(settings)), Path(out) / "judge"
        plan = judging.plan_of(most, judge, asked, "dialogues.jsonl")
        over = not any(one.most.calls for one in estimates.values())
        there = outputs_in(folder, plan.manifest, judging.KEY) if over and folder.is_dir() and not overwrite else {}
        estimates["judge"] = judging.estimate(plan, asked, there, usual)
        own = plan.manifest.get("prices", {})
        spent += spent_in(folder, own) if there and own else 0
        prices = {"prices": {**prices["prices"], **own}} if prices else {}
    return told(estimates, prices, spent, settings.budget)
