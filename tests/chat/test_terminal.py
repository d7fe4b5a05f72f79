"""`medllm chat` in a real pseudo-terminal, in a pipe, and when something is wrong."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time

import pytest
import torch
from support.commands import one_line_error, run
from support.pseudo_terminal import CTRL_C, CTRL_D, PASTE, UP, Screen
from transformers import LlamaConfig, LlamaForCausalLM

from medllm_hf.chat.terminal import UNSEEN

PROMPT = "> \x1b[0m"
LONG = ("--temperature", "0", "--max-new-tokens", "900")
SHORT = ("--temperature", "1", "--seed", "1", "--max-new-tokens", "8")


def contents(path) -> list[str]:
    return [message["content"] for message in json.loads(path.read_text(encoding="utf-8"))["messages"]]


def test_every_command(tiny, tmp_path):
    with Screen("chat", str(tiny["base"]), *SHORT, "--system", "简短。", state=tmp_path) as screen:
        opening = screen.until(PROMPT)
        assert "不能代替医生" in opening and "\x1b[2m" in opening
        for line, shown in (
            ("/help", "/save FILE"),
            ("头痛三天", PROMPT),
            ("发热", PROMPT),
            (f"save {tmp_path}/one.json", "saved 5 messages"),
            (f"save {tmp_path}/one.json", "saved 5 messages"),
            ("retry", PROMPT),
            (f"/save {tmp_path}/two.json", "saved 5 messages"),
            ("undo", "taken back: 发热"),
            ("stream", "streaming is off"),
            ("咳嗽", PROMPT),
            ("/stream", "streaming is on"),
            (f"save {tmp_path}/three.json", "saved 5 messages"),
            (f"/save {tmp_path}/missing/four.json", "medllm: found"),
            ("save", "medllm: found no file"),
            ("/dance", "no command /dance"),
            ("clear", "new conversation"),
            ("undo", "medllm: found no question"),
            ("/retry", "medllm: found no question"),
            (f"save {tmp_path}/five.json", "saved 1 messages"),
        ):
            screen.type(line + "\r")
            screen.until(shown)
            if shown != PROMPT:
                screen.until(PROMPT)
        screen.type("exit\r")
        assert screen.ended() == 0
    one, two, three = (contents(tmp_path / f"{name}.json") for name in ("one", "two", "three"))
    assert one[0] == "简短。" and one[1] == "头痛三天" and one[3] == "发热" and one[2] and one[4]
    assert two[:4] == one[:4] and two[4] != one[4]
    assert three[:4] == [*one[:3], "咳嗽"]
    assert contents(tmp_path / "five.json") == ["简短。"]
    kept = tmp_path / "medllm" / "chat_history"
    assert "头痛三天" in kept.read_text(encoding="utf-8").splitlines()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


@pytest.mark.slow
def test_an_existing_file_is_not_replaced(tiny, tmp_path):
    (tmp_path / "notes").write_text("mine")
    with Screen("chat", str(tiny["base"]), *SHORT, state=tmp_path) as screen:
        screen.until(PROMPT)
        screen.type(f"save {tmp_path}/notes\r")
        screen.until("which exists")
    assert (tmp_path / "notes").read_text() == "mine"


def test_ctrl_c_stops_an_answer_and_keeps_it(endless, tmp_path):
    with Screen("chat", str(endless), *LONG, state=tmp_path) as screen:
        screen.until(PROMPT)
        for name in ("stopped", "whole"):
            screen.type("头痛\r")
            screen.until("?2004l\r")  # the line has been read
            if name == "stopped":
                while len(screen.shown) < screen.seen + 5:
                    screen.read(60)
                screen.type(CTRL_C)
                screen.until("[stopped: by you]")
            screen.until(PROMPT)
            screen.type(f"save {tmp_path}/{name}\r")
            screen.until("saved 2 messages")
            screen.until(PROMPT)
            screen.type("clear\r")
            screen.until(PROMPT)
        screen.type("half a line")
        screen.until("half a line")
        # Python forgets a signal that comes in the instant in which it begins to wait for a key.
        time.sleep(0.3)
        screen.type(CTRL_C)
        screen.until("Ctrl-C again")
        screen.until(PROMPT)
        screen.type("undo\r")  # not "half a lineundo"
        screen.until("no question")
        for _ in range(2):
            screen.until(PROMPT)
            time.sleep(0.3)
            screen.type(CTRL_C)
        assert screen.ended() == 0
    stopped, whole = contents(tmp_path / "stopped")[1], contents(tmp_path / "whole")[1]
    assert whole.startswith(stopped) and "" != stopped != whole


@pytest.mark.slow
def test_several_lines_wide_characters_and_resizing(tiny, tmp_path):
    with Screen("chat", str(tiny["base"]), *SHORT, state=tmp_path, columns=20) as screen:
        assert "\x1b[?2004h" in screen.until(PROMPT)  # asks the terminal to mark what is pasted
        for keys in (
            "头痛三天，还有恶心，怎么办🩺\x7f\x7f好\r",  # rubs out two characters
            f"{PASTE[0]}一\n二\n{PASTE[1]}三\r",
            '"""\r一\r\r"""x\r"""\r',
            "一\\\r二\r",
            UP + "\r",
        ):
            screen.resize(10 + len(keys), 30 + len(keys))
            screen.type(keys)
            screen.until(PROMPT)
        screen.type("头痛\r")
        screen.resize(5, 15)
        screen.until(PROMPT)
        screen.type(f"save {tmp_path}/talk\r")
        screen.until("saved 12 messages")
        screen.until(PROMPT)
        screen.type(CTRL_D)
        assert screen.ended() == 0
    assert contents(tmp_path / "talk")[::2] == [
        "头痛三天，还有恶心，怎么好", "一\n二\n三", '一\n\n"""x', "一\n二", "二", "头痛"
    ]  # fmt: skip


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}], ids=str)
@pytest.mark.slow
def test_no_colours_where_none_are_wanted(tiny, tmp_path, environment):
    with Screen("chat", str(tiny["base"]), *SHORT, state=tmp_path, **environment) as screen:
        screen.until("> ")
        screen.type("头痛\r")
        screen.until("> ")
        screen.type(CTRL_D)
        assert screen.ended() == 0
    assert not re.search(r"\x1b\[[0-9;]*m", screen.shown)
    if "TERM" in environment:
        assert "\x1b" not in screen.shown


