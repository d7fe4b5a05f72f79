"""How the writer of facts is asked, and what a manifest says of it."""

from dataclasses import dataclass

from medllm_hf.endpoints.address import KEY_ENV, Endpoint
from medllm_hf.endpoints.extra_body import record_extra_body
from medllm_hf.errors import UserError
from medllm_hf.evaluation.case_facts.prompts import prompt_record
from medllm_hf.evaluation.models import ModelSpec, parse_model

# Requests for one reply, as long as none can be used.
ATTEMPTS = 3


@dataclass(frozen=True)
class Settings:
    """How facts are extracted.

    Attributes:
        checklist: Whether a checklist is written of each case, by a call of its own.
        seed: Each call's own seed is made from it, the case and the attempt.
        concurrency: The most requests at once.
        timeout: Seconds for one request.
        key_env: The variable with the key of an endpoint.
        enable_thinking: What the writer's chat template is told; None tells it nothing.
        extra_body: More fields of each request, a JSON object.
        allow_personal_data: Whether cases that hold personal data may leave this machine.
        prices: The file of prices, by which costs are reckoned.
        budget: What the run may cost, in the currency of the prices.
    """

    checklist: bool = True
    temperature: float = 0.0
    seed: int = 0
    max_new_tokens: int = 3072
    concurrency: int = Endpoint.concurrency
    timeout: float = Endpoint.timeout
    key_env: str = KEY_ENV
    enable_thinking: bool | None = None
    extra_body: str | None = None
    allow_personal_data: bool = False
    prices: str | None = None
    budget: float | None = None

    def record(self) -> dict[str, object]:
        """What the manifest says under "settings": all that may change an output."""
        names = ("checklist", "temperature", "seed", "max_new_tokens")
        record: dict[str, object] = {**{name: getattr(self, name) for name in names}, "attempts": ATTEMPTS}
        if self.enable_thinking is not None:
            record["enable_thinking"] = self.enable_thinking
        if self.extra_body:
            record["extra_body"] = record_extra_body(self.extra_body)
        return {**record, "prompt": prompt_record()}

    def party(self, writer: str) -> ModelSpec:
        """The writer that `URL#MODEL`, a checkpoint folder or a Hub id names."""
        return parse_model(
            writer,
            self.key_env,
            concurrency=self.concurrency,
            timeout=self.timeout,
            enable_thinking=self.enable_thinking,
            extra_body=self.extra_body,
        )


def check_settings(settings: Settings) -> None:
    """Check that the settings are in range.

    Raises:
        UserError: one is not.
    """
    checks = (
        (settings.temperature < 0, f"--temperature {settings.temperature:g}", "0 or more"),
        (settings.max_new_tokens < 1, f"--max-new-tokens {settings.max_new_tokens}", "1 or more"),
    )
    for wrong, found, expected in checks:
        if wrong:
            raise UserError(found, expected, "see `medllm eval cases --help`")
