"""Baichuan2 → Llama: logits and ids equal to the original code's. Numbers D… are of the known-bugs list."""

import json
import shutil

import pytest
import torch
from support.commands import one_line_error, run
from support.paths import SAMPLE
from transformers import AutoModelForCausalLM, AutoTokenizer

from medllm_hf.checkpoint.convert import convert
from medllm_hf.checkpoint.shards import tensors
from medllm_hf.errors import UserError


@pytest.fixture(scope="module")
def converted_golden(golden, tmp_path_factory):
    out = tmp_path_factory.mktemp("golden") / "converted"
    convert(str(golden), str(out), template="baichuan2")
    return out


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_logits_equal_the_original_code(golden, converted_golden):
    """D17, D25: NormHead and the split of W_pack."""
    reference = torch.load(golden / "reference.pt")
    model = AutoModelForCausalLM.from_pretrained(converted_golden)
    with torch.no_grad():
        logits = model(reference["ids"]).logits
    # The original code ran with AVX512; other processors add in another order.
    bound = 0.0 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 1e-5
    assert (logits - reference["logits"]).abs().max().item() <= bound


def test_token_ids_equal_the_original_code(golden, converted_golden):
    """D16. The two literals of control tokens are text in the original and are left to the templates here."""
    tokenizer = AutoTokenizer.from_pretrained(converted_golden)
    texts = rows(golden / "golden_tokens.jsonl")
    different = [row["text"] for row in texts if tokenizer(row["text"])["input_ids"] != row["ids"]]
    assert (len(texts), different) == (433, ["<s>a</s>", "<unk>"])


def test_chat_ids_equal_the_original_code(golden, converted_golden):
    """D11: the baichuan2 template."""
    tokenizer = AutoTokenizer.from_pretrained(converted_golden)
    chats = rows(golden / "golden_chat.jsonl")
    assert len(chats) == 106
    for row in chats:
        assert tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_dict=False) == row["ids"]


def test_tiny_base_has_the_original_layout(tiny):
    source = tiny["source"]
    config = json.loads((source / "config.json").read_text())
    assert config["model_type"] == "baichuan"
    assert len(list(source.glob("pytorch_model-*.bin"))) > 1
    names = dict(tensors(source))
    assert names["model.layers.0.self_attn.W_pack.weight"].shape == (3 * config["hidden_size"], config["hidden_size"])
    assert list(source.glob("*.py")) == []


def test_converted_tiny_matches_its_source_tensor_by_tensor(tiny):
    """Holds without the golden data: thirds of W_pack, unit rows of the head, all else as it was."""
    source, base = dict(tensors(tiny["source"])), dict(tensors(tiny["base"]))
    packed = source["model.layers.1.self_attn.W_pack.weight"]
    parts = [base[f"model.layers.1.self_attn.{name}_proj.weight"] for name in "qkv"]
    assert torch.equal(torch.cat(parts), packed)
    head = source["lm_head.weight"]
    assert torch.allclose(base["lm_head.weight"], head / head.norm(dim=1, keepdim=True), atol=1e-6)
    assert torch.equal(base["model.embed_tokens.weight"], source["model.embed_tokens.weight"])


def test_rendered_ids_equal_concatenated_ids(tiny):
    """D12, over the bundled dialogues; the assistant mask covers exactly the answers and their end (D6)."""
    tokenizer = AutoTokenizer.from_pretrained(tiny["base"])
    for row in rows(SAMPLE / "dialogues.jsonl"):
        expected, mask = [1], [0]
        for turn in row["conversation"]:
            inner = tokenizer(turn["content"])["input_ids"]
            answer = turn["role"] == "assistant"
            expected += [196, *inner, 2] if answer else [195, *inner]
            mask += [0, *[1] * len(inner), 1] if answer else [0] * (1 + len(inner))
        encoded = tokenizer.apply_chat_template(row["conversation"], return_dict=True, return_assistant_tokens_mask=True)
        assert encoded["input_ids"] == expected
        assert encoded["assistant_masks"] == mask


def test_generation_config_keeps_sampling_and_drops_role_ids(tiny):
    settings = json.loads((tiny["base"] / "generation_config.json").read_text())
    assert (settings["eos_token_id"], settings["pad_token_id"], settings["top_k"]) == (2, 0, 5)
    assert "user_token_id" not in settings


def broken(tiny, tmp_path, change):
    """A copy of the tiny source with `change(folder)` done to it."""
    folder = tmp_path / "broken"
    shutil.copytree(tiny["source"], folder)
    change(folder)
    return folder


def edit_config(**values):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **values}))

    return change


def rewrite_first_shard(key, value):
    def change(folder):
        shard = sorted(folder.glob("pytorch_model-*.bin"))[0]
        state = torch.load(shard)
        state[key] = value
        torch.save(state, shard)

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (edit_config(hidden_size=5120, num_attention_heads=40), "13B"),
        (edit_config(architectures=["QWenLMHeadModel"]), "QWenLMHeadModel"),
        (edit_config(vocab_size=1234), "1234"),
        (edit_config(num_hidden_layers=3), "missing"),
        (edit_config(intermediate_size=100), "shape"),
        (rewrite_first_shard("model.surprise", torch.ones(1)), "model.surprise"),
        (rewrite_first_shard("model.embed_tokens.weight", torch.full((4000, 64), float("nan"))), "NaN"),
        (lambda folder: (folder / "tokenizer.model").unlink(), "tokenizer.model"),
        (lambda folder: (folder / "tokenizer.model").write_bytes(b"junk"), "tokenizer.model"),
        (lambda folder: sorted(folder.glob("pytorch_model-*.bin"))[0].unlink(), "pytorch_model-00001"),
        (lambda folder: sorted(folder.glob("pytorch_model-*.bin"))[0].write_bytes(b"PK\x03\x04"), "damaged"),
    ],
)
def test_refused_sources(tiny, tmp_path, change, named):
    folder = broken(tiny, tmp_path, change)
    with pytest.raises(UserError, match=named):
        convert(str(folder), str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_a_pickle_with_code_is_not_run(tiny, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    folder = broken(tiny, tmp_path, rewrite_first_shard("model.norm.weight", Evil()))
    assert "more than tensors" in one_line_error(run("medllm", "convert", str(folder), str(tmp_path / "out")))
    assert not (tmp_path / "owned").exists()
