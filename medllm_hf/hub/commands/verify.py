"""The verb `verify`: every figure of a published model, done again from the raw outputs that lie beside it."""

from medllm_hf.errors import UserError, visible
from medllm_hf.evaluation.verification.findings import CONFIRMED, DERIVED, STATES, Rerun
from medllm_hf.hub.verify import find_published, known_files, verify_published

PROVES = (
    "Confirmed means: the figure follows from the outputs published beside it. It does not mean that these weights gave the "
    "outputs, nor that what is declared is true; unexamined files were not read."
)

RERUN_PROVES = (
    "Confirmed means: the figure follows from the outputs published beside it, and of each exam with a confirmed rerun the "
    "drawn answers are those of these weights. It does not mean that what is declared is true; unexamined files were not read."
)


def verify(
    repository: str,
    revision: str | None = None,
    data: list[str] | None = None,
    rerun: int | None = None,
    seed: int | None = None,
    judge: str | None = None,
) -> int:
    """Prints each figure and hash of a repository once it is done again, then what is declared and what is unexamined.

    The exit code is 0 when there are figures and all are confirmed, and nothing lies there that can run code, else 1.

    Args:
        repository: a repository folder, or a Hub id.
        revision: branch, tag or commit of the Hub repository.
        rerun: so many answers of each exam are computed again on the published weights, drawn by `seed`.
        judge: who is asked for so many verdicts of each judged run again: `URL#MODEL`, a checkpoint folder or a Hub id.
        data: files of questions or cases, beside those that come with the project, for hashes that need them.

    Raises:
        UserError: no such folder or repository, nothing published in it, or no such file of data.
    """
    known = known_files(data or [])
    if rerun is not None and rerun < 1:
        raise UserError(f"--rerun {rerun}", "1 or more", "60 find 5% of altered answers with 95% where each is seen")
    if judge and not rerun:
        raise UserError("--judge without --rerun", "how many verdicts are asked for again", "add --rerun N")
    if rerun:  # before weights are fetched and hashed
        print(f"up to {rerun} answers of each exam are computed again on the published weights (seed {seed or 0})", flush=True)
    published = find_published(repository, revision, weights=rerun is not None)
    if published.commit:
        print(f"{repository} at commit {published.commit}")
    counts, passes = dict.fromkeys(STATES, 0), True
    for one in verify_published(published, known, Rerun(rerun, seed or 0, judge) if rerun else None):
        print(one.line, flush=True)
        counts[one.state] += 1
        passes = passes and one.passes
    derived, rest = (", ".join(f"{counts[state]} {state}" for state in states) for states in (DERIVED, STATES[len(DERIVED) :]))
    print(f"{visible(repository)}: {derived}; {rest}")
    print(RERUN_PROVES if rerun else PROVES)
    return 0 if passes and counts[CONFIRMED] else 1
