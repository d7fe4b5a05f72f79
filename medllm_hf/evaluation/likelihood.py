"""Log-probabilities of candidate answers: what their prompts share is computed once, and nothing is padded.

Every candidate is a sequence of ids that begins like its prompt. Three parts of it are computed at most once each: the prefix
that a group of questions shares (instruction and worked examples), the rest of the question, and what a candidate adds.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, pairwise

import torch

from medllm_hf.evaluation.shared_prefix import Block, Row, attending, keys_and_values, language_model, supports

# Two more forwards, one for the prefix and one that is not full, cost about as much as so many tokens.
GROUP_COST = 256
# Logits of one forward: 256 MiB in float32.
LOGITS_AT_ONCE = 2**26
# Places whose softmax is computed at a time.
PLACES_AT_ONCE = 256


@dataclass(frozen=True)
class Question:
    """The ids of a prompt, and of the prompt with each candidate answer, tokenised together."""

    prompt: list[int]
    candidates: list[list[int]]


@dataclass(frozen=True)
class Tree:
    """The ids of a question as the model reads them: a stem, and branches that no other candidate has.

    Attributes:
        head: how many ids of the stem other questions may share.
        reads: for each candidate, (place, id): the logits after `place`, counted over stem and branches, score `id`.
    """

    stem: list[int]
    branches: list[list[int]]
    head: int
    reads: list[list[tuple[int, int]]]


def log_probabilities(
    network: torch.nn.Module, questions: Sequence[Question], tokens_at_once: int = 8192
) -> Iterator[tuple[int, list[float]]]:
    """(index of the question, log-probability in nats of each candidate), each question once, in the order that is fast.

    The tokens of a candidate count from the first id on that differs from the prompt. The order depends on the questions
    alone, and the model is as it was whenever a result is handed out.

    Args:
        network: a causal language model in evaluation mode, wrapped or not.
        tokens_at_once: the tokens in one forward, unless a single question has more; the shared prefix is not counted.
    """
    if not supports(network):
        yield from padded(network, questions, tokens_at_once)
        return
    trees = [tree(question) for question in questions]
    for length, members in groups([one.stem[: one.head] for one in trees]):
        prefix = keys_and_values(network, trees[members[0]].stem[:length]) if length else []
        members.sort(key=lambda index: _shape(trees[index]), reverse=True)
        for batch in _batches(network, trees, members, length, tokens_at_once):
            yield from zip(batch, _values(network, [trees[index] for index in batch], prefix, length), strict=True)


def tree(question: Question) -> Tree:
    """How a question is laid out. The last id of a candidate is scored, never read.

    Raises:
        ValueError: a candidate that does not begin like the prompt.
    """
    firsts = [len(os.path.commonprefix([question.prompt, candidate])) for candidate in question.candidates]
    if min(firsts) == 0:
        raise ValueError("a candidate that shares no id with its prompt")
    inputs = [candidate[:-1] for candidate in question.candidates]
    stem = os.path.commonprefix(inputs)
    rests = [ids[len(stem) :] for ids in inputs]
    # In sorted order, what begins with a rest comes right after it.
    branches = [rest for rest, after in pairwise([*sorted(rests), []]) if after[: len(rest)] != rest]
    reads = []
    for first, candidate, rest in zip(firsts, question.candidates, rests, strict=True):
        number = next((i for i, branch in enumerate(branches) if branch[: len(rest)] == rest), 0)
        skipped = sum(map(len, branches[:number]))
        reads.append(
            [(at if at < len(stem) else at + skipped, candidate[at + 1]) for at in range(first - 1, len(candidate) - 1)]
        )
    # At least one id stays with the question: the logits at the shared places are not kept.
    return Tree(stem, branches, max(0, min(*firsts, len(stem)) - 1), reads)


def groups(heads: list[list[int]]) -> list[tuple[int, list[int]]]:
    """(length of the shared prefix, indices) of groups that cover all `heads`; the last one shares nothing (length 0).

    In sorted order, all that share a prefix stand together, and such intervals lie within each other. Of an interval and
    the best groups inside it, that is taken which saves more: the prefix once for each question but the first, less
    `GROUP_COST` a group.
    """
    order = sorted(range(len(heads)), key=heads.__getitem__)
    shared = [len(os.path.commonprefix([heads[a], heads[b]])) for a, b in pairwise(order)]
    chosen: list[tuple[int, int, int]] = []  # (length, first, end) in `order`
    closed = (0, 0, [])
    # Intervals that go on: (length, first, tokens saved by the groups inside, these groups).
    stack: list[tuple[int, int, int, list]] = []
    for place, link in enumerate([*shared, 0]):
        first, saved, inside = place, 0, []
        while stack and stack[-1][0] > link:
            length, start, sum_saved, sum_inside = stack.pop()
            whole = length * (place - start) - GROUP_COST
            first, saved, inside = start, sum_saved + saved, sum_inside + inside
            if whole > saved:
                saved, inside = whole, [(length, start, place + 1)]
        if stack and stack[-1][0] == link:
            length, first, sum_saved, sum_inside = stack.pop()
            saved, inside = sum_saved + saved, sum_inside + inside
        stack.append((link, first, saved, inside))
    _ = chosen, closed
    found = [(length, order[start:end]) for length, start, end in stack[0][3]] if stack else []
    covered = {index for _, members in found for index in members}
    return [*found, (0, [index for index in order if index not in covered])]
