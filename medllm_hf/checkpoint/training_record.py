"""What a training left beside its weights, as the values of a `training.json`, read without running any of it.

`medllm sft` leaves that file. `trl sft` and transformers' Trainer leave `training_args.bin`, a pickle, whose instructions are
looked at one by one here and never carried out, and in checkpoints a `trainer_state.json`.
"""

import math
import pickletools
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medllm_hf.folders import read_json

RECORD, STATE, ARGUMENTS = "training.json", "trainer_state.json", "training_args.bin"
# What each of these files says is of one training, so that none of them is copied from a base to what was made of it.
RECORDS = (RECORD, STATE, "all_results.json", "train_results.json", "eval_results.json")
# Options of TRL and of transformers that make a training what it is; none of them names a place or a secret.
HYPERPARAMETERS = (
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "warmup_ratio", "num_train_epochs", "max_steps"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "optim", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("weight_decay", "max_grad_norm", "max_length", "packing", "assistant_only_loss", "completion_only_loss"),
    *("neftune_noise_alpha", "loss_type", "beta", "bf16", "fp16", "gradient_checkpointing", "seed"),
)
# Bytes of a pickle of arguments, which has some thousands.
_LARGEST = 1 << 20
_PLAIN = (str, int, float, bool)


def training_record(folder: Path) -> dict:
    """What is known of the training of the model or adapter in `folder`; nothing where it left no file that says it.

    Raises:
        UserError: a JSON file there that is none.
    """
    if (folder / RECORD).is_file():
        return read_json(folder / RECORD)
    found: dict[str, Any] = {}
    read = []
    if settings := _settings(folder / ARGUMENTS):
        found["settings"] = settings
        read.append(ARGUMENTS)
    if (state := _state_file(folder)) and (run := _run(read_json(state))):
        found["run"] = run
        read.append(str(state.relative_to(folder)))
    return {"read_from": read, **found} if read else {}


def _state_file(folder: Path) -> Path | None:
    """The trainer's state beside the weights, or that of the last checkpoint in the folder."""
    if (folder / STATE).is_file():
        return folder / STATE
    steps = {path: re.fullmatch(r"checkpoint-([0-9]{1,12})", path.parent.name) for path in folder.glob(f"checkpoint-*/{STATE}")}
    return max((path for path, step in steps.items() if step), key=lambda path: int(path.parent.name[11:]), default=None)


def _run(state: dict) -> dict:
    """Steps, epochs and the last losses that a trainer's state tells."""
    history = state.get("log_history")
    entries = [one for one in history if isinstance(one, dict)] if isinstance(history, list) else []
    found = {"steps": state.get("global_step"), "epochs": state.get("epoch")}
    for name, key in (("last_loss", "loss"), ("last_eval_loss", "eval_loss")):
        found[name] = next((one[key] for one in reversed(entries) if key in one), None)
    return {name: value for name, value in found.items() if _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _settings(file: Path) -> dict:
    """The hyperparameters in a `training_args.bin`; nothing where there is none, or one of another kind."""
    try:
        with zipfile.ZipFile(file) as archive:
            (member,) = [one for one in archive.infolist() if one.filename.endswith("/data.pkl")]
            if member.file_size > _LARGEST:
                return {}
            values = pickled_values(archive.read(member))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile):
        return {}
    kept = {name: values.get(name) for name in HYPERPARAMETERS}
    return {
        name: value
        for name, value in kept.items()
        if isinstance(value, _PLAIN) and (not isinstance(value, float) or math.isfinite(value))
    }


class _Opaque:
    """What a pickle would make by a call; `arguments` are what it would call with."""

    def __init__(self, arguments: object = ()):
        self.arguments = arguments


_MARK = object()
_NEW: dict[str, Callable[[], Any]] = {
    **{"MARK": lambda: _MARK, "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False},
    **{"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "GLOBAL": _Opaque},
}


def pickled_values(data: bytes) -> dict:
    """The attributes of the object in a pickle, as far as they are plain values; nothing in it is called or imported.

    An enum, which is its class called with one text, is that text.

    Raises:
        ValueError, IndexError, KeyError, TypeError, AttributeError: another pickle than one of an object with attributes.

    Source: Python's pickletools, which tells what each instruction does.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for operation, argument, _ in pickletools.genops(data):
        match operation.name:
            case name if name in _NEW:
                stack.append(_NEW[name]())
            case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                memo[len(memo) if argument is None else argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "STACK_GLOBAL":
                stack[-2:] = [_Opaque()]
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                stack[-int(name[-1]) :] = [tuple(stack[-int(name[-1]) :])]
            case "TUPLE":
                stack.append(tuple(_to_mark(stack)))
            case "REDUCE" | "NEWOBJ":
                stack[-2:] = [_called(stack[-1])]
            case "BUILD":
                state = stack.pop()
                stack[-1].arguments = state
            case "SETITEM" | "SETITEMS" as name:
                items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else _to_mark(stack)
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "APPEND" | "APPENDS" as name:
                items = [stack.pop()] if name == "APPEND" else _to_mark(stack)
                stack[-1].extend(items)
            case "PROTO" | "FRAME" | "STOP":
                pass
            case name:
                if not isinstance(argument, _PLAIN):
                    raise ValueError(f"an instruction {name}")
                stack.append(argument)
    found = stack[-1].arguments
    if not isinstance(found, dict):
        raise ValueError("no object with attributes")
    return found


def _to_mark(stack: list[Any]) -> list[Any]:
    """Takes what lies above the last mark off the stack, and the mark with it."""
    start = len(stack) - 1 - stack[::-1].index(_MARK)
    items = stack[start + 1 :]
    del stack[start:]
    return items


def _called(arguments: object) -> object:
    """What stands for the value of a call: of an enum its text."""
    if isinstance(arguments, tuple) and len(arguments) == 1 and isinstance(arguments[0], str):
        return arguments[0]
    return _Opaque(arguments)
