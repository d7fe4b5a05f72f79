"""What the flags of `medllm eval mcq` mean, and which of them go together."""

from dataclasses import dataclass
from typing import Literal

from medllm_hf.errors import UserError

NEW_TOKENS, BATCH_TOKENS = 256, 8192
Mode = Literal["likelihood", "generate"]
Score = Literal["letter", "text"]
Normalization = Literal["none", "tokens", "bytes"]


@dataclass(frozen=True)
class Settings:
    """How a model is examined; None stands for a default that depends on the rest, which `resolve_defaults` fills in.

    Attributes:
        model: A checkpoint folder or Hub id; `url`, in its place, is URL#MODEL of an endpoint, whose key `key_env` names.
        data: A question file, or the name of a benchmark, whose published files are at `data_path` or on the Hub.
        encoding: Of the text in the files of `data` and `examples` in which none is found.
        mode: "likelihood" compares the probabilities of all answers, "generate" reads the letters from what the model writes.
        score: "letter" shows the options and compares the letters; "text" shows the bare question and compares the whole
            answers (option texts and end of the reply), which suits a small or untrained model.
        normalization: What an answer's log-probability is divided by: "none", its "tokens", or its "bytes" in UTF-8.
        shots: Solved examples before each question, from `examples` (a file, or the dev split of a benchmark, NAME or
            NAME=PATH) or the dev split of the benchmark `data`.
        shuffle_options: Show the options of each question in an order of its own; `circular` shows them in all rotations.
        prices: The file of prices, by which the costs of an endpoint are reckoned; `budget` is what they may come to.
        batch_tokens: The most tokens in one forward of a local model, unless one question has more.
        enable_thinking: What the model's chat template is told; None tells it nothing.
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
    concurrency: int | None = None
    key_env: str | None = None
    prices: str | None = None
    budget: float | None = None
    batch_tokens: int | None = None
    enable_thinking: bool | None = None


@dataclass(frozen=True)
class ResolvedSettings(Settings):
    """Settings that go together, with every default filled in; see `resolve_defaults`."""

    mode: Mode = "likelihood"
    max_new_tokens: int = NEW_TOKENS
    batch_tokens: int = BATCH_TOKENS


def resolve_defaults(asked: Settings) -> ResolvedSettings:
    """The settings with every default filled in.

    Raises:
        UserError: some of them do not go together.
    """
    mode = asked.mode or ("likelihood" if asked.url is None else "generate")
    order = asked.shuffle_options or asked.circular
    together = (
        ((asked.model is None) == (asked.url is None), "--model and --url, or neither", "one of them"),
        (asked.url and mode == "likelihood", "--mode likelihood with --url", "--mode generate, or a local --model"),
        (asked.url and not asked.chat_template, "--no-chat-template with --url", "an endpoint's own chat template"),
        (not asked.chat_template and asked.enable_thinking is not None, "--enable-thinking, --no-chat-template", "one of them"),
        (asked.url and asked.batch_tokens is not None, "--batch-tokens with --url", "a local --model"),
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
            ("max-new-tokens", asked.max_new_tokens), ("batch-tokens", asked.batch_tokens))),
    )  # fmt: skip
    for wrong, found, expected in together:
        if wrong:
            raise UserError(found, expected, "see `medllm eval mcq --help`")
    limits = {"max_new_tokens": asked.max_new_tokens or NEW_TOKENS, "batch_tokens": asked.batch_tokens or BATCH_TOKENS}
    return ResolvedSettings(**{**vars(asked), "mode": mode, **limits})
