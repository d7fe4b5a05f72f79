"""`medllm <verb>`: parses the arguments, imports only the verb that was asked for, and turns errors into exit codes."""

import argparse
import atexit
import gc
import importlib
import os
import select
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from medllm_hf import __version__, flags
from medllm_hf.errors import OneLineParser, UserError, show_any_name, unreadable
from medllm_hf.folders import check_apart, check_free


@dataclass(frozen=True)
class Verb:
    """One verb.

    Attributes:
        target: "module:function"; the function takes the parsed arguments by name and may return an exit code.
        checkpoints: the arguments that name a checkpoint, looked for, once `dst` is known to be free, before torch is imported.
    """

    target: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    checkpoints: tuple[str, ...] = ()


VERBS = {
    "demo": Verb("demo:demo", "the whole journey on the bundled sample, on a CPU, offline", flags.demo),
    "tiny-base": Verb(
        "checkpoint.commands.tiny_base:tiny_base", "a small random checkpoint in Baichuan2's own layout", flags.tiny_base
    ),
    "convert": Verb(
        "checkpoint.commands.convert:convert", "Baichuan 7B checkpoint → Llama layout, no remote code", flags.convert, ("src",)
    ),
    "merge": Verb("checkpoint.commands.merge:merge", "LoRA adapter + base → full weights", flags.merge, ("adapter", "base")),
    "data check": Verb(
        "data.commands.check:check", "report which dialogues can be used; exit 1 if any cannot", flags.data_check
    ),
    "data build": Verb(
        "data.commands.build:build", "dialogue files → dataset folder for load_dataset and trl sft", flags.data_build
    ),
    "sft": Verb(
        "training.sft:sft", "train by a recipe, as `trl sft --config` does, after checking it strictly", lambda parser: None
    ),
    "eval mcq": Verb("evaluation.commands.mcq:mcq", "accuracy on multiple-choice questions", flags.eval_mcq),
    "eval cases": Verb(
        "evaluation.commands.cases:cases", "facts and checklists of cases, in a file to read and edit", flags.eval_cases
    ),
    "eval consult": Verb(
        "evaluation.commands.consult:consult",
        "simulated patients consult a model: dialogues, checks; exit 1 without a headline",
        flags.eval_consult,
    ),
    "eval judge": Verb(
        "evaluation.commands.judge:judge", "a judge model's scores of dialogues; exit 1 without a headline", flags.eval_judge
    ),
    "eval pair": Verb(
        "evaluation.commands.pair:pair",
        "a judge's preference between two systems, in both orders; exit 1 without a headline",
        flags.eval_pair,
    ),
    "eval agree": Verb(
        "evaluation.commands.agree:agree", "how far judges agree with human labels and each other", flags.eval_agree
    ),
    "eval import": Verb("evaluation.commands.import_scores:import_scores", "published scores → run folder", flags.eval_import),
    "report": Verb(
        "evaluation.commands.report:report", "run folders → tables, plots, a page to browse, results.json", flags.report
    ),
    "verify": Verb(
        "hub.commands.verify:verify", "do every figure of a published model again from its raw outputs", flags.verify
    ),
    "push": Verb("hub.commands.push:push", "a model with its evidence, a dataset or a metric → the Hub", lambda parser: None),
    "chat": Verb("chat.terminal:chat", "talk to a model in the terminal", flags.chat),
    "web": Verb("chat.web.start:web", "talk to a model on a page in the browser", flags.web),
}
# `sft` hands all its arguments to TRL's own parser, `push` to that of the script of that name.
OWN_PARSER = ("sft", "push")
# Of these a run that was cut off is gone on with.
RESUMABLE = ("eval mcq", "eval cases", "eval consult", "eval judge", "eval pair")
# The arguments that may name a file or folder which a verb reads, and those which it writes to.
INPUTS = {
    *("src", "adapter", "base", "inputs", "benchmarks", "data", "data_path", "examples", "model", "cases", "doctor", "patient"),
    *(
        "judge",
        "writer",
        "dialogues",
        "first",
        "second",
        "runs",
        "labels",
        "answers",
        "calibrate",
        "scores",
        "prices",
        "repository",
    ),
}
OUTPUTS = {"out", "dst"}


