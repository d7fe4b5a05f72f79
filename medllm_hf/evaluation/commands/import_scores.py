"""The verb `eval import`: published verdicts of a judge → a judge run folder."""

import sys

from medllm_hf.evaluation.exchange.published_verdicts import import_verdicts
from medllm_hf.evaluation.judging.run import summary
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.runs.headline import no_headline_text


def import_scores(scores: list[str], out: str, dialogues: str | None = None, overwrite: bool = False) -> int:
    """Writes published verdicts and their dialogues as the run folder `out`; returns the exit code; see `import_verdicts`.

    Raises:
        UserError: as `import_verdicts` does.
    """
    for name in import_verdicts(scores, out, dialogues, overwrite):
        print(f"{name} has no published scores")
    print(summary(out))
    if lacks := no_headline_text(read_run(out)["metrics"]["no_headline"]):
        print(lacks, file=sys.stderr)
    return int(bool(lacks))
