"""The evaluation runs in a repository folder, and what follows from their raw outputs."""

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.folder import SCORES, FinishedRun, combined_hash, read_rows, read_run
from medllm_hf.evaluation.verification.contradictions import contradictions
from medllm_hf.evaluation.verification.dialogues import consultations, held_by, judgements, preferences
from medllm_hf.evaluation.verification.exams import exam
from medllm_hf.evaluation.verification.findings import CONFIRMED, DECLARED, DIFFERENT, Finding, Known, guarded
from medllm_hf.evaluation.verification.judge_rerun import judge_again
from medllm_hf.folders import check_file, read_json
from medllm_hf.hub.plan import hash_files

RUN_FILES = ("manifest.json", "outputs.jsonl", "scores.jsonl", "metrics.json")
DIALOGUES, JUDGE = "dialogues.jsonl", "judge"
# The folder of the exams of the base model, beside those of the model itself.
BASE = "eval-base"
# The field of a published manifest that says how many runs the publisher's log has, and what the card makes of it.
IN_LOG = "runs_in_log"
LOG_WORDS = (
    "; {0} runs of these weights on this benchmark stand in the publisher's log (declared)"
    " 发布者的日志记有这些权重在该题集上的 {0} 次运行（自述）"
)


def published(folder: Path) -> list[dict]:
    """The runs under `eval/` that the card has figures of: exams, comparisons, and the judge's of each consultation, by name.

    Each is what `read_run` gives, with "name", its path under `eval/`; a judge's also with the name of the "cases", and a
    comparison with "held": which side's dialogues are those of which consultations, see `held_by`. The exams of the base model
    come last, each with its whole path as its name, and "of_base".
    """
    runs: list[dict] = []
    for path in run_folders(folder):
        run = read_run(path)
        if run["manifest"]["kind"] == "mcq":
            runs.append({**run, "name": path.name})
        elif run["manifest"]["kind"] == "pair":
            runs.append({**run, "name": path.name, "held": held_by(run, consultations_in(run_folders(folder)))})
        elif (path / JUDGE).is_dir():
            runs.append({**read_run(path / JUDGE), "name": f"{path.name}/{JUDGE}", "cases": _cases(run["manifest"])})
    return runs + [_of_base(read_run(path), path) for path in run_folders(folder, BASE)]


def _of_base(run: Mapping, path: Path) -> dict:
    return {**run, "name": f"{BASE}/{path.name}", "of_base": True}


def place(run: Mapping) -> str:
    """Where a run of `published` or `rederived` lies in the repository."""
    return run["name"] if "of_base" in run else f"eval/{run['name']}"


def _cases(manifest: Mapping) -> str:
    """The name of the cases of consultations, and how these were held where that was not plainly."""
    settings = manifest["settings"]
    style = f"{settings['patient_style']} patients" if "patient_style" in settings else ""
    how = "DISC's protocol" if settings.get("protocol") == "disc" else style
    return manifest["data"]["name"] + (f" ({how})" if how else "")


def consultations_in(folders: Iterable[Path]) -> dict[str, list[dict]]:
    """The dialogues of each of the folders that is a consult run, by its name.

    Raises:
        UserError: some that are none.
    """
    return {path.name: read_rows(path / DIALOGUES) for path in folders if (path / DIALOGUES).is_file()}


def run_folders(folder: Path, inner: str = "eval") -> list[Path]:
    """The folders under `eval/`, or another folder of runs; a link to another place is none of them."""
    return [path for path in sorted((folder / inner).glob("*/")) if not path.is_symlink()]


def log_words(run: Path) -> str:
    """What the card says of the log of a published run; nothing where its manifest has no number."""
    try:
        count = read_json(run / "manifest.json", names=True).get(IN_LOG)
    except (UserError, OSError):  # told as a finding on the run
        return ""
    return LOG_WORDS.format(count) if type(count) is int and count > 0 else ""


def rederived(folder: Path, known: Known) -> tuple[list[Finding], list[dict]]:
    """The findings on every run under `eval/`, and the runs of `published` with the metrics that follow from their outputs.

    A run from which none follow is not among them.
    """
    runs: list[dict] = []
    return list(verify_runs(folder, known, runs)), runs


def verify_runs(folder: Path, known: Known, runs: list[dict]) -> Iterator[Finding]:
    """Yields each finding of `rederived` as soon as it is made, and adds its runs to `runs`."""
    for path in run_folders(folder):
        where = f"eval/{path.name}"
        yield from guarded(where, _run_findings(where, path, known, runs))
    for path in run_folders(folder, BASE):
        where = f"{BASE}/{path.name}"
        yield from guarded(where, _base_findings(where, path, known, runs))
    yield from guarded("eval", contradictions(runs))


