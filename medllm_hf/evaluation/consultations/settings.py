"""What the flags of `medllm eval consult` mean, and which of them go together."""

from dataclasses import dataclass, replace
from pathlib import Path

from medllm_hf.endpoints.address import KEY_ENV, Endpoint
from medllm_hf.endpoints.extra_body import record_extra_body
from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.diagnosis import diagnosis_prompt_record
from medllm_hf.evaluation.consultations.gate import gate_record
from medllm_hf.evaluation.consultations.manners import STYLES as STYLES
from medllm_hf.evaluation.consultations.manners import Manner, Protocol, parse_styles
from medllm_hf.evaluation.consultations.patient import prompt_record
from medllm_hf.evaluation.consultations.transcript import ROLES

MAX_TURNS = 8
AUTO = "auto"
# The rounds of DISC's consultations, and the language in which its judge was asked.
DISC_TURNS, DISC_LANGUAGE = "3", "en"


@dataclass(frozen=True)
class Settings:
    """How consultations are held.

    Attributes:
        turns: The number of rounds, one of which is a turn of the patient and the doctor's reply; or "auto": until the
            patient ends, at most `max_turns` rounds.
        seed: Each call's own seed is made from it, the case and the turn.
        concurrency: The most requests at once to each endpoint.
        timeout: Seconds for one request.
        key_env: The variable with the key of every endpoint that has none of its own below.
        doctor_enable_thinking: What the chat template is told; None tells it nothing. So of the patient's and the judge's.
        patient_style: How the patients behave, one of `STYLES`; on the command line several, each of which is a run of its own.
        protocol: "disc" plays the patients and asks the judge as DISC did.
        rubric, language, samples: Of the judge; None where they are not named.
        blind: Whether the judge is not shown the cases.
        doctor_extra_body: More fields of each request to it, a JSON object. So of the patient's and the judge's.
        doctor_system: The system message that the doctor is sent before the talk; None for none.
        ask_diagnosis: Whether the doctor is asked for diagnoses after the dialogue, which the patient does not see.
        allow_personal_data: Whether cases that hold personal data may leave this machine.
        prices: The file of prices, by which costs are reckoned.
        budget: What patient, doctor and judge may cost together, in the currency of the prices.
    """

    turns: str = "3"
    max_turns: int | None = None
    seed: int = 0
    doctor_temperature: float = 0.0
    patient_temperature: float = 0.0
    doctor_max_new_tokens: int = 1024
    patient_max_new_tokens: int = 256
    concurrency: int = Endpoint.concurrency
    timeout: float = Endpoint.timeout
    key_env: str = KEY_ENV
    doctor_key_env: str | None = None
    patient_key_env: str | None = None
    judge_key_env: str | None = None
    doctor_enable_thinking: bool | None = None
    patient_enable_thinking: bool | None = None
    judge_enable_thinking: bool | None = None
    patient_style: str = STYLES[0]
    protocol: Protocol = "medllm"
    rubric: str | None = None
    language: str | None = None
    samples: int | None = None
    blind: bool = False
    doctor_extra_body: str | None = None
    patient_extra_body: str | None = None
    judge_extra_body: str | None = None
    doctor_system: str | None = None
    ask_diagnosis: bool = False
    allow_personal_data: bool = False
    prices: str | None = None
    budget: float | None = None

    @property
    def auto(self) -> bool:
        """Whether the patient ends the consultation."""
        return self.turns == AUTO

    @property
    def rounds(self) -> int:
        """The most rounds."""
        return (self.max_turns or MAX_TURNS) if self.auto else int(self.turns)

    @property
    def manner(self) -> Manner:
        """How the patients are played."""
        return "disc" if self.protocol == "disc" else parse_styles(self.patient_style)[0]

    @property
    def judge_blind(self) -> bool:
        """Whether the judge sees no case."""
        return self.blind or self.protocol == "disc"

    @property
    def judge_language(self) -> str | None:
        """The language of the rubric, None for the judge's default."""
        return self.language or (DISC_LANGUAGE if self.protocol == "disc" else None)

    def record(self) -> dict[str, object]:
        """What the manifest says under "settings": all that may change an output."""
        sampling = ("seed", *(f"{role}_{name}" for role in ROLES for name in ("temperature", "max_new_tokens")))
        record: dict[str, object] = {"turns": AUTO, "max_turns": self.rounds} if self.auto else {"turns": self.rounds}
        thinking = {name: getattr(self, name) for name in (f"{role}_enable_thinking" for role in ROLES)}
        record |= {name: value for name, value in thinking.items() if value is not None}
        extra = {name: getattr(self, name) for name in (f"{role}_extra_body" for role in ROLES)}
        record |= {name: record_extra_body(value) for name, value in extra.items() if value}
        record |= {"doctor_system": self.doctor_system} if self.doctor_system else {}
        # A run with plain patients says nothing of either, as before there were others.
        record |= {"protocol": "disc"} if self.protocol == "disc" else {}
        record |= {"patient_style": self.patient_style} if self.patient_style != STYLES[0] else {}
        record |= {"diagnosis_prompt": diagnosis_prompt_record()} if self.ask_diagnosis else {}
        return {
            **record,
            **{name: getattr(self, name) for name in sampling},
            "patient_prompt": prompt_record(self.manner),
            "patient_gate": gate_record(),
        }


def by_style(settings: Settings, out: str) -> dict[str, Settings]:
    """The run folders of the styles that the settings name, `out` or OUT/STYLE for each of several, and the settings of each.

    Raises:
        UserError: styles that there are not; or several for a folder that is a run itself.
    """
    styles = parse_styles(settings.patient_style)
    if len(styles) > 1 and (Path(out) / "manifest.json").is_file():
        raise UserError(f"a run in {out} and {len(styles)} styles for it", "a folder for OUT/STYLE", "choose another folder")
    folders = {style: out if len(styles) == 1 else str(Path(out) / style) for style in styles}
    return {folder: replace(settings, patient_style=style) for style, folder in folders.items()}


def check_settings(settings: Settings) -> None:
    """Check that the settings are in range and go together.

    Raises:
        UserError: otherwise.
    """
    fixed = settings.turns.isascii() and settings.turns.isdigit() and int(settings.turns) > 0
    tokens = {f"--{role}-max-new-tokens": getattr(settings, f"{role}_max_new_tokens") for role in ROLES}
    warmth = {f"--{role}-temperature": getattr(settings, f"{role}_temperature") for role in ROLES}
    styles, disc = parse_styles(settings.patient_style), settings.protocol == "disc"
    with_disc = " with --protocol disc"
    checks = (
        (disc and settings.turns != DISC_TURNS, f"--turns {settings.turns}{with_disc}", f"{DISC_TURNS} rounds, as DISC's"),
        (disc and styles != [STYLES[0]], f"--patient-style {settings.patient_style}{with_disc}", "plain patients"),
        (disc and settings.doctor_system, f"--doctor-system{with_disc}", "a doctor that is told nothing, as DISC's"),
        (not fixed and not settings.auto, f"--turns {settings.turns}", "a number of rounds or auto"),
        (settings.max_turns is not None and not settings.auto, "--max-turns with a fixed --turns", "--turns auto"),
        (settings.max_turns is not None and settings.max_turns < 1, f"--max-turns {settings.max_turns}", "1 or more"),
        *((value < 1, f"{name} {value}", "1 or more") for name, value in tokens.items()),
        *((value < 0, f"{name} {value:g}", "0 or more") for name, value in warmth.items()),
    )
    for wrong, found, expected in checks:
        if wrong:
            raise UserError(found, expected, "see `medllm eval consult --help`")
