"""The commands that recipes/ shows, and a check of each by the parsers of the programs that it names."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

from support.paths import ROOT
from trl.scripts.sft import make_parser

from medllm_hf.cli import build_parser, find_verb
from medllm_hf.training.sft import Additions

PROGRAMS = ("medllm", "trl", "torchrun", "accelerate", "deepspeed")
HEADER_COMMAND = re.compile(r"^#(?: (?:Prepare|Launch):)? +((?:" + "|".join(PROGRAMS) + r") .*)$", re.M)


def commands() -> list[str]:
    """The commands in the headers of the recipes and in multi_node.md, its sbatch file included."""
    shown = []
    for path in sorted((ROOT / "recipes").glob("*/*.yaml")):
        shown += HEADER_COMMAND.findall(path.read_text(encoding="utf-8"))
    page = (ROOT / "recipes" / "multi_node.md").read_text(encoding="utf-8")
    for language, block in re.findall(r"```(bash|sbatch)\n(.*?)```", page, re.S):
        lines = block.replace("\\\n", " ").splitlines()
        shown += lines if language == "bash" else [line.removeprefix("srun ") for line in lines if line.startswith("srun ")]
    return shown


def check_command(command: str) -> None:
    """Check that every option of a command is known to its launcher and to what it launches.

    Raises:
        AssertionError, SystemExit, ValueError: one is not.
    """
    words = shlex.split(command)
    words = ["2" if word == "$SLURM_NNODES" else word for word in words]
    if words[0] == "medllm":
        check_medllm(words[1:])
    elif words[0] == "trl":
        check_trl(words[1:])
    elif words[0] == "torchrun":
        from torch.distributed.run import get_args_parser

        given = get_args_parser().parse_args(words[1:])
        check_module(given.module, given.training_script, given.training_script_args)
    elif words[:2] == ["accelerate", "launch"]:
        from accelerate.commands.launch import launch_command_parser

        given = launch_command_parser().parse_args(words[2:])
        assert (ROOT / given.config_file).exists()
        check_module(given.module, given.training_script, given.training_script_args)
    elif words[0] == "deepspeed":
        from deepspeed.launcher.runner import parse_args

        given = parse_args(words[1:])
        assert given.no_local_rank == (given.user_script == "medllm_hf"), "the verb must come first"
        check_module(given.module, given.user_script, given.user_args)
    else:
        raise AssertionError(f"no check for {command}")


def check_module(module: bool, name: str, arguments: list[str]) -> None:
    """Check that a launcher's module and its arguments are sound."""
    assert module
    if name == "trl.scripts.sft":
        check_trl(["sft", *arguments])
    else:
        assert name == "medllm_hf"
        check_medllm(arguments)


def check_medllm(words: list[str]) -> None:
    """Check that `medllm` takes these words."""
    name, rest = find_verb(words)
    if name != "sft":
        build_parser(name).parse_args(rest)
        return
    own = {f"--{field.name}" for field in fields(Additions)}
    stock = []
    while rest:
        word = rest.pop(0)
        if word not in own:
            stock.append(word)
        elif rest and not rest[0].startswith("--"):
            rest.pop(0)
    check_trl(["sft", *stock])


def check_trl(words: list[str]) -> None:
    """Check that `trl sft` takes these words; what is left for accelerate's launcher is checked with it."""
    from accelerate.commands.launch import launch_command_parser
    from trl.cli.accelerate_config import resolve_accelerate_config_argument

    assert words[0] == "sft"
    recipe = words[words.index("--config") + 1]
    assert Path(ROOT / recipe).exists()
    given = [*words[1:], "--use_cpu", "true"] + ([] if "tiny" not in recipe else ["--dataset_name", "d"])
    *_, of_recipe, of_command = make_parser().parse_args_and_config(
        given, return_remaining_strings=True, separate_remaining_strings=True
    )
    assert of_recipe == []
    launch_command_parser().parse_args([*resolve_accelerate_config_argument(of_command), "script.py"])
