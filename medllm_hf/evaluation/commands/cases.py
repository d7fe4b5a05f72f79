"""The verb `eval cases`: the facts and checklists of cases, written by a model once."""

import sys
from typing import Any

from medllm_hf.evaluation.case_facts.run import no_facts_text, plan_run, preview, run_summary, write_facts
from medllm_hf.evaluation.case_facts.settings import Settings
from medllm_hf.evaluation.consultations.cases import summary


def cases(cases: str, writer: str, out: str, overwrite: bool = False, dry_run: bool = False, **flags: Any) -> int:
    """Writes the run folder `out` with the facts of each case, or goes on with it; returns the exit code.

    Args:
        writer: `URL#MODEL` of an endpoint, a checkpoint folder or a Hub id.
        dry_run: prints what the run would cost, and neither sends nor writes anything.
        flags: the fields of `Settings`.

    Raises:
        UserError: see `plan_run`, `preview` and `write_facts`.
    """
    plan = plan_run(cases, writer, Settings(**flags))
    print(summary(plan.cases))
    if dry_run:
        print(preview(plan, out, overwrite))
        return 0
    if unfinished := write_facts(plan, out, overwrite):
        print(unfinished, file=sys.stderr)
        return 1
    print(run_summary(out))
    if lacks := no_facts_text(out):
        print(lacks, file=sys.stderr)
    return int(bool(lacks))