def test_a_model_cannot_steer_the_terminal():
    assert "a\x1b[2J\r\x9b1;2H\x07b\n\t头".translate(UNSEEN) == "a[2J1;2Hb\n\t头"


@pytest.mark.slow
def test_answers_alone_go_down_a_pipe(tiny):
    done = run("medllm", "chat", str(tiny["base"]), *SHORT, "--system", "简短。", stdin="头痛\n发热\n")
    again = run("medllm", "chat", str(tiny["base"]), *SHORT, "--system", "简短。", stdin="/stream\n头痛\n发热\n")
    assert done.returncode == again.returncode == 0
    assert done.stdout == again.stdout and done.stdout.strip()
    assert "\x1b" not in done.stdout + done.stderr
    assert "streaming is off" in again.stderr


@pytest.mark.slow
def test_a_reader_that_leaves_and_bytes_that_are_no_text(tiny, tmp_path):
    command = [sys.executable, "-m", "medllm_hf", "chat", str(tiny["base"]), *SHORT]
    left, inner = os.pipe()
    os.close(left)
    with open(inner, "wb") as nobody:
        gone = subprocess.run(command, input="头痛\n发热\n".encode(), stdout=nobody, stderr=subprocess.PIPE)
    assert gone.returncode == 0
    assert b"Traceback" not in gone.stderr and b"BrokenPipe" not in gone.stderr
    odd = subprocess.run(command, input=b"\xff\xfe\n", capture_output=True)
    assert odd.returncode == 0 and odd.stdout.strip()


def test_what_the_user_can_mend_is_one_line(tiny, tmp_path, refused):
    base = str(tiny["base"])
    assert "temperature -1" in refused("chat", base, "--temperature", "-1")
    assert "top_p 2" in refused("chat", base, "--top-p", "2")
    assert "device 'tpu9'" in refused("chat", base, "--device", "tpu9")
    assert "medllm convert" in refused("chat", str(tiny["source"]))
    if not torch.cuda.is_available():
        assert "expected a GPU" in refused("chat", base, "--quantization", "4bit")
    assert "#MODEL" in refused("chat", "http://127.0.0.1:1/v1")
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in tiny["base"].iterdir():
        if file.name != "chat_template.jinja":
            (bare / file.name).symlink_to(file)
    assert "no chat template" in refused("chat", str(bare))
    (bare / "chat_template.jinja").write_text("{{ messages }}")
    (bare / "model.safetensors").unlink()
    (bare / "model.safetensors").write_bytes(b"\0" * 100)
    assert str(bare) in refused("chat", str(bare))


@pytest.mark.parametrize("when", ["from_pretrained", "generate_tokens"])
@pytest.mark.slow
def test_out_of_memory_is_one_line(tiny, tmp_path, when):
    """When the function is called, less address space is left than the weights, or the activations, take."""
    for file in tiny["base"].iterdir():
        shutil.copy(file, tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    config = LlamaConfig(**{**settings, "hidden_size": 1024, "intermediate_size": 40000, "num_hidden_layers": 1})
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    code = (
        "import resource, sys, torch, transformers, medllm_hf.chat.terminal, medllm_hf.cli\n"
        "from transformers.models.llama import modeling_llama\n"
        "import transformers.conversion_mapping, transformers.integrations\n"
        "torch.ones(64, 64) @ torch.ones(64, 64)\n"
        "def narrow(owner, name):\n"
        "    before = getattr(owner, name)\n"
        "    def call(*given, **named):\n"
        "        used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "        resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**24, resource.RLIM_INFINITY))\n"
        "        return before(*given, **named)\n"
        "    setattr(owner, name, call)\n"
        "if sys.argv[1] == 'from_pretrained':\n"
        "    narrow(transformers.AutoModelForCausalLM, sys.argv[1])\n"
        "else:\n"
        "    from medllm_hf.chat import local\n"
        "    narrow(local, sys.argv[1])\n"
        "sys.exit(medllm_hf.cli.main(sys.argv[2:]))\n"
    )
    words = ("chat", str(tmp_path), "--dtype", "float32", "--max-new-tokens", "2")
    done = run(sys.executable, "-c", code, when, *words, stdin="头痛" * 400 + "\n")
    assert "not enough memory" in done.stderr.splitlines()[-1], done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert done.returncode == (2 if when == "from_pretrained" else 1)


def test_a_mistyped_folder_that_could_be_a_hub_id_is_told_as_one():
    told = one_line_error(run("medllm", "chat", "work/ful", env={"HF_HUB_OFFLINE": "1"}))
    assert "found no folder and no model of the Hub work/ful: " in told and "check the name, the network and HF_TOKEN" in told


def test_missing_things_are_one_line():
    for name in ("./no-such-folder", "no/such/folder"):
        assert f"found no folder {name};" in one_line_error(run("medllm", "chat", name))
