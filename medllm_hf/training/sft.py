"""The verb `sft`: checks recipe and command strictly, then plans or trains."""

import os
import sys
import warnings
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import yaml

from medllm_hf.errors import UserError, first_line, kind_of
from medllm_hf.folders import project_file, read_text
from medllm_hf.training.option_names import counterpart

if TYPE_CHECKING:
    from trl import TrlParser

USAGE = """usage: medllm sft --config RECIPE [any option of `trl sft`] [--plan [--gpus N] [--nodes N] [--gpu_memory GB]]
                  [--dev_questions FILE] [--over_length drop_turns|refuse] [--enable_thinking true|false] [--overwrite]

The options of `trl sft` are those of `trl sft --help`.
  --plan           print parameters, steps, tokens and memory per GPU for each ZeRO stage, and exit
  --dev_questions  questions whose accuracy (eval_mcq_accuracy) is measured at every evaluation
  --over_length    drop_turns (default): a dialogue beyond max_length loses whole rounds; refuse: it is an error
  --enable_thinking  what templates with such a switch are told (default: true for dialogues that hold reasoning), and what
                   the saved template does where nobody says otherwise
  --overwrite      remove what the output folder holds, once training can begin; with --resume_from_checkpoint true only
                   where there is nothing to resume"""


@dataclass
class Additions:
    """What `medllm sft` has beside the options of `trl sft`; flags of the command, never keys of a recipe."""

    plan: bool = field(default=False, metadata={"help": "Print parameters, steps and memory per GPU, and exit."})
    gpus: int | None = field(default=None, metadata={"help": "GPUs per node for --plan; default: what this machine has."})
    nodes: int = field(default=1, metadata={"help": "Nodes for --plan."})
    gpu_memory: float | None = field(default=None, metadata={"help": "Memory of one GPU in GB (10^9 bytes) for --plan."})
    dev_questions: str | None = field(
        default=None, metadata={"help": "Question file; eval_mcq_accuracy is measured on it at every evaluation."}
    )
    over_length: Literal["drop_turns", "refuse"] = field(
        default="drop_turns", metadata={"help": "Dialogues longer than max_length lose whole rounds, or are an error."}
    )
    enable_thinking: bool | None = field(
        default=None, metadata={"help": "What a template with such a switch is told; default: whether a dialogue reasons."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Remove what the output folder holds."})


def sft(arguments: list[str]) -> None:
    """Trains as `trl sft` does with the same arguments, exactly and without padding.

    Raises:
        UserError: see `read_recipe`, `medllm_hf.training.run.train`; also a model or dataset folder that does not exist.
    """
    if not arguments or "-h" in arguments or "--help" in arguments:
        print(USAGE)
        return
    # Read at torch's first allocation. 800 MB that were given back cost 0.3 s to be had again in small pages, 0.04 s in huge.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    config = _value(arguments, "--config")
    recipe = parse_recipe(config) if config else {}
    named = {
        option: _value(arguments, f"--{option}") or recipe.get(option) for option in ("model_name_or_path", "dataset_name")
    }
    # Before the options, which need trl, that takes seconds to import.
    for option, value in named.items():
        if value and str(value).startswith((".", "/")) and not Path(value).is_dir():
            raise UserError(f"no folder {value}", f"a {option}", "check the path")
    check_keys(recipe, config or "")
    flags = [argument.split("=")[0] for argument in arguments if argument.startswith("--")]
    own = {name.name for name in fields(Additions)}
    check_options([name for flag in flags if (name := flag[2:].replace("-", "_")) not in own], "option --{}")
    for option, value in named.items():
        if not value and not (option == "dataset_name" and (recipe.get("datasets") or "--plan" in arguments)):
            raise UserError(f"no {option}", "a folder or a Hub id", f"add --{option} to the command or the recipe")
    if deepspeed := _value(arguments, "--deepspeed") or recipe.get("deepspeed"):
        arguments = [*arguments, "--deepspeed", str(_deepspeed_file(deepspeed))]
    if "--plan" in arguments:
        text, warning = _plan(arguments, recipe)
        if warning:
            print(warning, file=sys.stderr)
        print(text)
        return
    if deepspeed and "LOCAL_RANK" not in os.environ:
        found = "deepspeed in the recipe and no launcher"
        raise UserError(found, "ranks", "start it with `torchrun --nproc_per_node N -m medllm_hf sft ...`, N is 1 for one GPU")
    _run(arguments, config)


def _deepspeed_file(name: str) -> Path:
    """The DeepSpeed config that a recipe names: from here, or among the project's own recipes."""
    for path in (Path(name), project_file("recipes").parent / name):
        if path.is_file():
            return path
    raise UserError(f"no file {name}", "a DeepSpeed config", "check the path")


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
        UserError: see `parse_recipe` and `check_options`.
    """
    recipe = parse_recipe(path)
    check_keys(recipe, path)
    return recipe


def check_keys(recipe: dict, path: str) -> None:
    """Check that the installed `trl sft` has every key of the recipe at `path`.

    Raises:
        UserError: see `check_options`.
    """
    check_options([str(key) for key in recipe], f"key {{}} in {path}")


def parse_recipe(path: str) -> dict:
    """The settings of a YAML recipe, whatever their names.

    Raises:
        UserError: no such file, or not YAML.
    """
    try:
        recipe = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a number of too many digits, brackets too deep
        place = getattr(error, "problem_mark", None)
        where = f" line {place.line + 1}" if place else ""
        raise UserError(
            f"{path}{where} that is not YAML ({getattr(error, 'problem', None) or first_line(error)})",
            "a YAML recipe",
            "mend the file",
        ) from error
    if not isinstance(recipe, dict):
        raise UserError(f"{path} holding {kind_of(recipe)}", "keys and values", "mend the file")
    return recipe


def check_options(names: list[str], found: str) -> None:
    """Check that the installed `trl sft` has every option in `names`; `found` says where a wrong one stands.

    Raises:
        UserError: naming all wrong ones, each with the option that means it.
    """
    from trl.scripts.sft import make_parser

    known = {action.dest for action in make_parser()._actions} - {"help"} | {"env", "config"}
    wrong = {name: counterpart(name, known) for name in names if name not in known}
    if len(wrong) == 1:
        ((name, option),) = wrong.items()
        expected = "no such option" if option == "" else option or "an option of `trl sft`"
        raise UserError(found.format(name), expected, "remove it" if option == "" else "mend or remove it")
    if wrong:
        meant = [f"{option} for {name}" for name, option in wrong.items() if option]
        without = [name for name, option in wrong.items() if not option]
        expected = ", ".join([*meant, *([f"nothing for {', '.join(without)}"] if without else [])])
        raise UserError(found.format(", ".join(wrong)), expected, "mend or remove them")


def make_parser() -> "TrlParser":
    """The parser of `trl sft` with our `Additions`."""
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser

    stock = (ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig)
    parser = TrlParser((*stock, Additions), prog="medllm sft")  # type: ignore[arg-type]  # TRL's name for a class of data
    parser.error = _refuse  # type: ignore[method-assign]  # argparse would print and exit
    return parser


def _run(arguments: list[str], config: str | None) -> None:
    # Without a launcher, accelerate and torch choose one thread; a laptop has more.
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    from medllm_hf.training.cpu_ranks import use_cpu_ranks

    use_cpu_ranks()
    parser = make_parser()
    try:
        with warnings.catch_warnings():
            # TRL sets an option by its old name; nothing that a user could change.
            warnings.simplefilter("ignore", FutureWarning)
            script, settings, model, mixture, additions = parser.parse_args_and_config(arguments)
    except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:
        from medllm_hf.training.checks import explain

        raise explain(str(error)) from error
    from medllm_hf.training.run import train

    train(script, settings, model, mixture, additions, config)


def _plan(arguments: list[str], recipe: dict) -> tuple[str, str | None]:
    # Without making TRL's objects of the options: they refuse bf16 where there is no GPU.
    from medllm_hf.training.model_checks import check_plan
    from medllm_hf.training.plan import plan

    parser = make_parser()
    parser.add_argument("--config")
    parser.set_defaults_with_config(**{key: value for key, value in recipe.items() if key != "env"})
    options = vars(parser.parse_args(arguments))
    hardware = [options.pop(name) for name in ("gpus", "nodes", "gpu_memory")]
    options = {key: value for key, value in options.items() if value is not None}
    warning = check_plan(options)
    return plan(options, *hardware), warning


def _refuse(message: str) -> NoReturn:
    raise UserError(message, "options of `trl sft`", "see `trl sft --help`")
