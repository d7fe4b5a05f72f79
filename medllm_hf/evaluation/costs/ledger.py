"""What a run spends: on disk before a request is sent, so that no kill can lose it, and held within a budget."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.prices import amount, check_costs, money, tokens_of, with_cost
from medllm_hf.evaluation.runs.folder import RunFolder, json_line
from medllm_hf.folders import check_file

# No tokenizer in use makes more tokens of a text than it has bytes in UTF-8: one that lacks a character falls back to them.
# Its own ratio is not known here; for Chinese most have 0.6 to 1.0 tokens a character, which is 3 bytes.
# What a chat template writes around a message (role and marks), and once in a prompt (a system message of its own, the date).
MESSAGE_TOKENS, PROMPT_TOKENS = 16, 512


def prompt_bound(body: Mapping) -> int:
    """The most tokens that a server can count for the prompt of a chat request."""
    form = body.get("response_format")
    texts = [message["content"] for message in body["messages"]] + ([json.dumps(form)] if form else [])
    return PROMPT_TOKENS + MESSAGE_TOKENS * len(body["messages"]) + sum(len(text.encode()) for text in texts)


class Spending:
    """The spending of one run: `with Spending(run, budget) as spending`, and `complete(..., account=spending.account(role))`.

    The file spending.jsonl has a line for each request before it is sent, with the most that it can cost, and another with
    what the server counted. A request without the second (a time-out, a cut connection, an answer without counts, a killed
    process) may have been billed and counts at its most for ever. A run without prices has no accounts and no such file.
    The most is that of a server that keeps to the limit of tokens which each request sets.

    Attributes:
        spent: All that the command has spent, in the currency of the prices, `before` included.
        reached: Whether a request was held back for the budget; from then on none is sent.
    """

    def __init__(self, run: RunFolder, budget: float | None = None, before: Fraction = Fraction(0)):
        self._run = run
        self._prices = {role: price for role, price in run.manifest.get("prices", {}).items() if role != "currency"}
        self._budget = None if budget is None else Fraction(str(budget))
        self.reached = False
        # Futures, and no asyncio.Event: a run has one loop after another, and an event knows only its first.
        self._waiting: list[asyncio.Future[None]] = []
        self._under_way: dict[int, tuple[str, int, int]] = {}
        self._held = Fraction(0)
        self._file: BinaryIO | None = None
        self.spent, self._requests = before, 0
        self._counted = {role: [0, 0] for role in self._prices}
        self._uncounted: dict[str, list[int]] = {role: [0, 0, 0] for role in self._prices}
        if self._prices:
            self._open(run.path / "spending.jsonl")

    def _open(self, file: Path) -> None:
        if self._run.rows and not file.exists() and not self._run.finished:
            do = "bring it back, or add --overwrite or choose another folder"
            raise UserError(f"outputs and no {file.name} in {self._run.path}", "what they have cost", do)
        counted, uncounted, self._requests, whole = read_spending(file)
        for role, tokens in counted:
            self._count(role, tokens)
        for role, tokens in uncounted:
            self._leave(role, tokens)
        if self._run.finished:
            return
        spending = self._file = file.open("ab")
        # A killed process may have left the last line unfinished.
        spending.truncate(whole)

    def __enter__(self) -> "Spending":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def account(self, role: str) -> "Account | None":
        """What `ChatClient.complete` takes as its account for calls of a role; None where they have no price."""
        return Account(self, role) if role in self._prices else None

    async def opened(self, role: str, most: tuple[int, int]) -> int | None:
        """The number of a request that may now be sent; None when the budget does not allow it.

        One that does not fit beside those under way waits for them, since they will hardly cost their most.
        """
        own = amount(self._prices[role], *most)
        while self._budget is not None and self.spent + self._held + own > self._budget and not self.reached:
            if self._under_way:
                self._waiting.append(waits := asyncio.get_running_loop().create_future())
                await waits
            else:
                self.reached = True
                self._wake()
        if self.reached:
            return None
        self._requests += 1
        self._under_way[self._requests] = (role, *most)
        self._held += own
        self._write({"request": self._requests, "role": role, "most": list(most)})
        return self._requests

    def closed(self, number: int, counted: tuple[int, int] | None) -> None:
        """Ends a request that the server has counted so; None where nobody knows."""
        role, *most = self._under_way.pop(number)
        self._held -= amount(self._prices[role], *most)
        if counted is None:
            self._leave(role, most)
        else:
            self._write({"request": number, "counted": list(counted)})
            self._count(role, counted)
        self._wake()

    def _count(self, role: str, tokens: Sequence[int]) -> None:
        self._counted[role] = [a + b for a, b in zip(self._counted[role], tokens, strict=True)]
        self.spent += amount(self._prices[role], *tokens)

    def _leave(self, role: str, most: Sequence[int]) -> None:
        self._uncounted[role] = [a + b for a, b in zip(self._uncounted[role], (1, *most), strict=True)]
        self.spent += amount(self._prices[role], *most)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waits in waiting:
            # One that was cancelled, as at the end of its loop, is done.
            if not waits.done():
                waits.set_result(None)

    def _write(self, row: dict) -> None:
        assert self._file, "a finished run spends nothing"
        self._file.write(json_line(row).encode())
        self._file.flush()

    def with_cost(self, metrics: dict) -> dict:
        """The metrics that the run is about to finish with and their "cost"; the manifest gets what the outputs do not tell."""
        if self._prices:
            self.record_besides(metrics["usage"])
        return with_cost(metrics, self._run.manifest)

    def record_besides(self, usage: dict) -> None:
        """Puts into the manifest what the run has spent beside the `usage` that its outputs tell; an ended one says it."""
        if self._prices and self._run.finished:
            check_costs(self._run.manifest, list(self._prices), f"{self._run.path}/manifest.json")
        elif self._prices:
            self._run.manifest["spent_besides"] = {role: self._besides(role, usage) for role in self._prices}

    def _besides(self, role: str, usage: dict) -> dict:
        of_outputs = tokens_of(usage, role)
        names = ("uncounted", "most_prompt_tokens", "most_completion_tokens")
        return {
            "prompt_tokens": self._counted[role][0] - of_outputs[0],
            "completion_tokens": self._counted[role][1] - of_outputs[1],
            **dict(zip(names, self._uncounted[role], strict=True)),
        }

    def describe_missing(self, left: str, first: str, error: Exception) -> str:
        """What is said of a run with `left` to do: that the budget has ended it, or the `first` of it and its error."""
        if not self.reached:
            do = f"run the same command again, without --overwrite, for what {self._run.path} lacks"
            return f"medllm: {left}, the first is {first}: {error}; {do}"
        currency = self._run.manifest["prices"]["currency"]
        spent, budget = money(self.spent, currency), money(self._budget or 0, currency)
        return (
            f"medllm: the next call may exceed the budget of {budget}, of which {spent} are spent; {left}; "
            "run the same command with a higher --budget"
        )


class Account:
    """The spending of one role, as the chat client uses it: a request is opened before it is sent and closed after."""

    def __init__(self, spending: Spending, role: str):
        self._spending, self._role = spending, role

    async def open(self, body: Mapping) -> int | None:
        """The number of the request `body`; None when the budget does not allow it."""
        limit = body.get("max_tokens") or body["max_completion_tokens"]
        return await self._spending.opened(self._role, (prompt_bound(body), limit))

    def close(self, number: int, counted: tuple[int, int] | None) -> None:
        """Ends a request that the server has counted so; None where nobody knows."""
        self._spending.closed(number, counted)


def read_spending(file: Path) -> tuple[list[tuple], list[tuple], int, int]:
    """(role, tokens) of the requests that were counted and of those that were not, how many there are, and the whole bytes.

    Raises:
        UserError: a line that is none of its own.
    """
    if not file.exists():
        return [], [], 0, 0
    check_file(file)
    *lines, torn = (content := file.read_bytes()).split(b"\n")
    counted, opened = [], {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if "most" in row:
                opened[row["request"]] = (row["role"], tuple(row["most"]))
            else:
                counted.append((opened.pop(row["request"])[0], tuple(row["counted"])))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            do = "add --overwrite or choose another folder"
            raise UserError(f"{file} line {number} that is no spending of a run", "its own lines", do) from error
    return counted, list(opened.values()), len(counted) + len(opened), len(content) - len(torn)
