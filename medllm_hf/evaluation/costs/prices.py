"""Prices of models by the token, and what a run has cost by its tokens, its manifest and nothing else."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypedDict

from medllm_hf.endpoints.address import Endpoint
from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.records import read_record
from medllm_hf.folders import read_text
from medllm_hf.reporting.phrases import COMMA, SAME, Phrase, Text, joined
from medllm_hf.reporting.terms import term

_LAYOUT = '{"currency": "USD", "models": {"NAME": {"input": 1.5, "output": 6}}}, per million tokens'
# Above any price in any currency; whole numbers of any length would not become a fraction of a float.
_HIGHEST = 10**9
_SIDES = ("input", "output")


class Priced(Protocol):
    """Who plays a role: behind an endpoint, which is paid for, or a checkpoint that is served here."""

    @property
    def endpoint(self) -> Endpoint | None: ...


def record_prices(path: str | None, parties: Mapping[str, Priced], budget: float | None) -> dict:
    """What goes into the manifest of a run whose roles `parties` play: {"prices": ...}, or nothing without a file of prices.

    A checkpoint that we serve ourselves costs nothing and needs no price.

    Args:
        path: the file that --prices names.
        parties: role → who plays it.
        budget: what --budget says; it is checked here, since it cannot be kept without prices.

    Raises:
        UserError: no such file, another layout, no price of an endpoint's model, or a budget that is none.
    """
    if budget is not None and path is None:
        raise UserError("--budget without --prices", "the prices that it is kept by", "add --prices FILE")
    if budget is not None and not (math.isfinite(budget) and budget > 0):
        raise UserError(f"--budget {budget:g}", "an amount above 0", "change it")
    if path is None:
        return {}
    currency, models = read_prices(path)
    record: dict = {"currency": currency}
    for role, party in parties.items():
        if party.endpoint is None:
            continue
        name = party.endpoint.model
        if name not in models:
            raise UserError(f"no price of {name} in {path}", f"one for the {role}", f"add it to the file: {_LAYOUT}")
        record[role] = models[name]
    return {"prices": record}


def read_prices(path: str) -> tuple[str, dict[str, dict[str, float]]]:
    """The currency of a file of prices, and model → {"input", "output"}: the price of a million tokens.

    Raises:
        UserError: no such file, or one of another layout.
    """
    do = f"write it as {_LAYOUT}"
    if not Path(path).exists():
        raise UserError(f"no {path}", "a file of prices", do)
    try:
        prices = json.loads(read_text(path), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} that is not JSON or names something twice ({error})", "a file of prices", do) from error
    _fields(path, prices, ("currency", "models"))
    if (
        not isinstance(prices["currency"], str)
        or not prices["currency"].strip().isprintable()
        or not prices["currency"].strip()
    ):
        raise UserError(f"currency {prices['currency']!r} in {path}", "its name, such as USD", do)
    if not isinstance(prices["models"], dict) or not prices["models"]:
        raise UserError(f"no models in {path}", "a price for each", do)
    for name, price in prices["models"].items():
        _fields(f"{name} in {path}", price, _SIDES)
        for side, value in price.items():
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _HIGHEST:
                raise UserError(f"{side} {value!r} of {name} in {path}", "a number from 0 to a billion", do)
    return prices["currency"].strip(), prices["models"]


def _once(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name that stands there twice")
    return found


def _fields(where: str, value: object, names: tuple[str, ...]) -> None:
    if not isinstance(value, dict) or set(value) != set(names):
        found = ", ".join(map(repr, value)) if isinstance(value, dict) else repr(value)
        raise UserError(f"{found or 'nothing'} as the fields of {where}", " and ".join(names), f"write it as {_LAYOUT}")


def amount(price: Mapping[str, float], prompt_tokens: int, completion_tokens: int) -> Fraction:
    """What tokens cost, exactly: the sum of two amounts that fit a budget must not differ from it by a rounding."""
    # By its decimal digits, as it stands in the file.
    rates = [Fraction(str(price[side])) for side in _SIDES]
    return (rates[0] * prompt_tokens + rates[1] * completion_tokens) / 1_000_000


def money(value: Fraction | float, currency: str) -> str:
    """0.5, USD → "0.5000 USD"; what is smaller keeps two digits."""
    number = float(value)
    return f"{number:,.4f} {currency}" if number == 0 or number >= 0.001 else f"{number:.2g} {currency}"


def sum_usage(outputs: Iterable[Mapping]) -> dict[str, int]:
    """Calls, requests and tokens of the outputs of an endpoint; `unknown` counts the replies without counts of tokens."""
    rows = list(outputs)
    return {
        "calls": len(rows),
        "retries": sum(row["retries"] for row in rows),
        **{name: sum(row[name] or 0 for row in rows) for name in ("prompt_tokens", "completion_tokens")},
        "unknown": sum(row["prompt_tokens"] is None for row in rows),
    }


def tokens_of(usage: dict, role: str) -> tuple[int, int]:
    """The counted tokens of one role in the "usage" of a run's metrics, which a run of one role has for itself."""
    own = usage.get(role, usage)
    return own["prompt_tokens"], own["completion_tokens"]