def overview(group: str = "") -> str:
    """The text of `medllm --help`, or of the verbs that begin with `group`; "" where none does."""
    lines = [f"  {name:<14}{verb.help}" for name, verb in VERBS.items() if name.startswith(group)]
    if not lines:
        return ""
    return "\n".join(["usage: medllm VERB [options]      medllm VERB --help      medllm --version", "", *lines])


def find_verb(arguments: list[str]) -> tuple[str, list[str]]:
    """The verb, of one or two words, that `arguments` begin with, and the rest.

    Raises:
        UserError: no such verb.
    """
    for words in (2, 1):
        if (name := " ".join(arguments[:words])) in VERBS:
            return name, arguments[words:]
    group = [name for name in VERBS if name.startswith(f"{arguments[0]} ")]
    asked = " ".join(arguments[:2]) if group else arguments[0]
    near = get_close_matches(asked, group or VERBS, 1)
    do = f"did you mean `medllm {near[0]}`" if near else "see `medllm --help`"
    raise UserError(f"verb {asked!r}", ", ".join(group or VERBS), do)


def build_parser(name: str) -> OneLineParser:
    """The parser of one verb."""
    parser = OneLineParser(prog=f"medllm {name}", description=VERBS[name].help)
    VERBS[name].arguments(parser)
    return parser


def run(name: str, rest: list[str]) -> int:
    """Runs one verb; returns its exit code."""
    verb = VERBS[name]
    options: dict = {"arguments": rest}
    if name not in OWN_PARSER:
        options = vars(build_parser(name).parse_args(rest))
        check_paths(options)
        if verb.checkpoints:
            check_free(options["dst"], options["overwrite"])
            check_checkpoints([options[key] for key in verb.checkpoints if options[key]])
    from medllm_hf.tested_versions import watch

    watch()
    module, function = verb.target.split(":")
    return getattr(importlib.import_module(f"medllm_hf.{module}"), function)(**options) or 0


def check_checkpoints(names: list[str]) -> None:
    """Check that each name is a folder or may be one of the Hub.

    Raises:
        UserError: see `check_name`.
    """
    from medllm_hf.pretrained import check_name

    for name in names:
        if not Path(name).is_dir():
            check_name(name)


def check_paths(options: dict) -> None:
    """Check that no path is empty, and that a verb with these options would not replace what it reads.

    A run folder that is gone on with stays.

    Raises:
        UserError: an empty path, as of a variable without a value, which would stand for the current folder; see `check_apart`.
    """
    named = {key: options[key] if isinstance(options[key], list) else [options[key]] for key in INPUTS & set(options)}
    inputs = [one for values in named.values() for one in values]
    outputs = {key: options[key] for key in OUTPUTS & set(options)}
    if empty := [key for key, values in {**named, **{key: [out] for key, out in outputs.items()}}.items() if "" in values]:
        raise UserError(f"an empty name for {min(empty)}", "a path or an id", "check what the shell puts there")
    for out in outputs.values():
        if options.get("overwrite") or not (Path(out) / "manifest.json").is_file():
            check_apart(out, inputs, inside=True)


def nobody_reads() -> bool:
    """Whether what is printed goes to a pipe whose reader has gone, as with `| head`; what is left goes nowhere then."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if gone:  # the interpreter would complain when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 a failure, 2 the user's mistake (one line on stderr)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    show_any_name()
    # Searching torch and transformers for garbage takes a second of CPU when the process, which gives all back, ends.
    atexit.register(gc.freeze)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0
    if arguments[1:] in (["-h"], ["--help"]) and (group := overview(f"{arguments[0]} ")):
        print(group)
        return 0
    if arguments[0] == "--version":
        print(f"medllm {__version__}")
        return 0
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        code = run(*find_verb(arguments))
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"medllm: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not nobody_reads():
            raise
        return 1
    except OSError as error:
        if error.filename is None:  # no file or folder is at fault
            raise
        print(f"medllm: {unreadable(error)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("medllm_hf"):
            raise
        print(
            f"medllm: found no package {error.name}; expected the extras; pip install 'medllm_hf[train,eval]'", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        kept = "; what is done is kept, the same command goes on" if " ".join(arguments[:2]) in RESUMABLE else ""
        print(f"medllm: interrupted{kept}", file=sys.stderr)
        return 1
