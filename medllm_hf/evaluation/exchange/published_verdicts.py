"""Published verdicts of a judge → a judge run folder, with the raw texts as replies."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from medllm_hf.data.consultations import consultations
from medllm_hf.data.dialogues import valid_text
from medllm_hf.data.files import BadRow, file_rows, input_files, parsed
from medllm_hf.errors import UserError
from medllm_hf.evaluation.judging.derive import derive
from medllm_hf.evaluation.judging.dialogues import record
from medllm_hf.evaluation.judging.records import Dialogue, JudgeManifest, Turn
from medllm_hf.evaluation.judging.run import KEY, outputs_of
from medllm_hf.evaluation.runs.folder import open_run
from medllm_hf.metrics.llm_judge import scoring

SOURCE = "https://github.com/FudanDISC/DISC-MedLLM"
# What the publishers say of their judge; version, temperature and date are not told.
JUDGE = {"id": "gpt-4", "source": SOURCE}
# The words by which the prompt of CMD and CMID differs from that of CMB-Clin.
_WAIVER = "a full score of five should be given"
_BEGIN, _END = "[start of conversation]", "[end of conversation]"
_FIELDS = ("id", "model", "source", "scores", "prompt")


def import_verdicts(scores: list[str], out: str, dialogues: str | None = None, overwrite: bool = False) -> list[str]:
    """Writes published verdicts and their dialogues as the run folder `out`; returns the ids of dialogues without verdicts.

    Args:
        scores: files `result_*.jsonl` as DISC-MedLLM publishes them, or folders of them.
        dialogues: its dialogue files, which tell the groups (departments, intents). Without them the dialogues are those in
            the published prompts, without groups.

    Raises:
        UserError: rows of another layout, verdicts by different prompts, a dialogue that is missing or not the one that was
            judged; or `out` holds something else.
    """
    rows = _rows(scores)
    prompts = {_hash(row): row for row in rows.values()}
    if len(prompts) > 1:
        several = f"verdicts by {len(prompts)} different prompts ({', '.join(sorted({r['source'] for r in prompts.values()}))})"
        raise UserError(several, "one prompt, since others give other scores", "import the sets into runs of their own")
    found, without = _dialogues(rows, dialogues)
    (digest, example), *_ = prompts.items()
    name = "disc-medllm" if _WAIVER in example["prompt"] else "disc-medllm-plain"
    rubric = {**scoring.rubric_record(name, "en"), "version": "published", "sha256": digest, "whole_points": False}
    manifest = {
        "kind": "judge",
        "imported": True,
        "judge": JUDGE,
        "rubric": rubric,
        "data": record(found, ", ".join(dict.fromkeys(one["source"] for one in found))),
        "settings": {"samples": 1, "failure_limit": 0.05},
        "systems": list(dict.fromkeys(one["model"] for one in found)),
    }
    with open_run(out, manifest, KEY, overwrite) as run:
        if not run.finished:
            for one in found:
                if (one["id"], 0) not in run.rows:
                    run.append({"id": one["id"], "sample": 0, "reply": rows[one["id"]]["scores"], "imported": True})
            derived = derive(cast(JudgeManifest, run.manifest), outputs_of(run).values(), found)
            metrics = {**derived.metrics, "without_scores": without}
            run.finish([(one["id"], 0) for one in found], list(map(dict, derived.scores)), metrics)
    return without


def _rows(scores: Sequence[str]) -> dict[str, dict]:
    """The published rows by the id of their dialogue."""
    rows: dict[str, dict] = {}
    for file in input_files(list(scores)):
        for number, raw in file_rows(file):
            try:
                row = parsed(raw)
                if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in _FIELDS):
                    raise BadRow("row", f"not an object with the texts {', '.join(_FIELDS)}")
                for name in _FIELDS:
                    valid_text(row[name], name)
                if _BEGIN not in row["prompt"] or not row["prompt"].rstrip().endswith(_END):
                    raise BadRow("prompt", f"no dialogue between {_BEGIN} and {_END}")
                name = f"{row['source']}/{row['model']}/{row['id']}"
                if name in rows:
                    raise BadRow("id", f"{name} a second time")
            except BadRow as error:
                raise UserError(
                    f"{file}:{number} {error.where}: {error.reason}", "published verdicts", "check --scores"
                ) from error
            rows[name] = row
    if not rows:
        raise UserError("no verdicts", "files result_*.jsonl", "check --scores")
    return rows


def _hash(row: dict) -> str:
    """The SHA-256 of a published prompt without its dialogue."""
    return hashlib.sha256(row["prompt"].split(_BEGIN)[0].encode()).hexdigest()


def _dialogues(rows: dict[str, dict], path: str | None) -> tuple[list[Dialogue], list[str]]:
    """The dialogues of the rows, in their order, and the ids of those of the same systems and sets that have no row."""
    transcripts = {name: _transcript(name, row) for name, row in rows.items()}
    if path is None:
        return [
            {
                "id": name,
                "case_id": row["id"],
                "model": row["model"],
                "source": row["source"],
                "group": "",
                "turns": transcripts[name],
            }
            for name, row in rows.items()
        ], []
    if not Path(path).exists():
        raise UserError(f"no {path}", "DISC's dialogue files", "check --dialogues")
    known = {one["id"]: cast(Dialogue, one) for one in consultations(path)}
    for name, turns in transcripts.items():
        if name not in known:
            raise UserError(f"no dialogue {name} in {path}", "the dialogues that were judged", "check --dialogues")
        if known[name]["turns"] != turns:
            raise UserError(f"another dialogue {name} in {path}", "the one in the published prompt", "check --dialogues")
    judged = {(row["source"], row["model"]) for row in rows.values()}
    absent = [name for name, one in known.items() if (one["source"], one["model"]) in judged and name not in rows]
    return [known[name] for name in rows], absent


def _transcript(name: str, row: dict) -> list[Turn]:
    """The turns in a published prompt; the patient begins and both alternate."""
    text = row["prompt"].split(_BEGIN, 1)[1].rstrip().removesuffix(_END).strip("\n")
    parts = re.split(r"^(patient|doctor): ", text, flags=re.MULTILINE)
    turns: list[Turn] = [
        {"role": role, "content": content.removesuffix("\n") if i < len(parts) // 2 - 1 else content}
        for i, (role, content) in enumerate(zip(parts[1::2], parts[2::2], strict=True))
    ]
    if parts[0].strip() or not turns or any(turn["role"] != ("patient", "doctor")[i % 2] for i, turn in enumerate(turns)):
        raise UserError(f"a prompt for {name} whose dialogue cannot be told", "turns in alternation", "mend the row")
    return turns
