"""The verb `eval mcq`: a model's accuracy on multiple-choice questions, by likelihood or by what it writes."""

import sys
from typing import Any

from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.prompts import overview, read_questions
from medllm_hf.evaluation.exams.ranks import RankLostError, launched, meet, share_of_launcher
from medllm_hf.evaluation.exams.ready import check_ready
from medllm_hf.evaluation.exams.run import estimate_cost, prepare_exam, run_exam, summary
from medllm_hf.evaluation.exams.settings import Settings, resolve_defaults


def mcq(model: str | None, data: str, out: str, overwrite: bool = False, dry_run: bool = False, **flags: Any) -> int:
    """Asks the questions of `data` and writes the run folder `out`, or goes on with it; returns the exit code.

    Args:
        dry_run: prints what the run would cost at an endpoint, and neither sends nor writes anything.
        flags: the other fields of `Settings`, as the command line has parsed them.

    Raises:
        UserError: settings that do not go together; model, questions, examples or endpoint that cannot be had; `out` holds
            something else; or the endpoint refuses every request.
    """
    try:
        with launched():
            return _mcq(Settings(model, data, **flags), out, overwrite, dry_run)
    except RankLostError as lost:
        if str(lost):
            print(f"medllm: {lost}", file=sys.stderr)
        return 1


def _mcq(asked: Settings, out: str, overwrite: bool, dry_run: bool) -> int:
    if share_of_launcher().rank:  # what is wrong is told by the first rank alone
        meet()
    settings = resolve_defaults(asked)
    if dry_run and settings.url is None:
        raise UserError("--dry-run without --url", "an endpoint, whose replies cost something", "leave it out")
    check_ready(settings, out, overwrite)
    questions = read_questions(settings.data, settings.data_path, settings.split)
    # Before the libraries that a local model needs, which take seconds to import.
    print(overview(questions), flush=True)
    exam = prepare_exam(settings, questions)
    if dry_run:
        print(estimate_cost(exam, out, overwrite))
        return 0
    if missing := run_exam(exam, out, overwrite):
        print(missing, file=sys.stderr)
        return 1
    if meet().is_first:
        print(summary(out))
    return 0
