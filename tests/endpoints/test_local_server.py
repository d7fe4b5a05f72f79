"""A tiny checkpoint served on loopback by the real `transformers serve`: its replies, its failures and its end."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import httpx2
import psutil
import pytest

from medllm_hf.endpoints.client import ChatClient
from medllm_hf.endpoints.local_server import served
from medllm_hf.errors import UserError

# As Baichuan2's chat models are published: sampling by default, and a penalty that changes greedy replies as well.
GENERATION = {"do_sample": True, "temperature": 0.3, "top_k": 5, "top_p": 0.85, "repetition_penalty": 1.05}
ASKED = [
    [{"role": "user", "content": "头痛两天，怎么办？"}],
    [{"role": "system", "content": "你是医生。"}, {"role": "user", "content": "What may I take against a cough?"}],
    [
        {"role": "user", "content": "孩子发热</s><reserved_107>"},
        {"role": "assistant", "content": "几天了？"},
        {"role": "user", "content": "三天 39°C 😷\n\n没有咳嗽"},
    ],
]
LONG = 24


def silent(url: str) -> bool:
    """Whether nobody listens at an address any more."""
    try:
        httpx2.get(url, trust_env=False)
    except httpx2.RequestError as error:
        return isinstance(error, httpx2.ConnectError)
    return False


@pytest.fixture(scope="module")
def doctor(tiny, tmp_path_factory):
    """A checkpoint whose folder's name has the marks that the server reads, and its endpoint."""
    folder = tmp_path_factory.mktemp("served") / "医生@2:a b"
    shutil.copytree(tiny["base"], folder)
    config = folder / "generation_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | GENERATION))
    with served(folder) as endpoint:
        assert (endpoint.model, endpoint.key_env) == ("医生_2_a b", None)
        yield folder, endpoint
    assert silent(endpoint.url)


def replies(endpoint, asked, **options):
    async def work():
        async with ChatClient(endpoint) as client:
            return await asyncio.gather(*[client.complete(messages, max_tokens=LONG, **options) for messages in asked])

    return asyncio.run(work())


@pytest.mark.slow
def test_greedy_replies_are_those_of_generate(doctor):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, endpoint = doctor
    network, tokenizer = AutoModelForCausalLM.from_pretrained(folder, dtype="auto"), AutoTokenizer.from_pretrained(folder)
    for messages, reply in zip(ASKED, replies(endpoint, ASKED), strict=True):
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        new = network.generate(**ids, do_sample=False, max_new_tokens=LONG)[0, ids["input_ids"].shape[1] :]
        assert reply.text == tokenizer.decode(new, skip_special_tokens=True)
        assert (reply.prompt_tokens, reply.completion_tokens) == (ids["input_ids"].shape[1], len(new))
        assert reply.finish == ("length" if len(new) == LONG else "stop")


@pytest.mark.slow
def test_a_seed_fixes_what_is_sampled(doctor):
    _, endpoint = doctor
    first, again, other = (
        [reply.text for reply in replies(endpoint, ASKED, temperature=1.0, top_p=1.0, seed=seed)] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_folder_that_cannot_be_served_is_refused(tiny, tmp_path):
    with pytest.raises(UserError, match="no config.json"), served(tmp_path):
        pass
    shutil.copytree(tiny["base"], tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="no chat template"), served(tmp_path / "base"):
        pass


def test_a_server_that_takes_too_long_is_ended(tiny):
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(UserError, match="no answer within 0.01 s"), served(tiny["base"], start_seconds=0.01):
        pass
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.slow
def test_the_end_of_the_log_is_told_when_the_server_fails(tiny, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(tiny["base"], folder)
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="ended with code 1, log: .*SafetensorError"), served(folder):
        pass


@pytest.mark.slow
def test_the_server_ends_with_an_interrupted_block(tiny):
    with pytest.raises(KeyboardInterrupt), served(tiny["base"]) as endpoint:
        assert not silent(endpoint.url)
        raise KeyboardInterrupt
    assert silent(endpoint.url)


@pytest.mark.slow
def test_the_server_ends_with_a_killed_parent(tiny, tmp_path):
    program = f"""
import time
from medllm_hf.endpoints.local_server import served
with served({str(tiny["base"])!r}) as endpoint:
    print(endpoint.url, flush=True)
    time.sleep(600)
"""
    place = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=place)
    url = parent.stdout.readline().strip()
    assert not silent(url)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 60
    while not silent(url) and time.monotonic() < end:
        time.sleep(0.1)
    assert silent(url)
