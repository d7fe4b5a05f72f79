"""Whether the questions of a published exam are the benchmark whose name they bear, whole."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from medllm_hf.data.benchmarks.catalogue import BENCHMARKS
from medllm_hf.data.mcq import McqItem
from medllm_hf.evaluation.runs.records import DataRecord
from medllm_hf.evaluation.verification.findings import CONFIRMED, DECLARED, DIFFERENT, Finding


def benchmark_findings(where: str, data: DataRecord, items: Sequence[McqItem]) -> Iterator[Finding]:
    """Yields what the name of the questions is worth, and which of them stand there twice.

    Args:
        data: the manifest's record of the questions, whose hash is compared with them elsewhere.
    """
    figure, name = f"{where}/manifest.json data.name", data["name"]
    split = str(data.get("split"))
    known = BENCHMARKS.get(name)
    if known and "files" in data:
        pin = known.pins.get(split)
        if pin is None:
            why = f"{name} {split}, n={data['n']}: not pinned, nobody here has read this split"
            yield Finding(figure, DECLARED, why)
        elif (pin.n, pin.sha256) == (data["n"], data["sha256"]):
            yield Finding(figure, CONFIRMED, f"the whole of {name} {split}, n={pin.n}")
        else:
            yield Finding(figure, DIFFERENT, f"{data['n']} questions that are not {name} {split} as it is, n={pin.n}")
    elif name.lower() in _names():
        yield Finding(figure, DIFFERENT, f"{name}, the name of a benchmark, for a file of questions of one's own")
    elif PurePath(name).stem.lower() in _names():
        yield Finding(figure, DECLARED, f"{name}, a file that bears the name of a benchmark: nobody here has compared them")
    elif "files" not in data:
        yield Finding(figure, DECLARED, f"{name}: questions and answers are the publisher's own")
    times = Counter(map(_content, items))
    if repeated := len(items) - len(times):
        twice = next(text for text, count in times.items() if count > 1)
        first = next(item.id for item in items if _content(item) == twice)
        yield Finding(f"{where}/scores.jsonl", DECLARED, f"{repeated} questions stand there more than once, {first} first")


def _names() -> set[str]:
    """What a benchmark is called, also by the last part of its name."""
    return {name.lower() for name in BENCHMARKS} | {name.replace("/", "-").lower() for name in BENCHMARKS}


def _content(item: McqItem) -> tuple[str, tuple[str, ...]]:
    return item.question, tuple(sorted(item.options.values()))
