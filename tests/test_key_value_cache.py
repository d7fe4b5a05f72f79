"""A model that does not use the cache it is given is refused: in a chat, in likelihoods and in written replies."""

from array import array
from threading import Event

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from medllm_hf import key_value_cache
from medllm_hf.chat.prompt_cache import PromptCache
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.batching import BatchLimits
from medllm_hf.evaluation.exams.generation import replies
from medllm_hf.evaluation.exams.likelihood import Question, log_probabilities

PREFIX = list(range(300, 700))
QUESTIONS = [Question([*PREFIX, 800 + i], [[*PREFIX, 800 + i, 900 + j] for j in range(4)]) for i in range(3)]


class Deaf(LlamaForCausalLM):
    """Reads every token as if it were the first: what happens when the argument's name is not the one that counts."""

    def forward(self, input_ids=None, cache=None, past_key_values=None, position_ids=None, use_cache=None, **kwargs):
        kwargs.pop("attention_mask", None)
        return super().forward(input_ids=input_ids, use_cache=False, **kwargs)


class Nameless(LlamaForCausalLM):
    """Takes a cache under a name that nobody knows."""

    def forward(self, input_ids=None, memory=None, **kwargs):
        return super().forward(input_ids=input_ids, **kwargs)


def load(tiny, dtype=torch.float32, kind=AutoModelForCausalLM):
    return kind.from_pretrained(tiny["base"], dtype=dtype, attn_implementation="sdpa").eval()


def chat(network, tiny):
    return PromptCache(network).prefill(PREFIX[:40], Event())


def likelihood(network, tiny):
    return list(log_probabilities(network, QUESTIONS))


def write(network, tiny):
    tokenizer = AutoTokenizer.from_pretrained(tiny["base"])
    return list(replies(network, tokenizer, [array("i", PREFIX[:40])], {0}, new_tokens=3, limits=BatchLimits(100)))


@pytest.mark.parametrize("use", [chat, likelihood, write])
def test_a_model_that_ignores_its_cache_is_refused(use, tiny):
    with pytest.raises(UserError, match="logits that differ by .* with and without a cache; expected a Deaf that uses"):
        use(load(tiny, kind=Deaf), tiny)


@pytest.mark.parametrize("use", [chat, likelihood])
def test_a_model_without_a_known_argument_is_refused(use, tiny):
    with pytest.raises(UserError, match="no argument cache or past_key_values or cache_params"):
        use(load(tiny, kind=Nameless), tiny)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("use", [chat, likelihood, write])
def test_a_model_is_compared_once(use, dtype, tiny, monkeypatch):
    network, compared = load(tiny, dtype), []
    allclose = torch.allclose
    monkeypatch.setattr(torch, "allclose", lambda *args, **kwargs: compared.append(allclose(*args, **kwargs)) or compared[-1])
    for _ in range(3):
        use(network, tiny)
    assert compared == [True]
    use(load(tiny, dtype), tiny)
    assert compared == [True, True]


def test_one_token_compares_nothing_and_the_next_use_does(tiny):
    network = load(tiny, kind=Deaf)
    key_value_cache.check_cache(network, [5], chat)
    with pytest.raises(UserError):
        chat(network, tiny)


def test_an_adapter_around_a_model_hides_no_cache(tiny):
    """PEFT's forward names no argument; the logits behind the cache are those of the model without one."""
    network = get_peft_model(load(tiny), LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)).eval()
    cache = PromptCache(network)
    cache.prefill(PREFIX[:40], Event())
    step = cache.decode([PREFIX[40]])
    with torch.inference_mode():
        anew = network(input_ids=torch.tensor([PREFIX[:41]]), use_cache=False).logits[:, -1]
    assert torch.allclose(step, anew, atol=1e-4)
