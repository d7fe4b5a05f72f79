"""The verb `eval pair`: a judge's preference between two systems."""

import sys
from typing import Any

from medllm_hf.evaluation.judging.settings import Settings
from medllm_hf.evaluation.preferences.run import compare_systems, estimate_run, plan_run, run_summary
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.runs.headline import no_headline_text


def pair(first: str, second: str, judge: str, out: str, overwrite: bool = False, dry_run: bool = False, **flags: Any) -> int:
    """Compares two systems and writes the run folder `out`, or goes on with it; returns the exit code.

    Args:
        dry_run: prints what the run would cost, and neither sends nor writes anything.
        flags: the fields of `Settings`.

    Raises:
        UserError: see `plan_run`, `estimate_run` and `compare_systems`.
    """
    plan = plan_run(first, second, judge, Settings(**flags))
    if dry_run:
        print(estimate_run(plan, out, overwrite))
        return 0
    if unfinished := compare_systems(plan, out, overwrite):
        print(unfinished, file=sys.stderr)
        return 1
    print(run_summary(out))
    if lacks := no_headline_text(read_run(out)["metrics"]["no_headline"]):
        print(lacks, file=sys.stderr)
    return int(bool(lacks))
