"""What the flags of `medllm eval mcq` mean, and which of them go together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from medllm_hf.errors import UserError
from medllm_hf.placement import DTYPE, Dtype, Quantization, check_names

# The last: tokens of one batch on a GPU; on a CPU they follow from the model, see `batching.tokens_for`.
NEW_TOKENS, REASONING_TOKENS, BATCH_TOKENS = 256, 8192, 8192
Mode = Literal["likelihood", "reply", "reasoning"]
READINGS: tuple[Mode, ...] = get_args(Mode)
# What a reading was called before there were three.
ALIASES: dict[str, Mode] = {"generate": "reply"}
Finish = Literal["letters"]
Score = Literal["letter", "text"]
Normalization = Literal["none", "tokens", "bytes"]


@dataclass(frozen=True)
class Settings:
    """How a model is examined; None stands for a default that depends on the rest, which `resolve_defaults` fills in.

    Attributes:
        model: A checkpoint folder, the folder of an adapter, a Hub id, or URL#MODEL of an endpoint, whose key `key_env`
            names; `url` is another name for the last.
        revision: Branch, tag or commit of a Hub id. `base` is what an adapter belongs to, where it is not where it says.
        data: A question file, or the name of a benchmark, whose published files are at `data_path` or on the Hub.
        encoding: Of the text in the files of `data` and `examples` in which none is found.
        mode: The reading. "likelihood" compares the probabilities of all answers; "reply" reads the letters from a short
            written reply, "reasoning" from what is written after free reasoning.
        score: "letter" shows the options and compares the letters; "text" shows the bare question and compares the whole
            answers (option texts and end of the reply), which suits a small or untrained model.
        normalization: What an answer's log-probability is divided by: "none", its "tokens", or its "bytes" in UTF-8.
        shots: Solved examples before each question, from `examples` (a file, or the dev split of a benchmark, NAME or
            NAME=PATH) or the dev split of the benchmark `data`.
        shuffle_options: Show the options of each question in an order of its own; `circular` shows them in all rotations.
        prices: The file of prices, by which the costs of an endpoint are reckoned; `budget` is what they may come to.
        max_new_tokens: The most tokens of a short reply; `reasoning_tokens` of one with reasoning.
        finish: What a written reply without letters that can be read is asked once more: "letters", or nothing.
        limit: Ask the first so many questions alone, for a trial; what comes of it is never published.
        batch_tokens: The most tokens in one forward of a local model, unless one question has more; None suits the device.
        batch_size: The most questions in one forward, beside that; None sets no such limit.
        device, dtype, quantization: Where and in which precision a local model computes, as `placement` has it.
        enable_thinking: What the model's chat template is told; None tells a local one that reads it to think in the
            reading "reasoning" and not in the others, and an endpoint nothing.
        extra_body: More fields of each request to an endpoint, a JSON object.
    """

    model: str | None
    data: str
    url: str | None = None
    data_path: str | None = None
    encoding: str | None = None
    split: str | None = None
    mode: Mode | None = None
    score: Score = "letter"
    normalization: Normalization = "none"
    shots: int = 0
    examples: str | None = None
    seed: int = 0
    shuffle_options: bool = False
    circular: bool = False
    chat_template: bool = True
    max_new_tokens: int | None = None
    reasoning_tokens: int | None = None
    finish: Finish | None = None
    concurrency: int | None = None
    key_env: str | None = None
    prices: str | None = None
    budget: float | None = None
    batch_tokens: int | None = None
    enable_thinking: bool | None = None
    extra_body: str | None = None
    limit: int | None = None
    batch_size: int | None = None
    revision: str | None = None
    base: str | None = None
    device: str | None = None
    dtype: Dtype = DTYPE
    quantization: Quantization | None = None


@dataclass(frozen=True)
class ResolvedSettings(Settings):
    """Settings that go together, with every default filled in; see `resolve_defaults`.

    Attributes:
        max_new_tokens: Of a written reply, whichever the reading.
    """

    mode: Mode = "likelihood"
    max_new_tokens: int = NEW_TOKENS

    @property
    def written(self) -> bool:
        """Whether the model writes its answers."""
        return self.mode != "likelihood"


# The fields that only some readings have, and which.
_OWN: dict[str, tuple[Mode, ...]] = {
    "score": ("likelihood",),
    "normalization": ("likelihood",),
    "max_new_tokens": ("reply",),
    "reasoning_tokens": ("reasoning",),
    "finish": ("reply", "reasoning"),
}


def for_readings(asked: Settings, modes: Sequence[Mode]) -> list[ResolvedSettings]:
    """The settings of each reading, of which each takes the fields that it has from `asked`.

    Raises:
        UserError: see `resolve_defaults`; a field that none of the readings has is refused with the first of them.
    """
    found = []
    for mode in modes:
        own = {name: getattr(Settings, name) for name, takers in _OWN.items() if mode not in takers and {*takers} & {*modes}}
        found.append(resolve_defaults(replace(asked, mode=mode, **own)))
    return found


def resolve_defaults(asked: Settings) -> ResolvedSettings:
    """The settings with every default filled in.

    Raises:
        UserError: some of them do not go together.
    """
    asked = by_address(asked)
    mode = asked.mode or ("likelihood" if asked.url is None else "reply")
    together = (*_examinee_conflicts(asked, mode), *_reading_conflicts(asked, mode), *_question_conflicts(asked))
    for wrong, found, expected in together:
        if wrong:
            raise UserError(found, expected, "see `medllm eval mcq --help`")
    tokens = (asked.reasoning_tokens or REASONING_TOKENS) if mode == "reasoning" else (asked.max_new_tokens or NEW_TOKENS)
    check_names(asked.device, asked.dtype, asked.quantization)
    return ResolvedSettings(**{**vars(asked), "mode": mode, "max_new_tokens": tokens})


_Conflict = tuple[object, str, str]  # whether it is one, what was found, what was expected


def _examinee_conflicts(asked: Settings, mode: Mode) -> tuple[_Conflict, ...]:
    """What does not go with a local model, or not with an endpoint."""
    return (
        *_model_rules(asked),
        (asked.url and mode == "likelihood", "--mode likelihood with --url", "--mode reply or reasoning, or a local --model"),
        (asked.url and not asked.chat_template, "--no-chat-template with --url", "an endpoint's own chat template"),
        (not asked.chat_template and asked.enable_thinking is not None, "--enable-thinking, --no-chat-template", "one of them"),
        (asked.url is None and asked.concurrency is not None, "--concurrency without --url", "an endpoint"),
        (asked.url is None and asked.key_env is not None, "--key-env without --url", "an endpoint"),
        (asked.url is None and asked.prices is not None, "--prices without --url", "an endpoint"),
        (asked.url is None and asked.budget is not None, "--budget with a local --model", "an endpoint, which costs something"),
        (asked.url is None and asked.extra_body, "--extra-body without --url", "an endpoint"),
    )


def _reading_conflicts(asked: Settings, mode: Mode) -> tuple[_Conflict, ...]:
    """What only another reading has."""
    written = mode != "likelihood"
    return (
        (written and asked.score == "text", f"--score text with --mode {mode}", "--mode likelihood"),
        (written and asked.normalization != "none", f"--normalization with --mode {mode}", "--mode likelihood"),
        (not written and asked.max_new_tokens is not None, "--max-new-tokens with likelihood", "--mode reply"),
        (mode == "reasoning" and asked.max_new_tokens is not None, "--max-new-tokens with reasoning", "--reasoning-tokens"),
        (mode != "reasoning" and asked.reasoning_tokens is not None, f"--reasoning-tokens with {mode}", "--mode reasoning"),
        (not written and asked.finish is not None, "--finish with likelihood", "--mode reply or reasoning"),
    )


def _question_conflicts(asked: Settings) -> tuple[_Conflict, ...]:
    """How questions and examples cannot be shown, and numbers that are too small."""
    order = asked.shuffle_options or asked.circular
    names = ("max_new_tokens", "reasoning_tokens", "batch_tokens", "batch_size", "limit")
    small = [(name.replace("_", "-"), value) for name in names if (value := getattr(asked, name)) is not None and value < 1]
    return (
        (asked.score == "text" and order, "another order of options that --score text does not show", "--score letter"),
        (asked.circular and asked.shuffle_options, "--circular and --shuffle-options", "one of them"),
        (asked.shots < 0, f"--shots {asked.shots}", "0 or more"),
        (asked.examples and not asked.shots, "--examples without --shots", "--shots N, how many of them"),
        *((True, f"--{name} {value}", "1 or more") for name, value in small),
    )


def by_address(asked: Settings) -> Settings:
    """The same with a model that is the address of an endpoint as `url`."""
    from medllm_hf.endpoints.address import names_endpoint  # the client of HTTP, which no help text needs

    if asked.model is None or asked.url is not None or not names_endpoint(asked.model):
        return asked
    return replace(asked, model=None, url=asked.model)


def _model_rules(asked: Settings) -> Iterator[_Conflict]:
    """(whether it is so, found, expected) of what does not go together with the model that is asked."""
    yield (asked.model is None) == (asked.url is None), "--model and --url, or neither", "one of them"
    local = {
        **{"--batch-tokens": asked.batch_tokens, "--batch-size": asked.batch_size, "--device": asked.device},
        **{"--quantization": asked.quantization, "--revision": asked.revision, "--base": asked.base},
        "--dtype": None if asked.dtype == DTYPE else asked.dtype,
    }
    yield from (
        (asked.url is not None and value is not None, f"{name} with --url", "a local --model") for name, value in local.items()
    )
    folder = asked.model is not None and Path(asked.model).is_dir()
    yield folder and asked.revision is not None, f"--revision with the folder {asked.model}", "a Hub id"
