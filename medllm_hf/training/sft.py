"""The verb `sft`: checks a recipe strictly, then runs TRL's own SFT script with it."""

import difflib
import os
from pathlib import Path
from typing import NoReturn

import yaml

from medllm_hf.errors import UserError


def sft(arguments: list[str]) -> None:
    """Trains as `trl sft` does with the same arguments, after checking the recipe that `--config` names.

    Raises:
        UserError: see `read_recipe`; also a model or dataset folder that does not exist.
    """
    config = _value(arguments, "--config")
    help_wanted = not arguments or "-h" in arguments or "--help" in arguments
    if help_wanted:
        print("usage: medllm sft --config RECIPE [--any_trl_option VALUE ...]\n\nThe options are those of `trl sft --help`.")
        return
    recipe = read_recipe(config) if config else {}
    flags = [argument.split("=")[0] for argument in arguments if argument.startswith("--")]
    check_options([flag[2:].replace("-", "_") for flag in flags], "option --{}")
    for option in ("model_name_or_path", "dataset_name"):
        value = _value(arguments, f"--{option}") or recipe.get(option)
        if not value:
            raise UserError(f"no {option}", "a folder or a Hub id", f"add --{option} to the command or the recipe")
        if str(value).startswith((".", "/")) and not Path(value).is_dir():
            raise UserError(f"no folder {value}", f"a {option}", "check the path")
    _run(arguments)


def _value(arguments: list[str], option: str) -> str | None:
    for i, argument in enumerate(arguments):
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(option + "="):
            return argument.split("=", 1)[1]
    return None


def read_recipe(path: str) -> dict:
    """The settings of a YAML recipe, each one known to the installed TRL.

    Raises:
        UserError: no such file, not YAML, or a key that `trl sft` does not have (the nearest one is named).
    """
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"no readable file {path}", "a YAML recipe", "check the path") from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" line {place.line + 1}" if place else ""
        raise UserError(
            f"{path}{where} that is not YAML ({getattr(error, 'problem', error)})", "a YAML recipe", "mend the file"
        ) from error
    if not isinstance(recipe, dict):
        raise UserError(f"{path} holding a {type(recipe).__name__}", "keys and values", "mend the file")
    check_options([str(key) for key in recipe], f"key {{}} in {path}")
    return recipe


def check_options(names: list[str], found: str) -> None:
    """Returns nothing when the installed `trl sft` has every option in `names`; `found` says where a wrong one stands.

    Raises:
        UserError: naming the nearest option.
    """
    from trl.scripts.sft import make_parser

    known = {action.dest for action in make_parser()._actions} - {"help"} | {"env", "config"}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UserError(found.format(name), near[0] if near else "an option of `trl sft`", "mend or remove it")


def _run(arguments: list[str]) -> None:
    # Without a launcher, accelerate and torch choose one thread; a laptop has more.
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    from trl.scripts import sft as script

    parser = script.make_parser(prog="medllm sft")
    parser.error = _refuse
    try:
        parsed = parser.parse_args_and_config(arguments)
    except ValueError as error:
        _refuse(str(error))
    script.main(*parsed)


def _refuse(message: str) -> NoReturn:
    raise UserError(message, "options of `trl sft`", "see `trl sft --help`")
