"""No verb replaces what it reads, by whatever name the output folder goes."""

import argparse
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import save_file

from medllm_hf.checkpoint.convert import convert
from medllm_hf.checkpoint.merge import merge
from medllm_hf.cli import INPUTS, OUTPUTS, VERBS, build_parser
from medllm_hf.errors import UserError
from medllm_hf.folders import check_apart
from push_to_hub import main as publish

# For each verb that writes a folder: the words, in which IN is a folder that it reads, or has a file that it reads.
READERS = {
    "convert": ["convert IN OUT"],
    "merge": ["merge IN OUT", "merge other OUT --base IN"],
    "data build": ["data build IN --out OUT --license mit", "data build other --out OUT --license mit --benchmarks x=IN/file"],
    "eval mcq": [
        *("eval mcq --model IN --data other --out OUT", "eval mcq --model other --data IN/file --out OUT"),
        "eval mcq --model other --data cmexam --data-path IN --out OUT",
        "eval mcq --data x --examples IN/file --url y --out OUT",
    ],
    "eval cases": ["eval cases IN/file --writer x --out OUT", "eval cases other --writer IN --out OUT"],
    "eval consult": [
        "eval consult --cases IN/file --doctor x --patient y --out OUT",
        "eval consult --cases other --doctor IN --patient y --out OUT",
        "eval consult --cases other --doctor x --patient IN --out OUT",
        "eval consult --cases other --doctor x --patient y --judge IN --out OUT",
    ],
    "eval judge": ["eval judge --dialogues IN --judge x --out OUT", "eval judge --dialogues x --judge IN --out OUT"],
    "eval pair": [
        "eval pair --first IN/file --second x --judge y --out OUT",
        "eval pair --first x --second IN --judge y --prices IN/file --out OUT",
    ],
    "eval agree": ["eval agree other IN --out OUT", "eval agree other --labels other IN/file --out OUT"],
    "eval import": ["eval import --scores IN/file --out OUT", "eval import --scores x --dialogues IN --out OUT"],
    "report": ["report other IN --out OUT"],
}  # fmt: skip
NAMES = {
    "itself": "in",
    "dots": "in/.",
    "round about": "other/../in",
    "link": "link",
    "holds it": ".",
    "link to a holder": "up",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with an input folder, and links to it; its files by their texts."""
    here = tmp_path / "here"
    (here / "in").mkdir(parents=True)
    (here / "other").mkdir()
    (here / "in" / "file").write_text("the only original")
    (here / "link").symlink_to("in")
    (here / "up").symlink_to(".")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return here


def words(command, place, out):
    parts = [part.replace("IN", str(place / "in")).replace("other", str(place / "other")) for part in command.split()]
    return [*(f"{place}/{out}" if part == "OUT" else part for part in parts), "--overwrite"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", [command for commands in READERS.values() for command in commands])
def test_an_input_is_not_replaced(place, refused, command, name):
    assert "the input" in refused(*words(command, place, NAMES[name]))
    assert (place / "in" / "file").read_text() == "the only original"
    assert sorted(path.name for path in place.iterdir()) == ["in", "link", "other", "up"]


@pytest.mark.parametrize("verb", ["convert", "merge", "data build"])
def test_what_is_made_of_a_folder_does_not_lie_in_it(place, refused, verb):
    command = READERS[verb][0]
    assert "lies in the input" in refused(*words(command, place, "in/new"))
    assert "lies in the input" in refused(*words(command, place, "link/new"))
    assert [path.name for path in (place / "in").iterdir()] == ["file"]


def test_every_verb_that_writes_is_here():
    """And every option that may name something to read is known to the command line as such."""
    no_paths = {
        "revision",
        "split",
        "format",
        "columns",
        "roles",
        "encoding",
        "mode",
        "license",
        "url",
        "turns",
        "device",
        "doctor_system",
        "patient_style",
        *(f"{who}{name}" for who in ("", "doctor_", "patient_", "judge_") for name in ("key_env", "extra_body")),
    }
    writers = set()
    for name, verb in VERBS.items():
        if name == "sft":
            continue
        parser = build_parser(name)
        texts = {
            action.dest
            for action in parser._actions
            if action.type is None and not action.choices and action.nargs != 0 and not isinstance(action, argparse._HelpAction)
        }
        if OUTPUTS & texts:
            assert texts <= INPUTS | OUTPUTS | no_paths, name
            writers |= {name} if INPUTS & texts else set()
        assert verb
    assert writers == set(READERS)


def test_publishing_replaces_no_input(place, capsys):
    words = ["model", str(place / "in"), "--repo-id", "a/b", "--license", "mit", "--overwrite", "--out"]
    adapter, runs = ["--adapter", "--base-model", "c/d"], ["--eval-run", str(place / "other")]
    for more in (["link"], ["link", *adapter], ["other", *runs], ["in/new"]):
        assert publish([*words, str(place / more[0]), *more[1:]]) == 2
        assert "the input" in capsys.readouterr().err
    assert (place / "in" / "file").exists()


def test_the_base_that_an_adapter_names_is_not_replaced(tiny, tmp_path):
    """Nor where only the weights are elsewhere, by links, as in the cache of the Hub."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(tiny["base"], base)
    adapter.mkdir()
    settings = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "base_model_name_or_path": str(base)}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    save_file({"base_model.model.model.norm.weight": torch.ones(64)}, adapter / "adapter_model.safetensors")
    for out in (base, adapter, base / "new", tmp_path):
        with pytest.raises(UserError, match="the input"):
            merge(str(adapter), str(out), overwrite=True)
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in base.iterdir():
        (linked / file.name).symlink_to(file)
    with pytest.raises(UserError, match="the input"):
        merge(str(adapter), str(base), base=str(linked), overwrite=True)
    source = tmp_path / "source"
    source.mkdir()
    for file in tiny["source"].iterdir():
        (source / file.name).symlink_to(file)
    with pytest.raises(UserError, match="the input"):
        convert(str(source), str(tiny["source"]), overwrite=True)
    assert (base / "model.safetensors").exists()


def test_a_folder_of_another_name_is_free(place):
    check_apart(place / "new", [place / "in", place / "in" / "file", "no/such", None, "", "x" * 5000])
    check_apart(place / "in2", [place / "in"])
    check_apart(place / "in" / "report", [place / "in"], inside=True)
    with pytest.raises(UserError, match="lies in"):
        check_apart(place / "in" / "report", [place / "in"])


def test_a_second_name_of_the_same_folder_is_found(place):
    """Bound under another name, which links do not tell."""
    bound = place / "bound"
    bound.mkdir()
    if os.system(f"mount --bind {place}/in {bound} 2>/dev/null"):
        pytest.skip("this user cannot mount")
    try:
        with pytest.raises(UserError, match="the input"):
            check_apart(bound, [place / "in"])
    finally:
        os.system(f"umount {bound}")


def test_a_report_may_lie_in_its_run(refused, place):
    """What is refused then is the run, which is none."""
    assert "manifest.json" in refused("report", str(place / "in"), "--out", str(place / "in" / "report"))
