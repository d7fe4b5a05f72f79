"""A conversation on the tiny model: streamed, remembered, repeatable, and usable from a pipe."""

import torch
from support.commands import run
from transformers import AutoModelForCausalLM, AutoTokenizer

from medllm_hf.chat import ChatSession


def greedy(tiny):
    session = ChatSession.from_pretrained(str(tiny["base"]))
    session.model.generation_config.do_sample = False
    session.model.generation_config.max_new_tokens = 12
    return session


def test_answers_equal_plain_generate(tiny):
    session = greedy(tiny)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny["base"]), AutoTokenizer.from_pretrained(tiny["base"])
    messages = [{"role": "user", "content": "头痛三天"}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    assert session.chat(messages) == tokenizer.decode(ids, skip_special_tokens=True)
    assert session.messages == []


def test_streaming_keeps_the_history(tiny):
    session = greedy(tiny)
    first = "".join(session.stream("头痛三天"))
    second = "".join(session.stream("还有发热"))
    assert [message["content"] for message in session.messages] == ["头痛三天", first, "还有发热", second]
    session.reset()
    assert "".join(session.stream("头痛三天")) == first


def test_seeded_answers_repeat(tiny):
    answers = []
    for _ in range(2):
        session = ChatSession.from_pretrained(str(tiny["base"]), seed=3, max_new_tokens=20)
        answers.append(session.chat([{"role": "user", "content": "咳嗽"}]))
    assert answers[0] == answers[1] != ""


def test_a_question_a_line_from_a_pipe(tiny):
    """The answers are those of a session; a blank line and what follows `exit` are no questions."""
    options = ("--seed", "1", "--max-new-tokens", "24")
    done = run("medllm", "chat", str(tiny["base"]), *options, stdin="咳嗽怎么办\nclear\n\n发热\nexit\n头痛\n")
    assert done.returncode == 0, done.stderr
    assert "不能代替医生" in done.stderr
    session, answers = ChatSession.from_pretrained(str(tiny["base"]), seed=1, max_new_tokens=24), []
    for question in ("咳嗽怎么办", "发热"):
        session.reset()
        answers.append("".join(session.stream(question)))
    assert done.stdout == "".join(f"{answer}\n" for answer in answers)
