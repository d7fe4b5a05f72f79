"""The chat client against a scripted server, by every way in which a request can fail."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest
from support.asking import ASKED, answered, ask, endpoint
from support.chat_server import Behaviour, ChatServer, completion, in_turn

from medllm_hf.endpoints.answer_reader import AnswerReader
from medllm_hf.endpoints.client import ChatClient, EndpointError
from medllm_hf.endpoints.refusals import LONGEST_RETRY_AFTER, Failure
from medllm_hf.endpoints.response import read


def test_a_reply_and_the_request_that_brought_it():
    form = {"type": "json_object"}
    reply, client, server = answered("多喝水", seed=1, top_p=0.9, stop=["。"], response_format=form)
    assert (reply.text, reply.finish, reply.model, reply.retries) == ("多喝水", "stop", "scripted", 0)
    assert (reply.prompt_tokens, reply.completion_tokens) == (7, 3)
    assert reply.seconds > 0
    (request,) = server.requests
    assert request.target == "/v1/chat/completions"
    expected = {"model": "scripted", "messages": ASKED, "max_tokens": 16, "temperature": 0.0, "seed": 1, "top_p": 0.9}
    assert request.body == expected | {"stop": ["。"], "response_format": form}
    assert client.dropped == set()


def test_fields_that_are_none_are_not_sent():
    _, _, server = answered("a", temperature=0.7)
    assert set(server.requests[0].body) == {"model", "messages", "max_tokens", "temperature"}


PASSING = {
    "500": Behaviour(500, {"error": {"message": "busy"}}),
    "429": Behaviour(429, {"error": {"message": "slow down"}}),
    "408": Behaviour(408),
    "409": Behaviour(409),
    "cut": Behaviour(body=completion("半句"), cut=True),
    "no answer at all": Behaviour(status=200, body=b"", headers={"Content-Length": "10"}, cut=True),
    "malformed": Behaviour(body=b'{"choices": [{"mess'),
    "not UTF-8": Behaviour(body=b'{"choices": "\xff"}'),
    "a web page": Behaviour(502, b"<html>\n<b>Bad gateway</b></html>"),
    "no choices": Behaviour(body={"choices": []}),
    "null choices": Behaviour(body={"choices": None}),
    "no message": Behaviour(body={"choices": [{"message": None}]}),
    "a list": Behaviour(body=[]),
    "content that is no text": Behaviour(body=completion(3)),
    "parts that are no text": Behaviour(body=completion([{"type": "text", "text": None}])),
    "brackets without end": Behaviour(body=b"[" * 100_000),
    "an error with status 200": Behaviour(body={"error": {"message": "upstream"}}),
}


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
def test_a_passing_failure_is_repeated(failure):
    reply, client, server = answered(failure, failure, "好")
    assert (reply.text, reply.retries) == ("好", 2)
    assert (client.usage.requests, client.usage.retries, len(server.requests)) == (3, 2, 3)
    assert server.requests[0].body == server.requests[2].body


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
def test_repetitions_end(failure):
    error, client, server = answered(failure)
    assert isinstance(error, EndpointError)
    assert (len(server.requests), client.usage.requests, client.usage.retries) == (4, 4, 3)
    assert "after 4 requests" in str(error)
    assert "\n" not in str(error)
    assert not error.fatal


@pytest.mark.parametrize("slow", [Behaviour(body=completion(), delay=15), Behaviour(body=completion(), trickle=0.05)])
def test_the_deadline_is_for_the_whole_request(slow):
    """The second server never falls silent for long: its answer would take more than ten seconds."""
    reply, client, server = answered(slow, "好", settings={"timeout": 1.5})
    assert (reply.text, reply.retries, len(server.requests)) == ("好", 1, 2)
    error, _, _ = answered(slow, settings={"timeout": 0.3, "retries": 0})
    assert (error.status, error.fatal, error.reason) == (None, False, "no whole answer within 0.3 s")


def test_retry_after_in_seconds_is_waited_for():
    _, _, server = answered(Behaviour(429, headers={"Retry-After": "1.2"}), "好")
    first, second = server.requests
    assert second.arrived - first.arrived >= 1.2


def test_retry_after_as_a_date_is_read_by_the_servers_clock():
    wrong = datetime(2020, 1, 1, tzinfo=UTC)
    headers = {"Date": format_datetime(wrong, usegmt=True)}
    headers["Retry-After"] = format_datetime(wrong + timedelta(seconds=1), usegmt=True)
    _, _, server = answered(Behaviour(503, headers=headers), "好")
    first, second = server.requests
    assert second.arrived - first.arrived >= 1


def test_retry_after_without_the_servers_clock():
    until = datetime.now(UTC) + timedelta(seconds=40)
    failure = read(httpx2.Response(429, headers={"Retry-After": format_datetime(until, usegmt=True)}), {})
    assert 30 < failure.after <= 40


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        ("100000", LONGEST_RETRY_AFTER),
        ("-3", 0),
        ("nan", 0),
        ("soon", 0),
        ("", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after_stays_within_bounds(value, seconds):
    assert read(httpx2.Response(503, headers={"Retry-After": value}), {}) == Failure(
        503, "Service Unavailable", True, after=seconds
    )


def test_the_wait_doubles():
    _, _, server = answered(*[Behaviour(500)] * 3, "好", settings={"backoff": 0.1})
    times = [request.arrived for request in server.requests]
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert all(gap >= least for gap, least in zip(gaps, (0.1, 0.2, 0.4), strict=True))


@pytest.mark.parametrize(
    ("status", "fatal"), [(400, False), (401, True), (402, True), (403, True), (404, True), (413, False), (307, True)]
)
def test_a_permanent_failure_is_not_repeated(status, fatal):
    error, client, server = answered(Behaviour(status, {"error": {"message": "no\nway\x1b[31m"}}))
    assert isinstance(error, EndpointError)
    assert (error.status, error.fatal, error.reason) == (status, fatal, "no way [31m")
    assert str(error) == f"scripted at {server.url}: status {status}, no way [31m"
    assert len(server.requests) == 1


def test_a_spent_budget_is_not_waited_for():
    error, _, server = answered(Behaviour(429, {"error": {"message": "quota", "code": "insufficient_quota"}}))
    assert (error.status, error.fatal, len(server.requests)) == (429, True, 1)


def test_an_address_that_never_answered_is_fatal():
    with ChatServer(in_turn("好")) as server:
        closed = server.url
    server.url = closed
    (error,), _ = ask(server)
    assert (error.status, error.fatal) == (None, True)
    assert "after" not in error.reason, "nobody will answer there in half a minute either"


ODD = {
    "empty": (completion(""), "", "stop"),
    "null": (completion(None), "", "stop"),
    "reasoning only": (completion(None, "stop", reasoning_content="我想想"), "", "stop"),
    "refusal": (completion(None, refusal="I cannot"), "", "refusal"),
    "filtered": (completion("", "content_filter"), "", "content_filter"),
    "cut off": (completion("因为", "length"), "因为", "length"),
    "no reason": (completion("好", None), "好", ""),
    "parts": (
        completion([{"type": "thinking"}, {"type": "text", "text": "多"}, {"type": "text", "text": "睡"}]),
        "多睡",
        "stop",
    ),
    "half a character": (Behaviour(body=b'{"choices":[{"message":{"content":"\\ud83d\\ude00 \\ud83d"}}]}'), "😀 \ufffd", ""),
}


@pytest.mark.parametrize(("answer", "text", "finish"), ODD.values(), ids=ODD)
def test_odd_replies_are_handed_on(answer, text, finish):
    reply, _, server = answered(answer)
    assert (reply.text, reply.finish, len(server.requests)) == (text, finish, 1)
    reply.text.encode()


@pytest.mark.parametrize("most", [1, 5])
def test_no_more_requests_at_once_than_allowed(most):
    with ChatServer(lambda _: Behaviour(body=completion(), delay=0.3)) as server:
        replies, _ = ask(server, times=3 * most, settings={"concurrency": most})
    assert {reply.text for reply in replies} == {"好的"}
    assert (len(server.requests), server.most_at_once) == (3 * most, most)


def refusing(fields: dict[str, dict]):
    """A script of a server that answers 400 to each of the fields, with the given error, and reports the others."""

    def script(body: dict):
        for name, error in fields.items():
            if name in body:
                return Behaviour(400, {"error": error})
        return " ".join(sorted(set(body) - {"model", "messages"}))

    return script


def test_a_field_that_the_server_does_not_know_is_left_out_from_then_on():
    unknown = {
        "response_format": {"message": "Unknown request", "param": "response_format.type"},
        "seed": {"message": "Extra inputs are not permitted: seed"},
    }

    async def work(server):
        async with ChatClient(endpoint(server)) as client:
            options = {"max_tokens": 8, "seed": 1, "response_format": {"type": "json_object"}}
            first = await client.complete(ASKED, **options)
            dropped = set(client.dropped)
            return first, await client.complete(ASKED, **options), dropped, client

    with ChatServer(refusing(unknown)) as server:
        first, second, dropped, client = asyncio.run(work(server))
    assert (first.text, first.retries) == ("max_tokens temperature", 2)
    assert (second.text, second.retries) == ("max_tokens temperature", 0)
    assert dropped == client.dropped == {"response_format", "seed"}
    assert (client.usage.requests, client.usage.retries) == (4, 2)


def test_the_limit_changes_its_name_where_the_server_says_so():
    said = {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "param": "max_tokens"}
    with ChatServer(refusing({"max_tokens": said})) as server:
        (reply,), client = ask(server)
    assert (reply.text, client.dropped) == ("max_completion_tokens temperature", {"max_tokens"})
    assert server.requests[1].body["max_completion_tokens"] == 16


def test_a_400_about_something_else_drops_nothing():
    error, client, server = answered(Behaviour(400, {"error": {"message": "the prompt is too long; nonstop"}}), stop=["。"])
    assert (error.status, client.dropped, len(server.requests)) == (400, set(), 1)


def test_a_field_is_not_dropped_for_good_when_leaving_it_out_did_not_help():
    error, client, server = answered(Behaviour(422, {"detail": [{"loc": ["body", "seed"]}]}), seed=1)
    assert (error.status, client.dropped, len(server.requests)) == (422, set(), 2)


def test_tokens_are_added_up():
    answers = [Behaviour(500), completion(usage=(10, 2)), completion(usage=(5, 1)), completion(usage=None)]
    with ChatServer(in_turn(*answers)) as server:
        replies, client = ask(server, times=3, settings={"concurrency": 1})
    usage = client.usage
    assert (usage.requests, usage.retries, usage.prompt_tokens, usage.completion_tokens, usage.unknown) == (4, 1, 15, 3, 1)
    assert replies[2].prompt_tokens is None
    assert sum(reply.retries for reply in replies) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_an_event_stream_is_known_however_few_bytes_come_at_once(size):
    events = [f'data: {{"choices": [{{"delta": {{"content": "{word}"}}}}]}}\n\n'.encode() for word in "头痛"]
    reader, sent = AnswerReader(), b"\r\n" + b"".join(events) + b"data: [DONE]"
    said = [delta.text for i in range(0, len(sent), size) for delta in reader.feed(sent[i : i + size])]
    assert said + [delta.text for delta in reader.end()] == ["头", "痛"] and reader.streamed and reader.done
    whole = AnswerReader()
    assert not [delta for i in range(0, 20, size) for delta in whole.feed(b'{"data": "data: x"} '[i : i + size])]
    assert not whole.streamed and bytes(whole.whole).startswith(b'{"data"')
