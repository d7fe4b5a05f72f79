"""Exams by what the model writes: greedy replies in batches as one by one, and replies of an endpoint, kept or asked again."""

import json
from array import array
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from support.chat_server import Behaviour, ChatServer
from support.commands import one_line_error, run
from support.paths import SAMPLE
from transformers import GenerationConfig

from medllm_hf.data.mcq import load_items
from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.evaluation.exams.batching import CPU_WORK, BatchLimits
from medllm_hf.evaluation.exams.generation import batches, replies, stop_ids
from medllm_hf.evaluation.exams.prompts import Prompts
from medllm_hf.evaluation.exams.run import Examinee, fit_batches, load_examinee
from medllm_hf.evaluation.exams.settings import BATCH_TOKENS, READINGS, Settings, resolve_defaults
from medllm_hf.evaluation.exams.weights import load_network
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.pretrained import load_tokenizer

TEST = str(SAMPLE / "questions_test.jsonl")
SECRET = "sk-not-to-be-seen"


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("questions") / "ten.jsonl"
    path.write_text("\n".join(Path(TEST).read_text(encoding="utf-8").splitlines()[:10]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def written(tiny):
    """The tiny model, its tokenizer, prompts of very different lengths, and each one's greedy ids, found one by one."""
    network, tokenizer = load_network(Path(tiny["base"])), load_tokenizer(Path(tiny["base"]))
    prompts = [array("i", tokenizer("头痛" * i + "怎么办")["input_ids"]) for i in (1, 40, 3, 12, 25, 2)]
    alone = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(12):
            with torch.no_grad():
                ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
        alone.append(ids[len(prompt) :])
    return network, tokenizer, prompts, alone


def text(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("tokens_at_once", [1, 150, 10_000])
def test_batches_write_what_each_prompt_gets_alone(written, tokens_at_once):
    network, tokenizer, prompts, alone = written
    found = dict(replies(network, tokenizer, prompts, set(range(6)), 12, BatchLimits(tokens_at_once)))
    assert found == {i: {"reply": text(tokenizer, ids), "finish": "length"} for i, ids in enumerate(alone)}


def test_what_is_wanted_alone_is_written_in_the_same_batches(written, monkeypatch):
    network, tokenizer, prompts, _ = written
    real, seen = network.generate, []
    monkeypatch.setattr(network, "generate", lambda ids, **settings: seen.append(ids.tolist()) or real(ids, **settings))
    whole = dict(replies(network, tokenizer, prompts, set(range(6)), 12, BatchLimits(150)))
    batches_of_all, seen = seen.copy(), seen.clear() or seen
    assert dict(replies(network, tokenizer, prompts, {2, 5}, 12, BatchLimits(150))) == {i: whole[i] for i in (2, 5)}
    assert 0 < len(seen) < len(batches_of_all)
    assert all(batch in batches_of_all for batch in seen)


def test_every_token_is_told_while_replies_are_written(written):
    """A batch takes as long as its longest reply, and a bar that stood still as long would say nothing."""
    network, tokenizer, prompts, alone = written
    heard: list[tuple[int, int]] = []
    found = dict(replies(network, tokenizer, prompts, {0, 1}, 4, BatchLimits(1), tell=lambda *said: heard.append(said)))
    assert heard == [(1, token) for token in (1, 2, 3, 4)] * 2
    assert found == {i: {"reply": text(tokenizer, alone[i][:4]), "finish": "length"} for i in (0, 1)}, "and stops nothing"


def test_on_a_cpu_the_batches_of_every_reading_take_some_seconds(written, tiny):
    """As many tokens as the weights allow, since a kill loses a batch; of replies, counted at their longest, twice as many."""
    who = load_examinee(resolve_defaults(Settings(str(tiny["base"]), TEST)))
    large = Examinee(who.record, None, Mock(device="cpu", count=lambda: CPU_WORK // 1000), who.tokenizer)
    on_gpu = Examinee(who.record, None, Mock(device="cuda", count=lambda: CPU_WORK), who.tokenizer)
    for mode in READINGS:
        asked = resolve_defaults(Settings(str(tiny["base"]), TEST, mode=mode))
        found = (fit_batches(asked, one).batch_tokens for one in (who, large, on_gpu))
        assert tuple(found) == (BATCH_TOKENS, 2000 if asked.written else 1000, BATCH_TOKENS)
        assert fit_batches(replace(asked, batch_tokens=7), large).batch_tokens == 7


def test_a_reply_ends_at_the_first_end_token(written):
    network, tokenizer, prompts, alone = written
    usual = network.generation_config
    try:
        network.generation_config = GenerationConfig(eos_token_id=[alone[0][4], tokenizer.eos_token_id])
        assert stop_ids(network, tokenizer, chat=True) == sorted({alone[0][4], tokenizer.eos_token_id})
        found = dict(replies(network, tokenizer, prompts, set(range(6)), 12, BatchLimits(10_000)))
    finally:
        network.generation_config = usual
    first = alone[0].index(alone[0][4])
    assert found[0] == {"reply": text(tokenizer, alone[0][:first]), "finish": "stop"}
    assert {one["finish"] for one in found.values()} == {"stop", "length"}


def test_sampling_settings_of_the_publisher_have_no_say(written):
    network, tokenizer, prompts, alone = written
    usual = network.generation_config
    try:
        network.generation_config = GenerationConfig(
            do_sample=True, temperature=5.0, repetition_penalty=3.0, no_repeat_ngram_size=1, eos_token_id=2
        )
        found = dict(replies(network, tokenizer, prompts, set(range(6)), 12, BatchLimits(10_000)))
    finally:
        network.generation_config = usual
    assert [found[i]["reply"] for i in range(6)] == [text(tokenizer, ids) for ids in alone]


def test_batches_stay_within_the_budget():
    lengths = [5, 100, 7, 50, 60, 6]
    made = batches(lengths, 10, BatchLimits(150))
    assert made == [[1], [4, 3], [2, 5, 0]]
    assert batches([500, 400], 10, BatchLimits(150)) == [[0], [1]], "one alone may be longer"


def test_a_plain_reply_ends_at_a_blank_line(written, monkeypatch):
    network, tokenizer, prompts, _ = written
    monkeypatch.setattr(tokenizer, "decode", lambda *_, **__: " B\n\n下一题？\n\n答案：C", raising=False)
    assert next(replies(network, tokenizer, prompts[:1], {0}, 2, BatchLimits(99), chat=False))[1] == {
        "reply": "B",
        "finish": "stop",
    }
    assert next(replies(network, tokenizer, prompts[:1], {0}, 2, BatchLimits(99)))[1]["reply"].endswith("C")


def test_a_local_run(tiny, questions, tmp_path):
    for name in ("one", "two"):
        assert mcq(str(tiny["base"]), str(questions), str(tmp_path / name), mode="generate", max_new_tokens=8) == 0
    one, two = (read_run(tmp_path / name) for name in ("one", "two"))
    assert one["outputs"] == two["outputs"] and one["metrics"] == two["metrics"]
    assert [row["prediction"] for row in one["scores"]] == [row["reply"] for row in one["outputs"]]
    assert one["manifest"]["settings"]["max_new_tokens"] == 8 and one["manifest"]["settings"]["reply_prefix"] == ""


def right_letter(body: dict) -> str:
    """The right letter of the question in a request."""
    asked = body["messages"][-1]["content"]
    item = next(item for item in load_items(TEST) if item.question in asked)
    return f"思考……答案：{'、'.join(sorted(item.answer))}。\u2028"


def ask(server, questions, out, **flags) -> int:
    return mcq(None, str(questions), str(out), url=f"{server.url}#scripted", **flags)


def test_an_endpoint_answers(questions, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with ChatServer(right_letter) as server:
        assert ask(server, questions, tmp_path / "run", seed=11, max_new_tokens=33, concurrency=4) == 0
        assert 1 < server.most_at_once <= 4
        bodies = [request.body for request in server.requests]
    run = read_run(tmp_path / "run")
    items = load_items(str(questions))
    assert sorted(body["messages"][0]["content"] for body in bodies) == sorted(item.prompt(True) for item in items)
    assert {(body["seed"], body["temperature"], body["max_tokens"], body["model"]) for body in bodies} == {
        (11, 0, 33, "scripted")
    }
    assert run["metrics"]["accuracy"] == 1.0 and [row["id"] for row in run["outputs"]] == [item.id for item in items]
    assert run["manifest"]["model"] == {"id": "scripted", "endpoint": server.url}
    assert not any(SECRET in file.read_text(encoding="utf-8") for file in (tmp_path / "run").iterdir())


def test_few_shot_turns_reach_an_endpoint(questions, tmp_path):
    with ChatServer(right_letter) as server:
        ask(server, questions, tmp_path / "run", shots=2, examples=str(SAMPLE / "questions_train.jsonl"))
        roles = {tuple(message["role"] for message in request.body["messages"]) for request in server.requests}
        assert roles == {("user", "assistant", "user", "assistant", "user")}


def test_what_failed_is_asked_again_by_the_same_command(questions, tmp_path, capsys):
    """Three of ten fail for good: they are not written, the exit code is 1, and the next call asks for these alone."""
    bad = [item.question for item in load_items(str(questions))[2:5]]

    def script(body):
        failing = any(question in body["messages"][-1]["content"] for question in bad)
        return Behaviour(400, {"error": {"message": "too long"}}) if failing else right_letter(body)

    with ChatServer(right_letter) as server:
        server.script = script
        assert ask(server, questions, tmp_path / "run") == 1
        said = capsys.readouterr().err
        assert "3 of 10 questions have no reply" in said and "too long" in said and "run the same command again" in said
        with pytest.raises(UserError, match="an unfinished run"):
            read_run(tmp_path / "run")
        kept = (tmp_path / "run" / "outputs.jsonl").read_text(encoding="utf-8").count("\n")
        assert kept == 7
        before = len(server.requests)
        server.script = right_letter
        assert ask(server, questions, tmp_path / "run") == 0
        asked = [request.body["messages"][-1]["content"] for request in server.requests[before:]]
        assert sorted(question for question in bad for one in asked if question in one) == sorted(bad) and len(asked) == 3
    assert read_run(tmp_path / "run")["metrics"]["n"] == 10


def test_a_refusal_of_all_requests_stops_at_once(questions, tmp_path):
    with ChatServer(lambda body: Behaviour(401, {"error": {"message": "bad key"}})) as server:
        command = ("eval", "mcq", "--url", f"{server.url}#m", "--data", str(questions), "--concurrency", "2", "--out", "run")
        said = one_line_error(run("medllm", *command, cwd=tmp_path, env={"OPENAI_API_KEY": SECRET}))
        assert "401" in said and "0 of 10 replies are kept" in said and SECRET not in said
        assert len(server.requests) <= 2


def test_half_a_surrogate_pair_does_not_stop_a_run(questions, tmp_path):
    with ChatServer(lambda body: "答案：B\ud83d") as server:
        assert ask(server, questions, tmp_path / "run") == 0
    assert {row["reply"] for row in read_run(tmp_path / "run")["outputs"]} == {"答案：B\ufffd"}


def test_a_reply_that_was_cut_is_counted(questions, tmp_path, capsys):
    cut = {"choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "首先"}}]}
    with ChatServer(lambda body: json.loads(json.dumps(cut))) as server:
        ask(server, questions, tmp_path / "run")
    assert "unparsed 10, 10 replies cut at their limit of tokens" in capsys.readouterr().out


def test_always_b_is_seen_through_by_circular(questions, tmp_path):
    with ChatServer(lambda body: "B") as server:
        ask(server, questions, tmp_path / "run", circular=True)
    run = read_run(tmp_path / "run")
    assert run["metrics"]["accuracy"] == 0.0 and run["metrics"]["circular"]["consistent"] == 0
    assert len(run["outputs"]) == run["metrics"]["circular"]["rotations"] == 5 * 10


def test_the_prompt_of_generation_has_no_reply_prefix(written):
    _, tokenizer, _, _ = written
    item = load_items(TEST)[0]
    assert Prompts(tokenizer, {}, mode="reply").text(item) + "答案：" == Prompts(tokenizer, {}).text(item)
