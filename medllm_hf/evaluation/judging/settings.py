"""How a judge is asked, and what a manifest says of it."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from medllm_hf.endpoints.address import KEY_ENV, Endpoint
from medllm_hf.endpoints.extra_body import record_extra_body
from medllm_hf.errors import UserError
from medllm_hf.evaluation.models import ModelSpec, parse_model
from medllm_hf.metrics.llm_judge.scoring import JudgeOptions

# Requests for one reply, as long as none brings a usable verdict.
ATTEMPTS = 3
# How verdicts are asked for: as JSON of a schema where the endpoint takes one and else in labelled lines, or in these always.
Form = Literal["auto", "lines"]


@dataclass(frozen=True)
class Settings:
    """How dialogues are judged.

    Attributes:
        samples: Replies for each dialogue, each with a seed of its own made from `seed`, the dialogue and its number.
        failure_limit: The highest share of unscored replies with which a headline figure is given.
        concurrency: The most requests at once.
        timeout: Seconds for one request.
        key_env: The variable with the key of an endpoint.
        enable_thinking: What the judge's chat template is told; None tells it nothing.
        extra_body: More fields of each request, a JSON object.
        allow_personal_data: Whether dialogues that hold personal data may leave this machine.
        prices: The file of prices, by which costs are reckoned.
        budget: What the command may spend at most, `spent_before` included, in the currency of the prices.
    """

    rubric: str = JudgeOptions.rubric
    language: str = JudgeOptions.language
    samples: int = 1
    temperature: float = 0.0
    seed: int = 0
    max_new_tokens: int = 2048
    failure_limit: float = 0.05
    concurrency: int = Endpoint.concurrency
    timeout: float = Endpoint.timeout
    key_env: str = KEY_ENV
    enable_thinking: bool | None = None
    extra_body: str | None = None
    form: Form = "auto"
    allow_personal_data: bool = False
    prices: str | None = None
    budget: float | None = None
    spent_before: Fraction = Fraction(0)

    def record(self) -> dict:
        """What the manifest says under "settings": all that may change an output or a figure."""
        names = ("samples", "temperature", "seed", "max_new_tokens", "failure_limit")
        record = {**{name: getattr(self, name) for name in names}, "attempts": ATTEMPTS}
        # Older runs have no such lines, and go on without.
        if self.enable_thinking is not None:
            record["enable_thinking"] = self.enable_thinking
        if self.extra_body:
            record["extra_body"] = record_extra_body(self.extra_body)
        return record if self.form == "auto" else {**record, "form": self.form}

    def party(self, judge: str) -> ModelSpec:
        """The judge that `URL#MODEL`, a checkpoint folder or a Hub id names."""
        return parse_model(
            judge,
            self.key_env,
            concurrency=self.concurrency,
            timeout=self.timeout,
            enable_thinking=self.enable_thinking,
            extra_body=self.extra_body,
        )


def check_settings(settings: Settings, verb: str) -> None:
    """Check that the settings of a verb are in range.

    Raises:
        UserError: one is not.
    """
    checks = (
        (settings.samples < 1, f"--samples {settings.samples}", "1 or more"),
        (settings.temperature < 0, f"--temperature {settings.temperature:g}", "0 or more"),
        (settings.max_new_tokens < 1, f"--max-new-tokens {settings.max_new_tokens}", "1 or more"),
        (not 0 <= settings.failure_limit <= 1, f"--failure-limit {settings.failure_limit:g}", "a share from 0 to 1"),
    )
    for wrong, found, expected in checks:
        if wrong:
            raise UserError(found, expected, f"see `medllm {verb} --help`")
