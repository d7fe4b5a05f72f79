"""The verb `data check`: what a build would accept, repair and reject, and why."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from medllm_hf.control_tokens import CONTROL_TOKENS
from medllm_hf.data.dialogues import Policy, Problem, dialogue_rows, examine, make_policy
from medllm_hf.data.files import input_files
from medllm_hf.errors import UserError
from medllm_hf.folders import new_file

# Of each kind of problem, lines on the screen.
SHOWN = 20


def check(
    inputs: list[str],
    format: str = "auto",
    columns: str | None = None,
    roles: str | None = None,
    encoding: str | None = None,
    revision: str | None = None,
    trailing_user: str = "cut",
    bad_row: str = "drop",
    list_file: str | None = None,
) -> int:
    """Prints how many rows are accepted, repaired and rejected, and the first of the last two; returns 1 if any is rejected.

    Raises:
        UserError: inputs that cannot be read, an unknown format, a row that the policy makes fatal, or `list_file` exists.
    """
    policy = make_policy(format, columns, roles, encoding, trailing_user, bad_row)
    counts: Counter[str] = Counter()
    shown: dict[str, list[Problem]] = {"repaired": [], "rejected": []}
    if list_file and os.path.exists(list_file):
        raise UserError(f"a file at {list_file}", "a name that is free", "choose another for --list")
    with new_file(list_file) if list_file else nullcontext() as listing:
        for row, problem in _examined_rows(input_files(inputs, revision), format, policy):
            verdict = "accepted" if problem is None else "repaired" if row else "rejected"
            counts[verdict] += 1
            if row and any(token in turn["content"] for turn in row["messages"] for token in CONTROL_TOKENS):
                counts["control"] += 1
            if problem and len(shown[verdict]) < SHOWN:
                shown[verdict].append(problem)
            if problem and listing:
                listing.write(_listed(verdict, problem))
    _print(counts, shown)
    return 1 if counts["rejected"] else 0


def _examined_rows(files: list[Path], format: str, policy: Policy) -> Iterator[tuple[dict | None, Problem | None]]:
    from tqdm import tqdm

    with tqdm(unit=" rows", disable=None) as bar:
        for file in files:
            for line, raw in dialogue_rows(file, format, policy):
                row, problem = examine(file, line, raw, format, policy)
                if problem and problem.fatal:
                    raise problem.refusal()
                yield row, problem
                bar.update()


def _print(counts: Counter[str], shown: dict[str, list[Problem]]) -> None:
    accepted, repaired, rejected = (counts[verdict] for verdict in ("accepted", "repaired", "rejected"))
    print(f"read {accepted + repaired + rejected}: accepted {accepted}, repaired {repaired}, rejected {rejected}")
    if counts["control"]:
        print(f"{counts['control']} dialogues spell control tokens in their text: kept, the chat templates neutralise them")
    for verdict, problems in shown.items():
        for problem in problems:
            print(f"{verdict} {problem.file}:{problem.line} {problem.field}: {problem.reason}")
        if counts[verdict] > len(problems):
            print(f"and {counts[verdict] - len(problems)} more {verdict}; `--list FILE` writes them all")


def _listed(verdict: str, problem: Problem) -> str:
    fields = {name: value for name, value in asdict(problem).items() if name != "fatal"}
    return json.dumps({"verdict": verdict, **fields}, ensure_ascii=False) + "\n"
