"""The values of a generation_config.json that writing an answer can take, told before the weights are loaded."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from medllm_hf.errors import UserError

_Test = Callable[[object], bool]


def _number(test: Callable[[float], bool]) -> _Test:
    """Of a number, `test`; nothing else passes but an absent value."""
    return lambda value: value is None or (isinstance(value, int | float) and not isinstance(value, bool) and test(value))


def _whole(test: Callable[[int], bool]) -> _Test:
    return lambda value: value is None or (isinstance(value, int) and not isinstance(value, bool) and test(value))


def _off(*harmless: object) -> _Test:
    return lambda value: value in (None, False, *harmless)


def _texts(value: object) -> bool:
    return value is None or (bool(value) and all(isinstance(one, str) and one for one in _listed(value)))


def _listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


_ID = (_whole(lambda value: True), "the id of a token")
_ONE = "1, since answers are written token by token"
_NONE = "none, since answers are written token by token"
# What transformers stops at when it loads a model, whether or not anything is written.
AT_LOADING = ("pad_token_id", "bos_token_id", "max_new_tokens")
ENDS = ("eos_token_id",)
# Of these transformers takes floats alone.
PENALTIES = ("repetition_penalty", "encoder_repetition_penalty")
# Field → what its value has to pass, and what is told that it should be.
SETTINGS: Mapping[str, tuple[_Test, str]] = {
    "do_sample": (lambda value: value in (None, True, False), "true or false"),
    "temperature": (_number(lambda value: 0 <= value < float("inf")), "a number of 0 or more"),
    "top_k": (_whole(lambda value: value >= 0), "a whole number of 0 or more"),
    "top_p": (_number(lambda value: 0 < value <= 1), "more than 0, at most 1"),
    "top_h": (_number(lambda value: 0 < value <= 1), "more than 0, at most 1"),
    "min_p": (_number(lambda value: 0 <= value <= 1), "0 to 1"),
    "typical_p": (_number(lambda value: 0 < value <= 1), "more than 0, at most 1"),
    "epsilon_cutoff": (_number(lambda value: 0 <= value < 1), "0 or more, below 1"),
    "eta_cutoff": (_number(lambda value: 0 <= value < 1), "0 or more, below 1"),
    "repetition_penalty": (_number(lambda value: 0 < value < float("inf")), "a number of more than 0"),
    "encoder_repetition_penalty": (_number(lambda value: 0 < value < float("inf")), "a number of more than 0"),
    "no_repeat_ngram_size": (_whole(lambda value: value >= 0), "a whole number of 0 or more"),
    "max_new_tokens": (_whole(lambda value: value >= 1), "a whole number of 1 or more"),
    "max_length": (_whole(lambda value: value >= 1), "a whole number of 1 or more"),
    "min_new_tokens": (_whole(lambda value: value >= 0), "a whole number of 0 or more"),
    "min_length": (_whole(lambda value: value >= 0), "a whole number of 0 or more"),
    "stop_strings": (_texts, "a text or a list of texts"),
    "pad_token_id": _ID,
    "bos_token_id": _ID,
    "num_beams": (_whole(lambda value: value == 1), _ONE),
    "num_beam_groups": (_whole(lambda value: value == 1), _ONE),
    "num_return_sequences": (_whole(lambda value: value == 1), "1, since one answer is read"),
    "diversity_penalty": (_off(), _NONE),
    "penalty_alpha": (_off(), _NONE),
    "dola_layers": (_off(), _NONE),
    "constraints": (_off([]), _NONE),
    "force_words_ids": (_off([]), _NONE),
    "token_healing": (_off(), "false, since the chat template writes the prompt"),
}
ALL = (*SETTINGS, *ENDS)


def check_settings(
    name: str | Path, values: Mapping, vocabulary: int | None, fields: Collection[str] = ALL, served: bool = False
) -> None:
    """Check that these `fields` of a generation_config.json have values with which an answer can be written.

    Args:
        values: what the file says.
        vocabulary: how many tokens the model knows; None where that cannot be told.
        served: whether `transformers serve` reads the file, which takes penalties as floats alone.

    Raises:
        UserError: naming the first that has not.
    """
    for field in fields:
        value = values.get(field)
        if field in ENDS:
            ids = [] if value is None else _listed(value)
            below = float("inf") if vocabulary is None else vocabulary
            right = all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < below for one in ids)
            expected = f"ids of the model's {vocabulary} tokens" if vocabulary else "ids of tokens"
        else:
            test, expected = SETTINGS[field]
            right = test(value)
        if right and served and field in PENALTIES and isinstance(value, int) and value != 1:
            right, expected = False, f"{value}.0, as `transformers serve` takes it"
        if not right:
            found = f"{field} {value!r} in generation_config.json of {name}"
            raise UserError(found, expected, "correct it there, or take it out")
