"""A scripted server that counts tokens and sums up its bill, for the tests of prices and budgets."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from support.chat_server import Behaviour, completion
from support.consulting import is_patient, judging

PRICES = {"doctor-model": {"input": 3, "output": 15}, "patient-model": {"input": 0.25, "output": 1.1}}
PRICES |= {"judge-model": {"input": 2.5, "output": 10}, "scripted": {"input": 1, "output": 2}}


def write_prices(folder: Path, models: dict | None = None, currency: str = "USD") -> str:
    """The path of a file of prices."""
    path = folder / "prices.json"
    path.write_text(json.dumps({"currency": currency, "models": models or PRICES}), encoding="utf-8")
    return str(path)


def rule(body: dict) -> int:
    """The most tokens of a prompt, as the documentation says: a token a byte, 16 a message, 512 a prompt."""
    form = [json.dumps(body["response_format"])] if "response_format" in body else []
    texts = [message["content"] for message in body["messages"]] + form
    return 512 + 16 * len(body["messages"]) + sum(len(text.encode()) for text in texts)


def limit(body: dict) -> int:
    return body.get("max_tokens") or body["max_completion_tokens"]


class Bill:
    """A script that answers by `script` and adds up what each request costs.

    `counts` says the tokens of a request; None leaves the counts out of the answer, and the most is billed. `faults` are the
    shares of requests that end so: "429" (free), "500", "cut" and "time-out" (billed like any other).
    """

    def __init__(
        self,
        script: Callable[[dict], object] = judging,
        counts: Callable[[dict], tuple[int, int] | None] = lambda body: (rule(body), limit(body)),
        faults: dict[str, float] | None = None,
        seed: int = 0,
        delay: float = 0.0,
    ):
        self.script, self.counts, self.delay = script, counts, delay
        self.faults, self.rng = faults or {}, random.Random(seed)
        self.tokens: dict[str, list[int]] = {}
        self.met: list[str] = []

    def __call__(self, body: dict) -> object:
        kinds = [*self.faults, "none"]
        kind = self.rng.choices(kinds, [*self.faults.values(), 1 - sum(self.faults.values())])[0]
        self.met.append(kind)
        if kind == "429":
            return Behaviour(429, {"error": {"message": "slow down"}}, {"Retry-After": "0"})
        counts = self.counts(body)
        own = self.tokens.setdefault(body["model"], [0, 0])
        for place, tokens in enumerate(counts or (rule(body), limit(body))):
            own[place] += tokens
        if kind == "500":
            return Behaviour(500, {"error": {"message": "oops"}})
        said = self.script(body)
        answer = completion(said, usage=counts) if isinstance(said, str) else said
        if kind == "time-out":
            return Behaviour(body=answer, delay=30)
        return Behaviour(body=answer, cut=kind == "cut", delay=self.delay)

    def total(self) -> float:
        """What all requests have cost."""
        each = ((PRICES[model], tokens) for model, tokens in self.tokens.items())
        return sum((price["input"] * tokens[0] + price["output"] * tokens[1]) / 1e6 for price, tokens in each)


def some(rng: random.Random) -> Callable[[dict], tuple[int, int]]:
    """Counts anywhere between nothing and the most."""
    return lambda body: (rng.randint(0, rule(body)), rng.randint(0, limit(body)))


def full(body: dict) -> str:
    """Replies at the limit, of two Chinese characters a token; the judge's lack all scores but one."""
    if body["model"] == "judge-model":
        return "准确性：4" if "JSON" not in body["messages"][1]["content"] else '{"accuracy": 4}'
    return ("患" if is_patient(body) else "医") * 2 * limit(body)
