"""Published answers of an exam computed again on the published weights: whether what differs is what hardware explains.

A figure that follows from outputs says nothing of where the outputs are from. This draws some of them by a seed, computes them
again, and finds them different where log-probabilities part by more than precision and device can do, or where a reply has a
token that the weights would not have written. How often an altered answer would be seen is measured on the same items.
"""

import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from medllm_hf.evaluation.exams.batching import BatchLimits
from medllm_hf.evaluation.exams.derive import reading_of, stored_run
from medllm_hf.evaluation.exams.outputs import Output
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, Prompts
from medllm_hf.evaluation.exams.settings import READINGS
from medllm_hf.evaluation.runs.folder import FinishedRun
from medllm_hf.evaluation.verification.findings import CONFIRMED, DIFFERENT, UNKNOWN, Finding, Known
from medllm_hf.evaluation.verification.power import ItemCheck, item_name, power_text
from medllm_hf.placement import DTYPE, choose_device

if TYPE_CHECKING:  # it takes seconds to import
    from transformers import PreTrainedModel

# By how much honest computations part, several times over: nats of a scored token, by the precision of the model; measured
# with other batches, other kernels and another program, see benchmarks/README.md.
TOLERANCE = {"float32": 2e-3, "bfloat16": 0.25, "float16": 0.05}
_NAMED = 5


@lru_cache(maxsize=1)  # several runs are of one model, which takes a while to load
def _load(folder: Path, dtype: str) -> "PreTrainedModel":
    from medllm_hf.evaluation.exams.weights import load_network

    return load_network(folder, choose_device(None), dtype)


def rerun_exam(where: str, run: FinishedRun, prompts: Prompts, known: Known) -> Iterator[Finding]:
    """Yields what some answers of an exam, `known.rerun`, are when the published weights give them again.

    Args:
        prompts: as the run's manifest says, with the published tokenizer.

    Raises:
        UserError: the weights cannot be loaded.
    """
    assert known.rerun
    count, seed = known.rerun.count, known.rerun.seed
    settings, figure = run["manifest"]["settings"], f"{where}/outputs.jsonl rerun"
    if settings.get("quantization"):
        yield Finding(figure, UNKNOWN, f"weights in {settings['quantization']}, which are not loaded again")
        return
    stored = stored_run(where, run)
    pairs = {(row["id"], row["rotation"]): row for row in stored.outputs}
    shown = [one for one in stored.questions if one.key in pairs]
    drawn = [shown[i] for i in sorted(random.Random(seed).sample(range(len(shown)), min(count, len(shown))))]
    network = _load(known.folder, settings.get("dtype", DTYPE))
    precision = str(next(network.parameters()).dtype).removeprefix("torch.")
    if precision not in TOLERANCE:
        yield Finding(figure, UNKNOWN, f"no tolerance is known for {precision}")
        return
    outputs = [pairs[one.key] for one in drawn]
    if reading_of(run["manifest"]) == READINGS[0]:
        checks = _likelihoods(network, prompts, drawn, outputs, settings, TOLERANCE[precision])
    else:
        from medllm_hf.evaluation.verification.reply_check import check_replies

        checks = check_replies(network, prompts, drawn, outputs, settings, TOLERANCE[precision])
    yield finding(figure, checks, len(shown), f"{precision} on {network.device.type}, seed {seed}")


def finding(figure: str, checks: Sequence[ItemCheck], total: int, how: str) -> Finding:
    """What the checks of the drawn items say together, with the power of the draw."""
    wrong = [one for one in checks if not one.parts <= 1]  # nan parts too
    drawn = f"{len(checks)} of {total}"
    if wrong:
        named = ", ".join(one.name for one in wrong[:_NAMED]) + (" …" if len(wrong) > _NAMED else "")
        return Finding(figure, DIFFERENT, f"{len(wrong)} of {drawn} items are not what these weights give ({how}): {named}")
    largest = max((one.parts for one in checks), default=0.0)
    seen = sum(one.seen for one in checks) / len(checks) if checks else 0.0
    said = f"{drawn} items again, at most {largest:.1%} of the tolerance apart ({how})"
    return Finding(figure, CONFIRMED, f"{said}; {power_text(len(checks), total, seen)}")


def _likelihoods(
    network: "PreTrainedModel",
    prompts: Prompts,
    drawn: Sequence[PresentedQuestion],
    outputs: Sequence[Output],
    settings: dict,
    tolerance: float,
) -> list[ItemCheck]:
    from medllm_hf.evaluation.exams.likelihood import likelihoods

    limits = BatchLimits(settings.get("batch_tokens") or BatchLimits.tokens)
    again = dict(likelihoods(network, prompts, drawn, set(range(len(drawn))), "tokens", limits))
    return [compare(one, output, again[i], tolerance) for i, (one, output) in enumerate(zip(drawn, outputs, strict=True))]


def compare(one: PresentedQuestion, published: Output, again: dict, tolerance: float) -> ItemCheck:
    """The log-probabilities of one item beside those that were computed again; what is scored over n tokens may part √n times.

    The least that an alteration of the answer must do is to exchange the best two.
    """
    theirs, ours, lengths = published["logprobs"], again["logprobs"], again["lengths"]
    allowed = {name: tolerance * sqrt(max(1, lengths[name])) for name in ours}
    parts = max((abs(theirs[name] - ours[name]) / allowed[name] for name in ours if name in theirs), default=float("inf"))
    means = sorted(ours, key=lambda name: ours[name] / (lengths[name] if "lengths" in published else 1))
    best, second = means[-1], means[-2] if len(means) > 1 else means[-1]
    seen = abs(ours[best] - ours[second]) > min(allowed[best], allowed[second])
    return ItemCheck(item_name(one), parts, seen)
