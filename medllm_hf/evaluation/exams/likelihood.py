"""Log-probabilities of candidate answers: what their prompts share is computed once, and nothing is padded.

Every candidate is a sequence of ids that begins like its prompt. Three parts of it are computed at most once each: the prefix
that a group of questions shares (instruction and worked examples), the rest of the question, and what a candidate adds.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby, islice, pairwise
from operator import add, gt

import torch
from transformers import PreTrainedTokenizerBase

from medllm_hf.data.mcq import McqItem
from medllm_hf.evaluation.exams.batching import ALONE, USUAL, BatchLimits, Share
from medllm_hf.evaluation.exams.float32_head import float32_head
from medllm_hf.evaluation.exams.outputs import Output, output_row
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, Prompts, answers, candidates
from medllm_hf.evaluation.exams.settings import Settings
from medllm_hf.evaluation.exams.shared_prefix import Block, Row, attending, device_of, keys_and_values, language_model, supports
from medllm_hf.evaluation.exams.thoughts import default_thinking

# Questions that are laid out together, in batches that share a prefix. Portions and batches follow from all the questions,
# whatever was kept before and however many ranks there are, since in low precision a value depends a little on its
# neighbours. A batch is computed whole or not at all, so that a killed run loses at most one.
PORTION = 256
# Two more forwards, one for the prefix and one that is not full, cost about as much as so many tokens.
GROUP_COST = 256
# Logits of one forward: 256 MiB in float32.
LOGITS_AT_ONCE = 2**26
# Rows of logits whose softmax is computed at a time.
ROWS_AT_ONCE = 256

# Of a batch: tokens in its forward, places whose logits are needed, questions.
Sizes = tuple[int, int, int]


@dataclass(frozen=True)
class Question:
    """The ids of a prompt, and of the prompt with each candidate answer, tokenised together."""

    prompt: list[int]
    candidates: list[list[int]]


def likelihoods(
    network: torch.nn.Module,
    prompts: Prompts,
    shown: Sequence[PresentedQuestion],
    wanted: set[int],
    normalization: str = Settings.normalization,
    limits: BatchLimits = USUAL,
    share: Share = ALONE,
) -> Iterator[tuple[int, dict]]:
    """Yields (place in `shown`, {"logprobs"}) of the `wanted` questions; normalisation adds "lengths" of the answers.

    A candidate begins at the first token that differs from the prompt's own, whatever tokens the prompt ends in.

    Args:
        share: which part of the batches is computed here, where several ranks answer.
    """
    texts = [prompts.text(one.item) for one in shown]
    order = sorted(range(len(shown)), key=lambda i: (shown[i].item.kind, len(texts[i])))
    portions = [order[start : start + PORTION] for start in range(0, len(order), PORTION)]
    for portion, split in share.portions([one for one in portions if not wanted.isdisjoint(one)]):
        compared = [tokenise(prompts, shown[i].item, texts[i]) for i in portion]
        takes = share.takes({place for place, i in enumerate(portion) if i in wanted}, split)
        for place, values in log_probabilities(network, compared, limits, takes):
            if (i := portion[place]) in wanted:
                yield i, output_of(shown[i].item, prompts.score, compared[place], values, normalization)


def tokenise(prompts: Prompts, item: McqItem, text: str) -> Question:
    """The ids of the prompt `text` of an item, and of it with each candidate answer."""
    ending = prompts.ending(item)
    whole = [text + answer + ending for answer in answers(item, prompts.score, candidates(item))]
    prompt, *compared = prompts.ids([text, *whole])
    return Question(prompt, compared)


def output_of(
    item: McqItem,
    score: str,
    question: Question,
    values: Iterable[float],
    normalization: str = Settings.normalization,
) -> dict:
    """The raw output for one question: log-probabilities in nats by letters, and what they are to be divided by."""
    chosen = candidates(item)
    names = ["".join(sorted(letters)) for letters in chosen]
    found: dict = {"logprobs": {name: round(value, 6) for name, value in zip(names, values, strict=True)}}
    if normalization == "none":
        return found
    if normalization == "bytes":
        lengths = [len(text.encode()) for text in answers(item, score, chosen)]
    else:
        lengths = [len(ids) - len(os.path.commonprefix([question.prompt, ids])) for ids in question.candidates]
    return {**found, "lengths": dict(zip(names, lengths, strict=True))}


def zero_shot(network: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, shown: Sequence[PresentedQuestion]) -> list[Output]:
    """The outputs that `eval mcq` writes for questions by its defaults."""
    prompts = Prompts(tokenizer, {}, enable_thinking=default_thinking(tokenizer, Prompts.mode))
    found = dict(likelihoods(network, prompts, shown, set(range(len(shown)))))
    return [output_row(one, found[i]) for i, one in enumerate(shown)]


@dataclass(frozen=True)
class Tree:
    """The ids of a question as the model reads them: a stem, and branches that each go on from it.

    Attributes:
        head: how many ids of the stem other questions may share.
        reads: for each candidate (branch, position, id): the logits at that position score the id. Positions count from the
            begin of the stem on; the branch is 0 for those within the stem.
    """

    stem: list[int]
    branches: list[list[int]]
    head: int
    reads: list[list[tuple[int, int, int]]]


def log_probabilities(
    network: torch.nn.Module,
    questions: Sequence[Question],
    limits: BatchLimits = USUAL,
    takes: Callable[[list[int]], bool] = lambda batch: True,
) -> Iterator[tuple[int, list[float]]]:
    """(index of the question, log-probability in nats of each candidate), each question once, in the order that is fast.

    The tokens of a candidate count from the first id on that differs from the prompt. The order depends on the questions
    alone, and the model has its own attention whenever a result is handed out.

    Args:
        network: a causal language model in evaluation mode, wrapped or not.
        limits: of one forward, unless a single question has more; the shared prefix is not counted.
        takes: asked of every batch, the indices of its questions, whether it is to be computed.

    Raises:
        ValueError: a candidate that does not begin like its prompt.
    """
    trees = [tree(question) for question in questions]
    most = (limits.tokens, LOGITS_AT_ONCE // language_model(network).config.vocab_size, limits.questions)
    if not supports(network):
        yield from padded(network, trees, most, takes)
        return
    for length, members in groups([one.stem[: one.head] for one in trees]):
        if batches := list(filter(takes, _tail_batches(trees, members, length, most))):
            yield from _behind_prefix(network, trees, batches, length)


def tree(question: Question) -> Tree:
    """How a question is laid out. The last id of a candidate is scored and never read.

    Raises:
        ValueError: a candidate that does not begin like the prompt.
    """
    firsts = [len(os.path.commonprefix([question.prompt, candidate])) for candidate in question.candidates]
    if min(firsts) == 0:
        raise ValueError("a candidate that does not begin like its prompt")
    inputs = [candidate[:-1] for candidate in question.candidates]
    stem = list(os.path.commonprefix(inputs))
    rests = [ids[len(stem) :] for ids in inputs]
    # In sorted order, what begins with a rest comes right after it.
    branches = [rest for rest, after in pairwise([*sorted(rests), []]) if after[: len(rest)] != rest]
    reads = []
    for first, candidate, rest in zip(firsts, question.candidates, rests, strict=True):
        branch = next((i for i, branch in enumerate(branches) if branch[: len(rest)] == rest), 0)
        reads.append([(branch if at >= len(stem) else 0, at, candidate[at + 1]) for at in range(first - 1, len(candidate) - 1)])
    # The place before the first scored id stays with the question, since the logits of shared places are not kept.
    return Tree(stem, branches, max(0, min(*firsts, len(stem)) - 1), reads)


def groups(heads: list[list[int]]) -> list[tuple[int, list[int]]]:
    """(length of the shared prefix, indices) of groups that cover all `heads`; the last one shares nothing (length 0).

    In sorted order, all that share a prefix stand together, and such intervals lie within each other. Of an interval and
    the best groups inside it, that is taken which saves more: the prefix once for each question but the first, less
    `GROUP_COST` a group.
    """
    order = sorted(range(len(heads)), key=heads.__getitem__)
    shared = [len(os.path.commonprefix([heads[one], heads[other]])) for one, other in pairwise(order)]
    # Intervals that go on: (shared length, first question, ids saved by the groups inside, these groups).
    stack: list[tuple[int, int, int, list[tuple[int, int, int]]]] = []
    for last, link in enumerate([*shared, 0]):
        first, saved = last, 0
        inside: list[tuple[int, int, int]] = []
        while stack and stack[-1][0] >= link:
            length, first, saved_before, inside_before = stack.pop()
            saved, inside = saved_before + saved, inside_before + inside
            whole = length * (last - first) - GROUP_COST
            if length > link and whole > saved:
                saved, inside = whole, [(length, first, last + 1)]
        stack.append((link, first, saved, inside))
    found = [(length, order[first:end]) for length, first, end in stack[0][3]]
    covered = {index for _, members in found for index in members}
    return [*found, (0, [index for index in order if index not in covered])]


def _behind_prefix(
    network: torch.nn.Module, trees: list[Tree], batches: list[list[int]], length: int
) -> Iterator[tuple[int, list[float]]]:
    """What `log_probabilities` yields for `batches`, all of which share their first `length` ids."""
    prefix = keys_and_values(network, trees[batches[0][0]].stem[:length]) if length else []
    for batch in batches:
        yield from zip(batch, flattened(network, [trees[index] for index in batch], prefix, length), strict=True)


def _tail_batches(trees: list[Tree], members: list[int], length: int, most: Sizes) -> Iterator[list[int]]:
    """The batches of `members` behind their first `length` ids."""
    # Tails of equal shape, which the attention takes together, become neighbours.
    order = sorted(members, key=lambda index: _shape(trees[index], length), reverse=True)
    return _batches(order, lambda index, _: _size(trees[index], length), most)


def _batches(members: list[int], size: Callable[[int, int], Sizes], most: Sizes) -> Iterator[list[int]]:
    """Batches of neighbours whose summed sizes, `size(member, first of its batch)`, stay within `most`; or one member."""
    batch: list[int] = []
    filled = (0, 0, 0)
    for member in members:
        own = size(member, batch[0] if batch else member)
        if batch and any(map(gt, map(add, filled, own), most)):
            yield batch
            batch, filled, own = [], (0, 0, 0), size(member, member)
        batch.append(member)
        filled = (filled[0] + own[0], filled[1] + own[1], filled[2] + own[2])
    if batch:
        yield batch


def _shape(one: Tree, length: int) -> tuple[int, tuple[int, ...]]:
    """The tokens of the stem after the `length` shared ones, and of each branch."""
    return len(one.stem) - length, tuple(map(len, one.branches))


def _size(one: Tree, length: int) -> Sizes:
    """What a tree adds to a flattened row behind `length` shared ids."""
    stem, branches = _shape(one, length)
    return stem + sum(branches), len({read[:2] for reads in one.reads for read in reads}), 1


@torch.inference_mode()
def flattened(network: torch.nn.Module, trees: list[Tree], prefix: list, length: int) -> list[list[float]]:
    """The log-probabilities of each tree's candidates, from one row of all that comes after the `length` shared ids.

    Args:
        prefix: keys and values of the shared ids, as `Row` wants them.
    """
    ids: list[int] = []
    positions: list[int] = []
    places: dict[int, int] = {}  # place in the row → number of its logits
    reads = []
    for one in trees:
        begins = list(accumulate(map(len, one.branches), initial=len(ids) - length))
        ids += chain(one.stem[length:], *one.branches)
        positions += chain(range(length, len(one.stem)), *(range(len(one.stem), len(one.stem) + len(b)) for b in one.branches))
        reads += [
            [(places.setdefault(begins[branch] + at, len(places)), scored) for branch, at, scored in candidate]
            for candidate in one.reads
        ]
    blocks = [Block(len(list(same)), *shape) for shape, same in groupby(_shape(one, length) for one in trees)]
    with attending(network), float32_head(network):
        logits = network(
            input_ids=torch.tensor([ids], device=device_of(network)),
            position_ids=torch.tensor([positions], device=device_of(network)),
            use_cache=False,
            logits_to_keep=torch.tensor(list(places), dtype=torch.long, device=device_of(network)),
            row=Row(blocks, prefix),
        ).logits
    return _by_tree(_sums(logits[0], reads), trees)


def padded(
    network: torch.nn.Module, trees: list[Tree], most: Sizes, takes: Callable[[list[int]], bool]
) -> Iterator[tuple[int, list[float]]]:
    """What `log_probabilities` yields, with the model's own attention: every branch is a whole row, padded on the right."""

    def size(index: int, first: int) -> Sizes:
        rows = max(1, len(trees[index].branches))
        return rows * width(first), rows * (width(first) - _first_place(trees[index])), 1

    def width(index: int) -> int:
        return len(trees[index].stem) + max(map(len, trees[index].branches), default=0)

    for batch in filter(takes, _batches(sorted(range(len(trees)), key=width, reverse=True), size, most)):
        yield from zip(batch, _padded_batch(network, [trees[index] for index in batch]), strict=True)


