"""The verb `verify`: every figure of a published model, done again from the raw outputs that lie beside it."""

from medllm_hf.errors import visible
from medllm_hf.evaluation.verification.findings import CONFIRMED, DERIVED, STATES
from medllm_hf.hub.verify import find_published, known_files, verify_published

PROVES = (
    "Confirmed means: the figure follows from the outputs published beside it. It does not mean that these weights gave the "
    "outputs, nor that what is declared is true; unexamined files were not read."
)


def verify(repository: str, revision: str | None = None, data: list[str] | None = None) -> int:
    """Prints each figure and hash of a repository once it is done again, then what is declared and what is unexamined.

    The exit code is 0 when there are figures and all are confirmed, and nothing lies there that can run code, else 1.

    Args:
        repository: a repository folder, or a Hub id.
        revision: branch, tag or commit of the Hub repository.
        data: files of questions or cases, beside those that come with the project, for hashes that need them.

    Raises:
        UserError: no such folder or repository, nothing published in it, or no such file of data.
    """
    known = known_files(data or [])
    published = find_published(repository, revision)
    if published.commit:
        print(f"{repository} at commit {published.commit}")
    counts, passes = dict.fromkeys(STATES, 0), True
    for one in verify_published(published, known):
        print(one.line, flush=True)
        counts[one.state] += 1
        passes = passes and one.passes
    derived, rest = (", ".join(f"{counts[state]} {state}" for state in states) for states in (DERIVED, STATES[len(DERIVED) :]))
    print(f"{visible(repository)}: {derived}; {rest}")
    print(PROVES)
    return 0 if passes and counts[CONFIRMED] else 1
