"""Checkpoints whose configs name code of their own, which leaves a mark when it is run, and a Hub with more of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

# What must never be fetched or run: a file beside the configs, and one in a repository that they point to.
OTHER = "org/other"
CODE = """
import os, pathlib
pathlib.Path(os.environ["MARK"]).write_text("foreign code has run")
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Config(LlamaConfig):
    model_type = "foreign"
class Model(LlamaForCausalLM):
    config_class = Config
class X(PreTrainedTokenizerFast):
    pass
"""
CODE_FILES = ("file.py", "pipeline.py", "generate.py")
ELSEWHERE = {"AutoConfig": f"{OTHER}--file.Config", "AutoModelForCausalLM": f"{OTHER}--file.Model"}
BESIDE = {"AutoConfig": "file.Config", "AutoModelForCausalLM": "file.Model"}
TOKENIZER = {"tokenizer_class": "X", "auto_map": {"AutoTokenizer": [f"{OTHER}--file.X", None]}}


def change(folder: Path, name: str, **values) -> None:
    """Gives a JSON file of a folder other values; a file that is not there begins empty."""
    path = folder / name
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**known, **values}), encoding="utf-8")


def write_code(folder: Path) -> None:
    """Puts code into a folder under every name by which a config or a library may ask for it."""
    for name in ("file.py", "pipeline.py", "custom_generate/generate.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(CODE, encoding="utf-8")


def tokenizer(folder: Path) -> None:
    change(folder, "tokenizer_config.json", **TOKENIZER)
    change(folder, "config.json", model_type="unheard-of")


def tokenizer_beside_a_known_model(folder: Path) -> None:
    change(folder, "tokenizer_config.json", **TOKENIZER)


def tokenizer_of_old(folder: Path) -> None:
    change(folder, "tokenizer_config.json", tokenizer_class="X", auto_map=["file.X", None])
    change(folder, "config.json", model_type="unheard-of")


def config(folder: Path) -> None:
    change(folder, "config.json", model_type="foreign", architectures=["Model"], auto_map=BESIDE)


def config_elsewhere(folder: Path) -> None:
    change(folder, "config.json", model_type="foreign", architectures=["Model"], auto_map=ELSEWHERE)


def both(folder: Path) -> None:
    config_elsewhere(folder)
    change(folder, "tokenizer_config.json", **TOKENIZER)


def malformed(folder: Path) -> None:
    """What a careless program or a malicious one may write."""
    change(folder, "config.json", model_type=["foreign"], architectures=7, auto_map={"AutoConfig": ["file.Config"]})
    change(folder, "tokenizer_config.json", tokenizer_class={"X": "\x1b[2J"}, auto_map="file.X")


def harmless(folder: Path) -> None:
    """Code of its own beside each class that transformers knows, and where nobody looks for any."""
    change(
        folder, "config.json", auto_map=ELSEWHERE, custom_pipelines={"text-generation": {"impl": "pipeline.Pipe", "pt": ["X"]}}
    )
    change(folder, "tokenizer_config.json", auto_map=TOKENIZER["auto_map"])
    change(folder, "generation_config.json", auto_map=ELSEWHERE, custom_generate=OTHER, trust_remote_code=True)


def template(folder: Path) -> None:
    """A program in the template, which steps out of what a template is given."""
    run = "{{ cycler.__init__.__globals__.os.system('echo x > $MARK') }}"
    (folder / "chat_template.jinja").write_text(run, encoding="utf-8")


def processor(folder: Path) -> None:
    change(folder, "processor_config.json", processor_class="X", auto_map={"AutoProcessor": f"{OTHER}--file.X"})


def attention(folder: Path) -> None:
    """transformers takes such a name for a repository of compiled code."""
    change(folder, "config.json", _attn_implementation=OTHER)


def with_adapter(folder: Path) -> None:
    """A whole model and an adapter in one, which names a base elsewhere."""
    settings = {"base_model_name_or_path": OTHER, "peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]}
    mapping = {"base_model_class": "Model", "parent_library": "file"}
    change(folder, "adapter_config.json", **settings, auto_mapping=mapping)


def adapter(folder: Path) -> None:
    """Nothing but an adapter, whose base needs foreign code."""
    for path in list(folder.iterdir()):
        if path.name == "config.json" or path.suffix == ".safetensors":
            path.unlink()
    with_adapter(folder)


KINDS: dict[str, Callable[[Path], None]] = {
    kind.__name__: kind
    for kind in (
        *(tokenizer, tokenizer_beside_a_known_model, tokenizer_of_old, config, config_elsewhere, both, malformed),
        *(harmless, template, processor, attention, with_adapter, adapter),
    )
}


def write_hostile(base: Path, folder: Path, kind: str) -> Path:
    """A copy of the checkpoint `base` in `folder` that is hostile in one way, with code beside it."""
    shutil.copytree(base, folder)
    write_code(folder)
    KINDS[kind](folder)
    return folder
