"""What the files beside the weights say that no run shows: code by its name, claims, and values that no model has."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from medllm_hf.errors import UserError, first_line
from medllm_hf.evaluation.verification.findings import DECLARED, DIFFERENT, UNEXAMINED, Finding
from medllm_hf.folders import read_json
from medllm_hf.hub.card_facts import stored_numbers
from medllm_hf.hub.claims import claim

FILES = (
    *("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.json"),
    *("processor_config.json", "preprocessor_config.json"),
)
# Keys by which transformers and diffusers are told of code that comes with a model or from another repository.
_CODE = ("auto_map", "custom_generate", "custom_pipelines", "custom_pipeline")
# Settings of generation that put words into an answer or keep them out.
_STEERING = (
    *("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "force_words_ids", "forced_bos_token_id"),
    *("forced_eos_token_id", "forced_decoder_ids", "sequence_bias", "constraints", "exponential_decay_length_penalty"),
)
# Numbers of a config that the card is computed from, by the names that different families give them.
_COUNTS = (
    *("num_hidden_layers", "n_layer", "n_layers", "hidden_size", "n_embd", "d_model", "num_attention_heads", "n_head"),
    *("num_key_value_heads", "head_dim", "max_position_embeddings", "n_positions", "vocab_size"),
)
_MOST = 1 << 40
# Names of other models and files, with versions in them, and lists of tokens and templates: no claims.
_NAMES = ("_name_or_path", "name_or_path", "added_tokens_decoder", "chat_template", "transformers_version")
_FLOATING = re.compile(r"B?F\d+")


def behaviour_findings(folder: Path, stored: Mapping[str, int] | None = None) -> Iterator[Finding]:
    """Yields a finding for each thing in these files of a model that its reader ought to know.

    Args:
        stored: how many numbers of each type the weights have, see `stored_numbers`; None where the weights lie in `folder`.
    """
    for name in FILES:
        if not (folder / name).exists():
            continue
        try:
            values = read_json(folder / name)
        except UserError as error:
            yield Finding(name, DIFFERENT, f"cannot be read: {first_line(error)}")
            continue
        leaves = list(_leaves(values))
        if code := sorted({key for place, value in leaves for key in _CODE if value and key in place.split(".")}):
            yield Finding(name, UNEXAMINED, f"names code of its own ({', '.join(code)})", alarm=True)
        if steering := [key for key in _STEERING if values.get(key)]:
            yield Finding(f"{name} {', '.join(steering)}", DECLARED, "puts words into answers or keeps them out")
        for place, value in leaves:
            if not set(place.split(".")) & {*_NAMES, *_CODE} and (said := _claim(place, value)):
                told = json.dumps(value, ensure_ascii=False)
                yield Finding(f"{name} {place[:80]}", DECLARED, f"{said}, or what may be read as one: {told}")
        if name == "config.json":
            yield from _config_findings(folder, values, stored)


def check_behaviour(folder: Path) -> None:
    """Check that these files of a model have nothing for which a verification would fail.

    Raises:
        UserError: the first that they have.
    """
    for one in behaviour_findings(folder):
        if not one.passes:
            raise UserError(
                f"{one.figure}: {one.why}",
                "a model that needs no code of its own, with values that models have",
                "take that key out or mend it",
            )


def _config_findings(folder: Path, values: Mapping, stored: Mapping[str, int] | None) -> Iterator[Finding]:
    inner = values.get("text_config") or values
    if not isinstance(inner, dict):
        yield Finding("config.json text_config", DIFFERENT, "not an object")
        return
    for key in _COUNTS:
        value = inner.get(key)
        if value is not None and not (type(value) is int and 0 < value < _MOST):
            yield Finding(f"config.json {key}", DIFFERENT, f"{str(value)[:40]}, which is no number of them")
    kinds = inner.get("layer_types")
    if kinds is not None and not (isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds)):
        yield Finding("config.json layer_types", DIFFERENT, "not a list of names")
    if values.get("quantization_config") or inner.get("quantization_config"):
        try:
            types = stored if stored is not None else stored_numbers(folder)
        except UserError:  # told of the weights
            return
        if all(_FLOATING.fullmatch(kind) for kind in types):
            found = f"over weights in {', '.join(sorted(types))}, which are not quantised: they would answer otherwise"
            yield Finding("config.json quantization_config", DIFFERENT, found)


def _leaves(values: Mapping) -> Iterator[tuple[str, object]]:
    """ "KEY.KEY" → the value there, of each value in an object that is no object or list."""
    left: list[tuple[str, object]] = [(str(key), value) for key, value in reversed(list(values.items()))]
    while left:
        place, value = left.pop()
        if isinstance(value, dict):
            left += [(f"{place}.{key}", one) for key, one in reversed(list(value.items()))]
        elif isinstance(value, list):
            left += [(place, one) for one in reversed(value)]
        else:
            yield place, value


def _claim(place: str, value: object) -> str | None:
    """What a value claims; of a number its name alone decides."""
    name = re.sub(r"[_.-]", " ", place)
    if isinstance(value, str):
        return claim(f"{name}: {value}")
    return claim(f"{name}: 1") if value else None
