"""The same answers as lm-evaluation-harness, item for item, on the same prompts and model."""

import pytest
import torch
from support.paths import SAMPLE
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from medllm_hf.data.mcq import load_items
from medllm_hf.evaluation.exams.likelihood import Question, log_probabilities

huggingface = pytest.importorskip("lm_eval.models.huggingface", reason="lm_eval is the optional extra `harness`")
Instance = pytest.importorskip("lm_eval.api.instance").Instance

ITEMS = 48
THIRTY_MILLION = {
    "hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8,
    "max_position_embeddings": 2048, "vocab_size": 8000, "initializer_range": 0.05, "pad_token_id": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def thirty_million(tiny, tmp_path_factory):
    """A folder with a random Llama of 33 million weights and the converted checkpoint's tokenizer."""
    folder = tmp_path_factory.mktemp("thirty")
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**THIRTY_MILLION)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny["base"]).save_pretrained(folder)
    return folder


def prompts(tokenizer, shots: int) -> list[tuple[str, list[str]]]:
    """(prompt, letters) of the bundled questions, single ones and those with several answers, as chat turns."""
    examples = load_items(str(SAMPLE / "questions_train.jsonl"))[:shots]
    shown = [turn for item in examples for turn in turns(item, "".join(sorted(item.answer)))]
    items = load_items(str(SAMPLE / "questions_test.jsonl"))
    rows = []
    for item in items[: ITEMS - 8] + [item for item in items if item.kind == "multi"][:8]:
        chat = [*shown, *turns(item, "")[:1]]
        start = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) + "答案："
        letters = "".join(item.options)
        several = [one + other for one in letters for other in letters if one < other]
        rows.append((start, list(letters) if item.kind == "single" else [*several, letters[:3], letters]))
    return rows


def turns(item, answer: str) -> list[dict]:
    """A question and its answer."""
    reply = {"role": "assistant", "content": "答案：" + answer}
    return [{"role": "user", "content": item.prompt(options=True)}, reply]


def compare(folder, shots: int) -> None:
    """Both sides score the same ids, choose the same answer for every item, and agree on every log-probability."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    harness = huggingface.HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=8, max_length=4096)
    rows, questions, requests = prompts(tokenizer, shots), [], []
    for start, letters in rows:
        ids = [tokenizer(start + text, add_special_tokens=False)["input_ids"] for text in ["", *letters]]
        questions.append(Question(ids[0], ids[1:]))
        for letter, whole in zip(letters, ids[1:], strict=True):
            context, continuation = harness._encode_pair(start, letter)
            assert (context, context + continuation) == (ids[0], whole)
            requests.append(Instance("loglikelihood", {}, (start, letter), len(requests)))
    found = iter(harness.loglikelihood(requests, disable_tqdm=True))
    theirs = [[next(found)[0] for _ in letters] for _, letters in rows]
    ours = [values for _, values in sorted(log_probabilities(network, questions))]
    assert len(ours) == ITEMS and len({row.index(max(row)) for row in theirs}) > 1
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, abs=1e-3)
        assert mine.index(max(mine)) == other.index(max(other))


@pytest.mark.parametrize("shots", [0, 5])
def test_the_converted_checkpoint_answers_like_the_harness(tiny, shots):
    compare(tiny["base"], shots)


@pytest.mark.slow
@pytest.mark.parametrize("shots", [0, 5])
def test_a_larger_model_answers_like_the_harness(thirty_million, shots):
    compare(thirty_million, shots)