def with_cost(metrics: dict, manifest: dict) -> dict:
    """The metrics of a finished run with its "cost", where its manifest has prices.

    `amount` is what the counted tokens cost: those of the outputs, and those of requests that brought none, which the
    manifest has under "spent_besides". `uncounted` requests have brought no counts (a time-out, a cut connection, a killed
    process, a server that does not count); `at_most` takes each of them at its most.
    """
    if "prices" not in manifest:
        return metrics
    roles, currency = {}, manifest["prices"]["currency"]
    total = most = Fraction(0)
    for role, more in manifest["spent_besides"].items():
        price, (prompt, completion) = manifest["prices"][role], tokens_of(metrics["usage"], role)
        paid = amount(price, prompt + more["prompt_tokens"], completion + more["completion_tokens"])
        unknown = amount(price, more["most_prompt_tokens"], more["most_completion_tokens"])
        roles[role] = {"amount": float(paid), "at_most": float(paid + unknown), "uncounted": more["uncounted"]}
        total, most = total + paid, most + paid + unknown
    cost = {"currency": currency, "roles": roles, "amount": float(total), "at_most": float(most)}
    return {**metrics, "cost": cost}


_ROLE, _BY_ROLE = Phrase("{role} {amount}", "{role} {amount}"), Phrase(" ({shares})", "（{shares}）")
_AT_MOST = Phrase(", at most {amount} (requests that brought no counts: {n})", "，最多 {amount}（未返回词元数的请求：{n}）")


def cost_text(cost: dict) -> Text:
    """The cost of a run in words."""
    currency = cost["currency"]
    text = SAME(text=money(cost["amount"], currency))
    if len(cost["roles"]) > 1:
        shares = [_ROLE(role=term(role), amount=money(own["amount"], currency)) for role, own in cost["roles"].items()]
        text += _BY_ROLE(shares=joined(shares, COMMA))
    uncounted = sum(own["uncounted"] for own in cost["roles"].values())
    return text + _AT_MOST(amount=money(cost["at_most"], currency), n=uncounted) if uncounted else text


class Price(TypedDict):
    """What a million tokens cost."""

    input: float
    output: float


class Besides(TypedDict):
    """What the outputs of a run do not tell of one role's spending: counted tokens, and uncounted requests at their most."""

    prompt_tokens: int
    completion_tokens: int
    uncounted: int
    most_prompt_tokens: int
    most_completion_tokens: int


class Costs(TypedDict):
    """What `with_cost` reads of a manifest with prices; "currency" stands among the prices."""

    prices: dict[str, Price | str]
    spent_besides: dict[str, Besides]


def check_costs(manifest: Mapping[str, object], roles: Sequence[str], where: str) -> None:
    """Check that `with_cost` can reckon by a manifest whose run has only these `roles`.

    Raises:
        UserError: prices without a currency or without numbers, or a spending of a role that has no price.
    """
    if "prices" not in manifest:
        return
    costs = read_record(manifest, Costs, where)
    prices = {role: price for role, price in costs["prices"].items() if isinstance(price, dict)}
    known = costs["spent_besides"].keys() <= prices.keys() & set(roles)
    finite = all(math.isfinite(value) for price in prices.values() for value in (price["input"], price["output"]))
    if not (known and finite and isinstance(costs["prices"].get("currency"), str)):
        raise UserError(f"a damaged run in {where}: prices", "what the format says", "run `medllm eval` again")
