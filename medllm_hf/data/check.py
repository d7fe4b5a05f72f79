"""What a build would accept, repair and reject, and why."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from medllm_hf.control_tokens import CONTROL_TOKENS
from medllm_hf.data.dialogues import (
    AUTO,
    OnBadRow,
    OnTrailingUser,
    Policy,
    Problem,
    Rejections,
    dialogue_rows,
    examine,
    make_policy,
    read_as,
)
from medllm_hf.data.files import input_files, unread_files
from medllm_hf.data.unread import unread_lines
from medllm_hf.errors import UserError
from medllm_hf.folders import new_file

# Of each verdict, reasons on the screen; of the kinds of files, too.
SHOWN = 20


@dataclass(frozen=True)
class Checked:
    """What a build would make of the rows.

    counts: accepted, repaired and rejected rows, and "control": the dialogues that spell control tokens. reasons: verdict → its
    problems by reason. kinds: what files were read as → how many. left: columns that were not read → rows that fill them.
    unreadable: what is wrong with files that cannot be read at all. unread: a line on the files in folders that are not read.
    """

    counts: Counter[str]
    reasons: dict[str, Rejections]
    kinds: Counter[str]
    left: Counter[str]
    unreadable: list[str]
    unread: list[str]

    @property
    def fine(self) -> bool:
        """Whether there are rows, and all of them can be used."""
        return bool(self.counts) and not self.counts["rejected"] and not self.unreadable

    def lines(self) -> list[str]:
        """The counts, what the files were read as, and the reasons with an example each, as they are shown."""
        accepted, repaired, rejected = (self.counts[verdict] for verdict in ("accepted", "repaired", "rejected"))
        lines = [f"read {accepted + repaired + rejected}: accepted {accepted}, repaired {repaired}, rejected {rejected}"]
        if not accepted + repaired + rejected:
            lines.append("no rows in the inputs; expected dialogues; check the files")
        for kind, count in self.kinds.most_common(SHOWN):
            lines.append(f"{count} file{'s' if count > 1 else ''} read as {kind}")
        lines += [f"not read: {line}" for line in self.unreadable[:SHOWN]]
        if len(self.unreadable) > SHOWN:
            lines.append(f"and {len(self.unreadable) - SHOWN} more files that cannot be read")
        lines += unread_lines(self.left, SHOWN)
        lines += self.unread
        if control := self.counts["control"]:
            lines.append(f"{control} dialogues spell control tokens in their text: kept, the chat templates neutralise them")
        for verdict, found in self.reasons.items():
            lines += [f"{verdict} {line}" for line in found.lines()[:SHOWN]]
            if len(found.lines()) > SHOWN:
                lines.append(f"and {len(found.lines()) - SHOWN} more reasons; `--list FILE` writes every row")
        return lines


def check(
    inputs: list[str],
    format: str = AUTO,
    columns: str | None = None,
    roles: str | None = None,
    encoding: str | None = None,
    revision: str | None = None,
    trailing_user: OnTrailingUser = Policy.trailing_user,
    bad_row: OnBadRow = Policy.bad_row,
    list_file: str | None = None,
) -> Checked:
    """How many rows are accepted, repaired and rejected, and why; `list_file` takes a line for each that is not accepted.

    Of several files, those that cannot be read are told beside the others.

    Raises:
        UserError: inputs that cannot be read, an unknown format, a row that the policy makes fatal, or `list_file` exists.
    """
    policy = make_policy(format, columns, roles, encoding, trailing_user, bad_row)
    found = Checked(
        Counter(), {"repaired": Rejections(), "rejected": Rejections()}, Counter(), Counter(), [], unread_files(inputs)
    )
    if list_file and os.path.exists(list_file):
        raise UserError(f"a file at {list_file}", "a name that is free", "choose another for --list")
    from tqdm import tqdm

    with new_file(list_file) if list_file else nullcontext() as listing:
        files = input_files(inputs, revision)
        with tqdm(unit=" rows", disable=None) as bar:
            for file in files:
                try:
                    for verdict, problem in _examined_rows(file, format, policy, found):
                        if problem and listing:
                            listing.write(_listed(verdict, problem))
                        bar.update()
                except UserError as error:
                    if len(files) == 1 or "fail" in (trailing_user, bad_row):
                        raise
                    found.unreadable.append(str(error))
    return found


def _examined_rows(file: Path, format: str, policy: Policy, found: Checked) -> Iterator[tuple[str, Problem | None]]:
    """Yields the verdict on each row and its problem, and counts them in `found`."""
    found.kinds[read_as(file, format, policy)] += 1
    for line, raw in dialogue_rows(file, format, policy):
        row, problem = examine(file, line, raw, format, policy, found.left)
        if problem and problem.fatal:
            raise problem.refusal()
        verdict = "accepted" if problem is None else "repaired" if row else "rejected"
        found.counts[verdict] += 1
        if row and any(token in turn["content"] for turn in row["messages"] for token in CONTROL_TOKENS):
            found.counts["control"] += 1
        if problem:
            reasons = found.reasons[verdict]
            add = reasons.add_repairs if row else reasons.add
            add(f"{problem.file}:{problem.line}", problem.field, problem.reason)
        yield verdict, problem


def _listed(verdict: str, problem: Problem) -> str:
    fields = {name: value for name, value in asdict(problem).items() if name != "fatal"}
    return json.dumps({"verdict": verdict, **fields}, ensure_ascii=False) + "\n"
