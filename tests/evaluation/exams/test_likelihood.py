"""Candidates' log-probabilities: shared prefixes and trees give what one forward a candidate gives."""

import os
import random

import pytest
import torch
from support.paths import SAMPLE
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from medllm_hf.data.mcq import load_items
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams import likelihood, shared_prefix
from medllm_hf.evaluation.exams.batching import BatchLimits
from medllm_hf.evaluation.exams.likelihood import Question, groups, log_probabilities, tree
from medllm_hf.evaluation.exams.shared_prefix import NAME, Block

SHAPE = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.2,
}  # fmt: skip
WINDOW = {"sliding_window": 8}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE),
    "mistral": MistralConfig(**SHAPE, sliding_window=None),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16),
}
OTHERS = {
    "gemma2": Gemma2Config(**SHAPE, head_dim=16, **WINDOW),
    "mistral": MistralConfig(**SHAPE, **WINDOW),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16, use_sliding_window=True, max_window_layers=1, **WINDOW),
    "llama": LlamaConfig(**SHAPE, rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}),
}


def llama_first(configs: dict) -> list:
    """The architectures for a test that is quick for Llama alone."""
    return ["llama", *(pytest.param(name, marks=pytest.mark.slow) for name in configs if name != "llama")]


def model(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@torch.no_grad()
def one_by_one(network, question: Question) -> list[float]:
    """The definition: a forward for each candidate, and the sum from the first id that differs from the prompt."""
    sums = []
    for candidate in question.candidates:
        logs = network(input_ids=torch.tensor([candidate]), use_cache=False).logits[0].double().log_softmax(-1)
        first = len(os.path.commonprefix([question.prompt, candidate]))
        sums.append(sum(logs[at - 1, candidate[at]].item() for at in range(first, len(candidate))))
    return sums


def assert_equal(network, questions: list[Question], within: float = 1e-4, **settings) -> None:
    """Each question comes once, with the values of the definition."""
    found = list(log_probabilities(network, questions, **settings))
    assert sorted(index for index, _ in found) == list(range(len(questions)))
    for index, values in found:
        assert values == pytest.approx(one_by_one(network, questions[index]), abs=within)


def drawn(seed: int, *sizes: int) -> list[list[int]]:
    """Random ids."""
    choice = random.Random(seed)
    return [[choice.randrange(1, 300) for _ in range(size)] for size in sizes]


def letters(prompt: list[int], number: int = 4) -> Question:
    """One id a candidate."""
    return Question(prompt, [[*prompt, 10 + letter] for letter in range(number)])


def letter_sets(prompt: list[int]) -> Question:
    """All sets of at least two of four letters."""
    sets = [[letter for letter in range(4) if number >> letter & 1] for number in range(16)]
    return Question(prompt, [[*prompt, *(10 + letter for letter in one)] for one in sets if len(one) > 1])


def texts(prompt: list[int], seed: int) -> Question:
    """Answers of different length, two of them alike, one the beginning of another, all with an end."""
    one, two, three = drawn(seed, 9, 4, 6)
    return Question(prompt, [[*prompt, *text, 2] for text in (one, two, three, two[:2], one, two + three)])


def exam(shots: list[int], seed: int, number: int = 12) -> list[Question]:
    """Questions of all kinds behind the same worked examples."""
    prompts = [shots + tail for tail in drawn(seed, *(random.Random(seed).randrange(1, 30) for _ in range(number)))]
    kinds = (letters, letter_sets, lambda prompt: texts(prompt, seed))
    return [kinds[i % 3](prompt) for i, prompt in enumerate(prompts)]


@pytest.fixture
def mixed() -> list[Question]:
    """Two sets of worked examples, questions without any, and the odd cases, in random order."""
    one, two = drawn(1, 60, 45)
    questions = exam(one, 2) + exam(two, 3) + exam([], 4) + exam(one[:20], 5, 3)
    questions += [letters(one), letters([*one, 7]), letters([*one, 7, 8]), letters([*one, 7]), texts(one, 6)]
    # Tokenised together, an answer may change ids before the end of the prompt.
    moved = [*one, 3, 4, 5]
    questions.append(Question(moved, [[*one, 3, 9, 11], [*one, 3, 4, 5, 12], [*one, 8], [*one, 3, 4, 6, 6, 6]]))
    questions += [Question([1], [[1, 5], [1, 6, 7]]), Question([*two, 4], [[*two, 4], [*two, 4, 5]])]
    random.Random(7).shuffle(questions)
    return questions


@pytest.mark.parametrize("name", llama_first(CONFIGS))
def test_shared_prefixes_give_what_one_by_one_gives(name, mixed, monkeypatch):
    forwards = []
    inner = likelihood.keys_and_values
    monkeypatch.setattr(likelihood, "keys_and_values", lambda *words: forwards.append(len(words[1])) or inner(*words))
    network = model(CONFIGS[name])
    assert shared_prefix.supports(network)
    assert_equal(network, mixed)
    assert_equal(network, mixed, limits=BatchLimits(50))
    assert sorted(forwards) == [44, 44, 59, 59]


@pytest.mark.parametrize("name", llama_first(OTHERS))
def test_other_architectures_are_padded_and_equal(name, mixed):
    network = model(OTHERS[name])
    assert not shared_prefix.supports(network)
    assert_equal(network, mixed)
    assert_equal(network, mixed, limits=BatchLimits(50))


def test_the_shared_attention_would_be_wrong_for_them(mixed, monkeypatch):
    """The control: the windows above are short enough to matter, so padding was needed."""
    monkeypatch.setattr(likelihood, "supports", lambda network: True)
    with pytest.raises(UserError, match="with and without a cache"):
        assert_equal(model(OTHERS["mistral"]), mixed)


def test_products_of_matrices_replace_the_kernel(mixed, monkeypatch):
    """What other devices than a CPU run, in slices."""
    monkeypatch.setattr(shared_prefix, "_flash", shared_prefix._matmul)
    monkeypatch.setattr(shared_prefix, "_WEIGHTS_AT_ONCE", 2000)
    assert_equal(model(CONFIGS["qwen3"]), mixed)


def test_few_logits_at_once(mixed, monkeypatch):
    """A large vocabulary makes batches smaller and the softmax slower, and changes nothing else."""
    monkeypatch.setattr(likelihood, "LOGITS_AT_ONCE", 300 * 20)
    monkeypatch.setattr(likelihood, "ROWS_AT_ONCE", 3)
    seen = []
    network = model(CONFIGS["llama"])
    network.lm_head.register_forward_hook(lambda module, words, logits: seen.append(logits.shape[1]))
    assert_equal(network, mixed)
    largest = max(likelihood._size(tree(question), 0)[1] for question in mixed)
    one_by_one_rows = sum(len(question.candidates) for question in mixed)
    assert max(seen[:-one_by_one_rows]) <= max(20, largest)


def test_bfloat16_is_as_near_as_it_can_be(mixed):
    """To the exact values it is no farther than one forward a candidate in the same precision."""
    exact = model(CONFIGS["llama"])
    network = model(CONFIGS["llama"]).bfloat16()
    found = dict(log_probabilities(network, mixed))
    ours, plain = [], []
    for index, question in enumerate(mixed):
        right = one_by_one(exact, question)
        ours += [abs(a - b) for a, b in zip(found[index], right, strict=True)]
        plain += [abs(a - b) for a, b in zip(one_by_one(network, question), right, strict=True)]
    assert sum(ours) <= 1.2 * sum(plain)


def test_the_converted_checkpoint_and_real_questions(tiny):
    network = AutoModelForCausalLM.from_pretrained(tiny["base"]).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny["base"])
    items = load_items(str(SAMPLE / "questions_test.jsonl"))[:16]
    questions = []
    for item in items:
        turns = [{"role": "user", "content": item.prompt(options=True)}]
        start = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        for answers in (list(item.options), list(item.options.values())):
            ids = [tokenizer(start + answer, add_special_tokens=False)["input_ids"] for answer in ("", *answers)]
            questions.append(Question(ids[0], ids[1:]))
    assert_equal(network, questions)


