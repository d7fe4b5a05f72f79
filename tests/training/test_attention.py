"""Packed rows: each sample is computed as if it stood alone, under every attention implementation offered."""

from itertools import pairwise

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from medllm_hf.errors import UserError
from medllm_hf.training.attention import NAME, VARLEN, causal, register, sample_sizes, variable_length
from medllm_hf.training.attention_choice import FLASH, FLEX, Machine, choose, this_machine
from medllm_hf.training.batches import Collator

register()
SIZES = (7, 1, 13, 5)
SHAPES = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}


def model(kind: str = "llama"):
    """A random model in float32; the heads of keys and values are fewer than those of queries."""
    torch.manual_seed(0)
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**SHAPES, num_key_value_heads=2)).eval()
    if kind == "window":
        return MistralForCausalLM(MistralConfig(**SHAPES, num_key_value_heads=2, sliding_window=4)).eval()
    return Qwen3ForCausalLM(Qwen3Config(**SHAPES, num_key_value_heads=2, head_dim=16)).eval()


@pytest.fixture(scope="module")
def samples() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 300, (size,), generator=generator).tolist() for size in SIZES]


def packed(samples) -> dict[str, torch.Tensor]:
    """The row that the collator makes of `samples`, without its labels."""
    batch = Collator(pad_token_id=0)([{"input_ids": ids, "labels": ids} for ids in samples])
    return {name: value for name, value in batch.items() if name != "labels"}


def alone(network, ids) -> torch.Tensor:
    return network(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def parts(logits) -> tuple[torch.Tensor, ...]:
    return logits[0].split(SIZES)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["llama", "qwen3", "window"])
@pytest.mark.parametrize("implementation", ["eager", "sdpa", NAME, VARLEN])
def test_a_packed_sample_equals_itself_alone(implementation, kind, samples):
    """D1; alone it is computed by transformers' eager attention, which knows sliding windows."""
    network, reference = model(kind), model(kind)
    network.set_attn_implementation(implementation)
    reference.set_attn_implementation("eager")
    for ids, logits in zip(samples, parts(network(**packed(samples), use_cache=False).logits), strict=True):
        assert (logits - alone(reference, ids)).abs().max() <= 1e-5


@pytest.mark.slow  # compiles
@torch.no_grad()
@pytest.mark.parametrize("kind", ["llama", "window"])
def test_flex_attention_keeps_samples_apart(kind, samples):
    network, reference = model(kind), model(kind)
    network.set_attn_implementation(FLEX)
    reference.set_attn_implementation(NAME)
    row = packed(samples)
    assert (network(**row, use_cache=False).logits - reference(**row, use_cache=False).logits).abs().max() <= 1e-5


A100 = Machine("cuda", "bfloat16", (8, 0), frozenset({VARLEN, FLEX}))
H100 = Machine("cuda", "bfloat16", (9, 0), frozenset({VARLEN, FLEX, *FLASH}), frozenset({"org/kernel"}))
T4 = Machine("cuda", "float16", (7, 5), frozenset({VARLEN, FLEX, *FLASH}))


@pytest.mark.parametrize(
    "machine, wish, chosen",
    [
        (Machine("cpu"), None, NAME),
        (Machine("cpu", "bfloat16", None, H100.installed), None, NAME),
        (Machine("mps", "bfloat16"), None, NAME),
        (A100, None, VARLEN),
        (H100, None, "flash_attention_3"),
        (Machine("cuda", "bfloat16", (8, 9), H100.installed), None, "flash_attention_2"),
        (Machine("cuda", "bfloat16", (10, 0), H100.installed), None, "flash_attention_2"),
        (Machine("cuda", "float32", (9, 0), H100.installed), None, FLEX),
        (T4, None, FLEX),
        (Machine("cuda", "bfloat16", (6, 1), H100.installed), None, NAME),
        (Machine("cuda", "bfloat16", (8, 0)), None, NAME),
        *((A100, wish, wish) for wish in ("eager", "sdpa", NAME, VARLEN, FLEX)),
        (H100, "flash_attention_4", "flash_attention_4"),
        (H100, "org/kernel", "org/kernel"),
        (H100, "org/kernel@main", "org/kernel@main"),
        (Machine("cpu"), "sdpa", "sdpa"),
    ],
)
def test_the_attention_is_chosen_from_the_machine_and_the_users_wish(machine, wish, chosen):
    assert choose(wish, machine) == chosen


