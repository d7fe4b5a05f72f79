"""Numbers of every verb that cannot be: one line, exit code 2."""

import argparse

import pytest
from support.paths import SAMPLE

from medllm_hf.cli import VERBS, build_parser

NUMBERS = [
    (name, action)
    for name in VERBS
    if name != "sft"
    for action in build_parser(name)._actions
    if action.type is not None and not isinstance(action, argparse._HelpAction) and "true" not in str(action.metavar)
]
# What is needed beside the number, so that it is the number that is refused.
NEEDED = {
    "tiny-base": "OUT",
    "data build": f"{SAMPLE / 'dialogues.jsonl'} --out OUT --license mit",
    "eval mcq": f"--url http://127.0.0.1:9/v1#m --data {SAMPLE / 'questions_test.jsonl'} --out OUT",
    "eval cases": "OUT.jsonl --writer http://127.0.0.1:9/v1#m --out OUT",
    "eval consult": "--cases OUT.jsonl --doctor http://127.0.0.1:9/v1#m --patient http://127.0.0.1:9/v1#m --out OUT",
    "eval judge": "--dialogues OUT.jsonl --judge http://127.0.0.1:9/v1#m --out OUT",
    "eval pair": "--first OUT.jsonl --second OUT.jsonl --judge http://127.0.0.1:9/v1#m --out OUT",
    "verify": "OUT",
    "chat": "http://127.0.0.1:9/v1#m",
    "web": "http://127.0.0.1:9/v1#m",
}


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "x", "", str(2**70), "9" * 5000])
@pytest.mark.parametrize(("name", "action"), NUMBERS, ids=lambda value: getattr(value, "dest", value))
def test_what_is_no_number_for_it(refused, tmp_path, monkeypatch, name, action, value):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    if value == str(2**70) and action.type.__name__ == "float":
        pytest.skip("a number as good as others")
    words = NEEDED[name].replace("OUT", str(tmp_path / "out")).split()
    refused(*name.split(), *words, f"{action.option_strings[0]}={value}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("device", ["meta", "nonsense", "cuda", "cuda:99", "", "cpu:x", "mkldnn", "fpga", "mps"])
def test_devices_that_are_not_there(refused, tiny, device):
    import torch

    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert "device" in refused("chat", str(tiny["base"]), "--device", device)


def test_ports(refused, tiny):
    for port in ("70000", "-1", "65536", "1.5"):
        assert "--port" in refused("web", str(tiny["base"]), "--port", port)
