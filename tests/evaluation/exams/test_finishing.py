"""A reply from which no letters can be read, asked once more: both accuracies, the raw answers, and what they cost."""

import json
from pathlib import Path

import pytest
import torch
from support.chat_server import Behaviour, ChatServer, completion
from support.paths import SAMPLE

from medllm_hf.cli import main
from medllm_hf.data.mcq import McqItem, load_items
from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.evaluation.exams.batching import BatchLimits
from medllm_hf.evaluation.exams.derive import check_run
from medllm_hf.evaluation.exams.finishing import compare_letters, letters_request
from medllm_hf.evaluation.exams.outputs import finished, is_unread, output_row
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, Prompts, candidates
from medllm_hf.evaluation.exams.weights import load_network
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.pretrained import load_tokenizer

ROWS = (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    """Four questions with one right answer and two with several."""
    path = tmp_path_factory.mktemp("questions") / "six.jsonl"
    chosen = [row for row in ROWS if '"single"' in row][:4] + [row for row in ROWS if '"multi"' in row][:2]
    path.write_text("\n".join(chosen), encoding="utf-8")
    return path


def right(body: dict, items: list[McqItem]) -> str:
    asked = json.dumps(body["messages"], ensure_ascii=False)
    return "".join(sorted(next(item for item in items if item.question in asked).answer))


def ask(server: ChatServer, questions: Path, out: Path, **flags) -> dict:
    assert mcq(None, str(questions), str(out), url=f"{server.url}#scripted", finish="letters", **flags) == 0
    run = read_run(out)
    check_run("run", run)
    return run


def test_a_local_model_compares_the_letters_behind_its_own_reply(tiny, questions, tmp_path):
    folder, out = Path(tiny["base"]), tmp_path / "run"
    assert mcq(str(folder), str(questions), str(out), mode="reply", max_new_tokens=5, finish="letters") == 0
    run, network, tokenizer = read_run(out), load_network(folder), load_tokenizer(folder)
    prompts, items = Prompts(tokenizer, {}, mode="reply"), load_items(str(questions))
    asked = 0
    for item, row in zip(items, run["outputs"], strict=True):
        assert ("finishing" in row) == is_unread(PresentedQuestion(item, 0, ""), row, "reply")
        if "finishing" not in row:
            continue
        asked += 1
        context = f"{prompts.text(item)}{row['reply'].rstrip()}\n\n答案："
        begin = tokenizer(context, add_special_tokens=False)["input_ids"]
        assert set(row["finishing"]["logprobs"]) == {"".join(letters) for letters in candidates(item)}, "sets where several"
        for letters, value in row["finishing"]["logprobs"].items():
            ids = tokenizer(context + letters + prompts.ending(item), add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = network(torch.tensor([ids])).logits[0].log_softmax(-1)
            by_hand = sum(float(logits[at - 1, ids[at]]) for at in range(len(begin), len(ids)))
            assert value == pytest.approx(by_hand, abs=2e-4)
    found = run["metrics"]["finished"]
    assert asked and (found["asked"], found["n"]) == (asked, 6) and found["unparsed"] <= run["metrics"]["unparsed"]
    assert [row.get("finished") is None for row in run["scores"]] == ["finishing" not in row for row in run["outputs"]]


def test_both_accuracies_stand_side_by_side(questions, tmp_path, capsys):
    """Every second reply says nothing; asked again with a schema, the model knows them all."""
    items = load_items(str(questions))

    def script(body: dict) -> dict | str:
        letters = right(body, items)
        if "response_format" not in body:
            return completion("说不好。" if items[0].question in str(body) or len(letters) > 1 else f"答案：{letters}")
        kind = body["response_format"]["json_schema"]["schema"]["properties"]["answer"]["type"]
        return json.dumps({"answer": list(letters) if kind == "array" else letters})

    with ChatServer(script) as server:
        run = ask(server, questions, tmp_path / "run")
        assert len(server.requests) == 6 + 3
        again = [request.body for request in server.requests if "response_format" in request.body]
    metrics = run["metrics"]
    assert (metrics["accuracy"], metrics["unparsed"]) == (0.5, 3)
    assert (metrics["finished"]["accuracy"], metrics["finished"]["asked"], metrics["finished"]["unparsed"]) == (1.0, 3, 0)
    assert metrics["usage"]["calls"] == 9 and metrics["usage"]["prompt_tokens"] == 9 * 7
    assert [message["role"] for message in again[0]["messages"]] == ["user", "assistant", "user"]
    assert again[0]["messages"][1]["content"] == "说不好。" and again[0]["seed"] == 0
    raw = [row["finishing"]["reply"] for row in run["outputs"] if "finishing" in row]
    assert all(json.loads(text)["answer"] for text in raw)
    assert "3 asked once more: 100.0%" in capsys.readouterr().out


def test_a_server_without_schemas_is_asked_without_one(questions, tmp_path):
    items = load_items(str(questions))

    def script(body: dict) -> Behaviour | str:
        if "response_format" in body:
            return Behaviour(400, {"error": {"message": "response_format is not supported", "param": "response_format"}})
        return f"选{right(body, items)}" if len(body["messages"]) == 3 else "嗯"

    with ChatServer(script) as server:
        run = ask(server, questions, tmp_path / "run", concurrency=1)
        assert sum("response_format" in request.body for request in server.requests) == 1, "refused once, then left out"
    assert run["metrics"]["accuracy"] == 0.0 and run["metrics"]["finished"]["accuracy"] == 1.0


def test_what_a_server_will_never_answer_does_not_lose_the_reply(questions, tmp_path):
    def script(body: dict) -> Behaviour | str:
        return Behaviour(400, {"error": {"message": "context too long"}}) if len(body["messages"]) == 3 else "嗯"

    with ChatServer(script) as server:
        run = ask(server, questions, tmp_path / "run")
    assert {row["finishing"]["error"] for row in run["outputs"]} == {"status 400, context too long"}
    assert run["metrics"]["finished"] == {**run["metrics"]["finished"], "asked": 6, "unparsed": 6, "accuracy": 0.0}


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_a_thought_is_kept_and_never_read_as_the_answer(questions, tmp_path, field):
    items = load_items(str(questions))

    def script(body: dict) -> dict | str:
        if "response_format" in body:
            return json.dumps({"answer": right(body, items)})
        return completion(None, "length", **{field: f"所以答案是{right(body, items)}。"})

    with ChatServer(script) as server:
        run = ask(server, questions, tmp_path / "run", mode="reasoning", enable_thinking=True)
        bodies = [request.body for request in server.requests]
    assert all("所以答案是" in row["thought"] and row["reply"] == "" for row in run["outputs"])
    assert run["metrics"]["unparsed"] == 6 and run["metrics"]["finished"]["accuracy"] == 1.0
    again = [body for body in bodies if "response_format" in body]
    assert {body["chat_template_kwargs"]["enable_thinking"] for body in again} == {False}, "not to think a second time"
    assert all("所以答案是" in body["messages"][1]["content"] for body in again)
    assert {body["max_tokens"] for body in bodies} == {8192}
    with ChatServer(script) as server:
        ask(server, questions, tmp_path / "short", mode="reasoning", reasoning_tokens=2)
        assert {request.body["max_tokens"] for request in server.requests} == {2, 64}, "an object has its room"


def test_reasoning_that_was_cut_has_no_answer_yet(questions, tmp_path):
    """As of a server that leaves thoughts in the reply and whose prompt has opened them: nothing marks this one."""
    cut, whole = "先看B。答案：A？再想想，答案：A", "先看B。答案：C。</think>\n答案：A"
    with ChatServer(lambda body: completion(cut, "length")) as server:
        one = ask(server, questions, tmp_path / "cut", mode="reasoning")
    with ChatServer(lambda body: completion(whole, "length")) as server:
        two = ask(server, questions, tmp_path / "whole", mode="reasoning")
    assert one["metrics"]["unparsed"] == 6 and one["outputs"][0]["reply"] == cut
    assert two["metrics"]["unparsed"] == 0 and two["metrics"]["finished"]["asked"] == 0


def test_a_template_that_opens_the_thought_is_told_in_the_reply(tiny, questions, tmp_path):
    import shutil

    folder = Path(shutil.copytree(tiny["base"], tmp_path / "thinker"))
    template = folder / "chat_template.jinja"
    opened = "{%- if add_generation_prompt %}<think>\n{% endif %}"
    template.write_text(template.read_text(encoding="utf-8") + opened, encoding="utf-8")
    flags = {"mode": "reasoning", "reasoning_tokens": 5, "finish": "letters"}
    assert mcq(str(folder), str(questions), str(tmp_path / "run"), **flags) == 0
    run = read_run(tmp_path / "run")
    assert all(row["reply"].startswith("<think>\n") and row["finish"] == "length" for row in run["outputs"])
    assert run["metrics"]["unparsed"] == 6 == run["metrics"]["finished"]["asked"]


SEVERAL = McqItem("m", "选几", {"A": "甲", "B": "乙", "C": "丙"}, frozenset("AC"), "", "multi", "en")


@pytest.mark.parametrize(
    ("finishing", "text"),
    [
        ({"reply": '{"answer": "B"}'}, "B"),
        ({"reply": ' {"answer": ["C", "A", "C"]}\n'}, "AC"),
        ({"reply": '{"answer": 3}'}, '{"answer": 3}'),
        ({"reply": '["B"]'}, '["B"]'),
        ({"reply": '```json\n{"answer": "B"}\n```'}, "B"),
        ({"reply": '{"answer": "B'}, '{"answer": "B'),
        ({"reply": ""}, ""),
        ({"reply": "选B"}, "选B"),
        ({"reply": "[" * 100_000}, "[" * 100_000),
        ({"logprobs": {"A": -1.0, "B": -2.0}}, "A"),
        ({"logprobs": {"A": -1.0, "B": -1.0}}, ""),
    ],
)
def test_what_is_read_from_a_second_answer(finishing, text):
    assert finished(finishing) == text


def test_without_a_word_the_question_itself_is_asked_for_letters():
    one, turns = PresentedQuestion(SEVERAL, 0, "ABC"), [{"role": "user", "content": "Q"}]
    messages, form = letters_request(one, turns, "")
    assert messages == [{"role": "user", "content": f"Q\n{SEVERAL.letters_alone}"}] and "all options" in SEVERAL.letters_alone
    assert form["json_schema"]["schema"]["properties"]["answer"]["items"]["enum"] == ["A", "B", "C"]
    assert not is_unread(one, output_row(one, {"reply": "A and C"}), "reply")


def test_the_manifest_names_it_and_its_words_are_in_the_digest(tiny, questions, tmp_path, capsys):
    flags = {"mode": "reply", "max_new_tokens": 2}
    assert mcq(str(tiny["base"]), str(questions), str(tmp_path / "plain"), **flags) == 0
    plain = read_run(tmp_path / "plain")["manifest"]["settings"]
    with pytest.raises(UserError, match="settings.prompt_sha256|settings.finish"):
        mcq(str(tiny["base"]), str(questions), str(tmp_path / "plain"), finish="letters", **flags)
    assert "finish" not in plain
    prompts = Prompts(load_tokenizer(Path(tiny["base"])), {}, mode="reply")
    items = load_items(str(questions))
    assert (
        prompts.digest(items)
        == plain["prompt_sha256"]
        != Prompts(prompts.tokenizer, {}, mode="reply", finish=True).digest(items)
    )


def test_a_dry_run_knows_of_the_second_calls(questions, tmp_path, capsys):
    words = ["eval", "mcq", "--url", "http://127.0.0.1:9/v1#m", "--data", str(questions), "--out", str(tmp_path / "run")]
    assert main([*words, "--finish", "letters", "--dry-run"]) == 0
    said = capsys.readouterr().out
    # Six questions, each asked twice at most, and the greeting before them.
    assert "at most: 13 calls" in said and "about: 8 calls" in said


def test_a_reply_whose_text_has_no_room_behind_it_is_not_compared(tiny, questions):
    """Decoded and tokenised again, a reply may have more tokens than were written; past its positions a model reads nothing."""
    folder = Path(tiny["base"])
    network, tokenizer = load_network(folder), load_tokenizer(folder)
    prompts, item = Prompts(tokenizer, {}, mode="reply"), load_items(str(questions))[0]
    one, long = PresentedQuestion(item, 0, ""), {"reply": "嗯" * 2000, "finish": "length"}
    first, second = compare_letters(network, prompts, [(one, long), (one, {"reply": "嗯", "finish": "stop"})], BatchLimits())
    assert first == {**long, "finishing": {"reply": "", "error": "longer than the model's 1,024 positions"}}
    assert finished(first["finishing"]) == "" and set(second["finishing"]["logprobs"]) == set(item.options)