@torch.inference_mode()
def _padded_batch(network: torch.nn.Module, trees: list[Tree]) -> list[list[float]]:
    """The log-probabilities of each tree's candidates, from one batch."""
    by_tree = [[one.stem + branch for branch in one.branches or [[]]] for one in trees]
    begins = accumulate(map(len, by_tree), initial=0)
    rows = list(chain.from_iterable(by_tree))
    width = max(map(len, rows))
    keep = width - min(map(_first_place, trees))
    # Padding comes after every token that is scored, so causal attention needs no mask for it.
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device_of(network))
    with float32_head(network):
        logits = network(input_ids=ids, use_cache=False, logits_to_keep=keep).logits
    reads = [
        [((begin + branch) * keep + at - (width - keep), scored) for branch, at, scored in candidate]
        for begin, one in zip(begins, trees, strict=False)
        for candidate in one.reads
    ]
    return _by_tree(_sums(logits.flatten(0, 1), reads), trees)


def _first_place(one: Tree) -> int:
    """The first position of a tree whose logits are needed."""
    return min((at for reads in one.reads for _, at, _ in reads), default=len(one.stem) - 1)


def _sums(logits: torch.Tensor, reads: list[list[tuple[int, int]]]) -> list[float]:
    """The sum of the log-probabilities in each of the `reads`, lists of (row of `logits`, id), in nats."""
    owner = torch.tensor([number for number, pairs in enumerate(reads) for _ in pairs], dtype=torch.long)
    pairs = torch.tensor(list(chain.from_iterable(reads)), dtype=torch.long, device=logits.device).reshape(-1, 2)
    # The softmax of a large vocabulary is never there for all rows at once.
    normalisers = torch.cat([part.float().logsumexp(-1) for part in logits.split(ROWS_AT_ONCE)])
    values = logits[pairs[:, 0], pairs[:, 1]].float() - normalisers[pairs[:, 0]]
    return torch.zeros(len(reads), dtype=torch.float64).index_add_(0, owner, values.double().cpu()).tolist()


def _by_tree(values: list[float], trees: list[Tree]) -> list[list[float]]:
    """The values of all candidates, one list a tree."""
    remaining = iter(values)
    return [list(islice(remaining, len(one.reads))) for one in trees]
