"""What a run would cost before anything is sent: its calls and tokens, at most and about, and what they cost by prices."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import NormalDist

from medllm_hf.evaluation.costs.ledger import prompt_bound, read_spending
from medllm_hf.evaluation.costs.prices import amount, money

# No tokenizer of an endpoint is known. For Chinese most make 0.6 to 1.0 tokens of a character.
TOKENS_PER_CHARACTER = 0.8
# What a token of a reply that comes back in later prompts stands for: two Chinese characters, which few tokenizers reach.
REPLY_CHARACTERS, FILLER = 2, "字"
_NOTE = """\
at most: every round is held, every reply reaches its limit of tokens and comes back in later prompts with {characters} Chinese
characters a token, every judgement and every turn of a patient takes as many attempts as it may, a prompt has a token a
byte and what a chat template adds; requests that fail and are repeated come on top
about: replies as long as they usually are (a doctor's {doctor:.0f} tokens, a patient's {patient:.0f}), without reasoning and
cut at their limit, {ratio} tokens a character (Chinese has 0.6 to 1.0), {again:.0%} of a patient's turns asked for again;
where the run folder has replies of a role, their mean length and the tokens a character of their prompts"""


@dataclass(frozen=True)
class Volume:
    """Calls and their tokens."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Volume") -> "Volume":
        return Volume(*(a + b for a, b in zip(self._values(), other._values(), strict=True)))

    def __mul__(self, times: float) -> "Volume":
        return Volume(*(round(times * value) for value in self._values()))

    def _values(self) -> tuple[int, int, int]:
        return self.calls, self.prompt_tokens, self.completion_tokens


@dataclass(frozen=True)
class Length:
    """How long replies are that no limit cuts: log-normal, as texts are.

    Attributes:
        median: Tokens.
        spread: The standard deviation of the logarithm.
    """

    median: float
    spread: float

    def mean(self, limit: float = math.inf) -> float:
        """The mean number of tokens where a limit cuts the longer ones."""
        whole = self.median * math.exp(self.spread**2 / 2)
        if limit == math.inf:
            return whole
        normal, at = NormalDist(), math.log(limit / self.median) / self.spread
        return whole * normal.cdf(at - self.spread) + limit * (1 - normal.cdf(at))


# The 5,652 replies of the six doctors that DISC-MedLLM has published have 242 characters in the geometric mean and this spread,
# at 0.6 tokens a character. Patients in the same dialogues say 19 characters; small models that play them, twice to four
# times as much.
DOCTOR, PATIENT = Length(145, 0.56), Length(28, 0.8)
# An answer to an exam's question: a letter with or without a few sentences, and one after free reasoning.
ANSWER, REASONED = Length(40, 0.9), Length(1500, 0.8)
# How often a turn of a patient is said again: never by models that keep the role, 0.5 to 0.9 times by small ones.
AGAIN = 0.3


def verdict(fields: int) -> Length:
    """The length of a verdict on so many criteria, with a sentence or two of reasons for each."""
    return Length(20 + 28 * fields, 0.4)


@dataclass(frozen=True)
class Guess:
    """How the calls of one role are reckoned.

    Attributes:
        tokens: Of a reply.
        text: What stands for a reply in later prompts.
        prompt: The body of a request → the tokens of its prompt.
    """

    tokens: int
    text: str
    prompt: Callable[[Mapping], int]

    def call(self, messages: Sequence[dict], response_format: dict | None = None) -> Volume:
        """One call with these messages."""
        form = {"response_format": response_format} if response_format else {}
        return Volume(1, self.prompt({"messages": messages, **form}), self.tokens)


@dataclass(frozen=True)
class Seen:
    """A reply with counts: the characters of its prompt and its own text, and the tokens of both."""

    prompt_characters: int
    text: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Estimate:
    """What is left to do for one role, at most and about."""

    most: Volume
    about: Volume