def attention_of(network) -> str:
    return network.config._attn_implementation


def test_the_models_own_attention_comes_back(mixed):
    """At every result, when the caller stops early, and when a forward fails."""
    network = model(CONFIGS["llama"])
    network.set_attn_implementation("eager")
    list(log_probabilities(network, mixed))  # the first use is compared with the model's own attention
    inside = []
    hook = network.model.register_forward_hook(lambda *words: inside.append(attention_of(network)))
    running = log_probabilities(network, mixed, limits=BatchLimits(50))
    for _ in range(3):
        next(running)
        assert attention_of(network) == "eager" and not torch.is_inference_mode_enabled()
    running.close()
    assert set(inside) == {NAME} and attention_of(network) == "eager"
    hook.remove()

    def fail(*words):
        raise RuntimeError("in the middle")

    network.lm_head.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        list(log_probabilities(network, mixed))
    assert attention_of(network) == "eager" and not torch.is_inference_mode_enabled()


def test_a_wrapped_model_is_found(mixed):
    wrapped = torch.nn.parallel.DataParallel(model(CONFIGS["llama"]))
    wrapped.device = torch.device("cpu")
    assert shared_prefix.language_model(wrapped) is wrapped.module
    plain = dict(log_probabilities(wrapped.module, mixed))
    assert dict(log_probabilities(wrapped, mixed)) == plain


