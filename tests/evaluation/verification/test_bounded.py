"""Work in a child process that ends: its value and its refusals come back, and nothing waits for ever."""

import os
import signal
import sys

import pytest

from medllm_hf.errors import UserError
from medllm_hf.evaluation.verification.bounded import bounded

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bounded on Linux alone")


def test_the_value_and_the_refusal_come_back():
    assert bounded("a file", lambda: [1, "二"], 20) == [1, "二"]

    def refuse():
        raise UserError("this", "that", "mend it")

    with pytest.raises(UserError, match="found this; expected that; mend it"):
        bounded("a file", refuse, 20)


def test_what_goes_on_for_ever_is_ended():
    def spin():
        while True:
            pass

    with pytest.raises(UserError, match="found a template that takes more than 1 s"):
        bounded("a template", spin, 1)


def test_what_waits_for_ever_is_ended(monkeypatch):
    monkeypatch.setattr("medllm_hf.evaluation.verification.bounded._WAITING", 1)
    with pytest.raises(UserError, match="found a template that takes more than 1 s"):
        bounded("a template", signal.pause, 1)


def test_what_takes_all_memory_is_ended():
    with pytest.raises(UserError, match="files that take all memory"):
        bounded("a template", lambda: bytearray(1 << 31), 20, 1 << 28)


def test_what_ends_its_process_is_told():
    with pytest.raises(UserError, match=r"found a template that ends the process that reads it \(code 7\)"):
        bounded("a template", lambda: os._exit(7), 20)
