"""What a build would accept, repair and reject, and why."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass

from medllm_hf.control_tokens import CONTROL_TOKENS
from medllm_hf.data.dialogues import AUTO, OnBadRow, OnTrailingUser, Policy, Problem, check_format, examine
from medllm_hf.data.files import file_rows, input_files
from medllm_hf.errors import UserError
from medllm_hf.folders import new_file

# Of each kind of problem, lines on the screen.
SHOWN = 20


@dataclass(frozen=True)
class Checked:
    """What a build would make of the rows.

    counts: accepted, repaired and rejected rows, and "control": the dialogues that spell control tokens. shown: verdict → the
    first problems of that kind.
    """

    counts: Counter[str]
    shown: dict[str, list[Problem]]

    def lines(self) -> list[str]:
        """The counts, and the first problems of each kind, as they are shown."""
        accepted, repaired, rejected = (self.counts[verdict] for verdict in ("accepted", "repaired", "rejected"))
        lines = [f"read {accepted + repaired + rejected}: accepted {accepted}, repaired {repaired}, rejected {rejected}"]
        if control := self.counts["control"]:
            lines.append(f"{control} dialogues spell control tokens in their text: kept, the chat templates neutralise them")
        for verdict, problems in self.shown.items():
            lines += [f"{verdict} {problem.file}:{problem.line} {problem.field}: {problem.reason}" for problem in problems]
            if self.counts[verdict] > len(problems):
                lines.append(f"and {self.counts[verdict] - len(problems)} more {verdict}; `--list FILE` writes them all")
        return lines


def check(
    inputs: list[str],
    format: str = AUTO,
    revision: str | None = None,
    trailing_user: OnTrailingUser = Policy.trailing_user,
    bad_row: OnBadRow = Policy.bad_row,
    list_file: str | None = None,
) -> Checked:
    """How many rows are accepted, repaired and rejected, and the first of the last two; `list_file` takes a line for each.

    Raises:
        UserError: inputs that cannot be read, an unknown format, a row that the policy makes fatal, or `list_file` exists.
    """
    check_format(format)
    policy = Policy(trailing_user, bad_row)
    counts: Counter[str] = Counter()
    shown: dict[str, list[Problem]] = {"repaired": [], "rejected": []}
    if list_file and os.path.exists(list_file):
        raise UserError(f"a file at {list_file}", "a name that is free", "choose another for --list")
    with new_file(list_file) if list_file else nullcontext() as listing:
        for row, problem in _examined_rows(inputs, format, revision, policy):
            verdict = "accepted" if problem is None else "repaired" if row else "rejected"
            counts[verdict] += 1
            if row and any(token in turn["content"] for turn in row["messages"] for token in CONTROL_TOKENS):
                counts["control"] += 1
            if problem and len(shown[verdict]) < SHOWN:
                shown[verdict].append(problem)
            if problem and listing:
                listing.write(_listed(verdict, problem))
    return Checked(counts, shown)


def _examined_rows(
    inputs: list[str], format: str, revision: str | None, policy: Policy
) -> Iterator[tuple[dict | None, Problem | None]]:
    from tqdm import tqdm

    with tqdm(unit=" rows", disable=None) as bar:
        for file in input_files(inputs, revision):
            for line, raw in file_rows(file):
                row, problem = examine(file, line, raw, format, policy)
                if problem and problem.fatal:
                    raise problem.refusal()
                yield row, problem
                bar.update()


def _listed(verdict: str, problem: Problem) -> str:
    fields = {name: value for name, value in asdict(problem).items() if name != "fatal"}
    return json.dumps({"verdict": verdict, **fields}, ensure_ascii=False) + "\n"
