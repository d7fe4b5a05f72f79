"""Fields that a user adds to each request."""

import json

import pytest

from medllm_hf.endpoints.address import Endpoint
from medllm_hf.endpoints.client import request_body
from medllm_hf.endpoints.extra_body import read_extra_body, record_extra_body
from medllm_hf.errors import UserError

ASKED = [{"role": "user", "content": "好"}]


def test_they_stand_beside_ours_and_replace_none():
    extra = read_extra_body('{"top_k": 20, "top_p": 0.5, "chat_template_kwargs": {"a": 1, "enable_thinking": true}}')
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m", enable_thinking=False, extra_body=extra)
    body = request_body(endpoint, ASKED, 9, top_p=0.9)
    assert body == {
        "model": "m", "messages": ASKED, "max_tokens": 9, "top_k": 20, "top_p": 0.9,
        "chat_template_kwargs": {"a": 1, "enable_thinking": False},
    }  # fmt: skip
    assert hash(endpoint), "clients are kept by their endpoint"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{enable_thinking: false}", "not JSON"),
        ('["a"]', "no object"),
        ('{"a": NaN}', "not JSON"),
        ('{"model": "other"}', "model in --extra-body"),
        ('{"messages": []}', "messages in --extra-body"),
        ('{"max_completion_tokens": 1}', "use --max-new-tokens"),
        ('{"stream": true}', "stream in --extra-body"),
    ],
)
def test_what_a_run_sets_itself_is_refused(text, told):
    with pytest.raises(UserError, match=told):
        read_extra_body(text)


def test_secrets_are_masked_in_a_manifest():
    text = '{"api_key": "sk-1", "a": {"auth_token": "sk-2", "list": [{"secret": "sk-3"}]}, "max_thinking_tokens": 9, "key": 3}'
    recorded = record_extra_body(text)
    assert recorded == {
        "api_key": "***", "a": {"auth_token": "***", "list": [{"secret": "***"}]}, "max_thinking_tokens": 9, "key": 3
    }  # fmt: skip
    assert "sk-" not in json.dumps(recorded)
    assert read_extra_body(None) == read_extra_body("{}") == "" and record_extra_body(None) == {}