def _base_findings(where: str, path: Path, known: Known, runs: list[dict]) -> Iterator[Finding]:
    """The findings on an exam of the base model, whose weights, tokenizer and template are elsewhere."""
    run = read_run(path, scores=False)
    if run["manifest"].get("kind") != "mcq":
        yield Finding(where, DIFFERENT, f"a run of kind {run['manifest'].get('kind')}, where exams of the base model stand")
        return
    model = run["manifest"].get("model")
    model = model if isinstance(model, dict) else {}
    yield from _malformed(f"{where}/manifest.json model", model)
    told = {name: model.get(name) for name in ("id", "weights_sha256")}
    # Its files are elsewhere, so their hashes are compared with nothing.
    plain = {**run, "manifest": {**run["manifest"], "schema": 1, "model": told}}
    if model.get("weights_sha256") == known.weights:
        yield Finding(f"{where}/manifest.json model.weights_sha256", DIFFERENT, "those of this very model")
    own = replace(known, weights=str(model.get("weights_sha256")), rerun=None)
    metrics = yield from _declaring(where, exam(where, cast(FinishedRun, plain), own))
    runs.append({**_of_base(run, path), "metrics": metrics})


def _malformed(where: str, model: Mapping) -> Iterator[Finding]:
    """Yields a finding for each hash of a base model that is none: nothing here says what it should be."""
    files = model.get("files_sha256")
    hashes = {f"files_sha256 {name}": value for name, value in files.items()} if isinstance(files, dict) else {}
    for name, value in {"weights_sha256": model.get("weights_sha256"), **hashes}.items():
        if not re.fullmatch(r"(?!(.)\1*\Z)[0-9a-f]{64}", str(value)):
            yield Finding(f"{where}.{name}", DIFFERENT, f"{str(value)[:70]}, which is no SHA-256")


def _declaring(where: str, findings: Generator[Finding, None, dict]) -> Generator[Finding, None, dict]:
    """The findings on an exam, of which those on what is not in this repository are the publisher's word."""
    told = {
        f"{where}/manifest.json model.weights_sha256": "of the base model, in the publisher's words",
        f"{where}/manifest.json settings.prompt_sha256": "other prompts than those of this tokenizer and template",
    }
    while True:
        try:
            found = next(findings)
        except StopIteration as end:
            return end.value
        confirmed = found.state == CONFIRMED and not found.figure.endswith("weights_sha256")
        yield found if found.figure not in told or confirmed else Finding(found.figure, DECLARED, told[found.figure])


def _run_findings(where: str, path: Path, known: Known, runs: list[dict]) -> Iterator[Finding]:
    run = read_run(path, scores=False)
    if run["manifest"].get("kind") == "mcq":
        metrics = yield from exam(where, run, known)
        runs.append({**run, "name": path.name, "metrics": metrics})
        return
    run["scores"] = read_rows(path / SCORES)
    if run["manifest"].get("kind") == "pair":
        found, metrics = preferences(where, run)
        if metrics:
            held = held_by(run, consultations_in(sorted(path.parent.glob("*/"))))
            runs.append({**run, "name": path.name, "metrics": metrics, "held": held})
        yield from found
        yield from _not_rerun(where, known, "comparisons", "verdicts")
    else:
        dialogues = read_rows(path / DIALOGUES)
        yield from consultations(where, run, known, dialogues)
        yield from _not_rerun(where, known, "consultations", "turns")
        if (path / JUDGE).is_dir():
            judged = _judge_findings(f"{where}/{JUDGE}", run, dialogues, known, runs)
            yield from guarded(f"{where}/{JUDGE}", judged)


def _judge_findings(where: str, held: FinishedRun, dialogues: list[dict], known: Known, runs: list[dict]) -> Iterator[Finding]:
    """The findings on the judge's run inside the consult run `held`."""
    run, path = read_run(held["folder"] / JUDGE), held["folder"]
    found, metrics = judgements(where, run, dialogues, held, known.files)
    if metrics:
        cases = _cases(held["manifest"])
        runs.append({**run, "name": f"{path.name}/{JUDGE}", "cases": cases, "metrics": metrics})
    yield from found
    if known.rerun and known.rerun.judge and metrics:
        yield from guarded(f"{where}/outputs.jsonl rerun", judge_again(where, run, known))
    else:
        yield from _not_rerun(where, known, "a judge's run", "verdicts")


def _not_rerun(where: str, known: Known, kind: str, said: str) -> Iterator[Finding]:
    """Says of a run of which nothing is computed again that it is so, where that was asked for."""
    if known.rerun:
        why = f"not rerun: {kind}, whose scores were read again from the {said}; who gave these is the publisher's word"
        yield Finding(f"{where}/outputs.jsonl rerun", DECLARED, why)


def repository_hash(folder: Path) -> str:
    """The hash of all weights in a published folder, as a manifest has it when they are those that are read and no others.

    Some engines read every safetensors file that lies there, so that one too many is another model.

    Raises:
        UserError: no safetensors.
    """
    shards = {file.name: file for file in folder.glob("*.safetensors")}
    if not shards:
        raise UserError(f"no .safetensors in {folder}", "a converted or trained checkpoint", "run `medllm convert` first")
    for file in shards.values():
        check_file(file)
    return combined_hash(hash_files(shards))
