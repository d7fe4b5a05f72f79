"""The verb `eval judge`: a judge model scores dialogues by a rubric."""

import sys
from pathlib import Path
from typing import Any

from medllm_hf.evaluation.judging.benchmarks import read_benchmark
from medllm_hf.evaluation.judging.dialogues import Origin, cases_of, read_dialogues, read_gate
from medllm_hf.evaluation.judging.run import plan_of, preview, run_plan
from medllm_hf.evaluation.judging.settings import Settings


def judge(
    dialogues: str,
    judge: str,
    out: str,
    answers: str | None = None,
    cases: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    **flags: Any,
) -> int:
    """Judges the dialogues of a file or run and writes the run folder `out`, or goes on with it; returns the exit code.

    Args:
        judge: `URL#MODEL` of an endpoint, a checkpoint folder or a Hub id.
        answers: the file of answers to the cases of a rubric benchmark, where `dialogues` is one.
        cases: the file of the dialogues' cases, which the judge is then shown.
        dry_run: prints what the run would cost, and neither sends nor writes anything.
        flags: the fields of `Settings`, as the command line has read them.

    Raises:
        UserError: settings out of range; dialogues, a checkpoint or an endpoint that cannot be had; `out` holds something
            else; or the endpoint refuses every request.
    """
    benchmark = read_benchmark(dialogues, answers)
    found = benchmark.dialogues if benchmark else read_dialogues(dialogues)
    about, gate = (benchmark.record, None) if benchmark else (None, read_gate(dialogues))
    origin = Origin(Path(dialogues).name, about, gate, cases_of(dialogues, cases), simulated=gate is not None)
    plan = plan_of(found, judge, Settings(**flags), origin)
    if gate is not None and not cases:
        print(f"the judge is not shown the cases; `--cases` with the file of {dialogues} shows it them")
    if dry_run:
        print(preview(plan, out, overwrite))
        return 0
    ended = run_plan(plan, out, overwrite)
    print(ended.text, file=sys.stderr if ended.failed else sys.stdout)
    if ended.lacks:
        print(ended.lacks, file=sys.stderr)
    return int(ended.failed or bool(ended.lacks))
