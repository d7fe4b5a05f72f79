"""How `medllm web` begins and ends, and what is one line when it cannot begin."""

import json
import shutil
import socket
import sys

import pytest
import torch
from support.commands import one_line_error, run
from support.web_visits import Server
from transformers import LlamaConfig, LlamaForCausalLM

pytest.importorskip("streamlit", reason="no Streamlit: it is the extra `web`")


def test_one_line_tells_the_address_and_ctrl_c_ends_it(tiny):
    with Server(str(tiny["base"])) as server:
        assert server.line.startswith("http://127.0.0.1:")
        assert server.interrupt() == (0, "")


def test_a_port_in_use_and_other_addresses_are_one_line(tiny, refused):
    base = str(tiny["base"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refused("web", base, "--port", str(port))
    assert "70000" in refused("web", base, "--port", "70000")
    assert "no-such-host" in refused("web", base, "--host", "no-such-host.invalid")
    # An address kept for documentation, which no machine has.
    assert "192.0.2.1" in refused("web", base, "--host", "192.0.2.1")


def test_a_model_that_cannot_be_had_is_one_line(tiny, tmp_path, refused):
    base = ("--port", "0")
    assert "no-such-folder" in refused("web", "./no-such-folder", *base)
    assert "#MODEL" in refused("web", "http://127.0.0.1:1/v1", *base)
    assert "top_p 2" in refused("web", str(tiny["base"]), *base, "--top-p", "2")
    for file in tiny["base"].iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).symlink_to(file)
    assert "no chat template" in refused("web", str(tmp_path), *base)


@pytest.mark.slow
def test_without_the_extra_is_one_line(tiny):
    """Whoever looks for streamlit finds none, as where it is not installed."""
    code = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'streamlit':\n"
        "            raise ModuleNotFoundError(name)\n"
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'streamlit' else found(name, package)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "import medllm_hf.cli\n"
        "sys.exit(medllm_hf.cli.main(sys.argv[1:]))\n"
    )
    done = run(sys.executable, "-c", code, "web", str(tiny["base"]), "--port", "0")
    assert "pip install 'medllm_hf[web]'" in one_line_error(done)


@pytest.mark.slow
def test_out_of_memory_is_one_line(tiny, tmp_path):
    """When the weights are loaded, less address space is left than they take."""
    for file in tiny["base"].iterdir():
        shutil.copy(file, tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    config = LlamaConfig(**{**settings, "hidden_size": 1024, "intermediate_size": 40000, "num_hidden_layers": 1})
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    code = (
        "import resource, sys, transformers, medllm_hf.chat.web.start, medllm_hf.cli\n"
        "from transformers.models.llama import modeling_llama\n"
        "import transformers.conversion_mapping, transformers.integrations\n"
        "load = transformers.AutoModelForCausalLM.from_pretrained\n"
        "def narrow(*given, **named):\n"
        "    used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**24, resource.RLIM_INFINITY))\n"
        "    return load(*given, **named)\n"
        "transformers.AutoModelForCausalLM.from_pretrained = narrow\n"
        "sys.exit(medllm_hf.cli.main(sys.argv[1:]))\n"
    )
    done = run(sys.executable, "-c", code, "web", str(tmp_path), "--dtype", "float32", "--port", "0")
    assert "not enough memory" in one_line_error(done)
