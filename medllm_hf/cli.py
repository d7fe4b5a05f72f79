"""`medllm <verb>`: parses the arguments, imports only the verb that was asked for, and turns errors into exit codes."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from medllm_hf import __version__
from medllm_hf.errors import OneLineParser, UserError

Parser = argparse.ArgumentParser


def _output(parser: Parser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace what the output folder holds")


def _tiny_base(parser: Parser) -> None:
    parser.add_argument("dst", metavar="DIR", help="folder to write")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256, help="width; 4096 is the 7B's")
    parser.add_argument("--vocab", type=int, default=4000, help="tokens; 125696 is Baichuan2's")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--seed", type=int, default=42)
    _output(parser)


def _convert(parser: Parser) -> None:
    parser.add_argument("src", metavar="SRC", help="checkpoint folder or Hub id")
    parser.add_argument("dst", metavar="DST", help="folder to write")
    parser.add_argument("--template", choices=["medllm", "baichuan2"], default="medllm", help="chat template to stamp in")
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16", "float16"], default="auto", help="auto keeps the source's"
    )
    parser.add_argument("--revision", help="branch, tag or commit of a Hub repository")
    _output(parser)


def _merge(parser: Parser) -> None:
    parser.add_argument("adapter", metavar="ADAPTER", help="LoRA adapter folder")
    parser.add_argument("dst", metavar="DST", help="folder to write")
    parser.add_argument("--base", help="base checkpoint; default: the one that the adapter names")
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16", "float16"], default="auto", help="auto keeps the base's"
    )
    _output(parser)


def _data_inputs(parser: Parser) -> None:
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+",
        help="files (.json, .jsonl, .csv, each also .gz, .parquet), folders, globs or Hub datasets ORG/NAME",
    )  # fmt: skip
    parser.add_argument(
        "--format", default="auto", help="auto (default), disc, firefly, sharegpt, messages, alpaca, huatuo or mcq"
    )
    parser.add_argument("--revision", help="branch, tag or commit of the Hub datasets")
    parser.add_argument(
        "--on-trailing-user", dest="trailing_user", choices=["cut", "drop", "fail"], default="cut",
        help="a last user turn without an answer: cut it (default), drop the dialogue, or stop",
    )  # fmt: skip
    parser.add_argument(
        "--on-bad-row", dest="bad_row", choices=["drop", "fail"], default="drop",
        help="a row that cannot be used: drop it (default), or stop",
    )  # fmt: skip


def _data_check(parser: Parser) -> None:
    _data_inputs(parser)
    parser.add_argument("--list", dest="list_file", metavar="FILE", help="write every problem to FILE as JSON lines")


def _data_build(parser: Parser) -> None:
    _data_inputs(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="dataset folder to write")
    parser.add_argument("--license", help="licence id for the card, such as apache-2.0; there is no default")
    parser.add_argument(
        "--near-duplicates", choices=["group", "drop", "off"], default="group",
        help="keep near-duplicates in one split (default), keep one of them, or do not look for them",
    )  # fmt: skip
    parser.add_argument(
        "--benchmarks", nargs="+", default=[], metavar="QUESTIONS",
        help="held-out questions to look for: files, names such as cmexam, or NAME=PATH of its published files",
    )  # fmt: skip
    parser.add_argument(
        "--on-personal-data", choices=["mask", "drop", "refuse"], default="mask",
        help="mask phone numbers, ids, links (default), drop the dialogue, or stop",
    )  # fmt: skip
    parser.add_argument(
        "--on-overlap", choices=["drop", "keep", "refuse"], default="drop",
        help="a dialogue that holds a held-out question: drop it (default), keep it, or stop",
    )  # fmt: skip
    parser.add_argument("--test-fraction", type=float, default=0.05, help="share of the dialogues in the test split")
    parser.add_argument("--seed", type=int, default=42)
    _output(parser)


def _eval_mcq(parser: Parser) -> None:
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--model", metavar="M", help="checkpoint folder or Hub id")
    who.add_argument("--url", metavar="URL#MODEL", help="a model behind an OpenAI-compatible endpoint")
    parser.add_argument("--data", required=True, metavar="FILE_OR_BENCHMARK", help="question file, or a name such as cmexam")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write, or to go on with")
    parser.add_argument("--data-path", metavar="PATH", help="a benchmark's published files; default: its copy on the Hub")
    parser.add_argument("--split", help="split of a benchmark (default: test)")
    parser.add_argument(
        "--mode", choices=["likelihood", "generate"],
        help="compare the probabilities of all answers (default with --model), or read what the model writes (with --url)",
    )  # fmt: skip
    parser.add_argument(
        "--score", choices=["letter", "text"], default="letter",
        help="compare the letters with the options shown (default), or the texts of the answers without them",
    )  # fmt: skip
    parser.add_argument(
        "--normalization", choices=["none", "tokens", "bytes"], default="none",
        help="what an answer's log-probability is divided by (default: nothing)",
    )  # fmt: skip
    parser.add_argument("--shots", type=int, default=0, metavar="N", help="solved examples before each question (default: 0)")
    parser.add_argument("--examples", metavar="FILE", help="where they come from; default: the benchmark's dev split")
    parser.add_argument("--seed", type=int, default=0, help="of examples and orders of options (default: 0)")
    parser.add_argument("--shuffle-options", action="store_true", help="show each question's options in an order of its own")
    parser.add_argument("--circular", action="store_true", help="ask with every rotation of the options; right if all are")
    parser.add_argument(
        "--no-chat-template", dest="chat_template", action="store_false", help="plain text in place of chat turns"
    )
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="of a written reply (default: 256)")
    parser.add_argument("--concurrency", type=int, metavar="N", help="requests at once to the endpoint (default: 8)")
    parser.add_argument(
        "--key-env", metavar="VAR", help="environment variable with the endpoint's key (default: OPENAI_API_KEY)"
    )
    parser.add_argument("--batch-tokens", type=int, metavar="N", help="tokens in one forward (default: 8192)")
    _output(parser)


def _report(parser: Parser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders, in the order of the table")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    _output(parser)


def _chat(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="checkpoint folder or Hub id")
    parser.add_argument("--seed", type=int, help="makes sampled answers repeat")


def _demo(parser: Parser) -> None:
    parser.add_argument("--out", default="medllm-demo", metavar="DIR", help="folder to write (default: medllm-demo)")
    _output(parser)


@dataclass(frozen=True)
class Verb:
    """`target` is "module:function"; the function takes the parsed arguments by name and may return an exit code."""

    target: str
    help: str
    arguments: Callable[[Parser], None]


VERBS = {
    "demo": Verb("demo:demo", "the whole journey on the bundled sample, on a CPU, offline", _demo),
    "tiny-base": Verb("checkpoint.tiny:tiny_base", "a small random checkpoint in Baichuan2's own layout", _tiny_base),
    "convert": Verb("checkpoint.convert:convert", "Baichuan 7B checkpoint → Llama layout, no remote code", _convert),
    "merge": Verb("checkpoint.merge:merge", "LoRA adapter + base → full weights", _merge),
    "data check": Verb("data.check:check", "report which dialogues can be used; exit 1 if any cannot", _data_check),
    "data build": Verb("data.build:build", "dialogue files → dataset folder for load_dataset and trl sft", _data_build),
    "sft": Verb(
        "training.sft:sft", "train by a recipe, as `trl sft --config` does, after checking it strictly", lambda parser: None
    ),
    "eval mcq": Verb("evaluation.mcq:mcq", "accuracy on multiple-choice questions", _eval_mcq),
    "report": Verb("evaluation.report:report", "run folders → Markdown, plot, results.json", _report),
    "chat": Verb("chat.terminal:chat", "talk to a model in the terminal", _chat),
}
# `sft` hands all its arguments to TRL's own parser.
OWN_PARSER = ("sft",)


def overview() -> str:
    """The text of `medllm --help`."""
    lines = [f"  {name:<12}{verb.help}" for name, verb in VERBS.items()]
    return "\n".join(["usage: medllm VERB [options]      medllm VERB --help      medllm --version", "", *lines])


def find_verb(arguments: list[str]) -> tuple[str, list[str]]:
    """The verb, of one or two words, that `arguments` begin with, and the rest.

    Raises:
        UserError: no such verb.
    """
    for words in (2, 1):
        if (name := " ".join(arguments[:words])) in VERBS:
            return name, arguments[words:]
    raise UserError(f"verb {arguments[0]!r}", ", ".join(VERBS), "see `medllm --help`")


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
    module, function = verb.target.split(":")
    return getattr(importlib.import_module(f"medllm_hf.{module}"), function)(**options) or 0


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 a failure, 2 the user's mistake (one line on stderr)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"medllm {__version__}")
        return 0
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        return run(*find_verb(arguments))
    except UserError as error:
        print(f"medllm: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("medllm_hf"):
            raise
        print(
            f"medllm: found no package {error.name}; expected the extras; pip install 'medllm_hf[train,eval]'", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print("medllm: interrupted", file=sys.stderr)
        return 1
