"""The verb `verify`: every figure of a published model, done again from the raw outputs that lie beside it."""

from medllm_hf.evaluation.verification.findings import CONFIRMED, DIFFERENT, UNKNOWN
from medllm_hf.hub.verify import find_published, known_files, verify_published


def verify(repository: str, revision: str | None = None, data: list[str] | None = None) -> int:
    """Prints each figure and hash of a repository once it is done again, as confirmed, different or not derivable.

    The exit code is 0 when there are figures and all are confirmed, else 1.

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
    counts = dict.fromkeys((CONFIRMED, DIFFERENT, UNKNOWN), 0)
    for one in verify_published(published, known):
        print(one.line, flush=True)
        counts[one.state] += 1
    print(f"{repository}: {', '.join(f'{count} {state}' for state, count in counts.items())}")
    return 0 if counts[CONFIRMED] == sum(counts.values()) else 1