@pytest.mark.parametrize(
    "machine, wish, found",
    [
        (Machine("cpu"), "flash_attention_2", "no CUDA device"),
        (Machine("cpu"), FLEX, "no CUDA device"),
        (Machine("cpu"), VARLEN, "no CUDA device"),
        (Machine("cpu"), "org/kernel", "no CUDA device"),
        (A100, "flash_attention_2", "not installed"),
        (A100, "flash_attention_3", "not installed"),
        (Machine("cuda", "bfloat16", (8, 0), H100.installed), "flash_attention_3", "capability 8.0"),
        (T4, VARLEN, "capability 7.5"),
        (Machine("cuda", "float32", (9, 0), H100.installed), "flash_attention_2", "in float32"),
        (A100, "org/kernel", "not on this machine"),
        (H100, "org/kernel:other", "nobody knows"),
        (A100, "paged|eager", "paged|eager"),
        (A100, "flash", "--attn_implementation flash"),
    ],
)
def test_an_attention_that_leaks_or_does_not_run_is_refused_in_one_line(machine, wish, found):
    with pytest.raises(UserError, match=found.replace("|", r"\|")) as caught:
        choose(wish, machine)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window, softcap", [(None, None), (5, None), (None, 20.0), (5, 20.0), (64, None)])
def test_windows_and_soft_caps_are_those_of_a_plain_computation(window, softcap, dtype):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn((1, 4, 23, 16), generator=generator).to(dtype) for _ in range(3))
    scores = (query.double() @ key.double().transpose(2, 3)) * 0.25
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    place = torch.arange(23)
    apart = place[:, None] - place
    scores[..., (apart < 0) | (apart >= (window or 23))] = float("-inf")
    seen = causal(query, key, value, 0.0, 0.25, False, window, softcap)
    assert (seen.double() - scores.softmax(-1) @ value.double()).abs().max() < (1e-5 if dtype == torch.float32 else 0.03)


@torch.no_grad()
def test_with_the_cache_on_ours_stays_exact_and_sdpa_would_leak(samples):
    """The control: what the trainer avoids by never asking for a cache is a real leak."""
    network = model()
    leaks = {}
    for implementation in ("sdpa", NAME):
        network.set_attn_implementation(implementation)
        logits = parts(network(**packed(samples), use_cache=True).logits)
        leaks[implementation] = max(
            (own - alone(network, ids)).abs().max().item() for ids, own in zip(samples, logits, strict=True)
        )
    assert leaks[NAME] <= 1e-5
    assert leaks["sdpa"] > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["eager", "sdpa", NAME])
def test_an_all_ones_mask_makes_the_others_leak(implementation, samples):
    """The control of the tests above: they see contamination when there is some."""
    network = model()
    network.set_attn_implementation(implementation)
    row = packed(samples)
    row = {
        "input_ids": row["input_ids"],
        "position_ids": row["position_ids"],
        "attention_mask": torch.ones_like(row["input_ids"]),
    }
    logits = parts(network(**row, use_cache=False).logits)
    leak = (logits[2] - alone(network, samples[2])).abs().max()
    assert leak <= 1e-5 if implementation == NAME else leak > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["eager", "sdpa", NAME])
def test_changing_one_sample_leaves_the_others(implementation, samples):
    network = model()
    network.set_attn_implementation(implementation)
    before = parts(network(**packed(samples), use_cache=False).logits)
    other = [[(token + 1) % 300 for token in samples[0]], *samples[1:]]
    after = parts(network(**packed(other), use_cache=False).logits)
    assert not torch.equal(before[0], after[0])
    for old, new in zip(before[1:], after[1:], strict=True):
        assert torch.equal(old, new)


