"""Every value of a generation_config.json is honoured, or told on one line before any work, by each verb that writes."""

import json
import shutil

import pytest
from support.paths import SAMPLE

from medllm_hf.chat import ChatSession
from medllm_hf.errors import UserError
from medllm_hf.evaluation.models import parse_party
from medllm_hf.pretrained import load_model
from tests.test_loading_report import changed_json, copied

QUESTION = "头痛怎么办"
FILE = "generation_config.json"
REFUSED = [
    {"temperature": -1}, {"temperature": "hot"}, {"top_k": -3}, {"top_k": 2.5}, {"top_p": 2}, {"top_p": 0}, {"top_p": "x"},
    {"min_p": 2}, {"typical_p": 0}, {"epsilon_cutoff": 2}, {"eta_cutoff": -1}, {"top_h": 3}, {"do_sample": "yes"},
    {"eos_token_id": "x"}, {"eos_token_id": ["2"]}, {"eos_token_id": 999999}, {"eos_token_id": [2, -1]},
    {"pad_token_id": "x"}, {"bos_token_id": "x"}, {"max_new_tokens": "many"}, {"max_new_tokens": 0}, {"max_length": "many"},
    {"min_new_tokens": "x"}, {"min_length": "x"}, {"repetition_penalty": 0}, {"repetition_penalty": "x"},
    {"no_repeat_ngram_size": 2.5}, {"num_beams": 4}, {"num_beams": "x"}, {"num_return_sequences": 3}, {"penalty_alpha": 0.6},
    {"dola_layers": "high"}, {"force_words_ids": [[1]]}, {"token_healing": True}, {"stop_strings": [3]}, {"stop_strings": ""},
]  # fmt: skip
# What no table of ours knows is told by transformers, once the model is there.
TRIED = [
    *({"sequence_bias": "x"}, {"bad_words_ids": [[99999]]}, {"suppress_tokens": "x"}, {"forced_eos_token_id": "x"}),
    *({"guidance_scale": "x"}, {"exponential_decay_length_penalty": "x"}, {"compile_config": "x"}),
    {"cache_implementation": "nonsense"},
]


@pytest.fixture
def base(tiny, tmp_path):
    return copied(tiny["base"], tmp_path / "base")


@pytest.mark.parametrize("values", REFUSED, ids=str)
def test_refused_before_the_weights_are_read(base, values):
    changed_json(base, FILE, **{"do_sample": True, **values})
    (base / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=rf"{next(iter(values))} .* in generation_config.json of .*base; expected"):
        ChatSession.from_pretrained(str(base))
    with pytest.raises(UserError, match=rf"{next(iter(values))} .* in generation_config.json"):
        parse_party(str(base), "KEY", concurrency=1, timeout=1)


@pytest.mark.parametrize("values", TRIED, ids=str)
def test_refused_when_the_model_is_there(base, values):
    changed_json(base, FILE, **{"do_sample": True, **values})
    with pytest.raises(UserError):
        ChatSession.from_pretrained(str(base))


def answers(folder, **settings) -> str:
    return "".join(ChatSession.from_pretrained(str(folder), seed=0, max_new_tokens=12, **settings).stream(QUESTION))


def test_a_temperature_of_0_is_greedy(base):
    changed_json(base, FILE, do_sample=False)
    greedy = answers(base)
    changed_json(base, FILE, do_sample=True, temperature=0)
    assert answers(base) == greedy
    assert answers(base, temperature=1.5) != greedy


def test_a_whole_number_as_penalty(base):
    changed_json(base, FILE, do_sample=False, repetition_penalty=2.0)
    float_penalty = answers(base)
    changed_json(base, FILE, repetition_penalty=2)
    assert answers(base) == float_penalty
    with pytest.raises(UserError, match=r"repetition_penalty 2 in .*expected 2\.0"):
        parse_party(str(base), "KEY", concurrency=1, timeout=1)


def test_stop_strings_end_an_answer(base):
    changed_json(base, FILE, do_sample=False)
    whole = answers(base)
    changed_json(base, FILE, stop_strings=[whole[4:6], "never written"])
    session = ChatSession.from_pretrained(str(base), max_new_tokens=12)
    for one in (session, session.fork(), ChatSession(session.model, session.tokenizer, max_new_tokens=12)):
        assert "".join(one.stream(QUESTION)) == whole[: whole.index(whole[4:6])]
        assert one.stopped == "eos"
    changed_json(base, FILE, stop_strings=whole[4:6])
    assert answers(base) == whole[: whole.index(whole[4:6])]


def test_exams_read_the_end_tokens_alone(base, refused, tmp_path):
    """What does not concern a verb does not stop it; nothing is left of a run that was refused, and the corrected one runs."""
    rows = (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()[:2]
    (tmp_path / "questions.jsonl").write_text("\n".join(rows), encoding="utf-8")
    words = ["eval", "mcq", "--model", str(base), "--data", str(tmp_path / "questions.jsonl"), "--out", str(tmp_path / "run")]
    generate = [*words, "--mode", "generate", "--max-new-tokens", "3"]
    changed_json(base, FILE, eos_token_id="x", num_beams=4)
    assert "eos_token_id 'x'" in refused(*generate)
    changed_json(base, FILE, eos_token_id=2, max_new_tokens="many")
    assert "max_new_tokens 'many'" in refused(*generate)
    assert not (tmp_path / "run").exists()
    changed_json(base, FILE, max_new_tokens=None)
    weights = (base / "model.safetensors").read_bytes()
    changed_json(base, num_hidden_layers=3)
    assert "missing weights" in refused(*words)
    assert not (tmp_path / "run").exists()
    changed_json(base, num_hidden_layers=2)
    assert weights == (base / "model.safetensors").read_bytes()
    from medllm_hf.cli import main

    assert main(generate) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["n"] == 2


def test_training_and_loading_are_not_concerned(base):
    changed_json(base, FILE, top_k=-3, num_beams=4)
    load_model(base)
    shutil.rmtree(base)
