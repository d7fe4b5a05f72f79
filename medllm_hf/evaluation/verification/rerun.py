"""Published answers of an exam computed again on the published weights: whether what differs is what hardware explains.

A figure that follows from outputs says nothing of where the outputs are from. Some of them, drawn by a seed, are computed
again here, and are different where log-probabilities part by more than precision and device can do, or where a reply has a
token that the weights would not have written. How often an altered answer would be seen is measured on the same items.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from medllm_hf.evaluation.exams.batching import BATCH_TOKENS, BatchLimits, tokens_for
from medllm_hf.evaluation.exams.outputs import Output, Rules
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, Prompts
from medllm_hf.evaluation.exams.settings import READINGS, Mode
from medllm_hf.evaluation.verification.findings import CONFIRMED, DIFFERENT, UNKNOWN, Finding
from medllm_hf.evaluation.verification.power import ItemCheck, item_name, power_text
from medllm_hf.placement import check_names, choose_device, refuse_lack_of_memory

if TYPE_CHECKING:  # it takes seconds to import
    from transformers import PreTrainedModel

# By how much honest computations part, several times over: nats of a scored token, by the precision of the model; measured
# with other batches, other kernels and another program, see benchmarks/README.md.
TOLERANCE = {"float32": 5e-4, "bfloat16": 0.4, "float16": 0.05}
_NAMED = 5


@dataclass(frozen=True)
class Exam:
    """How a run's answers were computed, by its manifest, and are read, by `rules`; `folder` has the published weights."""

    folder: Path
    prompts: Prompts
    dtype: str
    mode: Mode
    normalization: str
    new_tokens: int
    rules: Rules


@lru_cache(maxsize=1)  # several runs are of one model, which takes a while to load
def _load(folder: Path, dtype: str) -> "PreTrainedModel":
    from medllm_hf.evaluation.exams.weights import load_network

    return load_network(folder, choose_device(None), dtype)


def rerun_exam(figure: str, exam: Exam, drawn: Sequence[tuple[PresentedQuestion, Output]], total: int, seed: int) -> Finding:
    """What the `drawn` answers of `total` are when the published weights give them again; a bar is on a terminal meanwhile.

    Raises:
        UserError: the weights cannot be loaded, or memory lacks.
    """
    check_names(None, exam.dtype, None)
    with refuse_lack_of_memory("use a machine with more of it"):
        network = _load(exam.folder, exam.dtype)
        precision = str(next(network.parameters()).dtype).removeprefix("torch.")
        if precision not in TOLERANCE:
            return Finding(figure, UNKNOWN, f"no tolerance is known for {precision}")
        checks = _checks(network, exam, drawn, TOLERANCE[precision])
        found = list(tqdm(checks, total=len(drawn), unit="answer", disable=None))
    return finding(figure, found, total, f"{precision} on {network.device.type}, seed {seed}")


def _checks(
    network: "PreTrainedModel", exam: Exam, drawn: Sequence[tuple[PresentedQuestion, Output]], tolerance: float
) -> Iterator[ItemCheck]:
    if exam.mode == READINGS[0]:
        yield from _likelihoods(network, exam, drawn, tolerance)
        return
    from medllm_hf.evaluation.verification.reply_check import check_replies

    yield from check_replies(network, exam.prompts, drawn, exam.new_tokens, exam.rules, tolerance)


def finding(figure: str, checks: Sequence[ItemCheck], total: int, how: str) -> Finding:
    """What the checks of the drawn items say together, with the power of the draw."""
    wrong = [one for one in checks if one.refuted]
    drawn = f"{len(checks)} of {total}"
    if wrong:
        named = ", ".join(one.name for one in wrong[:_NAMED]) + (" …" if len(wrong) > _NAMED else "")
        return Finding(figure, DIFFERENT, f"{len(wrong)} of {drawn} items are not what these weights give ({how}): {named}")
    largest = max((one.parts for one in checks), default=0.0)
    seen = sum(one.seen for one in checks) / len(checks) if checks else 0.0
    said = f"{drawn} items again, at most {largest:.1%} of the tolerance apart ({how})"
    return Finding(figure, CONFIRMED, f"{said}; {power_text(len(checks), total, seen)}")


def _likelihoods(
    network: "PreTrainedModel", exam: Exam, drawn: Sequence[tuple[PresentedQuestion, Output]], tolerance: float
) -> Iterator[ItemCheck]:
    from medllm_hf.evaluation.exams.likelihood import likelihoods

    device = network.device.type
    # Not those of the manifest, which may say anything.
    limits = BatchLimits(tokens_for(device, network.num_parameters()) if device == "cpu" else BATCH_TOKENS)
    shown = [one for one, _ in drawn]
    for i, again in likelihoods(network, exam.prompts, shown, set(range(len(shown))), "tokens", limits):
        yield compare(*drawn[i], again, exam.normalization, tolerance)


def compare(one: PresentedQuestion, published: Output, again: dict, normalization: str, tolerance: float) -> ItemCheck:
    """The log-probabilities of one item beside those that were computed again; what is scored over n tokens may part √n times.

    An altered answer is seen where even its least alteration is: the best two moved towards each other until they change
    places, each by its part of the way.

    Args:
        again: "logprobs", and as "lengths" the tokens of each answer.
    """
    theirs, ours, tokens = published["logprobs"], again["logprobs"], again["lengths"]
    if theirs.keys() != ours.keys() or (normalization == "tokens" and published.get("lengths") != tokens):
        return ItemCheck(item_name(one), inf, True)
    allowed = {name: tolerance * sqrt(max(1, tokens[name])) for name in ours}
    parts = max(abs(theirs[name] - ours[name]) / allowed[name] for name in ours)
    divisors = published["lengths"] if normalization != "none" else dict.fromkeys(ours, 1)
    means = {name: ours[name] / divisors[name] for name in ours}
    best = max(means, key=means.__getitem__)
    reach = {name: allowed[name] / divisors[name] for name in ours}
    seen = all(means[best] - means[name] > reach[best] + reach[name] for name in ours if name != best)
    return ItemCheck(item_name(one), parts, seen)
