"""Published answers of an exam computed again on the published weights: whether what differs is what hardware explains.

A figure that follows from outputs says nothing of where the outputs are from. Some of them, drawn by a seed, are computed
again here twice: exactly, in float32, and in the precision of the run. How far the second lies from the first is what rounding
does to these weights, and what was published may lie a little further from the first, since other hardware rounds otherwise.
How often an altered answer would be seen is measured on the same items.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from medllm_hf.evaluation.exams.batching import BATCH_TOKENS, BatchLimits, tokens_for
from medllm_hf.evaluation.exams.outputs import Output, Rules
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, Prompts
from medllm_hf.evaluation.exams.settings import READINGS, Mode
from medllm_hf.evaluation.verification.findings import CONFIRMED, DIFFERENT, UNKNOWN, Finding
from medllm_hf.evaluation.verification.power import Apart, bound_of, check_items, item_name, power_text, systematic
from medllm_hf.placement import check_names, choose_device, refuse_lack_of_memory

if TYPE_CHECKING:  # it takes seconds to import
    from transformers import PreTrainedModel

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


# Several runs are of one model, which takes a while to load.
_loaded: dict[tuple[Path, str], "PreTrainedModel"] = {}


def _load(folder: Path, dtype: str) -> "PreTrainedModel":
    from medllm_hf.evaluation.exams.weights import load_network

    if (folder, dtype) not in _loaded:
        _loaded.clear()  # first: memory need not hold the model twice
        _loaded[folder, dtype] = load_network(folder, choose_device(None), dtype)
    return _loaded[folder, dtype]


@contextmanager
def in_float32(network: "PreTrainedModel") -> Iterator[None]:
    """Has a model compute in float32, with the weights that it has, rounded as they are."""
    kept = [(one, one.dtype) for one in network.parameters()]
    try:
        for one, _ in kept:
            one.data = one.data.float()
        yield
    finally:
        for one, dtype in kept:
            one.data = one.data.to(dtype)


def rerun_exam(figure: str, exam: Exam, drawn: Sequence[tuple[PresentedQuestion, Output]], total: int, seed: int) -> Finding:
    """What the `drawn` answers of `total` are when the published weights give them again; bars are on a terminal meanwhile.

    Raises:
        UserError: the weights cannot be loaded, or memory lacks.
    """
    check_names(None, exam.dtype, None)
    with refuse_lack_of_memory("use a machine with more of it"):
        network = _load(exam.folder, exam.dtype)
        precision = str(next(network.parameters()).dtype).removeprefix("torch.")
        found = measure(network, exam, drawn)
    return finding(figure, found, total, f"{precision} on {network.device.type}, seed {seed}")


def measure(network: "PreTrainedModel", exam: Exam, drawn: Sequence[tuple[PresentedQuestion, Output]]) -> list[Apart]:
    """How far the published answers, and those computed here, lie from what the weights give exactly."""
    if exam.mode == READINGS[0]:
        return _likelihoods(network, exam, drawn)
    from medllm_hf.evaluation.verification.reply_check import compare_replies

    return compare_replies(network, exam.prompts, drawn, exam.new_tokens, exam.rules, in_float32(network))


def finding(figure: str, found: Sequence[Apart], total: int, how: str) -> Finding:
    """What the drawn items say together, with the power of the draw."""
    bound, checks = bound_of(found), check_items(found)
    if not isfinite(bound):
        return Finding(figure, UNKNOWN, f"these weights give no finite numbers ({how})")
    drawn = f"of {len(checks)} items drawn from {total}"
    if wrong := [one for one in checks if one.refuted]:
        named = ", ".join(one.name for one in wrong[:_NAMED]) + (" …" if len(wrong) > _NAMED else "")
        return Finding(figure, DIFFERENT, f"{len(wrong)} {drawn} are not what these weights give ({how}): {named}")
    if further := systematic(found):
        why = f"{further} {drawn} are further from float32 than rounding explains, each a little ({how})"
        return Finding(figure, DIFFERENT, why)
    largest = max((one.parts for one in checks), default=0.0)
    seen = sum(one.seen for one in checks) / len(checks) if checks else 0.0
    furthest = f"at most {largest:.1%} of the tolerance apart, which is {bound:.2g} by these items"
    said = f"{len(checks)} of {total} items again, {furthest} ({how})"
    return Finding(figure, CONFIRMED, f"{said}; {power_text(len(checks), total, seen)}")


def _likelihoods(network: "PreTrainedModel", exam: Exam, drawn: Sequence[tuple[PresentedQuestion, Output]]) -> list[Apart]:
    again = compute_again(network, exam.prompts, [one for one, _ in drawn])
    return [compare(*pair, exact, own, exam.normalization) for pair, (exact, own) in zip(drawn, again, strict=True)]


def compute_again(
    network: "PreTrainedModel", prompts: Prompts, shown: Sequence[PresentedQuestion]
) -> list[tuple[dict, dict[str, float]]]:
    """For each question what the weights give exactly, "logprobs" and "lengths", and the log-probabilities as rounded."""
    from medllm_hf.evaluation.exams.likelihood import likelihoods

    def again(limits: BatchLimits) -> dict[int, dict]:
        answers = likelihoods(network, prompts, shown, set(range(len(shown))), "tokens", limits)
        return dict(tqdm(answers, total=len(shown), unit="answer", disable=None))

    device = network.device.type
    # One by one, so that what is in float32 already is computed in another way too.
    own = again(BatchLimits(questions=1))
    with in_float32(network):
        # Not by the batches of the manifest, which may say anything.
        exact = again(BatchLimits(tokens_for(device, network.num_parameters()) if device == "cpu" else BATCH_TOKENS))
    return [(exact[i], own[i]["logprobs"]) for i in range(len(shown))]


def compare(one: PresentedQuestion, published: Output, exact: dict, own: dict[str, float], normalization: str) -> Apart:
    """The log-probabilities of one item beside those that were computed exactly, and the run's precision beside these.

    An altered answer is seen where even its least alteration is: the best two moved towards each other until they change
    places, each by its part of the way.

    Args:
        exact: "logprobs", and as "lengths" the tokens of each answer.
    """
    theirs, ours, tokens = published["logprobs"], exact["logprobs"], exact["lengths"]
    divisors = dict.fromkeys(ours, 1) if normalization == "none" else published.get("lengths", {})
    same = theirs.keys() == ours.keys() == divisors.keys()
    if not same or (normalization == "tokens" and divisors != tokens):
        return Apart(item_name(one), inf, distance(own, ours, tokens), inf)
    altered = approached(theirs, divisors)
    return Apart(item_name(one), *(distance(values, ours, tokens) for values in (theirs, own, altered)))


def distance(values: dict[str, float], exact: dict[str, float], tokens: dict[str, int]) -> float:
    """How far log-probabilities lie from the exact ones, or two of them from the exact difference: nats of a scored token.

    What is scored over n tokens counts by √n, as independent roundings add up.
    """
    moved = [(values[name] - exact[name]) / sqrt(max(1, tokens[name])) for name in exact]
    return max(0.0, *moved) - min(0.0, *moved) if all(map(isfinite, moved)) else inf


def approached(values: dict[str, float], divisors: dict[str, int]) -> dict[str, float]:
    """Log-probabilities whose best two, by their means, were moved to the middle between them."""
    means = {name: values[name] / divisors[name] for name in values}
    best = sorted(means, key=means.__getitem__)[-2:]
    middle = sum(means[name] for name in best) / len(best)
    return {**values, **{name: middle * divisors[name] for name in best}}