def test_results_come_one_batch_at_a_time(mixed):
    network = model(CONFIGS["llama"])
    list(log_probabilities(network, mixed))  # the first use is compared, which takes three forwards
    forwards = []
    network.register_forward_hook(lambda *words: forwards.append(1))
    running = log_probabilities(network, mixed, limits=BatchLimits(50))
    next(running)
    assert len(forwards) <= 2
    assert len(list(running)) == len(mixed) - 1 and len(forwards) > 10


def test_a_question_is_a_tree_without_repetition():
    one = tree(letter_sets([1, 2, 3]))
    # Sets as they are read, without their last letter: the others begin one of these.
    assert (one.stem, one.branches) == ([1, 2, 3], [[10, 11, 12], [10, 12], [11, 12], [12]])
    one = tree(letters([1, 2, 3]))
    assert (one.stem, one.branches, one.head) == ([1, 2, 3], [], 2)
    assert one.reads == [[(0, 2, 10)], [(0, 2, 11)], [(0, 2, 12)], [(0, 2, 13)]]
    with pytest.raises(ValueError, match="begin like its prompt"):
        tree(Question([1, 2], [[1, 2, 3], [4]]))


def test_groups_are_the_cheapest():
    a, b, c = drawn(9, 100, 80, 1)
    assert groups([]) == [(0, [])]
    assert groups([a, b]) == [(0, [1, 0] if b < a else [0, 1])]
    heads = [[*a, 1], [*b, 2], [*a, 3], a, [*b, 4], c, [*b, 5], [*a, 6], b, [*b, 7]]
    found = {length: sorted(members) for length, members in groups(heads)}
    assert found == {100: [0, 2, 3, 7], 80: [1, 4, 6, 8, 9], 0: [5]}
    # A longer prefix for a few of a group is not worth leaving it; for many it is.
    few = [[*a, 1, 2], [*a, 1, 3], *([*a, i] for i in range(5, 20))]
    assert [length for length, members in groups(few)] == [100, 0]
    many = [*([*a[:50], *b, i] for i in range(20)), *([*a, i] for i in range(20))]
    assert sorted(length for length, _ in groups(many)) == [0, 100, 130]


def test_groups_of_prompts_within_each_other():
    """A chain of prompts that each begin the next is no deeper than any other."""
    chain = [list(range(1, size)) for size in range(1, 3000)]
    found = groups(chain)
    assert sorted(index for _, members in found for index in members) == list(range(len(chain)))


def test_a_block_of_trees_is_as_long_as_its_parts():
    assert Block(3, 4, (2, 5)).length == 11