def test_gradients_stay_within_a_sample(samples):
    network = model()
    network.set_attn_implementation(NAME)
    row = packed(samples)
    embedded = network.get_input_embeddings()(row.pop("input_ids")).detach().requires_grad_()
    logits = network(inputs_embeds=embedded, **row, use_cache=False).logits
    parts(logits)[2].square().sum().backward()
    touched = embedded.grad[0].abs().sum(-1).split(SIZES)
    assert [bool((part > 0).any()) for part in touched] == [False, False, True, False]


def test_positions_restart_at_every_sample(samples):
    """D2."""
    row = packed(samples)
    assert row["position_ids"].tolist() == [[i for size in SIZES for i in range(size)]]
    assert [end - start for start, end in pairwise(row["cu_seq_lens_q"].tolist())] == list(SIZES)
    query = torch.zeros(1, 4, sum(SIZES), 8)
    assert sample_sizes(query, None, row["cu_seq_lens_q"]) == [list(SIZES)]
    assert sample_sizes(query, row["position_ids"], None) == [list(SIZES)]
    assert sample_sizes(query, None, None) == [[sum(SIZES)]]
    with pytest.raises(ValueError, match="boundaries"):
        sample_sizes(query[:, :, 1:], None, row["cu_seq_lens_q"])


@torch.no_grad()
def test_padded_batches_and_generation_are_those_of_sdpa(samples):
    answers = {}
    for implementation in ("sdpa", NAME):
        network = model()
        network.set_attn_implementation(implementation)
        width = max(SIZES)
        ids = torch.tensor([[0] * (width - len(row)) + row for row in samples])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in samples])
        answers[implementation] = network.generate(ids, attention_mask=mask, max_new_tokens=12, do_sample=False, pad_token_id=0)
        later = network(input_ids=ids[2:3, :9], use_cache=True)
        chunk = network(input_ids=ids[2:3, 9:], past_key_values=later.past_key_values, use_cache=True).logits
        assert (chunk - network(input_ids=ids[2:3], use_cache=False).logits[:, 9:]).abs().max() <= 1e-5
    assert torch.equal(answers["sdpa"], answers[NAME])


@pytest.mark.parametrize("groups", [1, 2])
def test_short_samples_in_bfloat16_have_the_kernels_values_and_gradients(groups):
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 4, 37, 16), (1, 4 // groups, 37, 16), (1, 4 // groups, 37, 16)]
    tensors = [torch.randn(shape, generator=generator).bfloat16() for shape in shapes]
    exact = [tensor.double().requires_grad_() for tensor in tensors]
    short = [tensor.requires_grad_() for tensor in tensors]
    seen = causal(*short, 0.0, 0.25, groups > 1)
    wanted = torch.nn.functional.scaled_dot_product_attention(*exact, is_causal=True, scale=0.25, enable_gqa=groups > 1)
    weights = torch.randn(wanted.shape, generator=generator).bfloat16()
    (seen * weights).sum().backward()
    (wanted * weights.double()).sum().backward()
    assert seen.dtype == torch.bfloat16
    for own, right in [(seen, wanted), *((a.grad, b.grad) for a, b in zip(short, exact, strict=True))]:
        # bfloat16 keeps 8 bits.
        assert (own.double() - right).abs().max() < 0.02 * right.abs().max()


def test_the_installed_torch_brings_its_kernels():
    machine = this_machine(torch.device("cpu"), "bfloat16")
    assert {VARLEN} <= machine.installed <= {VARLEN, FLEX, *FLASH}
    assert choose(None, machine) == NAME


@pytest.mark.parametrize("boundaries", [True, False])
def test_torchs_variable_length_kernel_takes_what_we_hand_it(boundaries):
    """Shapes and types only, on tensors without content: there is no GPU where this test runs."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        query, key = (torch.empty(1, heads, 26, 16, device="cuda", dtype=torch.bfloat16) for heads in (4, 2))
        edges = torch.empty(5, dtype=torch.int32, device="cuda")
        options = {"cu_seq_lens_q": edges, "max_length_q": 13} if boundaries else {}
        out, _ = variable_length(None, query, key, key, None, scaling=0.25, sliding_window=5, **options)
    assert (out.shape, out.dtype, out.device.type) == ((1, 26, 4, 16), torch.bfloat16, "cuda")
