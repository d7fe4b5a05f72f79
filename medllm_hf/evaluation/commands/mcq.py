"""The verb `eval mcq`: a model's accuracy on multiple-choice questions, by likelihood or by what it writes."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medllm_hf.data.encodings import check_encoding
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.readings import (
    estimates,
    overviews,
    parse_modes,
    prepare_exams,
    read_benchmarks,
    run_exams,
    summary_line,
)
from medllm_hf.evaluation.exams.settings import Settings
from medllm_hf.pretrained import check_name


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
    check_encoding(flags.get("encoding"))
    benchmarks = read_benchmarks(Settings(model, data[0], **flags), data, parse_modes(mode))
    settings = benchmarks[0].settings[0]
    if dry_run and settings.url is None:
        raise UserError("--dry-run without --url", "an endpoint, whose replies cost something", "leave it out")
    if settings.model is not None and not Path(settings.model).is_dir():
        check_name(settings.model)
    # Before the libraries that a local model needs, which take seconds to import.
    print(overviews(benchmarks), flush=True)
    exams = prepare_exams(benchmarks, out, overwrite)
    if dry_run:
        print(estimates(exams, overwrite))
        return 0
    code = 0
    for folder, missing in run_exams(exams, overwrite):
        if missing:
            print(missing, file=sys.stderr)
            code = 1
        else:
            print(summary_line(folder, exams[folder], len(exams) > 1), flush=True)
    return code
