"""The verb `eval mcq`: a model's accuracy on multiple-choice questions, by likelihood or by what it writes."""

import sys
from collections.abc import Sequence
from typing import Any

from medllm_hf.data.encodings import check_encoding
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.ranks import AGAIN, RankLostError, launched, meet, share_of_launcher
from medllm_hf.evaluation.exams.readings import (
    estimates,
    overviews,
    parse_modes,
    prepare_exams,
    read_benchmarks,
    run_exams,
    summary_line,
)
from medllm_hf.evaluation.exams.ready import check_ready
from medllm_hf.evaluation.exams.settings import Settings, by_address

# A real model that was shown letters alone wrote nothing else.
_BARE_EXAMPLES = "medllm: the solved examples have no analysis; one that copies them writes none in the reading reasoning"


def mcq(
    model: str | None,
    data: str | Sequence[str],
    out: str,
    overwrite: bool = False,
    dry_run: bool = False,
    mode: str | None = None,
    **flags: Any,
) -> int:
    """Asks the questions of `data` and writes the run folder `out`, or goes on with it; returns the exit code.

    Several benchmarks or readings get a run folder each, `out`/BENCHMARK/READING.

    Args:
        dry_run: prints what the run would cost at an endpoint, and neither sends nor writes anything.
        mode: readings, separated by commas.
        flags: the other fields of `Settings`, as the command line has parsed them.

    Raises:
        UserError: settings that do not go together; model, questions, examples or endpoint that cannot be had; `out` holds
            something else; or the endpoint refuses every request.
    """
    data = [data] if isinstance(data, str) else data
    try:
        with launched():
            return _mcq(Settings(model, data[0], **flags), data, out, mode, overwrite, dry_run)
    except KeyboardInterrupt:
        if share_of_launcher().rank == 0:
            print(f"medllm: interrupted; {AGAIN}", file=sys.stderr)
        return 1
    except RankLostError as lost:
        if str(lost):
            print(f"medllm: {lost}", file=sys.stderr)
        return 1


def _mcq(asked: Settings, data: Sequence[str], out: str, mode: str | None, overwrite: bool, dry_run: bool) -> int:
    if share_of_launcher().rank:  # what is wrong is told by the first rank alone
        meet()
    asked = by_address(asked)
    check_encoding(asked.encoding)
    check_ready(asked, out)
    benchmarks = read_benchmarks(asked, data, parse_modes(mode))
    if dry_run and benchmarks[0].settings[0].url is None:
        raise UserError("--dry-run without --url", "an endpoint, whose replies cost something", "leave it out")
    # Before the libraries that a local model needs, which take seconds to import.
    print(overviews(benchmarks), flush=True)
    with meet().in_turn():
        exams = prepare_exams(benchmarks, out, overwrite)
    if asked.shots and meet().is_first and any(one.mode == "reasoning" for one in benchmarks[0].settings):
        print(_BARE_EXAMPLES, file=sys.stderr)
    if dry_run:
        print(estimates(exams, overwrite))
        return 0
    code = 0
    for folder, missing in run_exams(exams, overwrite):
        if missing:
            print(missing, file=sys.stderr)
            code = 1
        elif meet().is_first:
            print(summary_line(folder, exams[folder], len(exams) > 1), flush=True)
    return code
