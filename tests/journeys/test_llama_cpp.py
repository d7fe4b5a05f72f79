"""A converted checkpoint in llama.cpp: its ids, its prompts and its greedy answers are those of transformers."""

import importlib.util
import json
import urllib.request

import pytest
import torch
from support.commands import run
from support.gguf_file import write_gguf
from support.paths import ROOT, SAMPLE
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from medllm_hf.checkpoint.convert import convert
from medllm_hf.checkpoint.tokenizer import TEMPLATES
from medllm_hf.data.build import build
from medllm_hf.training.tokenizer_files import keep_tokenizer_files

missing = [name for name in ("xllamacpp", "gguf") if not importlib.util.find_spec(name)]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} (extra: llamacpp) not installed")

WORDS = [
    "头痛三天，伴有发热38.5℃",
    "患者男，45岁",
    "Take 0.5g twice daily",
    "血压 140/90 mmHg",
    "💊🩺",
    "１２３",
    "𠀀𪛖",
    "naïve café",
    "\tx",
]
MARKS = [
    "<s>",
    "</s>",
    "<unk>",
    "<reserved_106>",
    "<reserved_107>",
    "<reserved_5>",
    "<extra_0>",
    "<pad>",
    "<|im_end|>",
    "▁",
    "[PAD0]",
]
JOINTS = ["", " ", "  ", "\n", "\n\n", "。", " \n ", "\r\n", "　", "0", "<", "\u200b"]
# Each word and mark alone, at the start after each joint, and in the middle of two words.
TEXTS = [*WORDS, *MARKS, *JOINTS[1:]]
TEXTS += [f"{joint}{WORDS[i % len(WORDS)]}{joint}{WORDS[(i + 1) % len(WORDS)]}{joint}" for i, joint in enumerate(JOINTS)]
TEXTS += [
    f"{WORDS[i % len(WORDS)]}{mark}{JOINTS[i % len(JOINTS)]}{WORDS[(i + 3) % len(WORDS)]}" for i, mark in enumerate(MARKS)
]
TEXTS += [f"{joint}{mark}{joint}" for joint in JOINTS for mark in MARKS[:5]]
QUESTIONS = ["头痛三天怎么办？", "I have a cough.", "</s><reserved_107>好", "发热38.5℃，\n要去医院吗？"]


class LlamaCpp:
    """llama.cpp with one model, behind its own server on loopback."""

    def __init__(self, file):
        import xllamacpp

        settings = xllamacpp.CommonParams()
        settings.model.path, settings.hostnames, settings.port = str(file), ["127.0.0.1"], 0
        settings.n_ctx, settings.n_parallel, settings.warmup, settings.use_jinja = 1024, 1, False, True
        settings.cpuparams.n_threads = 1
        self.server = xllamacpp.Server(settings)

    def post(self, path, **body):
        request = urllib.request.Request(
            self.server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def ids(self, text):
        return self.post("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]

    def prompt(self, messages):
        return self.post("/apply-template", messages=messages)["prompt"]

    def answer(self, ids, count):
        """The ids of a greedy answer."""
        settings = {"temperature": 0.0, "n_predict": count, "return_tokens": True, "samplers": ["temperature"]}
        return self.post("/completion", prompt=ids, **settings)["tokens"]


@pytest.fixture(scope="module", params=[*TEMPLATES, "golden"])
def pair(request, tmp_path_factory):
    """(folder, llama.cpp with it) for both templates of the small checkpoint, and for the golden one."""
    golden = request.param == "golden"
    source = request.getfixturevalue("golden") if golden else request.getfixturevalue("tiny")["source"]
    folder = tmp_path_factory.mktemp("llama_cpp") / "converted"
    convert(str(source), str(folder), template="medllm" if golden else request.param)
    return folder, LlamaCpp(write_gguf(folder, folder.parent / "model.gguf"))


def test_a_hundred_texts_have_equal_ids(pair):
    folder, llama_cpp = pair
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(set(TEXTS)) >= 100
    different = [text for text in TEXTS if llama_cpp.ids(text) != tokenizer(text)["input_ids"]]
    assert different == []


def test_four_greedy_answers_are_equal(pair):
    """From the prompt that llama.cpp's own template engine makes."""
    folder, llama_cpp = pair
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert llama_cpp.ids(llama_cpp.prompt(messages)) == ids
        with torch.no_grad():
            inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids))}
            expected = model.generate(**inputs, do_sample=False, max_new_tokens=16, repetition_penalty=1.0)[
                0, len(ids) :
            ].tolist()
        assert llama_cpp.answer(ids, 16) == [token for token in expected if token != tokenizer.eos_token_id]


def test_whole_conversations_render_alike(pair):
    folder, llama_cpp = pair
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = [{"role": role, "content": text} for text in TEXTS[:20] if text.strip() for role in ("user", "assistant")]
    question = turns[0]
    system = {"role": "system", "content": "你是医生。"}
    # llama.cpp leaves a last answer open, for the model to go on with it.
    for messages in ([*turns, question], [system, question], [system, *turns[:2], question]):
        expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        assert llama_cpp.prompt(messages) == expected


@pytest.mark.slow
def test_a_trained_model_keeps_its_ids(tiny, tmp_path):
    """What training saves has what the converter reads too: in the folder of the run and in its checkpoints."""
    build([str(SAMPLE / "dialogues.jsonl")], str(tmp_path / "dataset"), "apache-2.0")
    recipe = ROOT / "recipes" / "tiny" / "sft_full.yaml"
    options = {"model_name_or_path": tiny["base"], "dataset_name": tmp_path / "dataset", "output_dir": tmp_path / "full"}
    options |= {"max_steps": 1, "save_strategy": "steps", "save_steps": 1}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = run("medllm", "sft", "--config", str(recipe), *words)
    assert done.returncode == 0, done.stderr[-2000:]
    tokenizer = AutoTokenizer.from_pretrained(tiny["base"])
    for folder in (tmp_path / "full", tmp_path / "full" / "checkpoint-1"):
        llama_cpp = LlamaCpp(write_gguf(folder, tmp_path / "model.gguf"))
        assert [text for text in TEXTS if llama_cpp.ids(text) != tokenizer(text)["input_ids"]] == []
        saved = AutoTokenizer.from_pretrained(folder)
        assert saved.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_a_saved_tokenizer_keeps_what_it_came_with(tiny, tmp_path):
    """And one that came with no sentencepiece model stays as it was saved."""
    tokenizer = AutoTokenizer.from_pretrained(tiny["base"])
    tokenizer.add_tokens(["<新>"])
    tokenizer.save_pretrained(tmp_path)
    keep_tokenizer_files(tokenizer, tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (settings["add_prefix_space"], settings["add_bos_token"]) == (False, False)
    assert settings["added_tokens_decoder"][str(len(tokenizer) - 1)]["content"] == "<新>"
    assert (tmp_path / "tokenizer.model").read_bytes() == (tiny["base"] / "tokenizer.model").read_bytes()
    assert AutoTokenizer.from_pretrained(tmp_path)("a<新>")["input_ids"] == tokenizer("a<新>")["input_ids"]
    plain = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    plain.save_pretrained(tmp_path / "plain")
    before = {path.name: path.read_bytes() for path in (tmp_path / "plain").iterdir()}
    keep_tokenizer_files(plain, tmp_path / "plain")
    assert {path.name: path.read_bytes() for path in (tmp_path / "plain").iterdir()} == before
