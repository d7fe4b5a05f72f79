"""The judge of the standard library meets the same servers: it works, or one line says why not, at once."""

import pytest
from support.chat_server import Behaviour, ChatServer, completion, in_turn
from support.judged_runs import NAMES
from support.quirks import THOUGHTS, events

from medllm_hf.metrics.llm_judge.calling import LONGEST, endpoint_judge
from medllm_hf.metrics.llm_judge.scoring import verdict

ASKED = [{"role": "user", "content": "请评分。"}]
VERDICT = "\n".join(f"{name}：4" for name in NAMES)


@pytest.fixture(autouse=True)
def _waits(monkeypatch):
    """No test waits, and none of these servers is asked twice."""
    monkeypatch.setattr("time.sleep", lambda seconds: None if seconds < 1 else pytest.fail("it waits"))


@pytest.mark.parametrize(
    "answer",
    [
        completion(VERDICT, reasoning_content=THOUGHTS),
        f"{THOUGHTS}主动性：1</think>{VERDICT}",
        f"<seed:think>{THOUGHTS}主动性：1</seed:think>{VERDICT}",
        f"<|channel|>analysis<|message|>主动性：1<|end|><|start|>assistant<|channel|>final<|message|>{VERDICT}",
        f"<|channel|>analysis<|message|>主动性：1<|end|>{VERDICT}",
        events(VERDICT),
    ],
)
def test_a_verdict_is_read_whatever_stands_around_it(answer):
    with ChatServer(in_turn(answer)) as server:
        reply = endpoint_judge({"url": server.url, "model": "m"})(ASKED)
    scores, unscored = verdict(reply, "disc-medllm")
    assert unscored is None and scores is not None and set(scores.values()) == {4}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (completion(None, "length", reasoning_content=THOUGHTS), "whole reply on reasoning; raise MAX_TOKENS"),
        (Behaviour(body=b" " * (LONGEST + 1)), "more than 8 MB"),
        (Behaviour(401, {}), "status 401"),
    ],
)
def test_a_judge_that_cannot_be_used_is_one_line(answer, told):
    with ChatServer(in_turn(answer)) as server:
        with pytest.raises(RuntimeError, match=told) as failed:
            endpoint_judge({"url": server.url, "model": "m"})(ASKED)
        assert len(server.requests) == 1 and "\n" not in str(failed.value)


def test_an_address_without_v1_is_named():
    with ChatServer(in_turn(Behaviour(404, {}))) as server, pytest.raises(RuntimeError, match="lack /v1"):
        endpoint_judge({"url": server.url.removesuffix("/v1"), "model": "m"})(ASKED)


def test_azure_takes_its_version_and_its_own_header(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "sk-1")
    with ChatServer(in_turn("好")) as server:
        judge = {"url": f"{server.url}?api-version=2024-10-21", "model": "m", "key_env": "JUDGE_KEY"}
        assert endpoint_judge(judge)(ASKED) == "好"
        (request,) = server.requests
    assert request.target == "/v1/chat/completions?api-version=2024-10-21"
    assert request.headers["api-key"] == "sk-1" and "authorization" not in request.headers


def test_where_nobody_listens_it_is_told_at_once():
    with ChatServer(in_turn("好")) as server:
        gone = server.url
    with pytest.raises(RuntimeError, match="gives no answer \\(ConnectionRefusedError\\)"):
        endpoint_judge({"url": gone, "model": "m"})(ASKED)


def test_certificates_that_are_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(ValueError, match="correct SSL_CERT_FILE"):
        endpoint_judge({"url": "https://judge.example/v1", "model": "m"})
