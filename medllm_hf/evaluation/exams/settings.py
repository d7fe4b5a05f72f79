"""What the flags of `medllm eval mcq` mean, and which of them go together."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medllm_hf.errors import UserError
from medllm_hf.placement import DTYPE, Dtype, Quantization, check_names

# Tokens of one batch on a GPU, and of one in which replies are written.
NEW_TOKENS, BATCH_TOKENS = 256, 8192
Mode = Literal["likelihood", "generate"]
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
        mode: "likelihood" compares the probabilities of all answers, "generate" reads the letters from what the model writes.
        score: "letter" shows the options and compares the letters; "text" shows the bare question and compares the whole
            answers (option texts and end of the reply), which suits a small or untrained model.
        normalization: What an answer's log-probability is divided by: "none", its "tokens", or its "bytes" in UTF-8.
        shots: Solved examples before each question, from `examples` (a file, or the dev split of a benchmark, NAME or
            NAME=PATH) or the dev split of the benchmark `data`.
        shuffle_options: Show the options of each question in an order of its own; `circular` shows them in all rotations.
        prices: The file of prices, by which the costs of an endpoint are reckoned; `budget` is what they may come to.
        limit: Ask the first so many questions alone, for a trial; what comes of it is never published.
        batch_tokens: The most tokens in one forward of a local model, unless one question has more; None suits the device.
        batch_size: The most questions in one forward, beside that; None sets no such limit.
        device, dtype, quantization: Where and in which precision a local model computes, as `placement` has it.
        enable_thinking: What the model's chat template is told; None tells it nothing.
    """

    model: str | None
    data: str
    url: str | None = None
    data_path: str | None = None
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
    concurrency: int | None = None
    key_env: str | None = None
    prices: str | None = None
    budget: float | None = None
    batch_tokens: int | None = None
    enable_thinking: bool | None = None
    limit: int | None = None
    batch_size: int | None = None
    revision: str | None = None
    base: str | None = None
    device: str | None = None
    dtype: Dtype = DTYPE
    quantization: Quantization | None = None


@dataclass(frozen=True)
class ResolvedSettings(Settings):
    """Settings that go together, with every default filled in; see `resolve_defaults`."""

    mode: Mode = "likelihood"
    max_new_tokens: int = NEW_TOKENS


def resolve_defaults(asked: Settings) -> ResolvedSettings:
    """The settings with every default filled in.

    Raises:
        UserError: some of them do not go together.
    """
    asked = _by_address(asked)
    mode = asked.mode or ("likelihood" if asked.url is None else "generate")
    order = asked.shuffle_options or asked.circular
    together = (
        *_model_rules(asked),
        (asked.url and mode == "likelihood", "--mode likelihood with --url", "--mode generate, or a local --model"),
        (asked.url and not asked.chat_template, "--no-chat-template with --url", "an endpoint's own chat template"),
        (not asked.chat_template and asked.enable_thinking is not None, "--enable-thinking, --no-chat-template", "one of them"),
        (asked.url is None and asked.concurrency is not None, "--concurrency without --url", "an endpoint"),
        (asked.url is None and asked.key_env is not None, "--key-env without --url", "an endpoint"),
        (asked.url is None and asked.prices is not None, "--prices without --url", "an endpoint"),
        (mode == "generate" and asked.score == "text", "--score text with --mode generate", "--mode likelihood"),
        (mode == "generate" and asked.normalization != "none", "--normalization with --mode generate", "--mode likelihood"),
        (mode == "likelihood" and asked.max_new_tokens is not None, "--max-new-tokens with likelihood", "--mode generate"),
        (asked.score == "text" and order, "another order of options that --score text does not show", "--score letter"),
        (asked.circular and asked.shuffle_options, "--circular and --shuffle-options", "one of them"),
        (asked.shots < 0, f"--shots {asked.shots}", "0 or more"),
        (asked.examples and not asked.shots, "--examples without --shots", "--shots N, how many of them"),
        *((value is not None and value < 1, f"--{name} {value}", "1 or more") for name, value in (
            ("max-new-tokens", asked.max_new_tokens), ("batch-tokens", asked.batch_tokens),
            ("batch-size", asked.batch_size), ("limit", asked.limit))),
    )  # fmt: skip
    for wrong, found, expected in together:
        if wrong:
            raise UserError(found, expected, "see `medllm eval mcq --help`")
    check_names(asked.device, asked.dtype, asked.quantization)
    return ResolvedSettings(**{**vars(asked), "mode": mode, "max_new_tokens": asked.max_new_tokens or NEW_TOKENS})


def _by_address(asked: Settings) -> Settings:
    """The same with a model that is the address of an endpoint as `url`."""
    from medllm_hf.endpoints.address import names_endpoint  # the client of HTTP, which no help text needs

    if asked.model is None or asked.url is not None or not names_endpoint(asked.model):
        return asked
    return replace(asked, model=None, url=asked.model)


def _model_rules(asked: Settings) -> Iterator[tuple[bool, str, str]]:
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