def at_most(limit: int) -> Guess:
    """Every reply reaches the limit of tokens."""
    return Guess(limit, FILLER * REPLY_CHARACTERS * limit, prompt_bound)


def about(limit: int, usual: Length, seen: Iterable[Seen] = ()) -> Guess:
    """Replies are as those that were seen; without any, as long as they usually are."""
    seen = list(seen)
    if not seen:
        tokens = max(1, round(usual.mean(limit)))
        return Guess(tokens, FILLER * round(tokens / TOKENS_PER_CHARACTER), _by(TOKENS_PER_CHARACTER))
    ratio = sum(one.prompt_tokens for one in seen) / sum(one.prompt_characters for one in seen)
    tokens = round(sum(one.completion_tokens for one in seen) / len(seen))
    return Guess(tokens, FILLER * round(sum(len(one.text) for one in seen) / len(seen)), _by(ratio))


def _by(ratio: float) -> Callable[[Mapping], int]:
    return lambda body: round(ratio * characters(body["messages"]))


def characters(messages: Iterable[dict]) -> int:
    """The characters of chat messages."""
    return sum(len(message["content"]) for message in messages)


def seen_reply(messages: Sequence[dict], text: str, row: Mapping) -> Seen | None:
    """The reply `row` to these messages; None where the server gave no counts, or it was no call."""
    if not row["prompt_tokens"]:
        return None
    return Seen(characters(messages), text, row["prompt_tokens"], row["completion_tokens"])


def spent_in(run: Path | str, prices: Mapping) -> Fraction:
    """What a run folder has spent so far by its manifest's "prices", uncounted requests at their most."""
    counted, uncounted, *_ = read_spending(Path(run) / "spending.jsonl")
    return sum((amount(prices[role], *tokens) for role, tokens in [*counted, *uncounted]), Fraction(0))


def preview_costs(
    out: Path | str, manifest: Mapping, begun: bool, estimates: Mapping[str, Estimate], budget: float | None
) -> str:
    """What is printed in place of a run that would write the folder `out`, or go on with it where it has `begun`."""
    prices = manifest.get("prices", {})
    spent = spent_in(out, prices) if prices and begun else Fraction(0)
    return describe_estimate(estimates, prices, spent, budget)


def describe_estimate(estimates: Mapping[str, Estimate], prices: Mapping, spent: Fraction, budget: float | None) -> str:
    """What is printed in place of a run.

    Args:
        estimates: by role.
        prices: as a manifest has them; empty without any.
        spent: what the run folder has spent so far.
        budget: what --budget says.
    """
    lines, sums = ["nothing was sent; left to do:"], {"at most": Fraction(0), "about": Fraction(0)}
    for role, estimate in estimates.items():
        for name, volume in (("at most", estimate.most), ("about", estimate.about)):
            tokens = (volume.prompt_tokens, volume.completion_tokens)
            line = f"{role}, {name}: {volume.calls:,} calls, {tokens[0]:,} + {tokens[1]:,} tokens"
            if role in prices:
                sums[name] += amount(prices[role], *tokens)
                line += f", {money(amount(prices[role], *tokens), prices['currency'])}"
            lines.append(line)
    if prices:
        lines.append(", ".join(f"{name} {money(value, prices['currency'])}" for name, value in sums.items()) + " in all")
        if spent:
            lines.append(f"the run folder has spent {money(spent, prices['currency'])} so far")
    if budget is not None:
        fits = "covers" if spent + sums["at most"] <= Fraction(str(budget)) else "does not cover"
        lines.append(f"a budget of {money(budget, prices['currency'])} {fits} what is spent and the most of what is left")
    means = {"doctor": DOCTOR.mean(), "patient": PATIENT.mean()}
    note = _NOTE.format(characters=REPLY_CHARACTERS, ratio=TOKENS_PER_CHARACTER, again=AGAIN, **means)
    return "\n".join([*lines, note])
