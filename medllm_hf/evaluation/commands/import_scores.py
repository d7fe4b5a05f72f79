"""The verb `eval import`: published verdicts of a judge → a judge run folder."""

from medllm_hf.evaluation.exchange.published_verdicts import import_verdicts
from medllm_hf.evaluation.judging.run import summary


def import_scores(scores: list[str], out: str, dialogues: str | None = None, overwrite: bool = False) -> None:
    """Writes published verdicts and their dialogues as the run folder `out`; see `import_verdicts`.

    Raises:
        UserError: as `import_verdicts` does.
    """
    for name in import_verdicts(scores, out, dialogues, overwrite):
        print(f"{name} has no published scores")
    print(summary(out))
