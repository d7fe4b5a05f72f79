"""Arguments that several verbs have, and an option for a field of a room's settings."""

import argparse
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from medllm_hf.flag_types import real, seed, true_or_false, whole

Parser = argparse.ArgumentParser


def add_output(parser: Parser) -> None:
    """Adds what a verb with an output folder takes."""
    parser.add_argument("--overwrite", action="store_true", help="replace what the output folder holds")


def add_spending(parser: Parser) -> None:
    """Adds what a verb takes that asks endpoints for money."""
    prices = 'what a million tokens of each model cost: {"currency": "USD", "models": {"NAME": {"input": 1.5, "output": 6}}}'
    parser.add_argument("--prices", metavar="FILE", help=prices)
    most = "the most that the run folder may cost, by --prices; the run stops before"
    parser.add_argument("--budget", type=real, metavar="AMOUNT", help=most)
    parser.add_argument("--dry-run", action="store_true", help="print what it would cost; nothing is sent or written")


def add_setting(
    parser: Parser, settings: type, name: str, *, option: str = "", alias: str = "", help: str | None = None, metavar: str = ""
) -> None:
    """Adds the option for a field of a dataclass, with its type, its choices and its default.

    Args:
        option: where it is not `--` and the name of the field. `alias` is what another tool calls it.
        help: `%(default)g` and `%(default)s` stand for the default.
    """
    hint = get_type_hints(settings)[name]
    alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    (kind,) = [one for one in alternatives if one is not NoneType]
    words: dict[str, Any] = {"dest": name, "default": getattr(settings, name), "help": help}
    if get_origin(kind) is Literal:
        words["choices"] = list(get_args(kind))
    elif kind is not str:
        words["type"] = seed if name == "seed" else {int: whole, float: real}[kind]
    if metavar:
        words["metavar"] = metavar
    parser.add_argument(option or f"--{name.replace('_', '-')}", *filter(None, [alias]), **words)


def add_thinking(parser: Parser, role: str = "", who: str = "the model", told: str = "the template's own") -> None:
    """Adds whether a model thinks before it answers."""
    parser.add_argument(
        f"--{role}enable-thinking", type=true_or_false, metavar="true|false",
        help=f"whether {who} thinks before it answers, where its chat template reads this (default: {told})",
    )  # fmt: skip


def add_extra_body(parser: Parser, role: str = "", who: str = "an endpoint") -> None:
    """Adds more fields of the requests to an endpoint."""
    from medllm_hf.endpoints.extra_body import EXAMPLE

    example = EXAMPLE.replace("%", "%%")
    parser.add_argument(f"--{role}extra-body", metavar="JSON", help=f"more fields of each request to {who}, such as {example}")


def add_personal_data(parser: Parser, what: str) -> None:
    """Adds the consent to send personal data away."""
    words = f"send {what} that hold personal data to endpoints beyond this machine"
    parser.add_argument("--allow-personal-data", action="store_true", help=words)


def add_placement(parser: Parser) -> None:
    """Adds device, precision and quantization of a local model."""
    from medllm_hf.placement import DTYPE, DTYPES, QUANTIZATIONS

    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    parser.add_argument("--dtype", choices=list(DTYPES), default=DTYPE, help="auto keeps the weights'")
    parser.add_argument("--quantization", choices=list(QUANTIZATIONS), help="on a GPU, with bitsandbytes")
